# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures, the goals beside them, and the two forms they are shown in: a table in the terminal, one in the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HEADER = ("what", "measured", "goal", "")


@dataclass(frozen=True)
class Figure:
    """One figure. goal: at most so much, or at least where `at_least`; where it does not `apply`, it is only shown."""

    what: str
    value: float
    unit: str = "s"
    goal: float | None = None
    at_least: bool = False
    applies: bool = True

    @property
    def verdict(self) -> str:
        """met, missed, or why there is none."""
        if self.goal is None:
            return ""
        if not self.applies:
            return "another size"
        return "met" if (self.value >= self.goal if self.at_least else self.value <= self.goal) else "MISSED"

    def cells(self) -> tuple[str, str, str, str]:
        """The figure as a row."""
        word = "at least" if self.at_least else "at most"
        goal = "" if self.goal is None else f"{word} {shown(self.goal, self.unit)}"
        return self.what, shown(self.value, self.unit), goal, self.verdict


@dataclass(frozen=True)
class Result:
    """What one measurement found. about: lines that say on what it was measured and how the figures are meant."""

    name: str
    about: Sequence[str] = field(default_factory=tuple)
    figures: Sequence[Figure] = field(default_factory=tuple)


def shown(value: float, unit: str) -> str:
    """A value with its unit, in the digits that mean something."""
    if unit == "x":
        return f"{value:.1f} x"
    if unit == "":
        return f"{value:.0f}"
    return f"{value:.2f} {unit}" if unit == "GB/s" or value < 10 else f"{value:.1f} {unit}"


def terminal(results: Sequence[Result]) -> str:
    """One table of all results."""
    rows = [
        ("measurement", *HEADER),
        *((result.name, *figure.cells()) for result in results for figure in result.figures),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def section(result: Result) -> str:
    """The result as Markdown: what it was measured on, then the table."""
    rows = [HEADER, ("---", "---:", "---:", "---"), *(figure.cells() for figure in result.figures)]
    return "\n".join([*(f"- {line}" for line in result.about), "", *("| " + " | ".join(row) + " |" for row in rows)])


def with_section(document: str, result: Result) -> str:
    """The document with the result between its markers; ValueError where the document has none for it."""
    begin, end = f"<!-- {result.name}: written by make benchmark -->", f"<!-- {result.name}: end -->"
    head, mark, rest = document.partition(begin)
    _old, closing, tail = rest.partition(end)
    if not mark or not closing:
        raise ValueError(f"the document has no place for {result.name}: {begin} ... {end}")
    return f"{head}{begin}\n\n{section(result)}\n\n{end}{tail}"
