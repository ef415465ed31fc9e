# SPDX-License-Identifier: GPL-3.0-or-later
"""What anybody on the machine can see of its processes: argument lists and environments, in containers too."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def watched_processes(canaries: Mapping[str, bytes]) -> Iterator[set[str]]:
    """Which secrets, by name, were seen in argument lists or environments of any process while the block ran."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for path in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        text = (path / name).read_bytes()
                        seen.update(f"{secret} in {name}" for secret, value in canaries.items() if value in text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
