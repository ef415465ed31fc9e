# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a restored InfluxDB back to an instant: points after it are deleted in a scratch server, and that is proven.

The restore endpoints and files know no time within a shard, so the server's own delete is what removes points; it
leaves tombstones, which later backups carry. The proof is made by a second start on the same files: every shard that
reaches behind the target holds exactly what it had held up to it, and no bucket holds anything behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import INFLUXDB_MEASUREMENT
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Figures, InfluxApi, figures_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    NANOSECONDS,
    Shard,
    checked_shards,
    iso,
    nanoseconds,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_scratch import (
    ScratchServer,
    keep_record,
    kept_record,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import (
    Aggregate,
    aggregates_of,
    bad_target,
    holds_later,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_verify import (
    PROBE_MEASUREMENT,
    bucket_checks,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_nanoseconds
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, VolumeWorker

# influxdb, models/time.go, MaxNanoTime: the newest time that a point may have.
FAR_NS = 2**63 - 2
# In the data folder, so that it moves with the data: what the cut made of the set's figures.
RECORD_FILE = ".point_in_time.json"
# Written into every bucket by the project itself; they are no figures over an interval.
OWN_MEASUREMENTS = (INFLUXDB_MEASUREMENT, PROBE_MEASUREMENT)

Record = Mapping[str, Any]


def added(one: Figures, other: Figures) -> Figures:
    """The figures of two parts that share no measurement."""
    newest = [at for at in (one.newest_ns, other.newest_ns) if at is not None]
    return Figures(one.points + other.points, one.values + other.values, max(newest, default=None))


@dataclass(frozen=True)
class Place:
    """A bucket and a time range in it, [starts_ns, ends_ns)."""

    organisation_id: str
    bucket_id: str
    starts_ns: int
    ends_ns: int

    def script(self, condition: str = "") -> str:
        """Flux that counts its values by measurement and field, and names their newest; "" for an empty range."""
        if self.starts_ns >= self.ends_ns:
            return ""
        chosen = f" |> filter(fn: (r) => {condition})" if condition else ""
        begin = (
            f'from(bucketID: "{self.bucket_id}")'
            f' |> range(start: time(v: "{iso(self.starts_ns)}"), stop: time(v: "{iso(self.ends_ns)}")){chosen}'
            ' |> group(columns: ["_measurement", "_field"])'
        )
        last = 'last() |> keep(columns: ["_measurement", "_field", "_time"])'
        return f'{begin} |> count() |> yield(name: "count")\n{begin} |> {last} |> yield(name: "newest")'

    def rows(self, api: InfluxApi, condition: str = "") -> list[dict[str, str]]:
        """What the script answers."""
        script = self.script(condition)
        return api.query(self.organisation_id, script) if script else []

    def figures(self, api: InfluxApi, condition: str = "") -> Figures:
        """Points, values and newest time."""
        return figures_of(self.rows(api, condition))


def of_measurement(name: str) -> str:
    """A Flux condition: the points of one measurement."""
    return f"r._measurement == {json.dumps(name)}"


def not_of(names: Iterable[str]) -> str:
    """A Flux condition: the points of all other measurements."""
    return " and ".join(f"r._measurement != {json.dumps(name)}" for name in names)


def predicate_of(name: str) -> str:
    """A delete's predicate for one measurement."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'_measurement="{quoted}"'


@dataclass
class Cut:
    """What is removed from a restored set. content: its record; target: ns, the last instant that stays.

    aggregates: of buckets of this organisation (its name).
    now_ns: shards past their retention then were not restored. remove() asks one start of the server, prove() the next.
    """

    content: Record
    target: int
    organisation: str
    aggregates: Sequence[Aggregate]
    now_ns: int
    expected: dict[int, Figures] = field(default_factory=dict)
    removed: dict[str, Figures] = field(default_factory=dict)
    computed: dict[str, list[str]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def _aggregate(self, bucket: Record) -> Aggregate | None:
        own = bucket["organisation"] == self.organisation
        return next((one for one in self.aggregates if own and one.bucket == bucket["name"]), None)

    def _first_removed(self, bucket: Record) -> int:
        aggregate = self._aggregate(bucket)
        return min(self.target + 1, aggregate.first_removed(self.target)) if aggregate else self.target + 1

    def _reaching(self, bucket: Record) -> list[tuple[Shard, Record]]:
        """The bucket's shards that reach behind the first time that is removed, with their records."""
        first = self._first_removed(bucket)
        pairs = checked_shards(self.content, self.now_ns)
        return [(shard, record) for shard, record in pairs if shard.bucket_id == bucket["id"] and shard.ends_ns > first]

    def remove(self, api: InfluxApi) -> None:
        """Compare what is to be cut with the set, count what stays, and delete the rest."""
        for bucket in self.content["buckets"]:
            organisation = str(bucket["organisation_id"])
            pairs = self._reaching(bucket)
            found = [
                (record, api.figures(organisation, shard, nanoseconds(record["settled_before"])))
                for shard, record in pairs
            ]
            self.checks += bucket_checks(f"{bucket['name']} before the cut", found, True) if found else []
            measurements = self._overlapping(api, bucket)
            self.computed[bucket["id"]] = measurements
            behind = Figures()
            for shard, _record in pairs:
                self.expected[shard.id] = self._staying(api, bucket, shard, measurements)
                whole = Place(organisation, shard.bucket_id, shard.starts_ns, shard.ends_ns).figures(api)
                stays = self.expected[shard.id]
                here = Figures(whole.points - stays.points, whole.values - stays.values, whole.newest_ns)
                behind = added(behind, here)
            self.removed[bucket["id"]] = behind
        # Counted and compared first, so that nothing is deleted from what is not the set's.
        if self.checks:
            require(self.checks, *PROOF)
        for bucket in self.content["buckets"]:
            self._delete(api, bucket)

    def _overlapping(self, api: InfluxApi, bucket: Record) -> list[str]:
        """Measurements whose figures at the bucket's overlapping interval go too."""
        aggregate, first = self._aggregate(bucket), self._first_removed(bucket)
        if aggregate is None or first > self.target:
            return []
        if aggregate.measurement:
            return [aggregate.measurement]
        rows = Place(str(bucket["organisation_id"]), str(bucket["id"]), first, self.target + 1).rows(api)
        return sorted({row["_measurement"] for row in rows} - set(OWN_MEASUREMENTS))

    def _staying(self, api: InfluxApi, bucket: Record, shard: Shard, measurements: Sequence[str]) -> Figures:
        def upto(stop_ns: int, condition: str) -> Figures:
            place = Place(str(bucket["organisation_id"]), shard.bucket_id, shard.starts_ns, min(stop_ns, shard.ends_ns))
            return place.figures(api, condition)

        stays = upto(self.target + 1, not_of(measurements))
        for name in measurements:
            stays = added(stays, upto(self._first_removed(bucket), of_measurement(name)))
        return stays

    def _delete(self, api: InfluxApi, bucket: Record) -> None:
        where = str(bucket["organisation_id"]), str(bucket["id"])
        api.delete(*where, iso(self.target + 1), iso(FAR_NS), "")
        for name in self.computed[bucket["id"]]:
            api.delete(*where, iso(self._first_removed(bucket)), iso(self.target), predicate_of(name))

    def prove(self, api: InfluxApi) -> dict[str, Any]:
        """The record of the cut (see cut_content); RecoveryError PRC-763 unless all is as it must be."""
        changed: dict[str, dict[str, Any]] = {}
        buckets = []
        for bucket in self.content["buckets"]:
            organisation, bucket_id, name = str(bucket["organisation_id"]), str(bucket["id"]), str(bucket["name"])
            late = Place(organisation, bucket_id, self.target + 1, FAR_NS).figures(api)
            self.checks.append(check(f"values after the target in bucket {name}", COMPONENT, 0, late.values))
            for one in self.computed[bucket_id]:
                place = Place(organisation, bucket_id, self._first_removed(bucket), FAR_NS)
                left = place.figures(api, of_measurement(one)).values
                self.checks.append(check(f"{one} that overlap the target in bucket {name}", COMPONENT, 0, left))
            found = {
                shard.id: Place(organisation, bucket_id, shard.starts_ns, shard.ends_ns).figures(api)
                for shard, _record in self._reaching(bucket)
            }
            self._compare(name, found)
            for shard, record in self._reaching(bucket):
                changed[str(shard.id)] = _cut_record(record, shard, found[shard.id], self.target)
            created = str(api.json(f"/api/v2/buckets/{bucket_id}")["createdAt"])
            buckets.append(self._reached(bucket, changed, nanoseconds(created) > self.target))
        require(self.checks, *PROOF)
        return {"target_time": iso(self.target), "shards": changed, "buckets": buckets, "checks": self.checks}

    def _compare(self, name: str, found: Mapping[int, Figures]) -> None:
        for kind in ("points", "values"):
            stays = {shard_id: getattr(self.expected[shard_id], kind) for shard_id in found}
            left = {shard_id: getattr(figures, kind) for shard_id, figures in found.items()}
            shown = f"{kind} at or before the target in bucket {name}"
            if found:
                same = stays == left
                self.checks.append(check(shown, COMPONENT, sum(stays.values()), sum(left.values()), ok=same))

    def _reached(self, bucket: Record, changed: Mapping[str, Record], created_after: bool) -> dict[str, Any]:
        shards = [one for one in self.content["shards"] if one["bucket_id"] == bucket["id"]]
        newest = newest_of([changed.get(str(one["id"]), one) for one in shards])
        removed = self.removed[bucket["id"]]
        return {
            **reached(bucket, newest, self.target),
            "removed_points": removed.points,
            "removed_values": removed.values,
            "removed_until": iso(removed.newest_ns) if removed.values and removed.newest_ns is not None else None,
            "created_after_target": created_after,
        }


PROOF = (
    "PRC-763",
    "take the restored InfluxDB back to the target",
    "the live data was not touched; what had been restored beside it is not used",
    "keep the message for the inquiry, and choose another target or set; or recover without a target",
)


def newest_of(records: Iterable[Record]) -> str | None:
    """The newest point's time in shards' records."""
    return max((one["newest_at"] for one in records if one["newest_at"]), key=nanoseconds, default=None)


def reached(bucket: Record, newest: str | None, target: int) -> dict[str, Any]:
    """How near to the target a bucket came."""
    behind = None if newest is None else round((target - nanoseconds(newest)) / NANOSECONDS, 3)
    return {
        "bucket": bucket["name"],
        "organisation": bucket["organisation"],
        "newest_at": newest,
        "behind_seconds": behind,
    }


def _cut_record(record: Record, shard: Shard, found: Figures, target: int) -> dict[str, Any]:
    """The record of a shard as it is after the cut: what is later may come back, what is older is exact."""
    return {
        **record,
        "settled_before": iso(max(shard.starts_ns, min(shard.ends_ns, target + 1))),
        "points": found.points,
        "values": found.values,
        "newest_at": None if found.newest_ns is None else iso(found.newest_ns),
    }


def uncut(content: Record, target: int) -> dict[str, Any]:
    """The record of a cut that had nothing to remove."""
    buckets = []
    for bucket in content["buckets"]:
        newest = newest_of(one for one in content["shards"] if one["bucket_id"] == bucket["id"])
        nothing = {"removed_points": 0, "removed_values": 0, "removed_until": None, "created_after_target": None}
        buckets.append({**reached(bucket, newest, target), **nothing})
    return {"target_time": iso(target), "shards": {}, "buckets": buckets, "checks": []}


def cut_content(content: Record, record: Record) -> dict[str, Any]:
    """What a set must contain after the cut: its record with the shards and buckets that were changed."""
    shards = [{**one, **record["shards"].get(str(one["id"]), {})} for one in content["shards"]]
    buckets = []
    for bucket in content["buckets"]:
        own = [one for one in shards if one["bucket_id"] == bucket["id"]]
        sums = {kind: sum(int(one[kind]) for one in own) for kind in ("points", "values")}
        buckets.append({**bucket, **sums, "newest_at": newest_of(own)})
    at_ns = min(nanoseconds(record["target_time"]), nanoseconds(content["recovery_point"]))
    return {**content, "shards": shards, "buckets": buckets, "recovery_point": iso(at_ns)}


def recompute(content: Record, target: int, organisation: str, aggregates: Iterable[Aggregate]) -> list[dict[str, Any]]:
    """What of the aggregates is to be computed again, of those whose two buckets the set holds."""
    names = {str(bucket["name"]) for bucket in content["buckets"] if bucket["organisation"] == organisation}
    reached_ns = min(target, nanoseconds(content["recovery_point"]))
    return [one.to_recompute(reached_ns, target) for one in aggregates if {one.bucket, one.source_bucket} <= names]


@dataclass(frozen=True)
class PointInTime:
    """A restore to an instant. content: the set's record; target: ns; the rest as in Cut."""

    content: Record
    target: int
    organisation: str
    aggregates: tuple[Aggregate, ...]
    now_ns: int

    @property
    def target_time(self) -> str:
        """The target, ISO 8601 in UTC."""
        return iso(self.target)

    @property
    def recovery_point(self) -> str:
        """Up to where every point comes back: the target, or the set's own where that is before it."""
        return iso(min(self.target, nanoseconds(self.content["recovery_point"])))

    @property
    def clause(self) -> str:
        """What is done with the set's points, for a diff."""
        removed = holds_later(self.content, self.target)
        return f", without the points after {self.target_time}" if removed else f", all before {self.target_time}"

    def apply(self, worker: VolumeWorker, folder: str, token: str, start_timeout_seconds: int) -> None:
        """Take the restored folder to the target, prove it, and leave the record in it."""
        record = uncut(self.content, self.target)
        if holds_later(self.content, self.target):
            cut = Cut(self.content, self.target, self.organisation, self.aggregates, self.now_ns)
            server = ScratchServer(worker, folder, start_timeout_seconds)
            with server, closing(server.api(token)) as api:
                cut.remove(api)
            with server, closing(server.api(token)) as api:
                record = cut.prove(api)
        keep_record(worker, f"{folder}/{RECORD_FILE}", record)

    def result(self, worker: VolumeWorker) -> dict[str, Any]:
        """What the module gives of it, from the record in the data that is in place."""
        record = kept_record(worker, f"{DATA}/{RECORD_FILE}")
        return {
            "content": cut_content(self.content, record),
            "reached": record["buckets"],
            "recompute": recompute(self.content, self.target, self.organisation, self.aggregates),
            "checks": record["checks"],
        }


def point_in_time(
    content: Record, target_time: str, organisation: str, aggregates: Iterable[Record], now_ns: int
) -> PointInTime | None:
    """The restore to an instant that a module was asked for; None without a target. RecoveryError PRC-764."""
    if not target_time:
        return None
    try:
        target = parse_nanoseconds(target_time)
        return PointInTime(content, target, organisation, tuple(aggregates_of(aggregates)), now_ns)
    except ValueError as error:
        raise bad_target(str(error)) from None
