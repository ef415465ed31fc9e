# SPDX-License-Identifier: GPL-3.0-or-later
"""The WAL stream judged: mode, slot, intervals, what the archive lacks, what may be removed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES, WalFile
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import (
    Mode,
    archive_problems,
    archive_state,
    degraded_intervals,
    lags,
    parse_mode,
    removable,
    settings_sql,
    stream_problems,
)
from hypothesis import given
from hypothesis import strategies as st

SLOT = {
    "slot_name": "s", "active": True, "wal_status": "reserved", "safe_wal_size": 2 << 30, "restart_lsn": 1,
    "state": "streaming", "sync_state": "sync", "application_name": "platform3_stream", "flush_lsn": 1,
    "flush_lag": None,
}  # fmt: skip
SERVER = {"mode": "sync degrade 10", "waits": True, "degraded_since": ""}


def name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{0:08X}{number:08X}"


def archive(*names: str) -> dict[str, WalFile]:
    return {one: WalFile(one, "archive", "", 1, float(int(one[16:], 16))) for one in names}


@given(st.sampled_from(["async", "sync"]), st.sampled_from(["wait", "degrade"]), st.integers(1, 3600))
def test_a_mode_reads_as_it_was_written(kind: str, when_lost: str, seconds: int) -> None:
    assert parse_mode(Mode(kind, when_lost, seconds).text()) == Mode(kind, when_lost, seconds)


def test_without_a_mode_it_is_async_and_a_wrong_one_is_refused() -> None:
    assert parse_mode("").kind == "async"
    with pytest.raises(ValueError):
        parse_mode("fast degrade 10")


def test_only_sync_names_the_receiver() -> None:
    assert "synchronous_standby_names = 'platform3_stream'" in settings_sql(Mode("sync", "wait", 5))
    assert "synchronous_standby_names = ''" in settings_sql(Mode("async", "wait", 5))


@pytest.mark.parametrize(
    ("slot", "server", "codes"),
    [
        ({}, {}, []),
        (None, {}, ["PRC-570"]),
        ({"wal_status": "lost", "state": ""}, {"waits": False}, ["PRC-571"]),
        ({"wal_status": "unreserved", "safe_wal_size": -5}, {}, ["PRC-572"]),
        ({"safe_wal_size": 1 << 20}, {}, ["PRC-572"]),
        ({"safe_wal_size": None}, {}, []),
        ({"state": ""}, {}, ["PRC-573"]),
        ({"flush_lag": "12.5"}, {}, ["PRC-573"]),
        ({"state": ""}, {"waits": False, "degraded_since": "2026-11-23T05:17:00.000Z"}, ["PRC-573", "PRC-574"]),
        ({}, {"mode": "async wait 10", "waits": False}, []),
    ],
)
def test_what_is_wrong_is_named(slot: dict[str, Any] | None, server: dict[str, Any], codes: list[str]) -> None:
    row = None if slot is None else {**SLOT, **slot}
    assert [one.code for one in stream_problems("s", row, {**SERVER, **server}, 10)] == codes


def test_a_lost_slot_says_what_to_do() -> None:
    problem = stream_problems("s", {**SLOT, "wal_status": "lost"}, SERVER, 10)[0]
    assert "playbooks/wal_stream.yml" in problem.next_step


def test_intervals_are_put_together_and_torn_lines_left_out() -> None:
    lines = [
        '{"from": "2026-11-23T05:17:00.000Z", "to": null, "mode": "async", "reason": "lost"}',
        '{"from": "2026-11-23T05:1',
        "",
        '{"from": "2026-11-23T05:17:00.000Z", "to": "2026-11-23T05:18:00.000Z", "mode": "async", "reason": "again"}',
        '{"from": "2026-11-23T06:00:00.000Z", "to": null, "mode": "async", "reason": "lost"}',
    ]
    assert [(one["from"][11:16], one["to"] and one["to"][11:16]) for one in degraded_intervals("\n".join(lines))] == [
        ("05:17", "05:18"),
        ("06:00", None),
    ]


@given(st.lists(st.tuples(st.integers(0, 99), st.one_of(st.none(), st.integers(0, 99)))), st.text(max_size=20))
def test_no_interval_is_counted_twice_whatever_stands_between(ends: list[tuple[int, int | None]], noise: str) -> None:
    text = f"\n{noise}\n".join(json.dumps({"from": f"{a:02}", "to": b and f"{b:02}", "reason": "r"}) for a, b in ends)
    found = [one["from"] for one in degraded_intervals(text)]
    assert found == sorted(set(found))
    assert set(found) == {f"{a:02}" for a, _ in ends}


def test_the_archive_goes_as_far_as_its_first_gap() -> None:
    state = archive_state(archive(name(3), name(4), name(6)), name(3), 1)
    assert (state.newest and state.newest.segment, state.missing) == (name(4), name(5))
    assert state.end_lsn == 5 * SEGMENT_BYTES
    assert archive_problems({"missing": state.missing, "lag_bytes": 9, "lag_seconds": 1.0}, 60)[0].code == "PRC-579"


def test_a_new_timeline_begins_where_it_begins() -> None:
    state = archive_state(archive(name(3), name(4), name(4, 2), name(5, 2)), name(3), 2)
    assert (state.newest and state.newest.segment, state.missing) == (name(5, 2), None)
    assert archive_state({}, name(3), 1).newest is None


@given(st.sets(st.integers(5, 30), max_size=20))
def test_everything_before_the_end_of_the_archive_is_there(numbers: set[int]) -> None:
    state = archive_state(archive(*map(name, sorted(numbers))), name(5), 1)
    end = state.end_lsn // SEGMENT_BYTES
    assert set(range(5, end)) <= numbers
    assert end not in numbers


@pytest.mark.parametrize(
    ("lsn", "end", "at", "lag"),
    [(100, 100, 5.0, (0, 0.0)), (100, 200, None, (0, 0.0)), (100, 40, 5.0, (60, 15.0)), (100, 0, None, (100, None))],
)
def test_lags(lsn: int, end: int, at: float | None, lag: tuple[int, float | None]) -> None:
    assert lags(lsn, 20.0, end, at) == lag


def test_only_archived_wal_from_before_the_backup_may_go() -> None:
    paths = [f"a/{name(n)}" for n in (3, 4, 5, 6, 7)] + [f"a/{name(8)}.partial", f"b/{name(9, 2)}", f"b/{name(10, 2)}"]
    archived = dict.fromkeys([name(3), name(5), name(6), name(7), name(9, 2), name(10, 2)])
    # 4 is nowhere else; 6 follows the backup; of each folder the newest stays.
    assert removable(paths, archived, name(6)) == [f"a/{name(3)}", f"a/{name(5)}"]
    assert removable(paths, archived, name(10, 2)) == [
        f"a/{name(3)}", f"a/{name(5)}", f"a/{name(6)}", f"b/{name(9, 2)}",
    ]  # fmt: skip


@given(st.sets(st.integers(1, 20)), st.sets(st.integers(1, 20)), st.sets(st.integers(1, 20)), st.integers(1, 21))
def test_what_goes_is_always_in_two_other_places(held: set[int], here: set[int], away: set[int], before: int) -> None:
    paths = [f"a/{name(n)}" for n in held]
    gone = removable(paths, dict.fromkeys(map(name, here)), name(before), dict.fromkeys(map(name, away)))
    numbers = {int(one[-8:], 16) for one in gone}
    assert numbers <= held & here & away
    assert all(number < before for number in numbers)
    assert not held or max(held) not in numbers
