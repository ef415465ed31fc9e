# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes in InfluxDB by a store with signed sets: between which two, and which of them still has it."""

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


def ask(store: Store, around: str, **more: Any) -> dict[str, Any]:
    given = {"store_path": str(store.path), "state_path": str(store.path.parent / "state"), "around": around}
    given |= {"environment_id": ENVIRONMENT["environment_id"], "trusted_signers": store.signers}
    return run("influxdb_delete_find_info", {**given, **more})


def test_a_deleted_bucket_lies_between_two_sets(store: Store) -> None:
    found = ask(store, "2026-11-22T13:17:00+01:00", window_seconds=60)
    (event,) = found["events"]
    assert (event["what"], event["bucket"], event["values"], event["at"]) == ("bucket", "analytics", 7, None)
    assert (event["set_before"], event["set_after"]) == (SECOND, THIRD)
    assert (event["from"], event["to"], event["before"]) == (instant(SECOND), instant(THIRD), instant(SECOND))
    assert found["searched"] == [{"from": "2026-11-22T12:16:00Z", "to": "2026-11-22T12:18:00Z"}]
    assert found["warnings_found"] == []


def test_another_time_has_none(store: Store) -> None:
    assert ask(store, "2026-11-21T12:00:00Z")["events"] == []


def test_what_no_set_tells_is_said(store: Store) -> None:
    found = ask(store, instant(THIRD))
    assert len(found["events"]) == 1
    assert found["warnings_found"] == [f"what was deleted after {instant(THIRD)} is not known before the next set"]
    assert "no usable set is older" in ask(store, instant(FIRST))["warnings_found"][0]


def test_a_bucket_that_the_server_lacks_was_deleted_since_the_newest_set(store: Store) -> None:
    around, later = "2026-11-23T06:00:00Z", "2026-11-23T06:01:00Z"
    held = list(NAMES)[:1]
    for gone, buckets in (([], held), ([NAMES[held[0]]], ["7bbaf279110971d7"])):
        found = ask(store, around, window_seconds=1200, now={"at": later, "inventory": {"buckets": buckets}})
        assert [one["bucket"] for one in found["events"]] == gone
        assert found["searched"] == [{"from": "2026-11-23T05:40:00Z", "to": later}]
        assert "only whole buckets are known" in found["warnings_found"][0]
    (event,) = found["events"]
    assert (event["what"], event["values"], event["set_before"], event["set_after"]) == ("bucket", 7, THIRD, None)
    assert (event["from"], event["to"], event["before"]) == (instant(THIRD), later, instant(THIRD))


def test_what_a_recovery_since_the_newest_set_took_away_is_no_delete(store: Store) -> None:
    journal = store.path.parent / "state/20261123T055000Z-full/journal.jsonl"
    journal.parent.mkdir()
    common = {"epoch": 4, "component": "influxdb", "phase": "restore"}
    journal.write_text(json.dumps({"event": "step_finished", "at": "2026-11-23T05:50:30.000Z", **common}) + "\n")
    found = ask(store, instant(THIRD), now={"at": "2026-11-23T06:01:00Z", "inventory": {"buckets": []}})
    assert [one["bucket"] for one in found["events"] if one["set_after"] is None] == []
    assert "a recovery or rollback put other data in place" in found["warnings_found"][0]


def test_a_recovery_in_between_deletes_nothing_and_is_said(store: Store) -> None:
    for number, set_id in enumerate((FIRST, SECOND, THIRD)):
        hold(store, set_id, list(NAMES)[: 1 if set_id == THIRD else 2], instance="4" if number == 2 else "1")
    journal = store.path.parent / "state/20261122T200000Z-full/journal.jsonl"
    journal.parent.mkdir()
    common = {"epoch": 4, "component": "influxdb", "phase": "restore"}
    journal.write_text(json.dumps({"event": "step_finished", "at": "2026-11-22T20:00:30.000Z", **common}) + "\n")
    found = ask(store, "2026-11-22T12:00:00Z")
    assert found["events"] == []
    assert "a recovery or rollback put other data in place" in found["warnings_found"][0]


def test_a_set_that_cannot_be_used_is_passed_over_and_named(store: Store) -> None:
    (store.path / SECOND / "backup_manifest.json.sig").unlink()
    found = ask(store, "2026-11-22T12:00:00Z")
    (event,) = found["events"]
    assert (event["set_before"], event["set_after"]) == (FIRST, THIRD)
    assert any(SECOND in line for line in found["warnings_found"])


@pytest.mark.parametrize(
    ("around", "window", "code", "named"),
    [
        ("2026-11-22T12:00:00", 600, "PRC-765", "offset"),
        ("2026-11-22T12:00:00Z", 0, "PRC-765", "window_seconds"),
        ("2026-11-22T12:00:00Z", 86401, "PRC-765", "window_seconds"),
        ("2026-11-19T12:00:00Z", 600, "PRC-766", instant(FIRST)),
    ],
)
def test_what_cannot_be_searched_is_refused(store: Store, around: str, window: int, code: str, named: str) -> None:
    found = ask(store, around, window_seconds=window)
    assert (found.get("failed"), found["error"]["code"]) == (True, code)
    assert named in found["msg"]


def test_a_store_without_influxdb_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    found = ask(Store(tmp_path), "2026-11-22T12:00:00Z")
    assert (found["error"]["code"], "none holds InfluxDB" in found["msg"]) == ("PRC-766", True)
