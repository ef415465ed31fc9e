# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing a restored InfluxDB with the content that its backup set's manifest records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import (
    INFLUXDB_MEASUREMENT,
    Marker,
    marker,
    of_buckets,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Figures, InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    NANOSECONDS,
    Shard,
    checked_shards,
    iso,
    nanoseconds,
)

PROBE_MEASUREMENT = "recovery_probe"
PROBE_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.05

Record = Mapping[str, Any]


def compare_points(
    api: InfluxApi,
    content: Record,
    organisation: str,
    required: Sequence[str],
    now_ns: int,
    streams: int,
    exact: bool,
) -> tuple[list[Check], dict[str, str | None]]:
    """Checks of every bucket's figures, and the newest point of each bucket by name.

    Shards that are past their retention at now_ns are left out on both sides. exact: see bucket_checks.
    """
    pairs = checked_shards(content, now_ns)
    organisations = {bucket["id"]: bucket["organisation_id"] for bucket in content["buckets"]}

    def ask(pair: tuple[Shard, Record]) -> Figures:
        shard, record = pair
        mine = api.another()
        try:
            return mine.figures(organisations[shard.bucket_id], shard, nanoseconds(record["settled_before"]))
        finally:
            mine.close()

    with ThreadPoolExecutor(max_workers=streams) as pool:
        found = list(pool.map(ask, pairs))
    named = {_shown(bucket, organisation): bucket for bucket in content["buckets"]}
    checks: list[Check] = []
    newest: dict[str, str | None] = {}
    for name, bucket in named.items():
        own = [(record, one) for (shard, record), one in zip(pairs, found) if shard.bucket_id == bucket["id"]]
        checks += bucket_checks(name, own, exact) if own else []
        newest_ns = max((one.newest_ns for _record, one in own if one.newest_ns is not None), default=None)
        newest[name] = None if newest_ns is None else iso(newest_ns)
    checks += [check(f"bucket {name} was compared", COMPONENT, True, name in named) for name in required]
    return checks, newest


def _shown(bucket: Record, organisation: str) -> str:
    """A bucket's name, with its organisation's where that is another."""
    own = bucket["organisation"] == organisation
    return str(bucket["name"]) if own else f"{bucket['organisation']}/{bucket['name']}"


def bucket_checks(name: str, figures: Sequence[tuple[Record, Figures]], exact: bool) -> list[Check]:
    """Points, values and newest time of one bucket: figures pairs each shard's record with what was found.

    exact: no more may be found than was recorded. Only where services have written since an earlier run restored the
    data is more accepted: they fill in older points.
    """
    expected_newest = max(
        (nanoseconds(record["newest_at"]) for record, _one in figures if record["newest_at"]), default=None
    )
    found_newest = max((one.newest_ns for _record, one in figures if one.newest_ns is not None), default=None)
    checks = []
    for kind in ("points", "values"):
        expected = sum(record[kind] for record, _one in figures)
        found = sum(getattr(one, kind) for _record, one in figures)
        shown, ok = (expected, found == expected) if exact else (f"{expected} or more", found >= expected)
        checks.append(check(f"{kind} in bucket {name}", COMPONENT, shown, found, ok=ok))
    # Sums could hide a shard's loss behind another's gain.
    differing = [record["id"] for record, one in figures if _differs(record, one, exact)]
    if differing:
        checks.append(check(f"shards of bucket {name} that differ", COMPONENT, [], differing))
    if expected_newest is not None:
        checks.append(
            check(
                f"newest point in bucket {name}",
                COMPONENT,
                f"{iso(expected_newest)} or later",
                "none" if found_newest is None else iso(found_newest),
                ok=found_newest is not None and found_newest >= expected_newest,
            )
        )
    return checks


def _differs(record: Record, found: Figures, exact: bool) -> bool:
    points, values = int(record["points"]), int(record["values"])
    if exact:
        return (points, values) != (found.points, found.values)
    return found.points < points or found.values < values


def compare_inventory(expected: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> list[Check]:
    """One check a kind: the same ids, none more and none less. Where they differ the ids are named."""
    checks = []
    for kind in sorted(expected):
        missing, extra = set(expected[kind]) - set(found[kind]), set(found[kind]) - set(expected[kind])
        met = f"{len(found[kind])}"
        if missing or extra:
            met += f" (missing {', '.join(sorted(missing)) or 'none'}; unknown {', '.join(sorted(extra)) or 'none'})"
        checks.append(
            check(f"{kind} with their ids", COMPONENT, f"{len(expected[kind])}", met, ok=not missing and not extra)
        )
    return checks


def probe_tokens(api: InfluxApi, organisation_id: str, tokens: Mapping[str, str]) -> list[Check]:
    """One check a token: the server knows it. Only names are shown."""
    checks = []
    for name in sorted(tokens):
        mine = api.another(tokens[name])
        checks.append(check(f"token {name} is accepted", COMPONENT, True, mine.accepts_token(organisation_id)))
        mine.close()
    return checks


def probe_write(api: InfluxApi, content: Record, organisation: str, bucket: str) -> list[Check]:
    """Write a marker, read it back, delete it: the server takes writes again."""
    ids = [
        (one["organisation_id"], one["id"])
        for one in content["buckets"]
        if (one["organisation"], one["name"]) == (organisation, bucket)
    ]
    if not ids:
        return [check(f"a write to bucket {bucket}", COMPONENT, "read back", "the set knows no such bucket")]
    organisation_id, bucket_id = ids[0]
    now_ns = time.time_ns()
    begin, end = iso(now_ns - NANOSECONDS), iso(now_ns + NANOSECONDS)
    try:
        api.write(organisation_id, bucket_id, f"{PROBE_MEASUREMENT} marker={now_ns}i {now_ns}")
        found = _read_marker(api, organisation_id, bucket_id, begin, end, now_ns)
        api.delete(organisation_id, bucket_id, begin, end, f'_measurement="{PROBE_MEASUREMENT}"')
    except RecoveryError as error:
        return [check(f"a write to bucket {bucket}", COMPONENT, "read back", error.found)]
    return [check(f"a write to bucket {bucket}", COMPONENT, "read back", "read back" if found else "not found")]


def _read_marker(api: InfluxApi, organisation_id: str, bucket_id: str, begin: str, end: str, marker: int) -> bool:
    flux = (
        f'from(bucketID: "{bucket_id}") |> range(start: time(v: "{begin}"), stop: time(v: "{end}"))'
        f' |> filter(fn: (r) => r._measurement == "{PROBE_MEASUREMENT}") |> last()'
    )
    deadline = time.monotonic() + PROBE_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if any(row["_value"] == str(marker) for row in api.query(organisation_id, flux)):
            return True
        time.sleep(POLL_SECONDS)
    return False


def newest_heartbeat(api: InfluxApi, organisation_id: str, buckets: Sequence[str]) -> Marker | None:
    """The oldest of the buckets' newest heartbeats; None where one of them lacks it."""
    newest: dict[str, Marker | None] = {}
    for bucket in buckets:
        flux = (
            f"from(bucket: {json.dumps(bucket)}) |> range(start: 0)"
            f' |> filter(fn: (r) => r._measurement == "{INFLUXDB_MEASUREMENT}" and r._field == "number") |> last()'
        )
        rows = api.query(organisation_id, flux)
        newest[bucket] = marker(rows[0]["_value"], rows[0]["_time"]) if rows else None
    return of_buckets(newest)
