# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of a recovered PostgreSQL, made over the network as the owner of the data, several at a time."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import (
    COMPONENT,
    SETTINGS_THAT_MATTER,
    figure_checks,
    figures_query,
)

# Gives the rows of a query, each as a dict.
Rows = Callable[[str], list[dict[str, Any]]]
Work = Callable[[Rows], list[Check]]

STATE_QUERY = f"""
SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') AS read_only,
  split_part(current_setting('server_version'), ' ', 1) AS version,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
  current_setting('data_checksums') AS checksums,
  (SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database) AS checksum_failures,
  (SELECT datcollversion FROM pg_database WHERE datname = current_database()) AS collation_version,
  (SELECT pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = current_database())
    AS actual_collation_version,
  ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline,
  (SELECT count(*) FROM pg_index WHERE NOT indisvalid) AS invalid_indexes,
  (SELECT count(*) FROM pg_constraint WHERE NOT convalidated) AS unproven_constraints,
  {", ".join(f"current_setting('{name}')::int AS {name}" for name in SETTINGS_THAT_MATTER)}
"""

# Every foreign key of the tables, as a query that counts the rows whose parent is missing.
FOREIGN_KEYS_QUERY = """
SELECT conname AS name, conrelid::regclass::text AS "table", format(
  'SELECT count(*) AS found FROM %s AS child WHERE %s AND NOT EXISTS (SELECT FROM %s AS parent WHERE %s)',
  conrelid::regclass,
  (SELECT string_agg(format('child.%I IS NOT NULL', a.attname), ' AND ')
   FROM unnest(conkey) AS k(number) JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.number),
  confrelid::regclass,
  (SELECT string_agg(format('parent.%I = child.%I', p.attname, c.attname), ' AND ')
   FROM unnest(conkey, confkey) AS k(child, parent)
   JOIN pg_attribute c ON c.attrelid = conrelid AND c.attnum = k.child
   JOIN pg_attribute p ON p.attrelid = confrelid AND p.attnum = k.parent)) AS query
FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (%s::regclass[]) ORDER BY 2, 1
"""

# The B-tree indexes of the tables, the largest first, so that the last to end is a small one.
INDEXES_QUERY = """
SELECT i.indexrelid::regclass::text AS name, i.indexrelid::bigint AS oid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
WHERE a.amname = 'btree' AND i.indrelid = ANY (%s::regclass[]) ORDER BY c.relpages DESC
"""


def tables_array(tables: Sequence[str]) -> str:
    """The tables as an SQL array of text."""
    return "ARRAY[" + ", ".join("'" + table.replace("'", "''") + "'" for table in tables) + "]"


def state_checks(
    row: Mapping[str, Any], content: Mapping[str, Any], system_identifier: str, new_timeline: bool
) -> list[Check]:
    """Compare the server's state (STATE_QUERY) with what a recovery from this backup set must lead to."""
    major = str(content["version"]).split(".")[0]
    checks = [
        check("out of recovery", COMPONENT, False, row["standby"]),
        check("takes writes", COMPONENT, "off", row["read_only"]),
        check("major version", COMPONENT, major, str(row["version"]).split(".")[0]),
        check("system identifier", COMPONENT, system_identifier, row["system_identifier"]),
        check("data checksums", COMPONENT, "on" if content["cluster"]["checksums"] else "off", row["checksums"]),
        check("pages with a wrong checksum", COMPONENT, 0, row["checksum_failures"]),
        check("collation version", COMPONENT, content["collation_version"], row["collation_version"]),
        check("collation of the image", COMPONENT, row["collation_version"], row["actual_collation_version"]),
        check("invalid indexes", COMPONENT, 0, row["invalid_indexes"]),
        check("constraints not validated", COMPONENT, 0, row["unproven_constraints"]),
    ]
    low = [name for name in SETTINGS_THAT_MATTER if row[name] < int(content["settings"].get(name, 0))]
    checks.append(check("settings lower than when backed up", COMPONENT, [], low))
    if new_timeline:
        parent, timeline = int(content["timeline"]), row["timeline"]
        checks.append(check("timeline", COMPONENT, f"after {parent}", timeline, ok=timeline > parent))
    return checks


def plan(rows: Rows, content: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, Work]]:
    """What is to be checked, the longest first, each with a name for the error where it cannot be made.

    given: invariants, figures and amcheck, as the module postgresql_verify_info takes them.
    """
    figures = content["figures"]
    tables = [entry["table"] for entry in figures["tables"]]
    array = tables_array(tables)
    for one in given["invariants"]:
        yield one["name"], lambda ask, one=one: [_counted(one["name"], ask(one["query"]))]  # type: ignore[misc]
    for key in rows(FOREIGN_KEYS_QUERY.replace("%s::", f"{array}::")):
        name = f"{key['table']}: rows without their parent ({key['name']})"
        yield name, lambda ask, name=name, key=key: [_counted(name, ask(key["query"]))]  # type: ignore[misc]
    if given["figures"]:
        counts = figures_query(figures["tables"], figures["settled_before"])
        yield "figures", lambda ask: figure_checks(figures, ask(counts))
    if given["amcheck"]:
        for index in rows(INDEXES_QUERY.replace("%s::", f"{array}::")):
            yield f"index {index['name']}", lambda ask, index=index: _index(ask, index)  # type: ignore[misc]


def _counted(name: str, rows: list[dict[str, Any]]) -> Check:
    """A query that counts what must not be there."""
    found = [list(row.values()) for row in rows]
    return check(name, COMPONENT, [[0]], found, ok=found == [[0]]) if found != [[0]] else check(name, COMPONENT, 0, 0)


def _index(ask: Rows, index: Mapping[str, Any]) -> list[Check]:
    ask(f"SELECT bt_index_check({index['oid']}::oid::regclass)")
    return [check(f"index {index['name']} (amcheck)", COMPONENT, "sound", "sound")]


def make(connections: Sequence[Any], works: Sequence[tuple[str, Work]]) -> list[Check]:
    """Make all checks, as many at once as there are connections; one that the server answers with an error is not ok.

    connections: psycopg's, with rows as dicts and autocommit.
    """
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for connection in connections:
        free.put(connection)

    def one(item: tuple[str, Work]) -> list[Check]:
        name, work = item
        connection = free.get()
        try:
            return work(lambda query: list(connection.execute(query).fetchall()))
        except RecoveryError:
            raise
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            return [check(name, COMPONENT, "an answer", said[0], ok=False)]
        finally:
            free.put(connection)

    with ThreadPoolExecutor(max_workers=len(connections)) as pool:
        return [found for checks in pool.map(one, works) for found in checks]
