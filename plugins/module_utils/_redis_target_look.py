# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings Redis to a point in time: a generation of the shipped logs, or a snapshot where none reaches."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOG_MOUNT, TIME_BYTES, UNSIGNED
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target import (
    Reach,
    candidates,
    nearest,
    parse_lives,
    reaches_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

# Everything that was shipped, in the form of parse_lives. An increment that names no second in its last bytes is read
# whole; one that begins with a command goes on in a second which the one before it names.
LOOK_ALL = f"""
shopt -s nullglob
export LC_ALL=C
seconds() {{ grep -a -o $'^#TS:[0-9]*\\r' | tail -n 1 | tr -dc 0-9; }}
for life in {LOG_MOUNT}/*/; do
  cd "$life"
  files=(*)
  [ "${{#files[@]}}" -gt 0 ] || continue
  printf 'life %s\\n' "$(basename "$life")"
  [ ! -s restored ] || sed 's/^/restored /' restored
  for file in [0-9]*.manifest; do sed "s/^/manifest ${{file%.manifest}} /" "$file"; done
  stat --printf 'file %n %s\\n' -- "${{files[@]}}"
  for file in *.incr.aof; do
    first=$(head -c 24 "$file" | tr -d '\\0' | sed -n '1s/^#TS:\\([0-9]*\\)\\r$/\\1/p')
    last=$(tail -c {TIME_BYTES} "$file" | seconds || true)
    [ -n "$last" ] || last=$(seconds <"$file" || true)
    printf 'increment %s %s %s\\n' "$file" "${{first:--}}" "${{last:--}}"
  done
  for file in *.base.*; do
    printf 'base %s %s\\n' "$file" "$(head -c 256 "$file" | od -An -v -tx1 | tr -d ' \\n')"
  done
done
"""


@dataclass(frozen=True)
class Choice:
    """What a target is reached from.

    second: the beginning of the target's second; logs: to be tried in this order; snapshot: whether the set's snapshot
    may be taken where none of them serves. reason: why, as a clause; warnings: what an operator must know of it.
    """

    target: float
    second: int
    logs: tuple[Reach, ...]
    snapshot: bool
    reason: str
    warnings: tuple[str, ...]
    window: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Target:
    """One of a choice's logs on its way to the target. continues: whether that log goes on behind what was copied."""

    choice: Choice
    continues: bool

    def is_after(self, instant: str) -> bool:
        """Whether what is reached is an instant's (ISO 8601) data, or later."""
        return parse_iso(instant) <= self.choice.second

    def reached(self, newest_command_at: int) -> dict[str, Any]:
        """What a record says of it: the data is that of the beginning of the target's second."""
        second = self.choice.second
        return {"recovery_point": to_iso(second), "reached": reached_of(self.choice, second, newest_command_at)}


def instant_of(text: str, name: str, data: str = "nothing was changed") -> float:
    """Seconds since 1970 of a module's input; RecoveryError PRC-624 where it is no instant with an offset."""
    try:
        return parse_iso(text)
    except ValueError as error:
        raise RecoveryError(
            "PRC-624",
            f"read the module's {name}",
            str(error),
            data,
            "give date, time and offset from UTC, as in 2026-11-23T14:30:00+00:00",
        ) from None


def look_at_all(given: Mapping[str, Any], run: Callable[[str], str]) -> tuple[list[Reach], list[str]]:
    """What the shipped logs reach, and what is wrong with them. given: the values of LOG_ARGUMENTS."""
    if not given["log_path"]:
        return [], ["no log is shipped here (redis_log_shipping)"]
    if not os.path.isdir(given["log_path"]):
        return [], [f"there is no {given['log_path']}"]
    return reaches_of(parse_lives(run(LOOK_ALL)))


def choose_for_target(
    given: Mapping[str, Any], snapshot_at: str, run: Callable[[str], str], data: str = "nothing was changed"
) -> Choice:
    """What brings Redis to given["target_time"]; arguments as of choose_source.

    Raises RecoveryError PRC-624 where that is no instant, PRC-625 where nothing reaches it: the log has no such second,
    and the snapshot is after it, is not before a gap of the log but before an end of it, or a log is required.
    """
    target = instant_of(given["target_time"], "target_time", data)
    second = math.floor(target)
    alone = given["restore_from"] == "snapshot"
    reaches, problems = ([], []) if alone else look_at_all(given, run)
    window = tuple(one.window() for one in reaches)
    before = parse_iso(snapshot_at) <= target
    allowed = before and given["log"] != "required"
    logs = candidates(reaches, second)
    told = tuple(problems)
    if logs:
        reason = f"{logs[0].where} reaches {to_iso(second)}"
        warned = (*told, f"{logs[0].where}: {UNSIGNED}")
        return Choice(target, second, tuple(logs), allowed, reason, warned, window)
    reached = nearest(reaches, target)
    # Behind the end of the log something may have been written that was not shipped; before its beginning, and where a
    # platform ships none, a snapshot is all there is.
    better = reached[0] is None or parse_iso(snapshot_at) > reached[0]
    if allowed and better and (alone or not reaches or reached[1] is not None):
        reason = "the snapshot was asked for (redis_restore_from=snapshot)" if alone else "no shipped log reaches it"
        warned = (*told, snapshot_for(target, snapshot_at, reason))
        return Choice(target, second, (), True, reason, warned, window)
    raise unreachable(target, reached, snapshot_at, problems, data)


def snapshot_for(target: float, snapshot_at: str, reason: str) -> str:
    """The warning where a snapshot stands in for a target."""
    skew = target - parse_iso(snapshot_at)
    return f"Redis is restored from the snapshot of {snapshot_at}, {skew:.3f} s before the target: {reason}"


def unreachable(
    target: float, reached: tuple[int | None, int | None], snapshot_at: str, problems: Sequence[str], data: str
) -> RecoveryError:
    """The refusal of a target. reached: as of nearest."""
    before = "no point before it" if reached[0] is None else f"{to_iso(reached[0])} is the nearest before it"
    after = "no point after it" if reached[1] is None else f"{to_iso(reached[1])} is the nearest after it"
    found = f"no second of the shipped logs serves ({before}, {after}), and the set's snapshot is of {snapshot_at}"
    if reached[0] is not None and reached[1] is None:
        found += "; what was written after the log's last second may be incomplete"
    if reached == (None, None):
        found = f"no shipped log serves, and the set's snapshot is of {snapshot_at}"
    return RecoveryError(
        "PRC-625",
        f"bring Redis to {to_iso(target)}",
        "; ".join([found, *problems]),
        data,
        "take one of these points as the target, a backup set at or before it (recovery_backup_set), or recover to "
        "the newest point (without a target)",
    )


def reached_of(choice: Choice, instant: float, newest_command_at: int | None = None) -> dict[str, Any]:
    """What is said of a target that was reached, for a record and a module's result.

    instant: whose data it is; newest_command_at: second of the newest command that is left in the log, of the base
    where none is; None where it is a snapshot.
    """
    if newest_command_at is None:
        said = f"the data of the snapshot of {to_iso(instant)}; what was written between it and the target is not in it"
    else:
        said = f"all that was written before {to_iso(instant)} is there, and nothing that was written after it"
        if newest_command_at < instant - 1:
            said += f"; nothing was written between the second {to_iso(newest_command_at)} and then"
    return {
        "target_time": to_iso(choice.target),
        "reached_point": to_iso(instant),
        "skew_seconds": round(choice.target - instant, 3),
        "newest_command_at": None if newest_command_at is None else to_iso(newest_command_at),
        "told": said,
    }


def would_reach(choice: Choice, snapshot_at: str) -> dict[str, Any]:
    """What will be reached, as far as it is known before the log is read: reached_of without its newest command."""
    instant = float(choice.second) if choice.logs else parse_iso(snapshot_at)
    return {name: reached_of(choice, instant)[name] for name in ("target_time", "reached_point", "skew_seconds")}
