# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What emptied Redis, found in its append-only log: FLUSHALL, FLUSHDB, SWAPDB and large deletions, by the second. Pure.

The log is read as a stream of commands (RESP arrays) and of remarks, `#TS:<seconds since 1970>` among them. Of what is
not looked for, nothing is held: a value of hundreds of megabytes costs the memory of one chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

CHUNK_BYTES = 1024 * 1024
# A remark or a length is no longer than this, and of a key no more is kept.
LINE_BYTES, KEPT_BYTES = 1024, 64
DELETING = (b"DEL", b"UNLINK")
EMPTYING = (b"FLUSHALL", b"FLUSHDB", b"SWAPDB")
_SOUGHT = frozenset((*DELETING, *EMPTYING, b"SELECT"))
_LONGEST = max(len(name) for name in _SOUGHT)
# Of the keys that a second deleted, so many kinds are told, out of so many that are counted.
TOLD_KINDS, COUNTED_KINDS = 3, 100


@dataclass(frozen=True)
class Sought:
    """A command that is looked for: the second it was written in (None before the first that the log names), its name,
    what follows (of each word its first bytes) and in which file's byte it begins."""

    at: int | None
    name: str
    words: tuple[bytes, ...]
    offset: int


class _Stream:
    """Bytes of a log by and by. base: offset of data in the log; at: where reading goes on in data."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
        self.data = b""
        self.at = 0
        self.base = 0

    def more(self) -> bool:
        """Have one more chunk; False at the end of the log."""
        chunk = self.read(CHUNK_BYTES)
        self.base += self.at
        self.data, self.at = self.data[self.at :] + chunk, 0
        return bool(chunk)

    def line(self) -> bytes | None:
        """The next line without its end; None where the log ends before."""
        while (end := self.data.find(b"\r\n", self.at, self.at + LINE_BYTES)) < 0:
            if len(self.data) - self.at >= LINE_BYTES:
                raise ValueError(f"byte {self.base + self.at} begins no line")
            if not self.more():
                return None
        line = self.data[self.at : end]
        self.at = end + 2
        return line

    def word(self, length: int) -> bytes | None:
        """The first bytes of a word of that length, which is passed over; None where the log ends before."""
        while len(self.data) - self.at < min(length, KEPT_BYTES):
            if not self.more():
                return None
        kept = self.data[self.at : self.at + min(length, KEPT_BYTES)]
        return kept if self.skip(length) else None

    def skip(self, length: int) -> bool:
        """Pass over a word of that length and the end of its line; False where the log ends before."""
        left = length + 2
        while left > len(self.data) - self.at:
            left -= len(self.data) - self.at
            self.at = len(self.data)
            if not self.more():
                return False
        self.at += left
        if left >= 2 and self.data[self.at - 2 : self.at] != b"\r\n":
            raise ValueError(f"the word before byte {self.base + self.at} does not end where it should")
        return True


def sought(read: Callable[[int], bytes], at: int | None = None) -> Iterator[Sought]:
    """The commands that are looked for, in the log that read gives (as a file's read does), which begins in second at.

    What is cut at its end is passed by. Raises ValueError where bytes are neither command nor remark.
    """
    stream = _Stream(read)
    while True:
        stream.at = _pass_by(stream.data, stream.at)
        offset = stream.base + stream.at
        line = stream.line()
        if line is None:
            return
        if line.startswith(b"#"):
            if line.startswith(b"#TS:"):
                at = _number(line, b"#TS:", offset)
            continue
        words = _number(line, b"*", offset)
        name = _bulk(stream)
        if name is None:
            return
        upper = name.upper() if len(name) <= _LONGEST else b""
        rest: list[bytes] = []
        for _ in range(words - 1):
            if upper in _SOUGHT:
                word = _bulk(stream)
                if word is None:
                    return
                rest.append(word)
            elif not _pass(stream):
                return
        if upper in _SOUGHT:
            yield Sought(at, upper.decode(), tuple(rest), offset)


def _pass_by(data: bytes, at: int) -> int:
    """Where the first command or remark begins that is looked for, is not whole in data, or not well formed.

    Nearly all of a log is passed by here, so it is one loop without a call of its own.
    """
    find, size = data.find, len(data)
    while at < size and data[at] == 0x2A:  # *
        end = find(b"\r\n", at, at + 24)
        digits = data[at + 1 : end]
        if end < 0 or not digits.isdigit():
            return at
        spot = end + 2
        for number in range(int(digits)):
            end = find(b"\r\n", spot, spot + 24)
            digits = data[spot + 1 : end]
            if end < 0 or data[spot] != 0x24 or not digits.isdigit():  # $
                return at
            begin = end + 2
            spot = begin + int(digits) + 2
            if spot > size or data[spot - 2 : spot] != b"\r\n":
                return at
            if number == 0 and spot - begin <= _LONGEST + 2 and data[begin : spot - 2].upper() in _SOUGHT:
                return at
        at = spot
    return at


def _number(line: bytes, sign: bytes, offset: int) -> int:
    digits = line[len(sign) :]
    if not line.startswith(sign) or not digits.isdigit() or len(digits) > 12:
        raise ValueError(f"byte {offset} begins neither a command nor a remark")
    return int(digits)


def _length(stream: _Stream) -> int | None:
    offset = stream.base + stream.at
    line = stream.line()
    return None if line is None else _number(line, b"$", offset)


def _bulk(stream: _Stream) -> bytes | None:
    length = _length(stream)
    return None if length is None else stream.word(length)


def _pass(stream: _Stream) -> bool:
    length = _length(stream)
    return length is not None and stream.skip(length)


@dataclass
class _Deleted:
    """What one second deleted in one database."""

    keys: int = 0
    commands: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, words: Iterable[bytes]) -> None:
        """Count a command's keys."""
        self.commands += 1
        for word in words:
            self.keys += 1
            kind = kind_of(word)
            if kind in self.kinds or len(self.kinds) < COUNTED_KINDS:
                self.kinds[kind] += 1


def kind_of(key: bytes) -> str:
    """What sort of key it is: what stands before its first colon. The rest may be a secret, such as a session's id."""
    head, colon, _ = key.partition(b":")
    return head.decode("utf-8", errors="replace") + ":*" if colon else "(keys without a colon)"


def events(commands: Iterable[Sought], start: int, end: int, many: int) -> Iterator[dict[str, Any]]:
    """What emptied something in the seconds from start to end: of each second its deletions, where they are more than
    many keys of one database together, then its FLUSHALL, FLUSHDB and SWAPDB in order.

    Commands behind end are not asked for. Gives command, database (None where the log does not say, or for all of
    them), at, keys, commands and kinds (of deletions; else None, 1 and none), arguments.
    """
    database: int | None = None
    second: int | None = None
    deleted: dict[int | None, _Deleted] = {}
    emptied: list[dict[str, Any]] = []
    for one in commands:
        if one.at != second:
            yield from _flush(second, deleted, emptied, many)
            second, deleted, emptied = one.at, {}, []
        if one.at is not None and one.at > end:
            return
        if one.name == "SELECT":
            database = int(one.words[0]) if one.words and one.words[0].isdigit() else None
        elif one.at is None or one.at < start:
            continue
        elif one.name.encode() in DELETING:
            deleted.setdefault(database, _Deleted()).add(one.words)
        else:
            emptied.append(
                {
                    "at": to_iso(one.at),
                    "command": one.name,
                    "database": database if one.name == "FLUSHDB" else None,
                    "keys": None,
                    "commands": 1,
                    "kinds": [],
                    "arguments": [word.decode("utf-8", errors="replace") for word in one.words],
                }
            )
    yield from _flush(second, deleted, emptied, many)


def _flush(
    second: int | None, deleted: dict[int | None, _Deleted], emptied: list[dict[str, Any]], many: int
) -> Iterator[dict[str, Any]]:
    """The events of one second."""
    for database, one in deleted.items():
        if one.keys > many and second is not None:
            kinds = [f"{kind} ({keys})" for kind, keys in one.kinds.most_common(TOLD_KINDS)]
            yield {
                "at": to_iso(second),
                "command": "DEL or UNLINK",
                "database": database,
                "keys": one.keys,
                "commands": one.commands,
                "kinds": kinds,
                "arguments": [],
            }
    yield from emptied
