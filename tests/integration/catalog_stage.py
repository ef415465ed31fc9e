# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup store as the modules really make it, on a PostgreSQL of its own: three full sets and an increment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.integration.postgresql_stage import CRITICAL_TABLES, IMAGE, Stage

OLDEST, MIDDLE, NEWEST, INCREMENT = ("20261120T051700Z", "20261121T051700Z", "20261122T051700Z", "20261122T052700Z")
OTHERS = {"redis": "8.0.2", "influxdb": "2.7.12", "configuration": "1"}


class Store:
    """A store and its state folder. With another one, a copy of it, to damage."""

    def __init__(self, stage: Stage, folder: Path, other: Store | None = None) -> None:
        self.stage, self.folder = stage, folder
        self.path, self.state = folder / "store", folder / "state"
        if other:
            subprocess.run(["cp", "--archive", other.path, other.state, folder], check=True)
            self.key, self.signers, self.foreign_key = other.key, other.signers, other.foreign_key
            # One-shot containers mount what the Compose project says: this store.
            env = (stage.folder / "compose.env").read_text().replace(str(stage.store), str(self.path))
            (folder / "compose.env").write_text(env)
            return
        self.path = stage.store
        self.state.mkdir(parents=True)
        for place in (self.path, self.state):
            (place / "environment_id").write_text(stage.id)
        self.key, public = self._make_key("key")
        self.foreign_key, _public = self._make_key("foreign")
        self.signers = [{"identity": "lab-backup", "public_key": public}]

    def _make_key(self, name: str) -> tuple[str, str]:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
        return path.read_text(), path.with_suffix(".pub").read_text()

    def make(self, set_id: str, kind: str = "full") -> None:
        """A backup set, by the modules that make one; PostgreSQL's part is real."""
        components = ["influxdb"] if kind == "increment" else ["postgresql", *OTHERS]
        fence = {"recovery_id": f"backup-{set_id}", "epoch": 1}
        given = {"store_path": str(self.path), "set_id": set_id, "fence": fence, "environment": "test"}
        given |= {"environment_id": self.stage.id, "trusted_signers": self.signers, "kind": kind}
        given |= {"components": components}
        begun = self.good(self.stage.module("backup_manifest", state="started", **given))["backup_set"]
        path = Path(begun["path"])
        results = {name: self._small(path, name) for name in components if name in OTHERS}
        if kind == "full":
            more = {"image": IMAGE, "environment_id": self.stage.id, "set_path": str(path), "set_id": set_id}
            shared = {**self.stage.shared(f"backup-{set_id}", 1), "critical_tables": CRITICAL_TABLES}
            results["postgresql"] = self.good(self.stage.module("postgresql_backup", **shared, **more))
        else:
            results["influxdb"]["content"]["chain"] = [*begun["parents"]["influxdb"]["chain"], set_id]
        self.good(
            self.stage.module("backup_manifest", state="complete", results=results, signing_key=self.key, **given)
        )

    @staticmethod
    def _small(folder: Path, component: str) -> dict[str, Any]:
        data = f"{component} of {folder.name}\n".encode() * 1000
        (folder / component / "data").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        record = {"path": f"{component}/data", "bytes": len(data), "sha256": digest, "component": component}
        record |= {"kind": "data", "source_version": OTHERS[component]}
        return {"artefacts": [record], "content": {"version": OTHERS[component]}}

    @staticmethod
    def good(result: dict[str, Any]) -> dict[str, Any]:
        """The result of a module that did not fail."""
        assert not result.get("failed"), result
        return result

    # The modules

    def shared(self) -> dict[str, Any]:
        """Inputs of what works on the whole store."""
        compose = {**self.stage.compose_input, "env_file": str(self.folder / "compose.env")}
        return {
            "store_path": str(self.path),
            "state_path": str(self.state),
            "environment_id": self.stage.id,
            "trusted_signers": self.signers,
            "compose": compose,
            "service": "postgresql",
            "image": IMAGE,
            "stanza": "platform3",
        }

    @property
    def log(self) -> dict[str, str]:
        """Redis' shipped log, for those that look at it."""
        return {"redis_log_path": str(self.path / "aof")}

    def catalog(self) -> dict[str, Any]:
        """The catalogue, and its table as one text."""
        result = self.good(self.stage.module("backup_catalog_info", environment="test", **self.shared()))
        return {**result["catalog"], "text": "\n".join(result["table"])}

    def states(self) -> dict[str, str]:
        """The state of each set."""
        return {one["id"]: one["state"] for one in self.catalog()["sets"]}

    def verify(self, **arguments: Any) -> dict[str, Any]:
        """Run backup_verify."""
        return self.stage.module("backup_verify", **self.shared(), signing_key=self.key, **arguments)

    def condemn(self, set_id: str, **arguments: Any) -> dict[str, Any]:
        """Run backup_set_state."""
        given = {"state": "condemned", "reason": "a test", "by": "somebody", "signing_key": self.key, **arguments}
        shared = {name: self.shared()[name] for name in ("store_path", "state_path", "trusted_signers")}
        return self.stage.module("backup_set_state", backup_set=set_id, **shared, **given)

    def choose(self) -> dict[str, Any]:
        """What a recovery would take."""
        given = {name: self.shared()[name] for name in ("store_path", "state_path", "environment_id")}
        return self.stage.module(
            "backup_manifest_info", environment="test", trusted_signers=self.signers, **given, backup_set="latest"
        )

    def lock(self, recovery_id: str, epoch: int, kind: str = "backup") -> None:
        """Give the lock to somebody."""
        held = {"environment_id": self.stage.id, "epoch": epoch, "holder": "test", "kind": kind, "run": 1}
        held |= {"recovery_id": recovery_id, "scenario": "backup", "taken_at": "2026-11-23T05:17:00.000Z"}
        (self.state / "lock").write_text(json.dumps(held, sort_keys=True) + "\n")

    def expire(self, check_mode: bool = False, **policy: int) -> dict[str, Any]:
        """Run backup_expire under the lock of expire-1."""
        rules = dict.fromkeys(("last", "hourly", "daily", "weekly", "monthly", "yearly", "min_tested", "bad_days"), 0)
        given: dict[str, Any] = {"policy": {**rules, **policy}, "fence": {"recovery_id": "expire-1", "epoch": 5}}
        given |= {"sandbox_path": str(self.state / "sandbox")}
        return self.stage.module("backup_expire", **self.shared(), **self.log, **given, _ansible_check_mode=check_mode)

    def former_life(self, name: str, epoch: str | None, written_at: str) -> None:
        """A folder of the store as one life of the data left it, nothing in it newer than that."""
        folder = self.path / name
        folder.mkdir(parents=True)
        (folder / ("appendonly.aof.1.incr.aof" if epoch else "000000010000000000000001.partial")).write_bytes(b"x" * 99)
        if epoch:
            (folder / "epoch").write_text(f"{epoch}\n")
        at = parse_iso(written_at)
        for path in (*folder.iterdir(), folder):
            os.utime(path, (at, at))

    # What is there

    def lives(self) -> set[str]:
        """Folders of streamed WAL and of shipped logs."""
        return {f"{kind}/{path.name}" for kind in ("wal-stream", "aof") for path in (self.path / kind).iterdir()}

    def folders(self) -> set[str]:
        """Names in the store that look like sets, of whatever kind."""
        return {path.name for path in self.path.iterdir() if path.name.startswith("2026")}

    def labels(self) -> list[str]:
        """Base backups in the repository."""
        folder = self.path / "pgbackrest/backup/platform3"
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("20"))

    def label_of(self, set_id: str) -> str:
        """The base backup that a set names."""
        manifest = json.loads((self.path / set_id / "backup_manifest.json").read_text())
        return str(manifest["components"]["postgresql"]["pgbackrest"]["label"])

    def segments(self) -> list[Path]:
        """Files of the WAL archive, oldest first."""
        found = (self.path / "pgbackrest/archive").rglob("*.lz4")
        return sorted(found, key=lambda path: path.name)

    def damage(self, path: Path) -> None:
        """Change a byte, and leave size and time as they are, as a bad disk does; the inode's time tells."""
        before = path.stat()
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
        shutil.os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
