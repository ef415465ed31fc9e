# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took data away from each datastore, side by side in order of time, with the target that is just before. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES

# What this collection did itself, by its journals.
OWN = "recovery"
# Who took data away from PostgreSQL, by what the platform keeps itself.
AUDIT = "audit log"
# Of what one transaction did, so much is named below its row.
NAMED_DEEDS = 3
SOURCE_LENGTH = 60
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

    A component that was not searched at all has no result; one whose search failed has its error. What the audit log
    says of a transaction that the WAL names too stands with that one.
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
    audit = found.get(AUDIT) or {}
    events = _with_audit(events, audit.get("events") or ())
    said, wrong = _audit_said(audit)
    notes += said
    problems += wrong
    events.sort(key=lambda one: one["from"])
    rows = [row for one in events for row in _rows(one)]
    lines = _aligned([HEADINGS, *rows]) if rows else ["nothing was found that took data away"]
    return {"events": events, "problems": problems, "notes": notes, "table": [*lines, *notes, *problems]}


def _audit_said(result: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Notes and problems of the audit log. That it went with its server, or that there is none, is no problem."""
    warnings = list(result.get("warnings_found") or ())
    if result.get("searched"):
        return [f"{AUDIT}: {one}" for one in warnings], []
    if "events" in result or result.get("unreachable"):
        reason = "; ".join(warnings) or "the host of PostgreSQL is unreachable"
        return [f"the audit log was not searched: {reason}; a sandbox of a point after the mistake holds it"], []
    if result.get("skipped"):
        return ["the audit log was not searched: postgresql_audit_query is empty, so who did it is not known"], []
    return [], [f"the audit log was not searched: {result.get('msg') or 'its host gave no answer'}"]


def _with_audit(events: Sequence[dict[str, Any]], audit: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events, those of PostgreSQL with who it was, and what the audit log alone tells.

    A transaction's id is given again after a recovery to a point in time, and after 2^32 others: so it is the same one
    only in the life of the server that was asked, and where the deed comes before its commit.
    """
    joined: list[dict[str, Any]] = []
    told: set[int] = set()
    for event in events:
        deeds: list[Mapping[str, Any]] = []
        if event["component"] == "postgresql" and event["found"]["abandoned_timeline"] is None:
            same = [n for n, one in enumerate(audit) if one["xid"] == event["found"]["xid"]]
            same = [n for n in same if audit[n]["at"] <= event["found"]["at"]]
            told.update(same)
            deeds = [audit[n] for n in same]
        joined.append({**event, "by": _distinct(map(_whom, deeds)), "audit": deeds} if deeds else event)
    alone = [one for n, one in enumerate(audit) if n not in told]
    return [*joined, *({"component": AUDIT, **_of_audit(one), "found": one} for one in alone)]


def _rows(event: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """An event's row, and one below it that says who it was, where the audit log tells that: one line is too long."""
    if "by" not in event:
        return [(event["time"], event["component"], event["what"], event["size"], event["target"] or "-")]
    what, which = event["what"], ""
    if event["component"] == AUDIT:
        what = f"{_deed(event['found'])}{_transaction(event['found'])}"
    else:
        deeds = _distinct(map(_deed, event["audit"]))
        more = f" and {len(deeds) - NAMED_DEEDS} more" if len(deeds) > NAMED_DEEDS else ""
        # A single deed is what the row itself says.
        which = f": {', '.join(deeds[:NAMED_DEEDS])}{more}" if len(deeds) > 1 else ""
    return [
        (event["time"], event["component"], what, event["size"], event["target"] or "-"),
        ("", "", f"by {'; '.join(event['by'])}{which}", "", ""),
    ]


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


def _of_audit(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time": one["at"],
        "from": one["at"],
        "what": f"{_deed(one)} by {_whom(one)}{_transaction(one)}",
        "size": "" if one["rows"] is None else f"{one['rows']} rows",
        # Where replay can end is known of what the WAL tells, not of what somebody wrote down.
        "target": None,
        "by": [_whom(one)],
    }


def _transaction(one: Mapping[str, Any]) -> str:
    return "" if one["xid"] is None else f", transaction {one['xid']}"


def _deed(one: Mapping[str, Any]) -> str:
    return f"{one['action']} {one['object']}".rstrip()


def _whom(one: Mapping[str, Any]) -> str:
    source = one["source"] or ""
    shown = source if len(source) <= SOURCE_LENGTH else f"{source[: SOURCE_LENGTH - 3]}..."
    return f"{one['actor']} from {shown}" if shown else str(one["actor"])


def _distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, in their order."""
    return list(dict.fromkeys(texts))


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
    """Rows as lines with columns below each other; what is last on its line needs no room in its column."""
    widths = [
        max((len(row[index]) for row in rows if any(row[index + 1 :])), default=0) for index in range(len(rows[0]))
    ]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
