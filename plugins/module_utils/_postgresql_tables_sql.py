# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The statements that compare, exchange, merge and put back the rows of chosen tables. Pure.

Rows are exchanged and not tables: foreign keys, views, rights and publications of others hold on to the table itself.
Two rows are the same by their primary key, else by all that they hold, counted where several hold the same. A row has
changed where its text differs: every type has one, not every type can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables import (
    LISTED,
    MERGE,
    QUARANTINE,
    SCRATCH,
    SWAP,
    Done,
    Name,
    Table,
    quoted,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import literal


@dataclass(frozen=True)
class Pair:
    """A live table and what stands beside it: number names its scratch table and its list of differences."""

    number: int
    live: Table

    @property
    def staged(self) -> str:
        """The source's rows, in the live database."""
        return quoted(SCRATCH, f"t{self.number}")

    @property
    def differences(self) -> str:
        """Where rows differ: live_at and source_at, null where there is none on that side."""
        return f"pg_temp.platform3_differences_{self.number}"


def columns(names: Iterable[str], alias: str = "") -> str:
    """Columns, of an alias where one is given."""
    return ", ".join(f"{alias}.{quoted(name)}" if alias else quoted(name) for name in names)


def _row(table: Table) -> str:
    return f"ROW({columns(table.written)})::text"


def _side(table: Table, where: str, condition: str = "true") -> str:
    number = "" if table.key else f", row_number() OVER (PARTITION BY {_row(table)}) AS platform3_number"
    return f"(SELECT *, ctid AS platform3_at, {_row(table)} AS platform3_row{number} FROM {where} WHERE {condition})"


def _same(table: Table, left: str, right: str) -> str:
    if table.key:
        return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in table.key)
    pair = ("platform3_row", "platform3_number")
    return " AND ".join(f"{left}.{name} = {right}.{name}" for name in pair)


def key_object(names: Iterable[str], alias: str) -> str:
    """Some columns of a row as one JSON object, to name the row by."""
    pairs = ", ".join(f"{literal(name)}, {alias}.{quoted(name)}" for name in names)
    return f"jsonb_build_object({pairs})"


def named_by(table: Table) -> list[str]:
    """The columns that a row is named by: its key, else all of them."""
    return list(table.key) or list(table.columns)


def counted(rows: str) -> str:
    """Count rows (a query with one column, key) and list the first of them."""
    return (
        "SELECT count(*) AS found, coalesce(jsonb_agg(key) FILTER (WHERE place <= "
        f"{LISTED}), '[]') AS keys FROM (SELECT key, row_number() OVER () AS place FROM ({rows}) AS r) AS numbered"
    )


# --- beside the live tables ---


def stage_sql(pair: Pair) -> str:
    """Make the table for the source's rows: as the live one, without its rules; unlogged, since it does not last."""
    names = columns(pair.live.columns)
    return f"CREATE UNLOGGED TABLE {pair.staged} AS SELECT {names} FROM {pair.live.name.sql()} WITH NO DATA;"


def copy_out_sql(table: Table) -> str:
    """The rows of a table of the source, in the order of the live table's columns."""
    return f"COPY (SELECT {columns(table.columns)} FROM {table.name.sql()}) TO STDOUT"


def copy_in_sql(pair: Pair) -> str:
    """Where they go."""
    return f"COPY {pair.staged} ({columns(pair.live.columns)}) FROM STDIN"


def differences_sql(pair: Pair) -> str:
    """List where live and source differ, anew."""
    live, staged = _side(pair.live, pair.live.name.sql()), _side(pair.live, pair.staged)
    return (
        f"DROP TABLE IF EXISTS {pair.differences};\n"
        f"CREATE TEMP TABLE {pair.differences.partition('.')[2]} AS"
        f" SELECT l.platform3_at AS live_at, s.platform3_at AS source_at FROM {live} AS l FULL JOIN {staged} AS s"
        f" ON {_same(pair.live, 'l', 's')} WHERE l.platform3_row IS DISTINCT FROM s.platform3_row;"
    )


def counts_query(pair: Pair) -> str:
    """How many rows the source has that live has not (added), the other way round (removed), and that changed."""
    return (
        "SELECT count(*) FILTER (WHERE live_at IS NULL) AS added, count(*) FILTER (WHERE source_at IS NULL) AS removed,"
        f" count(*) FILTER (WHERE live_at IS NOT NULL AND source_at IS NOT NULL) AS changed FROM {pair.differences}"
    )


def changed_query(pair: Pair) -> str:
    """The keys of rows that both sides have and that differ."""
    return counted(
        f"SELECT {key_object(named_by(pair.live), 'l')} AS key FROM {pair.live.name.sql()} AS l"
        f" JOIN {pair.differences} AS d ON l.ctid = d.live_at WHERE d.source_at IS NOT NULL"
    )


# --- foreign keys ---


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of a chosen table, or to one. named: the columns that a row of the child is named by."""

    name: str
    child: Name
    parent: Name
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    is_full: bool
    named: tuple[str, ...]


def foreign_keys_query(names: Sequence[Name]) -> str:
    """The foreign keys of these tables and to them, for foreign_key_of."""
    wanted = ", ".join(f"{literal(one.sql())}::regclass" for one in names)
    return f"""
SELECT k.conname AS name, cn.nspname AS child_schema, c.relname AS child, pn.nspname AS parent_schema,
  p.relname AS parent, k.confmatchtype = 'f' AS is_full,
  (SELECT jsonb_agg(a.attname ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS child_columns,
  (SELECT jsonb_agg(a.attname ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number) AS parent_columns,
  (SELECT jsonb_agg(a.attname ORDER BY u.place) FROM pg_index i
   CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS u(number, place)
   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
   WHERE i.indrelid = k.conrelid AND i.indisprimary) AS key
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
  AND (k.conrelid IN ({wanted}) OR k.confrelid IN ({wanted})) ORDER BY c.relname, k.conname
"""


def foreign_key_of(row: Mapping[str, Any]) -> ForeignKey:
    """A row of foreign_keys_query."""
    own = tuple(row["child_columns"])
    named = tuple(dict.fromkeys([*(row["key"] or ()), *own]))
    return ForeignKey(
        row["name"],
        Name(row["child_schema"], row["child"]),
        Name(row["parent_schema"], row["parent"]),
        own,
        tuple(row["parent_columns"]),
        bool(row["is_full"]),
        named,
    )


def dangling_query(key: ForeignKey, child: str, parent: str) -> str:
    """Rows of child (what stands in FROM) whose parent is not in parent."""
    own = [f"c.{quoted(name)}" for name in key.child_columns]
    there = " OR ".join(f"{one} IS NOT NULL" for one in own) if key.is_full else ""
    there = f"({there})" if there else " AND ".join(f"{one} IS NOT NULL" for one in own)
    same = " AND ".join(f"p.{quoted(name)} = {one}" for name, one in zip(key.parent_columns, own))
    return counted(
        f"SELECT {key_object(key.named, 'c')} AS key FROM {child} AS c WHERE {there}"
        f" AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {same})"
    )


def _added(pair: Pair) -> str:
    return f"SELECT s.* FROM {pair.staged} AS s JOIN {pair.differences} AS d ON s.ctid = d.source_at" + (
        " WHERE d.live_at IS NULL"
    )


def foreseen_query(key: ForeignKey, pairs: Mapping[Name, Pair], mode: str) -> str | None:
    """What would dangle of a foreign key, by the source's rows beside the live ones; None where nothing can.

    Where rows are only added, those that stay keep their parents.
    """
    child, parent = pairs.get(key.child), pairs.get(key.parent)
    if mode == SWAP:
        children = child.staged if child else key.child.sql()
        parents = parent.staged if parent else key.parent.sql()
        return dangling_query(key, children, parents)
    if child is None:
        return None
    names = columns(key.parent_columns)
    parents = key.parent.sql()
    if parent:
        parents = f"(SELECT {names} FROM {parents} UNION ALL SELECT {names} FROM ({_added(parent)}) AS a)"
    return dangling_query(key, f"({_added(child)})", parents)


def found_query(key: ForeignKey) -> str:
    """What dangles of a foreign key now."""
    return dangling_query(key, key.child.sql(), key.parent.sql())


# --- the one transaction ---


def neighbours(names: Iterable[Name], keys: Iterable[ForeignKey]) -> list[Name]:
    """The tables that foreign keys tie to these, which must stand still too."""
    return sorted({one for key in keys for one in (key.child, key.parent)} - set(names))


def begin_sql(names: Sequence[Name], others: Sequence[Name], lock_seconds: int, statement_seconds: int) -> str:
    """Begin, and lock: nobody writes to the tables or to their neighbours until the end; everybody may read.

    Triggers do not fire in it: no child is deleted by a cascade and no row is stamped anew. What foreign keys demand
    is looked for instead; all other constraints hold as ever.
    """
    lines = [
        "BEGIN;",
        f"SET LOCAL lock_timeout = '{lock_seconds}s';",
        f"SET LOCAL statement_timeout = '{statement_seconds}s';",
        "SET LOCAL session_replication_role = replica;",
        f"LOCK TABLE {', '.join(one.sql() for one in sorted(names))} IN SHARE ROW EXCLUSIVE MODE;",
    ]
    if others:
        lines.append(f"LOCK TABLE {', '.join(one.sql() for one in others)} IN SHARE MODE;")
    return "\n".join(lines)


REGISTRY = quoted(QUARANTINE, "tables")
QUARANTINE_SQL = f"""
CREATE SCHEMA IF NOT EXISTS {QUARANTINE};
CREATE TABLE IF NOT EXISTS {REGISTRY} (recovery_id text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL,
  kept_as text NOT NULL, mode text NOT NULL, state text NOT NULL, source text NOT NULL, added bigint NOT NULL,
  removed bigint NOT NULL, changed bigint NOT NULL, restored_at timestamptz NOT NULL DEFAULT now(),
  put_back_at timestamptz, PRIMARY KEY (recovery_id, "schema", "table"));
"""


def done_query(recovery_id: str) -> str:
    """What the quarantine says of a recovery."""
    return (
        'SELECT "schema", "table", kept_as, mode, state, added, removed, changed'
        f' FROM {REGISTRY} WHERE recovery_id = {literal(recovery_id)} ORDER BY "schema", "table"'
    )


def record_sql(recovery_id: str, name: Name, kept_as: str, mode: str, source: str, counts: Mapping[str, int]) -> str:
    """Put on record, in the same transaction, what was done."""
    texts = (recovery_id, name.schema, name.table, kept_as, mode, "restored", source)
    figures = ", ".join(str(int(counts[one])) for one in ("added", "removed", "changed"))
    return (
        f'INSERT INTO {REGISTRY} (recovery_id, "schema", "table", kept_as, mode, state, source,'
        " added, removed, changed)"
        f" VALUES ({', '.join(map(literal, texts))}, {figures});"
    )


def exchange_sql(pair: Pair, kept_as: str, mode: str) -> str:
    """Bring the source's rows in, and keep what was replaced (side 'was') and what took its place (side 'is').

    What has changed is removed and added anew, so that values that moved from one row to another never collide.
    """
    table, kept = pair.live, quoted(QUARANTINE, kept_as)
    every, written, where = columns(table.columns), columns(table.written), pair.live.name.sql()
    only = "" if mode == SWAP else " AND d.live_at IS NULL"
    new = f"FROM {pair.staged} AS s JOIN {pair.differences} AS d ON s.ctid = d.source_at{only}"
    old = f"FROM {where} AS l JOIN {pair.differences} AS d ON l.ctid = d.live_at"
    statements = [
        f"CREATE TABLE {kept} AS SELECT 'is'::text AS platform3_side, {columns(table.columns, 's')} {new};",
    ]
    if mode != MERGE:
        statements += [
            f"INSERT INTO {kept} (platform3_side, {every}) SELECT 'was', {columns(table.columns, 'l')} {old};",
            f"DELETE FROM {where} AS l USING {pair.differences} AS d WHERE l.ctid = d.live_at;",
        ]
    statements.append(
        f"INSERT INTO {where} ({written}) OVERRIDING SYSTEM VALUE SELECT {columns(table.written, 's')} {new};"
    )
    return "\n".join(statements)


# --- putting back ---


def put_back_differences_sql(pair: Pair, kept_as: str) -> str:
    """List, for each row that was brought in, the live row that it is now: is_same tells whether nobody altered it."""
    kept = quoted(QUARANTINE, kept_as)
    brought = _side(pair.live, kept, "platform3_side = 'is'")
    live = _side(pair.live, pair.live.name.sql())
    return (
        f"DROP TABLE IF EXISTS {pair.differences};\n"
        f"CREATE TEMP TABLE {pair.differences.partition('.')[2]} AS"
        f" SELECT k.platform3_at AS kept_at, l.platform3_at AS live_at,"
        f" coalesce(l.platform3_row = k.platform3_row, false) AS is_same"
        f" FROM {brought} AS k LEFT JOIN {live} AS l ON {_same(pair.live, 'l', 'k')};"
    )


def altered_query(pair: Pair, kept_as: str) -> str:
    """The rows that were brought in and altered or deleted since, and the replaced ones whose key was given anew."""
    kept, key = quoted(QUARANTINE, kept_as), key_object(named_by(pair.live), "k")
    altered = (
        f"SELECT {key} AS key FROM {kept} AS k JOIN {pair.differences} AS d ON k.ctid = d.kept_at WHERE NOT d.is_same"
    )
    if not pair.live.key:
        return counted(altered)
    given_anew = (
        f"SELECT {key} AS key FROM {kept} AS k JOIN {pair.live.name.sql()} AS l ON {_same(pair.live, 'l', 'k')}"
        f" WHERE k.platform3_side = 'was'"
        f" AND NOT EXISTS (SELECT FROM {pair.differences} AS d WHERE d.live_at = l.ctid)"
    )
    return counted(f"{altered} UNION ALL {given_anew}")


def put_back_sql(pair: Pair, kept_as: str, recovery_id: str) -> str:
    """Take out what was brought in, and bring back what it replaced; rows written since stay."""
    table, where = pair.live, pair.live.name.sql()
    return "\n".join(
        [
            f"DELETE FROM {where} AS l USING {pair.differences} AS d WHERE l.ctid = d.live_at;",
            f"INSERT INTO {where} ({columns(table.written)}) OVERRIDING SYSTEM VALUE SELECT"
            f" {columns(table.written, 'k')} FROM {quoted(QUARANTINE, kept_as)} AS k WHERE k.platform3_side = 'was';",
            f"UPDATE {REGISTRY} SET state = 'put_back', put_back_at = now() WHERE recovery_id = {literal(recovery_id)}"
            f' AND "schema" = {literal(table.name.schema)} AND "table" = {literal(table.name.table)};',
        ]
    )


def release_sql(recovery_id: str, done: Iterable[Done]) -> str:
    """Drop what a recovery kept of these tables, and its record of them, in one transaction."""
    lines = ["SET client_min_messages = warning;", "BEGIN;"]
    for one in done:
        lines += [
            f"DROP TABLE IF EXISTS {quoted(QUARANTINE, one.kept_as)};",
            f"DELETE FROM {REGISTRY} WHERE recovery_id = {literal(recovery_id)}"
            f' AND "schema" = {literal(one.name.schema)} AND "table" = {literal(one.name.table)};',
        ]
    return "\n".join([*lines, "COMMIT;"])


# --- sequences ---


def sequences_query(names: Iterable[Name]) -> str:
    """The sequences that integer columns of tables are numbered by, owned by them or named in their defaults."""
    wanted = ", ".join(f"({literal(one.schema)}, {literal(one.table)})" for one in names)
    return f"""
SELECT n.nspname AS schema, c.relname AS "table", a.attname AS "column", sn.nspname AS sequence_schema,
  s.relname AS sequence, q.seqincrement AS step
FROM (SELECT objid AS sequence, refobjid AS owner, refobjsubid AS number FROM pg_depend
   WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjsubid > 0
   AND deptype IN ('a', 'i')
  UNION SELECT d.refobjid, t.adrelid, t.adnum FROM pg_attrdef t JOIN pg_depend d
   ON d.classid = 'pg_attrdef'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_class'::regclass) AS u
JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_class c ON c.oid = u.owner JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = u.owner AND a.attnum = u.number
WHERE (n.nspname, c.relname) IN ({wanted})
  AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) ORDER BY 1, 2, 3, 5
"""


def sequence_value_query(sequence: Name) -> str:
    """The last number that a sequence gave, null where it gave none."""
    return f"SELECT CASE WHEN is_called THEN last_value END AS value FROM {sequence.sql()}"


def forward_query(sequence: Name, table: Name, kept_as: str, column: str, given: int | None) -> str:
    """Move a sequence that counts up behind the table's largest number and the source's last; never back.

    What lies in the quarantine counts too: else its numbers would be given anew, and it could not be put back.

    Gives before and after, no row where it stays.
    """
    last = "NULL::bigint" if given is None else f"{given}::bigint"
    return (
        f"SELECT s.last_value AS before, setval({literal(sequence.sql())}::regclass, w.wanted) AS after"
        f" FROM {sequence.sql()} AS s"
        f" JOIN pg_sequence AS q ON q.seqrelid = {literal(sequence.sql())}::regclass"
        f" CROSS JOIN (SELECT greatest((SELECT max({quoted(column)}) FROM {table.sql()})::bigint,"
        f" (SELECT max({quoted(column)}) FROM {quoted(QUARANTINE, kept_as)})::bigint, {last}) AS wanted) AS w"
        " WHERE q.seqincrement > 0"
        " AND w.wanted >= s.last_value + CASE WHEN s.is_called THEN q.seqincrement ELSE 0 END"
    )
