# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live lines of a recovery: pure formatters."""

from __future__ import annotations

from typing import Any


def clock(seconds: float) -> str:
    """Seconds as MM:SS, or H:MM:SS from an hour on."""
    whole = max(0, int(seconds))
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60:02d}:{whole % 60:02d}"


def amount(value: float, unit: str) -> str:
    """A figure with its unit; bytes as MB or GB (10^6, 10^9)."""
    if unit != "bytes":
        return f"{value:.0f} {unit}"
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def stamp(elapsed: float, deadline: float | None) -> str:
    """The head of a line: `[03:12 of 15:00]`, without a deadline `[03:12]`."""
    return f"[{clock(elapsed)} of {clock(deadline)}]" if deadline else f"[{clock(elapsed)}]"


def progress_line(
    elapsed: float, deadline: float | None, phase: str, component: str, figures: dict[str, Any], seconds: float
) -> str:
    """One line of a step at work: `[03:12 of 15:00] restore postgresql 61 % 118 MB/s, 02:05 left, on track`.

    figures: the progress file (doing, done, total, unit); seconds: how long the step has run;
    deadline: None where there is none (a backup).
    """
    line = f"{stamp(elapsed, deadline)} {phase} {component}"
    doing = figures.get("doing")
    if doing:
        line += f": {doing}"
    done, total = float(figures.get("done", 0)), float(figures.get("total", 0))
    rate = done / seconds if seconds > 0 else 0.0
    if total > 0:
        line += f" {100 * min(done / total, 1):.0f} %"
    if rate > 0:
        line += f" {amount(rate, str(figures.get('unit', 'bytes')))}/s"
    left = (total - done) / rate if total > done and rate > 0 else 0.0
    if left:
        line += f", {clock(left)} left"
    if deadline is None:
        return line
    return line + (", on track" if elapsed + left <= deadline else ", LATE")


def finished_line(
    elapsed: float, deadline: float | None, phase: str, component: str, name: str, seconds: float, failed: bool
) -> str:
    """One line of a step that ended: `[00:41 of 15:00] restore redis done in 2.1 s: Load the snapshot`."""
    how = "FAILED after" if failed else "done in"
    return f"{stamp(elapsed, deadline)} {phase} {component} {how} {seconds:.1f} s: {name}"


def would_lines(phase: str, component: str, name: str, result: dict[str, Any]) -> list[str]:
    """What a step would do, from its module's result in check mode: a headline, then what goes (-) and comes (+)."""
    if result.get("failed"):
        return []
    if not result.get("changed"):
        return [f"check mode: {phase} {component} is good: {name}"]
    lines = [f"check mode: {phase} {component} would: {name}"]
    found = result.get("diff") or {}
    for diff in found if isinstance(found, list) else [found]:
        for sign, key in (("-", "before"), ("+", "after")):
            text = diff.get(key)
            shown = text.splitlines() if isinstance(text, str) else [str(text)] if text else []
            lines += [f"    {sign} {line}" for line in shown if line.strip()]
    return lines
