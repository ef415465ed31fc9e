# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all datastores can be brought to together: the instants that each reaches, those that they share. Pure.

Instants are whole microseconds since 1970, as PostgreSQL counts them; a stretch holds both of its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_microseconds
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time

DATASTORES = ("postgresql", "redis", "influxdb")
SECOND = 1_000_000


@dataclass(frozen=True, order=True)
class Stretch:
    """Instants that can be reached, from begin to end."""

    begin: int
    end: int

    def as_dict(self) -> dict[str, str]:
        """For a module's result."""
        return {"from": show_time(self.begin), "to": show_time(self.end)}


def merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same instants as few stretches, in order."""
    found: list[Stretch] = []
    for one in sorted(one for one in stretches if one.begin <= one.end):
        if found and one.begin <= found[-1].end + 1:
            found[-1] = Stretch(found[-1].begin, max(found[-1].end, one.end))
        else:
            found.append(one)
    return found


def shared(of_each: Iterable[Sequence[Stretch]]) -> list[Stretch]:
    """The instants that are in the stretches of each."""
    common: list[Stretch] | None = None
    for stretches in of_each:
        own = merged(stretches)
        if common is not None:
            pairs = ((one, other) for one in common for other in own)
            own = merged(Stretch(max(one.begin, other.begin), min(one.end, other.end)) for one, other in pairs)
        common = own
    return common or []


def without(stretches: Iterable[Stretch], holes: Iterable[Stretch]) -> list[Stretch]:
    """The stretches less the instants of others."""
    found = merged(stretches)
    for hole in holes:
        parts = ((Stretch(one.begin, min(one.end, hole.begin - 1)), Stretch(max(one.begin, hole.end + 1), one.end))
                 for one in found)  # fmt: skip
        found = merged(part for pair in parts for part in pair)
    return found


def holds(stretches: Iterable[Stretch], at: int) -> bool:
    """Whether an instant can be reached."""
    return any(one.begin <= at <= one.end for one in stretches)


def nearest(stretches: Iterable[Stretch], at: int) -> tuple[int | None, int | None]:
    """The reachable instants next to one: at or before it, and at or after it; None where there is none."""
    known = list(stretches)
    before = max((min(one.end, at) for one in known if one.begin <= at), default=None)
    after = min((max(one.begin, at) for one in known if one.end >= at), default=None)
    return before, after


def between(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The gaps between stretches that are merged."""
    return [Stretch(one.end + 1, other.begin - 1) for one, other in zip(stretches, stretches[1:])]


# --- what each datastore reaches --------------------------------------------------------------------------------------


def of_postgresql(window: Mapping[str, Any] | None) -> list[Stretch]:
    """By postgresql_wal_info's window: between its gaps, less what an earlier recovery abandoned."""
    if not window or not window["earliest"]:
        return []
    found = []
    begin = window["earliest"]
    for gap in window["gaps"]:
        found.append((begin, gap["before"]))
        begin = gap["after"]
        if begin is None:
            break
    else:
        found.append((begin, window["latest"]))
    last = parse_microseconds(window["latest"]["at"])
    holes = [
        Stretch(
            parse_microseconds(one["since"]),
            parse_microseconds(one["again"]) - 1 if one["again"] else max(last, parse_microseconds(one["since"])),
        )
        for one in window["abandoned"]
        if one["since"]
    ]
    # By time the server ends only at a transaction: where none ended since the base backup, there is no such instant.
    ended = ((one, other) for one, other in found if other["xid"] is not None)
    return without(
        (Stretch(parse_microseconds(one["at"]), parse_microseconds(other["at"])) for one, other in ended), holes
    )


def of_redis(window: Iterable[Mapping[str, Any]], snapshots: Iterable[str], now: int) -> list[Stretch]:
    """By redis_log_info's window, which tells seconds; without any log what a snapshot stands in for."""
    logs = [
        Stretch(parse_microseconds(one["earliest"]), parse_microseconds(one["latest"]) + SECOND - 1) for one in window
    ]
    if logs:
        return merged(logs)
    first = min((parse_microseconds(one) for one in snapshots), default=None)
    return [] if first is None else merged([Stretch(first, now)])


def of_influxdb(window: Mapping[str, Any] | None) -> list[Stretch]:
    """By influxdb_target_info's window: every point up to an instant between two captures is in the later one."""
    if window is None:
        return []
    return merged([Stretch(parse_microseconds(window["earliest"]), parse_microseconds(window["latest"]))])


def of_sets(finished: Iterable[str], now: int) -> list[Stretch]:
    """From when a recovery has a set to begin with: one that was finished before its target."""
    first = min((parse_microseconds(one) for one in finished), default=None)
    return [] if first is None else merged([Stretch(first, max(first, now))])


# --- a target --------------------------------------------------------------------------------------------------------


def named(point_name: str, wal_target: Mapping[str, str] | None) -> str:
    """What a target's instant was resolved from, for people; "" where the instant itself was given."""
    if wal_target:
        return f"{'LSN' if wal_target['kind'] == 'lsn' else 'transaction'} {wal_target['value']}"
    return f"restore point {point_name}" if point_name else ""


def joined(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Which of the datastores can be brought to a target, as a sentence. answers: each with its `reachable`."""
    able = [name for name in DATASTORES if answers[name]["reachable"]]
    unable = [name for name in DATASTORES if name not in able]
    if not unable:
        return "all datastores can be brought there"
    if not able:
        return "no datastore can be brought there"
    return f"{joined(able)} can be brought there, {joined(unable)} cannot"


def replay_seconds(replay_bytes: int, figures: Mapping[str, Any]) -> dict[str, float | None]:
    """How long replay, and the whole way to PostgreSQL's proof, will take by what was measured; None where not."""
    speed = figures.get("bytes_per_second")
    if not speed:
        return {"replay": None, "whole": None}
    replay = replay_bytes / speed
    return {"replay": round(replay, 1), "whole": round(replay + float(figures.get("other_seconds") or 0.0), 1)}


def shown(at: int | None) -> str | None:
    """An instant as ISO 8601 UTC."""
    return None if at is None else show_time(at)
