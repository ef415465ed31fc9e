# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test of bad input needs: an inventory, a store and a state folder of its own, and a digest of what is live."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.platform3.recovery.plugins.module_utils import _manifest, _signing

from tests.integration.scratch import docker

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LAB_INVENTORY = ROOT / "inventories/lab"
STORE = Path("/opt/platform3/backups")
SECRETS = ROOT / "secrets/lab"
TIMEOUT_SECONDS = 240

Manifest = dict[str, Any]


def environment_id() -> str:
    """The lab's id."""
    return (ROOT / "lab/run/environment_id").read_text(encoding="utf-8").strip()


def secret(name: str) -> str:
    """One of the lab's secrets."""
    return (SECRETS / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Ended:
    """How a run of ansible-playbook ended. text: what it printed, white space evened out."""

    status: int
    text: str


def playbook(inventory: Path, name: str, *arguments: str, environment: dict[str, str] | None = None) -> Ended:
    """Run a playbook of the checkout against an inventory."""
    done = subprocess.run(
        [BIN / "ansible-playbook", "--inventory", inventory, name, *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Ended(done.returncode, re.sub(r"\s+", " ", done.stdout))


class Bench:
    """A folder with an inventory like the lab's, a state folder and a backup store that a test may spoil."""

    def __init__(self, folder: Path, backup: Path) -> None:
        self.inventory, self.state, self.store = folder / "inventory", folder / "state", folder / "store"
        self.reports, self.refusals = folder / "reports", folder / "docker_refusals"
        (folder / "bin").mkdir()
        (folder / "bin/docker").symlink_to(ROOT / "tests/integration/docker_that_only_looks")
        self.environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "REAL_DOCKER": str(shutil.which("docker")),
            "DOCKER_REFUSALS": str(self.refusals),
        }
        self.hosts: dict[str, Any] = yaml.safe_load((LAB_INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
        for place in (self.inventory / "group_vars", self.state, self.store):
            place.mkdir(parents=True)
        for group in (LAB_INVENTORY / "group_vars").iterdir():
            (self.inventory / "group_vars" / group.name).mkdir()
            for path in group.iterdir():
                (self.inventory / "group_vars" / group.name / path.name).symlink_to(path)
        self.write_hosts()
        self.give(
            lab_root=str(ROOT),
            backup_store_path=str(self.store),
            recovery_state_path=str(self.state),
            recovery_report_dir=str(self.reports),
            # A store without a good set is what is tried here: nothing else may help out.
            second_copy_url="",
            # The platform's own door stays as it is, whatever happens.
            platform_close_argv=["touch", str(folder / "closed")],
            platform_open_argv=["rm", "--force", str(folder / "closed")],
            platform_epoch_path=str(folder / "gateway_epoch"),
        )
        for place in (self.state, self.store):
            (place / "environment_id").write_text(environment_id(), encoding="utf-8")
        shutil.copytree(STORE / "fence", self.store / "fence")
        for name in ("pgbackrest", "wal-stream"):
            (self.store / name).symlink_to(STORE / name)
        self.set = self.copy_set(backup)

    def write_hosts(self) -> None:
        """Write the inventory's hosts as `hosts` says."""
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(self.hosts), encoding="utf-8")

    def give(self, **variables: Any) -> None:
        """Set variables of group all over those of the lab."""
        path = self.inventory / "group_vars/all/zz_test.yml"
        known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(yaml.safe_dump({**known, **variables}), encoding="utf-8")

    def copy_set(self, backup: Path, name: str | None = None) -> Path:
        """Lay a set into the store. Its files are hard links: replace() them, never write into them."""
        target = self.store / (name or backup.name)
        shutil.copytree(backup, target, copy_function=_link_or_copy)
        return target

    def recover(self, *arguments: str, environment: dict[str, str] | None = None) -> Ended:
        """A full recovery from this store, with a docker that only looks."""
        given = {**self.environment, **(environment or {})}
        return playbook(self.inventory, "full_recovery.yml", *arguments, environment=given)

    def asked_the_engine_to_change(self) -> str:
        """What docker was told to change."""
        return self.refusals.read_text(encoding="utf-8") if self.refusals.exists() else ""

    # --- ways to spoil the set ---------------------------------------------------------------------------------------

    def manifest(self) -> Manifest:
        """The manifest of the set."""
        return dict(json.loads((self.set / _manifest.MANIFEST_NAME).read_text(encoding="utf-8")))

    def write_manifest(self, manifest: Manifest, signing_key: str | None = None) -> None:
        """Replace the manifest, and sign it where a key is given. It is written as it is, wrong or not."""
        raw = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        replace(self.set / _manifest.MANIFEST_NAME, raw)
        if signing_key is not None:
            replace(self.set / _manifest.SIGNATURE_NAME, _signing.sign(raw, signing_key))

    def edit_manifest(self, edit: Callable[[Manifest], object], signing_key: str | None = None) -> None:
        """Change the manifest in place, and sign it again where a key is given."""
        manifest = self.manifest()
        edit(manifest)
        self.write_manifest(manifest, signing_key)

    def artefact(self, component: str) -> Path:
        """The largest file of a component that a recovery reads."""
        found = [one for one in self.manifest()["artefacts"] if one["component"] == component and one["kind"] != "dump"]
        return self.set / str(max(found, key=lambda one: int(one["bytes"]))["path"])


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def replace(path: Path, data: bytes) -> None:
    """Give a file other bytes without touching those it shared with a hard link."""
    path.unlink()
    path.write_bytes(data)


def complete_sets() -> list[Path]:
    """The complete sets of the lab's own store, oldest first."""
    return sorted(path.parent for path in STORE.glob("*Z/backup_manifest.json"))


def live(until: str) -> dict[str, Any]:
    """A digest of everything that a run which is refused must leave alone. until: figures of what was settled then."""
    label = f"label=platform3.recovery.environment={environment_id()}"
    standing = ["--filter", "label=com.docker.compose.oneoff=False", "--filter", label]
    containers = docker("ps", "--all", "--quiet", "--no-trunc", *standing).split()
    volumes = docker("volume", "ls", "--quiet", "--filter", label).split()
    figures = f"SELECT count(*), sum(quantity), max(order_id) FROM orders WHERE created_at < '{until}'"
    inside = {
        name: docker(
            "exec",
            name,
            "bash",
            "-c",
            "cd /var/lib/platform3 && ls -A . quarantine 2>&1; tail -n +1 epoch environment_id; stat -c '%i %W' data",
        )
        for name in ("forex-postgres", "forex-redis", "forex-influxdb")
    }
    control = ROOT / "lab/run/control"
    return {
        "containers": docker(
            "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Status}} {{.RestartCount}}", *containers
        ),
        "volumes": docker("volume", "inspect", "--format", "{{.Name}} {{.CreatedAt}}", *volumes),
        "inside": inside,
        "rows": docker("exec", "forex-postgres", "psql", "-U", "postgres", "-d", "forex_trading", "-Atc", figures),
        "points": points(until),
        "keys": canary(),
        "control": {path.name: path.read_text(encoding="utf-8") for path in control.iterdir()},
        "sets": {path.parent.name: path.stat().st_mtime_ns for path in STORE.glob("*Z/backup_manifest.json")},
    }


def points(until: str) -> str:
    """How many points InfluxDB holds from before an instant."""
    query = (
        f'from(bucket: "market-data") |> range(start: 2000-01-01T00:00:00Z, stop: {until})'
        ' |> filter(fn: (r) => r._field == "bid") |> group() |> count()'
    )
    request = urllib.request.Request(
        "http://127.0.0.1:8086/api/v2/query?org=forex-trading",
        data=query.encode(),
        headers={"Authorization": f"Token {secret('influxdb_token')}", "Content-Type": "application/vnd.flux"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode().strip().rsplit(",", 1)[-1])


def redis_client() -> Any:
    """Redis as its administrator."""
    import redis

    return redis.Redis(username="forex_admin", password=secret("redis_password"), decode_responses=True)


CANARY = "bad-input:canary"


def canary() -> tuple[str, str]:
    """The value of the canary key and the run id of the server that answers."""
    client = redis_client()
    return str(client.get(CANARY)), str(client.info("server")["run_id"])
