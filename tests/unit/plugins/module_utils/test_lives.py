# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of streamed WAL and of Redis' log: what goes, and that nothing goes which a set that stays may need."""

from __future__ import annotations

from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._lives import (
    LOG,
    STREAM,
    Life,
    Needs,
    decide_lives,
    needs_of,
    parse_lives,
)
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._wal import Segment, StreamFile
from hypothesis import given
from hypothesis import strategies as st

OURS, FORMER = "7000000000000000001", "7000000000000000000"
ZERO = int(parse_iso("2026-11-20T00:00:00Z"))


def base(begun: int, segment: int, system: str = OURS) -> Backup:
    at = to_iso(ZERO + begun)
    names = {"wal_start": Segment(1, segment).name(), "wal_stop": Segment(1, segment + 1).name()}
    more = {"version": "17", "archive_id": "17-1", "lsn_start": "0/1", "lsn_stop": "0/2", "damaged": False}
    sizes = {"bytes": 1, "repository_bytes": 1}
    return Backup(label=f"{begun}F", system_identifier=system, started_at=at, finished_at=at, **names, **more, **sizes)


def manifest(at: int | None) -> dict[str, Any]:
    """Of a set with Redis' data of that instant, or without Redis."""
    components = {"influxdb": {}} | ({} if at is None else {"redis": {"recovery_point": to_iso(ZERO + at)}})
    return {"backup_set": "20261120T000000Z", "components": components}


def going(lives: list[Life], needs: Needs) -> set[str]:
    return {one.life.path for one in decide_lives(lives, needs) if not one.stays}


TIMES = st.integers(min_value=0, max_value=60)
LOGS = st.builds(
    Life, st.just(LOG), st.text("abcdef", min_size=1), TIMES.map(lambda at: ZERO + at), st.just(1), st.integers(-1, 9)
)
STREAMS = st.builds(
    Life,
    st.just(STREAM),
    st.text("abcdef", min_size=1),
    TIMES.map(lambda at: ZERO + at),
    st.just(1),
    system=st.sampled_from([OURS, FORMER, None]),
    last_segment=st.one_of(st.none(), TIMES),
)
LIVES = st.lists(st.one_of(LOGS, STREAMS), unique_by=lambda one: one.path, max_size=8)
MANIFESTS = st.lists(st.one_of(st.none(), st.one_of(st.none(), TIMES).map(manifest)), max_size=5)
BASES = st.lists(st.builds(base, TIMES, TIMES, st.sampled_from([OURS, FORMER])), max_size=4)


@given(lives=LIVES, manifests=MANIFESTS, bases=BASES, stream=st.text("abcdef", min_size=1))
def test_what_goes_is_older_than_all_that_stays(
    lives: list[Life], manifests: list[dict[str, Any] | None], bases: list[Backup], stream: str
) -> None:
    gone = going(lives, needs_of(manifests, bases, stream))
    for one in lives:
        if one.path not in gone:
            continue
        if one.kind == LOG:
            points = [
                parse_iso(m["components"]["redis"]["recovery_point"])
                for m in manifests
                if m and "redis" in m["components"]
            ]
            assert points and None not in manifests and one.newest_at < min(points)
        else:
            assert bases and one.name != stream
            own = [other for other in bases if other.system_identifier == one.system]
            assert all(one.newest_at < parse_iso(other.started_at) for other in own or bases)
            assert all(one.last_segment is None or one.last_segment < int(other.wal_start[16:], 16) for other in own)


@given(lives=LIVES, manifests=MANIFESTS, bases=BASES, more=MANIFESTS, more_bases=BASES)
def test_where_more_is_kept_no_more_goes(
    lives: list[Life],
    manifests: list[dict[str, Any] | None],
    bases: list[Backup],
    more: list[dict[str, Any] | None],
    more_bases: list[Backup],
) -> None:
    known = [one for one in manifests if one and "redis" in one["components"]] or [manifest(30)]
    some = [*bases, base(30, 30), base(30, 30, FORMER)]
    fewer, all_of_it = needs_of(known, some, "x"), needs_of([*known, *more], [*some, *more_bases], "x")
    assert going(lives, all_of_it) <= going(lives, fewer)


@given(lives=LIVES, stream=st.text("abcdef", min_size=1))
def test_the_newest_of_each_stays_whatever_is_kept(lives: list[Life], stream: str) -> None:
    late = needs_of([manifest(1000)], [base(1000, 1000)], stream)
    gone = going(lives, late)
    logs, streams = ([one for one in lives if one.kind == kind] for kind in (LOG, STREAM))
    assert not logs or any(one.epoch == max(other.epoch for other in logs) and one.path not in gone for one in logs)
    assert not streams or any(
        one.newest_at == max(other.newest_at for other in streams) and one.path not in gone for one in streams
    )
    assert f"{STREAM}/{stream}" not in gone
    assert len(gone) >= len(lives) - 3, "all others are older than what stays"


@given(lives=LIVES)
def test_nothing_goes_where_it_cannot_be_told_what_is_needed(lives: list[Life]) -> None:
    assert going(lives, needs_of([manifest(50), None], [], "x")) == set()
    assert going(lives, needs_of([], [], "x")) == set()


def test_the_streams_wal_decides_where_a_clock_was_put_back() -> None:
    """Its files are older by their times than the base backup, and yet hold WAL after it."""
    lives = [
        Life(STREAM, "initial", ZERO + 10, 1, system=OURS, last_segment=99),
        Life(STREAM, "r-1", ZERO + 20, 1, system=OURS, last_segment=4),
        Life(STREAM, "r-2", ZERO + 60, 1, system=OURS, last_segment=120),
    ]
    assert going(lives, needs_of([], [base(30, 50)], "r-2")) == {"wal-stream/r-1"}


def test_an_inherited_record_of_redis_is_as_old_as_the_set_that_made_it() -> None:
    inherited = {
        "backup_set": "20261122T000000Z",
        "components": {"redis": {"version": "8.0.2"}},
        "chains": {"redis": ["20261120T000010Z"], "influxdb": ["20261122T000000Z"]},
    }
    assert needs_of([inherited], [], "x").redis_at == ZERO + 10


def test_the_listing_is_read_and_what_it_does_not_know_is_left_alone() -> None:
    streamed = [StreamFile("r-1", "0000000200000000000000A0.partial", 1), StreamFile("r-1", "00000002.history", 1)]
    view = View("17", {}, [], "", {}, {}, streamed, {"r-1": OURS})
    listing = "wal-stream r-1 -1 4096 1795132800.25\naof initial 3 99 1795132801.5\naof odd name 1 1 1\nother x 1 1 1\n"
    assert parse_lives(listing, view) == [
        Life(STREAM, "r-1", 1795132800, 4096, -1, OURS, 0xA0),
        Life(LOG, "initial", 1795132801, 99, 3),
    ]
