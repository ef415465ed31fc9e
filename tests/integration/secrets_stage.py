# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a configuration and secrets, and a store to which signed sets of it are written; no lab is needed."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.platform3.recovery.plugins.module_utils import _backup_store, _manifest, _signing

from tests.integration.bad_input import ROOT, Ended, playbook

SET = "20261123T051700Z"
ENVIRONMENT = "scratch"
ENVIRONMENT_ID = "scratch-secrets-0001"
SECRETS = {
    "database_password": b"correct-horse-battery",
    "deep/token": b"staple-0815-4711",
    "cert.pem": bytes(range(256)),
}


def pair() -> tuple[str, str]:
    """A fresh identity and its recipient."""
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
    return made.stdout, made.stderr.split()[-1]


OPERATOR, SAFE, STRANGER = pair(), pair(), pair()


class Scratch:
    """A host with a configuration and secrets, and a store to which sets of it are written and signed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.inventory = folder, folder / "store", folder / "inventory"
        self.target = folder / "restored"
        self._monkeypatch = monkeypatch
        self.compose = {
            "project": "platform3-scratch",
            "directory": str(folder / "project"),
            "files": ["compose.yaml"],
            "env_file": str(folder / "compose.env"),
        }
        for place in ("project", "secrets/deep", "store/fence", "state", "inventory/group_vars"):
            (folder / place).mkdir(parents=True)
        for place in ("store", "state"):
            (folder / place / "environment_id").write_text(ENVIRONMENT_ID)
        (folder / "project/compose.yaml").write_text("services: {redis: {image: 'platform3/redis:8'}}\n")
        (folder / "compose.env").write_text("PORT=1\nAPI_TOKEN=wonder-wall-1995\n")
        for name, content in SECRETS.items():
            (folder / "secrets" / name).write_bytes(content)
        for name, (identity, _recipient) in {"operator": OPERATOR, "safe": SAFE, "stranger": STRANGER}.items():
            (folder / name).write_text(identity)
        key = folder / "signing_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.signing_key = key.read_text()
        self.signers = [{"identity": "scratch", "public_key": (folder / "signing_key.pub").read_text().strip()}]
        self._write_inventory()

    def _write_inventory(self) -> None:
        hosts = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text(encoding="utf-8"))
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        for name in ("postgresql", "redis", "influxdb", "app_services"):
            (self.inventory / f"group_vars/{name}.yml").write_text(f"recovery_component: {name}\n")
        facts = {
            "recovery_environment": ENVIRONMENT,
            "recovery_environment_id": ENVIRONMENT_ID,
            "backup_store_path": str(self.store),
            "recovery_state_path": str(self.folder / "state"),
            "recovery_compose": self.compose,
            "backup_set_trusted_signers": self.signers,
            "backup_set_signing_key": f"{{{{ lookup('file', '{self.folder}/signing_key', rstrip=false) }}}}",
            "configuration_secret_paths": [str(self.folder / "secrets")],
            "configuration_age_recipients": [OPERATOR[1], SAFE[1]],
            "schedule_install": False,
            "schedule_units_path": str(self.folder / "units"),
        }
        (self.inventory / "group_vars/all.yml").write_text(yaml.safe_dump(facts))

    def back_up(self, set_id: str = SET, **changes: Any) -> dict[str, Any]:
        """Run the module as the role does; the engine's answer is given, for no image matters here."""
        path = _backup_store.begin(str(self.store), set_id, {"backup_set": set_id})
        module = importlib.import_module("ansible_collections.platform3.recovery.plugins.modules.configuration_backup")
        self._monkeypatch.setattr(module, "images_here", lambda _compose: ({}, []))
        arguments = {
            "fence": {"recovery_id": "r", "epoch": 1},
            "compose": self.compose,
            "set_path": path,
            "secret_paths": [str(self.folder / "secrets")],
            "age_recipients": [OPERATOR[1], SAFE[1]],
            "digest_key": "key",
            **changes,
        }
        printed = io.StringIO()
        with patch_module_args(arguments), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
        return result

    def complete(self, made: dict[str, Any], set_id: str = SET) -> Path:
        """Sign the set, in which the datastores are empty, and give it its name."""
        final = self.store / set_id
        manifest = _manifest.build(
            set_id=set_id,
            environment=ENVIRONMENT,
            environment_id=ENVIRONMENT_ID,
            sequence=1,
            started_at="2026-11-23T05:17:00Z",
            finished_at="2026-11-23T05:17:01Z",
            components={
                **{name: {"version": "1"} for name in ("postgresql", "redis", "influxdb")},
                "configuration": made["content"],
            },
            artefacts=made["artefacts"],
        )
        raw, path = _manifest.render(manifest), f"{final}.incomplete"
        _backup_store.write_durable(f"{path}/{_manifest.MANIFEST_NAME}", raw)
        signature = _signing.sign(raw, self.signing_key)
        _backup_store.write_durable(f"{path}/{_manifest.SIGNATURE_NAME}", signature)
        _backup_store.seal(path, str(final))
        return final

    def restore(self, identity: str, *more: str) -> Ended:
        return playbook(
            self.inventory,
            "playbooks/restore_secrets.yml",
            "-e",
            f"configuration_age_identity={self.folder / identity}",
            "-e",
            f"configuration_secrets_target={self.target}",
            *more,
        )

    def restored(self) -> dict[str, bytes]:
        files = [path for path in self.target.rglob("*") if path.is_file()]
        return {path.relative_to(self.target).as_posix(): path.read_bytes() for path in files}
