#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_validate_info
short_description: Prove the platform by using it as a customer does
description:
  - Through the gateway, as the recovery's user, logs in, waits for a fresh price, places a marked order and reads it
    back. That instant, RV(trade_read_back_at), ends the recovery time.
  - Then, side by side, position and account, a live stream that moves, the dashboard, figures of orders and accounts
    compared in the database, the plan of the last hour's orders, and what each container uses.
  - Undoes the order and proves that balance, margin and position are as they were.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.trading_database
attributes:
  check_mode:
    description: Does nothing, since it would trade.
    support: full
options:
  project:
    description: Compose project whose containers are measured.
    type: str
    required: true
  gateway_url:
    description: Address of the gateway.
    type: str
    required: true
  dashboard_url:
    description: Address of the dashboard's page.
    type: str
    required: true
  dashboard_title:
    description: Title of that page.
    type: str
    required: true
  username:
    description: The recovery's user, who alone is let in while the platform is closed.
    type: str
    required: true
  password:
    description: The password of that user.
    type: str
    required: true
  symbol:
    description: What is traded.
    type: str
    default: EURUSD
  market_data_max_age_seconds:
    description: How old the newest price may be.
    type: float
    default: 10
  market_data_timeout_seconds:
    description: How long to wait for a fresh price, and for two ticks of the stream.
    type: float
    default: 20
  response_max_milliseconds:
    description: What a call of the API may take at most.
    type: float
    default: 2000
  consistency_queries:
    description: Queries that give one row of two figures, expected and found.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What is compared.
        type: str
        required: true
      query:
        description: SQL text.
        type: str
        required: true
      compare:
        description: How found must stand to expected.
        type: str
        choices: [equal, at_least]
        default: equal
  probes:
    description: What platform_probe found of the services that were left alone; it becomes evidence of the report.
    type: dict
    default: {}
  order_query:
    description: SQL text that gives the status of the order V(%(order_id\)s), to see that gateway and database are one.
    type: str
    required: true
  recent_orders_query:
    description: SQL text of the last hour's orders; its plan is recorded.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: validate | Trade, read back, compare
  platform3.recovery.platform_validate_info:
    fence: "{{ recovery_fence }}"
    project: platform3-lab
    gateway_url: http://127.0.0.1:3000
    dashboard_url: http://127.0.0.1:8080
    dashboard_title: Platform3
    username: recovery
    password: "{{ platform_recovery_password }}"
    postgresql:
      database: forex_trading
      user: forex_admin
      password: "{{ postgresql_password }}"
    order_query: SELECT status FROM orders WHERE order_id = %(order_id)s
    recent_orders_query: SELECT * FROM orders WHERE created_at > now() - interval '1 hour'
"""

RETURN = r"""
evidence:
  description: The probes of the services that were left alone.
  returned: success
  type: dict
warnings_found:
  description: Which of these services did not go on serving, and for how long.
  returned: success
  type: list
  elements: str
checks:
  description: Everything that was compared.
  returned: always
  type: list
  elements: dict
trade_read_back_at:
  description: When the placed order was read back through the gateway (UTC); the end of the recovery time.
  returned: success
  type: str
response_times:
  description: Each call of the API with C(call), C(milliseconds) and C(status).
  returned: success
  type: list
  elements: dict
explain:
  description: Times, rows, nodes and indexes of the plan of the last hour's orders.
  returned: success
  type: dict
containers:
  description: Each container with C(name), C(cpu) and C(memory).
  returned: success
  type: list
  elements: dict
parts:
  description: Seconds from the module's start, C(trade_read_back) among them.
  returned: success
  type: dict
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import STREAM, TRANSIENT, Gateway, poll
from ansible_collections.platform3.recovery.plugins.module_utils._marked_trade import MarkedTrade, elapsed
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._trading_database import DATABASE_ARGUMENT, connect
from ansible_collections.platform3.recovery.plugins.module_utils._validation import (
    COMPONENT,
    judge_dashboard,
    judge_plan,
    judge_row,
    judge_stream,
    judge_times,
    parse_stats,
    probe_warnings,
    summarise_plan,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "project": {"type": "str", "required": True},
    "gateway_url": {"type": "str", "required": True},
    "dashboard_url": {"type": "str", "required": True},
    "dashboard_title": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "symbol": {"type": "str", "default": "EURUSD"},
    "market_data_max_age_seconds": {"type": "float", "default": 10},
    "market_data_timeout_seconds": {"type": "float", "default": 20},
    "response_max_milliseconds": {"type": "float", "default": 2000},
    "postgresql": DATABASE_ARGUMENT,
    "consistency_queries": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "query": {"type": "str", "required": True},
            "compare": {"type": "str", "choices": ["equal", "at_least"], "default": "equal"},
        },
    },
    "probes": {"type": "dict", "default": {}},
    "order_query": {"type": "str", "required": True},
    "recent_orders_query": {"type": "str", "required": True},
}
LOGIN_TIMEOUT_SECONDS = 20.0


def guarded(name: str, work: Callable[[], Any]) -> tuple[Any, list[Check]]:
    """What work gives and no check, or None and a check that names why it could not be done."""
    try:
        return work(), []
    except Exception as error:  # noqa: BLE001 whatever a client raises: the check fails, the others still count
        return None, [check(name, COMPONENT, "it can be done", f"{type(error).__name__}: {error}"[:300], ok=False)]


def measure_containers(project: str) -> list[dict[str, str]]:
    """CPU and memory of each running container of the project; about 2 s, as the engine measures over one."""
    names = docker(["ps", "--filter", f"label=com.docker.compose.project={project}", "--format", "{{.Names}}"])
    return parse_stats(docker(["stats", "--no-stream", "--format", "{{json .}}", *names.stdout.split()]).stdout)


def watch_stream(gateway: Gateway, seconds: float) -> Check:
    """Two different ticks of the stream, or as many as came."""
    ticks: list[Any] = []
    for tick in gateway.events(STREAM, seconds):
        if tick not in ticks:
            ticks.append(tick)
        if len(ticks) >= 2:
            break
    return judge_stream(ticks)


def see_dashboard(url: str, title: str) -> Check:
    """The dashboard's page."""
    parts = urlsplit(url)
    answer = Gateway(f"{parts.scheme}://{parts.netloc}").call("GET", parts.path or "/")
    return judge_dashboard(answer.status, answer.data, title)


def compare_figures(database: dict[str, Any], queries: list[dict[str, Any]]) -> list[Check]:
    """The consistency queries, one after the other."""
    checks = []
    with connect(database) as connection:
        for one in queries:
            row = connection.execute(one["query"]).fetchone()
            checks.append(judge_row(one["name"], row, one["compare"]))
    return checks


def explain(database: dict[str, Any], query: str) -> dict[str, Any]:
    """The plan of the last hour's orders, as it was executed."""
    with connect(database) as connection:
        return summarise_plan(connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").fetchone()[0])


def order_in_database(database: dict[str, Any], query: str, order_id: int) -> Check:
    """The gateway's order is in the very database that was restored."""
    with connect(database) as connection:
        row = connection.execute(query, {"order_id": order_id}).fetchone()
    return check("the order is in the database", COMPONENT, "filled", row[0] if row else "absent")


class Validation:
    """One look at the whole platform: what it gathers side by side, and the checks that come of it."""

    def __init__(self, given: dict[str, Any], recovery_id: str) -> None:
        self.given = given
        self.recovery_id = recovery_id
        self.began = time.monotonic()
        self.checks: list[Check] = []
        self.gateway = Gateway(given["gateway_url"])
        self.parts: dict[str, float] = {}
        self.trade_read_back_at = ""
        self.explain: dict[str, Any] = {}
        self.containers: list[dict[str, str]] = []

    def run(self) -> None:
        """All of it. What fails is a check, so that everything wrong is told at once."""
        given = self.given
        with ThreadPoolExecutor(max_workers=8) as pool:
            containers = pool.submit(guarded, "containers are measured", lambda: measure_containers(given["project"]))
            seconds = given["market_data_timeout_seconds"]
            login = poll(
                lambda: self.gateway.log_in(given["username"], given["password"]),
                lambda answer: answer.status not in TRANSIENT,
                LOGIN_TIMEOUT_SECONDS,
            )
            self.checks.append(check("login", COMPONENT, "200", login.shown(), ok=login.status == 200))
            self.parts["login"] = elapsed(self.began)
            account_id = login.field("account_id")
            if login.status == 200 and account_id is not None:
                stream = pool.submit(watch_stream, self.gateway, seconds)
                self._trade(pool, int(account_id))
                self.checks.append(stream.result())
            self.checks.append(see_dashboard(given["dashboard_url"], given["dashboard_title"]))
            self._note_containers(containers)
        self.checks += judge_times(self.gateway.times, given["response_max_milliseconds"])
        self.parts["all"] = elapsed(self.began)

    def _trade(self, pool: ThreadPoolExecutor, account_id: int) -> None:
        given = self.given
        trade = MarkedTrade(
            self.gateway,
            account_id,
            self.recovery_id,
            given["symbol"],
            given["market_data_max_age_seconds"],
            given["market_data_timeout_seconds"],
        )
        try:
            fresh = trade.await_price()
            self.parts["market_data"] = elapsed(self.began)
            if fresh:
                trade.remember()
                if trade.place():
                    self.trade_read_back_at = trade.read_back_at
                    self.parts["trade_read_back"] = elapsed(self.began)
                    # The recovery time has ended; only now the database is given work.
                    figures = self._query(pool)
                    trade.look()
                    self._note_order(trade.order_id)
                    trade.undo()
                    for one in figures:
                        self._note_figures(*one.result())
                    self.parts["figures"] = elapsed(self.began)
        finally:
            if trade.order_id is None or not self.trade_read_back_at:
                trade.settle()
            self.checks += trade.checks

    def _query(self, pool: ThreadPoolExecutor) -> list[Future[tuple[Any, list[Check]]]]:
        database, queries = self.given["postgresql"], self.given["consistency_queries"]
        asked = [
            pool.submit(guarded, one["name"], lambda one=one: compare_figures(database, [one]))  # type: ignore[misc]
            for one in queries
        ]
        plan = self.given["recent_orders_query"]
        return [*asked, pool.submit(guarded, "orders of the last hour are found by", lambda: explain(database, plan))]

    def _note_figures(self, result: Any, failed: list[Check]) -> None:
        self.checks += failed
        if isinstance(result, dict):
            self.explain = result
            self.checks.append(judge_plan(result))
        elif result:
            self.checks += result

    def _note_order(self, order_id: Any) -> None:
        database, query = self.given["postgresql"], self.given["order_query"]
        found, failed = guarded("the order is in the database", lambda: order_in_database(database, query, order_id))
        self.checks += failed or [found]

    def _note_containers(self, measured: Future[tuple[Any, list[Check]]]) -> None:
        rows, failed = measured.result()
        self.containers = rows or []
        self.checks += failed or [
            check("containers measured", COMPONENT, "at least 1", len(self.containers), ok=bool(rows))
        ]


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    if module.check_mode:
        return {"changed": False, "checks": [], "skipped": True, "msg": "check mode: no order is placed"}
    validation = Validation(module.params, fence_of(module).recovery_id)
    validation.run()
    require(
        validation.checks,
        "PRC-805",
        "validate the platform as a customer",
        "the platform is restored and closed to customers; the old data is in quarantine",
        "mend what is named, or put the old data back with rollback.yml",
    )
    return {
        "changed": False,
        "checks": validation.checks,
        "trade_read_back_at": validation.trade_read_back_at,
        "response_times": validation.gateway.times,
        "explain": validation.explain,
        "containers": validation.containers,
        "parts": validation.parts,
        "evidence": {"probes": module.params["probes"]} if module.params["probes"] else {},
        "warnings_found": probe_warnings(module.params["probes"]),
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
