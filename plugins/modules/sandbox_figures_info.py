#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_figures_info
short_description: Count what a datastore holds, to compare a sandbox with the running platform
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Rows of each table and the newest of those tables that say when, keys of each database, or points of each bucket and
    the newest. A table, database or bucket that is gone is not among them.
  - Reads only, and does not wait for a locked table longer than five seconds. It counts exactly, so that it reads each
    table once.
options:
  component:
    description: The datastore.
    type: str
    choices: [postgresql, redis, influxdb]
    required: true
  container:
    description: Container of PostgreSQL.
    type: str
  database:
    description: The platform's database in it.
    type: str
  tables:
    description: Tables (C(table)) with the column that says when a row was made (C(settled_column)).
    type: list
    elements: dict
    default: []
  host:
    description: Address of Redis.
    type: str
    default: 127.0.0.1
  port:
    description: Port of Redis.
    type: int
  user:
    description: User of Redis.
    type: str
  password:
    description: Its password.
    type: str
  url:
    description: Address of InfluxDB.
    type: str
  token:
    description: Its operator token.
    type: str
  organisation:
    description: Organisation of the buckets.
    type: str
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: figures | Count what the running Redis holds
  platform3.recovery.sandbox_figures_info:
    component: redis
    port: 6379
    user: forex_admin
    password: "{{ redis_password }}"
  register: __sandbox_figures_running
"""

RETURN = r"""
figures:
  description: Of each table, database or bucket C(what) it is, C(count), and the time of the C(newest), or null.
  type: list
  elements: dict
  returned: success
"""

import time
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import NANOSECONDS, Shard, iso
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import iso_sql
from ansible_collections.platform3.recovery.plugins.module_utils._psql import identifier, literal
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import server_of

ANSWER_SECONDS = 20.0
COUNT_SECONDS = 1800.0
# Partitions are counted with their table.
TABLES = """
SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname AS what,
  format('%I.%I', nspname, relname) AS name,
  (SELECT json_agg(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname <> 'information_schema' AND nspname !~ '^pg_'
ORDER BY 1
"""


def of_postgresql(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of each table; the newest where the inventory names the column and the table still has it."""
    columns = {one["table"]: one.get("settled_column") for one in given["tables"]}
    with LiveServer(given["container"], given["database"], "").session(ANSWER_SECONDS) as session:
        session.execute("SET default_transaction_read_only = on; SET lock_timeout = '5s';")
        parts = []
        for one in session.rows(TABLES):
            column = columns.get(one["what"])
            known = column is not None and column in (one["columns"] or ())
            newest = iso_sql(f"max({identifier(str(column))})") if known else "NULL"
            parts.append(
                f"SELECT {literal(one['what'])} AS what, count(*) AS count, {newest} AS newest FROM {one['name']}"
            )
        return session.rows(" UNION ALL ".join(parts) + " ORDER BY 1", COUNT_SECONDS) if parts else []


def of_redis(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Keys of each database; the server knows their number."""
    import redis

    client = server_of(given).connect(ANSWER_SECONDS)
    try:
        found = client.info("keyspace")
    except redis.exceptions.RedisError as error:
        raise RecoveryError(
            "PRC-433",
            f"count what Redis at {given['host']}:{given['port']} holds",
            str(error),
            "nothing was changed",
            "docker logs of its container name the cause",
        ) from None
    finally:
        client.close()
    return [{"what": f"keys in {name}", "count": one["keys"], "newest": None} for name, one in sorted(found.items())]


def of_influxdb(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Points of each bucket that is the platform's own, up to tomorrow."""
    api = InfluxApi(given["url"], given["token"])
    until = time.time_ns() + 86400 * NANOSECONDS
    try:
        organisation = api.json(f"/api/v2/orgs?org={quote(given['organisation'])}")["orgs"][0]["id"]
        listed = api.json(f"/api/v2/buckets?orgID={organisation}&limit=100")["buckets"]
        figures = []
        for bucket in sorted((one for one in listed if one["type"] == "user"), key=lambda one: str(one["name"])):
            found = api.figures(organisation, Shard(0, bucket["id"], "", 0, until), until)
            newest = None if found.newest_ns is None else iso(found.newest_ns)
            figures.append({"what": f"points in {bucket['name']}", "count": found.points, "newest": newest})
    finally:
        api.close()
    return figures


FIGURES = {"postgresql": of_postgresql, "redis": of_redis, "influxdb": of_influxdb}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    return {"changed": False, "figures": FIGURES[module.params["component"]](module.params)}


def main() -> None:
    """Entry point."""
    run_module(
        {
            "component": {"type": "str", "choices": list(FIGURES), "required": True},
            "container": {"type": "str"},
            "database": {"type": "str"},
            "tables": {"type": "list", "elements": "dict", "default": []},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int"},
            "user": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "url": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "organisation": {"type": "str"},
        },
        work,
        supports_check_mode=True,
        required_if=[
            ("component", "postgresql", ("container", "database")),
            ("component", "redis", ("port", "user", "password")),
            ("component", "influxdb", ("url", "token", "organisation")),
        ],
    )


if __name__ == "__main__":
    main()
