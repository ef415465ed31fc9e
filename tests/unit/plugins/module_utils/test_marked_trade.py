# SPDX-License-Identifier: GPL-3.0-or-later
"""The test trade against a platform in memory, which can be made to misbehave."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _marked_trade
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import Answer, Gateway, poll, verdict_of
from ansible_collections.platform3.recovery.plugins.module_utils._marked_trade import MarkedTrade


class Platform(Gateway):
    """A gateway that keeps orders of one account itself. faults: (method, path) -> answers given first."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.orders: list[dict[str, Any]] = []
        self.faults: dict[tuple[str, str], list[Answer]] = {}
        self.at = datetime.now(UTC).isoformat()
        self.refund = 0.35

    def call(self, method: str, path: str, body: Any = None, *, name: str = "", timeout_seconds: float = 5) -> Answer:
        path = path.split("?")[0]
        waiting = self.faults.get((method, path), [])
        if waiting:
            return waiting.pop(0)
        return self.answer(method, path, body)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """What a good platform answers."""
        filled = [order for order in self.orders if order["status"] == "filled"]
        cancelled = len(self.orders) - len(filled)
        if path == "/api/v1/orders" and method == "POST":
            self.orders.append({**body, "id": len(self.orders) + 1, "status": "filled"})
            return Answer(201, self.orders[-1], 1)
        if path == "/api/v1/orders":
            return Answer(200, self.orders[::-1], 1)
        if path.startswith("/api/v1/orders/"):
            order = self.orders[int(path.rsplit("/", 1)[1]) - 1]
            if method == "DELETE":
                order["status"] = "cancelled"
            return Answer(200, order, 1)
        if path == "/api/v1/positions":
            return Answer(200, [{"symbol": "EURUSD", "quantity": round(0.1 * len(filled), 2)}], 1)
        if path.startswith("/api/v1/accounts/"):
            balance = 1000 - 0.35 * len(self.orders) + self.refund * cancelled
            used = 300.0 * len(filled)
            margins = {"equity": balance, "used_margin": used, "free_margin": balance - used}
            return Answer(200, {"balance": balance, **margins}, 1)
        return Answer(200, {"symbol": "EURUSD", "at": self.at}, 1)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A good platform, and no real waiting."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(_marked_trade, "PLACE_TIMEOUT_SECONDS", 0.05)
    return Platform()


def traded(platform: Platform) -> MarkedTrade:
    """The whole trade."""
    trade = MarkedTrade(platform, 7, "r1", "EURUSD", 10, price_seconds=0.05)
    if trade.await_price():
        trade.remember()
        if trade.place():
            trade.look()
            trade.undo()
    return trade


def bad(trade: MarkedTrade) -> list[str]:
    """Names of the checks that failed."""
    return [one["name"] for one in trade.checks if not one["ok"]]


def test_a_good_platform_passes_and_keeps_no_trace(platform: Platform) -> None:
    trade = traded(platform)
    assert bad(trade) == [] and len(trade.checks) >= 12
    assert trade.read_back_at.endswith("Z")
    assert [order["status"] for order in platform.orders] == ["cancelled"]
    assert platform.orders[0]["is_test"] is True and platform.orders[0]["client_ref"] == "recovery:r1"


def test_an_order_of_a_killed_run_is_undone_before_figures_are_taken(platform: Platform) -> None:
    platform.answer("POST", "/api/v1/orders", {"symbol": "EURUSD", "quantity": 0.1, "is_test": True})
    assert bad(traded(platform)) == []
    assert {order["status"] for order in platform.orders} == {"cancelled"}


def test_orders_of_customers_are_never_cancelled(platform: Platform) -> None:
    platform.answer("POST", "/api/v1/orders", {"symbol": "EURUSD", "quantity": 0.1, "is_test": False})
    traded(platform)
    assert platform.orders[0]["status"] == "filled"


def test_a_service_that_has_just_come_up_is_asked_again(platform: Platform) -> None:
    platform.faults["POST", "/api/v1/orders"] = [Answer(503, {"detail": "no fresh price"}, 1), Answer(0, "refused", 1)]
    assert bad(traded(platform)) == []


def test_an_order_that_is_never_taken_is_not_read_back(platform: Platform) -> None:
    platform.faults["POST", "/api/v1/orders"] = [Answer(422, {"detail": "not enough free margin"}, 1)]
    trade = traded(platform)
    assert bad(trade) == ["an order is placed"] and trade.read_back_at == ""
    assert "422 not enough free margin" in trade.checks[-1]["found"]


def test_a_stale_market_stops_the_trade(platform: Platform) -> None:
    platform.at = "2026-01-01T00:00:00+00:00"
    trade = traded(platform)
    assert bad(trade) == ["market data of EURUSD"] and platform.orders == []


def test_a_commission_that_is_not_refunded_is_seen(platform: Platform) -> None:
    platform.refund = 0.0
    assert "balance after the test order" in bad(traded(platform))


def test_an_order_that_is_acknowledged_but_not_there_is_seen(platform: Platform) -> None:
    platform.faults["GET", "/api/v1/orders/1"] = [Answer(404, {"detail": "not found"}, 1)]
    trade = traded(platform)
    assert bad(trade) == ["the order is read back"] and trade.read_back_at == ""


def test_polling_ends_with_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    answers = iter([Answer(503, "", 1), Answer(503, "", 2), Answer(503, "", 3)])
    ask: Callable[[], Answer] = lambda: next(answers)  # noqa: E731
    assert poll(ask, lambda answer: answer.status == 200, 2).milliseconds == 2


def test_the_gateway_is_well_once_it_answers_and_others_once_it_says_so() -> None:
    health = Answer(503, {"components": {"trading-service": "ok", "user-service": "unavailable"}}, 1)
    assert verdict_of("gateway", "gateway", health) == "ok"
    assert verdict_of("trading-service", "gateway", health) == "ok"
    assert verdict_of("user-service", "gateway", health) == "unavailable"
    assert verdict_of("dashboard", "gateway", health) == "unknown to the gateway"
    assert verdict_of("gateway", "gateway", Answer(0, "refused", 1)) == "the gateway does not answer"
