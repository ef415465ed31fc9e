# SPDX-License-Identifier: GPL-3.0-or-later
"""The old procedure's steps as a person types them, one after the other, each timed.

It has no WAL receiver and no archive: the receiver is not started, and the new volumes get epoch 0, which the archive
command refuses, so that nothing of this reaches the backup store.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.platform3.recovery.plugins.module_utils._gateway import Gateway
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi

from tests.benchmarks import old_influxdb
from tests.benchmarks.lab import Lab, say, trade

DATASTORES = ("postgresql", "redis", "influxdb")
WAIT_SECONDS = 300
POLL_SECONDS = 0.25
# The append-only log is off, else Redis ignores the RDB.
WITHOUT_LOG = {"services": {"redis": {"command": ["redis-server", "/etc/platform3/redis.conf", "--appendonly", "no"]}}}
# Steps that move data; the others check, empty, start or ask.
MOVING = ("pg_restore", "RDB copied in and loaded", "InfluxDB shards one by one")


class OldProcedure:
    """One pass; `seconds` holds each step's time, in order."""

    def __init__(self, lab: Lab, backup_set: Path, scratch: Path) -> None:
        self.lab = lab
        self.set = backup_set
        self.seconds: dict[str, float] = {}
        self._influxdb_files = old_influxdb.compress(backup_set, scratch)
        override = scratch / "compose.json"
        override.write_text(json.dumps(WITHOUT_LOG), encoding="utf-8")
        self._compose = lab.compose("-f", str(override))
        services = subprocess.run([*self._compose, "config", "--services"], capture_output=True, text=True, check=True)
        beside = (*DATASTORES, "wal-receiver", "aof-shipper")
        self._services = [name for name in services.stdout.split() if name not in beside]
        self._api = InfluxApi(lab.facts["influxdb_url"], lab.secret("influxdb_token"), 60)
        self._dump = one_of(backup_set, "postgresql/*.custom")
        self._rdb = one_of(backup_set, "redis/*.rdb")

    def run(self) -> float:
        """All of it, from the loss to the trade read back; the seconds it took."""
        steps: dict[str, Callable[[], None]] = {
            "docker compose down, volumes removed": self._down,
            "sha256sum --check": self._check,
            "empty datastores made and started": self._start,
            MOVING[0]: self._postgresql,
            MOVING[1]: self._redis,
            MOVING[2]: self._influxdb,
            "services started until a trade is read back": self._services_up,
        }
        began = time.monotonic()
        for name, step in steps.items():
            say(f"old procedure: {name}")
            step_began = time.monotonic()
            step()
            self.seconds[name] = time.monotonic() - step_began
        return time.monotonic() - began

    def _run(self, *argv: str, stdin: Path | None = None) -> str:
        """What a command prints, run in the set's folder; the new volumes' epoch is 0."""
        with open(stdin or os.devnull, "rb") as source:
            environment = {**os.environ, "PLATFORM3_EPOCH": "0"}
            done = subprocess.run(argv, stdin=source, capture_output=True, cwd=self.set, env=environment, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode('utf-8', 'replace')[-1000:]}")
        return done.stdout.decode("utf-8", "replace").strip()

    def _one_shot(self, service: str, *argv: str, stdin: Path | None = None) -> None:
        self._run(*self._compose, "run", "--rm", "--no-deps", "-T", service, *argv, stdin=stdin)

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come within {WAIT_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def _succeeds(self, *argv: str) -> bool:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def _down(self) -> None:
        self._run(*self._compose, "down", "--volumes", "--remove-orphans")

    def _check(self) -> None:
        self._run("sha256sum", "--check", "--quiet", one_of(self.set, "verification_*.txt").name)

    def _start(self) -> None:
        for service in DATASTORES:
            self._one_shot(service, "initialise")
        self._run(*self._compose, "up", "--detach", "--no-deps", "postgresql", "influxdb")
        container = self.lab.facts["postgresql_container"]
        self._await("PostgreSQL", lambda: self._succeeds("docker", "exec", container, "pg_isready", "--quiet"))
        self._api.await_ready(WAIT_SECONDS)

    def _postgresql(self) -> None:
        restore = ["pg_restore", "--clean", "--if-exists", "--username=postgres", "--dbname=forex_trading"]
        self._run("docker", "exec", "-i", self.lab.facts["postgresql_container"], *restore, stdin=self._dump)

    def _redis(self) -> None:
        self._one_shot("redis", "bash", "-c", "cat >/var/lib/platform3/data/dump.rdb", stdin=self._rdb)
        self._run(*self._compose, "up", "--detach", "--no-deps", "redis")
        self._await("Redis", lambda: bool(self.redis_keys()))

    def _influxdb(self) -> None:
        old_influxdb.restore(self._api.url, self.lab.secret("influxdb_token"), self._influxdb_files)

    def _services_up(self) -> None:
        self._run(*self._compose, "up", "--detach", "--no-deps", *self._services)
        gateway = Gateway(self.lab.facts["platform_gateway_url"])
        password = self.lab.secret("recovery_password")
        self._await("a trade", lambda: trade(gateway, password) is not None)

    def redis_keys(self) -> int:
        """How many keys Redis holds; 0 while it does not answer or loads."""
        import redis

        try:
            with redis.Redis(
                port=self.lab.facts["redis_port"], username="forex_admin", password=self.lab.secret("redis_password")
            ) as client:
                return sum(int(one["keys"]) for one in client.info("keyspace").values())
        except redis.RedisError:
            return 0

    def missing(self) -> list[str]:
        """What did not come back, so that no time is taken of a restore that did not restore."""
        content = self.lab.manifest(self.set)["components"]
        wrong = []
        for table in content["postgresql"]["figures"]["tables"]:
            rows = int(self.lab.sql(f"SELECT count(*) FROM {table['table']}"))
            if rows < table["settled_rows"]:
                wrong.append(f"{table['table']}: {rows} of {table['settled_rows']} rows")
        for bucket in content["influxdb"]["buckets"]:
            script = f'from(bucketID: "{bucket["id"]}") |> range(start: 0) |> group(columns: ["_field"]) |> count()'
            values = sum(int(row["_value"]) for row in self._api.query(bucket["organisation_id"], script))
            if values < 0.99 * bucket["values"]:
                wrong.append(f"{bucket['name']}: {values} of {bucket['values']} values")
        return wrong + ([] if self.redis_keys() else ["Redis holds no key"])


def one_of(folder: Path, pattern: str) -> Path:
    """The one file of a set that the pattern names."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise RuntimeError(f"{folder} holds {len(found)} files {pattern}, one is needed")
    return found[0]
