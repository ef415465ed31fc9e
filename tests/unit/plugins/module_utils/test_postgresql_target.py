# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time of PostgreSQL: which base backup, timeline and WAL lead there, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import PointPlan, sql_time
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    SECOND,
    Target,
    is_of,
    parse_target,
    reached_at,
    target_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import assess
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Segment,
    WalFile,
    format_lsn,
    parse_lsn,
    parse_segment,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import DamagedSegment
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import (
    Course,
    Record,
    around,
    last_ended,
    microseconds,
    parse_records,
    show_time,
)
from ansible_collections.platform3.recovery.plugins.modules.postgresql_wal_info import refuse_undone
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.wal_world import Reader, World, way, world_of

FIXTURES = Path(__file__).parent / "fixtures" / "postgresql"


# What the WAL says


def test_commits_aborts_and_restore_points_are_read() -> None:
    found = parse_records((FIXTURES / "waldump_ends.txt").read_text())
    assert [(one.kind, format_lsn(one.lsn), one.xid, one.name) for one in found] == [
        ("point", "0/6000028", 0, "alpha"),
        ("commit", "0/60001A0", 802, ""),
        ("abort", "0/70772E8", 833, ""),
        ("commit", "0/7077448", 834, ""),
        ("commit", "0/7077530", 835, ""),
    ]
    assert show_time(found[1].at or 0) == "2026-11-23T17:34:00.050703Z"


@given(st.integers(0, 2**53))
def test_a_time_survives_to_the_microsecond(at: int) -> None:
    assert microseconds(show_time(at).replace("T", " ").rstrip("Z")) == at


def course_of(times: list[tuple[int, int]]) -> tuple[Course, list[Record], list[int]]:
    """A course of transactions (segment, instant), the records, and how many files each reading took."""
    records, places = [], {}
    for segment, at in times:
        places[segment] = places.get(segment, -1) + 1
        records.append(Record("commit", segment * SEGMENT_BYTES + 40 * places[segment], 1, at))
    numbers = range(min(places, default=0), max(places, default=0) + 1)
    files = [WalFile(Segment(1, number).name(), "archive") for number in numbers]
    read: list[int] = []

    def reader(wanted: Any) -> list[Record]:
        read.append(len(wanted))
        held = {parse_segment(one.segment).number for one in wanted}
        return [one for one in records if one.lsn // SEGMENT_BYTES in held]

    return Course(files, reader), records, read


TIMES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=60).map(
    lambda drawn: [(segment, at) for at, (segment, _) in enumerate(sorted(drawn))]
)


@given(TIMES, st.integers(-2, 62))
def test_an_instant_lies_between_two_transactions(times: list[tuple[int, int]], at: int) -> None:
    course, records, _ = course_of(times)
    before, after = around(course, at)
    assert before == next((one for one in reversed(records) if (one.at or 0) <= at), None)
    assert after == next((one for one in records if (one.at or 0) > at), None)


@given(TIMES, st.integers(0, 41 * SEGMENT_BYTES))
def test_the_last_transaction_before_a_position_is_found(times: list[tuple[int, int]], behind: int) -> None:
    course, records, _ = course_of(times)
    assert last_ended(course, behind) == next((one for one in reversed(records) if one.lsn < behind), None)
    assert list(course.backwards()) == records[::-1]


def test_few_segments_are_read_for_an_instant() -> None:
    course, _, read = course_of([(segment, segment) for segment in range(1000)])
    before, after = around(course, 700)
    assert (before and before.at, after and after.at) == (700, 701)
    assert sum(read) <= 30


# What is asked for


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("time", "2026-11-23T17:34:00.050703+01:00", 1795451640050703),
        ("lsn", "16/B374D848", 0x16B374D848),
        ("xid", str((3 << 32) + 77), 77),
        ("name", "before-upgrade_7.1", 0),
    ],
)
def test_a_target_is_read(kind: str, value: str, number: int) -> None:
    assert parse_target({"kind": kind, "value": value}) == Target(kind, value, number)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("time", "2026-11-23T17:34:00"),
        ("time", "2026-02-30T17:34:00Z"),
        ("lsn", "16B374D848"),
        ("xid", "0x10"),
        ("xid", "2"),
        ("xid", str(5 << 32)),
        ("xid", "-4"),
        ("name", ""),
        ("name", "a b"),
        ("name", "it's"),
        ("name", "x" * 64),
    ],
)
def test_a_malformed_target_is_refused(kind: str, value: str) -> None:
    with pytest.raises(RecoveryError) as refused:
        parse_target({"kind": kind, "value": value})
    assert refused.value.code == "PRC-550"


def test_a_target_needs_wal() -> None:
    assert target_of({"target": None, "method": "logical"}) is None
    with pytest.raises(RecoveryError) as refused:
        target_of({"target": {"kind": "xid", "value": "700"}, "method": "logical"})
    assert refused.value.code == "PRC-559"


@given(st.integers(0, 32_503_679_999_999_999))  # 2999: a float of seconds holds no microsecond beyond 2106
def test_the_server_is_told_the_very_microsecond(at: int) -> None:
    assert parse_target({"kind": "time", "value": sql_time(at)}).number == at


# The way there

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 3 * SECOND)),
        st.tuples(st.just("commit"), st.integers(1, 3 * SECOND)),
        st.tuples(st.just("abort"), st.integers(1, 3 * SECOND)),
        st.tuples(st.just("point"), st.integers(1, 3 * SECOND)),
        st.tuples(st.just("switch"), st.just(0)),
        st.tuples(st.just("backup"), st.just(0)),
        st.tuples(st.just("recover"), st.integers(0, 1000)),
    ),
    max_size=40,
)


def require_whole(world: World, plan: PointPlan) -> None:
    """The plan's base backup is of the life that counts, the newest that fits, and no segment is left out."""
    backup, stop = plan.found.backup, plan.stop.lsn
    chain = world.ways().chain
    assert is_of(chain, backup)
    newer = [
        one
        for one in world.backups[world.backups.index(backup) + 1 :]
        if is_of(chain, one)
        and parse_lsn(one.lsn_stop) <= stop
        and (plan.target.kind != "time" or reached_at(one) <= plan.target.number)
    ]
    assert newer == []
    numbers = [parse_segment(one.segment).number for one in plan.found.plan.files]
    assert numbers == list(range(parse_segment(backup.wal_start).number, stop // SEGMENT_BYTES + 1))
    assert parse_lsn(backup.lsn_stop) <= stop
    assert plan.backup_set == f"set-{backup.label}"


@settings(max_examples=300, deadline=None)
@given(STEPS, st.data())
def test_a_time_is_what_was_at_that_time(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    world = world_of(steps)
    ended = {id(one): one for listed in world.records.values() for one in listed if one.at is not None}
    instants = [one.at + more for one in ended.values() if one.at is not None for more in (-1, 0, 1)]
    at = data.draw(st.sampled_from([*instants, world.at, world.at + SECOND]))
    plan = way(world, "time", show_time(at))

    chain = world.ways().chain
    alive = [reached_at(one) for one in world.backups if is_of(chain, one) and reached_at(one) <= at]
    mine = [one for one in world.records[world.timeline] if one.at is not None]
    kept = [one for one in mine if (one.at or 0) <= at]
    truly = [one for one in ended.values() if (one.at or 0) <= at]
    last = max(truly, key=lambda one: one.at or 0, default=None)
    if not alive:
        assert plan == "PRC-551"
    elif last is not None and last not in kept and (last.at or 0) > max(alive):
        assert plan == "PRC-554"
    elif len(kept) == len(mine) and not (kept and kept[-1].at == at):
        assert plan == "PRC-552"
    else:
        assert isinstance(plan, PointPlan), plan
        behind = parse_lsn(plan.found.backup.lsn_start) // SEGMENT_BYTES * SEGMENT_BYTES
        commits = [one for one in kept if one.kind == "commit"]
        assert [plan.last] == (commits[-1:] or [None]) or (commits[-1].lsn < behind)
        assert plan.stop.before == (len(kept) < len(mine))
        wanted = mine[len(kept)] if plan.stop.before else kept[-1]
        assert plan.stop.lsn == wanted.lsn
        assert plan.found.plan.timeline == world.written_on[id(wanted)]
        require_whole(world, plan)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.data())
def test_a_transaction_or_name_is_found_where_it_counts(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    world = world_of([("commit", 1), *steps])
    records = list({id(one): one for listed in world.records.values() for one in listed}.values())
    wanted = data.draw(st.sampled_from(records))
    kind = "name" if wanted.kind == "point" else "xid"
    plan = way(world, kind, wanted.name or str(wanted.xid))
    # Numbers of transactions that were undone are given again: the one of the life that counts is meant.
    mine = [one for one in world.records[world.timeline] if (one.name, one.xid) == (wanted.name, wanted.xid)]
    if not mine:
        assert plan == "PRC-554"
    else:
        assert isinstance(plan, PointPlan), plan
        assert (plan.stop.lsn, plan.stop.before) == (mine[0].lsn, False)
        assert plan.found.plan.timeline == world.written_on[id(mine[0])]
        if mine[0].kind == "commit":
            assert plan.last == mine[0]
        require_whole(world, plan)
    unknown = "name" if kind == "name" else "xid"
    assert way(world, unknown, "99999999") == "PRC-555"


@settings(max_examples=200, deadline=None)
@given(STEPS, st.data())
def test_a_position_counts_on_the_timeline_that_is_followed(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    world = world_of([("commit", 1), *steps])
    mine = world.records[world.timeline]
    wanted = data.draw(st.sampled_from(mine))
    plan = way(world, "lsn", format_lsn(wanted.lsn))
    assert isinstance(plan, PointPlan), plan
    assert plan.stop.lsn == wanted.lsn
    assert plan.found.plan.timeline == world.written_on[id(wanted)]
    require_whole(world, plan)
    beyond = way(world, "lsn", format_lsn(max(mine, key=lambda one: one.lsn).lsn + 40 * SEGMENT_BYTES))
    assert beyond in ("PRC-552", "PRC-554")
    assert way(world, "lsn", "0/28") == "PRC-551"


@settings(max_examples=200, deadline=None)
@given(STEPS, st.data())
def test_no_way_leads_through_a_gap(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    world = world_of([("commit", SECOND), ("switch", 0), *steps, ("switch", 0), ("commit", 1), ("commit", 1)])
    at = data.draw(st.integers(reached_at(world.backups[0]), world.at - 1))
    whole = way(world, "time", show_time(at))
    chain = {parse_segment(one.segment) for stretch in world.ways().stretches for one in stretch.files}
    gone = data.draw(st.sampled_from(sorted(chain, key=lambda one: one.number)))
    world.files.remove(gone)
    plan = way(world, "time", show_time(at))
    if isinstance(plan, PointPlan):
        # Nothing else is found than with all of the WAL, and what is missing is not needed.
        assert isinstance(whole, PointPlan)
        assert gone.name() not in [one.segment for one in plan.found.plan.files]
        assert plan.found.backup == whole.found.backup
        if plan.stop.told[0] == "recovery_target_lsn":
            # In front of the gap, as at the end of WAL, the very instant of the last transaction is reached; of several
            # in one microsecond the rest may lie in the gap.
            assert plan.last == whole.last or (whole.last and whole.last.at == at)
        else:
            assert plan.stop == whole.stop
            # What was committed before the base backup may lie in front of the gap, and is not seen then.
            assert plan.last == whole.last or (whole.last and whole.last.lsn < parse_lsn(plan.found.backup.lsn_start))
    elif isinstance(whole, PointPlan):
        assert plan in ("PRC-551", "PRC-552", "PRC-553", "PRC-554")


def test_a_gap_names_the_points_on_both_sides() -> None:
    world = world_of([("commit", SECOND)])
    before = world.commit(SECOND)
    world.switch()
    lost = world.commit(SECOND)
    world.switch()
    world.commit(SECOND)
    after = world.backup()
    world.at += 2 * SECOND
    world.commit(SECOND)
    gone = Segment(1, lost.lsn // SEGMENT_BYTES)
    world.files.remove(gone)
    for kind, value in (("time", show_time((lost.at or 0) + 1)), ("lsn", format_lsn(lost.lsn))):
        with pytest.raises(RecoveryError) as refused:
            world.ways().plan(parse_target({"kind": kind, "value": value}))
        assert refused.value.code == "PRC-553"
        for named in (f"{gone.name()} is missing", show_time(before.at or 0), show_time(reached_at(after))):
            assert named in refused.value.found
    window = world.ways().window()
    assert [one["segment"] for one in window["gaps"]] == [gone.name()]
    assert window["gaps"][0]["after"]["lsn"] == after.lsn_stop


def test_a_damaged_segment_is_a_gap_that_does_no_harm_behind_the_target() -> None:
    world = world_of([("commit", SECOND)])
    first = world.commit(SECOND)
    world.switch()
    damaged = world.commit(SECOND)
    world.switch()
    world.commit(SECOND)
    name = Segment(1, damaged.lsn // SEGMENT_BYTES).name()

    class Finds(Reader):
        """Meets the damage when it reads it."""

        def read(self, files: Any) -> list[Record]:
            if name in [one.segment for one in files[:1]]:
                raise DamagedSegment(name, "at 0/1: incorrect resource manager data checksum")
            return super().read(files)

    def ways() -> Any:
        found = world.ways()
        found.reader = Finds(world)
        return found

    at = show_time((first.at or 0) - 1)
    assert ways().plan(parse_target({"kind": "time", "value": at})).stop.lsn == first.lsn
    with pytest.raises(RecoveryError) as refused:
        ways().plan(parse_target({"kind": "time", "value": show_time((damaged.at or 0) - 1)}))
    assert refused.value.code == "PRC-553"
    assert "is damaged" in refused.value.found


def test_a_name_that_was_given_twice_is_ambiguous() -> None:
    world = world_of([])
    for _ in range(2):
        world.commit(SECOND)
        world.commit(1, "point", "twice")
    assert way(world, "name", "twice") == "PRC-556"
    # A base backup in between leaves one of them.
    world.backup()
    third = world.commit(SECOND, "point", "twice")
    plan = way(world, "name", "twice")
    assert isinstance(plan, PointPlan)
    assert plan.stop.lsn == third.lsn


def test_of_an_unknown_transaction_the_reach_and_the_nearest_are_named() -> None:
    world = world_of([])
    world.xid = 700
    lower = world.commit(SECOND)
    world.xid = 900
    higher = world.commit(SECOND)
    last = world.commit(SECOND)
    with pytest.raises(RecoveryError) as refused:
        world.ways().plan(parse_target({"kind": "xid", "value": "800"}))
    assert refused.value.code == "PRC-555"
    earliest = show_time(reached_at(world.backups[0]))
    assert f"which reaches from {earliest} " in refused.value.found
    assert f" to {show_time(last.at or 0)} " in refused.value.found
    near = refused.value.found.partition("; the nearest that ended are ")[2]
    told = [f"{show_time(one.at or 0)} (LSN {format_lsn(one.lsn)}, transaction {one.xid})" for one in (lower, higher)]
    assert near == " and ".join(told)


def test_a_damaged_base_backup_is_not_built_on() -> None:
    world = world_of([("commit", SECOND)])
    world.backup()
    world.at += 2 * SECOND
    world.commit(SECOND)
    world.commit(SECOND)
    at = show_time(world.at - 1)
    newest = way(world, "time", at)
    assert isinstance(newest, PointPlan)
    assert newest.found.backup == world.backups[1]
    world.backups[1] = replace(world.backups[1], damaged=True)
    older = way(world, "time", at)
    assert isinstance(older, PointPlan)
    assert older.found.backup == world.backups[0]
    world.backups[0] = replace(world.backups[0], damaged=True)
    assert way(world, "time", at) == "PRC-551"


def test_what_replay_ended_in_is_not_archived_from_the_stream() -> None:
    world = world_of([("commit", SECOND), ("switch", 0), ("commit", SECOND), ("commit", SECOND)])
    plan = way(world, "time", show_time(world.at - 1))
    assert isinstance(plan, PointPlan)
    assert [one.segment for one in plan.replayed_whole().plan.files] == [
        one.segment for one in plan.found.plan.files[:-1]
    ]


def test_the_server_pauses_where_it_is_told_to() -> None:
    world = world_of([("commit", SECOND), ("commit", SECOND)])
    last = world.records[1][-1]
    plan = way(world, "time", show_time((last.at or 0) - 1))
    assert isinstance(plan, PointPlan)
    assert plan.recovery_options == [
        f"--recovery-option=recovery_target_time={sql_time((last.at or 0) - 1)}",
        "--recovery-option=recovery_target_inclusive=true",
        "--recovery-option=recovery_target_action=pause",
    ]
    # Behind the last transaction none is known that ended later, and the server would go on.
    plan = way(world, "time", show_time(last.at or 0))
    assert isinstance(plan, PointPlan)
    assert plan.stop.told == ("recovery_target_lsn", format_lsn(last.lsn))


def test_a_set_of_what_was_abandoned_is_told_from_one_of_the_present_life() -> None:
    world = world_of([("commit", SECOND)])
    kept = world.commit(SECOND)
    undone = world.backup()
    world.commit(SECOND)
    assert not assess(world.view(), world.content(undone)).as_dict()["abandoned"]
    world.recover_to(kept)
    world.commit(SECOND)
    assert assess(world.view(), world.content(undone)).as_dict()["abandoned"]
    present = assess(world.view(), world.content(world.backups[0])).as_dict()
    assert (present["abandoned"], present["timeline"]) == (False, 2)


def test_a_base_backup_of_what_was_undone_is_refused() -> None:
    refuse_undone({"label": "20261123-051700F", "abandoned": False})
    with pytest.raises(RecoveryError) as caught:
        refuse_undone({"label": "20261123-051700F", "abandoned": True})
    assert caught.value.code == "PRC-562" and "20261123-051700F" in caught.value.attempted
