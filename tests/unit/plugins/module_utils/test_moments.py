# SPDX-License-Identifier: GPL-3.0-or-later
"""One list of what took data away from all datastores, with targets that survive the rounding of the input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._input_forms import instant
from ansible_collections.platform3.recovery.plugins.module_utils._moments import AUDIT, moments_of, whole_milliseconds
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.modules.set_stage import run

DROPPED: dict[str, Any] = {
    "at": "2026-11-23T14:30:05.788537Z",
    "kind": "DROP TABLE",
    "tables": ["public.orders", "public.deposits"],
    "more_tables": 1,
    "rows": None,
    "xid": 741,
    "lsn": "0/167C970",
    "before": {"kind": "time", "value": "2026-11-23T14:30:05.788536Z"},
    "abandoned_timeline": None,
}
FLUSHED: dict[str, Any] = {
    "at": "2026-11-23T14:30:04.000Z",
    "command": "FLUSHDB",
    "database": 1,
    "keys": None,
    "commands": 1,
    "kinds": [],
    "arguments": [],
    "lives": ["a"],
}
GONE: dict[str, Any] = {
    "what": "points",
    "bucket": "market-data",
    "organisation": "forex-trading",
    "values": None,
    "at": None,
    "from": "2026-11-23T14:29:00.123456789Z",
    "to": "2026-11-23T14:30:00Z",
    "set_before": "20261123T142900Z",
    "set_after": "20261123T143000Z",
    "before": "2026-11-23T14:29:00.123456789Z",
}


def result(*events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"events": list(events), "searched": [{}], "warnings_found": [], **more}


@given(st.integers(1_700_000_000_000_000, 1_900_000_000_000_000))
def test_a_target_is_never_rounded_up_to_behind_it(at: int) -> None:
    target = instant(whole_milliseconds(show_time(at)))
    assert 0 <= at - round(parse_iso(target) * 1_000_000) < 1000


@pytest.mark.parametrize("wrong", ["", "2026-11-23T14:30:00+01:00", "2026-11-23 14:30:00Z"])
def test_what_is_no_instant_in_utc_is_no_target(wrong: str) -> None:
    with pytest.raises(ValueError, match="no instant"):
        whole_milliseconds(wrong)


def test_all_are_in_one_list_by_time_with_their_targets() -> None:
    stores = {"postgresql": result(DROPPED, gaps=[]), "redis": result(FLUSHED), "influxdb": result(GONE)}
    found = moments_of({**stores, "recovery": result(), AUDIT: result()})
    assert [(one["component"], one["target"]) for one in found["events"]] == [
        ("influxdb", "2026-11-23T14:29:00.123Z"),
        ("redis", "2026-11-23T14:30:04.000Z"),
        ("postgresql", "2026-11-23T14:30:05.788Z"),
    ]
    assert [one["found"] for one in found["events"]] == [GONE, FLUSHED, DROPPED]
    assert found["problems"] == [] and found["notes"] == []
    heading, influxdb, redis, postgresql = found["table"]
    assert heading.split() == ["time", "component", "what", "size", "recovery_target_time"]
    assert "perhaps points of bucket market-data deleted, between sets 20261123T142900Z and" in influxdb
    assert "FLUSHDB in database 1" in redis
    assert "DROP TABLE public.orders, public.deposits and 1 more, transaction 741" in postgresql
    assert {line.rindex(one["target"]) for line, one in zip(found["table"][1:], found["events"], strict=True)} == {
        heading.index("recovery_target_time")
    }


def test_a_bucket_that_the_server_lacks_is_told_by_the_last_set_that_has_it() -> None:
    found = moments_of({"influxdb": result({**GONE, "what": "bucket", "values": 7, "set_after": None})})
    assert "  bucket market-data deleted, since set 20261123T142900Z  7 values  " in found["table"][1]


def test_what_cannot_be_reached_has_no_target() -> None:
    left = {**DROPPED, "before": None, "abandoned_timeline": 3}
    empty = {name: result() for name in ("redis", "influxdb", "recovery", AUDIT)}
    found = moments_of({"postgresql": result(left, gaps=[]), **empty})
    assert found["events"][0]["target"] is None
    assert found["table"][1].endswith("(on timeline 3, which an earlier recovery left)        -")


def test_gaps_warnings_and_failures_are_said() -> None:
    gap = {"segment": "000000010000000000000002", "wrong": "is missing", "from": "A", "to": "B"}
    found = moments_of(
        {
            "postgresql": result(gaps=[gap]),
            "redis": {"skipped": True, "skip_reason": "Conditional result was False"},
            "influxdb": {"msg": "[PRC-766] Could not search.", "error": {}},
            "recovery": result(),
            AUDIT: result(),
        }
    )
    assert found["notes"] == [
        "postgresql: WAL is missing from A to B: 000000010000000000000002 is missing",
        "redis: its log is not shipped, so there is nothing to search",
    ]
    assert found["problems"] == ["influxdb was not searched: [PRC-766] Could not search."]
    assert found["table"] == ["nothing was found that took data away", *found["notes"], *found["problems"]]
    assert len(moments_of({})["problems"]) == 5


def journal(scenario: str, *runs: tuple[int, int, str | None]) -> str:
    """A journal whose runs began and ended in minutes after 14:00; "" ends a line in the middle."""
    lines = []
    for epoch, (began, ended, outcome) in enumerate(runs, 1):
        start = {"event": "run_started", "epoch": epoch, "scenario": scenario, "holder": "jane@here"}
        lines.append(json.dumps({**start, "at": f"2026-11-23T14:{began:02}:00.000Z"}))
        end = {"event": "run_finished", "epoch": epoch, "outcome": outcome, "at": f"2026-11-23T14:{ended:02}:00.000Z"}
        lines += [json.dumps(end)] if outcome else ['{"event": "step_sta']
    return "\n".join(lines)


def test_what_was_done_around_the_time_is_listed_without_a_target(tmp_path: Path) -> None:
    journals = {
        "r-1": journal("point_in_time", (0, 5, "failed"), (20, 0, None), (40, 45, "success")),
        "r-2": journal("rollback", (29, 31, "success")),
        "backup-1": journal("expire_backups", (30, 31, "success")),
        "backup-2": journal("backup", (30, 31, "success")),
        "r-3": journal("full", (50, 55, "success")),
    }
    for name, text in journals.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.jsonl").write_text(text)
    given = {"state_path": str(tmp_path), "around": "2026-11-23T15:30:00+01:00", "window_seconds": 60}
    done = run("recovery_operations_info", given)
    # The second run of r-1 was killed: until the third it may have been at work.
    assert [(one["id"], one["at"][14:16], one["outcome"]) for one in done["events"]] == [
        ("r-1", "20", None),
        ("r-2", "29", "success"),
        ("backup-1", "30", "success"),
    ]
    assert done["searched"] == [{"journals": 5}]
    stores = {name: result() for name in ("postgresql", "redis", "influxdb")}
    found = moments_of({**stores, "recovery": done, AUDIT: result()})
    assert [one["target"] for one in found["events"]] == [None] * 3 and found["problems"] == []
    assert "recovery   rollback r-2 by jane@here, success at 2026-11-23T14:31:00.000Z" in found["table"][2]
    assert "point in time r-1 by jane@here, no end recorded" in found["table"][1]
    assert run("recovery_operations_info", {**given, "around": "2026-11-23T15:30:00"})["error"]["code"] == "PRC-102"
