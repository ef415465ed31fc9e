# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The append-only log of Redis as it was shipped: which of it is the newest, how far it reaches, where it ends. Pure.

`<store>/aof/` holds a folder for each life of the data, with the epoch of the volume it came from; in it the files of
the newest generations (a base and its increments) and of each its manifest, `<number of the base>.manifest`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

# A single write may be as long as what a client sent at once; what is longer than this at a log's end is no such write.
TORN_MAXIMUM_BYTES = 256 * 1024 * 1024
_TIME = re.compile(rb"(?:^|\n)#TS:(\d{1,12})\r\n")
# What only stands where a command begins; in the bytes of an unfinished one it tells of a damaged length before it.
_BEGINNING = re.compile(rb"\r\n(?:#TS:\d+\r\n|\*\d+\r\n\$\d+\r\n)")
_MULTI, _EXEC, _DISCARD = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n", b"*1\r\n$7\r\nDISCARD\r\n"
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Generation:
    """A base and the increments to it, in order, as names of files; lines: of the manifest, as Redis reads it."""

    base: str
    increments: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files, in the order in which Redis reads them."""
        return (self.base, *self.increments)


@dataclass(frozen=True)
class ShippedLog:
    """The newest generation that was shipped of one life of the data.

    life: name of its folder; number: of the generation; at: seconds since 1970 of the newest command, or of the base
    where nothing was written since; None where neither says it. base_at: the same of the base alone. missing: files
    that the manifest names and that are not there.
    """

    life: str
    number: int
    generation: Generation
    bytes: int
    at: int | None
    base_at: int | None
    missing: tuple[str, ...]

    @property
    def recovery_point(self) -> str | None:
        """Instant of the newest data in it (UTC), as far as it tells."""
        return None if self.at is None else to_iso(self.at)


def parse_manifest(text: str) -> Generation:
    """A manifest of Redis: lines of keys and values in turn (`file NAME seq N type b|h|i [startoffset N]`).

    What is history (h) is left out. Raises ValueError where there is not exactly one base, a name leads elsewhere, or
    the increments are not in order.
    """
    base: list[str] = []
    increments: list[str] = []
    lines: list[str] = []
    last = 0
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        fields = dict(zip(words[::2], words[1::2]))
        if len(words) % 2 or not {"file", "seq", "type"} <= set(fields) or not fields["seq"].isdigit():
            raise ValueError(f"the manifest's line {line!r} is malformed")
        if not _FILE.fullmatch(fields["file"]):
            raise ValueError(f"the manifest names a file outside of its folder: {fields['file']!r}")
        if fields["type"] == "h":
            continue
        if fields["type"] == "b":
            base.append(fields["file"])
        elif fields["type"] == "i" and int(fields["seq"]) > last:
            last = int(fields["seq"])
            increments.append(fields["file"])
        else:
            raise ValueError(f"the manifest's line {line!r} is of no known type, or out of order")
        # What a replica needs (startoffset) is of a server's life, and older servers do not know it.
        lines.append(f"file {fields['file']} seq {fields['seq']} type {fields['type']}")
    if len(base) != 1:
        raise ValueError(f"the manifest names {len(base)} bases instead of one")
    return Generation(base[0], tuple(increments), tuple(lines))


def newest_log(listing: str) -> ShippedLog | None:
    """The newest shipped generation out of LOOK's answer; None where nothing was shipped whole.

    Lines: "life NAME EPOCH", then of that life "manifest NUMBER LINE", "file NAME BYTES", "time SECONDS" and
    "base HEX" (first bytes of the base). Of the lives the one of the highest epoch counts. Raises ValueError where its
    manifest is malformed.
    """
    lives: list[tuple[int, str, list[str]]] = []
    for line in listing.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "life":
            name, _, epoch = rest.rpartition(" ")
            lives.append((int(epoch) if epoch.isdigit() else -1, name, []))
        elif lives:
            lives[-1][2].append(line)
    found = [one for one in lives if any(line.startswith("manifest ") for line in one[2])]
    if not found:
        return None
    _epoch, life, lines = max(found, key=lambda one: one[0])
    rows = [line.split(" ", 2) for line in lines]
    manifest = [row for row in rows if row[0] == "manifest"]
    generation = parse_manifest("\n".join(row[2] for row in manifest))
    sizes = {row[1]: int(row[2]) for row in rows if row[0] == "file"}
    times = [int(row[1]) for row in rows if row[0] == "time"]
    made = [base_time(bytes.fromhex(row[1])) for row in rows if row[0] == "base" and len(row) > 1]
    base_at = made[0] if made else None
    return ShippedLog(
        life=life,
        number=int(manifest[0][1]),
        generation=generation,
        bytes=sum(sizes.get(name, 0) for name in generation.files),
        at=max(times) if times else base_at,
        base_at=base_at,
        missing=tuple(name for name in generation.files if name not in sizes),
    )


def is_newer(shipped: ShippedLog, snapshot_at: str) -> bool:
    """Whether the log holds something that a snapshot of that instant (ISO 8601) cannot.

    The log tells whole seconds: one of the snapshot's own second may end before it.
    """
    return shipped.at is not None and shipped.at > int(parse_iso(snapshot_at))


def base_time(head: bytes) -> int | None:
    """When a base was begun (seconds since 1970), out of its first bytes: the RDB's field `ctime`, a 32-bit integer."""
    at = head.find(b"\xfa\x05ctime\xc2")
    number = head[at + 8 : at + 12]
    return int.from_bytes(number, "little") if at >= 0 and len(number) == 4 else None


def last_time(log: bytes) -> int | None:
    """The newest time (seconds since 1970) that the end of an increment names; None where it names none."""
    found = _TIME.findall(log)
    return int(found[-1]) if found else None


def parse_check(said: str) -> tuple[int, int] | None:
    """Size and whole bytes of a file out of what redis-check-aof printed; None where it did not say."""
    found = re.findall(r"size=(\d+), ok_up_to=(\d+)", said)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def is_torn(rest: bytes) -> bool:
    """Whether the end of a log (behind its last whole command or transaction) is one that was being written.

    It is a remark or a command that reaches beyond the end of the file, or a transaction of which the end is missing.
    Anything else is damage, and must not have the rest of the log thrown away: bytes that no command is made of, a
    command or a remark behind what should be the last one (a damaged length reaches to the end of the file as well).
    """
    at = 0
    while at < len(rest):
        end, well = _command(rest, at)
        if not well:
            return False
        if end is None:
            return _BEGINNING.search(rest, at) is None
        whole = rest[at:end].upper()
        # A transaction is written in one go: no remark in it, no other transaction, no end.
        if (whole == _MULTI) != (at == 0) or whole in (_EXEC, _DISCARD) or whole.startswith(b"#"):
            return False
        at = end
    return True


def _line(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The line that begins at at, and where the next one does; None where the data ends before."""
    end = data.find(b"\r\n", at)
    return None if end < 0 else (data[at:end], end + 2)


def _number(data: bytes, at: int, sign: bytes) -> tuple[int | None, bool]:
    """Where the line `<sign><number>` at at ends, and whether it is, or may become, one."""
    line = _line(data, at)
    text = data[at:].removesuffix(b"\r") if line is None else line[0]
    well = text[:1] in (sign, b"") and (text[1:].isdigit() or (line is None and not text[1:]))
    return (None if line is None else line[1]), well and len(text) <= 20


def _command(data: bytes, at: int) -> tuple[int | None, bool]:
    """Where the command or the remark at at ends (None: behind the data), and whether it is well formed so far."""
    if data[at : at + 1] == b"#":
        line = _line(data, at)
        return (None if line is None else line[1]), line is not None or len(data) - at < 32
    end, well = _number(data, at, b"*")
    if end is None or not well:
        return end, well
    for _ in range(int(data[at + 1 : end - 2])):
        begin = end
        end, well = _number(data, begin, b"$")
        if end is None or not well:
            return end, well
        length = int(data[begin + 1 : end - 2])
        close = data[end + length : end + length + 2]
        if not b"\r\n".startswith(close):
            return None, False
        if len(close) < 2:
            return None, True
        end += length + 2
    return end, True
