# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arithmetic of the write-ahead log: positions, segments, timelines, and what a repository and a stream hold together.

Formats: PostgreSQL's `src/include/access/xlog_internal.h` (names), `timeline.c` (history files), pgBackRest's archive
(`<segment>-<sha1 of the content>[.lz4|.zst|.gz]`), pg_receivewal's folder (`<segment>` whole, `<segment>.partial`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SEGMENT_BYTES = 16 << 20
PAGE_BYTES = 8192
RECORD_HEADER_BYTES = 24
_ARCHIVED = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?")
_STREAMED = re.compile(r"([0-9A-F]{24})(\.partial)?")
_STATISTICS = re.compile(r"^WAL statistics between [0-9A-F]+/[0-9A-F]+ and ([0-9A-F]+/[0-9A-F]+):", re.MULTILINE)
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_XID = re.compile(r"[0-9]{1,19}")
_HISTORY_LINE = re.compile(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)")


def parse_lsn(text: str) -> int:
    """A position such as "16/B374D848" as a number of bytes; ValueError for anything else."""
    match = _LSN.fullmatch(text)
    if not match:
        raise ValueError(f"not a WAL position: {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(lsn: int) -> str:
    """The position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_xid(text: str) -> int:
    """A transaction's id as it stands in the WAL; ValueError for anything else.

    A number with its epoch (as pg_current_xact_id() gives it) counts by its lower half.
    """
    if not _XID.fullmatch(text) or int(text) & 0xFFFFFFFF < 3:
        raise ValueError(f"it is no transaction id (a number from 3 on): {text!r}")
    return int(text) & 0xFFFFFFFF


@dataclass(frozen=True)
class Segment:
    """One WAL segment: its timeline and its number (position divided by the segment size)."""

    timeline: int
    number: int

    def name(self, segment_bytes: int = SEGMENT_BYTES) -> str:
        """The file name, 24 hexadecimal digits."""
        a_log_file = (1 << 32) // segment_bytes
        return f"{self.timeline:08X}{self.number // a_log_file:08X}{self.number % a_log_file:08X}"


def parse_segment(name: str, segment_bytes: int = SEGMENT_BYTES) -> Segment:
    """The segment of a file name; ValueError where it is none."""
    if not re.fullmatch("[0-9A-F]{24}", name):
        raise ValueError(f"not a WAL segment: {name!r}")
    a_log_file = (1 << 32) // segment_bytes
    return Segment(int(name[:8], 16), int(name[8:16], 16) * a_log_file + int(name[16:], 16))


@dataclass(frozen=True)
class Span:
    """A stretch of one timeline: from begin (0 for the first) to end, where the next one branches off (None: open)."""

    timeline: int
    begin: int
    end: int | None


def parse_history(text: str) -> list[tuple[int, int]]:
    """The lines of a history file as (parent timeline, position where its child branched off), oldest first."""
    found = (_HISTORY_LINE.match(line) for line in text.splitlines())
    return [(int(one.group(1)), parse_lsn(one.group(2))) for one in found if one]


def timeline_chain(timeline: int, history: str) -> list[Span]:
    """How a timeline came to be, oldest first; history is the text of its history file ("" for the first timeline)."""
    chain: list[Span] = []
    begin = 0
    for parent, switched_at in parse_history(history):
        chain.append(Span(parent, begin, switched_at))
        begin = switched_at
    return [*chain, Span(timeline, begin, None)]


def choose_chain(timeline: int, stop_lsn: int, histories: Mapping[int, str]) -> list[Span]:
    """The newest timeline that grew out of a backup (its timeline and the position where it was consistent).

    A timeline that branched off before the backup ended is another future of the same database and does not count.
    """
    for candidate in sorted(histories, reverse=True):
        chain = timeline_chain(candidate, histories[candidate])
        if any(one.timeline == timeline and (one.end is None or one.end >= stop_lsn) for one in chain):
            return chain
    return timeline_chain(timeline, histories.get(timeline, ""))


@dataclass(frozen=True)
class StreamFile:
    """A file that pg_receivewal left: its folder's name, its own, its size, and when it was written (Unix seconds)."""

    folder: str
    name: str
    bytes: int
    written_at: float = 0.0


@dataclass(frozen=True)
class WalFile:
    """Where a segment is taken from: "archive", "stream" (whole) or "partial" (the stream's last), and its folder."""

    segment: str
    source: str
    folder: str = ""
    bytes: int = 0
    written_at: float = 0.0


@dataclass(frozen=True)
class WalPlan:
    """What replay will read. problems: sentences about segments that are missing or unusable; empty for a good plan."""

    timeline: int
    files: tuple[WalFile, ...]
    problems: tuple[str, ...]

    @property
    def newest(self) -> WalFile | None:
        """The last file that replay reads."""
        return self.files[-1] if self.files else None

    def only_streamed(self) -> list[WalFile]:
        """Whole segments that the archive does not have."""
        return [one for one in self.files if one.source == "stream"]


def archived_segments(names: Mapping[str, tuple[int, float]]) -> dict[str, WalFile]:
    """The segments among a repository's files. names: base name -> (bytes, written at)."""
    found = {}
    for name, (size, written_at) in names.items():
        match = _ARCHIVED.fullmatch(name)
        if match:
            found[match.group(1)] = WalFile(match.group(1), "archive", "", size, written_at)
    return found


def archived_names(names: Iterable[str]) -> dict[str, str]:
    """The base name in the archive of each segment."""
    return {match.group(1): name for name in names if (match := _ARCHIVED.fullmatch(name))}


def streamed_segments(files: Iterable[StreamFile]) -> dict[str, WalFile]:
    """The segments that the streams hold, a whole one before a partial one, the longer partial before the shorter."""
    found: dict[str, WalFile] = {}
    for one in files:
        match = _STREAMED.fullmatch(one.name)
        if not match:
            continue
        source = "partial" if match.group(2) else "stream"
        entry = WalFile(match.group(1), source, one.folder, one.bytes, one.written_at)
        known = found.get(entry.segment)
        if known is None or (source == "stream", one.written_at) > (known.source == "stream", known.written_at):
            found[entry.segment] = entry
    return found


def plan_wal(
    start: Segment,
    stop_lsn: int,
    chain: Sequence[Span],
    archive: Mapping[str, WalFile],
    stream: Mapping[str, WalFile],
    segment_bytes: int = SEGMENT_BYTES,
) -> WalPlan:
    """Which segments replay reads from a backup's first one to the end of WAL, and what is wrong with them.

    start: the segment that holds the backup's start; stop_lsn: where it is consistent; chain: from choose_chain. The
    archive goes before the stream, as restore_command does. A segment is missing when a later one exists or the backup
    itself needs it; what follows the last one is the end of WAL.
    """
    held = {parse_segment(name, segment_bytes) for name in [*archive, *stream]}
    spans = _from_timeline(chain, start.timeline)
    last = _last_number(spans, held, segment_bytes)
    needed = (stop_lsn - 1) // segment_bytes
    files: list[WalFile] = []
    problems: list[str] = []
    for number in range(start.number, max(last, needed) + 1):
        name, entry = _pick(number, spans, held, archive, stream, segment_bytes)
        if entry is None:
            problems.append(f"{name} is missing")
            continue
        in_the_middle = number < needed or (number < last and not _forked_behind(spans, name, segment_bytes))
        problem = _problem(entry, in_the_middle, segment_bytes)
        if problem:
            problems.append(f"{name} {problem}")
        files.append(entry)
    return WalPlan(spans[-1].timeline, tuple(files), tuple(problems))


def _from_timeline(chain: Sequence[Span], timeline: int) -> list[Span]:
    """The chain without the timelines before the backup's own."""
    index = next((i for i, one in enumerate(chain) if one.timeline == timeline), 0)
    return list(chain[index:])


def _covers(span: Span, number: int, segment_bytes: int) -> bool:
    """Whether a timeline may have a segment of this number: from the one it begins in to the one it ends in."""
    ends_in = number if span.end is None else (span.end - 1) // segment_bytes
    return span.begin // segment_bytes <= number <= ends_in


def _forked_behind(spans: Sequence[Span], name: str, segment_bytes: int) -> bool:
    """Whether the next timeline of the chain begins right behind a segment.

    Then the server was lost after it had ended the segment and before the stream gave the file its name: the recovery
    that made the next timeline read it to its end, part as it is called.
    """
    segment = parse_segment(name, segment_bytes)
    return any(one.timeline == segment.timeline and one.end == (segment.number + 1) * segment_bytes for one in spans)


def _last_number(spans: Sequence[Span], held: set[Segment], segment_bytes: int) -> int:
    """The highest number that the chain reaches, by what is held; -1 where nothing is."""
    reached = [
        one.number
        for one in held
        for span in spans
        if span.timeline == one.timeline and _covers(span, one.number, segment_bytes)
    ]
    return max(reached, default=-1)


def _pick(
    number: int,
    spans: Sequence[Span],
    held: set[Segment],
    archive: Mapping[str, WalFile],
    stream: Mapping[str, WalFile],
    segment_bytes: int,
) -> tuple[str, WalFile | None]:
    """The file for a number, of the newest timeline that has any from there on (as PostgreSQL reads), else its name."""
    covering = [one for one in reversed(spans) if _covers(one, number, segment_bytes)]
    for span in covering:
        name = Segment(span.timeline, number).name(segment_bytes)
        entry = archive.get(name) or stream.get(name)
        if entry is not None:
            return name, entry
        if any(one.timeline == span.timeline and one.number > number for one in held):
            return name, None
    newest = covering[0] if covering else spans[-1]
    return Segment(newest.timeline, number).name(segment_bytes), None


def _problem(entry: WalFile, in_the_middle: bool, segment_bytes: int) -> str | None:
    """What is wrong with a file, as the end of a sentence."""
    if entry.bytes == 0:
        return f"is empty ({entry.source})"
    if entry.source == "stream" and entry.bytes != segment_bytes:
        return f"has {entry.bytes} bytes instead of {segment_bytes} (stream {entry.folder})"
    if entry.source == "partial" and entry.bytes > segment_bytes:
        return f"has {entry.bytes} bytes, more than a segment (stream {entry.folder})"
    if entry.source == "partial" and in_the_middle:
        return f"is there only in part (stream {entry.folder}), and later ones exist"
    return None


def parse_end(text: str) -> int | None:
    """Where the valid records of a segment end, by what `pg_waldump --stats` printed; None where it found none.

    It is the position that replay has reached once it has applied the last of them.
    """
    found = _STATISTICS.search(text)
    return parse_lsn(found.group(1)) if found else None


def _page_header_bytes(position: int, segment_bytes: int) -> int:
    """The size of the header of the page that begins at a position: the first one of a segment has a long one."""
    return 40 if position % segment_bytes == 0 else 24


def record_end(lsn: int, total: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Where the record after one of `total` bytes begins, but for the page header that may stand there."""
    position, left = lsn, total
    while True:
        page_end = (position // PAGE_BYTES + 1) * PAGE_BYTES
        if left <= page_end - position:
            return (position + left + 7) // 8 * 8
        left -= page_end - position
        position = page_end + _page_header_bytes(page_end, segment_bytes)


def holds_more(tail: bytes, position: int, segment_bytes: int = SEGMENT_BYTES) -> bool:
    """Whether a segment's bytes from the end of its last valid record (position) on hold more than zeros and one
    record that was still arriving: then the segment is damaged, and its end is not the end of the WAL.
    """
    received = len(tail.rstrip(b"\0"))
    begin = position
    if begin % PAGE_BYTES == 0:
        begin += _page_header_bytes(begin, segment_bytes)
    offset = begin - position
    if received - offset < RECORD_HEADER_BYTES:
        return False
    total = int.from_bytes(tail[offset : offset + 4], "little")
    end = record_end(begin, total, segment_bytes)
    if total < RECORD_HEADER_BYTES or end - position <= received:
        return True
    # It reaches beyond what was received: believable only where the pages on its way say that they go on with it.
    arrived = (begin // PAGE_BYTES + 1) * PAGE_BYTES - begin
    for page in range(begin + arrived, position + received - 24, PAGE_BYTES):
        header = tail[page - position : page - position + 24]
        if int.from_bytes(header[8:16], "little") != page:
            return False
        if int.from_bytes(header[16:20], "little") != total - arrived:
            return True
        arrived += PAGE_BYTES - _page_header_bytes(page, segment_bytes)
    return False
