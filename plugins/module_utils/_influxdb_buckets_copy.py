# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points copied from one server into another, kept aside before, and compared afterwards."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi, ServerFailed
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import Chosen, Interval, refused
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, shards_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lines import (
    batches,
    hashed,
    lines_of,
    points_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress

BATCH_BYTES = 4 * 1024 * 1024
DIALECT = {"annotations": ["group", "datatype", "default"], "header": True}
AGAIN_SECONDS, PAUSE_SECONDS = 30.0, 0.5
# RFC 3339; behind the time of any file.
AFTER_ALL = "2200-01-01T00:00:00Z"
NEXT_STEP = "mend the cause, which the log of the InfluxDB container names"


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server that answers."""

    api: InfluxApi
    organisation: str
    id: str

    def lines(self, piece: Interval) -> Iterator[str]:
        """The values from an instant on and before another, as line protocol."""
        body = json.dumps({"query": points_query(self.id, *piece), "dialect": DIALECT}).encode()
        path = "/api/v2/query?" + urlencode({"orgID": self.organisation})
        answer = self.api.read(self.api.request("POST", path, body))
        try:
            yield from lines_of(io.StringIO(answer.decode(), newline=""))
        except ValueError as error:
            raise RecoveryError(
                "PRC-773", f"read the points of bucket {self.id}", str(error), "nothing was changed by this", NEXT_STEP
            ) from None

    def write(self, lines: Iterable[str]) -> None:
        """Write them; a value of the same series and instant is replaced."""
        for text in batches(lines, BATCH_BYTES):
            self.api.write(self.organisation, self.id, text)

    def delete(self, starts_ns: int, stops_ns: int) -> None:
        """Delete all points from an instant on and before another: the server deletes up to and with the second."""
        self.api.delete(self.organisation, self.id, iso(starts_ns), iso(stops_ns - 1), "")


def count(bucket: Bucket, chosen: Chosen) -> int:
    """How many values of what is chosen a bucket holds."""
    flux = points_query(bucket.id, chosen.starts_ns, chosen.stops_ns) + (
        ' |> group(columns: ["_measurement", "_field"]) |> count()'
    )
    return sum(int(row["_value"]) for row in bucket.api.query(bucket.organisation, flux))


def require_points(source: Bucket, chosen: Chosen) -> int:
    """How many values come back; RecoveryError PRC-772 where there is none."""
    values = count(source, chosen)
    if not values:
        next_step = "choose another range or backup set; to empty a range, delete it by the server's own means"
        raise refused("PRC-772", f"bring {chosen.range} back", "the backup set holds no point in it", next_step)
    return values


def bring(source: Bucket, live: Bucket, chosen: Chosen, progress: Progress) -> int:
    """Write the source's points; gives the values."""
    values = 0
    for piece in chosen.pieces:
        lines = list(source.lines(piece))
        live.write(lines)
        values += len(lines)
        progress.advance(len(lines))
    return values


def settle(live: Bucket, starts_ns: int, stops_ns: int) -> None:
    """Let the server write what it holds in memory of these shards into their files, as it does before a backup.

    Until then it gives values twice that lie behind the end of a deleted range into which others were written (seen:
    2.7.12; 1270 of 53000 values). Behind a restart, and while it deletes or compacts, it may refuse that for a moment
    (status 500, "snapshots disabled").
    """
    listed = io.BytesIO()
    live.api.metadata({"kv": Nowhere(), "sql": Nowhere(), "buckets": listed})
    for shard in shards_of(json.loads(listed.getvalue())):
        if shard.bucket_id == live.id and shard.starts_ns < stops_ns and starts_ns < shard.ends_ns:
            # No file is as new as that, so that none comes.
            _asked_again(live.api, f"/api/v2/backup/shards/{shard.id}?since={AFTER_ALL}")


def _asked_again(api: InfluxApi, path: str) -> None:
    """Ask, and where the server cannot just now, again until it can; its last error where that takes too long."""
    deadline = time.monotonic() + AGAIN_SECONDS
    while True:
        try:
            api.stream(path, Nowhere())
            return
        except ServerFailed:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE_SECONDS)


class Nowhere:
    """Takes bytes and forgets them."""

    def write(self, chunk: bytes) -> None:
        """Forget them."""


def differing(source: Bucket, live: Bucket, chosen: Chosen, exact: bool) -> int:
    """How many values the live bucket has not, has twice or, where it must be exact, has beside the source's."""
    found = 0
    for piece in chosen.pieces:
        wanted = {hashed(line) for line in source.lines(piece)}
        there = [hashed(line) for line in live.lines(piece)]
        found += len(wanted.symmetric_difference(there) if exact else wanted.difference(there))
        found += len(there) - len(set(there))
    return found


# --- kept aside ---


def kept_chunks(buckets: Iterable[tuple[Chosen, Bucket | None]], told: Callable[[int], object]) -> Iterator[bytes]:
    """What the live buckets hold of what is chosen, to be kept: gzip members of lines of JSON.

    {"bucket": name} stands before the lines of a bucket, {"end": values} at the end. A bucket that is not there holds
    nothing. told: hears the number of values at the end.
    """
    values = 0
    for chosen, bucket in buckets:
        yield _packed([{"bucket": chosen.name}])
        for piece in chosen.pieces if bucket else ():
            lines = list(bucket.lines(piece)) if bucket else []
            values += len(lines)
            if lines:
                yield _packed(lines)
    told(values)
    yield _packed([{"end": values}])


def _packed(lines: Iterable[object]) -> bytes:
    return gzip.compress("".join(f"{json.dumps(one)}\n" for one in lines).encode(), 1)


def kept_lines(stream: Any) -> Iterator[tuple[str, str]]:
    """Bucket and line of all that was kept; ValueError, behind the last whole line, where the file ends too early."""
    name, values, ended = "", 0, False
    try:
        with gzip.open(stream, "rt", encoding="utf-8", newline="\n") as text:
            for one in map(json.loads, text):
                if isinstance(one, str):
                    values += 1
                    yield name, one
                elif "bucket" in one:
                    name = one["bucket"]
                else:
                    ended = one["end"] == values
    except (OSError, EOFError) as error:
        raise ValueError(f"it cannot be read ({error})") from None
    if not ended:
        raise ValueError(f"it ends behind {values} values, and that is not its end")


def put_back(kept: Iterable[tuple[str, str]], buckets: Mapping[str, Bucket]) -> int:
    """Write what was kept into the buckets by their names; gives the values."""
    values = 0
    held: list[str] = []
    at = ""

    def flush() -> None:
        if held:
            buckets[at].write(held)
            held.clear()

    for name, line in kept:
        if name != at or len(held) >= 50_000:
            flush()
            at = name
        held.append(line)
        values += 1
    flush()
    return values
