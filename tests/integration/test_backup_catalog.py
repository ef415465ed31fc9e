# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogue, verification and retention on a real repository: damaged, with gaps, half expired, outranked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._state import append_entry

from tests.integration.catalog_stage import INCREMENT, MIDDLE, NEWEST, OLDEST, Store
from tests.integration.postgresql_stage import IMAGE, Stage
from tests.integration.scratch import docker

pytestmark = pytest.mark.integration
ALL = [INCREMENT, NEWEST, MIDDLE, OLDEST]


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The store, verified; its database is gone: nothing here needs a server."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    try:
        stage.start()
        store = Store(stage, tmp_path_factory.mktemp("made"))
        shutil.copy(stage.folder / "compose.env", store.folder / "compose.env")
        for set_id in (OLDEST, MIDDLE, NEWEST):
            store.make(set_id)
            stage.trade(20, switches=4)
            stage.await_archived()
        store.make(INCREMENT, "increment")
        stage.lose()
        yield store
    finally:
        stage.clean()


@pytest.fixture(name="store")
def _store(tmp_path: Path, made: Store) -> Iterator[Store]:
    """A copy to damage."""
    yield Store(made.stage, tmp_path, made)
    shutil.rmtree(tmp_path, ignore_errors=True)


def error_of(result: dict[str, Any], code: str) -> str:
    assert result.get("failed"), result
    assert result["error"]["code"] == code, result["msg"]
    return str(result["error"]["found"])


def test_the_catalogue_names_every_set_and_how_far_recovery_reaches(store: Store) -> None:
    (store.path / "20261122T060000Z.incomplete").mkdir()
    (store.path / OLDEST / "backup_manifest.json.sig").unlink()
    found = store.catalog()
    states = {one["id"]: one["state"] for one in found["sets"]}
    assert states == {
        "20261122T060000Z": "incomplete",
        INCREMENT: "complete",
        NEWEST: "complete",
        MIDDLE: "complete",
        OLDEST: "unusable",
    }
    increment = found["sets"][1]
    assert (increment["kind"], increment["parent"], increment["needs"]) == ("increment", NEWEST, [NEWEST])
    assert increment["base_backup"] == store.label_of(NEWEST) and increment["base_backup_bytes"] == 0
    window = found["windows"]["postgresql"]
    assert window["points"] == 2 and len(window["stretches"]) == 1 and window["earliest"] < window["latest"]
    assert found["windows"]["influxdb"]["points"] == 3 and found["windows"]["redis"]["points"] == 2
    assert found["gaps"] == [] and found["problems"] == []
    assert "UNUSABLE" in found["text"] and "INCOMPLETE" in found["text"]
    assert max(len(line) for line in found["text"].splitlines()) <= 100


def test_what_was_verified_is_not_read_again_unless_asked(store: Store) -> None:
    first = store.good(store.verify())
    assert sorted(first["marked"]) == sorted(ALL) and first["bytes"] > 1_000_000
    assert set(store.states().values()) == {"verified"}
    second = store.good(store.verify())
    assert (second["bytes"], second["files"], second["marked"]) == (0, 0, [])
    assert second["known"] == first["files"]
    assert store.good(store.verify(full=True))["bytes"] == first["bytes"]


def test_a_damaged_set_is_condemned_with_what_is_read_along_with_it(store: Store) -> None:
    assert store.choose()["set"]["id"] == INCREMENT
    store.damage(store.path / NEWEST / "influxdb/data")
    error_of(store.verify(_ansible_check_mode=True), "PRC-332")
    assert set(store.states().values()) == {"complete"}, "check mode writes nothing down"
    found = error_of(store.verify(), "PRC-332")
    assert f"set {NEWEST} is damaged (influxdb/data is damaged" in found
    assert f"{INCREMENT} cannot be used: it is read along with" in found and f"newest good set is {MIDDLE}" in found
    assert store.states() == {INCREMENT: "broken_chain", NEWEST: "condemned", MIDDLE: "verified", OLDEST: "verified"}
    chosen = store.choose()
    assert chosen["set"]["id"] == MIDDLE
    reasons = {one["id"]: one["reason"] for one in chosen["passed_over"]}
    assert "condemned" in reasons[NEWEST] and f"its chain is broken: {NEWEST}" in reasons[INCREMENT]
    store.damage(store.path / NEWEST / "influxdb/data")  # back to what it was
    store.good(store.verify(backup_set=NEWEST, full=True))
    assert store.choose()["set"]["id"] == INCREMENT


def test_a_damaged_base_backup_condemns_every_set_that_names_it(store: Store) -> None:
    folder = store.path / "pgbackrest/backup/platform3" / store.label_of(NEWEST) / "pg_data/base"
    store.damage(max(folder.rglob("*.lz4"), key=lambda path: path.stat().st_size))
    found = error_of(store.verify(), "PRC-332")
    assert f"set {NEWEST} is damaged" in found and f"set {INCREMENT} is damaged" in found
    assert "invalid checksum" in found
    assert store.states() == {INCREMENT: "condemned", NEWEST: "condemned", MIDDLE: "verified", OLDEST: "verified"}


def test_wal_that_is_missing_or_damaged_is_named_and_condemns_no_set(store: Store) -> None:
    before = store.catalog()["windows"]["postgresql"]
    segments = [path for path in store.segments() if path.stat().st_size > 0]
    names = [path.name[:24] for path in segments]
    lost, bad = segments[-2], segments[-1]
    lost.unlink()
    for copy in (store.path / "wal-stream").rglob(f"{names[-2]}*"):  # it would do as well
        copy.unlink()
    store.damage(bad)
    found = error_of(store.verify(), "PRC-333")
    assert f"WAL {names[-2]} is missing" in found and f"WAL {names[-1]} " in found
    assert set(store.states().values()) == {"verified"}
    after = store.catalog()
    assert [(one["segment"], one["to"]) for one in after["gaps"]] == [(names[-2], None)]
    assert after["windows"]["postgresql"]["latest"] <= before["latest"]
    assert f"{names[-2]} is missing. PostgreSQL cannot be" in after["text"]


def test_a_store_that_cannot_be_read_condemns_nothing(store: Store) -> None:
    shutil.move(store.path / "pgbackrest", store.path / "elsewhere")
    (store.path / "pgbackrest").mkdir()
    assert store.verify()["failed"]
    found = store.catalog()
    assert {one["state"] for one in found["sets"]} == {"complete"}
    assert "cannot be read" in found["problems"][0] and found["windows"]["postgresql"] is None


def test_a_set_is_condemned_by_a_person_who_says_why(store: Store) -> None:
    assert "no reason" in error_of(store.condemn(NEWEST, reason=" "), "PRC-336")
    assert OLDEST in store.condemn("20261120T051701Z")["msg"]
    assert store.good(store.condemn(NEWEST))["changed"] and not store.good(store.condemn(NEWEST))["changed"]
    text = store.catalog()["text"]
    assert "CONDEMNED    a test, 2026" in text and "BROKEN CHAIN" in text
    error_of(store.condemn(OLDEST, signing_key=store.foreign_key), "PRC-222")
    assert store.states()[OLDEST] == "complete"


def test_expiry_removes_sets_base_backups_and_wal_as_one_decision(store: Store) -> None:
    store.good(store.condemn(OLDEST, state="verified", reason=""))
    store.lock("expire-1", 5)
    labels, segments = store.labels(), store.segments()
    shown = store.good(store.expire(check_mode=True, last=1))
    assert [one["stays"] for one in shown["verdicts"]] == [True, True, False, False]
    assert shown["verdicts"][1]["reason"] == f"needed by {INCREMENT}"
    assert store.folders() == set(ALL) and store.labels() == labels and store.segments() == segments
    done = store.good(store.expire(last=1))
    assert done["verdicts"] == shown["verdicts"]
    assert store.folders() == {INCREMENT, NEWEST}
    assert done["base_backups"] == labels[1::-1] and store.labels() == labels[2:]
    assert set(store.segments()) < set(segments) and store.segments()[-1] == segments[-1]
    assert store.good(store.verify())["sound"] == [INCREMENT, NEWEST]
    after = store.catalog()
    assert after["gaps"] == [] and after["problems"] == []
    assert OLDEST not in (store.state / "sets.jsonl").read_text()


def test_folders_of_former_lives_go_with_what_they_belong_to(store: Store) -> None:
    for name, epoch, written_at in (
        ("aof/initial", "1", "2026-11-21T23:00:00Z"),
        ("aof/r-1", "2", "2026-11-22T06:00:00Z"),
        ("aof/r-2", "3", "2026-11-20T06:00:00Z"),
        ("wal-stream/former", None, "2026-11-21T23:00:00Z"),
    ):
        store.former_life(name, epoch, written_at)
    store.lock("expire-1", 5)
    before = store.lives()
    shown = store.good(store.expire(check_mode=True, last=1))
    assert {one["path"] for one in shown["lives"]} == before == store.lives()
    done = store.good(store.expire(last=1))
    assert done["lives"] == shown["lives"]
    assert before - store.lives() == {"aof/initial", "wal-stream/former"}
    text = "\n".join(done["table"])
    assert "before the oldest set that stays (2026-11-22T05:17:00" in " ".join(text.split())
    reasons = {one["path"]: one["reason"] for one in done["lives"]}
    assert reasons["aof/r-2"] == "the newest" and reasons["aof/r-1"].startswith("it ends at 2026-11-22T06:00:00")
    assert store.catalog()["gaps"] == []
    assert store.good(store.expire(last=1))["changed"] is False


def test_a_tested_set_stays_and_keeps_the_wal_that_follows_it(store: Store) -> None:
    store.good(store.condemn(OLDEST, state="tested", reason=""))
    store.lock("expire-1", 5)
    segments = store.segments()
    done = store.good(store.expire(last=1, min_tested=1))
    assert store.folders() == {INCREMENT, NEWEST, OLDEST}
    assert len(done["base_backups"]) == 1 and done["base_backups"][0] not in store.labels()
    assert store.labels() == [store.label_of(OLDEST), store.label_of(NEWEST)]
    first = store.catalog()["windows"]["postgresql"]
    assert first["points"] == 2 and len(first["stretches"]) == 1
    assert store.segments()[-4:] == segments[-4:]


def test_what_a_sandbox_was_made_from_stays_until_it_is_dropped(store: Store) -> None:
    begun = {"event": "run_started", "recovery_id": "sandbox", "epoch": 1, "scenario": "sandbox", "backup_set": OLDEST}
    append_entry(str(store.state / "sandbox"), 1, begun)
    store.lock("expire-1", 5)
    segments = store.segments()
    done = store.good(store.expire(last=1))
    assert store.folders() == {INCREMENT, NEWEST, OLDEST}
    assert {one["id"]: one["reason"] for one in done["verdicts"]}[OLDEST] == "a sandbox was made from it"
    assert any(OLDEST in line and "a sandbox was made from it" in line for line in done["table"])
    assert store.labels() == [store.label_of(OLDEST), store.label_of(NEWEST)] and store.segments()[-4:] == segments[-4:]
    shutil.rmtree(store.state / "sandbox")
    store.good(store.expire(last=1))
    assert store.folders() == {INCREMENT, NEWEST} and store.labels() == [store.label_of(NEWEST)]


def test_an_expiry_that_was_outranked_or_killed_leaves_only_whole_sets(store: Store) -> None:
    store.lock("r-1", 6, "recovery")
    assert "another run holds the lock" in error_of(store.expire(last=1), "PRC-303")
    assert store.folders() == set(ALL)
    # Killed between the two: renamed, half deleted.
    (store.path / OLDEST).rename(store.path / f"{OLDEST}.expired")
    (store.path / f"{OLDEST}.expired/backup_manifest.json").unlink()
    assert OLDEST not in store.states() and store.choose()["set"]["id"] == INCREMENT
    store.lock("expire-1", 5)
    store.good(store.expire(last=2))
    assert store.folders() == {INCREMENT, NEWEST}


def test_no_one_shot_container_is_left(made: Store) -> None:
    label = f"label=platform3.recovery.environment={made.stage.id}"
    assert docker("ps", "--all", "--quiet", "--filter", label, "--filter", f"ancestor={IMAGE}") == ""
