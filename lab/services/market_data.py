# SPDX-License-Identifier: GPL-3.0-or-later
"""market-data-service: makes the ticks itself; five a second and symbol go to the Redis cache and to InfluxDB."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote as percent

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.common import Upstream, env, redis_client, reply, secret, serve, service
from services.domain import SYMBOLS, next_price, now_text, quote

TICK_SECONDS, BATCH_SECONDS = 0.2, 1.0
cache = redis_client(1)
token = {"Authorization": f"Token {secret('influxdb_market_data_token')}"}
influxdb = Upstream(env("INFLUXDB_URL", "http://influxdb:8086"), token)
write_path = (
    f"/api/v2/write?org={percent(env('INFLUXDB_ORGANISATION', 'forex-trading'))}&bucket=market-data&precision=ms"
)
mids = dict(SYMBOLS)
latest: dict[str, dict[str, Any]] = {}
unwritten: deque[str] = deque(maxlen=len(SYMBOLS) * 5 * 60)  # one minute of ticks outlives an outage
well_at = {"redis": 0.0, "influxdb": 0.0}


async def tick() -> None:
    """One tick of each symbol, into the cache and the batch."""
    milliseconds, at = time.time_ns() // 1_000_000, now_text()
    pipeline = cache.pipeline(transaction=False)
    for symbol in SYMBOLS:
        mids[symbol] = next_price(symbol, mids[symbol], random.gauss(0, 1))
        bid, ask = quote(symbol, mids[symbol])
        latest[symbol] = {"symbol": symbol, "bid": bid, "ask": ask, "at": at}
        unwritten.append(f"ticks,symbol={symbol} bid={bid},ask={ask},volume={random.randint(1, 50)}i {milliseconds}")
        pipeline.hset(f"price:{symbol}", mapping={"bid": bid, "ask": ask, "at": at})
    await pipeline.execute()
    well_at["redis"] = time.monotonic()


async def write_batch() -> None:
    """Write what was gathered; it stays gathered if InfluxDB does not take it."""
    batch = list(unwritten)
    status, _ = await influxdb.request("POST", write_path, "\n".join(batch).encode(), timeout=3)
    if status != 204:
        raise ConnectionError(f"InfluxDB answered {status}")
    for _ in batch:
        unwritten.popleft()
    well_at["influxdb"] = time.monotonic()


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again, through outages of what it needs."""
    while True:
        began = time.monotonic()
        with suppress(OSError, RedisError):  # /health tells; the next round tries again
            await work()
        await asyncio.sleep(max(0.05, seconds - (time.monotonic() - began)))


async def well(name: str) -> None:
    """Raise unless `name` took data lately."""
    if time.monotonic() - well_at[name] > 5:
        raise OSError(f"{name} takes no data")


async def prices(_: Request) -> Response:
    """The newest tick of each symbol."""
    return reply(list(latest.values()))


app = service(
    [Route("/prices", prices)],
    {name: lambda name=name: well(name) for name in well_at},  # type: ignore[misc]
    loops=[lambda: every(TICK_SECONDS, tick), lambda: every(BATCH_SECONDS, write_batch)],
)

if __name__ == "__main__":
    serve(app)
