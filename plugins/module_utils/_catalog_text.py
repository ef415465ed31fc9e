# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue as a table for the terminal: what there is, how good it is, and how far it reaches. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._lives import LifeVerdict
from ansible_collections.platform3.recovery.plugins.module_utils._times import short

WIDTH = 100
# What must be seen at once is written large.
LOUD = {"condemned": "CONDEMNED", "broken_chain": "BROKEN CHAIN", "unusable": "UNUSABLE", "incomplete": "INCOMPLETE"}
_SET = "  {:<17} {:>8}  {:<9} {:>9}  {:<12} {}"
_WINDOW = "  {:<15} {:<22} {:<22} {}"


def age(seconds: float) -> str:
    """A span for people in its two largest units: `45 s`, `12 min`, `5 h 10`, `3 d 04`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02d}"
    return f"{whole // 86400} d {whole // 3600 % 24:02d}"


def size(amount: int) -> str:
    """An amount of bytes for people: `640 B`, `3.1 MB`, `1.2 GB`."""
    value, unit = float(amount), "B"
    for following in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, following
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def table(catalog: Mapping[str, Any], environment: str) -> list[str]:
    """The lines of the terminal, WIDTH characters at most where they are no names."""
    sets = catalog["sets"]
    lines = [f"== BACKUPS of {environment}, {short(catalog['at'])} ".ljust(WIDTH, "=")]
    lines.append(_SET.format("set", "age", "kind", "size", "state", "remark").rstrip())
    for one in sets:
        lines += _set_lines(one)
    if not sets:
        lines.append("  NONE: the store holds no backup set; ansible-playbook backup.yml makes one")
    lines += ["", _WINDOW.format("recovery window", "earliest", "latest", "by").rstrip()]
    for name, window in catalog["windows"].items():
        lines.append(_window_line(name, window))
    lines += _wrapped("copies", catalog["copies"]["sentence"])
    for one in catalog["gaps"]:
        lines += _wrapped("WAL GAP", gap_sentence(one))
    for one in catalog["problems"]:
        lines += _wrapped("PROBLEM", one)
    lines.append(_summary(sets).ljust(WIDTH, "="))
    return lines


def _set_lines(one: Mapping[str, Any]) -> list[str]:
    amount = one["bytes"] + one["base_backup_bytes"]
    remark = _remark(one)
    head = _SET.format(
        one["id"],
        age(one["age_seconds"]),
        one["kind"] or "-",
        size(amount) if amount else "-",
        LOUD.get(one["state"], one["state"]),
        "",
    )
    first, *more = textwrap.wrap(remark, WIDTH - len(head)) or [""]
    return [(head + first).rstrip(), *(" " * len(head) + line for line in more)]


def _remark(one: Mapping[str, Any]) -> str:
    words = []
    if one["kind"] == "increment" and one["state"] not in LOUD:
        words.append(f"after {one['parent']}")
    if one["reason"]:
        words.append(one["reason"].replace("its chain is broken: ", ""))  # the state has said so
    if one["state"] in ("tested", "verified", "condemned") and one["since"]:
        by = f" by {one['by']}" if one["by"] and one["state"] != "verified" else ""
        words.append(short(one["since"]) + by)
    return ", ".join(words)


def _window_line(name: str, window: Mapping[str, Any] | None) -> str:
    if window is None:
        return _WINDOW.format(name, "NONE", "NONE", "no usable set holds it")
    count = window["points"]
    if window["continuous"]:
        by = f"{count} base backup{'s' * (count != 1)} and WAL"
        breaks = len(window["stretches"]) - 1
        by += f", {breaks} break{'s' * (breaks != 1)}" if breaks > 0 else ""
    else:
        by = f"{count} point{'s' * (count != 1)}" + (" and the shipped log" if window.get("log_until") else "")
    return _WINDOW.format(name, short(window["earliest"]), short(window["latest"]), by)


def gap_sentence(gap: Mapping[str, Any]) -> str:
    """What is missing, and what that costs."""
    after = f"PostgreSQL cannot be brought to a time after {short(gap['from'])}"
    until = f" and before {short(gap['to'])}" if gap["to"] else ": take a full backup now"
    return f"{gap['segment']} {gap['wrong']}. {after}{until}"


def _wrapped(name: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, WIDTH - 18, break_long_words=False) or ["-"]
    return [f"  {name if number == 0 else '':<15} {line}" for number, line in enumerate(wrapped)]


def _summary(sets: Sequence[Mapping[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for one in sets:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    listed = ", ".join(f"{count} {LOUD.get(state, state)}" for state, count in sorted(counts.items()))
    total = sum(one["bytes"] + one["base_backup_bytes"] for one in sets)
    return f"== {len(sets)} sets ({listed}), {size(total)} " if sets else ""


def verdict_lines(verdicts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What retention decided, a line a set."""
    return [line for one in verdicts for line in _verdict(f"{one['id']:<17}", one["stays"], one["reason"])]


def life_lines(verdicts: Iterable[LifeVerdict]) -> list[str]:
    """What becomes of the folders of streamed WAL and of Redis' log."""
    return [line for one in verdicts for line in _verdict(f"{one.life.path:<40}", one.stays, one.reason)]


def _verdict(name: str, stays: bool, reason: str) -> list[str]:
    head = f"  {name} {'stays' if stays else 'GOES':<6} "
    first, *more = textwrap.wrap(reason, WIDTH - len(head)) or [""]
    return [head + first, *(" " * len(head) + line for line in more)]
