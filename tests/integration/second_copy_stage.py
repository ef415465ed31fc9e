# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup store in a folder, its shipper, and an S3 store with object lock: each a real one, in scratch containers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._set_states import SetState, append_states
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, Store, run

ROOT = Path(__file__).resolve().parents[2]
S3_IMAGE, IMAGE = "platform3/s3:1", "platform3/second-copy:1"
KEYS = {
    "access_key": f"key{secrets.token_hex(8)}",
    "secret_key": f"{secrets.token_hex(16)}/+",
    "password": f"one password {secrets.token_hex(8)}",
    "salt": f'another "one" {secrets.token_hex(8)}',
}
SEGMENTS = [f"00000001{number:016X}" for number in range(1, 5)]
SEGMENT_BYTES = 16 << 20


def docker(*arguments: str, check: bool = True) -> str:
    """stdout of a docker command."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Stage:
    """What stands on two machines, and a third to fetch into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = f"test-{secrets.token_hex(6)}"
        self.label = ["--label", f"platform3.recovery.environment={self.id}"]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sets = Store(folder)
        self.store, self.state = self.sets.path, folder / "state"
        self.secrets = folder / "secrets"
        for path in (self.secrets, self.state / "second_copy"):
            path.mkdir(parents=True)
        for name, value in KEYS.items():
            (self.secrets / f"second_copy_{name}").write_text(value)
        self.random = random.Random(4)
        self.fill()

    # --- the store ---

    def write(self, path: str, content: bytes) -> None:
        """A file of the store."""
        (self.store / path).parent.mkdir(parents=True, exist_ok=True)
        (self.store / path).write_bytes(content)

    def add(self, path: str, content: bytes) -> None:
        """More of a file that grows."""
        with open(self.store / path, "ab") as stream:
            stream.write(content)

    def fill(self) -> None:
        """WAL in archive and stream, a log of Redis in two generations, fence, and no set yet."""
        self.write("fence/epoch", b"1")
        self.write("fence/wal_stream", b"initial")
        self.write("restore_points/before-release-7.json", b'{"name": "before-release-7"}')
        for name in SEGMENTS[:3]:
            content = self.random.randbytes(2_000_000).ljust(SEGMENT_BYTES, b"\0")
            self.write(f"wal-stream/initial/{name}", content)
            self.write(f"pgbackrest/archive/platform3/17-1/{name[:16]}/{name}-0123.lz4", content[:500_000])
        self.write(
            "pgbackrest/archive/platform3/17-1/00000002.history", b"1\t0/3000000\tno recovery target specified\n"
        )
        self.partial = f"wal-stream/initial/{SEGMENTS[3]}.partial"
        self.write(self.partial, self.random.randbytes(2_500_000).ljust(SEGMENT_BYTES, b"\0"))
        for name in ("backup", "archive"):
            for suffix in (".info", ".info.copy"):
                self.write(f"pgbackrest/{name}/platform3/{name}{suffix}", b"[backup:current]\n")
        for number in (1, 2):
            self.write(f"aof/initial/appendonly.aof.{number}.base.rdb", self.random.randbytes(300_000))
            self.write(f"aof/initial/appendonly.aof.{number}.incr.aof", b"*1\r\n$4\r\nPING\r\n" * 100_000)
            lines = [f"appendonly.aof.{number}.base.rdb seq {number} type b"]
            lines += [f"appendonly.aof.{one}.incr.aof seq {one} type i" for one in range(number, 3)]
            self.write(f"aof/initial/{number}.manifest", "".join(f"file {one}\n" for one in lines).encode())
        self.log = "aof/initial/appendonly.aof.2.incr.aof"
        self.write("aof/initial/epoch", b"1\n")

    def make(self, set_id: str, files: int = 1) -> None:
        """A signed set whose base backup begins with the second segment, as pgBackRest's .info says from then on.

        files: of 2 MB each that the base backup has.
        """
        assert not self.sets.begin(set_id).get("failed")
        results = self.sets.write(set_id)
        base = results["postgresql"]["content"]["pgbackrest"]
        base |= {"archive_id": "17-1", "wal_start": SEGMENTS[1], "depends_on": []}
        captured = f"{set_id[:4]}-{set_id[4:6]}-{set_id[6:8]}T{set_id[9:11]}:{set_id[11:13]}:{set_id[13:]}"
        results["influxdb"]["content"] |= {"recovery_point": captured, "buckets": [], "shards": []}
        for number in range(files):
            self.write(f"pgbackrest/backup/platform3/{base['label']}/pg_data/{number}", self.random.randbytes(2 << 20))
        for suffix in (".info", ".info.copy"):
            self.add(f"pgbackrest/backup/platform3/backup{suffix}", f"{base['label']}={{}}\n".encode())
        made = self.sets.complete(set_id, results)
        assert not made.get("failed"), made

    def name(self, point: str, at: str) -> None:
        """A signed restore point."""
        given = {
            "store_path": str(self.store),
            "name": point,
            "at": at,
            "lsn": "0/3000118",
            "timeline": 1,
            "by": "jane",
        }
        given |= {"segment": SEGMENTS[1], "environment_id": ENVIRONMENT["environment_id"], "signing_key": self.sets.key}
        made = run("restore_point", {**given, "fence": {"recovery_id": "backup-20261124T051700Z", "epoch": 1}})
        assert made.get("changed"), made

    # --- S3 and the shipper ---

    def serve(self) -> None:
        """The S3 store, with its bucket."""
        arguments = ["--name", f"{self.id}-s3", *self.label, "--publish", f"127.0.0.1:{self.port}:7070"]
        arguments += ["--volume", f"{self.secrets}:/run/secrets:ro", "--env", "S3_BUCKET=copy"]
        docker("run", "--detach", *arguments, S3_IMAGE)
        healthy = ["exec", f"{self.id}-s3", "/usr/local/lib/platform3/healthy"]
        self.wait_for(lambda: subprocess.run(["docker", *healthy], capture_output=True).returncode == 0, "S3 store")

    def ship(self, **settings: str) -> None:
        """Start the shipper."""
        docker("rm", "--force", f"{self.id}-copy", check=False)
        variables = {"URL": self.url, "BUCKET": "copy", "SECONDS": "0.3", "STREAM_LIMIT_SECONDS": "3", **settings}
        arguments = ["--name", f"{self.id}-copy", *self.label, "--network", "host", "--cap-drop", "ALL"]
        arguments += ["--cap-add", "DAC_READ_SEARCH", "--volume", f"{self.secrets}:/run/secrets:ro"]
        arguments += ["--volume", f"{self.store}:/store:ro", "--volume", f"{self.state}/second_copy:/state"]
        arguments += ["--volume", f"{ROOT}/sidecars:/sidecars:ro"]
        for name, value in variables.items():
            arguments += ["--env", f"SECOND_COPY_{name}={value}"]
        docker("run", "--detach", *arguments, IMAGE)

    @property
    def record(self) -> dict[str, Any]:
        """The shipper's record."""
        path = self.state / "second_copy/state.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def await_shipped(self) -> None:
        """Wait until a pass of each lane that began from now on has ended well."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1))
        for lane in ("stream", "store"):
            self.wait_for(lambda lane=lane: self.record.get(lane, {}).get("good_started_at", "") >= now, "good pass")

    def await_failed(self, lane: str) -> str:
        """Wait until the newest pass of a lane is one that failed; gives why."""
        self.wait_for(lambda: self.record.get(lane, {}).get("ok") is False, "failed pass")
        return str(self.record[lane]["error"])

    def wait_for(self, ready: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        """What ready gives once it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := ready():
                return found
            time.sleep(0.05)
        logs = docker("logs", f"{self.id}-copy", check=False)
        raise AssertionError(f"no {what}: {self.record} {logs}")

    def rclone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """rclone on the bucket as whoever has the key to it; `s3:copy/store` is where the copy lies."""
        argv = ["rclone", "--config=/dev/null", "--retries=1", "--low-level-retries=1", *arguments]
        return subprocess.run([*self._careless("--rm"), *argv], capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def careless_container(self) -> Iterator[None]:
        """A container that shows the keys in a command line and its environment for as long as the block runs."""
        name = f"{self.id}-careless"
        shown = [KEYS["access_key"], KEYS["secret_key"]]
        docker(*self._careless("--detach", "--name", name)[1:], "bash", "-c", "sleep 120; exit", *shown)
        try:
            yield
        finally:
            docker("rm", "--force", name)

    def _careless(self, *arguments: str) -> list[str]:
        settings = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": self.url, "NO_CHECK_BUCKET": "true"}
        settings |= {"ACCESS_KEY_ID": KEYS["access_key"], "SECRET_ACCESS_KEY": KEYS["secret_key"]}
        argv = ["docker", "run", *arguments, "--network", "host", *self.label]
        argv += [part for name, value in settings.items() for part in ("--env", f"RCLONE_CONFIG_S3_{name}={value}")]
        return [*argv, IMAGE]

    @property
    def place(self) -> dict[str, str]:
        """The bucket, as modules are told of it."""
        return {**KEYS, "url": self.url, "bucket": "copy", "image": IMAGE}

    # --- another machine ---

    def condemn(self, set_id: str, by: str = "verify_backups", name: str = "other") -> Path:
        """Another machine whose store has all that this one has, with a set that is condemned; the store's folder."""
        store, state = self.folder / name, self.folder / f"{name}-state"
        shutil.copytree(self.store, store)
        state.mkdir()
        said = SetState(set_id, "condemned", now_iso(), by, "a bit fell")
        append_states(str(state), [said], self.sets.key)
        return store

    def fetch(self, name: str = "other", **changes: Any) -> dict[str, Any]:
        """The result of fetching into the store of another machine."""
        state = self.folder / f"{name}-state"
        state.mkdir(exist_ok=True)
        given = {"store_path": str(self.folder / name), "state_path": str(state), "trusted_signers": self.sets.signers}
        return run("second_copy_fetch", {**given, **ENVIRONMENT, **self.place, **changes})

    def differences(self, name: str = "other") -> dict[str, str]:
        """Files on the two machines that are not the same, or stand on one side only."""
        sides = [self.files(self.store), self.files(self.folder / name)]
        return {
            path: "differs" if path in sides[0] and path in sides[1] else "here" if path in sides[0] else "there"
            for path in sorted({*sides[0], *sides[1]})
            if sides[0].get(path) != sides[1].get(path)
        }

    @staticmethod
    def files(store: Path) -> dict[str, bytes]:
        """Every file of a store."""
        return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}

    def clean(self) -> None:
        """Everything that this stage started goes away."""
        names = docker("ps", "--all", "--quiet", "--filter", f"label=platform3.recovery.environment={self.id}").split()
        if names:
            docker("rm", "--force", "--volumes", *names)

    # --- a recovery there ---

    def assess(
        self, name: str = "recovered", *arguments: str, scenario: str = "full", role: str = "recovery", **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        """The first phase of a recovery, or of a sandbox, on another machine: inputs, set, lock."""
        state = self.folder / f"{name}-state"
        state.mkdir(exist_ok=True)
        (state / "environment_id").write_text(ENVIRONMENT["environment_id"])
        groups = ("postgresql", "redis", "influxdb", "app_services", "backup_store")
        variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "recovery_environment": ENVIRONMENT["environment"],
            "recovery_environment_id": ENVIRONMENT["environment_id"],
            "recovery_confirm": ENVIRONMENT["environment"],
            "backup_store_path": str(self.folder / name),
            "recovery_state_path": str(state),
            "backup_set_trusted_signers": self.sets.signers,
            "second_copy_url": self.url,
            "second_copy_bucket": "copy",
            "second_copy_image": IMAGE,
            **{f"second_copy_{one}": value for one, value in KEYS.items()},
            **changes,
        }
        inventory = {"all": {"vars": variables, "children": {one: {"hosts": {f"{one}-host": {}}} for one in groups}}}
        include = {"name": f"platform3.recovery.{role}", "tasks_from": "assess"}
        task = {"name": "Assess", "ansible.builtin.include_role": include, "vars": {"recovery_scenario": scenario}}
        show = {"name": "Show", "ansible.builtin.debug": {"msg": "details {{ __recovery_lock.details | to_json }}"}}
        play = {"name": "Assess", "hosts": "backup_store", "gather_facts": False, "tasks": [task, show]}
        for file, content in (("inventory.json", inventory), ("play.json", [play])):
            (self.folder / file).write_text(json.dumps(content))
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.folder / "inventory.json")]
        argv += [str(self.folder / "play.json"), *arguments]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"}
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
