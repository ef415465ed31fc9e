# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which shards InfluxDB knows: its metadata of databases read, and a database of another one merged into it. Pure.

InfluxDB 2 keeps it as one value of influxd.bolt, a message in Protocol Buffers' wire format (influxdb,
v1/services/meta/internal/meta.proto; a database bears a bucket's id as its name). Only fields whose numbers stand below
are understood; all others, and the order of all, stay byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

# influxdb, v1/services/meta/client.go: the bolt bucket and its one key.
METADATA = "v1_tsm1_metadata"
METADATA_KEY = b"meta.db"
# message Data
_DATABASES, _MAX_GROUP, _MAX_SHARD = 5, 8, 9
# message DatabaseInfo, RetentionPolicyInfo, ShardGroupInfo, ShardInfo
_NAME, _POLICIES, _GROUPS, _SHARDS, _ID, _DELETED_AT = 1, 3, 5, 5, 1, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10


class NotMeta(ValueError):
    """It is not such a message, is damaged, or cannot be merged."""


@dataclass(frozen=True)
class Field:
    """A field of a message. value: of a number, 0 for others; content: of bytes, b"" for others; raw: all of it."""

    number: int
    value: int
    content: bytes
    raw: bytes


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order; joined, their raw bytes are the message. NotMeta where it is cut off."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        value, content = 0, b""
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            content = message[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise NotMeta(f"field {number} is of kind {kind}, which is not understood")
        if at > len(message) or not number:
            raise NotMeta("it is cut off within a field")
        yield Field(number, value, content, message[begin:at])


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for index, byte in enumerate(message[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at + index + 1
    raise NotMeta("it is cut off within a number")


def varint(value: int) -> bytes:
    """A number of 0 and more, as it is written."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def number_field(number: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(number << 3 | _VARINT) + varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes, a text or a message."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def _within(messages: Iterable[bytes], number: int) -> Iterator[bytes]:
    """The messages that these hold as fields of this number."""
    return (one.content for message in messages for one in fields(message) if one.number == number)


def _number(message: bytes, number: int) -> int:
    """A number of a message; the last one counts, 0 where there is none."""
    return next((one.value for one in reversed(list(fields(message))) if one.number == number), 0)


def _named(database: bytes) -> str:
    return next((one.content.decode("utf-8", "replace") for one in fields(database) if one.number == _NAME), "")


def databases(meta: bytes) -> dict[str, bytes]:
    """The databases of the metadata as messages, by name. NotMeta where it cannot be read."""
    return {_named(one): one for one in _within([meta], _DATABASES)}


def groups_of(database: bytes) -> list[bytes]:
    """The shard groups of a database as messages, those too that are marked as deleted."""
    return list(_within(_within([database], _POLICIES), _GROUPS))


def group_ids(database: bytes) -> set[int]:
    """The ids of its shard groups."""
    return {_number(group, _ID) for group in groups_of(database)}


def shard_ids(database: bytes) -> set[int]:
    """The ids of its shards."""
    return {_number(shard, _ID) for shard in _within(groups_of(database), _SHARDS)}


def taken_shards(meta: bytes, name: str = "") -> set[int]:
    """The ids of the shards of all databases but the one of this name: a shard that is to be deleted has its id still,
    and the server would delete whatever has it.
    """
    return {one for other, database in databases(meta).items() if other != name for one in shard_ids(database)}


def living(database: bytes, left_out: Collection[int] = ()) -> bytes:
    """A database without the shard groups that are marked as deleted, or of which a shard is left out."""

    def lives(group: bytes) -> bool:
        return not _number(group, _DELETED_AT) and not any(
            _number(shard, _ID) in left_out for shard in _within([group], _SHARDS)
        )

    return _edited(
        database, _POLICIES, lambda policy: _edited(policy, _GROUPS, lambda one: one if lives(one) else None)
    )


def merged(meta: bytes, database: bytes) -> bytes:
    """The metadata with a database (its message) in it, in place of the one of its name that holds no shard.

    A shard group whose id is taken gets a new one; nothing names it elsewhere. The greatest ids are raised where need
    be, so that the server gives none of these away. A database that holds shards already is left: an earlier call had
    merged it. NotMeta where another database has one of the shards: their folders bear the ids.
    """
    name, known = _named(database), databases(meta)
    if shard_ids(known.get(name, b"")):
        return meta
    both = sorted(shard_ids(database) & taken_shards(meta, name))
    if both:
        raise NotMeta(f"shard {both[0]} belongs to another bucket by now")
    taken = {one for other in known if other != name for one in group_ids(known[other])}
    highest = max(taken | group_ids(database) | {_number(meta, _MAX_GROUP)}, default=0)
    others: dict[int, int] = {}
    for group in sorted(group_ids(database) & taken):
        highest += 1
        others[group] = highest

    def regrouped(group: bytes) -> bytes:
        own = _number(group, _ID)
        return _with_number(group, _ID, others[own]) if own in others else group

    placed = _edited(database, _POLICIES, lambda policy: _edited(policy, _GROUPS, regrouped))
    if name in known:
        done = _edited(meta, _DATABASES, lambda one: placed if _named(one) == name else one)
    else:
        done = meta + bytes_field(_DATABASES, placed)
    done = _with_number(done, _MAX_GROUP, highest)
    return _with_number(done, _MAX_SHARD, max(shard_ids(database) | {_number(meta, _MAX_SHARD)}, default=0))


def _edited(message: bytes, number: int, edit: Callable[[bytes], bytes | None]) -> bytes:
    """A message whose messages in fields of this number are others, or gone where edit gives None."""
    done = []
    for one in fields(message):
        content = edit(one.content) if one.number == number else one.content
        if content is not None:
            done.append(one.raw if content == one.content else bytes_field(number, content))
    return b"".join(done)


def _with_number(message: bytes, number: int, value: int) -> bytes:
    """A message in which a number is another; where it stood twice, it stands so twice."""
    listed = list(fields(message))
    done = [number_field(number, value) if one.number == number and one.value != value else one.raw for one in listed]
    return b"".join(done) + (b"" if any(one.number == number for one in listed) else number_field(number, value))
