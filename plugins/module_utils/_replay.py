# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast WAL is replayed, by the journals of recoveries, and what follows. Pure.

What follows: how much WAL a recovery may have to replay, and how often a base backup must be taken for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    Entry,
    counting,
    parts_of,
    read_history,
    verifications,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES, WalFile

# Below this the server's start is most of the time that replay takes, and its speed would say nothing.
LEAST_BYTES = 64 << 20
# The newest recoveries count, and of them the slowest: a bound must hold on a bad day.
COUNTED = 5
# The rest is for what differs from one recovery to the next.
SHARE = 0.8
DAY_SECONDS = 86400.0


def measurement(recovery_id: str, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """What one recovery's journal says of replay, None where PostgreSQL was not replayed or not verified in it.

    Gives recovery_id, bytes, seconds (of replay) and other_seconds (of all else, to the end of PostgreSQL's verify).
    """
    history = read_history(counting(entries))
    steps = [one for one in history.steps if one.outcome == "ok" and one.result.get("replayed_bytes") is not None]
    verified = [one.ended for one in verifications(history, "postgresql") if one.ended is not None]
    if not steps or not verified:
        return None
    seconds = float(parts_of(steps[-1]).get("replay", 0.0))
    return {
        "recovery_id": recovery_id,
        "bytes": int(steps[-1].result["replayed_bytes"]),
        "seconds": seconds,
        "other_seconds": round(max(0.0, max(verified) - seconds), 3),
    }


def replay_figures(measurements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The speed to count on, oldest measurement first.

    bytes_per_second: of the slowest of the newest recoveries that replayed enough to tell; other_seconds: the longest
    of the same ones; both None where there is none. counted: how many those are.
    """
    telling = [one for one in measurements if one["bytes"] >= LEAST_BYTES and one["seconds"] > 0][-COUNTED:]
    return {
        "bytes_per_second": int(min((one["bytes"] / one["seconds"] for one in telling), default=0)) or None,
        "other_seconds": max((one["other_seconds"] for one in telling), default=None),
        "counted": len(telling),
    }


def wal_bound(bytes_per_second: float, target_seconds: float, other_seconds: float) -> int:
    """How many bytes of WAL can be replayed in what an RTO leaves beside everything else; 0 where it leaves nothing."""
    return max(0, int(bytes_per_second * (target_seconds * SHARE - other_seconds)))


def wal_rate(archive: Iterable[WalFile], now: float) -> float | None:
    """Bytes of WAL a second, by what was archived within a day; None where that is less than two segments."""
    times = sorted(one.written_at for one in archive if one.written_at > now - DAY_SECONDS)
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return (len(times) - 1) * SEGMENT_BYTES / (times[-1] - times[0])


def bound_of(figures: Mapping[str, Any], target_seconds: float, rate: float | None) -> dict[str, Any]:
    """The bound of the WAL to replay and the base-backup interval that follows, None where they are not known."""
    speed = figures.get("bytes_per_second")
    bound = wal_bound(speed, target_seconds, figures["other_seconds"]) if speed else None
    interval = int(bound / rate) if bound is not None and rate else None
    return {"bound_bytes": bound, "wal_bytes_per_second": rate and round(rate), "interval_seconds": interval}


def replay_line(figures: Mapping[str, Any], target_seconds: float, wal_bytes: int) -> str:
    """What the plan of a recovery says of the WAL to replay."""
    speed = figures.get("bytes_per_second")
    told = f"WAL to replay: up to {wal_bytes >> 20} MiB"
    if not speed:
        return f"{told}; how fast is not measured yet (no recovery replayed {LEAST_BYTES >> 20} MiB or more)"
    bound = wal_bound(speed, target_seconds, figures["other_seconds"])
    verdict = "" if wal_bytes <= bound else ", MORE THAN THE RTO ALLOWS: back up more often"
    return (
        f"{told}, about {wal_bytes / speed:.0f} s at {speed / 1e6:.0f} MB/s (slowest of {figures['counted']});"
        f" the RTO allows {bound >> 20} MiB{verdict}"
    )
