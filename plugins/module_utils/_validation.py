# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pure judgements of a platform that was used like a customer uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import TRANSIENT

COMPONENT = "app_services"


def amount(value: Any) -> Decimal | None:
    """A figure of money or lots as an exact number of cents, however the API writes it; None where it is none."""
    try:
        exact = Decimal(str(value)).quantize(Decimal("0.01"))
    except (InvalidOperation, ValueError):
        return None
    return exact if exact.is_finite() else None


def shown(value: Decimal | None) -> str:
    """A figure for a check."""
    return "none" if value is None else str(value)


def age_seconds(at: Any, now: datetime) -> float | None:
    """Seconds since an ISO 8601 time with an offset; None where it is no such time (a naive one is none)."""
    try:
        then = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    except ValueError:
        return None
    return None if then.tzinfo is None else (now - then.astimezone(timezone.utc)).total_seconds()


def judge_freshness(symbol: str, at: Any, now: datetime, maximum_seconds: float) -> Check:
    """The newest price of a symbol is no older than maximum_seconds."""
    age = age_seconds(at, now)
    found = "no price" if age is None else f"{age:.1f} s old"
    return check(
        f"market data of {symbol}",
        COMPONENT,
        f"at most {maximum_seconds:g} s old",
        found,
        ok=age is not None and age <= maximum_seconds,
    )


def judge_stream(ticks: Sequence[Any]) -> Check:
    """A live stream moves: two ticks that differ."""
    different = {json.dumps(tick, sort_keys=True) for tick in ticks}
    return check(
        "live stream of prices", COMPONENT, "at least 2 different ticks", len(different), ok=len(different) >= 2
    )


def judge_account(account: Any) -> list[Check]:
    """Free margin is equity less used margin, in an account as the API gives it."""
    given = account if isinstance(account, Mapping) else {}
    equity, used, free = (amount(given.get(name)) for name in ("equity", "used_margin", "free_margin"))
    expected = None if equity is None or used is None else equity - used
    return [
        check(
            "free margin of the recovery's account",
            COMPONENT,
            shown(expected),
            shown(free),
            ok=free is not None and free == expected,
        )
    ]


def position_of(positions: Any, symbol: str) -> Decimal:
    """Lots held of a symbol, by the API's list of positions; nothing held is 0."""
    listed = positions if isinstance(positions, Sequence) and not isinstance(positions, str) else []
    held = [one for one in listed if isinstance(one, Mapping) and one.get("symbol") == symbol]
    return sum((amount(one.get("quantity")) or Decimal(0) for one in held), Decimal("0.00"))


def judge_row(name: str, row: Sequence[Any] | None, compare: str) -> Check:
    """The one row (expected, found) of a consistency query; compare is `equal` or `at_least`."""
    if row is None or len(row) != 2 or row[0] is None or row[1] is None:
        return check(name, COMPONENT, "a row of two figures", str(row), ok=False)
    expected, found = row
    if compare == "at_least":
        return check(name, COMPONENT, f"at least {expected}", str(found), ok=found >= expected)
    return check(name, COMPONENT, str(expected), str(found), ok=found == expected)


def judge_times(times: Sequence[Mapping[str, Any]], maximum_milliseconds: float) -> list[Check]:
    """Each named call's best answered time against the maximum; all of them are recorded elsewhere.

    The best, since the first call of a service that has only just come up says nothing about the later ones.
    """
    best: dict[str, float] = {}
    for one in times:
        if one["status"] not in TRANSIENT:
            best[one["call"]] = min(best.get(one["call"], float("inf")), float(one["milliseconds"]))
    return [
        check(
            f"response time: {name}",
            COMPONENT,
            f"at most {maximum_milliseconds:g} ms",
            f"{milliseconds:g} ms",
            ok=milliseconds <= maximum_milliseconds,
        )
        for name, milliseconds in best.items()
    ]


def nodes_of(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A plan's nodes, itself first (EXPLAIN with FORMAT JSON)."""
    return [plan] + [node for part in plan.get("Plans", []) for node in nodes_of(part)]


def summarise_plan(explained: Any) -> dict[str, Any]:
    """Times, rows and indexes of an EXPLAIN (ANALYZE, FORMAT JSON), as a list of one plan or its text."""
    whole = (json.loads(explained) if isinstance(explained, str) else explained)[0]
    nodes = nodes_of(whole["Plan"])
    return {
        "execution_milliseconds": whole["Execution Time"],
        "planning_milliseconds": whole["Planning Time"],
        "rows": whole["Plan"]["Actual Rows"],
        "nodes": [node["Node Type"] for node in nodes],
        "indexes": sorted({node["Index Name"] for node in nodes if "Index Name" in node}),
    }


def judge_plan(summary: Mapping[str, Any]) -> Check:
    """The last hour's orders are found by an index, not by reading the table."""
    found = ", ".join(summary["indexes"]) or "none: " + ", ".join(summary["nodes"])
    return check("orders of the last hour are found by", COMPONENT, "an index", found, ok=bool(summary["indexes"]))


def judge_dashboard(status: int, page: Any, title: str) -> Check:
    """The dashboard serves its own page."""
    match = re.search(r"<title>(.*?)</title>", page if isinstance(page, str) else "", re.IGNORECASE | re.DOTALL)
    found = match.group(1).strip() if match and status == 200 else f"status {status}, no such page"
    return check("dashboard", COMPONENT, f"a page titled {title}", found, ok=title in found and status == 200)


def parse_stats(text: str) -> list[dict[str, str]]:
    """`docker stats --format '{{json .}}'`: name, CPU and memory of each container."""
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return sorted(
        ({"name": row["Name"], "cpu": row["CPUPerc"], "memory": row["MemUsage"].split(" / ")[0]} for row in rows),
        key=lambda row: row["name"],
    )


def probe_warnings(probes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is to be said of services that should have gone on serving; nothing of those that always answered well."""
    warnings = []
    for name, one in probes.items():
        if one["asked"] == 0:
            warnings.append(f"{name} was left alone, and nobody knows whether it was well: {one['last']}")
        elif one["well"] < one["asked"]:
            warnings.append(
                f"{name} was left alone and was not well in {one['asked'] - one['well']} of {one['asked']} probes, for "
                f"up to {one['longest_seconds']:.1f} s"
            )
    return warnings
