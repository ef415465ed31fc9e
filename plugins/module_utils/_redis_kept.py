# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys kept aside before others take their place: the form of that file, written and read a key at a time. Pure.

A line of JSON a key ({"db": 0, "key": base64, "at": ms since 1970 or 0 for never, "bytes": 120}), then that many bytes
of what the command DUMP gave, and a line's end. "bytes" is null for a key that was not there. The last line is
{"end": keys}: a file without it was not written to its end.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_find import kind_of

T = TypeVar("T")
# A round is bounded by keys and by bytes, so that memory is, however big the values are: one value of more goes alone.
ROUND_KEYS, ROUND_BYTES = 500, 16 * 1024 * 1024
# What is told of the keys that are there: so many kinds of a database, and no more of each name.
TOLD_KINDS, TOLD_CHARACTERS, COUNTED_KINDS = 8, 24, 1000
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """A key as it was: its database, when it expires (ms since 1970, 0: never) and what DUMP gave.

    dump: None of a key that was not there, empty where the reader was told to pass it over.
    """

    db: int
    key: bytes
    at: int
    dump: bytes | None

    @property
    def was_there(self) -> bool:
        """Whether the key was there when it was kept."""
        return self.dump is not None


def encode(one: Kept) -> bytes:
    """A key as it stands in the file."""
    line = {
        "db": one.db,
        "key": base64.b64encode(one.key).decode(),
        "at": one.at,
        "bytes": None if one.dump is None else len(one.dump),
    }
    head = json.dumps(line).encode() + b"\n"
    return head if one.dump is None else head + one.dump + b"\n"


def encode_end(keys: int) -> bytes:
    """The last line."""
    return json.dumps({"end": keys}).encode() + b"\n"


def decode(read: Callable[[int], bytes], dumps: bool = True) -> Iterator[Kept]:
    """The keys of a file that read gives (as a file's read does), one after the other.

    dumps: whether their values are read too, or passed over. Raises ValueError where the file is not whole.
    """
    stream = _Stream(read)
    found = 0
    while True:
        line = json.loads(stream.line())
        if not isinstance(line, dict) or ("end" not in line and not {"db", "key", "at", "bytes"} <= set(line)):
            raise ValueError(f"what follows key {found} is none")
        if "end" in line:
            if line["end"] != found:
                raise ValueError(f"it ends after {found} keys, {line['end']} were written")
            return
        size = line["bytes"]
        dump: bytes | None = None
        if size is not None:
            dump = stream.take(size) if dumps else stream.skip(size)
            if stream.take(1) != b"\n":
                raise ValueError(f"key {found + 1} does not end where it should")
        found += 1
        yield Kept(line["db"], base64.b64decode(line["key"]), line["at"], dump)


class _Stream:
    """Bytes read in pieces, of which no more is held than what is asked for."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
        self.held = b""

    def _more(self) -> None:
        piece = self.read(_CHUNK_BYTES)
        if not piece:
            raise ValueError("it ends before its last line")
        self.held += piece

    def line(self) -> bytes:
        """Up to the next line's end."""
        while b"\n" not in self.held:
            self._more()
        line, _, self.held = self.held.partition(b"\n")
        return line

    def take(self, size: int) -> bytes:
        """So many bytes."""
        pieces, left = [], size
        while left > len(self.held):
            pieces.append(self.held)
            left -= len(self.held)
            self.held = b""
            self._more()
        pieces.append(self.held[:left])
        self.held = self.held[left:]
        return b"".join(pieces)

    def skip(self, size: int) -> bytes:
        """Pass over so many bytes; gives none."""
        left = size
        while left > len(self.held):
            left -= len(self.held)
            self.held = b""
            self._more()
        self.held = self.held[left:]
        return b""


def rounds(
    things: Iterable[T], size_of: Callable[[T], int], keys: int = ROUND_KEYS, size: int = ROUND_BYTES
) -> Iterator[list[T]]:
    """The things in order, in rounds of no more than so many of them and of so many bytes; a bigger one is alone."""
    held: list[T] = []
    total = 0
    for one in things:
        its = size_of(one)
        if held and (len(held) >= keys or total + its > size):
            yield held
            held, total = [], 0
        held.append(one)
        total += its
    if held:
        yield held


def by_database(kept: Iterable[Kept], keys: int = ROUND_KEYS, size: int = ROUND_BYTES) -> Iterator[list[Kept]]:
    """Rounds of keys of one database each."""
    held: list[Kept] = []
    total = 0
    for one in kept:
        its = len(one.dump or b"")
        if held and (held[0].db != one.db or len(held) >= keys or total + its > size):
            yield held
            held, total = [], 0
        held.append(one)
        total += its
    if held:
        yield held


def add_kinds(kinds: Counter[str], keys: Iterable[bytes]) -> None:
    """Count keys by what stands before their first colon; what is beyond that may be a secret."""
    for key in keys:
        kind = kind_of(key)
        if len(kind) > TOLD_CHARACTERS:
            kind = "(keys with a long name)"
        if kind in kinds or len(kinds) < COUNTED_KINDS:
            kinds[kind] += 1


def told_kinds(kinds: dict[int, Counter[str]]) -> str:
    """What sorts of keys there are in each database, as a clause."""
    told = []
    for db, counted in sorted(kinds.items()):
        if counted:
            most = ", ".join(f"{kind} ({keys})" for kind, keys in counted.most_common(TOLD_KINDS))
            others = " and others" if len(counted) > TOLD_KINDS else ""
            told.append(f"database {db}: {most}{others}")
    return "; ".join(told) or "no key at all"


def empty_counts() -> dict[str, int]:
    """What is counted of each database.

    restored: keys that have the source's value now, of which added were not there; removed: those that the source has
    not; left: those that somebody wrote meanwhile and that were not to be replaced; expired: those whose time to live
    ended on the way.
    """
    return {"restored": 0, "added": 0, "removed": 0, "left": 0, "expired": 0}


def in_all(counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The sums over all databases."""
    whole = empty_counts()
    for one in counts.values():
        for name, number in one.items():
            whole[name] += number
    return whole
