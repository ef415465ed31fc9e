# SPDX-License-Identifier: GPL-3.0-or-later
"""What datastores share: compared with sets of instants, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _recovery_window as rw
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import parse_target
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import SECOND, Stretch
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.wal_world import BEGAN, world_of

LIMIT = 40
STRETCHES = st.lists(st.builds(Stretch, st.integers(0, LIMIT), st.integers(0, LIMIT)), max_size=5)


def instants(stretches: list[Stretch]) -> set[int]:
    return {at for one in stretches for at in range(one.begin, one.end + 1)}


def is_merged(stretches: list[Stretch]) -> bool:
    return all(one.begin <= one.end for one in stretches) and all(
        one.end + 1 < other.begin for one, other in itertools.pairwise(stretches)
    )


@given(STRETCHES)
def test_merged_holds_the_same_instants(stretches: list[Stretch]) -> None:
    found = rw.merged(stretches)
    assert instants(found) == instants(stretches) and is_merged(found)
    gaps = instants(rw.between(found))
    assert not gaps & instants(found)
    assert gaps | instants(found) == (set(range(found[0].begin, found[-1].end + 1)) if found else set())


@given(st.lists(STRETCHES, min_size=1, max_size=4))
def test_shared_is_what_each_of_them_reaches(of_each: list[list[Stretch]]) -> None:
    found = rw.shared(of_each)
    assert instants(found) == set.intersection(*map(instants, of_each)) and is_merged(found)


@given(STRETCHES, STRETCHES)
def test_a_hole_is_reached_no_more_and_all_else_is(stretches: list[Stretch], holes: list[Stretch]) -> None:
    real = [one for one in holes if one.begin <= one.end]
    found = rw.without(stretches, real)
    assert instants(found) == instants(stretches) - instants(real) and is_merged(found)


@given(STRETCHES, st.integers(-2, LIMIT + 2))
def test_nearest_can_be_reached_and_nothing_reachable_is_nearer(stretches: list[Stretch], at: int) -> None:
    known = instants(stretches)
    found = rw.nearest(rw.merged(stretches), at)
    before, after = (
        max((one for one in known if one <= at), default=None),
        min((one for one in known if one >= at), default=None),
    )
    assert found == (before, after)
    assert rw.holds(stretches, at) == (at in known) == (found == (at, at))


def iso(second: int) -> str:
    return show_time(second * SECOND)


def point(second: int) -> dict[str, Any]:
    return {"at": iso(second), "lsn": "0/1", "xid": 7}


def test_postgresql_reaches_what_lies_between_its_gaps() -> None:
    gap = {"segment": "x", "wrong": "is missing", "before": point(20), "after": point(30)}
    window = {"earliest": point(10), "latest": point(50), "gaps": [gap], "abandoned": []}
    assert rw.of_postgresql(window) == [Stretch(10 * SECOND, 20 * SECOND), Stretch(30 * SECOND, 50 * SECOND)]
    last = {**gap, "before": point(40), "after": None}
    assert rw.of_postgresql({**window, "gaps": [gap, last]})[-1] == Stretch(30 * SECOND, 40 * SECOND)
    assert rw.of_postgresql(None) == rw.of_postgresql({**window, "earliest": None}) == []


@pytest.mark.parametrize(("again", "rest"), [(iso(40), [Stretch(40 * SECOND, 50 * SECOND)]), (None, [])])
def test_what_was_abandoned_is_out_of_reach_until_the_present_life_goes_on(
    again: str | None, rest: list[Stretch]
) -> None:
    left = {"timeline": 1, "from_lsn": "0/1", "until": point(35), "since": iso(25), "again": again}
    window = {"earliest": point(10), "latest": point(50), "gaps": [], "abandoned": [left]}
    assert rw.of_postgresql(window) == [Stretch(10 * SECOND, 25 * SECOND - 1), *rest]
    empty = {**left, "since": None, "until": None}
    assert rw.of_postgresql({**window, "abandoned": [empty]}) == [Stretch(10 * SECOND, 50 * SECOND)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["commit", "abort"]), st.integers(1, 3 * SECOND)),
        st.tuples(st.just("recover"), st.integers(0, 50)),
        st.tuples(st.sampled_from(["switch", "backup"]), st.just(0)),
    ),
    max_size=14,
)


@settings(deadline=None)
@given(STEPS, st.data())
def test_what_the_window_of_postgresql_holds_can_be_planned_and_nothing_else(
    steps: list[Any], data: st.DataObject
) -> None:
    world = world_of(steps)
    stretches = rw.of_postgresql(world.ways().window())
    ends = [at for one in stretches for at in (one.begin - 1, one.begin, one.end, one.end + 1)]
    times = [one.at + shift for listed in world.records.values() for one in listed if one.at for shift in (-1, 0, 1)]
    at = data.draw(st.one_of(st.sampled_from([*ends, *times, BEGAN]), st.integers(BEGAN, world.at + SECOND)))
    try:
        world.ways().plan(parse_target({"kind": "time", "value": show_time(at)}))
        planned = True
    except RecoveryError as error:
        assert error.code in ("PRC-551", "PRC-552", "PRC-554")
        planned = False
    assert rw.holds(stretches, at) == planned


def test_redis_reaches_whole_seconds_of_its_logs_and_snapshots_only_without_any() -> None:
    logs = [{"earliest": iso(10), "latest": iso(20)}, {"earliest": iso(21), "latest": iso(30)}]
    assert rw.of_redis(logs, [iso(1)], 99 * SECOND) == [Stretch(10 * SECOND, 31 * SECOND - 1)]
    assert rw.of_redis([], [iso(5), iso(1)], 99 * SECOND) == [Stretch(SECOND, 99 * SECOND)]
    assert rw.of_redis([], [], 99 * SECOND) == []


def test_influxdb_reaches_from_the_first_capture_to_the_last() -> None:
    assert rw.of_influxdb({"earliest": iso(1), "latest": iso(9), "points": 3}) == [Stretch(SECOND, 9 * SECOND)]
    assert rw.of_influxdb(None) == []


def test_a_set_is_needed_to_begin_with() -> None:
    assert rw.of_sets([iso(5), iso(3)], 9 * SECOND) == [Stretch(3 * SECOND, 9 * SECOND)]
    assert rw.of_sets([], 9 * SECOND) == []


@pytest.mark.parametrize(
    ("able", "said"),
    [
        ((True, True, True), "all datastores can be brought there"),
        ((False, True, True), "redis and influxdb can be brought there, postgresql cannot"),
        ((False, False, True), "influxdb can be brought there, postgresql and redis cannot"),
        ((False, False, False), "no datastore can be brought there"),
    ],
)
def test_the_verdict_names_those_that_can(able: tuple[bool, ...], said: str) -> None:
    assert rw.verdict({name: {"reachable": one} for name, one in zip(rw.DATASTORES, able, strict=True)}) == said


def test_time_is_told_only_where_it_was_measured() -> None:
    figures = {"bytes_per_second": 50 << 20, "other_seconds": 12.5, "counted": 2}
    assert rw.replay_seconds(100 << 20, figures) == {"replay": 2.0, "whole": 14.5}
    assert rw.replay_seconds(100 << 20, {"bytes_per_second": None}) == {"replay": None, "whole": None}
