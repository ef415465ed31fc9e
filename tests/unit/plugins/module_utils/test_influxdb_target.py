# SPDX-License-Identifier: GPL-3.0-or-later
"""Which set brings InfluxDB to an instant: by example, and that what it does not say is lost is there, by property."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import NANOSECONDS, iso
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import (
    Aggregate,
    Capture,
    aggregates_of,
    captures_of,
    choose,
    deletes_between,
    holds_later,
    window_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BEGIN = 1795408000 * NANOSECONDS
MINUTE = 60 * NANOSECONDS
MARKET, ANALYTICS = "5bbaf279110971d7", "6bbaf279110971d7"
STARTED = "2026-11-23T05:00:00.000Z"


def at(minutes: float) -> int:
    return BEGIN + int(minutes * MINUTE)


def shard(number: int, bucket: str, **changes: Any) -> dict[str, Any]:
    """The record of a shard that reaches far to both sides."""
    made = {
        "id": number,
        "bucket_id": bucket,
        "policy": "autogen",
        "starts_at": iso(at(-1000)),
        "ends_at": iso(at(1000)),
        "retention_seconds": 0,
        "settled_before": iso(at(0)),
        "points": 100,
        "values": 100,
        "newest_at": iso(at(0)),
        "held_to": iso(at(0)),
        "artefact": f"influxdb/shards/{number}.tar",
        "archives": [],
        "files": [["000000001-000000001.tsm", 1000, at(0) // NANOSECONDS]],
    }
    return {**made, **changes}


def capture(minutes: float, *shards: dict[str, Any], **changes: Any) -> Capture:
    """A state of a server with two buckets, of which one may be left out."""
    made = list(shards) or [shard(1, MARKET), shard(2, ANALYTICS)]
    names = {MARKET: "market-data", ANALYTICS: "analytics"}
    buckets = [
        {"id": one, "name": name, "organisation": "forex-trading", "values": 100, "points": 100}
        for one, name in names.items()
        if one in {record["bucket_id"] for record in made}
    ]
    content = {"recovery_point": iso(at(minutes)), "buckets": buckets, "shards": made, "instance": "1", **changes}
    return Capture(f"set-{minutes:g}", at(minutes), content)


def counted(begun: int, ended: int, started: str = STARTED) -> dict[str, Any]:
    return {"deletes": {"begun": begun, "ended": ended, "server_started_at": started}}


TOMBSTONE = "000000001-000000001.tombstone"
TSM = ["000000001-000000001.tsm", 1000, at(0) // NANOSECONDS]
NEWER_TSM = ["000000002-000000002.tsm", 1000, at(1) // NANOSECONDS]


def with_tombstone(minutes: float) -> dict[str, Any]:
    return shard(1, MARKET, files=[TSM, [TOMBSTONE, 96, at(minutes) // NANOSECONDS]])


def test_the_oldest_set_at_or_after_the_target_is_taken() -> None:
    sets = [capture(0), capture(10), capture(20), capture(30)]
    for minutes, expected in ((0, 0), (1, 10), (10, 10), (10.5, 20), (29, 30)):
        choices = choose(at(minutes), sets, at(40), arrival_seconds=0)
        assert (choices.chosen.capture.set_id, choices.other, choices.chosen.lost) == (f"set-{expected}", None, ())
        assert choices.chosen.reached_ns == at(minutes)


def test_a_set_captured_in_the_moment_after_is_passed_over_for_what_was_on_its_way() -> None:
    sets = [capture(0), capture(10), capture(20)]
    assert choose(at(10) - 1, sets, at(40)).chosen.capture.set_id == "set-20"
    newest = choose(at(20) - 1, sets, at(40)).chosen
    assert newest.capture.set_id == "set-20"
    assert [(one["what"], one["bucket"]) for one in newest.lost] == [("late", "market-data"), ("late", "analytics")]


def test_after_the_newest_set_it_is_taken_and_the_loss_is_stated() -> None:
    chosen = choose(at(13), [capture(0), capture(10)], at(40)).chosen
    assert (chosen.capture.set_id, chosen.reached_ns) == ("set-10", at(10))
    assert chosen.lost[0] == {
        "bucket": "market-data",
        "organisation": "forex-trading",
        "what": "not_captured",
        "values": None,
        "from": iso(at(10)),
        "to": iso(at(13)),
        "at": None,
    }
    assert len(chosen.lost) == 2


@pytest.mark.parametrize(
    ("minutes", "code", "named"),
    [(-0.1, "PRC-760", [iso(at(0)), "set-0", iso(at(10))]), (41, "PRC-761", [iso(at(10)), "set-10", iso(at(40))])],
)
def test_outside_the_window_the_nearest_points_are_named(minutes: float, code: str, named: list[str]) -> None:
    with pytest.raises(RecoveryError) as refused:
        choose(at(minutes), [capture(0), capture(10)], at(40))
    assert refused.value.code == code
    assert [one for one in named if one not in refused.value.sentence()] == []


def test_without_a_set_nothing_can_be_reached() -> None:
    assert window_of([]) is None
    with pytest.raises(RecoveryError, match="PRC-760"):
        choose(at(0), [], at(1))


def test_a_deleted_bucket_is_lost_or_comes_back_with_the_set_before() -> None:
    sets = [capture(0), capture(10), capture(20, shard(2, ANALYTICS))]
    complete = choose(at(15), sets, at(40))
    assert complete.chosen.capture.set_id == "set-20"
    assert [(one["bucket"], one["what"], one["values"]) for one in complete.chosen.lost] == [
        ("market-data", "bucket", 100)
    ]
    assert complete.other is not None and complete.other.capture.set_id == "set-10"
    before = choose(at(15), sets, at(40), prefer="before_deletes")
    assert before.chosen.capture.set_id == "set-10" and before.other == complete.chosen
    assert {(one["what"], one["from"], one["to"]) for one in before.chosen.lost} == {
        ("not_captured", iso(at(10)), iso(at(15)))
    }


def test_a_bucket_deleted_before_both_sets_or_made_after_needs_no_decision() -> None:
    gone = [capture(0, shard(2, ANALYTICS)), capture(10, shard(2, ANALYTICS))]
    assert choose(at(5), gone, at(40)).other is None
    made = choose(at(5), [capture(0, shard(2, ANALYTICS)), capture(10)], at(40))
    assert (made.other, made.chosen.created) == (None, ("market-data",))


@pytest.mark.parametrize(
    ("later", "counts", "expected"),
    [
        ([shard(1, MARKET, values=90)], {}, [("points", 10, None)]),
        ([with_tombstone(7)], {}, [("points", None, at(7))]),
        ([shard(1, MARKET, files=[NEWER_TSM, [TOMBSTONE, 96, at(7) // NANOSECONDS]])], {}, [("points", None, None)]),
        ([shard(1, MARKET, files=[TSM, NEWER_TSM])], counted(3, 3), []),
        ([shard(1, MARKET, files=[TSM, NEWER_TSM])], counted(3, 4), [("points", None, None)]),
        ([shard(1, MARKET, files=[NEWER_TSM])], counted(3, 3), []),
        ([shard(1, MARKET, files=[NEWER_TSM])], counted(0, 1, "2026-11-23T06:00:00.000Z"), [("points", None, None)]),
        ([shard(3, MARKET)], {}, [("shards", 100, None)]),
        ([shard(1, MARKET)], counted(3, 9), []),
        ([shard(1, MARKET, values=90, settled_before=iso(at(-1)))], {}, []),
    ],
)
def test_what_manifests_tell_of_deletes(later: list[dict[str, Any]], counts: dict[str, Any], expected: Any) -> None:
    found = deletes_between(capture(0, shard(1, MARKET), **counted(3, 3)), capture(10, *later, **counts))
    assert [(one.what, one.values, one.at_ns) for one in found] == expected


def test_what_retention_took_is_no_delete() -> None:
    old = shard(1, MARKET, ends_at=iso(at(-10)), retention_seconds=900)
    assert deletes_between(capture(0, old, shard(3, MARKET)), capture(4, shard(3, MARKET))) != []
    assert deletes_between(capture(0, old, shard(3, MARKET)), capture(6, shard(3, MARKET))) == []


def test_a_compacted_bucket_is_in_doubt_only_where_more_was_deleted_than_is_told_of() -> None:
    compacted = shard(2, ANALYTICS, files=[NEWER_TSM])
    before = capture(0, **counted(0, 0))
    one = deletes_between(before, capture(10, with_tombstone(7), compacted, **counted(1, 1)))
    assert [found.bucket["name"] for found in one] == ["market-data"]
    two = deletes_between(before, capture(10, with_tombstone(7), compacted, **counted(2, 2)))
    assert [found.bucket["name"] for found in two] == ["market-data", "analytics"]


def test_a_tombstone_from_before_the_target_is_part_of_the_wanted_state() -> None:
    sets = [capture(0), capture(10, with_tombstone(7), shard(2, ANALYTICS))]
    assert choose(at(8), sets, at(40)).other is None
    assert choose(at(6), sets, at(40)).other is not None
    assert choose(at(7), sets, at(40)).other is not None, "its second is not long enough ago"


def test_a_moment_is_not_waited_for_at_the_price_of_a_delete() -> None:
    sets = [capture(0), capture(10), capture(10.05), capture(10.2, shard(2, ANALYTICS))]
    choices = choose(at(9.99), sets, at(40), arrival_seconds=10)
    assert (choices.chosen.capture.set_id, choices.other) == ("set-10.05", None)
    assert {one["what"] for one in choices.chosen.lost} == {"late"}
    recovered = [capture(0), capture(10), capture(10.2, instance="5")]
    assert choose(at(9.99), recovered, at(40), arrival_seconds=10).chosen.capture.set_id == "set-10"


OLD = [capture(0), capture(10)]
RECOVERED = capture(20, shard(1, MARKET, values=50), shard(2, ANALYTICS), instance="5")


def test_data_that_a_recovery_put_in_place_does_not_hold_what_it_undid() -> None:
    """The set after the recovery lacks what was written before it; when that was decides, where it is known."""
    after = {"5": iso(at(18))}
    assert choose(at(15), [*OLD, RECOVERED], at(40), lives=after).chosen.capture.set_id == "set-10"
    assert choose(at(19), [*OLD, RECOVERED], at(40), lives=after).chosen.capture.set_id == "set-20"
    assert choose(at(19), [*OLD, RECOVERED], at(40), lives=after).other is None
    unknown = choose(at(15), [*OLD, RECOVERED], at(40))
    assert unknown.chosen.capture.set_id == "set-20"
    assert {"undone", "points"} == {one["what"] for one in unknown.chosen.lost}
    assert unknown.other is not None and unknown.other.capture.set_id == "set-10"


def test_a_run_that_exchanged_nothing_begins_no_other_data() -> None:
    same = capture(20, instance="5")
    assert choose(at(15), [*OLD, same], at(40), lives={"5": ""}).other is None
    assert choose(at(15), [*OLD, same], at(40)).other is not None


def test_captures_are_those_of_the_sets_that_made_them() -> None:
    content = capture(5).content
    manifests = [
        {"backup_set": "20261123T050000Z", "components": {"influxdb": content}},
        {
            "backup_set": "20261123T050100Z",
            "components": {"influxdb": content, "redis": {}},
            "chains": {"influxdb": ["20261123T050000Z"], "redis": ["20261123T050100Z"]},
        },
        {"backup_set": "20261123T050200Z", "components": {"redis": {}}},
        {"backup_set": "20261123T050300Z", "components": {"influxdb": capture(6).content}},
    ]
    assert [one.set_id for one in captures_of(manifests)] == ["20261123T050000Z", "20261123T050300Z"]


def test_a_set_holds_later_points_by_its_files() -> None:
    assert not holds_later(capture(0).content, at(0)) and holds_later(capture(0).content, at(0) - 1)
    late = shard(1, MARKET, held_to=iso(at(3)))
    assert holds_later(capture(0, late).content, at(2))
    unknown = {key: value for key, value in shard(1, MARKET).items() if key != "held_to"}
    assert holds_later(capture(0, unknown).content, at(2))


def test_figures_of_the_interval_that_is_cut_go_by_how_they_are_stamped() -> None:
    begin, end = aggregates_of(
        [
            {"bucket": "analytics", "source_bucket": "market-data", "interval_seconds": 60},
            {"bucket": "a", "source_bucket": "b", "interval_seconds": 60, "stamped": "end", "measurement": "m"},
        ]
    )
    assert end == Aggregate("a", "b", MINUTE, False, "m")
    minute = BEGIN // MINUTE * MINUTE
    for moment in (minute, minute + 1, minute + MINUTE - 1):
        assert (begin.first_removed(moment), end.first_removed(moment)) == (minute, moment + 1)
    assert begin.to_recompute(minute + 7, minute + MINUTE + 5) == {
        "bucket": "analytics",
        "source_bucket": "market-data",
        "interval_seconds": 60,
        "from": iso(minute - MINUTE),
        "to": iso(minute + 2 * MINUTE),
    }
    with pytest.raises(ValueError):
        aggregates_of([{"bucket": "a", "source_bucket": "b", "interval_seconds": 0}])


# --- property: a server, its sets, and what a choice promises ---------------------------------------------------------


@dataclass
class Server:
    """A server of two buckets, each in one shard. points: of each bucket what was written when (its own time)."""

    points: dict[str, set[int]] = field(default_factory=lambda: {MARKET: set(), ANALYTICS: set()})
    files: dict[str, list[list[Any]]] = field(default_factory=lambda: {MARKET: [], ANALYTICS: []})
    asked: int = 0
    number: int = 0

    def write(self, bucket: str, now: int) -> None:
        self.points[bucket].add(now)
        self._file(bucket, "tsm", now)

    def delete(self, bucket: str, until: int, now: int, compact: bool) -> None:
        """Points up to a time; the tombstone may be compacted away at once, with all files."""
        gone = {one for one in self.points[bucket] if one <= until}
        self.points[bucket] -= gone
        self.asked += 1
        if gone and compact:
            self.files[bucket] = []
            self._file(bucket, "tsm", now)
        elif gone:
            self._file(bucket, "tombstone", now)

    def _file(self, bucket: str, kind: str, now: int) -> None:
        self.number += 1
        self.files[bucket].append([f"{self.number:09d}-000000001.{kind}", 100, now // NANOSECONDS])

    def capture(self, now: int) -> tuple[Capture, dict[str, set[int]]]:
        """A set, and the points in it."""
        shards = []
        for number, (bucket, points) in enumerate(self.points.items(), start=1):
            newest = iso(max(points)) if points else None
            figures = {"values": len(points), "points": len(points), "newest_at": newest, "held_to": newest}
            shards.append(shard(number, bucket, files=list(self.files[bucket]), settled_before=iso(now), **figures))
        made = capture((now - BEGIN) / MINUTE, *shards, **counted(self.asked, self.asked))
        held = {bucket: set(points) for bucket, points in self.points.items()}
        return Capture(f"set-{now}", now, made.content), held


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "delete", "capture", "capture"]),
        st.sampled_from([MARKET, ANALYTICS]),
        st.floats(0, 1),
        st.booleans(),
    ),
    min_size=3,
    max_size=30,
)


@settings(deadline=None)
@given(EVENTS, st.floats(0, 1), st.sampled_from(["complete", "before_deletes"]))
def test_what_a_choice_does_not_name_as_lost_is_there_and_nothing_else(
    events: list[tuple[str, str, float, bool]], where: float, prefer: str
) -> None:
    server, now = Server(), BEGIN
    captures, held, states = [], {}, []
    for kind, bucket, share, compact in [("capture", MARKET, 0.0, False), *events]:
        now += 10 * NANOSECONDS
        if kind == "write":
            server.write(bucket, now)
        elif kind == "delete":
            server.delete(bucket, BEGIN + int((now - BEGIN) * share), now, compact)
        else:
            made, points = server.capture(now)
            captures.append(made)
            held[made.set_id] = points
        states.append((now, {name: set(points) for name, points in server.points.items()}))
    target = states[0][0] + int((now - states[0][0]) * where)
    state = [points for when, points in states if when <= target][-1]
    choices = choose(target, captures, now, prefer=prefer, arrival_seconds=0)
    for choice in (choices.chosen, choices.other):
        if choice is None:
            continue
        lost = {one["bucket"]: one for one in choice.lost}
        for bucket, name in ((MARKET, "market-data"), (ANALYTICS, "analytics")):
            restored = {one for one in held[choice.capture.set_id][bucket] if one <= target}
            if choice.capture.at_ns <= target:
                # What it misses was written after it, and is named; what was deleted since is there again.
                missing = state[bucket] - restored
                assert all(one > choice.capture.at_ns for one in missing)
                assert not missing or lost[name]["what"] == "not_captured"
            elif name not in lost:
                assert restored == state[bucket]
            else:
                assert restored <= state[bucket]
