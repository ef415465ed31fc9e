# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cut asks the server, what it deletes, and what it makes of a set's record; with a server that only counts."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_cut as cutting
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Figures, InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_cut import Cut, cut_content, point_in_time
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    NANOSECONDS,
    Shard,
    iso,
    nanoseconds,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import Aggregate
from hypothesis import given, settings
from hypothesis import strategies as st

BEGIN = 1795408000 * NANOSECONDS // (60 * NANOSECONDS) * 60 * NANOSECONDS
MARKET, ANALYTICS = "5bbaf279110971d7", "6bbaf279110971d7"
CANDLES = Aggregate("analytics", "market-data", 60 * NANOSECONDS)
Point = tuple[str, int]
RANGE = re.compile(r'bucketID: "(\w+)"\) \|> range\(start: time\(v: "([^"]+)"\), stop: time\(v: "([^"]+)"\)\)')
CONDITION = re.compile(r"filter\(fn: \(r\) => (.*?)\) \|>")


def at(seconds: float) -> int:
    return BEGIN + int(seconds * NANOSECONDS)


class Counting(InfluxApi):
    """A server that holds points as (measurement, time), counts and deletes them. forgets: keeps what is deleted."""

    def __init__(self, points: dict[str, set[Point]], forgets: bool = False, loses: bool = False) -> None:
        super().__init__("http://127.0.0.1:1", "")
        self.points, self.forgets, self.loses = points, forgets, loses

    def _found(self, bucket: str, starts: str, stops: str, condition: str) -> list[Point]:
        found = [one for one in self.points[bucket] if nanoseconds(starts) <= one[1] < nanoseconds(stops)]
        for part in filter(None, condition.split(" and ")):
            _field, sign, name = part.split(" ")
            found = [one for one in found if (one[0] == name.strip('"')) == (sign == "==")]
        return found

    def query(self, organisation_id: str, flux: str) -> list[dict[str, str]]:
        rows = []
        for line in flux.splitlines():
            bucket, starts, stops = cast(re.Match[str], RANGE.search(line)).groups()
            condition = CONDITION.search(line)
            found = self._found(bucket, starts, stops, condition[1] if condition else "")
            kind = "count" if "count()" in line else "newest"
            for name in sorted({one[0] for one in found}):
                times = [one[1] for one in found if one[0] == name]
                row = {"result": kind, "_measurement": name, "_field": "value", "_value": str(len(times))}
                rows.append({**row, "_time": iso(max(times))})
        return rows

    def delete(self, organisation_id: str, bucket_id: str, starts_at: str, ends_at: str, predicate: str) -> None:
        gone = {
            one
            for one in self.points[bucket_id]
            if nanoseconds(starts_at) <= one[1] <= nanoseconds(ends_at)
            and (not predicate or predicate == f'_measurement="{one[0]}"')
        }
        if not self.forgets:
            self.points[bucket_id] -= gone
        if self.loses:
            self.points[bucket_id].pop()

    def json(self, path: str, method: str = "GET", body: Any = None) -> Any:
        return {"createdAt": iso(at(100) if path.endswith(ANALYTICS) else at(-1000))}

    def figures(self, organisation_id: str, shard: Shard, settled_ns: int) -> Figures:
        place = cutting.Place(organisation_id, shard.bucket_id, shard.starts_ns, settled_ns)
        return place.figures(self)


SHARD_SECONDS = 600


def content_of(points: dict[str, set[Point]]) -> dict[str, Any]:
    """A set of these points: shards of ten minutes, all counted to their ends."""
    shards: list[dict[str, Any]] = []
    buckets = []
    for bucket, name in ((MARKET, "market-data"), (ANALYTICS, "analytics")):
        for number in range(-1, 2):
            starts, ends = at(number * SHARD_SECONDS), at((number + 1) * SHARD_SECONDS)
            own = [one[1] for one in points[bucket] if starts <= one[1] < ends]
            newest = iso(max(own)) if own else None
            shards.append(
                {
                    "id": len(shards) + 1,
                    "bucket_id": bucket,
                    "policy": "autogen",
                    "starts_at": iso(starts),
                    "ends_at": iso(ends),
                    "retention_seconds": 0,
                    "settled_before": iso(ends),
                    "points": len(own),
                    "values": len(own),
                    "newest_at": newest,
                    "held_to": newest,
                    "artefact": "a",
                }
            )
        buckets.append({"id": bucket, "name": name, "organisation": "forex-trading", "organisation_id": "1"})
    return {"buckets": buckets, "shards": shards, "recovery_point": iso(at(SHARD_SECONDS))}


POINTS = st.sets(
    st.tuples(
        st.sampled_from(["ticks", "candles", "platform3_heartbeat"]),
        st.integers(-SHARD_SECONDS, 2 * SHARD_SECONDS - 1).map(at),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(POINTS, POINTS, st.integers(-SHARD_SECONDS, 2 * SHARD_SECONDS - 1).map(at), st.booleans())
def test_what_stays_is_what_is_not_after_the_target_and_the_record_says_so(
    market: set[Point], analytics: set[Point], target: int, aggregated: bool
) -> None:
    points = {MARKET: set(market), ANALYTICS: set(analytics)}
    content = content_of(points)
    api = Counting(points)
    cut = Cut(content, target, "forex-trading", [CANDLES] if aggregated else [], at(0))
    cut.remove(api)
    record = cut.prove(api)
    floor = CANDLES.begins(target) if aggregated else target + 1
    assert points[MARKET] == {one for one in market if one[1] <= target}
    assert points[ANALYTICS] == {
        one for one in analytics if one[1] <= target and (one[1] < floor or one[0] == "platform3_heartbeat")
    }
    made = cut_content(content, record)
    assert made["recovery_point"] == iso(min(target, at(SHARD_SECONDS)))
    for bucket in made["buckets"]:
        left = points[bucket["id"]]
        assert (bucket["values"], bucket["newest_at"]) == (
            len(left),
            iso(max(one[1] for one in left)) if left else None,
        )
        shards = [one for one in made["shards"] if one["bucket_id"] == bucket["id"]]
        for one in shards:
            within = [p for p in left if nanoseconds(one["starts_at"]) <= p[1] < nanoseconds(one["settled_before"])]
            assert one["values"] == len(within), "a verification counts to there"
    removed = {one["bucket"]: one["removed_values"] for one in record["buckets"]}
    assert removed == {
        "market-data": len(market) - len(points[MARKET]),
        "analytics": len(analytics) - len(points[ANALYTICS]),
    }


TICKS: set[Point] = {("ticks", at(second)) for second in range(0, 100, 10)}


def cut_of(points: dict[str, set[Point]], api: InfluxApi) -> dict[str, Any]:
    cut = Cut(content_of(points), at(50), "forex-trading", [], at(0))
    cut.remove(api)
    return cut.prove(api)


@pytest.mark.parametrize("fault", ["forgets", "loses"])
def test_a_server_that_does_not_do_what_it_says_is_found_out(fault: str) -> None:
    points: dict[str, set[Point]] = {MARKET: set(TICKS), ANALYTICS: set()}
    points[ANALYTICS] |= {("candles", at(0)), ("candles", at(10))}
    with pytest.raises(RecoveryError, match="PRC-763"):
        cut_of(points, Counting(points, **{fault: True}))


def test_data_that_is_not_the_sets_is_not_cut() -> None:
    points: dict[str, set[Point]] = {MARKET: set(TICKS), ANALYTICS: set()}
    held = {MARKET: TICKS - {("ticks", at(20))}, ANALYTICS: set()}
    with pytest.raises(RecoveryError, match="PRC-763"):
        cut_of(points, Counting(cast(dict[str, set[Point]], held)))
    assert len(held[MARKET]) == 9, "nothing was deleted"


def test_a_bucket_made_after_the_target_and_the_distance_are_told() -> None:
    points: dict[str, set[Point]] = {MARKET: set(TICKS), ANALYTICS: {("ticks", at(70))}}
    market, analytics = cut_of(points, Counting(points))["buckets"]
    assert (market["behind_seconds"], market["removed_until"], market["created_after_target"]) == (
        0.0,
        iso(at(90)),
        False,
    )
    assert (analytics["newest_at"], analytics["created_after_target"]) == (None, True)


def test_a_measurement_is_named_to_the_delete_as_it_is() -> None:
    assert cutting.predicate_of('a "b" \\c') == '_measurement="a \\"b\\" \\\\c"'


def test_without_a_target_there_is_nothing_to_do() -> None:
    assert point_in_time({}, "", "forex-trading", [], 0) is None
    with pytest.raises(RecoveryError, match="PRC-764"):
        point_in_time({}, "2026-11-23T05:17:00", "forex-trading", [], 0)


def test_a_set_without_later_points_is_left_as_it_is() -> None:
    points: dict[str, set[Point]] = {MARKET: set(TICKS), ANALYTICS: set()}
    content = content_of(points)
    point = point_in_time(content, iso(at(700)), "forex-trading", [], 0)
    assert point is not None and point.recovery_point == iso(at(SHARD_SECONDS)) and "all before" in point.clause
    record = cutting.uncut(content, at(700))
    assert cut_content(content, record)["shards"] == content["shards"]
    assert record["buckets"][0]["behind_seconds"] == 610.0
    given = [{"bucket": "analytics", "source_bucket": "market-data", "interval_seconds": 60}]
    other = point_in_time(content, iso(at(700)), "forex-trading", given, 0)
    assert other is not None
    assert cutting.recompute(content, at(700), "forex-trading", other.aggregates) == [
        {**given[0], "from": iso(at(540)), "to": iso(at(720))}
    ]
    assert cutting.recompute(content, at(700), "another", other.aggregates) == []
