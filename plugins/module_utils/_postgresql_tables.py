# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chosen tables of PostgreSQL: their names, what may be done with them, and why they are refused. Pure."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._psql import literal

SWAP, MERGE = "swap", "merge"
QUARANTINE = "platform3_quarantine"
SCRATCH = "platform3_scratch"
NEAREST = 3
# So many keys are named of rows that are listed.
LISTED = 10
# PostgreSQL cuts longer names, and two of them might become one.
NAME_BYTES = 63
UNTOUCHED = "no live table was touched"


def quoted(*names: str) -> str:
    """Names as one quoted SQL identifier, each part on its own: a dot in a name stays part of it."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def refused(code: str, attempted: str, found: str, next_step: str, data: str = UNTOUCHED) -> RecoveryError:
    """A refusal, said before a live table is changed."""
    return RecoveryError(code, attempted, found, data, next_step)


@dataclass(frozen=True, order=True)
class Name:
    """A table."""

    schema: str
    table: str

    def text(self) -> str:
        """For people."""
        return f"{self.schema}.{self.table}"

    def sql(self) -> str:
        """For the server."""
        return quoted(self.schema, self.table)


@dataclass(frozen=True)
class Table:
    """A table as a server describes it. columns: name -> type, all of them; generated: those that are computed.

    key: the columns of its primary key, () where it has none.
    """

    name: Name
    kind: str
    is_partition: bool
    inherits: bool
    bytes: int
    columns: Mapping[str, str]
    generated: frozenset[str]
    key: tuple[str, ...]

    @property
    def written(self) -> list[str]:
        """The columns that are written, and by which rows are compared: a generated one follows from them."""
        return [name for name in self.columns if name not in self.generated]


def parse_names(given: Iterable[str]) -> list[Name]:
    """The tables of a module's input, each once, sorted. RecoveryError PRC-590 where one is no name, or there is none.

    The form is `table` or `schema.table`, spelt as the catalogue does; the schema is `public` where none is named.
    """
    found = set()
    for one in given:
        parts = [part.strip() for part in one.split(".")]
        if not all(parts) or len(parts) > 2:
            raise refused("PRC-590", f"restore table {one!r}", "it is no name of a table", "give schema.table")
        found.add(Name(*(["public", *parts][-2:])))
    if not found:
        raise refused("PRC-590", "restore chosen tables", "none was named", "name them, with commas")
    return sorted(found)


def table_of(row: Mapping[str, Any]) -> Table:
    """A row of TABLES_QUERY."""
    columns = row["columns"]
    return Table(
        Name(row["schema"], row["table"]),
        row["kind"],
        row["is_partition"],
        row["inherits"],
        int(row["bytes"]),
        {one["name"]: one["type"] for one in columns},
        frozenset(one["name"] for one in columns if one["generated"]),
        tuple(row["key"] or ()),
    )


def tables_query(names: Iterable[Name]) -> str:
    """What a server says of tables, as far as it has them: for table_of."""
    wanted = ", ".join(f"({literal(one.schema)}, {literal(one.table)})" for one in names)
    return f"""
SELECT n.nspname AS schema, c.relname AS "table", c.relkind::text AS kind, c.relispartition AS is_partition,
  EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhparent, inhrelid)) AS inherits,
  CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END AS bytes,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
     'generated', a.attgenerated <> '') ORDER BY a.attnum), '[]')
   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT jsonb_agg(a.attname ORDER BY k.place) FROM pg_index i
   CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
   WHERE i.indrelid = c.oid AND i.indisprimary) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN ({wanted}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 't')
"""


NAMES_QUERY = f"""
SELECT n.nspname AS schema, c.relname AS "table" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast',
  '{QUARANTINE}', '{SCRATCH}')
"""


def nearest(wanted: Name, known: Iterable[Name]) -> list[str]:
    """Up to three of the tables that are there, the most alike first."""
    listed = [one.text() for one in sorted(known)]
    return difflib.get_close_matches(wanted.text(), listed, n=NEAREST, cutoff=0.0)


def require_known(names: Sequence[Name], live: Mapping[Name, Table], known: Iterable[Name]) -> None:
    """RecoveryError PRC-590 where the live database has no such table."""
    for one in names:
        if one not in live:
            near = ", ".join(nearest(one, known))
            found = f"the live database has no such table; nearest: {near or 'none'}"
            raise refused("PRC-590", f"restore table {one.text()}", found, "correct its name (postgresql_tables)")


def require_ordinary(tables: Iterable[Table]) -> None:
    """RecoveryError PRC-593 where one is partitioned, a partition, in an inheritance, or no table at all."""
    kinds = {"p": "it is partitioned", "v": "it is a view", "m": "it is a materialised view", "f": "it is foreign"}
    for one in tables:
        why = kinds.get(one.kind, "")
        why = why or (
            "it is a partition" if one.is_partition else "it inherits or is inherited" if one.inherits else ""
        )
        if why:
            attempted = f"restore table {one.name.text()} alone"
            raise refused("PRC-593", attempted, f"{why}, which is not supported", _WHOLE)


_WHOLE = "bring the whole database back (leave postgresql_tables out), or the tables that hold rows, by hand"


def require_key(tables: Iterable[Table], mode: str) -> None:
    """RecoveryError PRC-594 where a table that is merged has no primary key."""
    for one in tables:
        if mode == MERGE and not one.key:
            found = "it has no primary key, so that nobody can say which rows are missing"
            raise refused("PRC-594", f"merge table {one.name.text()}", found, "swap it, or add a primary key")


def require_same_columns(live: Table, source: Table) -> None:
    """RecoveryError PRC-592 where the table is not made alike on both sides. The order of columns does not matter."""
    wrong = [f"{one} is missing in the source" for one in live.columns if one not in source.columns]
    wrong += [f"{one} is missing in the live table" for one in source.columns if one not in live.columns]
    wrong += [
        f"{one} is {kind} in the live table, {source.columns[one]} in the source"
        for one, kind in live.columns.items()
        if one in source.columns and source.columns[one] != kind
    ]
    both = live.columns.keys() & source.columns.keys()
    wrong += [
        f"{one} is generated on one side only"
        for one in live.columns
        if one in both and (one in live.generated) != (one in source.generated)
    ]
    if wrong:
        next_step = "choose a source from after the change of the table, or restore it beside and copy by hand"
        raise refused("PRC-592", f"restore table {live.name.text()}", "; ".join(wrong), next_step)


# What pg_restore --list says of an entry: number; catalogue and object id, kind, then schema, name and owner.
_ENTRY = re.compile(r"^(\d+); \d+ \d+ (TABLE DATA|SEQUENCE SET) (.+)$")


def entries_of(listing: str, tables: Iterable[Name], sequences: Iterable[Name]) -> tuple[str, list[Name]]:
    """The list (pg_restore --use-list) that loads the rows of tables and the state of sequences, and no other.

    Returns it in the order of the dump, which a dump that comes through a pipe needs, and the tables that it lacks.
    """
    lines = []
    missing = {one.text(): one for one in tables}
    wanted = {"TABLE DATA": sorted(tables), "SEQUENCE SET": sorted(sequences)}
    for line in listing.splitlines():
        found = _ENTRY.match(line)
        if not found:
            continue
        one = next((one for one in wanted[found[2]] if found[3].startswith(f"{one.schema} {one.table} ")), None)
        if one:
            lines.append(line)
            if found[2] == "TABLE DATA":
                missing.pop(one.text(), None)
    return "".join(f"{line}\n" for line in lines), sorted(missing.values())


def not_in_source(names: Sequence[Name], where: str) -> RecoveryError:
    """PRC-591: the source lacks tables."""
    listed = ", ".join(one.text() for one in names)
    next_step = "choose a backup set, or a point in time, at which it was there"
    return refused("PRC-591", f"restore {listed}", f"{where} does not hold it", next_step)


def kept_name(recovery_id: str, name: Name) -> str:
    """What the table with the rows that were replaced is called in the quarantine; of two tables never the same."""
    whole = f"{recovery_id} {name.text()}"
    if len(whole.encode()) <= NAME_BYTES:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole.encode()[: NAME_BYTES - 9].decode(errors='ignore')} {digest}"


def shown_key(key: Mapping[str, Any]) -> str:
    """A row's key in a sentence."""
    return ", ".join(f"{name}={value}" for name, value in key.items())


def shown_keys(keys: Sequence[Mapping[str, Any]], count: int) -> str:
    """Some rows' keys in a sentence, and how many more there are."""
    shown = "; ".join(shown_key(one) for one in keys[:LISTED])
    return shown + (f"; and {count - len(keys[:LISTED])} more" if count > len(keys[:LISTED]) else "")


@dataclass(frozen=True)
class Done:
    """What the quarantine says of a table under a recovery id."""

    name: Name
    kept_as: str
    mode: str
    state: str


def is_done(done: Sequence[Done], names: Sequence[Name], mode: str, recovery_id: str) -> bool:
    """Whether an earlier run of this recovery restored these very tables in this way; False where none did.

    RecoveryError PRC-598 where it did something else, which one transaction does whole or not at all.
    """
    if not done:
        return False
    back = [one.name.text() for one in done if one.state != "restored"]
    attempted = f"restore tables under recovery {recovery_id}"
    if back:
        found = f"{', '.join(back)} was put back"
        raise refused("PRC-598", attempted, found, "begin a new recovery, without recovery_id")
    was = sorted((one.name, one.mode) for one in done)
    if was != sorted((name, mode) for name in names):
        listed = ", ".join(f"{name.text()} ({how})" for name, how in was)
        found = f"it restored {listed} already"
        raise refused("PRC-598", attempted, found, "ask for the same tables and mode, or begin a new recovery")
    return True


def require_restored(done: Sequence[Done], names: Sequence[Name], recovery_id: str) -> list[Done]:
    """What is put back of a recovery; [] where all of it was. PRC-598 where it restored no such table."""
    known = {one.name: one for one in done}
    unknown = [name.text() for name in names if name not in known]
    if unknown:
        found = f"it restored no {', '.join(unknown)}" + (
            f", but {', '.join(sorted(one.name.text() for one in done))}" if done else ", nor any other table"
        )
        raise refused("PRC-598", f"put back tables of recovery {recovery_id}", found, "correct recovery_id or tables")
    return [known[name] for name in names if known[name].state == "restored"]
