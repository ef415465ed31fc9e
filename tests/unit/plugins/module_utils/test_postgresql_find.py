# SPDX-License-Identifier: GPL-3.0-or-later
"""Which WAL is searched around a time: each life's commits are found once, gaps are said, `before` leads before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _postgresql_find as find
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_find import Found, Span, search
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import PointPlan
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import SECOND
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES, WalFile
from ansible_collections.platform3.recovery.plugins.module_utils._wal_changes import Names
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.wal_world import BEGAN, Reader, World, way, world_of

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "abort", "switch", "backup", "recover"]), st.integers(1, 3 * SECOND)
    ),
    max_size=25,
)


class Emptying(Reader):
    """Tells of a world in which every transaction deleted 1,000 rows of a table of its own number."""

    def changes(self, files: Sequence[WalFile]) -> str:
        """As WalReader.changes."""
        lines = []
        for one in self.read(files):
            number = one.lsn // SEGMENT_BYTES
            lsn = f"{one.lsn >> 32:X}/{one.lsn & 0xFFFFFFFF:08X}"
            if one.at is not None:
                ended = f"{one.kind.upper()} {show_time(one.at)[:-1].replace('T', ' ')} UTC"
                lines.append(f"did 1000 {number >> 8:X}/{number & 0xFF:02X} {one.xid} deleted 1663/5/{20000 + one.xid}")
                lines.append(f"ended {lsn} {one.xid} {ended}")
        return "\n".join(lines)


def searched(world: World, start: int, end: int) -> Found:
    ways = world.ways()
    ways.reader = Emptying(world)  # type: ignore[assignment]
    return search(ways, Names(), Span(start, end, 1000))


@settings(max_examples=150, deadline=None)
@given(STEPS, st.data())
def test_each_commit_of_the_time_is_found_once_and_before_leads_before_it(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    world = world_of([("commit", SECOND), *steps, ("commit", 1)])
    start = data.draw(st.integers(BEGAN, world.at))
    end = data.draw(st.integers(start, world.at + SECOND))
    truly = [one for one in world.records[world.timeline] if one.kind == "commit" and start <= (one.at or 0) <= end]
    every = {id(one) for records in world.records.values() for one in records if one.kind == "commit"}
    by_id = {id(one): one for records in world.records.values() for one in records}
    try:
        found = searched(world, start, end)
    except RecoveryError as error:
        assert error.code == "PRC-564" and truly == []
        return
    mine = [one for one in found.events if one["abandoned_timeline"] is None]
    assert [one["xid"] for one in mine] == [one.xid for one in truly]
    left = [one for key in every if (one := by_id[key]) not in world.records[world.timeline]]
    left = [one for one in left if start <= (one.at or 0) <= end]
    others = [one for one in found.events if one["abandoned_timeline"] is not None]
    assert sorted(one["at"] for one in others) == sorted(show_time(one.at or 0) for one in left)
    assert all(one["before"] is None for one in others) and found.gaps == []
    for event, record in zip(mine, truly, strict=True):
        assert event["tables"] == [f"base/5/{20000 + record.xid}"]
        plan = event["before"] and way(world, "time", event["before"]["value"])
        # An instant that an earlier recovery undid cannot be had again, and is refused as such.
        if isinstance(plan, PointPlan):
            assert plan.last is None or plan.last.lsn < record.lsn
        else:
            assert plan in (None, "PRC-554")


def _with_a_gap() -> tuple[World, list[Any], str]:
    """Five commits in a segment each; the third one's is missing."""
    world = world_of([])
    records = []
    for _ in range(5):
        records.append(world.commit(60 * SECOND))
        world.switch()
    gone = next(one for one in world.files if one.number == records[2].lsn // SEGMENT_BYTES)
    world.files.remove(gone)
    return world, records, gone.name()


def test_a_gap_in_that_time_is_said_and_what_lies_behind_it_is_searched_too() -> None:
    world, records, gone = _with_a_gap()
    found = searched(world, records[0].at, records[4].at)
    assert [one["xid"] for one in found.events] == [records[n].xid for n in (0, 1, 3, 4)]
    gap = {"segment": gone, "wrong": "is missing", "from": show_time(records[1].at), "to": show_time(records[3].at)}
    assert found.gaps == [gap]
    assert [(one["from"], one["to"]) for one in found.searched] == [
        (show_time(records[0].at), show_time(records[1].at)),
        (show_time(records[3].at), show_time(records[4].at)),
    ]


def test_a_gap_outside_of_that_time_is_not_said() -> None:
    world, records, _ = _with_a_gap()
    assert searched(world, records[0].at, records[1].at - 1).gaps == []
    assert searched(world, records[4].at, records[4].at).gaps == []


def test_a_time_within_the_gap_is_not_passed_off_as_searched() -> None:
    world, records, _ = _with_a_gap()
    with pytest.raises(RecoveryError) as refused:
        searched(world, records[2].at - SECOND, records[2].at + SECOND)
    assert refused.value.code == "PRC-564"


def test_no_more_is_read_than_holds_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of([])
    records = []
    for _ in range(40):
        records.append(world.commit(60 * SECOND))
        world.switch()
    found = searched(world, records[20].at, records[21].at)
    assert [one["xid"] for one in found.events] == [records[20].xid, records[21].xid]
    assert found.searched[0]["segments"] <= 4
    monkeypatch.setattr(find, "MAXIMUM_SEGMENTS", 10)
    with pytest.raises(RecoveryError) as refused:
        searched(world, records[0].at, records[39].at)
    assert refused.value.code == "PRC-565"
