# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A point in time of PostgreSQL: what was asked for, the stretches of WAL that lead there, and why it is refused. Pure.

The life that counts is the newest timeline with those that it grew out of. What other timelines hold, or the same ones
behind a fork, was abandoned by an earlier recovery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_microseconds
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Span,
    WalFile,
    WalPlan,
    format_lsn,
    parse_lsn,
    parse_segment,
    parse_xid,
    timeline_chain,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import Record, show_time

KINDS = ("time", "lsn", "xid", "name")
NAME = re.compile(r"[A-Za-z0-9._:+@-]{1,63}")
SECOND = 1_000_000
# The documentation of a module's `target` input stands in doc_fragments/postgresql.py.
TARGET_ARGUMENT: dict[str, Any] = {
    "type": "dict",
    "options": {
        "kind": {"type": "str", "choices": list(KINDS), "required": True},
        "value": {"type": "str", "required": True},
    },
}
SETS_ARGUMENT: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "backup_set": {"type": "str", "required": True},
        "content": {"type": "dict", "required": True},
    },
}


@dataclass(frozen=True)
class Target:
    """What was asked for. number: microseconds since 1970 (time), position (lsn), transaction id (xid), else 0."""

    kind: str
    value: str
    number: int = 0

    def text(self) -> str:
        """For people."""
        return f"{self.kind} {self.value}"


def refused(code: str, target: Target, found: str, next_step: str) -> RecoveryError:
    """A target that cannot be had, said before anything is touched."""
    attempted = f"bring PostgreSQL to {target.text()}"
    return RecoveryError(code, attempted, found, "nothing was changed", next_step)


def parse_target(given: Mapping[str, Any]) -> Target:
    """The target of a module's input; RecoveryError PRC-550 where the value has not the form of its kind."""
    kind, value = str(given["kind"]), str(given["value"]).strip()
    asked = Target(kind, value)
    try:
        if kind == "time":
            return Target(kind, value, parse_microseconds(value))
        if kind == "lsn":
            return Target(kind, value, parse_lsn(value))
        if kind == "xid":
            return Target(kind, value, parse_xid(value))
    except ValueError as error:
        raise refused("PRC-550", asked, str(error), "correct the value of the target") from None
    if kind == "name" and NAME.fullmatch(value):
        return Target(kind, value)
    found = "a name here has up to 63 of A-Z a-z 0-9 . _ : + @ -"
    raise refused("PRC-550", asked, found, "correct it; a restore point of another name is reached by its lsn")


def target_of(given: Mapping[str, Any]) -> Target | None:
    """The target of a module's inputs, None where it has none; PRC-550, and PRC-559 where only WAL could lead there."""
    if not given["target"]:
        return None
    target = parse_target(given["target"])
    if given["method"] != "physical":
        found = "a dump holds one instant only, the one in which it was begun"
        raise refused("PRC-559", target, found, "use postgresql_restore_method=physical, or leave the target out")
    return target


@dataclass(frozen=True)
class Stretch:
    """Sound WAL without a gap, and the base backups that lie in it whole, oldest first.

    gap: the segment that is missing behind it and what is wrong with it; None where the WAL ends.
    """

    files: tuple[WalFile, ...]
    bases: tuple[Backup, ...]
    gap: tuple[str, str] | None

    @property
    def end(self) -> int:
        """The position behind the last segment."""
        return (_number(self.files[-1].segment) + 1) * SEGMENT_BYTES


def _number(segment: str) -> int:
    return parse_segment(segment).number


def reached_at(backup: Backup) -> int:
    """From which instant on a base backup can be brought to: its end, which pgBackRest names by the second."""
    return parse_microseconds(backup.finished_at) + SECOND


def newest_chain(histories: Mapping[int, str]) -> list[Span]:
    """How the life that counts came to be."""
    newest = max(histories, default=1)
    return timeline_chain(newest, histories.get(newest, ""))


def is_of(chain: Sequence[Span], backup: Backup) -> bool:
    """Whether a base backup belongs to the life that counts: what followed it was not abandoned."""
    stop = parse_lsn(backup.lsn_stop)
    return any(one.timeline == backup.timeline and (one.end is None or one.end >= stop) for one in chain)


def timeline_of(chain: Sequence[Span], lsn: int) -> int:
    """The timeline on which a record that begins at a position lies."""
    return next(one.timeline for one in reversed(chain) if one.begin <= lsn)


def stretches_of(plan: WalPlan, bases: Iterable[Backup], damaged: Mapping[str, str] | None = None) -> list[Stretch]:
    """The stretches that a base backup leads into, oldest first. plan: the WAL from the oldest base backup on."""
    return [one for one in runs_of(plan, bases, damaged) if one.bases]


def runs_of(plan: WalPlan, bases: Iterable[Backup], damaged: Mapping[str, str] | None = None) -> list[Stretch]:
    """All sound WAL without the gaps, oldest first, also what no base backup leads into.

    damaged: what is wrong with segments, by name, besides what the plan says.
    """
    problems = [*plan.problems, *(f"{name} {found}" for name, found in (damaged or {}).items())]
    wrong = {_number(problem.partition(" ")[0]): problem for problem in problems}
    sound = [one for one in plan.files if _number(one.segment) not in wrong]
    runs: list[list[WalFile]] = []
    for one in sound:
        if runs and _number(one.segment) == _number(runs[-1][-1].segment) + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    found = []
    for run in runs:
        held = {_number(one.segment) for one in run}
        inside = [one for one in bases if {_number(one.wal_start), _number(one.wal_stop)} <= held]
        problem = wrong.get(_number(run[-1].segment) + 1)
        gap = (problem.partition(" ")[0], problem.partition(" ")[2]) if problem else None
        found.append(Stretch(tuple(run), tuple(sorted(inside, key=lambda one: parse_lsn(one.lsn_stop))), gap))
    return found


@dataclass(frozen=True)
class Abandoned:
    """WAL that an earlier recovery left behind: of a timeline, from the position where the life that counts left it."""

    timeline: int
    begin: int
    files: tuple[WalFile, ...]


def abandoned_parts(
    chain: Sequence[Span],
    histories: Mapping[int, str],
    archive: Mapping[str, WalFile],
    stream: Mapping[str, WalFile],
) -> list[Abandoned]:
    """What archive and stream hold that is not of the life that counts, the newest timeline first."""
    held = {parse_segment(name): archive.get(name) or stream[name] for name in [*stream, *archive]}
    ends = {one.timeline: one.end for one in chain}
    found = []
    for timeline in sorted({one.timeline for one in held}, reverse=True):
        begin = ends[timeline] if timeline in ends else timeline_chain(timeline, histories.get(timeline, ""))[-1].begin
        if begin is None:
            continue
        files = [
            entry
            for segment, entry in sorted(held.items(), key=lambda item: item[0].number)
            if segment.timeline == timeline and segment.number >= begin // SEGMENT_BYTES and entry.bytes > 0
        ]
        if files:
            found.append(Abandoned(timeline, begin, tuple(files)))
    return found


def stretch_before(stretches: Sequence[Stretch], is_before: Callable[[Backup], bool]) -> Stretch | None:
    """The last stretch with a base backup that stopped before the target."""
    return next((one for one in reversed(stretches) if any(map(is_before, one.bases))), None)


def newest_base(stretch: Stretch, lsn: int, at: int | None = None) -> Backup | None:
    """The newest base backup of a stretch that was consistent before a record, and before an instant where given."""
    fitting = [one for one in stretch.bases if parse_lsn(one.lsn_stop) <= lsn and (at is None or reached_at(one) <= at)]
    return fitting[-1] if fitting else None


def point(record: Record | None) -> dict[str, Any] | None:
    """A transaction's end, for a module's result and for people."""
    if record is None or record.at is None:
        return None
    return {"at": show_time(record.at), "lsn": format_lsn(record.lsn), "xid": record.xid}


def base_point(backup: Backup) -> dict[str, Any]:
    """The first point that a base backup can be brought to."""
    return {"at": show_time(reached_at(backup)), "lsn": backup.lsn_stop, "xid": None}


def said(found: Mapping[str, Any] | None) -> str:
    """A point in a sentence."""
    if found is None:
        return "nothing"
    xid = f", transaction {found['xid']}" if found.get("xid") else ""
    return f"{found['at']} (LSN {found['lsn']}{xid})"


def nothing_leads_to(target: Target) -> RecoveryError:
    """PRC-551: whose WAL it is, is not known, so nor is the instant of what only the WAL knows."""
    return refused(
        "PRC-551",
        target,
        "the store has no usable set with a base backup of PostgreSQL, so the point's instant cannot be found",
        "mount the right store; where it is lost, give the instant as recovery_target_time, with which the second"
        " copy is asked",
    )


def before_the_window(target: Target, stretches: Sequence[Stretch]) -> RecoveryError:
    """PRC-551: no base backup stopped before the target."""
    if not stretches:
        found = "no base backup that a signed set names lies whole, with its WAL, on the present timeline"
        return refused("PRC-551", target, found, "take a full backup; see playbooks/catalog.yml for what there is")
    earliest = base_point(stretches[0].bases[0])
    return refused(
        "PRC-551",
        target,
        f"no base backup stopped before it; the earliest point that can be reached is {said(earliest)}",
        "choose a point from there on",
    )


def beyond_the_end(target: Target, latest: Mapping[str, Any] | None) -> RecoveryError:
    """PRC-552: the WAL ends before the target."""
    return refused(
        "PRC-552",
        target,
        f"the WAL ends before it; the latest point that can be reached is {said(latest)}",
        "choose a point up to there, or recover without a target to the end of the WAL",
    )


def in_a_gap(target: Target, gap: tuple[str, str], before: Any, after: Any) -> RecoveryError:
    """PRC-553: WAL is missing where the target lies."""
    return refused(
        "PRC-553",
        target,
        f"it lies in a gap: {gap[0]} {gap[1]}; the nearest points are {said(before)} before it and"
        f" {said(after)} after it",
        "choose one of them, or bring the segment back into the archive or the stream folder",
    )


def on_an_abandoned_part(target: Target, part: Abandoned, last: Any, before: Any, after: Any) -> RecoveryError:
    """PRC-554: an earlier recovery left behind what the target names."""
    return refused(
        "PRC-554",
        target,
        f"it lies on what an earlier recovery abandoned: timeline {part.timeline} from LSN {format_lsn(part.begin)} on"
        f" (until {said(last)}); the nearest points are {said(before)} before it and {said(after)} after it",
        "choose one of them",
    )


def nearest_transactions(xid: int, ended: Iterable[Record]) -> tuple[Record | None, Record | None]:
    """Of transactions that ended those with the next lower and the next higher id, None where there is none."""
    known = list(ended)
    lower = max((one for one in known if one.xid < xid), key=lambda one: one.xid, default=None)
    return lower, min((one for one in known if one.xid > xid), key=lambda one: one.xid, default=None)


def unknown(
    target: Target,
    stretches: Sequence[Stretch],
    latest: Mapping[str, Any] | None,
    near: tuple[Record | None, Record | None] = (None, None),
) -> RecoveryError:
    """PRC-555: no such transaction or restore point is in the WAL. near: what nearest_transactions says."""
    gaps = [one.gap[0] for one in stretches if one.gap]
    missing = f" (it may stand in what is missing: {', '.join(gaps)})" if gaps else ""
    what = f"no transaction {target.value} ended" if target.kind == "xid" else f"no restore point {target.value} is"
    earliest = base_point(stretches[0].bases[0]) if stretches else None
    listed = " and ".join(said(point(one)) for one in near if one is not None)
    nearest = f"; the nearest that ended are {listed}" if listed else ""
    return refused(
        "PRC-555",
        target,
        f"{what} in the WAL that can be replayed{missing}, which reaches from {said(earliest)} to {said(latest)}"
        f"{nearest}",
        "correct the name or number, or give the point by its time or LSN",
    )


def ambiguous(target: Target, places: Iterable[int]) -> RecoveryError:
    """PRC-556: the server would end at the first restore point of the name."""
    listed = ", ".join(format_lsn(lsn) for lsn in sorted(places))
    found = f"the name was given more than once: at LSN {listed}"
    return refused("PRC-556", target, found, "give the wanted one by its LSN")
