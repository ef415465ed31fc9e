# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets into a signed set and out again, with the real age: nowhere in clear, for two recipients, for nobody else."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.platform3.recovery.plugins.module_utils import _age, _backup_store, _manifest, _signing
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.bad_input import ROOT, Ended, playbook

pytestmark = pytest.mark.integration

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


@settings(max_examples=10, deadline=None)
@given(st.binary(max_size=300000))
def test_each_recipient_opens_it_alone(drawn: bytes) -> None:
    clear = b"in no header: " + drawn
    sealed = _age.seal(clear, [OPERATOR[1], SAFE[1]])
    assert clear not in sealed
    for identity, _recipient in (OPERATOR, SAFE):
        assert _age.unseal(sealed, identity) == clear


@pytest.mark.parametrize("changed", [0, 1])
def test_nobody_else_opens_it_and_no_bit_of_it_can_be_changed(changed: int) -> None:
    sealed = _age.seal(b"secret", [OPERATOR[1], SAFE[1]])
    with pytest.raises(RecoveryError) as caught:
        if changed:
            _age.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), OPERATOR[0])
        else:
            _age.unseal(sealed, STRANGER[0])
    assert caught.value.code == "PRC-353"


def test_a_recipient_with_a_wrong_checksum_is_refused() -> None:
    wrong = SAFE[1][:-1] + ("q" if SAFE[1][-1] != "q" else "p")
    with pytest.raises(RecoveryError) as caught:
        _age.seal(b"secret", [OPERATOR[1], wrong])
    assert caught.value.code == "PRC-352"


class Scratch:
    """A host with a configuration and secrets, and a store to which sets of it are written and signed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.inventory = folder, folder / "store", folder / "inventory"
        self.target = folder / "restored"
        self._monkeypatch = monkeypatch
        for place in ("project", "secrets/deep", "store", "inventory/group_vars"):
            (folder / place).mkdir(parents=True)
        (self.store / "environment_id").write_text(ENVIRONMENT_ID)
        (folder / "project/compose.yaml").write_text("services: {}\n")
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
        facts = {
            "recovery_environment": ENVIRONMENT,
            "recovery_environment_id": ENVIRONMENT_ID,
            "backup_store_path": str(self.store),
            "recovery_state_path": str(self.folder / "state"),
            "recovery_compose": {},
            "backup_set_trusted_signers": self.signers,
        }
        (self.inventory / "group_vars/all.yml").write_text(yaml.safe_dump(facts))

    def back_up(self, set_id: str = SET, **changes: Any) -> dict[str, Any]:
        """Run the module as the role does; the engine's answer is given, for no image matters here."""
        path = _backup_store.begin(str(self.store), set_id, {"backup_set": set_id})
        module = importlib.import_module("ansible_collections.platform3.recovery.plugins.modules.configuration_backup")
        self._monkeypatch.setattr(module, "images_here", lambda _compose: ({}, []))
        arguments = {
            "fence": {"recovery_id": "r", "epoch": 1},
            "compose": {
                "project": "p",
                "directory": str(self.folder / "project"),
                "files": ["compose.yaml"],
                "env_file": str(self.folder / "compose.env"),
            },
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
        """Sign the set and give it its name."""
        final = self.store / set_id
        manifest = _manifest.build(
            set_id=set_id,
            environment=ENVIRONMENT,
            environment_id=ENVIRONMENT_ID,
            sequence=1,
            started_at="2026-11-23T05:17:00Z",
            finished_at="2026-11-23T05:17:01Z",
            components={"configuration": made["content"]},
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


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    return Scratch(tmp_path, monkeypatch)


def test_secrets_make_the_round_trip_and_stand_nowhere_in_clear(scratch: Scratch) -> None:
    made = scratch.back_up()
    folder = scratch.complete(made)
    clear = [*SECRETS.values(), b"wonder-wall-1995"]
    forms = [form for one in clear for form in (one, base64.b64encode(one).rstrip(b"="), one.hex().encode())]
    for path in folder.rglob("*"):
        if path.is_file():
            assert not [form for form in forms if form in path.read_bytes()], path
    assert made["content"]["secrets"]["recipients"] == [OPERATOR[1], SAFE[1]]
    ended = scratch.restore("safe", f"-erecovery_backup_set={SET}")
    assert ended.status == 0, ended.text
    wanted = {f"secrets/{name}": content for name, content in SECRETS.items()}
    assert scratch.restored() == {**wanted, "compose.env": (scratch.folder / "compose.env").read_bytes()}
    assert {path.stat().st_mode & 0o777 for path in scratch.target.rglob("*") if path.is_file()} == {0o600}
    assert not [one for one in clear[:2] if one.decode() in ended.text], "a secret was printed"
    again = scratch.restore("safe")
    assert again.status != 0 and "[PRC-357]" in again.text, "a folder with files in it was written to"


def test_what_is_wrong_is_refused_and_nothing_is_written(scratch: Scratch) -> None:
    folder = scratch.complete(scratch.back_up())
    for identity, code in (("stranger", "PRC-353"), ("nowhere", "PRC-354")):
        ended = scratch.restore(identity)
        assert ended.status != 0 and f"[{code}]" in ended.text, ended.text
    checked = scratch.restore("operator", "--check")
    assert checked.status == 0, checked.text
    sealed = folder / "configuration/secrets.age"
    content = sealed.read_bytes()
    sealed.chmod(0o644)
    sealed.write_bytes(_age.seal(b"another", [OPERATOR[1], SAFE[1]]))
    ended = scratch.restore("operator")
    assert ended.status != 0 and "[PRC-230]" in ended.text, "what was put in its place was taken"
    sealed.write_bytes(content)
    assert not scratch.target.exists() and list(scratch.folder.glob("restored*")) == []


def test_by_hand_age_and_tar_are_enough(scratch: Scratch, tmp_path: Path) -> None:
    folder = scratch.complete(scratch.back_up())
    (tmp_path / "hand").mkdir()
    script = (
        f"age --decrypt --identity {tmp_path}/operator {folder}/configuration/secrets.age | tar x -C {tmp_path}/hand"
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", script], check=True)
    assert (tmp_path / "hand/secrets/deep/token").read_bytes() == SECRETS["deep/token"]


def test_one_recipient_is_refused_before_anything_is_written(scratch: Scratch) -> None:
    result = scratch.back_up(age_recipients=[OPERATOR[1]])
    assert result["error"]["code"] == "PRC-350"
    assert not [path for path in (scratch.store / f"{SET}.incomplete/configuration").rglob("*")]


def test_a_secret_that_also_stands_in_a_configuration_file_ends_the_backup(scratch: Scratch) -> None:
    (scratch.folder / "project/compose.yaml").write_text("x: staple-0815-4711\n")
    result = scratch.back_up()
    assert result["error"]["code"] == "PRC-241" and "staple" not in json.dumps(result)


def change_secret(scratch: Scratch) -> dict[str, Any]:
    (scratch.folder / "secrets/database_password").write_bytes(b"rotated-since-then")
    return {}


def change_file(scratch: Scratch) -> dict[str, Any]:
    (scratch.folder / "project/compose.yaml").write_text("services: {more: {}}\n")
    return {}


def change_recipient(_scratch: Scratch) -> dict[str, Any]:
    return {"age_recipients": [OPERATOR[1], STRANGER[1]]}


def change_inventory(_scratch: Scratch) -> dict[str, Any]:
    return {"inventory": {"jobs": ["more"]}}


@pytest.mark.parametrize("change", [change_secret, change_file, change_recipient, change_inventory])
def test_an_increment_is_written_when_something_changed_and_only_then(scratch: Scratch, change: Any) -> None:
    first = scratch.back_up()["content"]
    same = scratch.back_up("20261123T061700Z", previous=first)
    assert (same["unchanged"], same["changed"], same["artefacts"]) == (True, False, [])
    assert same["content"] == first
    assert os.listdir(scratch.store / "20261123T061700Z.incomplete/configuration") == []
    changed = scratch.back_up("20261123T071700Z", previous=first, **change(scratch))
    assert changed["changed"] and changed["artefacts"] and changed["content"]["digest"] != first["digest"]
    assert scratch.back_up(digest_key="other")["content"]["digest"] != changed["content"]["digest"]
