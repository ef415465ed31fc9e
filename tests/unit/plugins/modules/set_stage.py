# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup store in a folder, and the modules backup_manifest and backup_manifest_info run on it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

FIRST, SECOND, THIRD = "20261121T051700Z", "20261122T051700Z", "20261123T051700Z"
ENVIRONMENT = {"environment": "lab", "environment_id": "lab-0123456789ab"}
VERSIONS = {"postgresql": "17.11", "redis": "8.0.2", "influxdb": "2.7.12", "configuration": "1"}


def run(name: str, arguments: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """The result of a module, with arguments as Ansible hands them over."""
    module = importlib.import_module(f"ansible_collections.platform3.recovery.plugins.modules.{name}")
    printed = io.StringIO()
    given = {**arguments, "_ansible_check_mode": check_mode}
    with patch_module_args(given), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
    return result


def make_key(path: Path) -> tuple[str, str]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


class Store:
    """A backup store in a folder, with the modules' inputs for it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "backups"
        self.path.mkdir()
        (self.path / "environment_id").write_text(ENVIRONMENT["environment_id"])
        self.key, public = make_key(folder / "key")
        self.foreign_key, self.foreign_public = make_key(folder / "foreign")
        self.signers = [{"identity": "lab-backup", "public_key": public}]

    def begin(self, set_id: str, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
        fence = {"recovery_id": f"backup-{set_id}", "epoch": 1}
        given = {"state": "started", "store_path": str(self.path), "set_id": set_id, "fence": fence, **ENVIRONMENT}
        return run("backup_manifest", {**given, **changes}, check_mode)

    def write(self, set_id: str) -> dict[str, Any]:
        """Write each component's files; returns the results that its module would give."""
        folder = self.path / f"{set_id}.incomplete"
        label = f"{set_id[:8]}-{set_id[9:15]}F"
        base = self.path / "pgbackrest/backup/platform3" / label
        base.mkdir(parents=True)
        (base / "backup.manifest").write_text(label)
        results: dict[str, Any] = {}
        for component, version in VERSIONS.items():
            content = f"{component} of {set_id}\n".encode() * 1000
            path = f"{component}/data_{set_id}"
            (folder / path).write_bytes(content)
            record = {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            record |= {"component": component, "kind": "data", "source_version": version}
            results[component] = {"artefacts": [record], "content": {"version": version}, "changed": True}
        results["postgresql"]["content"]["pgbackrest"] = {
            "stanza": "platform3",
            "label": label,
            "manifest_sha256": hashlib.sha256(label.encode()).hexdigest(),
        }
        return results

    def complete(
        self, set_id: str, results: dict[str, Any], check_mode: bool = False, **changes: Any
    ) -> dict[str, Any]:
        given = {"state": "complete", "store_path": str(self.path), "set_id": set_id, "results": results}
        given |= {"fence": {"recovery_id": f"backup-{set_id}", "epoch": 1}, **ENVIRONMENT}
        given |= {"signing_key": self.key, "trusted_signers": self.signers}
        return run("backup_manifest", {**given, **changes}, check_mode)

    def make(self, set_id: str) -> dict[str, Any]:
        assert not self.begin(set_id).get("failed")
        made = self.complete(set_id, self.write(set_id))
        assert not made.get("failed"), made
        return made

    def look(self, **changes: Any) -> dict[str, Any]:
        given = {"store_path": str(self.path), "trusted_signers": self.signers, **ENVIRONMENT}
        return run("backup_manifest_info", {**given, **changes})

    def resign(self, set_id: str, manifest: dict[str, Any], key: str | None = None) -> None:
        """Put another manifest with a good signature into a set: what a thief of the key could do."""
        folder = self.path / set_id
        raw = json.dumps(manifest).encode()
        key_path = self.path.parent / "resigning"
        key_path.write_text(key or self.key)
        key_path.chmod(0o600)
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key_path), "-n", "platform3-backup"]
        signature = subprocess.run(argv, input=raw, capture_output=True, check=True).stdout
        for name, content in (("backup_manifest.json", raw), ("backup_manifest.json.sig", signature)):
            (folder / name).chmod(0o644)
            (folder / name).write_bytes(content)

    def manifest(self, set_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / set_id / "backup_manifest.json").read_text())
        return found
