# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SHA-256 while writing and in parallel, with OpenSSL's implementation (hashlib releases the interpreter lock)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Callable

CHUNK_BYTES = 1 << 20


class HashingWriter:
    """A file being written whose size and SHA-256 are known once it is closed; fsynced, so that it lasts.

    Use as a context manager; afterwards `bytes` and `sha256` hold.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> HashingWriter:
        self._stream: BinaryIO = open(self.path, "wb")
        return self

    def write(self, chunk: bytes) -> int:
        """Write chunk and count it in."""
        self._digest.update(chunk)
        self.bytes += len(chunk)
        return self._stream.write(chunk)

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._stream.close()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written so far."""
        return self._digest.hexdigest()


def hash_file(path: str, advance: Callable[[int], object] = lambda _amount: None) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file; advance is told of each chunk's bytes."""
    digest = hashlib.sha256()
    total = 0
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
            total += count
            advance(count)
    return total, digest.hexdigest()


def hash_files(
    paths: Iterable[str], workers: int = 0, advance: Callable[[int], object] = lambda _amount: None
) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each path, read by as many threads as there are processors (or workers)."""
    listed = list(paths)
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        return dict(zip(listed, pool.map(lambda path: hash_file(path, advance), listed)))
