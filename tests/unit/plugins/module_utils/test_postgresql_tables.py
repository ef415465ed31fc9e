# SPDX-License-Identifier: GPL-3.0-or-later
"""Chosen tables of PostgreSQL: names, what is refused and why, and the statements that are made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables import (
    MERGE,
    NAME_BYTES,
    SWAP,
    Done,
    Name,
    Table,
    entries_of,
    is_done,
    kept_name,
    nearest,
    parse_names,
    quoted,
    require_key,
    require_known,
    require_ordinary,
    require_restored,
    require_same_columns,
    shown_keys,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_sql import (
    ForeignKey,
    Pair,
    begin_sql,
    dangling_query,
    differences_sql,
    exchange_sql,
    foreseen_query,
    neighbours,
)
from hypothesis import given
from hypothesis import strategies as st

ORDERS, EXECUTIONS, ACCOUNTS = (Name("public", one) for one in ("orders", "executions", "accounts"))
TABLE = Table(
    ORDERS, "r", False, False, 8192, {"order_id": "bigint", "total": "numeric", "note": "text"},
    frozenset({"total"}), ("order_id",),
)  # fmt: skip
KEY = ForeignKey("fk", EXECUTIONS, ORDERS, ("order_id",), ("order_id",), False, ("execution_id", "order_id"))
# As pg_restore --list prints it.
LISTING = """;
; Archive created at 2026-11-23 05:17:00 UTC
;     Format: CUSTOM
220; 1259 16402 TABLE public orders forex_admin
219; 1259 16401 SEQUENCE public orders_order_id_seq forex_admin
3480; 0 16402 TABLE DATA public orders forex_admin
3481; 0 16403 TABLE DATA public orders_old forex_admin
3482; 0 16404 TABLE DATA public two words forex_admin
3500; 0 0 SEQUENCE SET public orders_order_id_seq forex_admin
3501; 0 0 SEQUENCE SET public executions_execution_id_seq forex_admin
3300; 2606 16420 CONSTRAINT public orders orders_pkey forex_admin
"""


def code(error: pytest.ExceptionInfo[RecoveryError]) -> str:
    """The code of what was raised."""
    return error.value.code


# Names


def test_tables_are_named_with_their_schema_or_without() -> None:
    assert parse_names(["orders", "desk.Trades", " public.orders "]) == [Name("desk", "Trades"), ORDERS]


@pytest.mark.parametrize("given_names", [[], [""], ["a.b.c"], [".orders"], ["public."]])
def test_what_is_no_name_is_refused(given_names: list[str]) -> None:
    with pytest.raises(RecoveryError) as error:
        parse_names(given_names)
    assert code(error) == "PRC-590"


def test_an_unknown_table_is_told_the_nearest_three() -> None:
    known = [ORDERS, EXECUTIONS, ACCOUNTS, Name("desk", "order")]
    assert nearest(Name("public", "order"), known)[0] == "public.orders"
    with pytest.raises(RecoveryError) as error:
        require_known([Name("public", "execution")], {}, known)
    assert code(error) == "PRC-590"
    assert "nearest: public.executions, " in error.value.found and error.value.found.count(", ") == 2


@given(st.lists(st.text(min_size=1, max_size=70).filter(lambda text: "\x00" not in text), min_size=2, max_size=2))
def test_what_is_kept_of_two_tables_has_two_names_that_fit(names: list[str]) -> None:
    found = [kept_name("20261123T051700Z-partial", Name("public", name)) for name in names]
    assert all(len(one.encode()) <= NAME_BYTES for one in found)
    assert (found[0] == found[1]) == (names[0] == names[1])


def test_a_quote_in_a_name_ends_no_identifier() -> None:
    assert quoted('a"; DROP', "b.c") == '"a""; DROP"."b.c"'


# What is refused


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "p"}, "partitioned"),
        ({"is_partition": True}, "a partition"),
        ({"inherits": True}, "inherit"),
        ({"kind": "v"}, "view"),
    ],
)
def test_a_table_that_is_not_one_of_its_own_is_refused(change: dict[str, Any], word: str) -> None:
    require_ordinary([TABLE])
    with pytest.raises(RecoveryError) as error:
        require_ordinary([replace(TABLE, **change)])
    assert (code(error), word in error.value.found) == ("PRC-593", True)


def test_only_a_merge_needs_a_primary_key() -> None:
    require_key([TABLE], MERGE)
    require_key([replace(TABLE, key=())], SWAP)
    with pytest.raises(RecoveryError) as error:
        require_key([replace(TABLE, key=())], MERGE)
    assert code(error) == "PRC-594"


def test_columns_that_differ_are_each_named_and_their_order_does_not_matter() -> None:
    require_same_columns(TABLE, replace(TABLE, columns=dict(reversed(list(TABLE.columns.items())))))
    other = replace(TABLE, columns={"order_id": "integer", "total": "numeric", "more": "text"}, generated=frozenset())
    with pytest.raises(RecoveryError) as error:
        require_same_columns(TABLE, other)
    assert code(error) == "PRC-592"
    assert error.value.found == (
        "note is missing in the source; more is missing in the live table; order_id is bigint in the live table,"
        " integer in the source; total is generated on one side only"
    )


# The dump


def test_only_the_chosen_rows_and_sequences_are_taken_of_a_dump_in_its_order() -> None:
    listed, missing = entries_of(
        LISTING, [ORDERS, Name("public", "two words")], [Name("public", "orders_order_id_seq")]
    )
    assert [line.partition(";")[0] for line in listed.splitlines()] == ["3480", "3482", "3500"]
    assert missing == []


def test_a_table_that_a_dump_lacks_is_named() -> None:
    assert entries_of(LISTING, [ORDERS, EXECUTIONS], []) == (
        "3480; 0 16402 TABLE DATA public orders forex_admin\n",
        [EXECUTIONS],
    )


# What was done before


def test_a_recovery_that_did_this_very_thing_is_not_done_again() -> None:
    done = [Done(ORDERS, "k", SWAP, "restored"), Done(EXECUTIONS, "k2", SWAP, "restored")]
    assert not is_done([], [ORDERS], SWAP, "r")
    assert is_done(done, [EXECUTIONS, ORDERS], SWAP, "r")
    for names, mode in (([ORDERS], SWAP), ([EXECUTIONS, ORDERS], MERGE), ([EXECUTIONS, ORDERS, ACCOUNTS], SWAP)):
        with pytest.raises(RecoveryError) as error:
            is_done(done, names, mode, "r")
        assert code(error) == "PRC-598"
    with pytest.raises(RecoveryError, match="was put back"):
        is_done([replace(done[0], state="put_back")], [ORDERS], SWAP, "r")


def test_only_what_was_restored_is_put_back_and_only_once() -> None:
    done = [Done(ORDERS, "k", SWAP, "restored"), Done(EXECUTIONS, "k2", SWAP, "put_back")]
    assert require_restored(done, [ORDERS, EXECUTIONS], "r") == done[:1]
    for known in (done, []):
        with pytest.raises(RecoveryError) as error:
            require_restored(known, [ACCOUNTS], "r")
        assert code(error) == "PRC-598"


def test_keys_are_listed_up_to_ten() -> None:
    assert shown_keys([{"a": 1, "b": "x"}, {"a": 2, "b": None}], 2) == "a=1, b=x; a=2, b=None"
    assert shown_keys([{"a": number} for number in range(10)], 12).endswith("a=9; and 2 more")


# Statements


def test_generated_columns_are_not_written_and_identities_are() -> None:
    written = exchange_sql(Pair(0, TABLE), "kept", SWAP)
    assert 'INSERT INTO "public"."orders" ("order_id", "note") OVERRIDING SYSTEM VALUE' in written
    assert 'CREATE TABLE "platform3_quarantine"."kept"' in written


def test_a_merge_deletes_nothing() -> None:
    assert "DELETE" in exchange_sql(Pair(0, TABLE), "kept", SWAP)
    assert "DELETE" not in exchange_sql(Pair(0, TABLE), "kept", MERGE)


def test_rows_without_a_key_are_told_apart_by_all_that_they_hold() -> None:
    assert "platform3_number" not in differences_sql(Pair(0, TABLE))
    found = differences_sql(Pair(0, replace(TABLE, key=())))
    assert "l.platform3_row = s.platform3_row AND l.platform3_number = s.platform3_number" in found


def test_a_merge_cannot_hurt_rows_that_stay() -> None:
    pairs = {ORDERS: Pair(0, TABLE)}
    assert foreseen_query(KEY, pairs, MERGE) is None
    swapped = foreseen_query(KEY, pairs, SWAP)
    assert swapped and 'FROM "public"."executions" AS c' in swapped and '"platform3_scratch"."t0" AS p' in swapped


def test_rows_that_name_no_parent_dangle_only_by_a_full_match() -> None:
    two = replace(KEY, child_columns=("a", "b"), parent_columns=("x", "y"))
    assert 'c."a" IS NOT NULL AND c."b" IS NOT NULL' in dangling_query(two, "c", "p")
    assert '(c."a" IS NOT NULL OR c."b" IS NOT NULL)' in dangling_query(replace(two, is_full=True), "c", "p")


def test_what_foreign_keys_tie_to_the_tables_stands_still_too_and_waits_are_bounded() -> None:
    other = replace(KEY, child=ORDERS, parent=ACCOUNTS)
    assert neighbours([ORDERS], [KEY, other]) == [ACCOUNTS, EXECUTIONS]
    begun = begin_sql([ORDERS], [ACCOUNTS], 5, 60)
    assert "lock_timeout = '5s'" in begun and "statement_timeout = '60s'" in begun
    assert 'LOCK TABLE "public"."orders" IN SHARE ROW EXCLUSIVE MODE' in begun
    assert 'LOCK TABLE "public"."accounts" IN SHARE MODE' in begun
