# SPDX-License-Identifier: GPL-3.0-or-later
"""Increments: what they hold and inherit, and what a broken chain does to them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules.set_stage import FIRST, SECOND, THIRD, Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with three sets, to be copied and not changed."""
    store = Store(tmp_path_factory.mktemp("made"))
    for set_id in (FIRST, SECOND, THIRD):
        store.make(set_id)
    return store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A copy of the store with three sets, to damage."""
    copy = object.__new__(Store)
    copy.__dict__ |= made.__dict__
    copy.path = tmp_path / "backups"
    shutil.copytree(made.path, copy.path)
    return copy


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path)


def increment(store: Store, set_id: str, chain: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """The result of completing an increment of influxdb, which goes on with its chain (or with this one)."""
    begun = store.begin(set_id, kind="increment", components=["influxdb"], trusted_signers=store.signers)
    assert not begun.get("failed"), begun
    results = {"influxdb": store.write(set_id)["influxdb"]}
    known = begun["backup_set"]["parents"]["influxdb"]["chain"]
    results["influxdb"]["chain"] = [*known, set_id] if chain is None else chain
    for component in ("postgresql", "redis", "configuration"):
        (store.path / f"{set_id}.incomplete/{component}/data_{set_id}").unlink()
    return store.complete(set_id, results, **changes)


FOURTH, FIFTH = "20261123T051800Z", "20261123T051900Z"


def test_an_increment_holds_what_was_asked_for_and_inherits_the_rest(store: Store) -> None:
    assert not increment(store, FOURTH).get("failed")
    assert not increment(store, FIFTH).get("failed")
    manifest = store.manifest(FIFTH)
    assert manifest["parent"] == FOURTH
    assert manifest["chains"] == {
        "influxdb": [THIRD, FOURTH, FIFTH],
        **dict.fromkeys(("postgresql", "redis", "configuration"), [THIRD]),
    }
    assert manifest["components"]["redis"] == store.manifest(THIRD)["components"]["redis"]
    looked = store.look(verify="bytes")
    assert looked["set"]["id"] == FIFTH and looked["verified"]["files"] == 4 + 2
    parts = looked["set"]["components"]
    assert [one["id"] for one in parts["influxdb"]["older"]] == [THIRD, FOURTH]
    assert parts["influxdb"]["path"] == str(store.path / FIFTH) and len(parts["influxdb"]["artefacts"]) == 1
    assert (parts["redis"]["path"], parts["redis"]["older"]) == (str(store.path / THIRD), [])
    assert parts["redis"]["artefacts"][0]["path"] == f"redis/data_{THIRD}"


def test_an_increment_that_was_taken_whole_begins_a_new_chain(store: Store) -> None:
    increment(store, FOURTH, chain=[FOURTH])
    assert store.manifest(FOURTH)["chains"]["influxdb"] == [FOURTH]
    shutil.rmtree(store.path / THIRD)
    assert store.look(components=["influxdb"])["set"]["id"] == FOURTH
    assert store.look()["set"]["id"] == SECOND


def test_an_increment_without_a_set_before_it_is_refused(empty: Store) -> None:
    begun = empty.begin(FIRST, kind="increment", components=["influxdb"], trusted_signers=empty.signers)
    assert (begun.get("failed"), begun["error"]["code"]) == (True, "PRC-750")
    assert "take a full backup" in begun["error"]["next_step"]
    assert list(empty.path.glob("2*")) == []


@pytest.mark.parametrize("gone", [THIRD, FOURTH])
@pytest.mark.parametrize("way", ["missing", "incomplete", "unsigned", "damaged manifest"])
def test_a_broken_chain_is_passed_over_and_refused_when_asked_for(store: Store, gone: str, way: str) -> None:
    increment(store, FOURTH)
    increment(store, FIFTH)
    folder = store.path / gone
    if way == "missing":
        shutil.rmtree(folder)
    elif way == "incomplete":
        folder.rename(store.path / f"{gone}.incomplete")
    elif way == "unsigned":
        (folder / "backup_manifest.json.sig").unlink()
    else:
        store.resign(gone, {**store.manifest(gone), "sequence": 99}, store.foreign_key)
    looked = store.look()
    assert looked["set"]["id"] == (SECOND if gone == THIRD else THIRD)
    reasons = {one["id"]: one["reason"] for one in looked["passed_over"]}
    assert f"its chain is broken: {gone} " in reasons[FIFTH]
    asked = store.look(backup_set=FIFTH)
    assert (asked.get("failed"), asked["error"]["code"]) == (True, "PRC-202")
    assert f"its chain is broken: {gone} " in asked["error"]["found"]
    # What the chain of another component lacks takes nothing from this one.
    assert gone == THIRD or store.look(components=["redis"])["set"]["id"] == FIFTH


def test_damaged_bytes_along_the_chain_name_the_set_and_one_that_does_not_read_it(store: Store) -> None:
    increment(store, FOURTH)
    increment(store, FIFTH)
    path = store.path / THIRD / f"influxdb/data_{THIRD}"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"i", b"j", 1))
    looked = store.look(verify="bytes")
    assert (looked.get("failed"), looked["error"]["code"]) == (True, "PRC-230")
    assert f"{THIRD}/influxdb/data_{THIRD} is damaged" in looked["error"]["found"]
    assert f"-e recovery_backup_set={SECOND};" in looked["error"]["next_step"]


@pytest.mark.parametrize(
    ("chain", "says"), [([FIRST, THIRD, FOURTH], "another chain"), ([FIFTH, FOURTH], "is missing")]
)
def test_an_increment_with_a_chain_that_no_recovery_would_read_is_not_completed(
    store: Store, chain: list[str], says: str
) -> None:
    made = increment(store, FOURTH, chain)
    assert (made.get("failed"), made["error"]["code"]) == (True, "PRC-207")
    assert says in made["error"]["found"] and not (store.path / FOURTH).exists()


def test_a_component_that_was_asked_for_and_gave_nothing_keeps_the_set_incomplete(store: Store) -> None:
    store.begin(FOURTH, kind="increment", components=["influxdb", "redis"], trusted_signers=store.signers)
    made = store.complete(FOURTH, {"influxdb": store.write(FOURTH)["influxdb"]})
    assert made.get("failed") and "redis gave no result" in made["error"]["found"]


def test_an_increment_is_not_completed_where_its_parent_went_away(store: Store) -> None:
    store.begin(FOURTH, kind="increment", components=["influxdb"], trusted_signers=store.signers)
    results = {"influxdb": store.write(FOURTH)["influxdb"]}
    shutil.rmtree(store.path / THIRD)
    made = store.complete(FOURTH, results)
    assert made.get("failed") and "no set that it could be made after" in made["error"]["found"]


@pytest.mark.parametrize("asked", [["configuration"], ["influxdb", "configuration"]])
def test_what_has_not_changed_is_inherited_and_alone_makes_no_set(store: Store, asked: list[str]) -> None:
    begun = store.begin(FOURTH, kind="increment", components=asked, trusted_signers=store.signers)
    content = begun["backup_set"]["parents"]["configuration"]["content"]
    written = store.write(FOURTH)
    results = {name: written[name] for name in asked}
    results["configuration"] = {"unchanged": True, "content": content, "artefacts": []}
    for component in {"postgresql", "redis", "influxdb", "configuration"} - (set(asked) - {"configuration"}):
        (store.path / f"{FOURTH}.incomplete/{component}/data_{FOURTH}").unlink()
    ended = store.complete(FOURTH, results)
    assert not ended.get("failed"), ended
    if asked == ["configuration"]:
        assert (ended["changed"], ended["unchanged"], ended["backup_set"]["id"]) == (False, True, THIRD)
        assert not list(store.path.glob(f"{FOURTH}*"))
    else:
        assert store.manifest(FOURTH)["chains"]["configuration"] == [THIRD]
        assert store.look(verify="bytes")["set"]["id"] == FOURTH


# What changes a folder, as Python's audit hooks name it; a file that is opened for reading is none of it.
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "open")


def killed_before(number: int, store: Store, set_id: str) -> bool:
    """Make an increment in a process that is gone before its so-manieth change of the store; False where it ended."""
    # The stage makes a base backup beside each set, which an increment has no need of.
    shutil.rmtree(store.path / "pgbackrest/backup/platform3" / f"{set_id[:8]}-{set_id[9:15]}F", ignore_errors=True)
    child = os.fork()
    if not child:
        left = [number]

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in CHANGES or (event == "open" and not int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
                return
            if event != "os.chmod" and not str(arguments[0]).startswith(str(store.path)):
                return
            left[0] -= 1
            if not left[0]:
                os._exit(137)

        sys.addaudithook(audit)
        try:
            made = increment(store, set_id)
        except BaseException:
            os._exit(2)
        os._exit(2 if made.get("failed") else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 137), status
    return status == 137


def test_killed_at_any_change_of_the_store_an_increment_is_whole_or_is_none(store: Store) -> None:
    number = 1
    while killed_before(number, store, FOURTH):
        assert not (store.path / FOURTH).exists(), f"complete by its name, though killed before change {number}"
        number += 1
    assert number > 20, "the changes were not seen"
    looked = store.look(verify="bytes")
    assert looked["set"]["id"] == FOURTH
    assert store.manifest(FOURTH)["chains"]["influxdb"] == [THIRD, FOURTH]


def test_an_increment_that_was_killed_is_no_parent_and_is_removed(store: Store) -> None:
    for number in (3, 12, 20, 24):
        assert killed_before(number, store, FOURTH)
        assert store.look(verify="bytes")["set"]["id"] == THIRD
        assert not killed_before(1000, store, FIFTH)
        assert store.manifest(FIFTH)["parent"] == THIRD and not list(store.path.glob("*.incomplete"))
        shutil.rmtree(store.path / FIFTH)
