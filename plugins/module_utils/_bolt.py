# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading, and rewriting, plain buckets of a bolt file that nobody has open.

InfluxDB keeps its metadata in one. The server offers no way to set a given token, so a token that was renewed since
a backup can only be put back here. Format: go.etcd.io/bbolt, page.go, bucket.go, db.go (version 2). Little endian:
a page has a header (id u64, flags u16, count u16, overflow u32) and elements, whose positions count from the element
itself; a bucket's value is root page u64 and sequence u64, and its one leaf page follows where root is 0.

Changed buckets are written to new pages at the end of the file, then a new meta page names the new root: what was
there stays as it is, so that a crash in between leaves the old state. That meta page names no list of free pages, as
with NoFreelistSync: whoever opens the file next finds them by itself, those of the replaced buckets too.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

MAGIC = 0xED0CDAED
VERSION = 2
_HEADER = struct.Struct("<QHHI")
_LEAF = struct.Struct("<IIII")
_BRANCH = struct.Struct("<IIQ")
_BUCKET = struct.Struct("<QQ")
# magic, version, page size, flags, root page, root sequence, freelist page, pages in use, transaction; then checksum
_META = struct.Struct("<IIIIQQQQQ")
_CHECKSUM = struct.Struct("<Q")
_BRANCH_FLAG, _LEAF_FLAG, _META_FLAG = 1, 2, 4
_BUCKET_FLAG = 1
_NO_FREELIST = 0xFFFFFFFFFFFFFFFF
_MAXIMUM_ITEMS = 60_000
_MAXIMUM_DEPTH = 32


class NotBolt(ValueError):
    """The file is not a bolt file, is damaged, or holds what is not understood here."""


def checksum(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


# key -> (flags, value)
_Items = dict[bytes, tuple[int, bytes]]


class BoltFile:
    """A bolt file at path. Only the pages that are asked for are read."""

    def __init__(self, path: str) -> None:
        self._path = path
        with open(path, "rb") as stream:
            head = stream.read(1 << 17)
        metas = [meta for meta in (_meta_at(head, at) for at in _meta_places(head)) if meta is not None]
        if not metas:
            raise NotBolt("it has no valid meta page")
        newest = max(metas, key=lambda meta: meta[8])
        self._page_bytes, self._flags = newest[2], newest[3]
        self._root, self._sequence, _freelist, self._pages, self._transaction = newest[4:9]

    def names(self) -> list[str]:
        """The buckets at the top."""
        return [name.decode() for name, (flags, _value) in self._tree(self._root).items() if flags & _BUCKET_FLAG]

    def bucket(self, name: str) -> dict[bytes, bytes]:
        """Keys and values of a bucket at the top; NotBolt where it is missing or holds buckets itself."""
        entry = self._tree(self._root).get(name.encode())
        if entry is None or not entry[0] & _BUCKET_FLAG:
            raise NotBolt(f"it has no bucket {name}")
        root, _sequence = _BUCKET.unpack_from(entry[1])
        items = self._tree(root) if root else _leaf(entry[1][_BUCKET.size :])
        if any(flags & _BUCKET_FLAG for flags, _value in items.values()):
            raise NotBolt(f"bucket {name} holds buckets")
        return {key: value for key, (_flags, value) in items.items()}

    def replace(self, buckets: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Give these buckets at the top new content; all others stay. The file is fsynced."""
        top = self._tree(self._root)
        pages = self._pages
        with open(self._path, "r+b") as stream:
            for name, content in buckets.items():
                if name.encode() not in top:
                    raise NotBolt(f"it has no bucket {name}")
                _root, sequence = _BUCKET.unpack_from(top[name.encode()][1])
                top[name.encode()] = (_BUCKET_FLAG, _BUCKET.pack(pages, sequence))
                pages += self._write_leaf(stream.fileno(), pages, {key: (0, value) for key, value in content.items()})
            root = pages
            pages += self._write_leaf(stream.fileno(), pages, top)
            os.fsync(stream.fileno())
            transaction = self._transaction + 1
            meta = _META.pack(
                MAGIC, VERSION, self._page_bytes, self._flags, root, self._sequence, _NO_FREELIST, pages, transaction
            )
            number = transaction % 2
            page = _HEADER.pack(number, _META_FLAG, 0, 0) + meta + _CHECKSUM.pack(checksum(meta))
            os.pwrite(stream.fileno(), page.ljust(self._page_bytes, b"\0"), number * self._page_bytes)
            os.fsync(stream.fileno())
        self._root, self._pages, self._transaction = root, pages, transaction

    def _page(self, number: int) -> bytes:
        with open(self._path, "rb") as stream:
            stream.seek(number * self._page_bytes)
            first = stream.read(self._page_bytes)
            if len(first) < self._page_bytes or not 1 < number < self._pages:
                raise NotBolt(f"page {number} lies outside of it")
            found, _flags, _count, overflow = _HEADER.unpack_from(first)
            if found != number or number + overflow >= self._pages:
                raise NotBolt(f"page {number} is damaged")
            return first + stream.read(overflow * self._page_bytes)

    def _tree(self, number: int, depth: int = 0) -> _Items:
        page = self._page(number)
        _number, flags, count, _overflow = _HEADER.unpack_from(page)
        if flags & _LEAF_FLAG:
            return _leaf(page)
        if not flags & _BRANCH_FLAG or depth > _MAXIMUM_DEPTH:
            raise NotBolt(f"page {number} is neither branch nor leaf")
        items: _Items = {}
        for index in range(count):
            _position, _key_bytes, child = _BRANCH.unpack_from(page, _HEADER.size + index * _BRANCH.size)
            items.update(self._tree(child, depth + 1))
        return items

    def _write_leaf(self, file: int, number: int, items: _Items) -> int:
        """Write one leaf page (as long as it needs to be) and return how many pages it takes."""
        if len(items) > _MAXIMUM_ITEMS:
            raise NotBolt(f"a bucket of {len(items)} keys is too large to be rewritten")
        elements, data = bytearray(), bytearray()
        for index, (key, (flags, value)) in enumerate(sorted(items.items())):
            position = (len(items) - index) * _LEAF.size + len(data)
            elements += _LEAF.pack(flags, position, len(key), len(value))
            data += key + value
        size = _HEADER.size + len(elements) + len(data)
        count = -(-size // self._page_bytes)
        page = _HEADER.pack(number, _LEAF_FLAG, len(items), count - 1) + elements + data
        os.pwrite(file, page.ljust(count * self._page_bytes, b"\0"), number * self._page_bytes)
        return count


def _meta_places(head: bytes) -> list[int]:
    """Where meta pages may begin: the second one follows the first by a page, whose size only a meta tells."""
    places = [0]
    for page_bytes in (4096, 8192, 16384, 32768, 65536):
        if _meta_at(head, page_bytes) is not None:
            places.append(page_bytes)
    return places


def _meta_at(head: bytes, at: int) -> tuple[int, ...] | None:
    start = at + _HEADER.size
    data = head[start : start + _META.size]
    if len(head) < start + _META.size + _CHECKSUM.size:
        return None
    fields: tuple[int, ...] = _META.unpack(data)
    (found,) = _CHECKSUM.unpack_from(head, start + _META.size)
    if fields[:2] != (MAGIC, VERSION) or found != checksum(data) or (at and fields[2] != at):
        return None
    return fields


def _leaf(page: bytes) -> _Items:
    _number, flags, count, _overflow = _HEADER.unpack_from(page)
    if not flags & _LEAF_FLAG:
        raise NotBolt("a leaf page was expected")
    items: _Items = {}
    for index in range(count):
        at = _HEADER.size + index * _LEAF.size
        kind, position, key_bytes, value_bytes = _LEAF.unpack_from(page, at)
        begin = at + position
        if begin + key_bytes + value_bytes > len(page):
            raise NotBolt("an element lies outside of its page")
        items[page[begin : begin + key_bytes]] = (kind, page[begin + key_bytes : begin + key_bytes + value_bytes])
    return items
