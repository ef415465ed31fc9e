# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which points of which buckets are brought back, and in which pieces. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    NANOSECONDS,
    Plan,
    iso,
    nanoseconds,
    recorded_shard,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_nanoseconds

# So many values are held in memory at once, as text and as hashes.
PIECE_VALUES = 100_000
# What may be written to a bucket with a retention: a little less, since time passes.
RETENTION_MARGIN_NS = 600 * NANOSECONDS

Interval = tuple[int, int]


@dataclass(frozen=True)
class Chosen:
    """A bucket of a set, and which of its points, from starts_ns on and before stops_ns, in pieces without gaps."""

    name: str
    id: str
    organisation: str
    retention_seconds: int
    starts_ns: int
    stops_ns: int
    pieces: tuple[Interval, ...]

    @property
    def range(self) -> str:
        """For people."""
        return f"{self.name} from {iso(self.starts_ns)} to {iso(self.stops_ns)}"


def refused(code: str, attempted: str, found: str, next_step: str) -> RecoveryError:
    """A refusal before a live point is touched."""
    return RecoveryError(code, attempted, found, "no live point was touched", next_step)


def boundary(given: str, name: str) -> int | None:
    """A given time with its offset in nanoseconds since 1970, None where it is empty; RecoveryError PRC-771."""
    if not given:
        return None
    try:
        return parse_nanoseconds(given)
    except ValueError as error:
        raise refused("PRC-771", f"take {name}={given!r}", str(error), f"correct {name}") from None


def chosen_buckets(
    content: Mapping[str, Any], organisation: str, names: Sequence[str], within: tuple[str, str, str], now_ns: int
) -> list[Chosen]:
    """What of a set is brought back. within: start, stop and target time as given, each may be empty.

    Without a start it is all the bucket's time, without a stop up to where the set reaches. RecoveryError PRC-770 for a
    bucket that the set does not hold, PRC-771 for a range that is none or of which the set knows nothing.
    """
    if not names:
        raise refused("PRC-770", "bring buckets back", "none is named", "name them, with commas")
    first, last, target = (boundary(one, name) for one, name in zip(within, ("start", "stop", "target_time")))
    held = {one["name"]: one for one in content["buckets"] if one["organisation"] == organisation}
    reach = nanoseconds(content["recovery_point"]) + 1
    if target is not None:
        reach = min(reach, target + 1)
    return [
        _chosen(content, held, name, 0 if first is None else first, reach if last is None else min(last, reach), now_ns)
        for name in dict.fromkeys(names)
    ]


def _chosen(
    content: Mapping[str, Any], held: Mapping[str, Any], name: str, starts_ns: int, stops_ns: int, now_ns: int
) -> Chosen:
    if name not in held:
        near = difflib.get_close_matches(name, sorted(held), n=1, cutoff=0.0)
        found = f"the backup set holds no such bucket, but {', '.join(sorted(held))}"
        raise refused("PRC-770", f"bring bucket {name} back", found, f"write {near[0]}?" if near else "correct it")
    bucket = held[name]
    retention = int(bucket["retention_seconds"])
    if retention:
        starts_ns = max(starts_ns, now_ns - retention * NANOSECONDS + RETENTION_MARGIN_NS)
    if starts_ns >= stops_ns:
        found = f"from {iso(starts_ns)} to {iso(stops_ns)} there is nothing that the set knows and the bucket keeps"
        next_step = f"name a range before {content['recovery_point']}, or choose a later backup set"
        raise refused("PRC-771", f"bring points of bucket {name} back", found, next_step)
    shards = [one for one in content["shards"] if one["bucket_id"] == bucket["id"] and one["artefact"] is not None]
    return Chosen(
        name,
        str(bucket["id"]),
        str(bucket["organisation_id"]),
        retention,
        starts_ns,
        stops_ns,
        tuple(pieces(shards, starts_ns, stops_ns)),
    )


def pieces(shards: Iterable[Mapping[str, Any]], starts_ns: int, stops_ns: int) -> list[Interval]:
    """The range in pieces of about PIECE_VALUES: each shard in even ones, by what the set counted; what is between.

    shards: the records of a bucket's shards.
    """
    cuts = {starts_ns, stops_ns}
    for record in shards:
        shard = recorded_shard(record)
        count = max(1, -(-int(record["values"]) // PIECE_VALUES))
        step = -(-(shard.ends_ns - shard.starts_ns) // count)
        cuts |= {min(shard.starts_ns + number * step, shard.ends_ns) for number in range(count + 1)}
    ordered = sorted(cut for cut in cuts if starts_ns <= cut <= stops_ns)
    return list(zip(ordered, ordered[1:]))


def only_chosen(plan: Plan, chosen: Iterable[Chosen]) -> Plan:
    """The plan without the shards that hold none of the chosen points."""
    wanted = {one.id: one for one in chosen}
    shards = tuple(
        one
        for one in plan.shards
        if (bucket := wanted.get(one.shard.bucket_id))
        and one.shard.starts_ns < bucket.stops_ns
        and bucket.starts_ns < one.shard.ends_ns
    )
    return replace(plan, shards=shards)


# --- the module's result ---


def told(chosen: Chosen, restored: int, made: bool, its_id: str | None, by_files: bool = False) -> dict[str, Any]:
    """A bucket in the module's result."""
    by = "files" if by_files else "points"
    return {"range": chosen.range, "restored": restored, "made": made, "id": its_id, "by": by}


def warnings_of(chosen: Iterable[Chosen], buckets: dict[str, dict[str, Any]]) -> list[str]:
    """What must be known of buckets that have another id than in the set."""
    return [
        f"bucket {one.name} has {'id ' + buckets[one.name]['id'] if buckets[one.name]['id'] else 'another id'}, in the"
        f" backup set it had {one.id}: tokens, mappings and dashboards that name that one do not find it"
        for one in chosen
        if buckets[one.name]["id"] != one.id
    ]


def diff_of(chosen: Iterable[Chosen], buckets: dict[str, dict[str, Any]], service: str) -> dict[str, str]:
    """What becomes of each bucket."""
    before, after = "", ""
    for one in chosen:
        bucket = buckets[one.name]
        under = f"its old id, for which {service} restarts" if bucket["id"] == one.id else "another id"
        before += f"{one.range}: {'no such bucket' if bucket['made'] else 'what the live server holds'}\n"
        again = f", made again by {bucket['by']} under {under}" if bucket["made"] else ""
        after += f"{one.range}: what the set holds{again}\n"
    return {"before": before, "after": after}
