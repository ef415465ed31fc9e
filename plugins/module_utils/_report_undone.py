# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The loss statement in the report: what a recovery to a point in time undid, by kind. Pure.

It never leaves open whether nothing was undone or nothing is known.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import History, latest_steps

NOT_MADE = "It was not made: no step of this recovery listed what was undone."


def undone_of(history: History, scenario: object) -> list[dict[str, Any]] | None:
    """The listings of the newest run of each step; None where the recovery was to no point in time."""
    found = []
    for step in latest_steps(history):
        told = step.result.get("undone")
        if step.outcome == "ok" and isinstance(told, list):
            found += [_listing(step.component, one) for one in told if isinstance(one, Mapping)]
    return found if found or scenario == "point_in_time" else None


def _listing(component: str, told: Mapping[str, Any]) -> dict[str, Any]:
    count, file, first = told.get("count"), told.get("file"), told.get("first")
    known = isinstance(count, int)
    return {
        "component": component,
        "kind": str(told.get("kind")),
        "count": count if known else None,
        "sum": told.get("sum") if known else None,
        "first": [row for row in first if isinstance(row, Mapping)] if known and isinstance(first, list) else [],
        "file": dict(file) if known and isinstance(file, Mapping) else None,
        "says": str(told.get("says") or ("" if known else "the step told no number")),
    }


def summary(listings: Sequence[Mapping[str, Any]]) -> str:
    """`312 orders, 4 deposits; sessions not known`."""
    known = [f"{one['count']} {one['kind']}" for one in listings if one["count"] is not None]
    unknown = [str(one["kind"]) for one in listings if one["count"] is None]
    parts = [", ".join(known)] if known else []
    parts += [f"{', '.join(unknown)} not known"] if unknown else []
    return "; ".join(parts) or "not listed"


def card_value(listings: Sequence[Mapping[str, Any]], shown_path: str) -> str:
    """The line of the card: what was undone, and where it is listed. shown_path: of the report; "" where unknown."""
    files = any(one["file"] for one in listings)
    where = posixpath.join(posixpath.dirname(shown_path), "undone_*.csv")
    return summary(listings) + (f": {where}" if files and shown_path else "")


def amount_rows(listings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Kind, count, sum and file of each; the reason in the last where it is not known."""
    rows = []
    for one in listings:
        told = one["file"]
        where = f"{told['name']}, sha256 {told['sha256']}" if told else str(one["says"])
        count = "not known" if one["count"] is None else str(one["count"])
        rows.append((str(one["kind"]), count, str(one["sum"] or "-"), where))
    return rows


def first_rows_note(one: Mapping[str, Any]) -> str:
    """How many of a kind's rows are shown."""
    shown = len(one["first"])
    return f"The first {shown} of {one['count']}." if one["count"] > shown else ""


def files_of(listings: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The files of the statement, each with name, bytes and sha256."""
    return [dict(one["file"]) for one in listings or [] if one["file"]]
