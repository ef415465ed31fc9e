# SPDX-License-Identifier: GPL-3.0-or-later
"""Live traffic on the lab's gateway, through outages too.

Every order that the gateway acknowledged is in `lab/run/ledger.jsonl`, on disk, before its worker sends the next one:
what a recovery must give back.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from services.domain import SYMBOLS, now_text

HERE = Path(__file__).resolve().parent
LONGEST_BACKOFF_SECONDS = 2.0


class Ledger:
    """Acknowledged orders, one JSON line each; a line is on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, order_id: int) -> None:
        """Append one order; a single write, so that workers need no lock."""
        os.write(self.descriptor, json.dumps({"id": order_id, "at": now_text()}).encode() + b"\n")
        os.fdatasync(self.descriptor)


class Worker(threading.Thread):
    """One trader: orders at a steady rate, now and then a look at positions and prices, rarely a deposit."""

    def __init__(self, number: int, options: argparse.Namespace, ledger: Ledger, counts: Counter[str]) -> None:
        super().__init__(daemon=True)
        self.credentials = {"username": f"trader{number:05d}", "password": options.password}
        self.pause = options.users / options.rate
        self.address, self.ledger, self.counts = options.gateway.removeprefix("http://"), ledger, counts
        self.connection = http.client.HTTPConnection(self.address, timeout=5)
        self.session: dict[str, Any] = {}

    def call(self, method: str, path: str, data: object = None) -> Any:
        """The answer to a request; raises OSError unless it is a success (or a rejection of an order)."""
        headers = {"Authorization": f"Bearer {self.session['token']}"} if self.session else {}
        try:
            self.connection.request(method, f"/api/v1/{path}", None if data is None else json.dumps(data), headers)
            response = self.connection.getresponse()
            answer = json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.connection.close()
            raise OSError(f"no answer: {type(error).__name__}") from error
        if response.status == 401:
            self.session = {}  # gone, perhaps with the Redis that held it: log in again
        if response.status >= 300 and response.status != 422:
            raise OSError(f"answered {response.status}")
        return answer

    def round(self, number: int) -> None:
        """One order, and what goes with it."""
        if not self.session:
            self.session = self.call("POST", "auth/login", self.credentials)
        symbol, side = random.choice(list(SYMBOLS)), random.choice(["buy", "sell"])
        order = {"symbol": symbol, "type": "market", "side": side, "quantity": random.randint(1, 10) / 100}
        answer = self.call("POST", "orders", order)
        if answer.get("status") == "filled":
            self.ledger.add(answer["id"])
        self.counts["acknowledged" if answer.get("status") == "filled" else "rejected"] += 1
        if number % 10 == 0:
            self.call("GET", "positions")
            self.call("GET", f"market-data/{symbol}")
        if number % 200 == 199:
            self.call("POST", "deposits", {"account_id": self.session["account_id"], "amount": random.randint(10, 500)})

    def run(self) -> None:
        """Round after round until the program ends."""
        backoff, number, due = 0.1, 0, time.monotonic() + random.random() * self.pause
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self.pause, time.monotonic() - 1)
            number += 1
            try:
                self.round(number)
                backoff = 0.1
            except OSError as error:
                self.counts["errors"] += 1
                self.counts[f"  {error}"] += 1
                time.sleep(backoff * random.uniform(0.5, 1))
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)


def main() -> None:
    """Run until a signal, or for --seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50, help="orders a second, all workers together")
    parser.add_argument("--seconds", type=float, help="end after so long (default: until stopped)")
    parser.add_argument("--users", type=int, default=16, help="concurrent traders")
    parser.add_argument("--gateway", default="http://127.0.0.1:3000")
    parser.add_argument("--ledger", type=Path, default=HERE / "run" / "ledger.jsonl")
    parser.add_argument("--secrets", type=Path, default=HERE.parent / "secrets" / "lab")
    options = parser.parse_args()
    options.password = (options.secrets / "trader_password").read_text().strip()
    stop, counts, ledger = threading.Event(), Counter[str](), Ledger(options.ledger)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    for number in range(1, options.users + 1):
        Worker(number, options, ledger, counts).start()
    began, before = time.monotonic(), 0
    end = began + options.seconds if options.seconds else float("inf")
    while not stop.wait(max(0.0, min(5.0, end - time.monotonic()))) and time.monotonic() < end:
        rate, before = (counts["acknowledged"] - before) / 5, counts["acknowledged"]
        print(f"[{time.monotonic() - began:6.0f} s] traffic: {rate:.1f} orders/s, {summary(counts)}", flush=True)
    print(f"traffic: ended after {time.monotonic() - began:.1f} s: {summary(counts)}", flush=True)


def summary(counts: Counter[str]) -> str:
    """`acknowledged 120, rejected 0, errors 2 (answered 503: 2)`."""
    kinds = ", ".join(f"{key.strip()}: {n}" for key, n in counts.items() if key.startswith(" "))
    main_counts = ", ".join(f"{key} {counts[key]:,}" for key in ("acknowledged", "rejected", "errors"))
    return main_counts + (f" ({kinds})" if kinds else "")


if __name__ == "__main__":
    main()
