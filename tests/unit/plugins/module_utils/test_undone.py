# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss statement's pure parts: cells, files, which transactions lie behind the point, what a key is told as."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _postgresql_undone as rows
from ansible_collections.platform3.recovery.plugins.module_utils import _redis_undone as keys
from ansible_collections.platform3.recovery.plugins.module_utils import _undone as undone
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given
from hypothesis import strategies as st

DEPOSITS = {"kind": "deposits", "table": "deposits", "id": "deposit_id", "at": "created_at", "amount": "amount"}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1-1", "@x", "\t=1", "\r=1", "  =1", "\n-x", "\uff1dx", "-", "-1e5"])
def test_what_may_be_a_formula_is_text(cell: str) -> None:
    assert undone.guarded(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "-12.50", "12", "EURUSD", "a=b", "2026-11-23T14:30:00Z"])
def test_what_is_none_stays_as_it_is(cell: str) -> None:
    assert undone.guarded(cell) == cell


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_begins_as_a_formula_unless_it_is_a_number(cell: str) -> None:
    begins = undone.guarded(cell).lstrip()[:1]
    assert begins not in ("=", "+", "@") and (begins != "-" or cell.lstrip("-").replace(".", "", 1).isdigit())


def test_a_listing_is_a_private_file_with_exact_figures(tmp_path: Path) -> None:
    written = ([str(n), "", "7", "0.10", "=cmd"] for n in range(25))
    listing = undone.write_listing(str(tmp_path / "new"), "orders", written)
    path = tmp_path / "new" / "undone_orders.csv"
    assert os.stat(path).st_mode & 0o777 == 0o600
    raw = path.read_bytes()
    assert listing["file"] == {"name": path.name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    assert (listing["count"], listing["sum"], len(listing["first"])) == (25, "2.50", 20)
    with path.open(newline="") as stream:
        told = list(csv.DictReader(stream))
    assert [row["id"] for row in told] == [str(n) for n in range(25)]
    assert told[0] == {"kind": "orders", "id": "0", "at": "", "account": "7", "amount": "0.10", "details": "'=cmd"}


def test_no_rows_is_a_file_that_says_so_and_no_sum(tmp_path: Path) -> None:
    listing = undone.write_listing(str(tmp_path), "sessions", [])
    assert (listing["count"], listing["sum"], listing["says"]) == (0, None, "")
    assert (tmp_path / "undone_sessions.csv").read_text() == "kind,id,at,account,amount,details\n"


def test_a_listing_that_breaks_off_leaves_no_file_not_even_an_old_one(tmp_path: Path) -> None:
    undone.write_listing(str(tmp_path), "orders", [])

    def breaks_off() -> Iterator[list[str]]:
        yield ["1", "", "", "", ""]
        raise RecoveryError("PRC-583", "list the orders", "it broke", "nothing", "nothing")

    with pytest.raises(RecoveryError) as error:
        undone.write_listing(str(tmp_path), "orders", breaks_off())
    assert list(tmp_path.iterdir()) == []
    listing = undone.unlisted(str(tmp_path), "orders", error.value)
    assert (listing["count"], listing["file"]) == (None, None)
    assert undone.warnings_of([listing]) == [
        "it is not known which orders were undone: PRC-583: could not list the orders: it broke"
    ]


@pytest.mark.parametrize("kinds", [["../x"], ["orders", "orders"], [""], ["Orders"]])
def test_a_kind_that_cannot_name_a_file_is_refused(kinds: list[str]) -> None:
    with pytest.raises(RecoveryError, match="PRC-102"):
        undone.require_kinds([{"kind": kind} for kind in kinds], "postgresql_undone")


def test_a_snapshot_is_read_and_nothing_else() -> None:
    assert rows.parse_point("747:750:") == rows.parse_point("747:750:748,749") == rows.Point(747, 750)
    with pytest.raises(ValueError, match="no snapshot"):
        rows.parse_point("747")


def test_a_query_names_the_unfinished_and_keeps_names_apart_from_sql() -> None:
    wanted = {**DEPOSITS, "table": 'a"b', "details": ["it's"], "where": "amount > 0"}
    query = rows.listing_query(wanted, rows.Point(747, 750), [748], 900)
    assert '"a""b" AS t' in query and "'it''s=' || t.\"it's\"::text" in query
    assert ">= 750 OR" in query and "IN (748)" in query and query.endswith("TO STDOUT WITH (FORMAT csv);")
    assert "AND (amount > 0)" in query
    assert " IN (" not in rows.listing_query(DEPOSITS, rows.Point(750, 750), [], 900)
    assert "generate_series(747::bigint, 749)" in rows.unfinished_query(rows.Point(747, 750))


@given(st.integers(3, 2**40), st.integers(0, 2**31))
def test_a_rows_id_of_32_bits_gets_the_epoch_of_the_next_one(following: int, age: int) -> None:
    """The arithmetic of the query: the nearest id below the next one that has these 32 bits."""
    whole = max(3, following - 1 - age)
    assert following - ((following - (whole & 0xFFFFFFFF)) & 0xFFFFFFFF) == whole or whole >= following


def test_a_token_is_told_as_its_hash() -> None:
    told = keys.name_of(b"session:s3cret", "session:*")
    assert told == f"sha256:{hashlib.sha256(b's3cret').hexdigest()}"
    assert keys.name_of(b"s3cret", "*") == told


def test_a_page_of_keys_is_read_whatever_their_bytes() -> None:
    wanted = {"kind": "sessions", "pattern": "session:*", "account": "account_id", "details": ["user_id"]}
    fields = keys.fields_of(wanted)
    assert fields == ["account_id", "user_id"]
    assert keys.parse_page('{"cursor":"0","keys":{}}', fields) == []
    odd = b'{"cursor":"0","keys":[["session:\xff","4","7"],["session:b"]]}'.decode("utf-8", "surrogateescape")
    first, second = keys.parse_page(odd, fields)
    assert first == (b"session:\xff", {"account_id": "4", "user_id": "7"})
    assert keys.row_of(first, wanted)[1:] == ["", "4", "", "user_id=7"]
    assert keys.row_of(second, wanted)[2:] == ["", "", ""]
