#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_consistency_info
short_description: Say what no longer fits together once datastores stand at different instants
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
description:
  - After some datastores were brought back alone, looks for sessions of users that the database does not know, cached
    prices that are newer than the newest stored tick, and orders in minutes of which no tick is stored.
  - It changes nothing, and what it finds is a warning of the report, for people to settle.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.trading_database
attributes:
  check_mode:
    description: Looks in the same way.
    support: full
options:
  redis:
    description: The live Redis.
    type: dict
    required: true
    suboptions:
      host:
        description: Where it listens.
        type: str
        default: 127.0.0.1
      port:
        description: Port of the server.
        type: int
        default: 6379
      user:
        description: Who logs in.
        type: str
        required: true
      password:
        description: The password of that user.
        type: str
        required: true
  influxdb:
    description: The live InfluxDB.
    type: dict
    required: true
    suboptions:
      url:
        description: Address of the server.
        type: str
        required: true
      token:
        description: Token that may read the bucket of the ticks.
        type: str
        required: true
      organisation:
        description: Name of the organisation.
        type: str
        required: true
  sessions:
    description: Where sessions lie.
    type: dict
    required: true
    suboptions:
      db:
        description: Number of the Redis database.
        type: int
        required: true
      pattern:
        description: Pattern of their keys, which are hashes.
        type: str
        required: true
      field:
        description: Field of the hash that names the user.
        type: str
        required: true
      query:
        description: SQL text that gives those of the users V(%(users\)s) that there are, as text.
        type: str
        required: true
  prices:
    description: Where cached prices lie, and the ticks that they are made from.
    type: dict
    required: true
    suboptions:
      db:
        description: Number of the Redis database.
        type: int
        required: true
      pattern:
        description: Pattern of their keys, which are hashes; what the asterisk stands for is the symbol.
        type: str
        required: true
      field:
        description: Field of the hash that holds the time of the price.
        type: str
        required: true
      bucket:
        description: Bucket of the ticks.
        type: str
        required: true
      measurement:
        description: Measurement of the ticks.
        type: str
        required: true
      tag:
        description: Tag of the ticks that names the symbol.
        type: str
        required: true
      tolerance_seconds:
        description: By how much a cached price may be newer than the newest tick that is stored.
        type: float
        default: 10
  trades_query:
    description:
      - SQL text that gives symbol, minute (seconds since 1970 of its beginning) and number of the orders since
        V(%(since\)s).
    type: str
    required: true
  trades_seconds:
    description: How far back orders are compared with ticks.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Validate | See whether the datastores fit together
  platform3.recovery.platform_consistency_info:
    fence: "{{ recovery_fence }}"
    redis: {host: 127.0.0.1, port: 6379, user: forex_admin, password: "{{ redis_password }}"}
    postgresql:
      host: 127.0.0.1
      port: 5432
      database: forex_trading
      user: forex_admin
      password: "{{ postgresql_password }}"
    influxdb: {url: "http://127.0.0.1:8086", token: "{{ influxdb_token }}", organisation: forex-trading}
    sessions: {db: 0, pattern: "session:*", field: user_id, query: "{{ users_query }}"}
    prices: {db: 1, pattern: "price:*", field: at, bucket: market-data, measurement: ticks, tag: symbol}
    trades_query: "{{ trades_query }}"
"""

RETURN = r"""
evidence:
  description: Under C(consistency), how many sessions and prices were looked at, and all that did not fit.
  returned: success
  type: dict
warnings_found:
  description: A sentence for each kind of misfit; none where all fits.
  returned: success
  type: list
  elements: str
"""

import datetime
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._consistency import (
    consistency_warnings,
    prices_ahead,
    sessions_of_nobody,
    trades_without_ticks,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import Server
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso
from ansible_collections.platform3.recovery.plugins.module_utils._trading_database import DATABASE_ARGUMENT, connect

Answer = TypeVar("Answer")

PLACE = {"db": {"type": "int", "required": True}, "pattern": {"type": "str", "required": True}}
PLACE["field"] = {"type": "str", "required": True}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "redis": {
        "type": "dict",
        "required": True,
        "options": {
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
        },
    },
    "postgresql": DATABASE_ARGUMENT,
    "influxdb": {
        "type": "dict",
        "required": True,
        "options": {
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "organisation": {"type": "str", "required": True},
        },
    },
    "sessions": {
        "type": "dict",
        "required": True,
        "options": {**PLACE, "query": {"type": "str", "required": True}},
    },
    "prices": {
        "type": "dict",
        "required": True,
        "options": {
            **PLACE,
            "bucket": {"type": "str", "required": True},
            "measurement": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "tolerance_seconds": {"type": "float", "default": 10},
        },
    },
    "trades_query": {"type": "str", "required": True},
    "trades_seconds": {"type": "int", "default": 3600},
}
BATCH = 2000


def fields_of(server: Server, place: dict[str, Any]) -> dict[str, str]:
    """The place's field of every key of its pattern, by key; keys that have none are left out."""
    client = server.connect(30)
    client.select(place["db"])
    found: dict[str, str] = {}
    batch: list[str] = []

    def ask() -> None:
        pipeline = client.pipeline(transaction=False)
        for key in batch:
            pipeline.hget(key, place["field"])
        found.update({key: value for key, value in zip(batch, pipeline.execute()) if value is not None})
        batch.clear()

    for key in client.scan_iter(match=place["pattern"], count=BATCH):
        batch.append(key)
        if len(batch) >= BATCH:
            ask()
    ask()
    client.close()
    return found


def stored(
    api: InfluxApi, organisation: str, prices: dict[str, Any], seconds: int
) -> tuple[dict[str, float], set[Any]]:
    """Seconds since 1970 of the newest tick by symbol, and the minutes that hold one, of so many seconds back."""
    organisation_id = api.json(f"/api/v2/orgs?org={organisation}")["orgs"][0]["id"]
    source = (
        f'from(bucket: "{prices["bucket"]}") |> range(start: -{seconds}s)'
        f' |> filter(fn: (r) => r._measurement == "{prices["measurement"]}")'
        f' |> group(columns: ["{prices["tag"]}", "_field"])'
    )
    newest: dict[str, float] = {}
    for row in api.query(organisation_id, source + " |> last()"):
        at = parse_iso(row["_time"])
        newest[row[prices["tag"]]] = max(at, newest.get(row[prices["tag"]], at))
    minutes = set()
    counted = ' |> aggregateWindow(every: 1m, fn: count, createEmpty: false, timeSrc: "_start")'
    for row in api.query(organisation_id, source + counted):
        if int(row["_value"]):
            minutes.add((row[prices["tag"]], int(parse_iso(row["_time"])) // 60 * 60))
    return newest, minutes


def asked(what: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Turns what a datastore's client raises into an error that says which datastore does not answer."""

    def wrapped(ask: Callable[..., Answer]) -> Callable[..., Answer]:
        @functools.wraps(ask)
        def guarded(*given: Any) -> Answer:
            try:
                return ask(*given)
            except RecoveryError:
                raise
            except Exception as error:  # of three clients: whichever it is, the comparison cannot be made
                raise RecoveryError(
                    "PRC-806",
                    "see whether the datastores fit together",
                    f"{what} does not answer: {(str(error) or type(error).__name__).splitlines()[0]}",
                    "nothing was changed; whether sessions, prices and orders fit together is not known",
                    f"see why {what} does not answer",
                ) from None

        return guarded

    return wrapped


@asked("Redis")
def in_redis(given: dict[str, Any]) -> tuple[dict[str, str], dict[str, float]]:
    """User of each session, and time of each cached price by symbol (seconds since 1970)."""
    server = Server(**given["redis"])
    before, after = given["prices"]["pattern"].split("*", 1)
    cached = fields_of(server, given["prices"]).items()
    times = {key.removeprefix(before).removesuffix(after): parse_iso(at) for key, at in cached}
    return fields_of(server, given["sessions"]), times


@asked("PostgreSQL")
def in_postgresql(given: dict[str, Any], users: list[str]) -> tuple[list[str], list[tuple[str, int, int]]]:
    """Those of the users that there are, and the orders as symbol, minute and number."""
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=given["trades_seconds"])
    with connect(given["postgresql"]) as connection:
        known = connection.execute(given["sessions"]["query"], {"users": users}).fetchall()
        trades = connection.execute(given["trades_query"], {"since": since}).fetchall()
    return [row[0] for row in known], [(row[0], int(row[1]), int(row[2])) for row in trades]


@asked("InfluxDB")
def in_influxdb(given: dict[str, Any]) -> tuple[dict[str, float], set[Any]]:
    """Newest tick by symbol, and the minutes that hold one."""
    api = InfluxApi(given["influxdb"]["url"], given["influxdb"]["token"])
    try:
        return stored(api, given["influxdb"]["organisation"], given["prices"], given["trades_seconds"])
    finally:
        api.close()


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    sessions, cached = in_redis(given)
    users, trades = in_postgresql(given, sorted(set(sessions.values())))
    newest, minutes = in_influxdb(given)
    nobody = sessions_of_nobody(sessions, users)
    ahead = prices_ahead(cached, newest, given["prices"]["tolerance_seconds"])
    tickless = trades_without_ticks(trades, minutes)
    consistency = {
        "sessions": len(sessions),
        "sessions_of_nobody": len(nobody),
        "prices": len(cached),
        "prices_ahead_seconds": ahead,
        "orders": sum(orders for _, _, orders in trades),
        "minutes_without_ticks": tickless,
    }
    return {
        "changed": False,
        "evidence": {"consistency": consistency},
        "warnings_found": consistency_warnings(nobody, ahead, tickless),
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
