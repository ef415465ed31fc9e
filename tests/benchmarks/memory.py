# SPDX-License-Identifier: GPL-3.0-or-later
"""Peak memory of each module at work, read from /proc while a backup and a recovery run.

Pipelining is off for this, so that a module's process carries its name (AnsiballZ_NAME.py); the module is the same.
The kernel keeps the peak itself (VmHWM), so that looking ten times a second misses only what grows at the very end.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab
from tests.benchmarks.table import Figure, Result

LOOK_SECONDS = 0.1
GOAL_MB = 200.0
_MODULE = re.compile(r"\S*/AnsiballZ_(\w+)\.py")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def module_of(command_line: bytes) -> str | None:
    """The module that a process runs, by its /proc/PID/cmdline; None for the shell around it and all others."""
    for word in command_line.decode("utf-8", "replace").split("\0"):
        found = _MODULE.fullmatch(word)
        if found:
            return found[1]
    return None


def peak_bytes(status: str) -> int:
    """The peak resident size in /proc/PID/status; 0 for a process that has ended."""
    found = _PEAK.search(status)
    return int(found[1]) * 1024 if found else 0


class Watch(threading.Thread):
    """Looks at all processes until the block ends; `peaks` holds the highest of each module."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks: dict[str, int] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Look, wait, look."""
        while not self._ended.wait(LOOK_SECONDS):
            self.look()

    def look(self, root: Path = Path("/proc")) -> None:
        """Note the peak of each module that is at work now."""
        for folder in root.iterdir():
            if not folder.name.isdigit():
                continue
            try:
                module = module_of((folder / "cmdline").read_bytes())
                if module:
                    peak = peak_bytes((folder / "status").read_text(encoding="utf-8"))
                    self.peaks[module] = max(peak, self.peaks.get(module, 0))
            except OSError:
                continue  # it ended while it was looked at

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self.join()


def measure(lab: Lab, _runs: int) -> Result:
    """Watch a backup, a loss and its recovery."""
    unpiped = {"ANSIBLE_PIPELINING": "0"}
    with Watch() as watch:
        backup_set = lab.back_up(unpiped)
        lab.lose()
        lab.recover(unpiped)
    if not watch.peaks:
        raise RuntimeError("no module was seen at work: does ansible-core still name its files AnsiballZ_?")
    ranked = sorted(watch.peaks.items(), key=lambda item: -item[1])
    return Result(
        "memory",
        [
            sizes(lab.manifest(backup_set)),
            "peak resident size (VmHWM) of each module during a backup and a full recovery",
        ],
        [Figure(name, peak / 1e6, "MB", GOAL_MB) for name, peak in ranked],
    )
