# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of the lab's making under a Compose project, volume, port and backup store of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.scratch import ROOT, docker, free_port, logs, new_id, remove_platform, run_module, until

COMPOSE_FILES = ["compose.yaml", "sidecars/compose.yaml"]
IMAGE = "platform3/postgresql:17"
SET_ID = "20261123T051700Z"
SECRETS = [
    "postgresql_password", "postgresql_replication_password", "redis_password", "redis_services_password",
    "influxdb_password", "influxdb_token", "influxdb_market_data_token", "influxdb_analytics_token",
]  # fmt: skip
CRITICAL_TABLES = [{"table": "orders", "settled_column": "created_at", "sum_column": "quantity"}, {"table": "accounts"}]
INVARIANTS = [{"name": "orders of nothing", "query": "SELECT count(*) FROM orders WHERE quantity <= 0"}]
SCHEMA = """
CREATE TABLE accounts (account_id bigint PRIMARY KEY);
CREATE TABLE orders (order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL
  REFERENCES accounts, quantity numeric(12, 2) NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON orders (created_at);
INSERT INTO accounts SELECT generate_series(1, 100);
INSERT INTO orders (account_id, quantity, created_at)
  SELECT 1 + n % 100, n / 100.0, now() - interval '1 day' FROM generate_series(1, 20000) AS n;
"""


class Stage:
    """One environment: `id` labels and names all that it makes. With a lost one, its store and secrets are copied."""

    def __init__(self, folder: Path, lost: Stage | None = None) -> None:
        self.folder = folder
        self.id = new_id()
        self.port = free_port()
        self.store = folder / "store"
        self.container = f"{self.id}-forex-postgres"
        self.content: dict[str, Any] = {}
        (folder / "run" / "redis").mkdir(parents=True)
        if lost:
            shutil.copytree(lost.folder / "secrets", folder / "secrets")
            subprocess.run(["cp", "--archive", lost.store, self.store], check=True)
            self.content = lost.content
        else:
            self._make_store()
        variables = {
            "COMPOSE_PROJECT_NAME": self.id,
            "PLATFORM3_ENVIRONMENT_ID": self.id,
            "PLATFORM3_CONTAINER_PREFIX": f"{self.id}-",
            "BACKUP_STORE_PATH": self.store,
            "PLATFORM3_SECRETS_PATH": folder / "secrets",
            "PLATFORM3_RUN_PATH": folder / "run",
            "HEARTBEAT_PATH": folder / "run",
            "SECOND_COPY_STATE_PATH": folder / "run",
            "SECOND_COPY_URL": "unused",
            "SECOND_COPY_BUCKET": "unused",
            "POSTGRESQL_PORT": self.port,
        }
        (folder / "compose.env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))

    def _make_store(self) -> None:
        for name in ("pgbackrest", "wal-stream", "fence"):
            (self.store / name).mkdir(parents=True)
        for name in ("pgbackrest", "wal-stream"):
            os.chown(self.store / name, 999, 999)
        (self.store / "fence" / "epoch").write_text("1")
        (self.store / "fence" / "wal_stream").write_text("initial")
        (self.folder / "secrets").mkdir()
        for name in SECRETS:
            self.set_secret(name, secrets.token_hex(12))

    # The environment

    def secret(self, name: str) -> str:
        """A current secret."""
        return (self.folder / "secrets" / name).read_text()

    def set_secret(self, name: str, value: str) -> None:
        """Give a secret another value, as a rotation does."""
        path = self.folder / "secrets" / name
        path.unlink(missing_ok=True)
        path.write_text(value)
        path.chmod(0o444)

    @property
    def volume(self) -> str:
        """The engine's name of the volume."""
        return f"{self.id}_postgresql-data"

    @property
    def compose_input(self) -> dict[str, Any]:
        """The modules' `compose` input."""
        return {
            "project": self.id,
            "directory": str(ROOT / "lab"),
            "files": COMPOSE_FILES,
            "env_file": str(self.folder / "compose.env"),
        }

    def compose(self, *arguments: str) -> str:
        """Run Compose on the project."""
        where = [f"--file={ROOT}/lab/{name}" for name in COMPOSE_FILES]
        return docker(
            "compose", "--project-name", self.id, *where, "--env-file", f"{self.folder}/compose.env", *arguments
        )

    def start(self) -> None:
        """A new database with a schema and rows, archived and streamed."""
        self.compose("run", "--rm", "--no-deps", "postgresql", "initialise")
        self.compose("up", "--detach", "--no-deps", "postgresql")
        self.execute(SCHEMA)
        docker("exec", self.container, "pgbackrest", "--stanza=platform3", "stanza-create")
        self.compose("up", "--detach", "--no-deps", "wal-receiver")

    def connect(self) -> psycopg.Connection[Any]:
        """A connection as the owner, once the server answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(
                    host="127.0.0.1", port=self.port, dbname="forex_trading", user="forex_admin",
                    password=self.secret("postgresql_password"), autocommit=True,
                )  # fmt: skip
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{error}\n{logs(self.container)}") from error
                time.sleep(0.1)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL as the owner and give what it answers."""
        with self.connect() as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def superuser(self, sql: str) -> str:
        """Run SQL as the superuser inside the container."""
        return docker("exec", self.container, "psql", "-XAtq", "-d", "forex_trading", "-c", sql)

    def trade(self, count: int, switches: int = 0) -> None:
        """Commit orders one by one, and end a WAL segment so many times on the way."""
        with self.connect() as connection:
            for number in range(count):
                connection.execute("INSERT INTO orders (account_id, quantity) VALUES (1, 0.1)")
                if switches and (number + 1) % (count // switches) == 0:
                    self.superuser("SELECT pg_switch_wal()")

    def orders(self) -> int:
        """How many orders there are."""
        return int(self.execute("SELECT count(*) FROM orders")[0][0])

    def await_streamed(self) -> None:
        """Wait until the receiver has on disk what was written until now, so that nothing more can be lost."""
        lsn = self.superuser("SELECT pg_current_wal_flush_lsn()")
        query = f"SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{lsn}'"
        until(lambda: self.superuser(query) == "1", 60, "all of it streamed", f"{self.id}-forex-wal-receiver")

    def await_archived(self) -> None:
        """Wait until every ended segment is in the archive."""
        query = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
        until(lambda: self.superuser(query) == "0", 60, "all of it archived", self.container)

    def kill(self) -> None:
        """SIGKILL, and the containers are gone; the volume stays."""
        names = [self.container, f"{self.id}-forex-wal-receiver"]
        docker("kill", *names, check=False)
        docker("rm", "--force", *names)

    def lose(self) -> None:
        """Everything but the store is gone."""
        self.kill()
        docker("volume", "rm", self.volume)

    def clean(self) -> None:
        """All that this stage made goes away."""
        remove_platform(self.id)

    # The store

    def archived(self) -> dict[str, Path]:
        """The archive's segments by name."""
        found = (self.store / "pgbackrest" / "archive").rglob("*.lz4")
        return {path.name.partition("-")[0]: path for path in found}

    def streamed(self) -> dict[str, Path]:
        """The stream's files by name."""
        return {path.name: path for path in (self.store / "wal-stream").rglob("*") if path.is_file()}

    # The modules

    def module(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Run a module as Ansible does and give its result."""
        return run_module(self.folder, name, arguments, unsaid=map(self.secret, SECRETS[:2]))

    def backup(self, **arguments: Any) -> dict[str, Any]:
        """Run the backup module; its content is kept."""
        path = self.folder / "store" / SET_ID
        path.mkdir(exist_ok=True)
        result = self.module(
            "postgresql_backup",
            **{
                **self.shared("b-1", 1),
                "image": IMAGE,
                "environment_id": self.id,
                "set_path": str(path),
                "set_id": SET_ID,
                "critical_tables": CRITICAL_TABLES,
                **arguments,
            },
        )
        self.content = result.get("content", self.content)
        return result

    def shared(self, recovery_id: str, epoch: int) -> dict[str, Any]:
        """Inputs that most modules have."""
        return {
            "fence": {"recovery_id": recovery_id, "epoch": epoch},
            "container": self.container,
            "backup_store_path": str(self.store),
            "stanza": "platform3",
            "database": "forex_trading",
        }

    def restore_arguments(self, recovery_id: str, epoch: int, **arguments: Any) -> dict[str, Any]:
        """The restore module's input."""
        shared = self.shared(recovery_id, epoch)
        del shared["stanza"]
        return {
            **shared,
            "compose": self.compose_input,
            "service": "postgresql",
            "image": IMAGE,
            "volume": "postgresql-data",
            "environment_id": self.id,
            "set_path": str(self.store / SET_ID),
            "content": self.content,
            "owner": "forex_admin",
            "role_passwords": {
                "forex_admin": self.secret("postgresql_password"),
                "wal_receiver": self.secret("postgresql_replication_password"),
            },
            "progress_path": str(self.folder / "progress"),
            **arguments,
        }

    def restore(self, recovery_id: str, epoch: int, **arguments: Any) -> dict[str, Any]:
        """Run the restore module."""
        return self.module("postgresql_restore", **self.restore_arguments(recovery_id, epoch, **arguments))

    def wal_info(self, **arguments: Any) -> dict[str, Any]:
        """Run the preflight look at the WAL."""
        return self.module(
            "postgresql_wal_info",
            fence={"recovery_id": "r-1", "epoch": 2},
            compose=self.compose_input,
            service="postgresql",
            image=IMAGE,
            environment_id=self.id,
            backup_store_path=str(self.store),
            **{"content": self.content, **arguments},
        )

    def verify(self, recovery_id: str, epoch: int, **arguments: Any) -> dict[str, Any]:
        """Run the checks."""
        shared = self.shared(recovery_id, epoch)
        del shared["backup_store_path"]
        return self.module(
            "postgresql_verify_info",
            **{
                **shared,
                "port": self.port,
                "owner": "forex_admin",
                "password": self.secret("postgresql_password"),
                "content": self.content,
                "invariants": INVARIANTS,
                "write_probe": "INSERT INTO orders (account_id, quantity) VALUES (1, 0.1)",
                **arguments,
            },
        )

    def resume(self, recovery_id: str, epoch: int, **arguments: Any) -> dict[str, Any]:
        """Let the stream begin again."""
        return self.module(
            "postgresql_resume",
            **self.shared(recovery_id, epoch),
            compose=self.compose_input,
            service="postgresql",
            image=IMAGE,
            volume="postgresql-data",
            environment_id=self.id,
            role_passwords={"forex_admin": self.secret("postgresql_password")},
            receiver_service="wal-receiver",
            **arguments,
        )

    def put_back(self, recovery_id: str, epoch: int) -> dict[str, Any]:
        """Put the old data of a recovery back, as rollback.yml does."""
        return self.module(
            "quarantine",
            fence={"recovery_id": recovery_id, "epoch": epoch},
            compose=self.compose_input,
            state="put_back",
            component="postgresql",
            service="postgresql",
            volume="postgresql-data",
            image=IMAGE,
            environment_id=self.id,
        )

    def is_untouched(self) -> bool:
        """Whether there is no data folder in the volume and no server on it."""
        running = docker("ps", "--quiet", "--filter", f"volume={self.volume}")
        if not docker("volume", "ls", "--quiet", "--filter", f"name={self.volume}"):
            return not running
        look = "ls -A /var/lib/platform3/data 2>/dev/null || true"
        return not running and not docker(
            "run", "--rm", "--volume", f"{self.volume}:/var/lib/platform3", IMAGE, "bash", "-c", look
        )
