# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exposure: what would be lost if the platform were lost at this moment, by what the stores really hold. Pure.

Twice: with the volumes gone, what the backup store brings back; with the whole machine gone, what a copy elsewhere
does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._objectives import HELD_BY, RPO_NAMES, rpo_verdict
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, short, span

LOSSES = ("volumes", "machine")
# A heartbeat comes each second; one that is this late is a fault of its own.
HEARTBEAT_LATE_SECONDS = 15.0
WIDTH = 100
_ROW = "  {:<21} {:>10} {:>10}  {:<9} {}"

Points = Mapping[str, "str | None"]
Objectives = Mapping[str, Any]


def exposures(objectives: Objectives, points: Mapping[str, Points], now: float) -> list[dict[str, Any]]:
    """One record for each loss and type of data: loss, data, component, seconds, target_seconds, verdict, point.

    points: loss -> component -> the newest instant that could be brought back (ISO 8601), None where nothing could;
    seconds is None then, and the verdict `missed`. Without a target the verdict is `not_measured`.
    """
    targets = objectives.get("rpo") or {}
    found = []
    for loss in LOSSES:
        for name in RPO_NAMES:
            target = targets.get(name) or {}
            component = str(target.get("component") or HELD_BY[name])
            point = points[loss].get(component)
            seconds = None if point is None else round(max(0.0, now - parse_iso(point)), 3)
            wanted = target.get("target_seconds")
            verdict = rpo_verdict(seconds, wanted)
            if seconds is None and wanted is not None:
                verdict = "missed"
            found.append(
                {
                    "loss": loss,
                    "data": name,
                    "component": component,
                    "seconds": seconds,
                    "target_seconds": wanted,
                    "verdict": verdict,
                    "point": point,
                }
            )
    return found


def newest(*points: str | None) -> str | None:
    """The latest of the instants (ISO 8601), None where there is none."""
    known = [one for one in points if one]
    return max(known, key=parse_iso) if known else None


def configuration_looked_at(journals: Iterable[str]) -> str | None:
    """When a backup last found the configuration as a set holds it, or wrote it: by the journals of backups."""
    looked: list[str] = []
    for text in journals:
        entries = []
        for line in text.splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        ended_well = any(one.get("event") == "run_finished" and one.get("outcome") == "success" for one in entries)
        looked += [
            str(one["at"])
            for one in entries
            if ended_well and one.get("event") == "step_finished" and one.get("component") == "configuration"
        ]
    return newest(*looked)


def heartbeat_problem(entries: Sequence[Mapping[str, Any]], now: float) -> str | None:
    """What is wrong with the heartbeats; None where each datastore took one lately."""
    if not entries:
        return "no heartbeat was ever logged: after a loss its instant, and so the data lost, can only be guessed"
    last = entries[-1]
    late = now - parse_iso(str(last["at"]))
    if late > HEARTBEAT_LATE_SECONDS:
        return f"the last heartbeat was logged {span(late)} ago: is the heartbeat service running?"
    recent = [one for one in entries if now - parse_iso(str(one["at"])) <= HEARTBEAT_LATE_SECONDS]
    silent = [name for name in ("postgresql", "redis", "influxdb") if not any(one.get(name) for one in recent)]
    return f"no heartbeat is taken by {' and '.join(silent)}" if silent else None


def problems(records: Sequence[Mapping[str, Any]], losses: Iterable[str]) -> list[str]:
    """A sentence for each type of data whose exposure is past its target, for the losses that count."""
    return [
        f"{one['data']}, {one['loss']} gone: "
        + ("nothing could be brought back" if one["seconds"] is None else f"{span(one['seconds'])} would be lost")
        + f", the target is {span(one['target_seconds'])}"
        for one in records
        if one["loss"] in losses and one["verdict"] == "missed"
    ]


def table(records: Sequence[Mapping[str, Any]], found: Sequence[str], environment: str, at: str) -> list[str]:
    """The lines of the terminal."""
    lines = [f"== EXPOSURE of {environment}, {short(at)} ".ljust(WIDTH, "=")]
    for loss in LOSSES:
        lines.append(_ROW.format(f"if the {loss} were gone", "loss", "target", "", "back to").rstrip())
        for one in (record for record in records if record["loss"] == loss):
            lost = "ALL" if one["seconds"] is None else span(one["seconds"])
            verdict = "TOO MUCH" if one["verdict"] == "missed" else one["verdict"]
            target = span(one["target_seconds"])
            lines.append(_ROW.format(one["data"], lost, target, verdict, short(one["point"])).rstrip())
    lines += [f"  PROBLEM  {one}" for one in found]
    lines.append("=" * WIDTH)
    return lines


def textfile(records: Sequence[Mapping[str, Any]], found: Sequence[str], environment: str, now: float) -> str:
    """The same for the textfile collector of Prometheus' node exporter; nothing to bring back is +Inf."""
    label = re.sub(r'(["\\])', r"\\\1", environment)
    lines = [
        "# HELP platform3_exposure_seconds Data that would be lost now, in seconds.",
        "# TYPE platform3_exposure_seconds gauge",
    ]
    targets = []
    for one in records:
        labels = f'environment="{label}",data="{one["data"]}",loss="{one["loss"]}"'
        lines.append(f"platform3_exposure_seconds{{{labels}}} {'+Inf' if one['seconds'] is None else one['seconds']}")
        if one["loss"] == LOSSES[0] and one["target_seconds"] is not None:
            target = f'environment="{label}",data="{one["data"]}"'
            targets.append(f"platform3_exposure_target_seconds{{{target}}} {one['target_seconds']}")
    lines += [
        "# HELP platform3_exposure_target_seconds Data that may be lost at most, in seconds.",
        "# TYPE platform3_exposure_target_seconds gauge",
        *targets,
        "# HELP platform3_exposure_problems What is past its target or not watched.",
        "# TYPE platform3_exposure_problems gauge",
        f'platform3_exposure_problems{{environment="{label}"}} {len(found)}',
        "# HELP platform3_exposure_measured_timestamp_seconds When this was measured.",
        "# TYPE platform3_exposure_measured_timestamp_seconds gauge",
        f'platform3_exposure_measured_timestamp_seconds{{environment="{label}"}} {now:.3f}',
    ]
    return "\n".join(lines) + "\n"
