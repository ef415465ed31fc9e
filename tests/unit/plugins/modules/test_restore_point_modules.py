# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points of all datastores: recorded once, signed, resolved, refused with the nearest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _input_forms as forms
from ansible_collections.platform3.recovery.plugins.module_utils import _restore_points, _signing
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import parse_target
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import _SAFE
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, Store, run

NAME, AT = "before-release-7", "2026-11-23T05:17:00.012345Z"
ID = {"environment_id": ENVIRONMENT["environment_id"]}
FENCE = {"fence": {"recovery_id": "backup-20261123T051700Z", "epoch": 3}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, name: str = NAME, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    given = {
        "store_path": str(store.path),
        "name": name,
        "at": AT,
        "lsn": "0/5000118",
        "timeline": 1,
        "by": "jane@here",
    }
    given |= {"segment": "0" * 7 + "1" + "0" * 15 + "5", "signing_key": store.key, **ID, **FENCE, **changes}
    return run("restore_point", given, check_mode)


def ask(store: Store, name: str = NAME, **changes: Any) -> dict[str, Any]:
    given = {"store_path": str(store.path), "trusted_signers": store.signers, "name": name, **ID}
    return run("restore_point_info", {**given, **changes})


def refusal(result: dict[str, Any]) -> tuple[str, str]:
    assert result.get("failed"), result
    return result["error"]["code"], result["error"]["found"]


def test_a_name_is_resolved_to_what_was_recorded(store: Store) -> None:
    made = put(store)
    assert made["changed"] and Path(made["path"]) == store.path / "restore_points" / f"{NAME}.json"
    assert [path.name for path in (store.path / "restore_points").iterdir()] == [f"{NAME}.json"]
    assert ask(store)["point"] == made["point"]
    assert (made["point"]["at"], made["point"]["lsn"], made["point"]["timeline"]) == (AT, "0/5000118", 1)
    assert store.key not in json.dumps(made)


def test_check_mode_writes_nothing(store: Store) -> None:
    assert put(store, check_mode=True)["changed"]
    assert not (store.path / "restore_points").exists()


def test_a_name_twice_is_refused_and_the_first_stays(store: Store) -> None:
    assert not ask(store, expected="free").get("failed")
    put(store)
    assert refusal(ask(store, expected="free"))[0] == "PRC-850"
    assert refusal(put(store, lsn="0/9000000"))[0] == "PRC-850"
    assert refusal(put(store, check_mode=True))[0] == "PRC-850"
    assert ask(store)["point"]["lsn"] == "0/5000118"


def test_of_two_at_once_the_file_system_takes_one(store: Store) -> None:
    put(store)
    point = _restore_points.RestorePoint(**{**ask(store)["point"], "lsn": "0/9000000"})
    with pytest.raises(RecoveryError, match="PRC-850"):
        _restore_points.write(str(store.path), point, store.key)
    assert ask(store)["point"]["lsn"] == "0/5000118"
    assert [path.name for path in (store.path / "restore_points").iterdir()] == [f"{NAME}.json"]


def test_an_unknown_name_lists_the_nearest_three_with_their_times(store: Store) -> None:
    assert refusal(ask(store)) == ("PRC-856", "the store holds no restore point")
    for number, name in enumerate(("before-release-6", "monthly", "before_release-8", "after-release-7")):
        put(store, name, at=f"2026-11-2{number}T05:17:00Z")
    code, found = refusal(ask(store, "Before-Release"))
    assert code == "PRC-851"
    for told in (
        "before-release-6 (2026-11-20 05:17:00Z)",
        "before_release-8 (2026-11-22",
        "after-release-7 (2026-11-23",
    ):
        assert told in found
    assert "monthly" not in found


def test_what_was_changed_or_signed_by_another_is_refused(store: Store) -> None:
    path = Path(put(store)["path"])
    put(store, "foreign", signing_key=store.foreign_key)
    assert refusal(ask(store, "foreign"))[0] == "PRC-853"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("05:17:00", "04:17:00"))
    code, found = refusal(ask(store))
    assert (code, found) == ("PRC-853", "it was changed after it was signed")
    path.write_text(text)
    (path.parent / "copied.json").write_text(text)
    assert refusal(ask(store, "copied"))[1] == f"it is {NAME} of environment {ID['environment_id']}"
    (path.parent / "torn.json").write_text(text[:40])
    assert refusal(ask(store, "torn"))[0] == "PRC-853"
    assert refusal(ask(store, environment_id="lab-fedcba987654"))[0] == "PRC-853"
    # None of them is named as one that could be taken.
    assert refusal(ask(store, "copie"))[1].endswith(f"the nearest are {NAME} (2026-11-23 05:17:00Z)")


@given(st.from_regex(_restore_points.NAME, fullmatch=True))
def test_the_second_copy_takes_the_file_of_every_name(name: str) -> None:
    assert forms.recovery_point_name(name) == name
    assert _SAFE.fullmatch(f"{_restore_points.FOLDER}/{name}{_restore_points.SUFFIX}")
    assert parse_target({"kind": "name", "value": name}).value == name


@pytest.mark.parametrize("name", ["../lock", "a/b", ".hidden", "", "a" * 64, "two words", "a:b"])
def test_what_is_no_name_reaches_no_file(store: Store, name: str) -> None:
    assert refusal(put(store, name))[0] == "PRC-855"
    assert refusal(ask(store, name, expected="free"))[0] == "PRC-855"
    assert refusal(ask(store, name))[0] == "PRC-856"
    assert not (store.path / "restore_points").exists()


def test_a_state_of_a_set_is_no_restore_point(store: Store) -> None:
    path = Path(put(store)["path"])
    record = json.loads(path.read_text())
    record["signature"] = _signing.sign(json.dumps({"a": "b"}).encode(), store.key).decode()
    path.chmod(0o644)
    path.write_text(json.dumps(record))
    assert refusal(ask(store))[0] == "PRC-853"


def test_the_store_of_another_environment_is_left_alone(store: Store) -> None:
    assert refusal(put(store, environment_id="lab-fedcba987654"))[0] == "PRC-205"


def test_points_are_listed_newest_first_with_what_is_wrong(store: Store) -> None:
    put(store, "second", at="2026-11-23T05:17:00Z")
    put(store, "first", at="2026-11-22T05:17:00Z")
    (store.path / "restore_points/torn.json").write_text("{")
    (store.path / "restore_points/.hidden").write_text("{")
    signers = _signing.allowed_signers(store.signers)
    found, problems = _restore_points.read_all(
        str(store.path), ID["environment_id"], lambda data, signature: _signing.signer_of(data, signature, signers)
    )
    assert [one.name for one in found] == ["second", "first"]
    assert len(problems) == 1 and "restore point torn cannot be used" in problems[0]


def test_a_store_that_cannot_be_written_says_how_the_instant_is_still_reached(store: Store) -> None:
    (store.path / "restore_points").write_text("a file where the folder should be")
    code, found = refusal(put(store))
    assert (code, found) == ("PRC-854", "File exists")
