# SPDX-License-Identifier: GPL-3.0-or-later
"""Who took data away is told by the lab's audit log, with the transaction that the WAL tells; a restore keeps that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import yaml
from ansible_collections.platform3.recovery.plugins.module_utils._moments import AUDIT, moments_of

from tests.integration.catalog_stage import NEWEST, Store
from tests.integration.postgresql_stage import Stage
from tests.integration.scratch import ROOT, docker

pytestmark = pytest.mark.integration

MANY = 1000
PASSWORD = "only-of-this-test"
# What the triggers must not tell of, with the rights of two people: jane may do what the owner may, bob may delete.
ROWS = """
INSERT INTO users (user_id, username, password_hash) SELECT n, 'user' || n, 'x' FROM generate_series(1, 50) AS n;
INSERT INTO accounts (account_id, user_id, balance, equity, used_margin, free_margin, opening_balance)
  SELECT n, n, 1000, 1000, 0, 1000, 1000 FROM generate_series(1, 50) AS n;
INSERT INTO orders (account_id, symbol, type, side, quantity, price, status)
  SELECT 1 + n % 50, 'EURUSD', 'market', 'buy', n / 100.0, 1.1, 'filled' FROM generate_series(1, 2000) AS n;
INSERT INTO executions (order_id, account_id, symbol, side, quantity, price, commission)
  SELECT order_id, account_id, symbol, side, quantity, price, 0.1 FROM orders;
INSERT INTO deposits (account_id, amount) SELECT 1 + n % 50, n FROM generate_series(1, 2000) AS n;
INSERT INTO settings (scope, key, value) SELECT 'user', n::text, '1' FROM generate_series(1, 20) AS n;
INSERT INTO audit_log (actor, action, subject) SELECT 'user', 'login', n::text FROM generate_series(1, 1500) AS n;
UPDATE accounts SET balance = balance + 1;
DELETE FROM deposits WHERE amount < 0;
CREATE TEMP TABLE passing (n int); DROP TABLE passing;
CREATE VIEW filled AS SELECT order_id FROM orders;
"""
PEOPLE = f"""
CREATE ROLE jane LOGIN PASSWORD '{PASSWORD}' IN ROLE forex_admin; CREATE ROLE bob LOGIN PASSWORD '{PASSWORD}';
GRANT SELECT, DELETE ON settings TO bob;
CREATE SCHEMA platform3_scratch; CREATE TABLE platform3_scratch.compared (n int); DROP SCHEMA platform3_scratch CASCADE;
"""
CRITICAL = [
    {"table": "orders", "settled_column": "created_at", "sum_column": "quantity"},
    {"table": "audit_log", "settled_column": "at", "sum_column": None},
]
ENTRIES = "SELECT count(*) FROM audit_log WHERE action LIKE 'sql.%'"


def query_of(environment: str) -> str:
    """The query that an inventory gives."""
    path = ROOT / f"inventories/{environment}/group_vars/all/platform.yml"
    found = [line for line in path.read_text().split("\n") if line]
    begin = found.index("postgresql_audit_query: >-")
    end = next(n for n in range(begin + 1, len(found)) if not found[n].startswith("  "))
    query: str = yaml.safe_load("\n".join(found[begin:end]))["postgresql_audit_query"]
    return query


@dataclass
class Audited:
    """A platform in which people took data away; what was done, as who, action, object, rows and transaction."""

    stage: Stage
    store: Store
    begun: float = 0.0
    deeds: list[tuple[str, str, str, int | None, int]] = field(default_factory=list)

    def do(self, who: str, sql: str, *told: tuple[str, str, int | None]) -> None:
        """Commit it in a transaction of its own, from a program called psql."""
        with self.connect(who) as connection, connection.transaction():
            xid = connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0]  # type: ignore[index]
            connection.execute(sql)
        self.deeds += [(who, *one, int(xid)) for one in told]

    def connect(self, who: str) -> psycopg.Connection[Any]:
        """As a person."""
        password = self.stage.secret("postgresql_password") if who == "forex_admin" else PASSWORD
        return psycopg.connect(
            host="127.0.0.1", port=self.stage.port, dbname="forex_trading", user=who, password=password,
            autocommit=True, application_name="psql",
        )  # fmt: skip

    def find(self, **changes: Any) -> dict[str, Any]:
        """Run the module."""
        given: dict[str, Any] = {
            "container": self.stage.container,
            "database": "forex_trading",
            "owner": "forex_admin",
            "query": query_of("lab"),
            "around": datetime.fromtimestamp(self.begun, UTC).isoformat(),
        }
        return self.stage.module("postgresql_audit_find_info", **{**given, **changes})

    def find_in_wal(self) -> dict[str, Any]:
        """The search of the WAL for the same time."""
        around = datetime.fromtimestamp(self.begun, UTC).isoformat()
        return self.stage.module("postgresql_wal_find_info", **self.store.shared(), around=around, many_rows=MANY)


@pytest.fixture(scope="module", name="audited")
def _audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    stage = Stage(tmp_path_factory.mktemp("audited"))
    try:
        stage.compose("run", "--rm", "--no-deps", "postgresql", "initialise")
        stage.compose("up", "--detach", "--no-deps", "postgresql")
        stage.execute((ROOT / "lab/schema.sql").read_text())
        stage.execute(ROWS)
        stage.superuser(PEOPLE)
        docker("exec", stage.container, "pgbackrest", "--stanza=platform3", "stanza-create")
        stage.compose("up", "--detach", "--no-deps", "wal-receiver")
        assert stage.execute(ENTRIES) == [(0,)]
        audited = Audited(stage, Store(stage, stage.folder))
        audited.store.make(NEWEST)
        # pgBackRest names the end of a backup by the second.
        time.sleep(1.1)
        audited.begun = time.time()
        audited.do("jane", "DELETE FROM audit_log", ("sql.delete", "public.audit_log", 1500))
        audited.do("jane", "DELETE FROM deposits", ("sql.delete", "public.deposits", 2000))
        emptied = [("sql.truncate", f"public.{one}", None) for one in ("orders", "executions")]
        audited.do("jane", "TRUNCATE orders CASCADE", *emptied)
        audited.do("forex_admin", "DROP TABLE positions", ("sql.drop", "table public.positions", None))
        audited.do("bob", "DELETE FROM settings WHERE key < '2'", ("sql.delete", "public.settings", 11))
        audited.do("jane", "DROP VIEW filled", ("sql.drop", "view public.filled", None))
        with audited.connect("jane") as connection, connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM settings; DROP TABLE settings")
        stage.await_streamed()
        yield audited
    finally:
        stage.clean()


def test_who_did_what_is_told_and_nothing_else(audited: Audited) -> None:
    found = audited.find()
    assert "events" in found, found
    told = [(one["actor"], one["action"], one["object"], one["rows"], one["xid"]) for one in found["events"]]
    assert sorted(told, key=lambda one: (one[4], one[2])) == sorted(audited.deeds, key=lambda one: (one[4], one[2]))
    assert {one["source"].split()[0] for one in found["events"]} == {"psql"}
    assert all(one["source"].split()[1].count(".") == 3 for one in found["events"])
    assert len(found["searched"]) == 1 and found["warnings_found"] == []
    assert audited.find(query=query_of("production"))["events"] == found["events"]


def test_who_it_was_stands_with_what_the_wal_tells(audited: Audited) -> None:
    wal, audit = audited.find_in_wal(), audited.find()
    empty = {"events": [], "searched": [{}], "warnings_found": []}
    results = {"postgresql": wal, "redis": empty, "influxdb": empty, "recovery": empty, AUDIT: audit}
    found = moments_of(results)
    assert found["problems"] == [] and found["notes"] == [], found["table"]
    told = [(one["found"]["kind"], one["audit"]) for one in found["events"] if one["component"] == "postgresql"]
    assert [(kind, sorted((one["actor"], one["action"], one["object"]) for one in deeds)) for kind, deeds in told] == [
        ("DELETE", [("jane", "sql.delete", "public.audit_log")]),
        ("DELETE", [("jane", "sql.delete", "public.deposits")]),
        ("TRUNCATE", [("jane", "sql.truncate", "public.executions"), ("jane", "sql.truncate", "public.orders")]),
        ("DROP TABLE", [("forex_admin", "sql.drop", "table public.positions")]),
    ]
    alone = [one for one in found["events"] if one["component"] == AUDIT]
    assert [(one["what"].split(" by ")[0], one["target"]) for one in alone] == [
        ("sql.delete public.settings", None),
        ("sql.drop view public.filled", None),
    ]
    assert max(map(len, found["table"])) <= 150, found["table"]


def test_only_what_lies_near_the_time_is_listed(audited: Audited) -> None:
    everything = audited.find()["events"]
    found = audited.find(around=everything[2]["at"], limit=1)
    assert found["events"] == [everything[2]] and "more than 1" in found["warnings_found"][0]
    # Also where the query itself forgets the time.
    forgotten = query_of("lab").partition(" AND at BETWEEN")[0]
    assert audited.find(query=forgotten)["events"] == everything
    assert audited.find(query=forgotten, around="2026-01-01T00:00:00Z", window_seconds=1)["events"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT at, actor FROM audit_log", "action"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT now() AS at, nextval('orders_order_id_seq')::text AS actor, '' AS action", "read-only"),
        ("SELECT now() AS at, pg_read_file('PG_VERSION') AS actor, '' AS action", "permission denied"),
        ("SELECT now() AS at, pg_sleep(9)::text AS actor, '' AS action", "timeout"),
    ],
)
def test_a_query_that_fails_is_a_problem(audited: Audited, query: str, said: str) -> None:
    columns = ", '' AS object, 1 AS rows, 1 AS xid, '' AS source"
    found = audited.find(query=query + columns if query.endswith("action") else query, timeout_seconds=1)
    assert found["error"]["code"] == "PRC-567", found
    assert said in found["error"]["found"]


def test_a_log_that_is_emptied_or_dropped_keeps_nobody_from_doing_it(audited: Audited) -> None:
    with audited.connect("jane") as connection, connection.transaction(force_rollback=True):
        connection.execute("TRUNCATE audit_log")
        rows = "SELECT actor, action, subject FROM audit_log"
        assert connection.execute(rows).fetchall() == [("jane", "sql.truncate", "public.audit_log")]
        connection.execute("DROP TABLE audit_log; DROP TABLE settings")
        assert connection.execute("SELECT to_regclass('settings')").fetchone() == (None,)


def test_a_server_that_is_gone_is_a_note_and_its_dump_tells_on(audited: Audited) -> None:
    stage = audited.stage
    told = stage.execute(ENTRIES)[0][0]
    assert told == len(audited.deeds)
    assert "content" in stage.backup(critical_tables=CRITICAL)
    docker("stop", stage.container)
    found = audited.find()
    assert (found["events"], found["searched"]) == ([], [])
    assert found["warnings_found"][0].startswith("the server does not answer (the container")
    stage.lose()
    assert "gone" in audited.find()["warnings_found"][0]

    # The triggers are made after the rows are loaded: they tell nothing of the restore, and all that comes after it.
    result = stage.restore("r-1", 5, method="logical")
    assert result.get("checks") and not [one for one in result["checks"] if not one["ok"]], result
    assert stage.execute(ENTRIES) == [(told,)]
    probe = {"write_probe": "INSERT INTO settings (scope, key, value) VALUES ('a', 'b', '1')", "invariants": []}
    system = {"system_identifier": result["system_identifier"], "method": "logical"}
    verified = stage.verify("r-1", 5, **system, **probe)
    assert verified.get("checks") and not [one for one in verified["checks"] if not one["ok"]], verified
    # A dump of the roles holds no passwords.
    stage.superuser(f"ALTER ROLE bob PASSWORD '{PASSWORD}'; ALTER ROLE jane PASSWORD '{PASSWORD}'")
    audited.do("bob", "DELETE FROM settings", ("sql.delete", "public.settings", 9))
    audited.do("jane", "DROP TABLE settings", ("sql.drop", "table public.settings", None))
    kept = "SELECT actor, action, subject FROM audit_log WHERE action LIKE 'sql.%' ORDER BY audit_id DESC LIMIT 2"
    assert stage.execute(kept) == [one[:3] for one in reversed(audited.deeds[-2:])]
    assert stage.execute(ENTRIES) == [(told + 2,)]
