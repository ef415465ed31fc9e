# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery window as a table for the terminal: what each datastore reaches, what they share, the target. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import WIDTH, size
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import DATASTORES, named
from ansible_collections.platform3.recovery.plugins.module_utils._times import short, span

_ROW = "  {:<13} {:<22} {:<22} {}"
_INDENT = 16


def table(found: Mapping[str, Any], environment: str) -> list[str]:
    """The lines of the terminal, WIDTH characters at most where they are no names. found: recovery_window_info's."""
    lines = [f"== RECOVERY WINDOW of {environment}, {short(found['at'])} ".ljust(WIDTH, "=")]
    lines.append(_ROW.format("datastore", "earliest", "latest", "reached by").rstrip())
    for name in DATASTORES:
        lines += _stretch_lines(name, found["datastores"][name], _by(name, found["datastores"][name]["window"]))
    lines += _stretch_lines("all together", found["shared"], "")
    for name in DATASTORES:
        lines += _more(name, found["datastores"][name]["window"])
    for one in found["points"]:
        far = "" if one["reachable"] else ", OUT OF REACH"
        lines += _wrapped("named", f"{one['name']}: {short(one['at'])}, LSN {one['lsn']}, by {one['by']}{far}")
    for one in found["problems"]:
        lines += _wrapped("PROBLEM", one)
    return [*lines, *_target_lines(found["target"]), "=" * WIDTH]


def _stretch_lines(name: str, of: Mapping[str, Any], by: str) -> list[str]:
    stretches = of["stretches"]
    if not stretches:
        return [_ROW.format(name, "NONE", "NONE", by).rstrip()]
    lines = [_ROW.format(name, short(stretches[0]["from"]), short(stretches[-1]["to"]), by).rstrip()]
    for one in of["gaps"]:
        lines += _wrapped("", f"OUT OF REACH from {short(one['from'])} to {short(one['to'])}")
    return lines


def _by(name: str, window: Mapping[str, Any] | None) -> str:
    if window is None:
        # Of these more is read than the sets: a problem says what could not be.
        return "no usable set holds it" if name == "influxdb" else "see PROBLEM"
    if name == "postgresql":
        return f"WAL, {len(window['gaps'])} gap{'s' * (len(window['gaps']) != 1)}" if window["gaps"] else "WAL"
    if name == "redis":
        count, kept = len(window["logs"]), window["snapshots"]["points"]
        logs = f"{count} generation{'s' * (count != 1)} of its log"
        return logs if count else f"{kept} snapshot{'s' * (kept != 1)}, no log"
    return f"{window['points']} capture{'s' * (window['points'] != 1)}"


def _more(name: str, window: Mapping[str, Any] | None) -> list[str]:
    lines: list[str] = []
    if name == "postgresql" and window:
        for one in window["gaps"]:
            lines += _wrapped("WAL GAP", f"{one['segment']} {one['wrong']}")
        known = [f"{one['timeline']} until LSN {one['to_lsn']}" for one in window["timelines"] if one["to_lsn"]]
        known += [f"{one['timeline']} now" for one in window["timelines"] if not one["to_lsn"]]
        lines += _wrapped("timelines", ", ".join(known))
        for one in window["abandoned"]:
            until = f" until {short(one['until']['at'])}" if one["until"] else ""
            lines += _wrapped("abandoned", f"timeline {one['timeline']} from LSN {one['from_lsn']} on{until}")
    if name == "influxdb" and window:
        for one in window["deletes"]:
            when = f"at {short(one['at'])}" if one["at"] else f"from {short(one['from'])} to {short(one['to'])}"
            lines += _wrapped("deleted", f"{one['what']} in {one['bucket']}, {when}")
    return lines


def _target_lines(target: Mapping[str, Any] | None) -> list[str]:
    if target is None:
        return []
    of = named(target["point_name"], target["wal_target"])
    lines = ["", f"== TARGET {target['time']}{f' ({of})' if of else ''} ".ljust(WIDTH, "=")]
    for name in DATASTORES:
        answer = target["datastores"][name]
        lines += _wrapped(name, _takes(name, answer) if answer["reachable"] else _refused(answer["error"]))
    lines += _wrapped("together", target["sentence"])
    if not target["reachable"]:
        before, after = target["nearest"]["before"] or "nothing", target["nearest"]["after"] or "nothing"
        lines += _wrapped("nearest", f"all datastores share {before} before it, and {after} after it")
    return lines


def _refused(error: Mapping[str, Any]) -> str:
    return f"CANNOT [{error['code']}]: {error['found']}"


def _takes(name: str, answer: Mapping[str, Any]) -> str:
    told = f"{answer['reached_at']}, {answer['skew_seconds']:.3f} s before it, from set {answer['backup_set'] or '-'}"
    if name == "postgresql":
        seconds = answer["seconds"]
        timed = "how fast is not measured yet"
        if seconds["replay"] is not None:
            timed = f"about {span(seconds['replay'])}, with all else about {span(seconds['whole'])}"
        return (
            f"{told}: base backup {answer['base_backup']}, {size(answer['replay_bytes'])} of WAL in"
            f" {answer['segments']} segments up to LSN {answer['stop_lsn']} on timeline {answer['timeline']}; {timed}"
        )
    if name == "redis":
        log = answer["log"]
        return f"{told}: {'log ' + log['life'] + ', generation ' + str(log['generation']) if log else answer['reason']}"
    chain = answer["chain"]
    read = f"{chain[0]} and {len(chain) - 1} increments after it" if len(chain) > 1 else "it alone"
    lost = "".join(f"; {one['what']} of {one['bucket']} lost" for one in answer["lost"])
    return f"{told}: {read}, {size(answer['bytes'])}{lost}"


def _wrapped(name: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, WIDTH - _INDENT, break_long_words=False) or ["-"]
    return [f"  {name if number == 0 else '':<13} {line}" for number, line in enumerate(wrapped)]
