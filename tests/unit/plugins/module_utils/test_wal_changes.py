# SPDX-License-Identifier: GPL-3.0-or-later
"""What took data away, told of the WAL of a real server (fixture), and of transactions that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._wal_changes import (
    NAMED_TABLES,
    Changes,
    Names,
    key_of,
    names_of,
    parse_ended,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# Of a PostgreSQL 17: what it did in transactions 741 to 760 stands in `DONE`.
RECORDED = (Path(__file__).parent / "fixtures/postgresql/changes.txt").read_text()
MAP = {
    "database": "forex_trading",
    "tables": {
        "database_oid": 5,
        "tables": {
            "16384": ["public.orders", "16384", "16387"],
            "16391": ["public.small", "16391", "16394"],
            "16398": ["public.acc", "16398", None],
        },
        "left_out": 0,
    },
}
DONE = [
    (741, "DELETE", ["public.orders"], 3000),
    # 742: 50 rows, rolled back; 743: one row.
    (744, "TRUNCATE", ["public.small"], None),
    # 745: nine rows, and 50 in a savepoint that was rolled back; 749: REFRESH; 750: REINDEX.
    (748, "REWRITE", ["public.orders"], None),
    (751, "REWRITE", ["public.small"], None),
    (752, "DROP TABLE", ["public.small"], None),
    # 753: dropped, and made again under its name; from there on no map knows its file.
    (753, "DROP TABLE", ["public.acc"], None),
    (755, "DROP DATABASE", ["base/16438"], None),
    (756, "TRUNCATE", [f"base/5/{file}" for file in (16431, 16434, 16435, 16436)], None),
    # 757: a table of its own; 758: a view; 759: an index. 760: a table whose files are not those of the map any more.
    (760, "TRUNCATE", ["public.orders"], None),
]


def told(text: str, names: Names, many: int = 1000, pieces: int = 1) -> list[dict[str, Any]]:
    """The events, read in so many pieces of one segment after the other."""
    changes = Changes(names, many)
    each = [changes.read(text, [number]) for number in range(1, pieces + 1)]
    return [event for piece in each for _, events in piece for event in events]


def brief(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["xid"], one["kind"], one["tables"], one["rows"]) for one in events]


def test_what_a_real_server_did_is_found_and_nothing_else() -> None:
    found = told(RECORDED, names_of([MAP]))
    assert brief(found) == DONE
    assert found[0]["at"] == "2026-11-23T21:35:54.788537Z"
    assert found[0]["lsn"] == "0/167C970"


def test_smaller_deletes_count_from_as_many_rows_on() -> None:
    # Transaction 745's rows were deleted by a subtransaction; those of the one that was rolled back do not count.
    deletes = [one for one in brief(told(RECORDED, names_of([MAP]), many=9)) if one[1] == "DELETE"]
    assert deletes == [DONE[0], (745, "DELETE", ["public.acc"], 9)]
    assert [one for one in brief(told(RECORDED, names_of([MAP]), many=3001)) if one[1] == "DELETE"] == []


def test_without_a_map_files_are_named_and_tables_by_an_old_list() -> None:
    found = {(one[0], one[1]): one[2] for one in brief(told(RECORDED, Names()))}
    assert found[741, "DELETE"] == ["base/5/16384"]
    assert "base/5/16425" in found[752, "DROP TABLE"]
    assert (748, "REWRITE") not in found and (759, "DROP TABLE") not in found
    old = names_of([{"relfilenodes": {"orders": "base/5/16384", "parted": None}}])
    assert (741, "DELETE", ["orders"], 3000) in brief(told(RECORDED, old))


def test_a_later_map_goes_before() -> None:
    later = {**MAP, "tables": {**MAP["tables"], "tables": {"16384": ["public.renamed", "17000", None]}}}
    names = names_of([MAP, later])
    assert (names.objects["5", "16384"], names.files["5", "16384"]) == ("public.renamed", "public.orders")
    assert names.files["5", "17000"] == "public.renamed"
    assert names.databases == {"5": "forex_trading"}


@pytest.mark.parametrize("path", ["base/5/16384", "1663/5/16384", "pg_tblspc/16390/PG_17_202406281/5/16384"])
def test_a_file_is_known_by_database_and_number(path: str) -> None:
    assert key_of(path) == ("5", "16384")


def test_a_prepared_transaction_counts_by_its_own_number() -> None:
    parsed = parse_ended("0/02000100 0 COMMIT_PREPARED 900: 2026-11-23 21:35:54 UTC; rels: base/5/16384; subxacts: 901")
    assert parsed is not None and parsed[0]
    end = parsed[1]
    assert (end.xid, end.others, end.gone) == (900, (901,), frozenset({("5", "16384")}))
    assert parse_ended("0/02000100 9 ABORT 2026-11-23 21:35:54.5 UTC")[0] is False  # type: ignore[index]
    assert parse_ended("0/02000100 9 PREPARE gid x") is None


def test_many_tables_are_named_in_part() -> None:
    rels = " ".join(f"base/5/{20000 + number}" for number in range(NAMED_TABLES + 3))
    text = f"ended 0/01000100 9 COMMIT 2026-11-23 21:35:54 UTC; rels: {rels}\ndid 30 0/01 9 deleted 1663/5/1247"
    (found,) = told(text, Names())
    assert (found["kind"], len(found["tables"]), found["more_tables"]) == ("DROP TABLE", NAMED_TABLES, 3)


@st.composite
def _courses(draw: st.DrawFn) -> tuple[str, dict[int, int], int]:
    """Transactions that delete rows in some segments and end in a later one; the rows of those that were committed."""
    segments = draw(st.integers(2, 6))
    lines, kept = [], {}
    for xid in range(800, 800 + draw(st.integers(1, 8))):
        last = draw(st.integers(1, segments))
        rows = draw(st.dictionaries(st.integers(1, last), st.integers(1, 900), max_size=3))
        lines += [f"did {count} 0/{number:02X} {xid} deleted 1663/5/16384" for number, count in rows.items()]
        ended = draw(st.sampled_from(["COMMIT", "ABORT", ""]))
        if ended:
            lines.append(f"ended 0/{last:02X}000{xid} {xid} {ended} 2026-11-23 21:35:54.{xid:06} UTC")
        if ended == "COMMIT" and sum(rows.values()) >= 1000:
            kept[xid] = sum(rows.values())
    return "\n".join(draw(st.permutations(lines))), kept, segments


@settings(max_examples=200, deadline=None)
@given(_courses())
def test_exactly_what_was_committed_is_found_however_the_wal_is_cut(course: tuple[str, dict[int, int], int]) -> None:
    text, kept, segments = course
    # Each piece is given with what lies in other segments too, as the reader gives it.
    in_pieces = told(text, names_of([MAP]), pieces=segments)
    assert {one["xid"]: one["rows"] for one in in_pieces} == kept
    changes = Changes(names_of([MAP]), 1000)
    at_once = [one for _, events in changes.read(text, range(1, segments + 1)) for one in events]
    assert {one["xid"]: one["rows"] for one in at_once} == kept
