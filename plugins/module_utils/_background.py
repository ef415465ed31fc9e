# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that goes on behind its module until a later one ends it and hears what it found.

Both know a file: its lock is held for as long as the work goes on, it holds the worker's process id and then what was
found. A lock cannot outlive its process, so an id that is read beside a held lock is the worker's own. Ansible's own
`async` does the same in 1.5 s more of module runs: a wrapper, a file to agree on, and a question each second.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any, Callable

POLL_SECONDS = 0.02


class Going:
    """Whether background work is to go on, for the worker itself. limit_seconds: it is not, after so long."""

    def __init__(self, limit_seconds: float) -> None:
        self._deadline = time.monotonic() + limit_seconds
        self._ended = False

    def __call__(self) -> bool:
        """Whether nobody has ended it."""
        return not self._ended and time.monotonic() < self._deadline

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until it is ended."""
        self._ended = signal.sigtimedwait({signal.SIGTERM}, seconds) is not None or self._ended


def start(path: str, work: Callable[[Going], Any], limit_seconds: float) -> bool:
    """Run work in a process of its own that outlives this one; what it gives (JSON) is kept in the file at path.

    False where it goes on there already, begun by an earlier run. Raises OSError where the file cannot be made.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    # Read by end() only beside a held lock or once it is free: what an earlier worker left is gone before this one is.
    os.ftruncate(file, 0)
    if os.fork() == 0:
        _be_the_worker(file, work, limit_seconds)
    os.close(file)
    return True


def end(path: str, timeout_seconds: float) -> Any:
    """End the work and give what it found; None where it found nothing: it was not begun, or was killed.

    The file is removed. Raises TimeoutError where the work does not end in time.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    deadline = time.monotonic() + timeout_seconds
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path} is still worked for after {timeout_seconds:.0f} s") from None
        worker = _read(file).get("pid")
        if worker and not told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
            told = True
        time.sleep(POLL_SECONDS)
    found = _read(file).get("found")
    os.unlink(path)
    os.close(file)
    return found


def _be_the_worker(file: int, work: Callable[[Going], Any], limit_seconds: float) -> None:
    """The forked process: never returns into the module that began it."""
    try:
        # It is waited for, not met: a signal that comes before the first wait is not lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.setsid()
        _write(file, {"pid": os.getpid()})
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever began it waits for the end of these
            os.dup2(nowhere, stream)
        _write(file, {"found": work(Going(limit_seconds))})
    finally:
        os._exit(0)


def _write(file: int, content: dict[str, Any]) -> None:
    """Replace the file's content."""
    raw = json.dumps(content).encode()
    os.pwrite(file, raw, 0)
    os.ftruncate(file, len(raw))


def _read(file: int) -> dict[str, Any]:
    """The file's content; empty where nothing, or half of something, was written yet."""
    try:
        content = json.loads(os.pread(file, os.fstat(file).st_size, 0) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
