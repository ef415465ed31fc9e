# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took data away from PostgreSQL around a time: which WAL holds that time, what was found in it, what is missing.

The life that counts is searched, and what earlier recoveries abandoned: an order that was dropped there is gone there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import Ways
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    Stretch,
    reached_at,
    stretch_before,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal import WalFile, parse_segment
from ansible_collections.platform3.recovery.plugins.module_utils._wal_changes import Changes, Names
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import DamagedSegment
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import (
    BATCH,
    Course,
    Record,
    around,
    last_ended,
    show_time,
)

# More than a window may hold: 16 GiB, some minutes of reading.
MAXIMUM_SEGMENTS = 1024


@dataclass(frozen=True)
class Span:
    """What is sought: from start to end (microseconds since 1970), deletes of so many rows and more."""

    start: int
    end: int
    many_rows: int


@dataclass
class Found:
    """What was found. searched: which of that time; gaps: which WAL is missing in it."""

    events: list[dict[str, Any]] = field(default_factory=list)
    searched: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def search(ways: Ways, names: Names, span: Span) -> Found:
    """All of it. PRC-564 where no WAL holds anything of that time, PRC-565 where too much of it does."""
    found = ways.reading(lambda: _search(ways, names, span))
    if not found.searched:
        raise RecoveryError(
            "PRC-564",
            f"search the WAL of PostgreSQL from {show_time(span.start)} to {show_time(span.end)}",
            "no WAL of archive and stream holds a transaction of that time",
            "nothing was changed",
            "search around another time, or widen the window; playbooks/catalog.yml tells what there is",
        )
    found.events.sort(key=lambda event: (event["at"], event["lsn"]))
    return found


def _search(ways: Ways, names: Names, span: Span) -> Found:
    found = Found()
    held: list[tuple[Stretch, int, int]] = []
    for run in ways.runs():
        course = Course(run.files, ways.reader.read)
        first, last = around(course, -1)[1], last_ended(course)
        if first is not None and last is not None and first.at is not None and last.at is not None:
            held.append((run, first.at, last.at))
            _search_course(ways, names, span, course, (first.at, last.at), found, None)
    for (run, _, last_at), (_, first_at, _) in zip(held, held[1:]):
        if run.gap is not None and last_at <= span.end and first_at >= span.start:
            found.gaps.append(
                {"segment": run.gap[0], "wrong": run.gap[1], "from": show_time(last_at), "to": show_time(first_at)}
            )
    for part, course in ways.parts:
        last = last_ended(course)
        first = around(course, -1)[1]
        if first is not None and last is not None and first.at is not None and last.at is not None:
            try:
                _search_course(ways, names, span, course, (first.at, last.at), found, part.timeline)
            except DamagedSegment as error:
                # What was abandoned is no way to anywhere: its damage is no gap.
                found.warnings.append(f"timeline {part.timeline} was not searched to its end: {error.found}")
    return found


def _search_course(
    ways: Ways,
    names: Names,
    span: Span,
    course: Course,
    held: tuple[int, int],
    found: Found,
    abandoned: int | None,
) -> None:
    """Search what a course holds of the time. held: its first and last instant; abandoned: its timeline, if it is."""
    if held[0] > span.end or held[1] < span.start:
        return
    files, begin = _files_between(course, around(course, span.start)[0], around(course, span.end)[1]), 0
    if abandoned is not None:
        begin = next(part.begin for part, one in ways.parts if one is course)
    changes = Changes(names, span.many_rows)
    for text, numbers in _pieces(ways, files):
        for end, events in changes.read(text, numbers):
            if not span.start <= end.at <= span.end or end.lsn < begin:
                continue
            for event in events:
                before = None if abandoned is not None else _before(ways, end.at - 1)
                found.events.append({**event, "before": before, "abandoned_timeline": abandoned})
    found.searched.append(
        {
            "from": show_time(max(span.start, held[0])),
            "to": show_time(min(span.end, held[1])),
            "segments": len(files),
            "abandoned_timeline": abandoned,
        }
    )


def _files_between(course: Course, before: Record | None, after: Record | None) -> list[WalFile]:
    """The files from the one that holds a record to the one that holds another; from the first, to the last."""
    low = 0 if before is None else course.index_of(before.lsn) or 0
    high = None if after is None else course.index_of(after.lsn)
    files = course.files[low : len(course.files) if high is None else high + 1]
    if len(files) > MAXIMUM_SEGMENTS:
        raise RecoveryError(
            "PRC-565",
            "search the WAL of PostgreSQL",
            f"the time that is to be searched takes {len(files)} segments, and {MAXIMUM_SEGMENTS} are searched at most",
            "nothing was changed",
            "narrow recovery_window_seconds, and search several times",
        )
    return files


def _pieces(ways: Ways, files: Sequence[WalFile]) -> Any:
    """What each few of the files print, with their numbers; the next one is read with them for a record's end."""
    for low in range(0, len(files), BATCH):
        own = files[low : low + BATCH]
        text = ways.reader.changes(files[low : low + BATCH + 1])
        yield text, [parse_segment(one.segment).number for one in own]


def _before(ways: Ways, at: int) -> dict[str, str] | None:
    """The target of a recovery to an instant; None where no base backup leads there."""
    if stretch_before(ways.stretches, lambda one: reached_at(one) <= at) is None:
        return None
    return {"kind": "time", "value": show_time(at)}
