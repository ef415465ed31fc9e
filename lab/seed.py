# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the lab's three datastores with believable data, all at once; what is seeded already is left alone."""

from __future__ import annotations

import argparse
import os
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from influxdb_objects import ORGANISATION, call, secret
from services.domain import SYMBOLS, candle_lines, candles, hash_password, next_price, quote

HERE = Path(__file__).resolve().parent
BEGAN = time.monotonic()
ORDERS_AN_ACCOUNT, DAYS, PATH = 500, 14, 20_000
MARKER = "lab seed"  # a label in InfluxDB, a key in Redis, a setting in PostgreSQL: seeded to the end


def say(text: str) -> None:
    """A line a step, with the time since the start."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] seed: {text}", flush=True)


def iso(at: datetime) -> str:
    """ISO 8601 with Z."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def path(symbol: str) -> list[tuple[float, int, str]]:
    """(bid, volume, line without its time) of a walk that all ticks of a symbol follow: new ones cost more."""
    points, mid = [], SYMBOLS[symbol]
    for _ in range(PATH):
        mid, volume = next_price(symbol, mid, random.gauss(0, 5)), random.randint(1, 50)
        bid, ask = quote(symbol, mid)
        points.append((bid, volume, f"ticks,symbol={symbol} bid={bid},ask={ask},volume={volume}i"))
    return points


class Seed:
    """What the three parts share: how much, from when."""

    def __init__(self, scale: float) -> None:
        self.accounts = max(4, round(1_000_000 * scale / ORDERS_AN_ACCOUNT))
        self.ticks, self.sessions, self.cached = (max(100, round(n * scale)) for n in (2_000_000, 30_000, 20_000))
        self.now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
        self.start = self.now - timedelta(days=DAYS)

    # PostgreSQL

    def postgresql(self) -> None:
        """Schema and rows; two connections make orders and executions side by side."""
        import psycopg

        def connect() -> psycopg.Connection[Any]:
            return psycopg.connect(
                host="127.0.0.1", port=os.environ.get("POSTGRESQL_PORT", "5432"), dbname="forex_trading",
                user="forex_admin", password=secret("postgresql_password"), autocommit=True, connect_timeout=10,
            )  # fmt: skip

        def sections(name: str) -> dict[str, str]:
            text = (HERE / name).read_text()
            for key, value in values.items():
                text = re.sub(rf":{key}\b", str(value), text)
            _, *parts = re.split(r"^--- (\w+).*$", text, flags=re.M)
            return dict(zip(parts[::2], parts[1::2], strict=True))

        def run(text: str) -> None:
            with connect() as connection:
                connection.execute("SET maintenance_work_mem = '256MB'; SET synchronous_commit = off")
                connection.execute(text)

        with connect() as connection:
            try:
                if connection.execute("SELECT 1 FROM settings WHERE scope = 'lab' AND key = %s", [MARKER]).fetchone():
                    return say("postgresql is seeded already")
            except psycopg.errors.UndefinedTable:
                pass  # never seeded
            tables = "audit_log, settings, deposits, positions, executions, orders, accounts, users"
            connection.execute(f"DROP VIEW IF EXISTS seed_plan; DROP TABLE IF EXISTS {tables} CASCADE")
        password = secret("trader_password")
        values = {
            "orders": self.accounts * ORDERS_AN_ACCOUNT, "accounts": self.accounts, "rounds": ORDERS_AN_ACCOUNT,
            "symbols": str(list(SYMBOLS))[1:-1], "homes": str(list(SYMBOLS.values()))[1:-1],
            "start": self.start.isoformat(), "marker": MARKER,
            "hashes": str([hash_password(password) for _ in range(16)])[1:-1],  # one each would take minutes
            "recovery_hash": hash_password(secret("recovery_password")),
        }  # fmt: skip
        schema, rows = sections("schema.sql"), sections("seed.sql")
        with ThreadPoolExecutor(2) as both:
            run(schema["tables"] + rows["plan"])
            list(both.map(run, [rows["orders"], rows["executions"]]))
            say(f"postgresql: {values['orders']:,} orders and their executions")
            run(rows["people"] + schema["people"])
            list(both.map(run, [schema["orders"], schema["executions"]]))
            run(schema["last"] + rows["done"])
        say("postgresql: accounts, positions, indexes and foreign keys; done")

    # Redis

    def redis(self) -> None:
        """Sessions with a time to live, and cached candles, half of them without."""
        from redis import Redis

        def connect(db: int) -> Redis:
            return Redis(
                port=int(os.environ.get("REDIS_PORT", "6379")), db=db, username="forex_admin",
                password=secret("redis_password"), decode_responses=True,
            )  # fmt: skip

        sessions, cache = connect(0), connect(1)
        if cache.exists(MARKER):
            return say("redis is seeded already")
        pipeline = sessions.pipeline(transaction=False)
        for n in range(self.sessions):
            user, seconds = random.randint(1, self.accounts), random.randint(3600, 86400)
            key = f"session:{secrets.token_urlsafe(24)}"
            pipeline.hset(key, mapping={
                "user_id": user, "account_id": user, "username": f"trader{user:05d}", "role": "trader",
                "expires_at": iso(self.now + timedelta(seconds=seconds)),
            })  # fmt: skip
            pipeline.expire(key, seconds)
            if n % 2000 == 1999:
                pipeline.execute()
        pipeline.execute()
        pipeline = cache.pipeline(transaction=False)
        for n in range(self.cached):
            symbol = random.choice(list(SYMBOLS))
            low = round(SYMBOLS[symbol] * (1 + random.random() / 100), 5)
            key = f"candle:{symbol}:{n}"
            pipeline.hset(key, mapping={"open": low, "high": low * 1.001, "low": low, "close": low * 1.0005})
            if n % 2:
                pipeline.expire(key, random.randint(1, 7) * 86400)
            if n % 2000 == 1999:
                pipeline.execute()
        pipeline.set(MARKER, iso(self.now))
        pipeline.execute()
        say(f"redis: {self.sessions:,} sessions, {self.cached:,} cache keys; done")

    # InfluxDB (its buckets, tokens, task and dashboard are made by influxdb_objects.py)

    def influxdb(self) -> None:
        """Ticks, candles and deletions."""
        organisation = call("GET", f"/orgs?org={ORGANISATION}")["orgs"][0]["id"]
        if any(label["name"] == MARKER for label in call("GET", "/labels")["labels"]):
            return say("influxdb is seeded already")
        with ThreadPoolExecutor(3) as senders:
            sent: deque[Future[None]] = deque()
            for bucket, lines in self.batches():
                sent.append(senders.submit(self.write, bucket, lines))
                if len(sent) > 6:  # not all of it in memory
                    sent.popleft().result()
            for result in sent:
                result.result()
        say(f"influxdb: {self.ticks:,} ticks over {DAYS} days and their candles")
        self.delete()
        call("POST", "/labels", {"orgID": organisation, "name": MARKER})
        say("influxdb: XAUUSD and six hours of USDTRY deleted; done")

    def write(self, bucket: str, lines: list[str]) -> None:
        """Line protocol, times in milliseconds."""
        call("POST", f"/write?org={ORGANISATION}&bucket={bucket}&precision=ms", "\n".join(lines).encode())

    def batches(self) -> Iterator[tuple[str, list[str]]]:
        """(bucket, lines) an hour at a time: ticks, and the candles they make."""
        paths = {symbol: path(symbol) for symbol in SYMBOLS}
        step, number = DAYS * 86400 * len(SYMBOLS) / self.ticks, 0
        at, end = self.start.timestamp() // 3600 * 3600, self.now.timestamp()
        while at < end:
            until, ticks, lines = min(at // 3600 * 3600 + 3600, end), [], []
            while at < until:
                milliseconds, there = int(at * 1000), number % (2 * PATH)
                number, point = number + 1, there if there < PATH else 2 * PATH - 1 - there  # there and back again
                for symbol, points in paths.items():
                    bid, volume, fields = points[point]
                    ticks.append((symbol, at, bid, volume))
                    lines.append(f"{fields} {milliseconds}")
                at += step
            lines.append(f"ticks,symbol=XAUUSD bid=1980.5,ask=1980.9,volume=1i {int(until * 1000) - 1}")
            yield "market-data", lines
            yield "analytics", [f"{line}000" for line in candle_lines(candles(ticks))]

    def delete(self) -> None:
        """Delete a delisted symbol and six hours of another, so that a recovery can prove that they stay deleted."""
        hole = self.now.replace(minute=0, second=0) - timedelta(days=3)
        for symbol, start, stop in (
            ("XAUUSD", self.start - timedelta(days=1), self.now + timedelta(days=1)),
            ("USDTRY", hole, hole + timedelta(hours=6)),
        ):
            gone = {"start": iso(start), "stop": iso(stop), "predicate": f'_measurement="ticks" AND symbol="{symbol}"'}
            call("POST", f"/delete?org={ORGANISATION}&bucket=market-data", gone)


def main() -> None:
    """Seed all three stores at once; the first failure ends the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=float(os.environ.get("LAB_SCALE", "1")))
    arguments = parser.parse_args()
    seed = Seed(arguments.scale)
    with ThreadPoolExecutor(3) as stores:
        for result in [stores.submit(part) for part in (seed.postgresql, seed.redis, seed.influxdb)]:
            result.result()
    say("all seeded")


if __name__ == "__main__":
    main()
