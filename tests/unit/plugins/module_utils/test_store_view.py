# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of sets, recovery windows and the catalogue's table, from what was read."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import age, gap_sentence, size, table
from ansible_collections.platform3.recovery.plugins.module_utils._expiry import as_kept
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import Generation, ShippedLog
from ansible_collections.platform3.recovery.plugins.module_utils._repository import parse_verify
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import status_32110
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import SetState
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Read, judge
from ansible_collections.platform3.recovery.plugins.module_utils._windows import (
    Reach,
    gaps_of,
    points_window,
    postgresql_window,
    with_log,
)

FULL, FIRST, SECOND = "20261121T051700Z", "20261121T052700Z", "20261121T053700Z"
NOW = datetime.datetime(2026, 11, 23, 5, 17, tzinfo=datetime.UTC)
LAB = "lab-0123456789ab"


def manifest(set_id: str, chain: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    """A manifest as far as it is looked at; chain: the sets that its InfluxDB part is read with, itself the last."""
    made: dict[str, Any] = {
        "backup_set": set_id,
        "environment": "lab",
        "environment_id": LAB,
        "sequence": int(set_id[8:].strip("TZ")),
        "parent": chain[-2] if len(chain) > 1 else None,
        "started_at": f"{set_id[:4]}-{set_id[4:6]}-{set_id[6:8]}T{set_id[9:11]}:{set_id[11:13]}:00Z",
        "finished_at": "2026-11-21T05:18:00Z",
        "components": {"influxdb": {"version": "2", "recovery_point": f"point of {set_id}"}},
        "artefacts": [{"path": "influxdb/a", "bytes": 5_000_000}],
    }
    return {**made, **({"chains": {"influxdb": list(chain)}} if chain else {}), **changes}


def reads(*manifests: dict[str, Any]) -> dict[str, Read]:
    return {one["backup_set"]: Read(one["backup_set"], one, "lab-backup") for one in manifests}


def said(set_id: str, state: str) -> dict[str, SetState]:
    return {set_id: SetState(set_id, state, "2026-11-22T00:00:00.000Z", "somebody", "why")}


CHAIN = (manifest(FULL), manifest(FIRST, (FULL, FIRST)), manifest(SECOND, (FULL, FIRST, SECOND)))


def states(*arguments: Any, **more: Any) -> dict[str, str]:
    return {one.set_id: one.state for one in judge(*arguments, **more)}


def test_a_state_is_what_is_written_down_of_a_set_that_is_whole() -> None:
    assert states(reads(*CHAIN), [], said(FULL, "tested"), LAB) == {
        SECOND: "complete",
        FIRST: "complete",
        FULL: "tested",
    }


def test_what_is_read_along_with_a_condemned_or_missing_set_is_broken() -> None:
    found = judge(reads(*CHAIN), [], said(FIRST, "condemned"), LAB)
    assert [one.state for one in found] == ["broken_chain", "condemned", "complete"]
    assert found[0].reason == f"its chain is broken: {FIRST} is condemned"
    assert as_kept(found[0]).bad_since == as_kept(found[1]).bad_since, "they go together"
    found = judge(reads(*CHAIN[1:]), [FULL], {}, LAB)
    assert found[0].reason == f"its chain is broken: {FULL} is incomplete"
    assert [one.state for one in found] == ["broken_chain", "broken_chain", "incomplete"]


def test_a_set_that_cannot_be_believed_is_no_set_for_a_recovery_and_waits_for_a_person() -> None:
    foreign = manifest(FULL, environment="drill", environment_id="drill-1")
    unsigned = Read(FIRST, None, code="PRC-222", wrong="it was signed by key X")
    found = judge({**reads(foreign), FIRST: unsigned}, [], {}, LAB)
    assert [(one.state, one.usable, bool(as_kept(one).held)) for one in found] == [("unusable", False, True)] * 2
    assert found[1].reason == "it belongs to environment drill"


def test_an_incomplete_set_is_being_written_or_was_left() -> None:
    running, left = (judge({}, [FULL], {}, LAB, lock_id=one)[0].reason for one in (f"backup-{FULL}", ""))
    assert running == "it is being written" and "did not end" in left


def reach(label: str, earliest: str, latest: str, *gaps: str) -> Reach:
    return Reach(label, f"2026-11-2{earliest}Z", f"2026-11-2{latest}Z", dict.fromkeys(gaps, "is missing"))


def test_a_gap_parts_the_window_until_the_next_base_backup() -> None:
    reaches = [
        reach("A", "1T05:00:00", "1T06:00:00", "S5", "S9"),
        reach("B", "1T05:30:00", "1T06:00:00", "S5", "S9"),
        reach("C", "1T07:00:00", "1T08:00:00", "S9"),
        reach("D", "1T09:00:00", "2T00:00:00"),
    ]
    window = postgresql_window(reaches)
    assert window is not None
    assert (window["earliest"], window["latest"]) == ("2026-11-21T05:00:00Z", "2026-11-22T00:00:00Z")
    assert [(one["from"][11:], one["to"][11:]) for one in window["stretches"]] == [
        ("05:00:00Z", "06:00:00Z"),
        ("07:00:00Z", "08:00:00Z"),
        ("09:00:00Z", "00:00:00Z"),
    ]
    assert [(one["segment"], one["from"][11:], one["to"][11:]) for one in gaps_of(reaches)] == [
        ("S5", "06:00:00Z", "07:00:00Z"),
        ("S9", "08:00:00Z", "09:00:00Z"),
    ]
    assert gaps_of(reaches[:2])[0]["to"] is None
    assert "06:00:00Z: take a full backup now" in gap_sentence(gaps_of(reaches[:2])[0])
    assert postgresql_window([]) is None


def test_an_inherited_point_counts_once() -> None:
    heir = manifest(FIRST, (FULL,), parent=FULL, components=CHAIN[0]["components"])
    window = points_window("influxdb", [CHAIN[0], heir])
    assert window is not None and window["points"] == 1 and window["latest"] == f"point of {FULL}"
    assert points_window("redis", CHAIN) is None


def test_redis_reaches_as_far_as_its_shipped_log_where_that_is_whole() -> None:
    window = {"earliest": "2026-11-21T05:00:00Z", "latest": "2026-11-21T06:00:00Z", "points": 2}
    newer = ShippedLog("initial", 2, Generation("b", ("i",), ()), 10, 1795300000, 1795200000, ())
    assert window["latest"] < str(newer.recovery_point)
    reached = with_log(window, newer)
    assert reached is not None and reached["latest"] == reached["log_until"] == newer.recovery_point
    assert with_log(window, replace(newer, missing=("i",))) == window
    assert with_log(window, replace(newer, at=1)) == window
    assert with_log(window, None) == window and with_log(None, newer) is None


def test_the_table_can_be_read_at_night() -> None:
    entries = judge(reads(*CHAIN), ["20261123T051600Z"], said(FIRST, "condemned"), LAB)
    catalog = {
        "at": "2026-11-23T05:17:00.000Z",
        "sets": [one.as_dict(NOW) for one in entries],
        "windows": {
            "postgresql": postgresql_window([reach("A", "1T05:00:00", "1T06:00:00", "S5")]),
            "influxdb": points_window("influxdb", CHAIN),
            "redis": None,
        },
        "gaps": gaps_of([reach("A", "1T05:00:00", "1T06:00:00", "S5")]),
        "copies": status_32110(None, NOW.timestamp(), 60, 2, 0),
        "problems": ["a problem"],
    }
    assert table(catalog, "lab") == [
        "== BACKUPS of lab, 2026-11-23 05:17:00Z ============================================================",
        "  set                    age  kind           size  state        remark",
        "  20261123T051600Z     1 min  -                 -  INCOMPLETE   its backup did not end; the next one",
        "                                                                removes it",
        "  20261121T053700Z    1 d 23  increment    5.0 MB  BROKEN CHAIN 20261121T052700Z is condemned",
        "  20261121T052700Z    1 d 23  increment    5.0 MB  CONDEMNED    why, 2026-11-22 00:00:00Z by",
        "                                                                somebody",
        "  20261121T051700Z    2 d 00  full         5.0 MB  complete",
        "",
        "  recovery window earliest               latest                 by",
        "  postgresql      2026-11-21 05:00:00Z   2026-11-21 06:00:00Z   1 base backup and WAL",
        f"  influxdb        {'point of 20261121T051700Z':<22} {'point of 20261121T053700Z':<22} 3 points",
        "  redis           NONE                   NONE                   no usable set holds it",
        "  copies          3-2-1-1-0 does NOT hold (2-1-0-0-2): there is no second copy, or no record of it;",
        "                  2 sets or WAL segments are bad; no set was verified yet",
        "  WAL GAP         S5 is missing. PostgreSQL cannot be brought to a time after 2026-11-21 06:00:00Z:",
        "                  take a full backup now",
        "  PROBLEM         a problem",
        "== 4 sets (1 BROKEN CHAIN, 1 complete, 1 CONDEMNED, 1 INCOMPLETE), 15.0 MB =========================",
    ]


def test_figures_are_short() -> None:
    spans = [age(seconds) for seconds in (-5, 59, 60, 3599, 3600, 86399, 86400, 200000)]
    assert spans == ["0 s", "59 s", "1 min", "59 min", "1 h 00", "23 h 59", "1 d 00", "2 d 07"]
    amounts = [size(amount) for amount in (0, 999, 1000, 99_400, 123_456_789, 2_500_000_000, 10**15)]
    assert amounts == ["0 B", "999 B", "1.0 kB", "99.4 kB", "123 MB", "2.5 GB", "1000 TB"]


GOOD = """stanza: platform3
status: ok
  archiveId: 17-1, total WAL checked: 1, total valid WAL: 1
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261123-104138F, status: valid, total files checked: 1271, total valid files: 1271
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
BAD = """2026-11-23 10:44:02.488 P02   INFO: file missing '20261123-104138F/pg_data/base/5/2691.lz4'
2026-11-23 10:44:02.490 P01   INFO: invalid checksum '20261123-104138F/pg_data/base/5/2838.lz4'
stanza: platform3
status: error
  backup: 20261123-104138F, status: invalid, total files checked: 1271, total valid files: 1269
"""
GONE = "stanza: platform3\nstatus: error\n  backup set 20261123-104139F is not valid\n"


def test_what_pgbackrest_verify_says_is_read_since_its_status_says_nothing() -> None:
    assert parse_verify(GOOD) is None
    assert parse_verify(BAD) == (
        "file missing '20261123-104138F/pg_data/base/5/2691.lz4'; "
        "invalid checksum '20261123-104138F/pg_data/base/5/2838.lz4'"
    )
    assert parse_verify(GONE) == "backup set 20261123-104139F is not valid"
    assert parse_verify("") == "pgbackrest verify said nothing"
    assert parse_verify(GOOD.replace("status: valid", "status: in-progress")) is not None
