# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which backup set brings InfluxDB to an instant, and what of it is lost on the way. Pure.

InfluxDB keeps no log that could be replayed. A set that was captured at or after the target holds every point up to it,
but for what was deleted in between; of later points it is rid by their own times. What was deleted, manifests tell to
one interval: by buckets and shards that are gone, tombstones that came, values that are fewer, and by the deletes that
the server counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._chains import chain_of
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import (
    deletes_asked,
    files_of,
    same,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    NANOSECONDS,
    iso,
    nanoseconds,
    recorded_shard,
)

COMPLETE, BEFORE_DELETES = "complete", "before_deletes"
# Points are written a moment after the time that they bear: a set captured just after the target may lack the last.
ARRIVAL_SECONDS = 5.0

Record = Mapping[str, Any]


def bad_target(found: str) -> RecoveryError:
    """The error of a target or an interval that is none."""
    return RecoveryError(
        "PRC-764",
        "bring InfluxDB to an instant",
        found,
        "nothing was changed",
        "correct recovery_target_time, or influxdb_aggregates in the inventory",
    )


@dataclass(frozen=True)
class Capture:
    """A state of the data in the store. at_ns: every write acknowledged before is in it; content: its record."""

    set_id: str
    at_ns: int
    content: Record

    @property
    def buckets(self) -> dict[str, Record]:
        """Its buckets by id."""
        return {str(one["id"]): one for one in self.content["buckets"]}


def captures_of(manifests: Iterable[Record]) -> list[Capture]:
    """The states that these sets (usable ones) hold, oldest first; what a set took over from another counts once."""
    found: dict[str, Capture] = {}
    for manifest in sorted(manifests, key=lambda one: str(one["backup_set"])):
        content = manifest["components"].get(COMPONENT)
        if content is None:
            continue
        holder = chain_of(manifest, COMPONENT)[-1]
        if holder not in found or manifest["backup_set"] == holder:
            found[holder] = Capture(manifest["backup_set"], nanoseconds(content["recovery_point"]), content)
    return sorted(found.values(), key=lambda one: (one.at_ns, one.set_id))


@dataclass(frozen=True)
class Deleted:
    """What went between two captures of one bucket. what: bucket, shards or points.

    values: at least so many are missing, None where that cannot be told; at_ns: when, to the second, None likewise.
    """

    bucket: Record
    what: str
    values: int | None
    after_ns: int
    before_ns: int
    at_ns: int | None = None

    def part_of(self, target: int) -> bool:
        """Whether it surely happened before the target, so that it belongs to the wanted state."""
        known = self.before_ns if self.at_ns is None else self.at_ns + NANOSECONDS
        return known <= target

    def as_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "bucket": self.bucket["name"],
            "organisation": self.bucket["organisation"],
            "what": self.what,
            "values": self.values,
            "from": iso(self.after_ns),
            "to": iso(self.before_ns),
            "at": None if self.at_ns is None else iso(self.at_ns),
        }


def deletes_between(before: Capture, after: Capture) -> list[Deleted]:
    """What was deleted between two captures, bucket by bucket; what retention took does not count.

    Where the server was asked for more deletes of points than tombstones and figures tell of, it may be any bucket with
    a shard of which files are gone (a compaction drops tombstones), or that changed at all.
    """
    found: list[Deleted] = []
    compacted: dict[str, Deleted] = {}
    changed: dict[str, Deleted] = {}
    shards = {one["id"]: one for one in after.content["shards"]}
    for bucket_id, bucket in before.buckets.items():
        if bucket_id not in after.buckets:
            found.append(Deleted(bucket, "bucket", int(bucket["values"]), before.at_ns, after.at_ns))
            continue
        unclear = Deleted(bucket, "points", None, before.at_ns, after.at_ns)
        for record in before.content["shards"]:
            if record["bucket_id"] != bucket_id or recorded_shard(record).expired(after.at_ns):
                continue
            if record["id"] not in shards:
                found.append(Deleted(bucket, "shards", int(record["values"]), before.at_ns, after.at_ns))
                continue
            told = _told(record, shards[record["id"]])
            if told.tombstone_at or told.fewer:
                at_ns = None if told.compacted or not told.tombstone_at else told.tombstone_at
                found.append(Deleted(bucket, "points", told.fewer or None, before.at_ns, after.at_ns, at_ns))
            elif told.compacted:
                compacted[bucket_id] = unclear
            elif told.changed:
                changed[bucket_id] = unclear
    told_of = {str(one.bucket["id"]) for one in found if one.what == "points"}
    if deletes_asked(before.content, after.content) > len(told_of):
        found += (compacted if told_of else compacted or changed).values()
    return found


@dataclass(frozen=True)
class _Told:
    """What two records of a shard tell of deletes. tombstone_at: the newest new tombstone (ns); fewer: values."""

    tombstone_at: int
    fewer: int
    compacted: bool
    changed: bool


def _told(old: Record, new: Record) -> _Told:
    had, has = (files_of(one) if "files" in one else {} for one in (old, new))
    new_ones = [has[name][1] for name in has if not same(has[name], had.get(name)) and name.endswith(".tombstone")]
    # A set may count up to an earlier moment than the one before it, where points were late.
    comparable = nanoseconds(new["settled_before"]) >= nanoseconds(old["settled_before"])
    return _Told(
        tombstone_at=max(new_ones, default=0) * NANOSECONDS,
        fewer=max(0, int(old["values"]) - int(new["values"])) if comparable else 0,
        compacted=any(name.endswith(".tsm") and name not in has for name in had),
        changed=had != has,
    )


def exchanged_between(before: Capture, after: Capture, lives: Mapping[str, str]) -> bool:
    """Whether a recovery or rollback put other data in place in between.

    lives: see choose(). An instance that is not known to the one or the other does not tell.
    """
    one, other = before.content.get("instance"), after.content.get("instance")
    return one is not None and other is not None and one != other and lives.get(str(other), "?") != ""


def deletes_in(captures: Sequence[Capture], lives: Mapping[str, str]) -> list[Deleted]:
    """What was deleted in all the window, oldest first. What a recovery or rollback took away does not count."""
    pairs = [pair for pair in zip(captures, captures[1:]) if not exchanged_between(*pair, lives)]
    return [found for one, following in pairs for found in deletes_between(one, following)]


@dataclass(frozen=True)
class Around:
    """What was deleted around a time. searched: which of it lies between two captures; first, last: of all captures."""

    events: list[dict[str, Any]]
    searched: list[dict[str, str]]
    warnings: list[str]
    first: str
    last: str


@dataclass(frozen=True)
class Now:
    """What a running server holds: ids of its buckets, and when it was asked (ns)."""

    buckets: frozenset[str]
    at_ns: int


def deletes_around(
    captures: Sequence[Capture], lives: Mapping[str, str], start: int, end: int, now: Now | None = None
) -> Around:
    """What was deleted, or may have been, between start and end (ns), each with the sets on both sides, in order.

    now: what the server holds, where it answers. A protected bucket that was deleted ends all sets, so it shows there.
    """
    events: list[dict[str, Any]] = []
    searched, warnings = [], []
    for one, following in zip(captures, captures[1:]):
        if following.at_ns < start or one.at_ns > end:
            continue
        between = {"from": iso(max(start, one.at_ns)), "to": iso(min(end, following.at_ns))}
        searched.append(between)
        if exchanged_between(one, following, lives):
            warnings.append(f"from {between['from']} to {between['to']} a recovery or rollback put other data in place")
            continue
        for found in deletes_between(one, following):
            if found.at_ns is None or start - NANOSECONDS < found.at_ns <= end:
                sets = {"set_before": one.set_id, "set_after": following.set_id}
                events.append({**found.as_dict(), **sets, "before": iso(one.at_ns)})
    first, last = (iso(captures[index].at_ns) if captures else "" for index in (0, -1))
    if captures and end > captures[-1].at_ns:
        told = f"what was deleted after {last} is not known before the next set"
        if now and now.at_ns > captures[-1].at_ns and start <= now.at_ns:
            searched.append({"from": iso(max(start, captures[-1].at_ns)), "to": iso(min(end, now.at_ns))})
            gone, told = _gone_since(captures[-1], lives, now)
            events += gone
        warnings.append(told)
    if captures and start < captures[0].at_ns:
        warnings.append(f"what was deleted before {first} is not known: no usable set is older")
    return Around(sorted(events, key=lambda event: event["at"] or event["from"]), searched, warnings, first, last)


def _gone_since(newest: Capture, lives: Mapping[str, str], now: Now) -> tuple[list[dict[str, Any]], str]:
    """The buckets of the newest capture that the server lacks by now, as events, and what is not known all the same."""
    newest_at = iso(newest.at_ns)
    if any(began and nanoseconds(began) > newest.at_ns for began in lives.values()):
        return [], f"after {newest_at} a recovery or rollback put other data in place, of which there is no set yet"
    found = [
        Deleted(one, "bucket", int(one["values"]), newest.at_ns, now.at_ns)
        for bucket_id, one in newest.buckets.items()
        if bucket_id not in now.buckets
    ]
    sets = {"set_before": newest.set_id, "set_after": None, "before": newest_at}
    told = f"of what was deleted after {newest_at} only whole buckets are known before the next set"
    return [{**one.as_dict(), **sets} for one in found], told


@dataclass(frozen=True)
class Choice:
    """The set for a target. reached_ns: up to where it holds every point; removed: whether it holds points after the
    target; lost: by bucket, what of the wanted state it lacks; created: names of buckets that the set before lacks.
    """

    capture: Capture
    reached_ns: int
    removed: bool
    lost: tuple[Mapping[str, Any], ...]
    created: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "backup_set": self.capture.set_id,
            "captured_at": iso(self.capture.at_ns),
            "reached_at": iso(self.reached_ns),
            "points_removed": self.removed,
            "lost": [dict(one) for one in self.lost],
            "created": list(self.created),
        }


@dataclass(frozen=True)
class Choices:
    """The wanted choice, and the other one where deletes, or an exchange of the data, lie between the sets."""

    chosen: Choice
    other: Choice | None
    deletes: tuple[Deleted, ...] = ()


def holds_later(content: Record, target: int) -> bool:
    """Whether a set may hold points after the target: by the newest time in its files, deleted points included."""
    for record in content["shards"]:
        if "held_to" not in record and record["artefact"] is not None:
            return True
        times = [record.get("held_to"), record["newest_at"]]
        if any(nanoseconds(one) > target for one in times if one):
            return True
    return False


def window_of(captures: Sequence[Capture]) -> dict[str, Any] | None:
    """Between which instants every point can be brought back; None without a capture."""
    if not captures:
        return None
    return {"earliest": iso(captures[0].at_ns), "latest": iso(captures[-1].at_ns), "points": len(captures)}


def choose(
    target: int,
    captures: Sequence[Capture],
    now_ns: int,
    prefer: str = COMPLETE,
    lives: Mapping[str, str] | None = None,
    arrival_seconds: float = ARRIVAL_SECONDS,
) -> Choices:
    """The set to restore for a target (ns), of captures_of(); RecoveryError PRC-760 outside of what can be reached.

    The oldest that was captured at or after the target (where it can be, as much later as points arrive late), else
    the newest before it. prefer: where deletes lie between the sets on both sides, COMPLETE takes the later all the
    same, and BEFORE_DELETES the last one before them. lives: an instance (epoch of the volume) -> when a recovery or
    rollback put that data in place, "" where that run exchanged nothing; an instance that is not named may have begun
    at any time.
    """
    require_reachable(target, captures, now_ns)
    known = lives or {}
    after = _after(target, captures, known, arrival_seconds)
    earlier = [one for one in captures if one.at_ns < target]
    if after is None:
        newest = earlier[-1] if earlier else captures[0]
        return Choices(_choice(target, newest, (), (), arrival_seconds), None)
    first = max(0, len(earlier) - 1)
    between = list(captures[first : captures.index(after) + 1])
    deletes: list[Deleted] = []
    last_before = None
    exchanged = False
    for one, following in zip(between, between[1:]):
        gone = [found for found in deletes_between(one, following) if not found.part_of(target)]
        other_data = exchanged_between(one, following, known)
        if other_data and _lived(following, target, known):
            # What the exchange took away belongs to the wanted state; only tombstones tell of what went after it.
            gone, other_data = [found for found in gone if found.at_ns is not None], False
        if (gone or other_data) and last_before is None:
            last_before = one
        deletes += gone
        exchanged = exchanged or other_data
    ids = set(between[0].buckets)
    created = tuple(str(one["name"]) for key, one in after.buckets.items() if key not in ids)
    undone = between[0].at_ns if exchanged else None
    complete = _choice(target, after, deletes, created, arrival_seconds, undone)
    if last_before is None:
        return Choices(complete, None)
    without = _choice(target, last_before, (), (), arrival_seconds)
    chosen, other = (without, complete) if prefer == BEFORE_DELETES else (complete, without)
    return Choices(chosen, other, tuple(deletes))


def _after(
    target: int, captures: Sequence[Capture], lives: Mapping[str, str], arrival_seconds: float
) -> Capture | None:
    """The oldest capture that holds every point up to the target, of data that may have been in place then.

    One in which the last points may be missing is passed over for the next, but not at the price of a delete.
    """
    later = [one for one in captures if one.at_ns >= target and _may_have_lived(one, target, lives)]
    for one, following in zip(later, later[1:]):
        if one.at_ns >= target + int(arrival_seconds * NANOSECONDS):
            return one
        if exchanged_between(one, following, lives) or deletes_between(one, following):
            return one
    return later[-1] if later else None


def _may_have_lived(capture: Capture, target: int, lives: Mapping[str, str]) -> bool:
    began = lives.get(str(capture.content.get("instance")), "")
    return not began or nanoseconds(began) <= target


def _lived(capture: Capture, target: int, lives: Mapping[str, str]) -> bool:
    began = lives.get(str(capture.content.get("instance")), "")
    return bool(began) and nanoseconds(began) <= target


def _choice(
    target: int,
    capture: Capture,
    deletes: Iterable[Deleted],
    created: tuple[str, ...],
    arrival_seconds: float,
    undone_ns: int | None = None,
) -> Choice:
    lost = [one.as_dict() for one in deletes]
    reached = min(target, capture.at_ns)
    if capture.at_ns < target:
        lost += _of_every_bucket(capture, "not_captured", capture.at_ns, target)
    elif capture.at_ns < target + int(arrival_seconds * NANOSECONDS):
        lost += _of_every_bucket(capture, "late", capture.at_ns - int(arrival_seconds * NANOSECONDS), target)
    if undone_ns is not None:
        lost += _of_every_bucket(capture, "undone", undone_ns, target)
    return Choice(capture, reached, holds_later(capture.content, target), tuple(lost), created)


def _of_every_bucket(capture: Capture, what: str, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    return [Deleted(one, what, None, from_ns, to_ns).as_dict() for one in capture.buckets.values()]


def require_reachable(target: int, captures: Sequence[Capture], now_ns: int) -> None:
    """RecoveryError PRC-760 unless the target lies between the oldest capture and now."""
    window = window_of(captures)
    asked = f"bring InfluxDB to {iso(target)}"
    nothing = "nothing was changed"
    if window is None:
        way = "mount the right backup store, or run backup.yml"
        raise RecoveryError("PRC-760", asked, "no usable backup set holds InfluxDB", nothing, way)
    if target > now_ns:
        raise RecoveryError(
            "PRC-761",
            asked,
            f"that is in the future; it is {iso(now_ns // NANOSECONDS * NANOSECONDS)}",
            nothing,
            f"the newest point that is whole is {window['latest']} (set {captures[-1].set_id}); correct the time",
        )
    if target < captures[0].at_ns:
        raise RecoveryError(
            "PRC-760",
            asked,
            f"the oldest usable set {captures[0].set_id} was captured at {window['earliest']}",
            nothing,
            f"the nearest point is {window['earliest']}, the newest {window['latest']}; give one from there on",
        )


# --- aggregates -------------------------------------------------------------------------------------------------------


# How an inventory names one; documented in doc_fragments/aggregates.py.
AGGREGATE_OPTIONS: dict[str, dict[str, Any]] = {
    "bucket": {"type": "str", "required": True},
    "source_bucket": {"type": "str", "required": True},
    "interval_seconds": {"type": "int", "required": True},
    "stamped": {"type": "str", "choices": ["start", "end"], "default": "start"},
    "measurement": {"type": "str", "default": ""},
    "flux": {"type": "str", "default": ""},
}


@dataclass(frozen=True)
class Aggregate:
    """A bucket of figures over intervals (candles), computed from the points of another.

    at_start: whether a figure bears the time at which its interval begins; measurement: "" for all in the bucket.
    """

    bucket: str
    source_bucket: str
    interval_ns: int
    at_start: bool = True
    measurement: str = ""

    def begins(self, at_ns: int) -> int:
        """When the interval that an instant lies in begins."""
        return at_ns // self.interval_ns * self.interval_ns

    def first_removed(self, target: int) -> int:
        """The oldest time that a figure computed from points after the target may bear."""
        return self.begins(target) if self.at_start else target + 1

    def to_recompute(self, reached: int, target: int) -> dict[str, Any]:
        """What to compute again. One interval more than overlaps: what was not yet computed at that time lacks too."""
        return {
            "bucket": self.bucket,
            "source_bucket": self.source_bucket,
            "interval_seconds": self.interval_ns // NANOSECONDS,
            "from": iso(self.begins(reached) - self.interval_ns),
            "to": iso(self.begins(target) + self.interval_ns),
        }


def aggregates_of(given: Iterable[Record]) -> list[Aggregate]:
    """The aggregates as an inventory names them; ValueError for an interval below a second."""
    found = []
    for one in given:
        if int(one["interval_seconds"]) < 1:
            raise ValueError(f"interval_seconds of aggregate {one['bucket']} is {one['interval_seconds']}")
        found.append(
            Aggregate(
                bucket=str(one["bucket"]),
                source_bucket=str(one["source_bucket"]),
                interval_ns=int(one["interval_seconds"]) * NANOSECONDS,
                at_start=one.get("stamped") != "end",
                measurement=str(one.get("measurement") or ""),
            )
        )
    return found
