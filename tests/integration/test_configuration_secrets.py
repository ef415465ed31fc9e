# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets into a signed set and out again, with the real age: nowhere in clear, for two recipients, for nobody else."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _age
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.secrets_stage import OPERATOR, SAFE, SECRETS, SET, STRANGER, Scratch

pytestmark = [pytest.mark.integration, pytest.mark.lab]


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
