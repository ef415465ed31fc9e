# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the WAL says of transactions and restore points, and where in a stretch of it an instant lies. Pure.

Format: pg_waldump's lines (`src/bin/pg_waldump`, `src/backend/access/rmgrdesc/xactdesc.c`, `xlogdesc.c`). Times are
microseconds since 1970, as PostgreSQL keeps them: no float is compared with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    WalFile,
    parse_lsn,
    parse_segment,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LINE = re.compile(
    r"^rmgr: (?:Transaction|XLOG) .*?tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*?desc: "
    r"(?:(COMMIT|ABORT)(?:_PREPARED (\d+):)? ([-0-9]+ [:.0-9]+) UTC|RESTORE_POINT (.*))"
)
# How many segments are read at once where each must be looked at.
BATCH = 8


@dataclass(frozen=True)
class Record:
    """A record that recovery can end at. kind: commit, abort or point; at: its time (None for a restore point, of
    which pg_waldump prints the name only); lsn: where it begins."""

    kind: str
    lsn: int
    xid: int
    at: int | None
    name: str = ""


def microseconds(text: str) -> int:
    """A time as pg_waldump prints it in UTC ("2026-11-23 17:34:00.076115")."""
    shape = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    whole = datetime.strptime(text, shape).replace(tzinfo=timezone.utc)
    return (whole - _EPOCH) // timedelta(microseconds=1)


def show_time(at: int) -> str:
    """The same as ISO 8601 UTC, to the microsecond."""
    return f"{_EPOCH + timedelta(microseconds=at):%Y-%m-%dT%H:%M:%S.%f}Z"


def parse_records(text: str) -> list[Record]:
    """The commits, aborts and restore points among pg_waldump's lines, in their order."""
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        xid, lsn, ended, prepared, at, name = match.groups()
        if ended:
            found.append(Record(ended.lower(), parse_lsn(lsn), int(prepared or xid), microseconds(at)))
        else:
            found.append(Record("point", parse_lsn(lsn), 0, None, name))
    return found


class Course:
    """WAL without a gap, one segment after the other, each read when it is looked at and only once.

    files: in order; begin, end: positions outside of which records do not count; read: gives the records of some files
    that follow each other.
    """

    def __init__(
        self,
        files: Sequence[WalFile],
        read: Callable[[Sequence[WalFile]], list[Record]],
        begin: int = 0,
        end: int | None = None,
    ) -> None:
        self.files = list(files)
        self._numbers = [parse_segment(one.segment).number for one in files]
        self._read = read
        self._begin = begin
        self._end = end
        self._known: dict[int, list[Record]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def records(self, index: int) -> list[Record]:
        """The records that begin in one of the segments."""
        if index not in self._known:
            self.load(index, index + 1)
        return self._known[index]

    def load(self, first: int, behind: int) -> None:
        """Read several segments at once: a record that goes on in the next segment needs that one too."""
        wanted = range(max(first, 0), min(behind, len(self.files)))
        if all(index in self._known for index in wanted):
            return
        last = wanted[-1]
        follows = last + 1 < len(self.files) and self._numbers[last + 1] == self._numbers[last] + 1
        found = self._read(self.files[wanted[0] : last + 1 + follows])
        for index in wanted:
            self._known[index] = [
                one
                for one in found
                if one.lsn // SEGMENT_BYTES == self._numbers[index]
                and one.lsn >= self._begin
                and (self._end is None or one.lsn < self._end)
            ]

    def ended(self, index: int) -> list[Record]:
        """The commits and aborts of a segment."""
        return [one for one in self.records(index) if one.at is not None]

    def backwards(self, behind: int | None = None) -> Iterator[Record]:
        """Every record from the last one on backwards, those before a position where one is given."""
        for high in range(len(self.files), 0, -BATCH):
            low = max(0, high - BATCH)
            if behind is not None and self._numbers[low] * SEGMENT_BYTES >= behind:
                continue
            # The newest alone first: what is looked for is there as a rule.
            for first, last in ((high - 1, high), (low, high - 1)):
                if first < last:
                    self.load(first, last)
                for index in reversed(range(first, last)):
                    yield from (one for one in reversed(self.records(index)) if behind is None or one.lsn < behind)

    def index_of(self, lsn: int) -> int | None:
        """Which of the segments holds a position; None where none does."""
        number = lsn // SEGMENT_BYTES
        return self._numbers.index(number) if number in self._numbers else None


def last_ended(course: Course, behind: int | None = None, kinds: Sequence[str] = ("commit", "abort")) -> Record | None:
    """The last transaction that ended, before a position where one is given."""
    return next((one for one in course.backwards(behind) if one.kind in kinds), None)


def around(course: Course, at: int) -> tuple[Record | None, Record | None]:
    """The last transaction that ended at or before an instant, and the first one after it, None where there is none.

    The times of a course grow but for an instant of disorder between two commits at once; a few segments are read.
    """

    def first_from(index: int) -> Record | None:
        return next((course.ended(i)[0] for i in range(index, len(course)) if course.ended(i)), None)

    def is_behind(index: int) -> bool:
        found = first_from(index)
        return found is None or found.at is None or found.at > at

    low, high = 0, len(course)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_behind(middle) else (middle + 1, high)
    if low == 0:
        return None, first_from(0)
    ended = course.ended(low - 1)
    index = next((i for i, one in enumerate(ended) if one.at is not None and one.at > at), len(ended))
    after = ended[index] if index < len(ended) else first_from(low)
    return (ended[index - 1] if index else None), after
