# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress of a long step, left in a small file that the step action plugin reads while the module runs."""

from __future__ import annotations

import json
import os
import threading
import time

INTERVAL_SECONDS = 0.5


class Progress:
    """Counts done of total units (bytes unless unit says otherwise) and writes them at most twice a second.

    path: the file to write, or None to only count. Safe to advance from several threads.
    """

    def __init__(self, path: str | None, total: int = 0, unit: str = "bytes") -> None:
        self._path = path
        self._lock = threading.Lock()
        self._written_at = 0.0
        self.done = 0
        self.total = total
        self.unit = unit
        self.doing = ""

    def start(self, doing: str, total: int = 0, unit: str = "bytes") -> None:
        """Begin the next part of the work: what is done now and how much of it there is (0: unknown)."""
        with self._lock:
            self.doing, self.done, self.total, self.unit = doing, 0, total, unit
            self._write()

    def advance(self, amount: int) -> None:
        """Add amount to what is done."""
        with self._lock:
            self.done += amount
            if time.monotonic() - self._written_at >= INTERVAL_SECONDS:
                self._write()

    def at(self, done: int) -> None:
        """Say how much is done in all (for work that reports totals)."""
        self.advance(done - self.done)

    def _write(self) -> None:
        if self._path is None:
            return
        self._written_at = time.monotonic()
        beside = f"{self._path}.new"
        with open(beside, "w", encoding="utf-8") as stream:
            json.dump({"doing": self.doing, "done": self.done, "total": self.total, "unit": self.unit}, stream)
        os.replace(beside, self._path)
