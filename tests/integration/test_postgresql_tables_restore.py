# SPDX-License-Identifier: GPL-3.0-or-later
"""Chosen tables of a real PostgreSQL: emptied, merged, broken, killed half-way, brought back and put back."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.postgresql_stage import Stage
from tests.integration.scratch import ROOT, docker, start_module, until

ORDERS = 4000
TABLES = ("users", "accounts", "orders", "executions", "deposits", "settings", "ledger", "notes")
# Beside the lab's tables: what is computed, what has no key, names that need quotes, and what is not supported.
MORE = f"""
CREATE TABLE ledger (entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL,
  amount numeric(18, 2) NOT NULL, cents bigint GENERATED ALWAYS AS ((amount * 100)::bigint) STORED, proof json);
CREATE TABLE notes (at timestamptz, text text);
CREATE SCHEMA "Old.Desk";
CREATE TABLE "Old.Desk"."Trade""s" ("Id" serial PRIMARY KEY, "from" text UNIQUE);
CREATE TABLE prices (at timestamptz, price numeric) PARTITION BY RANGE (at);
CREATE VIEW filled AS SELECT order_id FROM orders WHERE status = 'filled';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'a trigger fired'; END$$;
INSERT INTO users (user_id, username, password_hash) SELECT n, 'user' || n, 'x' FROM generate_series(1, 50) AS n;
INSERT INTO accounts (account_id, user_id, balance, equity, used_margin, free_margin, opening_balance)
  SELECT n, n, 1000, 1000, 0, 1000, 1000 FROM generate_series(1, 50) AS n;
INSERT INTO orders (account_id, symbol, type, side, quantity, price, status)
  SELECT 1 + n % 50, 'EURUSD', 'market', 'buy', n / 100.0, 1.1, 'filled' FROM generate_series(1, {ORDERS}) AS n;
INSERT INTO executions (order_id, account_id, symbol, side, quantity, price, commission)
  SELECT order_id, account_id, symbol, side, quantity, price, 0.1 FROM orders ORDER BY order_id;
INSERT INTO deposits (account_id, amount) SELECT 1 + n % 50, n FROM generate_series(1, 200) AS n;
INSERT INTO settings (scope, key, value) SELECT 'user', n::text, to_jsonb(repeat(md5(n::text), 4000))
  FROM generate_series(1, 20) AS n;
INSERT INTO ledger (account_id, amount, proof) SELECT n, n / 3.0, '{{"a": 1}}' FROM generate_series(1, 500) AS n;
INSERT INTO notes SELECT now(), 'tab\t, "quote", \\ and ' || n / 3 FROM generate_series(1, 300) AS n;
INSERT INTO notes VALUES (NULL, NULL), (NULL, NULL);
INSERT INTO "Old.Desk"."Trade""s" ("from") VALUES ('a'), ('b'), ('c');
"""
PRISTINE = "pristine"


class TablesStage(Stage):
    """A database with the lab's own schema, whose state at the backup stands beside, to begin each test with."""

    def start(self) -> None:
        self.compose("run", "--rm", "--no-deps", "postgresql", "initialise")
        self.compose("up", "--detach", "--no-deps", "postgresql")
        self.execute((ROOT / "lab/schema.sql").read_text())
        self.execute(MORE)
        docker("exec", self.container, "pgbackrest", "--stanza=platform3", "stanza-create")
        self.made = self.backup()
        assert "artefacts" in self.made, self.made
        self.server(f"CREATE DATABASE {PRISTINE} TEMPLATE forex_trading STRATEGY file_copy")

    def server(self, sql: str) -> str:
        """Run SQL as the superuser in another database than the live one."""
        return docker("exec", self.container, "psql", "-XAtq", "-d", "postgres", "-c", sql)

    def begin_anew(self) -> None:
        """The live database is again what was backed up."""
        self.server("DROP DATABASE forex_trading WITH (FORCE)")
        self.server(f"CREATE DATABASE forex_trading TEMPLATE {PRISTINE} OWNER forex_admin STRATEGY file_copy")

    @property
    def dump(self) -> dict[str, Any]:
        """The dump, as a manifest lists it."""
        record = next(one for one in self.made["artefacts"] if one["kind"] == "dump")
        return {key: record[key] for key in ("path", "bytes", "sha256")}

    def arguments(self, *tables: str, recovery_id: str = "r-1", **arguments: Any) -> dict[str, Any]:
        """The module's input: from the dump, unless another source is given."""
        source = {} if "source_postgresql" in arguments else {"artefact": self.dump}
        return {
            "fence": {"recovery_id": recovery_id, "epoch": 2},
            "container": self.container,
            "stanza": "platform3",
            "database": "forex_trading",
            "tables": list(tables),
            "set_path": self.content_path,
            "progress_path": str(self.folder / "progress"),
            **source,
            **arguments,
        }

    @property
    def content_path(self) -> str:
        """Folder of the backup set."""
        return str(next(self.store.glob("2026*")))

    def tables(self, *tables: str, **arguments: Any) -> dict[str, Any]:
        """Run the module; whatever it did, nothing is left beside."""
        result = self.module("postgresql_tables_restore", **self.arguments(*tables, **arguments))
        assert self.leftovers() == "0", result
        return result

    def leftovers(self) -> str:
        """How many scratch databases and schemas there are."""
        return self.superuser(
            "SELECT (SELECT count(*) FROM pg_database WHERE datname = 'platform3_scratch')"
            " + (SELECT count(*) FROM pg_namespace WHERE nspname = 'platform3_scratch')"
        )

    def digest(self, *tables: str) -> dict[str, str]:
        """What tables hold, in any order of their rows."""
        query = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\"), '')) FROM {} AS t"
        return {one: str(self.execute(query.format(one))[0][0]) for one in tables or TABLES}

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self.execute(f"SELECT count(*) FROM {table}")[0][0])


@pytest.fixture(scope="module", name="shared")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TablesStage]:
    stage = TablesStage(tmp_path_factory.mktemp("tables"))
    try:
        stage.start()
        yield stage
    finally:
        stage.clean()


@pytest.fixture(name="stage")
def _stage(shared: TablesStage) -> TablesStage:
    shared.begin_anew()
    return shared


@contextlib.contextmanager
def locked(stage: TablesStage, table: str, mode: str, database: str = "forex_trading") -> Iterator[None]:
    """Another session that holds a lock on a table, as the superuser inside the container would."""
    password = stage.secret("postgresql_password")
    with psycopg.connect(
        host="127.0.0.1", port=stage.port, dbname=database, user="forex_admin", password=password
    ) as other:
        other.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield
        other.rollback()


def figures(result: dict[str, Any], *keys: str) -> dict[str, tuple[int, ...]]:
    """Some figures of each table."""
    assert "tables" in result, result
    return {
        one["table"]: tuple(one[key] for key in keys or ("added", "removed", "changed")) for one in result["tables"]
    }


def code(result: dict[str, Any]) -> str:
    """The code of a failure."""
    assert result.get("failed"), result
    return str(result["error"]["code"])


def test_a_delete_without_where_is_undone_and_nothing_else_is_touched(stage: TablesStage) -> None:
    before = stage.digest()
    number = stage.execute("SELECT nextval('executions_execution_id_seq')")[0][0]
    stage.execute("DELETE FROM executions")
    emptied = stage.digest()

    foreseen = stage.tables("executions", _ansible_check_mode=True)
    assert foreseen["changed"] and figures(foreseen) == {"public.executions": (ORDERS, 0, 0)}
    assert {one["table"] for one in foreseen["locks"]} == {"public.executions", "public.orders", "public.accounts"}
    assert stage.digest() == emptied

    result = stage.tables("executions")
    assert result["changed"] and figures(result) == {"public.executions": (ORDERS, 0, 0)}, result
    assert stage.digest() == before
    assert result["sequences"] == []
    assert stage.execute("SELECT nextval('executions_execution_id_seq')")[0][0] == number + 1
    assert len(result["checks"]) >= 5 and all(one["ok"] for one in result["checks"])
    assert result["locked_seconds"] > 0 and result["bytes"] > 0
    assert f"{ORDERS} rows added" in result["diff"]["after"]

    # The next run of the same recovery finds it done, whatever was written since.
    stage.execute("DELETE FROM executions WHERE execution_id = 1")
    again = stage.tables("executions")
    assert (again["changed"], again["diff"]["after"]) == (False, "")
    assert stage.count("executions") == ORDERS - 1
    assert code(stage.tables("executions", mode="merge")) == "PRC-598"
    assert code(stage.tables("executions", "orders")) == "PRC-598"


def test_merge_adds_what_is_missing_and_leaves_what_was_written_since(stage: TablesStage) -> None:
    stage.execute("DELETE FROM executions WHERE order_id % 2 = 0; DELETE FROM orders WHERE order_id % 2 = 0")
    stage.execute("UPDATE orders SET quantity = 7 WHERE order_id IN (1, 3)")
    stage.execute(
        "INSERT INTO orders (account_id, symbol, type, side, quantity, price, status)"
        " SELECT 1, 'EURUSD', 'market', 'buy', 1, 1, 'filled' FROM generate_series(1, 10)"
    )
    result = stage.tables("orders", "public.executions", mode="merge")
    assert figures(result, "added", "removed", "changed", "differing") == {
        "public.orders": (ORDERS // 2, 0, 0, 2),
        "public.executions": (ORDERS // 2, 0, 0, 0),
    }
    orders = next(one for one in result["tables"] if one["table"] == "public.orders")
    assert sorted(one["order_id"] for one in orders["differing_keys"]) == [1, 3]
    assert stage.count("orders") == ORDERS + 10
    assert stage.count("orders WHERE quantity = 7 AND order_id IN (1, 3)") == 2
    assert stage.digest("executions") == _pristine(stage, "executions")

    # Putting that back takes away what was added, and only that.
    assert figures(stage.tables("orders", "executions", state="put_back")) == figures(result)
    assert stage.count("orders") == ORDERS // 2 + 10
    assert stage.count("executions") == ORDERS // 2
    assert stage.tables("orders", "executions", state="put_back")["changed"] is False
    assert code(stage.tables("orders", "executions", mode="merge")) == "PRC-598"


def _pristine(stage: TablesStage, *tables: str) -> dict[str, str]:
    """What tables held at the backup."""
    query = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM {} AS t"
    argv = ["exec", stage.container, "psql", "-XAtq", "-d", PRISTINE, "-c"]
    return {one: docker(*argv, query.format(one)) for one in tables}


def test_swap_brings_back_every_kind_of_row_and_puts_back_what_it_replaced(stage: TablesStage) -> None:
    chosen = ("ledger", "notes", "settings", '"Old.Desk"."Trade""s"')
    stage.execute(
        "DELETE FROM ledger WHERE entry_id <= 100; UPDATE ledger SET amount = 0 WHERE entry_id > 400;"
        " INSERT INTO ledger (account_id, amount) VALUES (1, 1), (2, 2);"
        " DELETE FROM notes WHERE ctid IN (SELECT min(ctid) FROM notes GROUP BY text);"
        " INSERT INTO notes VALUES (NULL, 'x');"
        " UPDATE settings SET value = '1' WHERE setting_id <= 5;"
        # Values of a unique column that change places, which one row after another could not take back.
        """ UPDATE "Old.Desk"."Trade""s" SET "from" = 'z' WHERE "Id" = 1;"""
        """ UPDATE "Old.Desk"."Trade""s" SET "from" = 'a' WHERE "Id" = 2;"""
        """ UPDATE "Old.Desk"."Trade""s" SET "from" = 'b' WHERE "Id" = 1;"""
        # A number far behind what the source gave, and triggers that must not fire.
        " ALTER SEQUENCE ledger_entry_id_seq RESTART WITH 7;"
        " CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON ledger EXECUTE FUNCTION refuse();"
    )
    damaged = stage.digest(*chosen)
    names = ["ledger", "notes", "settings"]
    source = {"container": stage.container, "database": PRISTINE}
    result = stage.tables(*names, source_postgresql=source)
    assert figures(result)["public.ledger"] == (100, 2, 100)
    assert figures(result)["public.settings"] == (0, 0, 5)
    assert figures(result)["public.notes"][1:] == (1, 0)
    assert {one: stage.digest(one)[one] for one in names} == _pristine(stage, *names)
    assert result["sequences"] == [{"sequence": "public.ledger_entry_id_seq", "before": 7, "after": 502}]

    stage.superuser("ALTER TABLE ledger DISABLE TRIGGER t")
    stage.execute("INSERT INTO ledger (account_id, amount) VALUES (9, 9); INSERT INTO notes VALUES (NULL, 'since')")
    assert stage.execute("SELECT max(entry_id) FROM ledger")[0][0] == 503
    look = stage.tables(*names, state="put_back", _ansible_check_mode=True)
    assert look.get("changed"), look
    assert stage.count("ledger WHERE amount = 9 AND account_id = 9") == 1
    assert stage.tables(*names, state="put_back")["changed"]
    assert stage.count("notes WHERE text = 'since'") == 1
    stage.execute("DELETE FROM ledger WHERE account_id = 9 AND amount = 9; DELETE FROM notes WHERE text = 'since'")
    assert stage.digest(*chosen) == damaged

    # A row that was altered since is named, and none is put back.
    assert stage.tables(*names, source_postgresql=source, recovery_id="r-2")["changed"]
    stage.execute("UPDATE ledger SET amount = 5 WHERE entry_id = 42")
    before = stage.digest()
    refused = stage.tables(*names, state="put_back", recovery_id="r-2")
    assert code(refused) == "PRC-598" and "entry_id=42" in refused["msg"]
    assert stage.digest() == before


def test_names_that_need_quotes_and_values_that_change_places(stage: TablesStage) -> None:
    # A dot inside a name cannot be asked for: the form is schema.table.
    stage.superuser('ALTER SCHEMA "Old.Desk" RENAME TO "Old Desk"')
    stage.server(f"ALTER DATABASE {PRISTINE} RENAME TO held")
    try:
        docker(
            "exec", stage.container, "psql", "-XAtq", "-d", "held", "-c", 'ALTER SCHEMA "Old.Desk" RENAME TO "Old Desk"'
        )
        table = '"Old Desk"."Trade""s"'
        before = stage.digest(table)
        stage.execute(
            f"""UPDATE {table} SET "from" = 'z' WHERE "Id" = 1; UPDATE {table} SET "from" = 'a' WHERE "Id" = 2;
            UPDATE {table} SET "from" = 'b' WHERE "Id" = 1; DELETE FROM {table} WHERE "Id" = 3"""
        )
        source = {"container": stage.container, "database": "held"}
        result = stage.tables('Old Desk.Trade"s', source_postgresql=source)
        assert figures(result) == {'Old Desk.Trade"s': (1, 0, 2)}
        assert stage.digest(table) == before
    finally:
        docker(
            "exec", stage.container, "psql", "-XAtq", "-d", "held", "-c", 'ALTER SCHEMA "Old Desk" RENAME TO "Old.Desk"'
        )
        stage.server(f"ALTER DATABASE held RENAME TO {PRISTINE}")


def test_rows_that_would_dangle_are_refused_with_their_keys(stage: TablesStage) -> None:
    # The restored rows' parents are gone.
    stage.execute("DELETE FROM executions; DELETE FROM orders WHERE order_id <= 20")
    before = stage.digest()
    for mode in ("swap", "merge"):
        refused = stage.tables("executions", mode=mode)
        assert code(refused) == "PRC-595", refused
        assert "20 rows: " in refused["msg"] and "order_id=1, execution_id=1" in refused["msg"], refused["msg"]
        assert "and 10 more" in refused["msg"] and "public.orders" in refused["msg"]
        assert code(stage.tables("executions", mode=mode, _ansible_check_mode=True)) == "PRC-595"
    assert stage.digest() == before
    assert figures(stage.tables("executions", "orders", mode="merge"))["public.orders"] == (20, 0, 0)

    # Live rows would lose theirs.
    made = stage.execute(
        "WITH o AS (INSERT INTO orders (account_id, symbol, type, side, quantity, price, status)"
        " VALUES (1, 'EURUSD', 'market', 'buy', 1, 1, 'filled') RETURNING order_id)"
        " INSERT INTO executions (order_id, account_id, symbol, side, quantity, price, commission)"
        " SELECT order_id, 1, 'EURUSD', 'buy', 1, 1, 0 FROM o RETURNING order_id"
    )
    before = stage.digest()
    refused = stage.tables("orders", recovery_id="r-2")
    assert code(refused) == "PRC-595" and f"order_id={made[0][0]}" in refused["msg"], refused
    assert stage.digest() == before
    assert figures(stage.tables("orders", "executions", recovery_id="r-2"))["public.orders"] == (0, 1, 0)
    assert stage.digest("orders", "executions") == _pristine(stage, "orders", "executions")


def test_a_kill_half_way_changes_nothing_and_the_next_run_goes_on(stage: TablesStage) -> None:
    # The quarantine is there from another recovery, and belongs to the role that holds the lock in this test.
    assert stage.tables("notes", recovery_id="r-0")["changed"] is False
    stage.superuser(
        "GRANT USAGE ON SCHEMA platform3_quarantine TO forex_admin;"
        " ALTER TABLE platform3_quarantine.tables OWNER TO forex_admin"
    )
    stage.execute("DELETE FROM executions; UPDATE orders SET quantity = 1")
    damaged = stage.digest()
    arguments = stage.arguments("orders", "executions", lock_timeout_seconds=60)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'platform3.recovery tables'"
        " AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO \"platform3_quarantine\".\"tables\"%'"
    )
    # Killed inside the transaction, when rows have been exchanged already.
    with locked(stage, "platform3_quarantine.tables", "SHARE"):
        module = start_module(stage.folder, "postgresql_tables_restore", arguments)
        until(lambda: stage.superuser(waiting) == "1", 120, "the transaction is in its middle")
        module.kill()
        module.wait()
        assert stage.digest() == damaged
        assert stage.leftovers() != "0"
    assert stage.digest() == damaged
    # Killed while the dump is loaded.
    module = start_module(stage.folder, "postgresql_tables_restore", arguments)
    until(lambda: int(stage.leftovers()) > 0, 120, "the scratch is there")
    module.kill()
    module.wait()
    assert stage.digest() == damaged

    result = stage.tables("orders", "executions")
    assert figures(result) == {"public.orders": (0, 0, ORDERS - 1), "public.executions": (ORDERS, 0, 0)}
    assert stage.digest("orders", "executions") == _pristine(stage, "orders", "executions")


def test_a_lock_that_is_not_to_be_had_changes_nothing(stage: TablesStage) -> None:
    stage.execute("DELETE FROM executions")
    damaged = stage.digest()
    with locked(stage, "orders", "ROW EXCLUSIVE"):
        refused = stage.tables("executions", lock_timeout_seconds=1)
    assert code(refused) == "PRC-597" and "lock timeout" in refused["msg"]
    assert stage.digest() == damaged
    assert stage.superuser("SELECT to_regnamespace('platform3_quarantine') IS NULL") == "t"


def test_a_constraint_of_the_live_tables_is_never_broken(stage: TablesStage) -> None:
    stage.execute("DELETE FROM settings WHERE setting_id = 3")
    stage.execute("INSERT INTO settings (scope, key, value) VALUES ('user', '3', '1')")
    before = stage.digest()
    refused = stage.tables("settings", mode="merge")
    assert code(refused) == "PRC-596" and "duplicate key" in refused["msg"]
    assert stage.digest() == before


def test_bad_input_is_refused_before_anything_is_touched(stage: TablesStage, tmp_path: Path) -> None:
    stage.execute("CREATE TABLE newer (id bigint PRIMARY KEY)")
    before = stage.digest()
    unknown = stage.tables("execution")
    assert code(unknown) == "PRC-590" and "nearest: public.executions" in unknown["msg"]
    assert code(stage.tables("a.b.c")) == "PRC-590"
    assert code(stage.tables("orders", artefact=None)) == "PRC-524"
    assert code(stage.tables("newer")) == "PRC-591"
    assert (
        code(stage.tables("newer", source_postgresql={"container": stage.container, "database": PRISTINE})) == "PRC-591"
    )
    assert code(stage.tables("prices")) == "PRC-593"
    assert code(stage.tables("filled")) == "PRC-593"
    assert code(stage.tables("notes", mode="merge")) == "PRC-594"
    assert code(stage.tables("orders", state="put_back")) == "PRC-598"
    stage.execute("ALTER TABLE deposits ADD COLUMN fee numeric, DROP COLUMN kind, ALTER reference TYPE varchar(80)")
    differs = stage.tables("deposits")
    assert code(differs) == "PRC-592"
    assert all(
        one in differs["msg"] for one in ("fee is missing in the source", "kind is missing in the live", "reference")
    )
    damaged = {**stage.dump, "sha256": "0" * 64}
    assert code(stage.tables("orders", artefact=damaged)) == "PRC-599"
    outside = {**stage.dump, "path": "../../secrets/redis_password"}
    assert code(stage.tables("orders", artefact=outside)) == "PRC-599"
    broken = tmp_path / "broken"
    broken.write_bytes(b"PGDMP no more")
    record = {"path": "broken", "bytes": 13, "sha256": hashlib.sha256(b"PGDMP no more").hexdigest()}
    assert code(stage.tables("orders", artefact=record, set_path=str(tmp_path))) == "PRC-599"
    assert {**before, **stage.digest("orders", "executions", "notes")} == before
