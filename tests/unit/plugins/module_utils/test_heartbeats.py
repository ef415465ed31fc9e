# SPDX-License-Identifier: GPL-3.0-or-later
"""Heartbeats: what a store's marker says, and what the log outside of the stores says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _heartbeats
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import (
    incident,
    last_acknowledged,
    marker,
    of_buckets,
    of_postgresql,
    of_redis,
    parse_log,
    read_log,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from hypothesis import given
from hypothesis import strategies as st

AT = "2026-11-23T05:17:00.000Z"
LATER = "2026-11-23T05:17:01.000Z"
LAST = "2026-11-23T05:17:02.000Z"


def test_a_marker_of_each_store() -> None:
    expected = {"number": 7, "at": AT}
    assert of_postgresql([{"number": 7, "at": "2026-11-23T06:17:00+01:00"}]) == expected
    assert of_redis(f"7 {AT}") == expected
    assert of_buckets({"market-data": expected, "analytics": {"number": 8, "at": LATER}}) == expected


def test_what_is_no_marker_is_none() -> None:
    assert of_postgresql([]) is None
    assert of_redis(None) is None
    assert of_redis("seven") is None
    assert marker(7, "2026-11-23T05:17:00") is None, "a time without its offset"
    assert of_buckets({}) is None
    assert of_buckets({"market-data": {"number": 7, "at": AT}, "analytics": None}) is None


def entry(number: int, at: str, **taken: object) -> str:
    return json.dumps({"number": number, "at": at, "postgresql": None, "redis": None, "influxdb": None, **taken})


def test_the_last_acknowledged_marker_is_one_that_a_store_took() -> None:
    log = "\n".join([entry(1, AT, postgresql="0/1"), entry(2, LATER, redis=True), entry(3, "2026-11-23T05:17:02.000Z")])
    assert last_acknowledged(parse_log(log)) == LATER
    assert last_acknowledged(parse_log(entry(1, AT))) is None
    assert last_acknowledged([]) is None


MUCH_LATER = parse_iso("2026-11-23T06:00:00Z")


def test_heartbeats_that_stopped_before_the_backup_tell_no_incident() -> None:
    log = parse_log(entry(1, AT, redis=True))
    assert incident(log, "20261123T051659Z", MUCH_LATER) == LATER
    assert incident(log, None, MUCH_LATER) == LATER
    assert incident(log, "20261123T051701Z", MUCH_LATER) is None
    assert incident([], "20261123T051659Z", MUCH_LATER) is None


def test_the_incident_is_not_later_than_the_recovery_nor_earlier_than_the_last_marker() -> None:
    log = parse_log(entry(1, AT, redis=True))
    assert incident(log, None, parse_iso(AT) + 0.25) == "2026-11-23T05:17:00.250Z"
    assert incident(log, None, parse_iso(AT) - 5) == AT, "the clocks of two hosts differ"


def test_a_marker_that_nobody_took_says_when_all_were_lost() -> None:
    log = parse_log("\n".join([entry(1, AT, redis=True, seconds=0.5), entry(2, LATER, seconds=0.125), entry(3, LAST)]))
    assert incident(log, None, MUCH_LATER) == "2026-11-23T05:17:01.125Z"


@given(
    gaps=st.lists(st.floats(min_value=0.001, max_value=1.9), min_size=2, max_size=8),
    died_at=st.floats(min_value=0, max_value=1),
    writer_died=st.booleans(),
)
def test_no_loss_is_put_too_low(gaps: list[float], died_at: float, writer_died: bool) -> None:
    """A writer that stamps at each full second and logs when all have answered; all are lost at a moment."""
    lines, now, answered = [], parse_iso(AT), 0.0
    slowest = max(gaps[:-1])
    for number, seconds in enumerate(gaps[:-1]):
        lines.append(entry(number, to_iso(now), redis=True, seconds=seconds))
        answered = now + seconds
        now += math.floor(seconds) + 1
    # Behind the answer to the last marker, and before the next one would have been answered.
    lost = answered + died_at * (now + min(gaps[-1], slowest) - answered)
    if not writer_died and lost < now:
        lines.append(entry(len(lines), to_iso(now), seconds=0.001))
        lines.append(entry(len(lines), to_iso(now + 1), seconds=0.001))
    found = incident(parse_log("\n".join(lines)), None, MUCH_LATER)
    assert found is not None and parse_iso(found) >= lost - 0.001, "to the millisecond"


@given(cut=st.integers(min_value=0, max_value=300))
def test_a_torn_log_loses_its_last_line_at_most(cut: int) -> None:
    lines = [entry(number, AT, redis=True) for number in range(4)]
    whole = "\n".join(lines) + "\n"
    torn = whole[: max(0, len(whole) - cut)]
    kept = parse_log(torn)
    assert [one["number"] for one in kept] == list(range(len(kept)))
    assert len(kept) >= torn.count("\n")


@pytest.mark.parametrize("rotated", [False, True])
def test_the_log_is_read_across_its_rotation(tmp_path: Path, rotated: bool) -> None:
    folder = tmp_path / _heartbeats.FOLDER
    folder.mkdir()
    if rotated:
        (folder / f"{_heartbeats.LOG_NAME}.1").write_text(entry(1, AT, redis=True) + "\n")
    (folder / _heartbeats.LOG_NAME).write_text(entry(2, LATER, redis=True) + "\n")
    assert [one["number"] for one in read_log(str(tmp_path))] == ([1, 2] if rotated else [2])


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert read_log(str(tmp_path)) == []
