# SPDX-License-Identifier: GPL-3.0-or-later
"""analytics-service: one-minute candles from the ticks, into a bucket of their own."""

from __future__ import annotations

import asyncio
import time

from services.common import Upstream, env, secret, serve, service
from services.domain import candle_lines, candles

URL = env("INFLUXDB_URL", "http://influxdb:8086")
LONGEST_CATCH_UP = 30 * 60
QUERY = """from(bucket: "market-data") |> range(start: {start}, stop: {stop})
  |> filter(fn: (r) => r._measurement == "ticks" and (r._field == "bid" or r._field == "volume"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["symbol"]) |> sort(columns: ["_time"])"""

influxdb = Upstream(URL)


def make_candles(start: int, stop: int) -> None:
    """Write the candles of the minutes from `start` to `stop` (epoch seconds). Blocking; idempotent."""
    # The client is imported at the first minute's end, not at the start: it costs more than all the rest.
    from influxdb_client import InfluxDBClient, WritePrecision
    from influxdb_client.client.write_api import SYNCHRONOUS

    token, organisation = secret("influxdb_analytics_token"), env("INFLUXDB_ORGANISATION", "forex-trading")
    with InfluxDBClient(URL, token, org=organisation, timeout=10_000) as client:
        records = client.query_api().query_stream(QUERY.format(start=start, stop=stop))
        ticks = ((r["symbol"], r.get_time().timestamp(), r["bid"], r["volume"]) for r in records)
        lines = candle_lines(candles(ticks))
        client.write_api(SYNCHRONOUS).write("analytics", record=lines, write_precision=WritePrecision.S)


async def each_minute() -> None:
    """Candles of every full minute, two seconds after its end; after an outage the missed ones too."""
    done = int(time.time()) // 60 * 60 - 120
    while True:
        await asyncio.sleep(62 - time.time() % 60)
        full = int(time.time()) // 60 * 60
        try:
            await asyncio.to_thread(make_candles, max(done, full - LONGEST_CATCH_UP), full)
            done = full
        except Exception as error:  # the client raises errors of several libraries; the next minute tries again
            print(f"no candles: {error!r}", flush=True)


async def influxdb_is_well() -> None:
    """Raise unless InfluxDB says so."""
    if (await influxdb.request("GET", "/health", timeout=1))[0] != 200:
        raise ConnectionError("InfluxDB is not well")


app = service([], {"influxdb": influxdb_is_well}, loops=[each_minute])

if __name__ == "__main__":
    serve(app)
