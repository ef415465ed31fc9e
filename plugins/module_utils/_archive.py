# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tar archives read as a stream by an allow-list of our own: regular files and folders with plain relative names.

tarfile and its data filter are not used for reading: they follow formats that no backup of ours holds (links, sparse
files, headers of any length) and had escapes of their own. The format: POSIX.1-2017, pax, "ustar Interchange Format"
and "pax Header Block".
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Callable, Protocol

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

BLOCK_BYTES = 512
CHUNK_BYTES = 1 << 20
MAXIMUM_EXTENDED_BYTES = 64 << 10
MAXIMUM_NAME_BYTES = 1024
MAXIMUM_PART_BYTES = 255
_ZEROS = bytes(BLOCK_BYTES)


class Sink(Protocol):
    """What takes bytes: a file, a pipe."""

    def write(self, chunk: bytes) -> object:
        """Take the whole chunk."""


class ArchiveRefused(Exception):
    """An archive that is damaged or holds what must not be extracted; the message is a clause for `found`."""


@dataclass(frozen=True)
class Quota:
    """What one archive may hold at most: bytes of all files together, files and folders counted."""

    bytes: int
    entries: int = 100_000


@dataclass(frozen=True)
class Entry:
    """A member: name (relative, checked), bytes (0 for a folder), folder, offset of its content in the archive.

    modified: its time in whole seconds since 1970.
    """

    name: str
    bytes: int
    folder: bool
    offset: int
    modified: int = 0


class HashingReader:
    """A file read once: what is read is counted and hashed. `finish()` reads what is left and returns both."""

    def __init__(self, stream: BinaryIO, advance: Callable[[int], object] = lambda _amount: None) -> None:
        self._stream = stream
        self._advance = advance
        self._digest = hashlib.sha256()
        self.bytes = 0

    def read(self, amount: int) -> bytes:
        """Up to amount bytes; less only at the end of the file."""
        chunk = self._stream.read(amount)
        self._digest.update(chunk)
        self.bytes += len(chunk)
        self._advance(len(chunk))
        return chunk

    def skip(self, amount: int) -> int:
        """Read and forget up to amount bytes, since they count for the digest; returns how many there were."""
        passed = 0
        while passed < amount and (chunk := self.read(min(amount - passed, CHUNK_BYTES))):
            passed += len(chunk)
        return passed

    def finish(self) -> tuple[int, str]:
        """Size and SHA-256 of the whole file, its unread rest included."""
        while self.read(CHUNK_BYTES):
            pass
        return self.bytes, self._digest.hexdigest()


class ArchiveFile:
    """An archive that lies on disk and is only looked through: what is not wanted is passed over, not read."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._at = 0

    def read(self, amount: int) -> bytes:
        """Up to amount bytes; less only at the end of the file."""
        chunk = self._stream.read(amount)
        self._at += len(chunk)
        return chunk

    def skip(self, amount: int) -> int:
        """Pass over up to amount bytes; returns how many there were."""
        passed = min(amount, self._size - self._at)
        self._at += passed
        self._stream.seek(self._at)
        return passed


class Source(Protocol):
    """What an archive is read from."""

    def read(self, amount: int) -> bytes:
        """Up to amount bytes; less only at the end."""

    def skip(self, amount: int) -> int:
        """Pass over up to amount bytes; returns how many there were."""


class TarReader:
    """The members of an archive, one after the other; each content is read or skipped before the next comes."""

    def __init__(self, source: Source, quota: Quota) -> None:
        self._source = source
        self._quota = quota
        self._offset = 0
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """Members in order. Raises ArchiveRefused for anything that is not on the list, and for a cut archive."""
        seen: dict[str, bool] = {}
        total = 0
        while True:
            entry = self._next_entry()
            if entry is None:
                return
            _refuse_clash(entry, seen)
            total += entry.bytes
            if total > self._quota.bytes:
                raise ArchiveRefused(f"it unpacks to more than the {self._quota.bytes} bytes that it may hold")
            if len(seen) > self._quota.entries:
                raise ArchiveRefused(f"it holds more than {self._quota.entries} members")
            yield entry
            self._skip()

    def content(self) -> Iterator[bytes]:
        """The current member's content in chunks."""
        while self._left:
            yield self._take(min(self._left, CHUNK_BYTES))

    def _take(self, amount: int) -> bytes:
        chunk = self._exactly(amount)
        self._left -= amount
        return chunk

    def _skip(self) -> None:
        wanted = self._left + self._padding
        passed = self._source.skip(wanted)
        self._offset += passed
        if passed != wanted:
            raise ArchiveRefused(f"it ends after {self._offset} bytes, in the middle of a member")
        self._left = self._padding = 0

    def _exactly(self, amount: int) -> bytes:
        chunk = self._source.read(amount) if amount else b""
        if len(chunk) != amount:
            raise ArchiveRefused(f"it ends after {self._offset + len(chunk)} bytes, in the middle of a member")
        self._offset += amount
        return chunk

    def _next_entry(self) -> Entry | None:
        extended: dict[str, str] = {}
        while True:
            header = self._exactly(BLOCK_BYTES)
            if header == _ZEROS:
                self._end()
                return None
            fields = _header_fields(header)
            if fields.kind == b"x" and not extended:
                extended = _extended_fields(self._extended(fields.size))
                continue
            return self._entry(fields, extended)

    def _extended(self, amount: int) -> bytes:
        if amount > MAXIMUM_EXTENDED_BYTES:
            raise ArchiveRefused(f"a member has a header of {amount} bytes")
        data = self._exactly(amount)
        self._exactly(-amount % BLOCK_BYTES)
        return data

    def _entry(self, fields: _Header, extended: dict[str, str]) -> Entry:
        name = safe_name(extended.get("path", fields.name))
        size = _decimal(extended["size"]) if "size" in extended else fields.size
        folder = fields.kind == b"5"
        if fields.kind not in (b"0", b"\0", b"5"):
            raise ArchiveRefused(f"{name!r} is neither a file nor a folder (type {fields.kind!r})")
        if folder and size:
            raise ArchiveRefused(f"folder {name!r} has content")
        self._left, self._padding = size, -size % BLOCK_BYTES
        return Entry(name, size, folder, self._offset, fields.modified)

    def _end(self) -> None:
        if self._exactly(BLOCK_BYTES) != _ZEROS:
            raise ArchiveRefused("its end mark is damaged")
        while rest := self._source.read(CHUNK_BYTES):
            if rest.strip(b"\0"):
                raise ArchiveRefused(f"something stands after its end: {rest.lstrip(bytes(1))[:80]!r}")


@dataclass(frozen=True)
class _Header:
    name: str
    size: int
    kind: bytes
    modified: int


def _header_fields(header: bytes) -> _Header:
    """Name, size and type of a ustar header block whose checksum is right."""
    expected = sum(header[:148]) + 8 * 32 + sum(header[156:])
    if _octal(header[148:156]) != expected:
        raise ArchiveRefused("a header's checksum is wrong")
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345] != 0:
        name = f"{_text(header[345:500])}/{name}"
    modified = _octal(header[136:148]) if header[136:148].strip(b" \0") else 0
    return _Header(name, _octal(header[124:136]), header[156:157], modified)


def _text(field: bytes) -> str:
    try:
        return field.split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveRefused("a name is not UTF-8") from None


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise ArchiveRefused(f"a header's number is unreadable ({field!r})")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ArchiveRefused(f"a header's size is unreadable ({text[:40]!r})")
    return int(text)


def _extended_fields(data: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of a pax header that are understood here: path and size; links are refused."""
    fields: dict[str, str] = {}
    while data:
        digits, space, _rest = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        record = data[len(digits) + 1 : length - 1]
        key, equals, value = record.partition(b"=")
        if not (space and equals and length <= len(data) and data[length - 1 : length] == b"\n"):
            raise ArchiveRefused("an extended header is damaged")
        if key == b"linkpath" or key.startswith(b"GNU.sparse"):
            raise ArchiveRefused("a member is a link or a sparse file")
        if key in (b"path", b"size"):
            fields[key.decode()] = _text(value)
        data = data[length:]
    return fields


def safe_name(name: str) -> str:
    """The name, without a slash at its end; ArchiveRefused unless it is relative, plain and stays inside its folder."""
    plain = name[:-1] if name.endswith("/") else name
    parts = plain.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ArchiveRefused(f"the name {name[:200]!r} leads out of its folder")
    if not all(character.isprintable() and character != "\\" for character in plain):
        raise ArchiveRefused(f"the name {name[:200]!r} holds characters that no file of ours has")
    if len(plain.encode()) > MAXIMUM_NAME_BYTES or any(len(part.encode()) > MAXIMUM_PART_BYTES for part in parts):
        raise ArchiveRefused(f"the name {name[:80]!r}… is too long")
    return plain


def _refuse_clash(entry: Entry, seen: dict[str, bool]) -> None:
    """Each name once (a folder may come again), and nothing below a file. seen: name -> is a folder."""
    parts = entry.name.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    if any(seen.get(folder, True) is False for folder in above):
        raise ArchiveRefused(f"{entry.name!r} stands below a file")
    if entry.name in seen and not (entry.folder and seen[entry.name]):
        raise ArchiveRefused(f"{entry.name!r} comes twice")
    for folder in above:
        seen[folder] = True
    seen[entry.name] = entry.folder


class TarWriter:
    """A plain archive written to a pipe: only names, sizes and fixed modes, so that nothing else can pass."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def folder(self, name: str) -> None:
        """Add an empty folder."""
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, 0o700
        self._sink.write(member.tobuf(tarfile.PAX_FORMAT))

    def file(self, name: str, size: int, chunks: Iterator[bytes]) -> None:
        """Add a file of exactly size bytes."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._sink.write(member.tobuf(tarfile.PAX_FORMAT))
        written = 0
        for chunk in chunks:
            self._sink.write(chunk)
            written += len(chunk)
        if written != size:
            raise ArchiveRefused(f"{name!r} has {written} bytes instead of {size}")
        self._sink.write(bytes(-size % BLOCK_BYTES))

    def close(self) -> None:
        """Write the end mark."""
        self._sink.write(bytes(2 * BLOCK_BYTES))


def copy_members(
    source: Source,
    target: TarWriter,
    quota: Quota,
    place: Callable[[str], str],
    wanted: Callable[[Entry], bool] = lambda _entry: True,
) -> int:
    """Copy the members that the allow-list lets through from an archive into another; returns how many files.

    place: the name in the target for a checked name in the source; raises ArchiveRefused for one that does not belong.
    wanted: whether a member that belongs is copied.
    """
    files = 0
    reader = TarReader(source, quota)
    for entry in reader:
        name = safe_name(place(entry.name))
        if not wanted(entry):
            continue
        if entry.folder:
            target.folder(name)
        else:
            target.file(name, entry.bytes, reader.content())
            files += 1
    return files


def damaged(code: str, path: str, found: str) -> RecoveryError:
    """The error for an artefact of a set that is not what it has to be."""
    return RecoveryError(
        code,
        f"restore {path}",
        found,
        "the live data was not touched; what had been unpacked beside it is not used",
        "choose another backup set (recovery_backup_set), and keep this one for the investigation",
    )
