# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took data away from each datastore, side by side in order of time, with the target that is just before. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES

# What this collection did itself, by its journals.
OWN = "recovery"
HEADINGS = ("time", "component", "what", "size", "recovery_target_time")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z")


def whole_milliseconds(instant: str) -> str:
    """The last whole millisecond at or before an instant: recovery_target_time is rounded to these, up as well."""
    found = _INSTANT.fullmatch(instant)
    if not found:
        raise ValueError(f"{instant!r} is no instant in UTC")
    return f"{found[1]}.{(found[2] or '').ljust(3, '0')[:3]}Z"


def moments_of(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """By the results of the modules, by component: events in order of time, what was not searched, lines for people.

    A component that was not searched at all has no result; one whose search failed has its error.
    """
    events: list[dict[str, Any]] = []
    problems: list[str] = []
    notes: list[str] = []
    row_of = {"postgresql": _of_postgresql, "redis": _of_redis, "influxdb": _of_influxdb, OWN: _of_operation}
    for component in (*DATASTORES, OWN):
        result = found.get(component) or {}
        if "events" in result:
            events += [{"component": component, **row_of[component](one), "found": one} for one in result["events"]]
            notes += [f"{component}: {one}" for one in result.get("warnings_found") or ()]
            notes += [
                f"{component}: WAL is missing from {one['from']} to {one['to']}: {one['segment']} {one['wrong']}"
                for one in result.get("gaps") or ()
            ]
            notes += [] if result["searched"] else [f"{component}: nothing of that time was searched"]
        elif result.get("skipped"):
            notes.append(f"{component}: its log is not shipped, so there is nothing to search")
        else:
            problems.append(f"{component} was not searched: {result.get('msg') or 'its host gave no answer'}")
    events.sort(key=lambda one: one["from"])
    rows = [(one["time"], one["component"], one["what"], one["size"], one["target"] or "-") for one in events]
    lines = _aligned([HEADINGS, *rows]) if rows else ["nothing was found that took data away"]
    return {"events": events, "problems": problems, "notes": notes, "table": [*lines, *notes, *problems]}


def _of_postgresql(one: Mapping[str, Any]) -> dict[str, Any]:
    more = f" and {one['more_tables']} more" if one["more_tables"] else ""
    left = one["abandoned_timeline"]
    where = f" (on timeline {left}, which an earlier recovery left)" if left else ""
    return {
        "time": one["at"],
        "from": one["at"],
        "what": f"{one['kind']} {', '.join(one['tables'])}{more}, transaction {one['xid']}{where}",
        "size": "" if one["rows"] is None else f"{one['rows']} rows",
        "target": whole_milliseconds(one["before"]["value"]) if one["before"] else None,
    }


def _of_redis(one: Mapping[str, Any]) -> dict[str, Any]:
    words = [one["command"], *one["arguments"]]
    database = "" if one["database"] is None else f" in database {one['database']}"
    kinds = f": {', '.join(one['kinds'])}" if one["kinds"] else ""
    return {
        "time": one["at"],
        "from": one["at"],
        "what": f"{' '.join(words)}{database}{kinds}",
        "size": "" if one["keys"] is None else f"{one['keys']} keys",
        # A target is the beginning of its second.
        "target": whole_milliseconds(one["at"]),
    }


def _of_influxdb(one: Mapping[str, Any]) -> dict[str, Any]:
    sure = one["at"] is not None or one["values"] is not None or one["what"] != "points"
    whole, part = f"bucket {one['bucket']}", f"{one['what']} of bucket {one['bucket']}"
    between = (
        f"between sets {one['set_before']} and {one['set_after']}"
        if one["set_after"]
        else f"since set {one['set_before']}"
    )
    return {
        "time": one["at"] or f"{one['from']} to {one['to']}",
        "from": one["at"] or one["from"],
        "what": f"{'' if sure else 'perhaps '}{whole if one['what'] == 'bucket' else part} deleted, {between}",
        "size": "" if one["values"] is None else f"{one['values']} values",
        "target": whole_milliseconds(one["before"]),
    }


def _of_operation(one: Mapping[str, Any]) -> dict[str, Any]:
    ended = f"{one['outcome']} at {one['until']}" if one["until"] else "no end recorded"
    return {
        "time": one["at"],
        "from": one["at"],
        "what": f"{one['scenario'].replace('_', ' ')} {one['id']} by {one['by']}, {ended}",
        "size": "",
        # What it took away lies in quarantine, or not at all: no target leads back, rollback.yml may.
        "target": None,
    }


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns below each other."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
