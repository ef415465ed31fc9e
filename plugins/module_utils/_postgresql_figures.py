# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of the critical tables: what a backup writes down and a recovery must find again.

Rows older than settled_before never change, so their number and sum are exact even while the platform trades on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._psql import identifier, literal

COMPONENT = "postgresql"
SETTINGS_THAT_MATTER = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)

# The documentation of a module's `critical_tables` input stands with postgresql_backup.
CRITICAL_TABLES_ARGUMENT: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "table": {"type": "str", "required": True},
        "settled_column": {"type": "str"},
        "sum_column": {"type": "str"},
    },
}


def figures_query(tables: Sequence[Mapping[str, Any]], settled_before: str) -> str:
    """One query that gives a row {position, table, settled_rows, settled_sum, total_rows} for each critical table.

    tables: {table, settled_column or None, sum_column or None}; settled_before: ISO 8601.
    """
    return " UNION ALL ".join(_figures(i, one, settled_before) for i, one in enumerate(tables)) + " ORDER BY 1"


def _figures(position: int, entry: Mapping[str, Any], settled_before: str) -> str:
    settled, summed = entry.get("settled_column"), entry.get("sum_column")
    rows = the_sum = "NULL"
    if settled:
        settled_only = f"FILTER (WHERE {identifier(settled)} < {literal(settled_before)}::timestamptz)"
        rows = f"count(*) {settled_only}"
        if summed:
            the_sum = f"coalesce(sum({identifier(summed)}) {settled_only}, 0)::text"
    return (
        f'SELECT {position} AS position, {literal(entry["table"])} AS "table", {rows}::bigint AS settled_rows,'
        f" {the_sum}::text AS settled_sum, count(*)::bigint AS total_rows FROM {identifier(entry['table'])}"
    )


def figures_of(
    tables: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], settled_before: str
) -> dict[str, Any]:
    """The figures as they stand in a backup set: the tables with their columns and what figures_query found."""
    return {
        "settled_before": settled_before,
        "tables": [
            {
                "table": entry["table"],
                "settled_column": entry.get("settled_column"),
                "sum_column": entry.get("sum_column"),
                "settled_rows": row["settled_rows"],
                "settled_sum": row["settled_sum"],
                "total_rows": row["total_rows"],
            }
            for entry, row in zip(tables, rows)
        ],
    }


def figure_checks(expected: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Compare the figures of a backup set with what figures_query found now."""
    checks = []
    for entry, row in zip(expected["tables"], rows):
        table = entry["table"]
        if entry["settled_column"]:
            checks.append(check(f"{table}: settled rows", COMPONENT, entry["settled_rows"], row["settled_rows"]))
            if entry["sum_column"]:
                name = f"{table}: sum of {entry['sum_column']} over settled rows"
                checks.append(check(name, COMPONENT, entry["settled_sum"], row["settled_sum"]))
        total, found = entry["total_rows"], row["total_rows"]
        checks.append(check(f"{table}: rows", COMPONENT, f"at least {total}", found, ok=found >= total))
    return checks
