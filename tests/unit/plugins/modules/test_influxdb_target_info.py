# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery of InfluxDB to an instant would take, asked of a store with signed sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, FIRST, SECOND, THIRD, Store, run

NAMES = {"5bbaf279110971d7": "market-data", "6bbaf279110971d7": "analytics"}


def instant(set_id: str) -> str:
    return f"{set_id[:4]}-{set_id[4:6]}-{set_id[6:8]}T05:17:00Z"


def hold(store: Store, set_id: str, buckets: list[str], **changes: Any) -> None:
    """Have a set hold these buckets, captured in its own second."""
    manifest = store.manifest(set_id)
    listed = [
        {"id": one, "name": NAMES[one], "organisation": "forex-trading", "values": 7, "points": 7} for one in buckets
    ]
    content = {"version": "2.7.12", "recovery_point": instant(set_id), "buckets": listed, "shards": [], **changes}
    manifest["components"]["influxdb"] = content
    store.resign(set_id, manifest)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three sets a day apart; a bucket is deleted between the second and the third."""
    made = Store(tmp_path)
    for set_id in (FIRST, SECOND, THIRD):
        made.make(set_id)
        hold(made, set_id, list(NAMES)[: 1 if set_id == THIRD else 2])
    (tmp_path / "state").mkdir()
    return made


def ask(store: Store, target: str = "", **more: Any) -> dict[str, Any]:
    given = {"store_path": str(store.path), "state_path": str(store.path.parent / "state")}
    given |= {"environment_id": ENVIRONMENT["environment_id"], "trusted_signers": store.signers}
    return run("influxdb_target_info", {**given, "target_time": target, **more})


def test_without_a_target_the_window_is_told(store: Store) -> None:
    found = ask(store)
    assert found["window"] == {"earliest": instant(FIRST), "latest": instant(THIRD), "points": 3}
    assert "chosen" not in found
    assert [(one["bucket"], one["what"], one["from"], one["to"]) for one in found["deletes"]] == [
        ("analytics", "bucket", instant(SECOND), instant(THIRD))
    ]


def test_the_set_to_take_is_told_with_its_files(store: Store) -> None:
    found = ask(store, "2026-11-21T13:17:00+01:00")
    assert (found["target_time"], found["chosen"]["backup_set"]) == ("2026-11-21T12:17:00Z", SECOND)
    assert (found["other"], found["deletes"], found["chosen"]["lost"]) == (None, [], [])
    component = found["component"]
    looked = store.look(backup_set=SECOND)["set"]["components"]["influxdb"]
    assert component == looked and found["bytes"] == component["artefacts"][0]["bytes"]


@pytest.mark.parametrize(
    ("prefer", "chosen", "other"), [("complete", THIRD, SECOND), ("before_deletes", SECOND, THIRD)]
)
def test_where_a_bucket_was_deleted_both_choices_are_told(store: Store, prefer: str, chosen: str, other: str) -> None:
    found = ask(store, "2026-11-22T12:00:00Z", prefer=prefer)
    assert (found["chosen"]["backup_set"], found["other"]["backup_set"]) == (chosen, other)
    assert found["component"]["id"] == chosen
    assert [(one["bucket"], one["what"]) for one in found["deletes"]] == [("analytics", "bucket")]


@pytest.mark.parametrize(
    ("target", "code", "named"),
    [
        ("2026-11-20T12:00:00Z", "PRC-760", FIRST),
        ("2999-11-20T12:00:00Z", "PRC-761", THIRD),
        ("2026-11-22T12:00:00", "PRC-764", "offset"),
    ],
)
def test_what_cannot_be_reached_is_refused(store: Store, target: str, code: str, named: str) -> None:
    found = ask(store, target)
    assert (found.get("failed"), found["error"]["code"]) == (True, code)
    assert named in found["msg"]


def test_sets_that_no_recovery_takes_are_passed_over_and_named(store: Store) -> None:
    (store.path / SECOND / "backup_manifest.json.sig").unlink()
    hold(store, FIRST, list(NAMES), version="1.8.10")
    found = ask(store, version="2.7.12")
    assert found["window"]["points"] == 1
    reasons = {one["id"]: one["reason"] for one in found["passed_over"]}
    assert set(reasons) == {FIRST, SECOND} and "1.8.10" in reasons[FIRST]


def test_a_set_from_after_a_recovery_does_not_hold_what_it_undid(store: Store) -> None:
    for number, set_id in enumerate((FIRST, SECOND, THIRD)):
        hold(store, set_id, list(NAMES), instance="4" if number == 2 else "1")
    assert ask(store, "2026-11-22T12:00:00Z")["chosen"]["backup_set"] == THIRD
    journal = store.path.parent / "state/20261122T200000Z-full/journal.jsonl"
    journal.parent.mkdir()
    common = {"epoch": 4, "component": "influxdb", "phase": "restore"}
    journal.write_text(json.dumps({"event": "step_finished", "at": "2026-11-22T20:00:30.000Z", **common}) + "\n")
    found = ask(store, "2026-11-22T12:00:00Z")
    assert (found["chosen"]["backup_set"], found["chosen"]["reached_at"]) == (SECOND, instant(SECOND))
    assert ask(store, "2026-11-22T21:00:00Z")["chosen"]["backup_set"] == THIRD
    assert ask(store)["deletes"] == []


def test_a_store_without_influxdb_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    found = ask(Store(tmp_path), "2026-11-22T12:00:00Z")
    assert (found.get("failed"), found["error"]["code"]) == (True, "PRC-760")
