# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SHA-256 while writing and in parallel, with OpenSSL's implementation (hashlib releases the interpreter lock)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

CHUNK_BYTES = 1 << 20


class HashingWriter:
    """A file being written whose size and SHA-256 are known once it is closed; fsynced, so that it lasts.

    Use as a context manager; afterwards `bytes` and `sha256` hold. RecoveryError PRC-310 where the disk is full or
    cannot be written to: said of the disk, and not of the server whose answer was being written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> HashingWriter:
        try:
            self._stream: BinaryIO = open(self.path, "wb")
        except OSError as error:
            raise self._not_written(error) from None
        return self

    def write(self, chunk: bytes) -> int:
        """Write chunk and count it in."""
        self._digest.update(chunk)
        self.bytes += len(chunk)
        try:
            return self._stream.write(chunk)
        except OSError as error:
            raise self._not_written(error) from None

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        try:
            if kind is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
            self._stream.close()
        except OSError as error:
            # Closing writes out what is left, too: it must not hide the failure that this follows from.
            if kind is None:
                raise self._not_written(error) from None

    def _not_written(self, error: OSError) -> RecoveryError:
        return RecoveryError(
            "PRC-310",
            f"write {self.path}",
            str(error.strerror or error),
            "running data was not touched; what was being written is incomplete, and is never used",
            "make room on that disk, or mount it so that it can be written to (df, mount), then run the command again",
        )

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
