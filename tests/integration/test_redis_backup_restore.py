# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis, really: backed up, lost, restored, on a container and a volume of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "platform3/redis:8"
PERSISTENT, SESSIONS, PRICES, CANDLES = 3000, 2000, 5400, 700
MODULES = "ansible_collections.platform3.recovery.plugins.modules"


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


class Platform:
    """One Redis under a Compose project of its own, its secrets, and a backup set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = f"test-{secrets.token_hex(6)}"
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.set_path = folder / "20261123T051700Z"
        self.set_path.mkdir()
        acl = folder / "acl"
        acl.mkdir()
        (acl / "users.acl").write_text(
            f"user default off resetpass ~* &* +@all\nuser forex_admin on >{self.password} ~* &* +@all\n"
        )
        shutil.copy(ROOT / "lab/config/redis/redis.conf", folder / "redis.conf")
        label = {"platform3.recovery.environment": self.id}
        service = {
            "image": IMAGE,
            "labels": label,
            "container_name": self.id,
            "ports": [f"127.0.0.1:{self.port}:6379"],
            "environment": {"PLATFORM3_ENVIRONMENT_ID": self.id},
            "volumes": [
                "redis-data:/var/lib/platform3",
                f"{folder}/redis.conf:/etc/platform3/redis.conf:ro",
                f"{acl}:/etc/platform3/acl:ro",
            ],
        }
        compose = {"services": {"redis": service}, "volumes": {"redis-data": {"labels": label}}}
        compose["networks"] = {"default": {"labels": label}}
        (folder / "compose.yaml").write_text(json.dumps(compose))
        os.chmod(folder, 0o755)

    @property
    def volume(self) -> str:
        """The engine's name of the volume."""
        return f"{self.id}_redis-data"

    def compose(self, *arguments: str) -> str:
        """Run Compose on the project."""
        return docker("compose", "-p", self.id, "-f", f"{self.folder}/compose.yaml", *arguments)

    def start(self) -> redis.Redis:
        """A new, empty, serving Redis."""
        self.compose("run", "--rm", "redis", "initialise")
        self.compose("up", "--detach")
        return self.client()

    def client(self, db: int = 0) -> redis.Redis:
        """A client of the server, once it serves."""
        client = redis.Redis(
            port=self.port, username="forex_admin", password=self.password, db=db, decode_responses=True
        )
        for _ in range(200):
            try:
                client.ping()
                return client
            except redis.exceptions.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(docker("logs", self.id))

    def lose(self) -> None:
        """Kill the server; container and volume are gone."""
        docker("kill", self.id)
        docker("rm", "--force", self.id)
        docker("volume", "rm", self.volume)

    def clean(self) -> None:
        """Everything this platform made goes away."""
        names = docker("ps", "--all", "--quiet", "--filter", f"label=platform3.recovery.environment={self.id}").split()
        if names:
            docker("rm", "--force", "--volumes", *names, check=False)
        self.compose("down", "--volumes")

    def argv(self, name: str, arguments: dict[str, Any]) -> list[str]:
        """The command line that runs a module as Ansible does, its input in a file."""
        given = self.folder / f"{name}-{secrets.token_hex(4)}.json"
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        return [sys.executable, "-m", f"{MODULES}.{name}", str(given)]

    def environment(self) -> dict[str, str]:
        """The environment a module is started in."""
        return {**os.environ, "PYTHONPATH": str(ROOT / "collections")}

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A module's result."""
        done = subprocess.run(
            self.argv(name, arguments), capture_output=True, text=True, check=False, env=self.environment()
        )
        assert done.stdout.strip(), done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def login(self) -> dict[str, Any]:
        """The inputs that name the server."""
        return {"port": self.port, "user": "forex_admin", "password": self.password}

    def backup(self) -> dict[str, Any]:
        """The result of redis_backup."""
        result = self.run(
            "redis_backup",
            {
                **self.login(),
                "fence": {"recovery_id": "backup-1", "epoch": 1},
                "container": self.id,
                "image": IMAGE,
                "environment_id": self.id,
                "set_path": str(self.set_path),
                "set_id": self.set_path.name,
            },
        )
        assert not result.get("failed"), result
        return result

    def restore_input(self, backup: dict[str, Any], epoch: int = 2, recovery_id: str = "r1") -> dict[str, Any]:
        """The inputs of redis_restore."""
        artefact = {name: backup["artefacts"][0][name] for name in ("path", "bytes", "sha256")}
        return {
            **self.login(),
            "fence": {"recovery_id": recovery_id, "epoch": epoch},
            "compose": {"project": self.id, "directory": str(self.folder), "files": ["compose.yaml"]},
            "service": "redis",
            "volume": "redis-data",
            "image": IMAGE,
            "environment_id": self.id,
            "set_path": str(self.set_path),
            "artefact": artefact,
            "content": backup["content"],
            "cache_patterns": [{"db": 1, "pattern": "price:*"}],
        }

    def verify(self, backup: dict[str, Any], expected_keys: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of redis_verify_info."""
        given: dict[str, Any] = {
            **self.login(),
            "fence": {"recovery_id": "r1", "epoch": 2},
            "content": backup["content"],
        }
        return self.run("redis_verify_info", given | ({"expected_keys": expected_keys} if expected_keys else {}))

    def in_volume(self, script: str) -> str:
        """stdout of a bash script run over the volume, which need not be served."""
        return docker(
            "run",
            "--rm",
            "--network",
            "none",
            "--volume",
            f"{self.volume}:/var/lib/platform3",
            IMAGE,
            "bash",
            "-euc",
            script,
        )


def seed(platform: Platform) -> None:
    """Keys with and without a time to live in two databases."""
    pipeline = platform.client(0).pipeline(transaction=False)
    for n in range(SESSIONS):
        pipeline.hset(f"session:{n}", mapping={"user_id": n, "username": f"trader{n}"})
        pipeline.expire(f"session:{n}", 3600 + n * 30)
    for n in range(PERSISTENT):
        pipeline.set(f"setting:{n}", "v" * 40)
    pipeline.execute()
    pipeline = platform.client(1).pipeline(transaction=False)
    for n in range(PRICES):
        pipeline.hset(f"price:{n}", mapping={"bid": 1.1, "ask": 1.2, "at": "2026-11-23T05:17:00Z"})
        if n % 3 == 0:
            pipeline.expire(f"price:{n}", 3600 + n)
    for n in range(CANDLES):
        pipeline.set(f"candle:EURUSD:{n}", "x" * 60, ex=7200 if n % 2 else None)
    pipeline.execute()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A serving, seeded Redis; gone afterwards, whatever happened."""
    made = Platform(tmp_path)
    try:
        made.start()
        seed(made)
        yield made
    finally:
        made.clean()


def sizes(platform: Platform) -> tuple[int, int]:
    """Keys in databases 0 and 1."""
    return platform.client(0).dbsize(), platform.client(1).dbsize()


WHOLE = (SESSIONS + PERSISTENT, CANDLES)


def test_a_lost_redis_comes_back_with_exactly_the_keys_of_its_backup(platform: Platform) -> None:
    """Short-lived keys die meanwhile, later writes are not in the backup, stale prices are dropped."""
    platform.client().set("dies:soon", "1", px=1500)
    backup = platform.backup()
    assert backup["content"]["version"].startswith("8.")
    platform.client().set("written:later", "1")
    platform.lose()
    time.sleep(1.5)

    result = platform.run("redis_restore", platform.restore_input(backup))
    assert not result.get("failed"), result
    assert result["dropped"] == {"1": PRICES}
    assert sizes(platform) == WHOLE
    client = platform.client()
    assert client.get("written:later") is None and client.get("dies:soon") is None
    assert client.hgetall("session:7") == {"user_id": "7", "username": "trader7"}
    assert 3600 + 7 * 30 - 120 < client.ttl("session:7") <= 3600 + 7 * 30
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.info("persistence")["aof_enabled"] == 1

    verified = platform.verify(backup, result["expected_keys"])
    assert not verified.get("failed"), verified
    assert all(one["ok"] for one in verified["checks"]) and len(verified["checks"]) >= 12
    assert verified["warnings_found"] == []
    # What was written after the recovery outlives a crash: the log is really in use.
    pipeline = client.pipeline(transaction=True)
    pipeline.hset("session:new", "user_id", "1")
    pipeline.set("after:recovery", "kept")
    pipeline.execute()
    client.execute_command("WAITAOF", 1, 0, 5000)
    docker("kill", platform.id)
    docker("start", platform.id)
    assert platform.client().get("after:recovery") == "kept"
    assert sizes(platform) == (WHOLE[0] + 2, WHOLE[1])


def test_verify_fails_where_keys_are_missing_and_names_them(platform: Platform) -> None:
    backup = platform.backup()
    platform.client().delete("setting:1", "session:1")
    verified = platform.verify(backup)
    assert verified["failed"] and verified["error"]["code"] == "PRC-611"
    bad = {one["name"]: one for one in verified["checks"] if not one["ok"]}
    assert bad["keys in database 0"]["found"] == WHOLE[0] - 2
    assert "without a time to live" in bad["times to live in database 0"]["found"]


def test_access_rules_that_cost_transactions_at_the_next_start_are_told(platform: Platform) -> None:
    """The loss itself is shown first: off without commands, and a transaction is gone after a restart."""
    backup = platform.backup()
    client = platform.client()
    client.acl_setuser("default", enabled=False, reset=True)
    (platform.folder / "acl/users.acl").write_text("\n".join(client.acl_list()) + "\n")
    verified = platform.verify(backup)
    assert "user default" in verified["warnings_found"][0], verified
    pipeline = client.pipeline(transaction=True)
    # Of one command alone the log keeps no MULTI.
    pipeline.set("written:in:transaction", "1")
    pipeline.set("written:beside:it", "1")
    pipeline.execute()
    client.set("written:alone", "1")
    client.execute_command("WAITAOF", 1, 0, 5000)
    docker("kill", platform.id)
    docker("start", platform.id)
    assert platform.client().mget("written:alone", "written:in:transaction") == ["1", None]
    # A restore does not fall into that trap: what it drops stays dropped.
    platform.lose()
    result = platform.run("redis_restore", platform.restore_input(backup))
    assert not result.get("failed"), result
    assert sizes(platform) == WHOLE


def test_a_plain_copy_of_the_snapshot_would_come_up_empty(platform: Platform) -> None:
    """The trap that the restore goes around: with the log on, Redis ignores dump.rdb."""
    backup = platform.backup()
    platform.lose()
    platform.compose("up", "--no-start")
    container = docker(
        "create",
        "--volume",
        f"{platform.volume}:/var/lib/platform3",
        "--label",
        f"platform3.recovery.environment={platform.id}",
        IMAGE,
    )
    docker("cp", str(platform.set_path / backup["artefacts"][0]["path"]), f"{container}:/var/lib/platform3/dump.rdb")
    platform.in_volume(
        "cd /var/lib/platform3; mkdir data; cp dump.rdb data/; printf %s " + platform.id + " > environment_id"
    )
    copied = platform.in_volume("stat -c %s /var/lib/platform3/data/dump.rdb")
    assert int(copied) == backup["artefacts"][0]["bytes"]
    platform.compose("up", "--detach")
    assert sizes(platform) == (0, 0)


def test_a_flipped_bit_is_refused_before_anything_is_exchanged(platform: Platform) -> None:
    backup = platform.backup()
    path = platform.set_path / backup["artefacts"][0]["path"]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    assert path.read_bytes() != bytes(0) and len(damaged) == backup["artefacts"][0]["bytes"]
    docker("rm", "--force", platform.id)
    before = platform.in_volume("cd /var/lib/platform3/data; find . -type f | sort | xargs sha256sum")

    result = platform.run("redis_restore", platform.restore_input(backup))
    assert result["failed"] and result["error"]["code"] == "PRC-604", result
    assert platform.in_volume("cd /var/lib/platform3/data; find . -type f | sort | xargs sha256sum") == before
    assert docker("ps", "--quiet", "--filter", f"label=platform3.recovery.environment={platform.id}") == ""


def test_a_snapshot_that_lost_keys_is_refused_although_its_hash_is_right(platform: Platform) -> None:
    """Keys are compared before the exchange, not only bytes."""
    backup = platform.backup()
    backup["content"]["keys"]["0"]["persistent"] += 1
    platform.lose()
    result = platform.run("redis_restore", platform.restore_input(backup))
    assert result["failed"] and result["error"]["code"] == "PRC-608", result
    assert [one["name"] for one in result["checks"] if not one["ok"]]
    assert platform.in_volume("ls /var/lib/platform3/data 2>/dev/null || true") == ""


def test_a_restore_killed_halfway_is_ended_by_the_next_epoch(platform: Platform) -> None:
    """The killed run's container is left behind, at work; the old data is in quarantine once at the end."""
    backup = platform.backup()
    docker("rm", "--force", platform.id)
    first = subprocess.Popen(
        platform.argv("redis_restore", platform.restore_input(backup, epoch=2)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=platform.environment(),
    )
    orphan = f"platform3-one-shot-{platform.volume}-2"
    for _ in range(400):
        if docker(
            "exec",
            orphan,
            "bash",
            "-c",
            "ls /var/lib/platform3/restore-r1/appendonlydir/appendonly.aof.1.base.rdb",
            check=False,
        ):
            break
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert docker("ps", "--quiet", "--filter", f"name={orphan}"), "the first run was to die at work"

    result = platform.run("redis_restore", platform.restore_input(backup, epoch=3))
    assert not result.get("failed"), result
    assert result["quarantined"] and sizes(platform) == WHOLE
    assert docker("ps", "--all", "--quiet", "--filter", f"name={orphan}") == ""
    assert platform.in_volume(
        "ls /var/lib/platform3/quarantine/r1/appendonlydir; cat /var/lib/platform3/epoch"
    ).endswith("3")

    again = platform.run("redis_restore", platform.restore_input(backup, epoch=4))
    assert not again.get("failed"), again
    assert again["expected_keys"] == result["expected_keys"] and sizes(platform) == WHOLE
    other = platform.run("redis_restore", platform.restore_input(backup, epoch=5, recovery_id="r2"))
    assert not other.get("failed"), other
    replaced = platform.run("redis_restore", platform.restore_input(backup, epoch=6))
    assert replaced["failed"] and replaced["error"]["code"] == "PRC-609", replaced
    late = platform.run("redis_restore", platform.restore_input(backup, epoch=3))
    assert late["failed"] and late["error"]["code"] == "PRC-402", late


def test_a_wrong_password_a_foreign_path_and_another_version_are_named(platform: Platform) -> None:
    backup = platform.backup()
    right, platform.password = platform.password, "wrong"
    wrong = platform.verify(backup)
    platform.password = right
    assert wrong["failed"] and wrong["error"]["code"] == "PRC-606"
    given = platform.restore_input(backup)
    given["artefact"]["path"] = "../compose.yaml"
    foreign = platform.run("redis_restore", given)
    assert foreign["failed"] and foreign["error"]["code"] == "PRC-604"
    given = platform.restore_input(backup)
    given["content"] = {**given["content"], "version": "7.2.4"}
    docker("rm", "--force", platform.id)
    other = platform.run("redis_restore", given)
    assert other["failed"] and other["error"]["code"] == "PRC-602", other
    platform.compose("up", "--detach")
    assert sizes(platform) == (WHOLE[0], WHOLE[1] + PRICES)
