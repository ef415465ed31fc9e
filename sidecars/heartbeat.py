# SPDX-License-Identifier: GPL-3.0-or-later
"""The same number and time into every datastore each second, and into a log outside of them: runs as a sidecar.

The time is taken before anything is written. The log says which datastore took the marker, and after how many seconds
the last one had answered: after a loss, the newest marker found in a recovered datastore against the newest in the log
is what was lost. Settings come by environment, secrets as files in /run/secrets. Needs psycopg and redis.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import redis

LOG, LOG_BYTES = Path(os.environ.get("HEARTBEAT_LOG", "/heartbeats/heartbeats.jsonl")), 4 << 20
TIMEOUT_SECONDS = 2.0
TABLE = """CREATE SCHEMA IF NOT EXISTS platform3_recovery;
CREATE TABLE IF NOT EXISTS platform3_recovery.heartbeat (
    id int PRIMARY KEY CHECK (id = 1), number bigint NOT NULL, at timestamptz NOT NULL)"""
UPSERT = """INSERT INTO platform3_recovery.heartbeat VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = excluded.at"""


def secret(name: str) -> str:
    """Read anew each time: it may have been rotated."""
    return Path("/run/secrets", name).read_text().strip()


class PostgreSQL:
    """One row, in the trading database."""

    connection: psycopg.Connection[Any] | None = None

    def beat(self, number: int, at: str) -> str:
        """Where the server's log stood once the marker was safe (LSN)."""
        try:
            if self.connection is None:
                self.connection = psycopg.connect(
                    host=os.environ["POSTGRESQL_HOST"], port=os.environ.get("POSTGRESQL_PORT", "5432"),
                    dbname=os.environ["POSTGRESQL_DATABASE"], user=os.environ["POSTGRESQL_USER"],
                    password=secret("postgresql_password"), autocommit=True, connect_timeout=2, tcp_user_timeout=2000,
                    application_name="platform3 heartbeat",
                )  # fmt: skip
                self.connection.execute(TABLE)
            self.connection.execute(UPSERT, (number, at))
            row = self.connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
            return str(row[0]) if row else ""
        except Exception:
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            raise


class Redis:
    """One key, in database 0."""

    def __init__(self) -> None:
        self.client: redis.Redis | None = None

    def beat(self, number: int, at: str) -> bool:
        """Whether the server took it."""
        try:
            self.client = self.client or redis.Redis(
                host=os.environ["REDIS_HOST"], port=int(os.environ.get("REDIS_PORT", "6379")),
                username=os.environ["REDIS_USER"], password=secret("redis_services_password"),
                socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS,
            )  # fmt: skip
            return bool(self.client.set("platform3:heartbeat", f"{number} {at}"))
        except Exception:
            self.client = None
            raise


class InfluxDB:
    """One series, in every protected bucket."""

    def beat(self, number: int, at: str) -> bool:
        """Whether every bucket took it."""
        url = urlsplit(os.environ["INFLUXDB_URL"])
        milliseconds = round(datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() * 1000)
        line = f"platform3_heartbeat number={number}i {milliseconds}"
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 8086, timeout=TIMEOUT_SECONDS)
        try:
            for bucket in os.environ["HEARTBEAT_BUCKETS"].split(","):
                asked = {"org": os.environ["INFLUXDB_ORGANISATION"], "bucket": bucket, "precision": "ms"}
                headers = {"Authorization": f"Token {secret('influxdb_heartbeat_token')}"}
                connection.request("POST", f"/api/v2/write?{urlencode(asked)}", line, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 204:
                    raise OSError(f"InfluxDB answered {answer.status}")
        finally:
            connection.close()
        return True


def taking(name: str, beat: Callable[[int, str], object], number: int, at: str) -> object:
    """What a datastore answered; None where it did not take the marker."""
    try:
        return beat(number, at) or None
    except Exception as error:  # of several clients: whatever it is, the marker was not taken, and the log says so
        print(f"{at} {name} takes no marker: {type(error).__name__}", flush=True)
        return None


def last_number() -> int:
    """The newest number in the log, 0 for none."""
    for path in (LOG, Path(f"{LOG}.1")):
        try:
            numbers = [json.loads(line)["number"] for line in path.read_text().splitlines()[-5:] if line.endswith("}")]
        except FileNotFoundError:
            continue
        if numbers:
            return int(max(numbers))
    return 0


def note(entry: dict[str, object]) -> None:
    """Append durably; a full log becomes the one before."""
    with LOG.open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    if LOG.stat().st_size > LOG_BYTES:
        LOG.replace(f"{LOG}.1")


def main() -> None:
    """A marker each second, until it is ended."""
    stores: dict[str, Any] = {"postgresql": PostgreSQL(), "redis": Redis(), "influxdb": InfluxDB()}
    number = last_number()
    with ThreadPoolExecutor(len(stores)) as pool:
        while True:
            time.sleep(1 - time.time() % 1)
            number += 1
            at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            begun = time.monotonic()
            asked = {name: pool.submit(taking, name, store.beat, number, at) for name, store in stores.items()}
            answers = {name: answer.result() for name, answer in asked.items()}
            note({"number": number, "at": at, **answers, "seconds": round(time.monotonic() - begun, 3)})


if __name__ == "__main__":
    main()
