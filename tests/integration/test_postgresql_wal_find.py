# SPDX-License-Identifier: GPL-3.0-or-later
"""What took data away from PostgreSQL is found in its WAL, exactly, and undone by recovering to just before it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.integration.catalog_stage import NEWEST, Store
from tests.integration.postgresql_stage import Stage

pytestmark = pytest.mark.integration

MANY = 1000
TABLES = """
CREATE SCHEMA book;
CREATE TABLE book.deposits (deposit_id bigint PRIMARY KEY, note text);
CREATE TABLE book.executions (execution_id bigint PRIMARY KEY, note text);
CREATE TABLE book.positions (position_id bigint PRIMARY KEY, note text);
CREATE TABLE book.ledger (entry bigint PRIMARY KEY, note text);
INSERT INTO book.deposits SELECT n, 'x' FROM generate_series(1, 3000) AS n;
INSERT INTO book.executions SELECT n, 'x' FROM generate_series(1, 3000) AS n;
INSERT INTO book.positions SELECT n, 'x' FROM generate_series(1, 3000) AS n;
INSERT INTO book.ledger SELECT n, 'x' FROM generate_series(1, 3000) AS n;
"""


@dataclass
class Deed:
    """What was committed: kind, tables, rows, transaction, and between which instants of the server's clock."""

    kind: str
    tables: list[str]
    rows: int | None
    xid: int
    after: str
    before: str


@dataclass
class Emptied:
    """A database that was emptied in many ways and lost; its store, and what was done to it."""

    stage: Stage
    store: Store
    deeds: list[Deed] = field(default_factory=list)
    begun: float = 0.0
    orders: int = 0

    def commit(self, sql: str, kind: str = "", tables: tuple[str, ...] = (), rows: int | None = None) -> None:
        """Run it in a transaction of its own; a kind says that it must be found."""
        now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        with self.stage.connect() as connection:
            after = connection.execute(now).fetchone()[0]  # type: ignore[index]
            with connection.transaction():
                xid = connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0]  # type: ignore[index]
                connection.execute(sql)
            before = connection.execute(now).fetchone()[0]  # type: ignore[index]
        if kind:
            self.deeds.append(Deed(kind, list(tables), rows, int(xid), after, before))

    def roll_back(self, sql: str) -> None:
        """Run it and take it back."""
        with self.stage.connect() as connection, connection.transaction(force_rollback=True):
            connection.execute(sql)

    def find(self, **arguments: Any) -> dict[str, Any]:
        """Run the module."""
        around = datetime.fromtimestamp(self.begun, UTC).isoformat()
        given = {"around": around, "window_seconds": 600, "many_rows": MANY, **arguments}
        return self.stage.module("postgresql_wal_find_info", **self.store.shared(), **given)


def do_all(lost: Emptied) -> None:
    """Everything that must be found, and much that must not."""
    stage = lost.stage
    lost.commit("DELETE FROM book.deposits", "DELETE", ("book.deposits",), 3000)
    lost.roll_back("DELETE FROM book.executions")
    lost.roll_back("TRUNCATE book.executions; DROP TABLE book.ledger")
    lost.commit(f"DELETE FROM book.ledger WHERE entry < {MANY}")
    stage.trade(20)
    stage.superuser("SELECT pg_switch_wal()")
    lost.commit("TRUNCATE book.executions", "TRUNCATE", ("book.executions",))
    lost.commit("REINDEX TABLE book.positions; UPDATE book.positions SET note = 'y'")
    lost.commit("CREATE TABLE made (id int); INSERT INTO made SELECT generate_series(1, 2000); DROP TABLE made")
    # Rows that move to another partition, and one that was lost to a savepoint.
    lost.commit(
        "CREATE TABLE parted (n int) PARTITION BY LIST (n);"
        " CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        " CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2); INSERT INTO parted SELECT 1 FROM"
        " generate_series(1, 2000)"
    )
    lost.commit("UPDATE parted SET n = 2")
    savepoint = (
        "DO $$ BEGIN BEGIN DELETE FROM book.positions; RAISE 'no'; EXCEPTION WHEN raise_exception THEN END; END $$"
    )
    lost.commit(savepoint)
    kept = "DO $$ BEGIN BEGIN DELETE FROM book.positions; EXCEPTION WHEN raise_exception THEN END; END $$"
    lost.commit(kept, "DELETE", ("book.positions",), 3000)
    lost.commit("INSERT INTO book.executions VALUES (1, 'anew')")
    # Its files are not those of the backup any more.
    lost.commit("TRUNCATE book.executions", "TRUNCATE", ("book.executions",))
    stage.superuser("SELECT pg_switch_wal()")
    lost.orders = stage.orders()
    lost.commit("DROP TABLE orders", "DROP TABLE", ("public.orders",))
    stage.superuser("VACUUM FULL book.ledger")
    stage.execute("INSERT INTO accounts VALUES (1000)")


@pytest.fixture(scope="module", name="lost")
def _lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emptied]:
    stage = Stage(tmp_path_factory.mktemp("emptied"))
    try:
        stage.start()
        stage.execute(TABLES)
        lost = Emptied(stage, Store(stage, stage.folder))
        lost.store.make(NEWEST)
        # pgBackRest names the end of a backup by the second.
        time.sleep(1.1)
        lost.begun = time.time()
        do_all(lost)
        stage.await_streamed()
        stage.await_archived()
        # What is not in the archive is found in the stream.
        stage.lose()
        yield lost
    finally:
        stage.clean()


def test_exactly_what_was_committed_is_found(lost: Emptied) -> None:
    found = lost.find()
    assert "events" in found, found
    told = [one for one in found["events"] if one["kind"] != "REWRITE"]
    assert [(one["kind"], one["tables"], one["rows"], one["xid"]) for one in told] == [
        (one.kind, one.tables, one.rows, one.xid) for one in lost.deeds
    ]
    for event, deed in zip(told, lost.deeds, strict=True):
        assert deed.after <= event["at"] <= deed.before
        assert event["before"]["value"] < event["at"] and event["before"]["value"] >= deed.after
    rewritten = [one["tables"] for one in found["events"] if one["kind"] == "REWRITE"]
    assert rewritten == [["book.ledger"]]
    assert (found["gaps"], found["warnings_found"]) == ([], [])
    assert not any(one["abandoned_timeline"] for one in found["events"])


def test_a_narrow_window_has_only_what_is_in_it(lost: Emptied) -> None:
    deed = lost.deeds[0]
    found = lost.find(around=deed.before, window_seconds=1)
    assert {one["xid"] for one in found["events"]} >= {deed.xid}
    assert all(abs(parse_iso(one["at"]) - parse_iso(deed.before)) <= 1 for one in found["events"])


def test_a_time_of_which_there_is_no_wal_is_refused(lost: Emptied) -> None:
    found = lost.find(around="2026-01-01T00:00:00Z", window_seconds=60)
    assert found["error"]["code"] == "PRC-564", found


def test_a_recovery_to_just_before_brings_the_rows_back(lost: Emptied) -> None:
    stage, deed = lost.stage, lost.deeds[2]
    assert (deed.kind, deed.tables) == ("DELETE", ["book.positions"])
    event = next(one for one in lost.find()["events"] if one["xid"] == deed.xid)
    found = lost.store.choose()
    assert "set" in found, found
    content = found["set"]["components"]["postgresql"]["content"]
    result = stage.restore("r-1", 5, content=content, set_path=str(lost.store.path / NEWEST), target=event["before"])
    assert not [one for one in result.get("checks", [{"ok": False}]) if not one["ok"]], result
    assert stage.execute("SELECT count(*) FROM book.positions") == [(3000,)]
    # What was done before stays done, and nothing that came after is there.
    assert stage.execute("SELECT count(*) FROM book.deposits") == [(0,)]
    assert stage.execute("SELECT count(*) FROM accounts WHERE account_id = 1000") == [(0,)]
    assert stage.orders() == lost.orders
    # What was left behind is found there still, and no target leads to before it.
    assert not stage.resume("r-1", 5).get("failed")
    stage.trade(3)
    stage.await_streamed()
    again = next(one for one in lost.find()["events"] if one["kind"] == "DROP TABLE")
    assert (again["tables"], again["xid"]) == (["public.orders"], lost.deeds[-1].xid)
    assert (again["abandoned_timeline"], again["before"]) == (1, None)
