# SPDX-License-Identifier: GPL-3.0-or-later
"""What continuous backup costs the running platform: orders a second and their p99, with it on against off.

In blocks of a few seconds that take turns, so that what else the machine does falls on all of them alike: traders place
one order after the other as fast as they are answered (throughput), then at a steady rate (latency, as customers see
it). Off means that WAL is not archived and that the sidecars (WAL receiver, shippers of Redis' log and of the second
copy, heartbeats) are stopped.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.platform3.recovery.plugins.module_utils._gateway import ORDERS, Gateway

from tests.benchmarks.lab import ORDER, Lab, output, say
from tests.benchmarks.table import Figure, Result

SIDECARS = ("wal-receiver", "aof-shipper", "heartbeat", "second-copy")
TRADERS = 8
BLOCK_SECONDS = 8.0
# A steady rate has fewer orders, and a p99 of a thousand is ten of them: longer.
STEADY_SECONDS = 20.0
ORDERS_A_SECOND = 120.0
SETTLE_SECONDS = 2.0
ROUNDS = 6
# Without a command WAL stays where it is and is archived afterwards: no gap.
ARCHIVE_OFF = "ALTER SYSTEM SET archive_command = ''"
ARCHIVE_ON = "ALTER SYSTEM RESET archive_command"


@dataclass(frozen=True)
class Block:
    """Orders a second and their p99 in milliseconds at full load, and the p99 at a steady rate."""

    rate: float
    loaded_p99: float
    steady_p99: float


def measure(lab: Lab, _runs: int) -> Result:
    """Off and on take turns in asynchronous mode, then asynchronous and synchronous; ratios of neighbours."""
    gateways = [logged_in(lab, number) for number in range(1, TRADERS + 1)]
    off: list[Block] = []
    on: list[Block] = []
    try:
        for number in range(ROUNDS):
            # Each second round the other way round: what warms up or grows favours neither.
            for switch, found in sorted([(False, off), (True, on)], key=lambda one: one[0], reverse=number % 2 == 1):
                say(f"round {number + 1} of {ROUNDS}: continuous backup {'on' if switch else 'off'}")
                set_continuous(lab, switch)
                found.append(block(gateways))
    finally:
        set_continuous(lab, True)
    waited: list[Block] = []
    not_waited: list[Block] = []
    try:
        for number in range(ROUNDS // 2):
            for mode, found in (("async", not_waited), ("sync", waited)):
                say(f"round {number + 1} of {ROUNDS // 2}: {mode}")
                lab.playbook("playbooks/wal_stream.yml", {"postgresql_wal_stream": mode}, {})
                found.append(block(gateways))
    finally:
        lab.playbook("playbooks/wal_stream.yml", {"postgresql_wal_stream": "async"}, {})
    return Result(
        "cost",
        [
            f"{TRADERS} traders, one order after the other, blocks of {BLOCK_SECONDS:.0f} s"
            f" (steady: {STEADY_SECONDS:.0f} s) in turns, {ROUNDS} of each for async, {ROUNDS // 2} for sync; medians",
            "cost: median over the rounds of the ratio of neighbouring blocks; the load generator, the platform and the"
            " sidecars share the processors",
        ],
        [*figures("off", "async", off, on, 5), *figures("async", "sync", not_waited, waited, None)],
    )


def logged_in(lab: Lab, number: int) -> Gateway:
    """A trader of the seed, with a session."""
    gateway = Gateway(lab.facts["platform_gateway_url"])
    answer = gateway.log_in(f"trader{number:05d}", lab.secret("trader_password"))
    if answer.status != 200:
        raise RuntimeError(f"trader{number:05d} cannot log in: status {answer.status}")
    return gateway


def set_continuous(lab: Lab, on: bool) -> None:
    """Archive WAL and run the sidecars, or neither."""
    lab.sql(ARCHIVE_ON if on else ARCHIVE_OFF, "SELECT pg_reload_conf()")
    output(*lab.compose(*(["start"] if on else ["stop", "--timeout", "5"]), *SIDECARS))
    time.sleep(SETTLE_SECONDS)


def block(gateways: Sequence[Gateway]) -> Block:
    """Trade at full load, then at ORDERS_A_SECOND."""
    loaded = latencies(gateways, 0.0, BLOCK_SECONDS)
    steady = latencies(gateways, len(gateways) / ORDERS_A_SECOND, STEADY_SECONDS)
    return Block(len(loaded) / BLOCK_SECONDS, p99(loaded), p99(steady))


def p99(found: Sequence[float]) -> float:
    """Of seconds, in milliseconds."""
    return 1000 * statistics.quantiles(found, n=100)[98]


def latencies(gateways: Sequence[Gateway], pause: float, seconds: float) -> list[float]:
    """Latency (s) of each order that all traders place in so many seconds; pause: from one's start to that of the next.

    Where an order is late, the next one's time counts from when it was due: waiting is latency too.
    """
    found: list[list[float]] = [[] for _ in gateways]
    failed: list[str] = []
    began = time.monotonic()
    end = began + seconds

    def work(number: int, gateway: Gateway) -> None:
        due = began + pause * number / len(gateways)
        while (now := time.monotonic()) < end:
            if pause:
                time.sleep(max(0.0, due - now))
            else:
                due = now
            answer = gateway.call("POST", ORDERS, {**ORDER, "is_test": False})
            if answer.status not in (201, 422):
                failed.append(f"status {answer.status}")
                return
            found[number].append(time.monotonic() - due)
            due += pause

    threads = [threading.Thread(target=work, args=one) for one in enumerate(gateways)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"orders failed while measuring: {', '.join(failed)}")
    return [one for each in found for one in each]


def figures(without: str, with_it: str, before: list[Block], after: list[Block], goal: float | None) -> list[Figure]:
    """Both arms and what the second costs against the first, in percent of throughput and of p99."""

    def both(what: str, unit: str, value: Callable[[Block], float]) -> list[Figure]:
        arms = ((without, before), (with_it, after))
        return [Figure(f"{arm}: {what}", statistics.median(map(value, blocks)), unit) for arm, blocks in arms]

    def more(value: Callable[[Block], float]) -> float:
        return statistics.median(100 * (value(b) / value(a) - 1) for a, b in zip(before, after, strict=True))

    return [
        *both("orders a second, full load", "", lambda one: one.rate),
        *both("p99 at full load", "ms", lambda one: one.loaded_p99),
        *both(f"p99 at {ORDERS_A_SECOND:.0f} orders a second", "ms", lambda one: one.steady_p99),
        Figure(f"{with_it}: throughput lost against {without}", -more(lambda one: one.rate), "%", goal),
        Figure(f"{with_it}: p99 longer than {without}, full load", more(lambda one: one.loaded_p99), "%", goal),
        Figure(f"{with_it}: p99 longer than {without}, steady", more(lambda one: one.steady_p99), "%", goal),
    ]
