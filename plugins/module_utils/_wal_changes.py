# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took data away, found in the WAL: tables dropped, truncated, rewritten, large deletes, dropped databases. Pure.

A transaction counts once it is committed. Its commit names the files that go with it (`rels`), and, from PostgreSQL 15
on, the relations that do (`dropped stats: 2/<database>/<oid>`; src/backend/access/rmgrdesc/xactdesc.c). Where files of
a table go and it does not, it got new ones. A TRUNCATE leaves one of these without a page and deletes nothing in
pg_class; VACUUM FULL, CLUSTER and ALTER TABLE fill it, and delete the rows of the table that they made in between.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._wal import format_lsn, parse_lsn
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import microseconds, show_time

DROP_TABLE, DROP_DATABASE, TRUNCATE, REWRITE, DELETE = "DROP TABLE", "DROP DATABASE", "TRUNCATE", "REWRITE", "DELETE"
# Files and objects below this number are the server's own.
FIRST_NORMAL = 16384
PG_CLASS, PG_TYPE = "1259", "1247"
# Kind of a relation in the cumulative statistics (src/include/pgstat.h).
_RELATION = "2"
# Of the tables of one event so many are named.
NAMED_TABLES = 20
_ENDED = re.compile(r"(COMMIT|ABORT)(?:_PREPARED (\d+):)? ([-0-9]+ [:.0-9]+) UTC;? ?(.*)")

# (database, number): of a file, or of an object.
Key = tuple[str, str]


@dataclass(frozen=True)
class Names:
    """Tables by object and by file, files of TOAST tables, and databases by number, as backup sets told them."""

    objects: Mapping[Key, str] = field(default_factory=dict)
    files: Mapping[Key, str] = field(default_factory=dict)
    toast: frozenset[Key] = frozenset()
    databases: Mapping[str, str] = field(default_factory=dict)

    def of_file(self, key: Key) -> str:
        """The table's name, else where the file lies."""
        return self.files.get(key) or f"base/{key[0]}/{key[1]}"


def names_of(contents: Iterable[Mapping[str, Any]]) -> Names:
    """The names that PostgreSQL's parts of manifests tell; what a later one says goes before."""
    objects: dict[Key, str] = {}
    files: dict[Key, str] = {}
    toast: set[Key] = set()
    databases: dict[str, str] = {}
    for content in contents:
        told = content.get("tables")
        if not told:
            # Sets of before the map: critical tables and their indexes, by their files alone.
            files.update({key_of(path): name for name, path in (content.get("relfilenodes") or {}).items() if path})
            continue
        database = str(told["database_oid"])
        databases[database] = str(content["database"])
        for oid, (name, file, toast_file) in told["tables"].items():
            objects[database, str(oid)] = name
            if file:
                files[database, str(file)] = name
            if toast_file:
                toast.add((database, str(toast_file)))
    return Names(objects, files, frozenset(toast), databases)


def key_of(path: str) -> Key:
    """Database and number of a file: of "base/5/16384", "1663/5/16384" or "pg_tblspc/16390/PG_17_202406281/5/16384"."""
    words = path.split("/")
    return (words[-2] if len(words) > 1 else "", words[-1])


def _is_users(number: str) -> bool:
    return number.isdigit() and int(number) >= FIRST_NORMAL


@dataclass
class _Transaction:
    """What one transaction did until now."""

    deleted: Counter[Key] = field(default_factory=Counter)
    created: set[Key] = field(default_factory=set)
    filled: set[Key] = field(default_factory=set)
    locked: set[Key] = field(default_factory=set)
    databases: set[str] = field(default_factory=set)

    def add(self, what: str, value: str, count: int) -> None:
        """One thing that it did, so many times."""
        key = key_of(value)
        if what == "deleted":
            self.deleted[key] += count
        elif what == "dropped":
            self.databases.add(key[1])
        else:
            getattr(self, what).add(key)

    def join(self, other: _Transaction) -> None:
        """What a subtransaction did was done by this."""
        self.deleted.update(other.deleted)
        for mine, theirs in (
            (self.created, other.created),
            (self.filled, other.filled),
            (self.locked, other.locked),
        ):
            mine |= theirs
        self.databases |= other.databases


@dataclass(frozen=True)
class Commit:
    """The commit of a transaction. gone: files that go with it; dropped: relations that do; others: subtransactions."""

    lsn: int
    xid: int
    at: int
    gone: frozenset[Key]
    dropped: frozenset[Key]
    others: tuple[int, ...] = ()


def parse_ended(line: str) -> tuple[bool, Commit] | None:
    """Whether a transaction was committed, and its end: of "<lsn> <xid> COMMIT <time> UTC; rels: ..."."""
    lsn, xid, rest = line.split(" ", 2)
    match = _ENDED.match(rest)
    if not match:
        return None
    ended, prepared, at, more = match.groups()
    parts = dict(part.split(": ", 1) for part in more.split("; ") if ": " in part)
    stats = [one.split("/") for one in parts.get("dropped stats", "").rstrip(";").split()]
    found = Commit(
        parse_lsn(lsn),
        int(prepared or xid),
        microseconds(at),
        frozenset(key_of(path) for path in parts.get("rels", "").rstrip(";").split()),
        frozenset((one[1], one[2]) for one in stats if len(one) == 3 and one[0] == _RELATION),
        tuple(int(one) for one in parts.get("subxacts", "").rstrip(";").split() if one.isdigit()),
    )
    return ended == "COMMIT", found


class Changes:
    """What the transactions did, from one piece of WAL to the next."""

    def __init__(self, names: Names, many_rows: int) -> None:
        self._names = names
        self._many = many_rows
        self._open: dict[int, _Transaction] = {}

    def read(self, text: str, numbers: Sequence[int]) -> Iterator[tuple[Commit, list[dict[str, Any]]]]:
        """Every commit in segments of these numbers with the events it made true, in their order.

        text: of WalReader.changes. What lies in other segments (that were read for a record's end) does not count.
        """
        own = {f"{number >> 8:X}/{number & 0xFF:02X}" for number in numbers}
        ended = []
        for line in text.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "did":
                count, segment, xid, what, value = rest.split(" ", 4)
                if segment in own:
                    self._open.setdefault(int(xid), _Transaction()).add(what, value, int(count))
            elif kind == "ended" and rest.split(" ", 1)[0][:-6] in own:
                ended.append(rest)
        for line in ended:
            parsed = parse_ended(line)
            if parsed is None:
                continue
            committed, end = parsed
            done = self._open.pop(end.xid, _Transaction())
            for other in end.others:
                done.join(self._open.pop(other, _Transaction()))
            if committed:
                yield end, events_of(end, done, self._names, self._many)


def events_of(end: Commit, done: _Transaction, names: Names, many_rows: int) -> list[dict[str, Any]]:
    """What a committed transaction took away, each kind once."""
    gone = {key for key in end.gone - done.created if _is_users(key[1])}
    dropped = {names.objects[key] for key in end.dropped if key in names.objects}
    found: list[tuple[str, set[str], int | None]] = []
    found.append((DROP_DATABASE, {names.databases.get(one) or f"base/{one}" for one in done.databases}, None))
    if gone and not done.created:
        unknown = set()
        # An index goes without a row type; what was made since the last set is not named there.
        if not dropped and any(key[1] == PG_TYPE for key in done.deleted):
            unknown = {names.of_file(key) for key in gone - names.toast}
        found.append((DROP_TABLE, dropped | {names.files[key] for key in gone if key in names.files} | unknown, None))
    elif dropped:
        found.append((DROP_TABLE, dropped, None))
    if gone and done.created:
        emptied = any(_is_users(key[1]) for key in done.created - done.filled)
        catalogued = any(key[1] == PG_CLASS for key in done.deleted)
        tables = {names.files[key] for key in gone if key in names.files}
        if not tables:
            # Its file is not the one of the backup any more; its number is.
            tables = {names.objects[key] for key in done.locked if key in names.objects}
        tables -= dropped
        if emptied and not catalogued:
            found.append((TRUNCATE, tables or {names.of_file(key) for key in gone - names.toast}, None))
        elif catalogued:
            found.append((REWRITE, tables, None))
    rows = {key: count for key, count in done.deleted.items() if _is_users(key[1]) and key not in names.toast}
    if sum(rows.values()) >= many_rows:
        found.append((DELETE, {names.of_file(key) for key in rows}, sum(rows.values())))
    return [_event(end, kind, sorted(tables), rows) for kind, tables, rows in found if tables]


def _event(end: Commit, kind: str, tables: list[str], rows: int | None) -> dict[str, Any]:
    return {
        "at": show_time(end.at),
        "kind": kind,
        "tables": tables[:NAMED_TABLES],
        "more_tables": max(0, len(tables) - NAMED_TABLES),
        "rows": rows,
        "xid": end.xid,
        "lsn": format_lsn(end.lsn),
    }
