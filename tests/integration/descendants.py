# SPDX-License-Identifier: GPL-3.0-or-later
"""Killing a run of Ansible with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The process and all it started; Ansible's workers have sessions of their own."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def named(text: str) -> list[int]:
    """Processes with this in their command line: workers whose controller was killed are nobody's children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def kill_all(pid: int) -> set[int]:
    """Kill the process and all it started, by id; returns whom. Stopped first, so that none starts another."""
    stopped: set[int] = set()
    while found := set(descendants(pid)) - stopped:
        for one in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        stopped |= found
    for one in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    return stopped
