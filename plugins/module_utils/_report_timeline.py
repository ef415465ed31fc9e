# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The timeline of a report as inline SVG: a picture a run, a row a component, a bar a step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import COMPONENTS, PHASES
from ansible_collections.platform3.recovery.plugins.module_utils._report import Report, label
from ansible_collections.platform3.recovery.plugins.module_utils._times import span

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 960, 150, 14, 38, 32, 20
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def timeline(report: Report) -> str:
    """All runs below each other, with the key and what working at once saved. Empty where no step was recorded."""
    runs = sorted({step["run"] for step in report["steps"]})
    if not runs:
        return ""
    drawn = []
    for run in runs:
        began = next((one["offset_seconds"] for one in report["runs"][run - 1 : run]), None)
        if len(runs) > 1:
            after = f", {span(began)} after the start" if began else ""
            drawn.append(f'<p class="note">Run {run} of {len(runs)}{after}</p>')
        drawn.append(_Picture(report, began, [step for step in report["steps"] if step["run"] == run]).svg())
    return "\n".join(drawn) + _key(report)


def _key(report: Report) -> str:
    seen = {step["phase"] for step in report["steps"]}
    key = "".join(f'<span><i style="background:var(--{phase})"></i>{phase}</span>' for phase in PHASES if phase in seen)
    if any(step["outcome"] not in ("ok", "running") for step in report["steps"]):
        key += '<span><i style="background:var(--bad)"></i>failed, refused or without an end</span>'
    saved = report["timing"]["overlap_seconds"]
    note = f"Working on the datastores at once saved {span(saved)} against one after the other." if saved else ""
    return f'\n<div class="key">{key}</div><p class="note">{note}</p>\n'


class _Picture:
    """One run's picture; holds what places a moment on it."""

    def __init__(self, report: Report, began: float | None, steps: Sequence[Mapping[str, Any]]) -> None:
        first = min(step["offset_seconds"] for step in steps)
        last = max(step["offset_seconds"] + (step["seconds"] or 0.0) for step in steps)
        self.report = report
        self.steps = steps
        self.start = first if began is None else min(began, first)
        self.length = max(last - self.start, 0.001)
        seen = {step["component"] for step in steps}
        order = ["recovery", "backup_set", *COMPONENTS]
        self.rows = [name for name in order if name in seen] + sorted(seen - set(order))
        self.bottom = _TOP + _ROW * len(self.rows)

    def x(self, at: float) -> float:
        """Where a moment, in seconds since the first run began, lies."""
        share = (at - self.start) / self.length
        return float(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))

    def svg(self) -> str:
        """The picture."""
        drawn = "\n".join([*self._grid(), *self._bars(), *self._marks()])
        box = f"0 0 {_WIDTH} {self.bottom + 24}"
        return f'<svg viewBox="{box}" role="img" aria-label="Timeline of the steps">\n{drawn}\n</svg>'

    def _grid(self) -> Iterator[str]:
        """Vertical lines at round times, at most ten of them, and a line below each row."""
        for row in range(len(self.rows) + 1):
            y = _TOP + row * _ROW
            yield f'<line x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}" stroke="var(--line)"/>'
        every = next((tick for tick in _TICKS if self.length / tick <= 9), self.length)
        tick = -(-self.start // every) * every
        while tick <= self.start + self.length:
            x = self.x(tick)
            line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self.bottom}"'
            yield f'<line {line} stroke="var(--line)" stroke-dasharray="2 3"/>'
            shown = f"{tick:g} s" if 0 < tick < 60 and self.length < 60 else span(tick) if tick else "0"
            anchor = "end" if x > _WIDTH - 30 else "middle"
            yield f'<text class="soft" x="{x:.1f}" y="{self.bottom + 17}" text-anchor="{anchor}">{shown}</text>'
            tick += every

    def _bars(self) -> Iterator[str]:
        for row, name in enumerate(self.rows):
            y = _TOP + row * _ROW
            yield f'<text x="0" y="{y + 20}">{escape(label(name))}</text>'
            for step in self.steps:
                if step["component"] == name:
                    yield self._bar(step, y + (_ROW - _BAR) // 2)

    def _bar(self, step: Mapping[str, Any], y: int) -> str:
        seconds = step["seconds"] or 0.0
        x = self.x(step["offset_seconds"])
        width = max(1.5, self.x(step["offset_seconds"] + seconds) - x)
        good = step["outcome"] in ("ok", "running")
        colour = (step["phase"] if step["phase"] in PHASES else "report") if good else "bad"
        title = escape(f"{step['phase']} | {step['name']}: {span(step['seconds'])}, {step['outcome']}")
        place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"'
        bar = f'<rect {place} fill="var(--{colour})" stroke="#fff" stroke-width=".8"><title>{title}</title></rect>'
        if step["outcome"] == "unfinished":
            bar += f'<text class="bad" x="{x + 6:.1f}" y="{y + 14}">no end</text>'
        elif width > 46:
            middle = x + width / 2
            bar += f'<text class="in" x="{middle:.1f}" y="{y + 14}" text-anchor="middle">{span(seconds)}</text>'
        return bar

    def _marks(self) -> Iterator[str]:
        """Lines where the first trade was read back and where customers came in."""
        timing = self.report["timing"]
        for name, at, y in (
            ("open to customers", timing["opened_seconds"], _TOP - 25),
            ("first trade", timing["first_trade_seconds"], _TOP - 8),
        ):
            if at is None or not self.start <= at <= self.start + self.length + 0.001:
                continue
            x = self.x(at)
            line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 11}" y2="{self.bottom}"'
            yield f'<line {line} stroke="var(--good)" stroke-width="1.6"/>'
            yield f'<text class="mark" x="{x - 6:.1f}" y="{y}" text-anchor="end">{name} {span(at)}</text>'
