# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The newest time in a TSM file, read from its index alone.

Format: influxdb, tsdb/engine/tsm1/DESIGN.md, "TSM File Format": header 5 bytes, blocks, index, footer (8 bytes: offset
of the index). An index entry: key length (2), key, type (1), count (2), then count times: minimum time (8), maximum
time (8), offset (8), size (4); big endian, sorted by time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

MAGIC = b"\x16\xd1\x16\xd1"
_FOOTER = struct.Struct(">Q")
_LENGTH = struct.Struct(">H")
_COUNT = struct.Struct(">xH")
_MAXIMUM_TIME = struct.Struct(">q")
ENTRY_BYTES = 28
WINDOW_BYTES = 1 << 20


class NotTsm(ValueError):
    """The bytes are not a TSM file."""


def newest_time(stream: BinaryIO, start: int, size: int) -> int | None:
    """The newest point's time (ns since 1970, deleted ones included) in the TSM file of size bytes at start in stream.

    None for a file without keys. Raises NotTsm where magic, footer or index are not as they must be.
    """
    stream.seek(start)
    if size < len(MAGIC) + 1 + _FOOTER.size or stream.read(len(MAGIC)) != MAGIC:
        raise NotTsm("it does not begin as a TSM file")
    stream.seek(start + size - _FOOTER.size)
    (index_at,) = _FOOTER.unpack(stream.read(_FOOTER.size))
    index_bytes = size - _FOOTER.size - index_at
    if index_at < 5 or index_bytes < 0:
        raise NotTsm("its index lies outside of it")
    stream.seek(start + index_at)
    return max(_newest_of_keys(stream, index_bytes), default=None)


def _newest_of_keys(stream: BinaryIO, left: int) -> Iterator[int]:
    """The newest time of each key; reads left bytes through a window, so that memory does not grow with the index."""
    window, at = b"", 0
    while left > 0 or at < len(window):
        # A key and its entries are at most 64 KiB + 65535 * 28 bytes; a larger need is met by reading on.
        need = 2
        while True:
            while len(window) - at < need:
                if left <= 0:
                    raise NotTsm("its index is cut off")
                more = stream.read(min(left, WINDOW_BYTES))
                if not more:
                    raise NotTsm("its index is cut off")
                left -= len(more)
                window, at = window[at:] + more, 0
            (key_bytes,) = _LENGTH.unpack_from(window, at)
            if need == 2:
                need = 2 + key_bytes + 3
                continue
            (count,) = _COUNT.unpack_from(window, at + 2 + key_bytes)
            whole = 2 + key_bytes + 3 + count * ENTRY_BYTES
            if need == whole:
                break
            need = whole
        if not count:
            raise NotTsm("a key of its index has no blocks")
        yield _MAXIMUM_TIME.unpack_from(window, at + whole - ENTRY_BYTES + 8)[0]
        at += whole
