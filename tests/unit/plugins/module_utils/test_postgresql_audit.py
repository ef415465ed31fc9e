# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's query of the audit log is bounded, and what it gives cannot break the list."""

from __future__ import annotations

from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_audit import bounded, events_of

START, END = 1_700_000_000_000_000, 1_700_000_600_000_001
ROW: dict[str, Any] = {
    "at": "2026-11-23T14:30:05.788537Z",
    "actor": "jane",
    "action": "sql.delete",
    "object": "public.orders",
    "rows": 3,
    "xid": "812",
    "source": None,
}


def test_the_times_are_put_in_and_nothing_else() -> None:
    query = "SELECT * FROM l WHERE a LIKE 'sql.%' AND at BETWEEN %(from)s AND %(until)s AND at < %(until)s; "
    sql = bounded(query, START, END, 5)
    first, last = "timestamptz '2023-11-14T22:13:20.000000Z'", "timestamptz '2023-11-14T22:23:20.000001Z'"
    assert f"(\nSELECT * FROM l WHERE a LIKE 'sql.%' AND at BETWEEN {first} AND {last} AND at < {last}\n) AS q" in sql
    assert f"WHERE q.at BETWEEN {first} AND {last} " in sql and sql.endswith("LIMIT 6")


def test_a_comment_at_the_end_of_the_query_hides_nothing() -> None:
    assert "-- all of it\n) AS q WHERE" in bounded("SELECT * FROM l -- all of it\n", START, END, 5)


def test_rows_become_events_in_order_of_time() -> None:
    earlier = {**ROW, "at": "2026-11-23T14:30:05.000000Z", "source": "psql 10.0.0.7"}
    assert events_of([ROW, earlier]) == [{**earlier, "xid": 812}, {**ROW, "xid": 812}]


def test_a_transaction_has_the_number_that_the_wal_gives_it() -> None:
    ids = {"4294968108": 812, "812": 812, "": None, None: None, "x": None}
    assert {given: events_of([{**ROW, "xid": given}])[0]["xid"] for given in ids} == ids


def test_what_somebody_wrote_stays_on_its_line() -> None:
    [event] = events_of([{**ROW, "actor": None, "action": "", "object": None, "source": " a\nb\x1b[2J\tc "}])
    assert (event["actor"], event["action"], event["object"]) == ("somebody", "something", "")
    assert event["source"] == "a b [2J c"
    assert events_of([{**ROW, "source": "\n"}])[0]["source"] is None
