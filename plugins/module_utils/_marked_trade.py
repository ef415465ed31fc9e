# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A marked trade through the gateway: placed, read back, and undone without a trace in the account."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import (
    ORDERS,
    POSITIONS,
    TRANSIENT,
    Answer,
    Gateway,
    poll,
)
from ansible_collections.platform3.recovery.plugins.module_utils._validation import (
    COMPONENT,
    amount,
    judge_account,
    judge_freshness,
    position_of,
    shown,
)

# A service that has only just come up may turn the first order away; it is then sent anew. None is counted twice:
# every test order is undone in the end, whichever of them was taken.
PLACE_TIMEOUT_SECONDS = 20.0
PLACE_INTERVAL_SECONDS = 0.2
UNDO_TIMEOUT_SECONDS = 10.0
LOTS = Decimal("0.1")


def utc_now() -> datetime:
    """Now, with its offset."""
    return datetime.now(timezone.utc)


@dataclass
class MarkedTrade:
    """The trade of one recovery. recovery_id marks its orders; price_seconds bounds the wait for a fresh price."""

    gateway: Gateway
    account_id: int
    recovery_id: str
    symbol: str
    maximum_age_seconds: float
    price_seconds: float = 20.0
    checks: list[Check] = field(default_factory=list)
    order_id: int | None = None
    read_back_at: str = ""

    @property
    def account_path(self) -> str:
        """Where the recovery's own account is read."""
        return f"/api/v1/accounts/{self.account_id}"

    def _note(self, name: str, expected: Any, found: Any, ok: bool) -> bool:
        self.checks.append(check(name, COMPONENT, expected, found, ok=ok))
        return ok

    def await_price(self) -> bool:
        """The market moves again: a fresh price, within the bound."""
        last: list[Check] = []

        def fresh(answer: Answer) -> bool:
            at = answer.field("at") if answer.status == 200 else None
            last[:] = [judge_freshness(self.symbol, at, utc_now(), self.maximum_age_seconds)]
            return bool(last[0]["ok"])

        path = f"/api/v1/market-data/{self.symbol}"
        poll(lambda: self.gateway.call("GET", path, name="market data"), fresh, self.price_seconds)
        self.checks += last
        return bool(last[0]["ok"])

    def remember(self) -> None:
        """Undo what an earlier run left behind, then note balance and position as they are before the trade."""
        self._undo_leftovers()
        account = self.gateway.call("GET", self.account_path, name="account")
        positions = self.gateway.call("GET", POSITIONS, name="positions")
        self.before = account.data if account.status == 200 else {}
        self.held = position_of(positions.data, self.symbol)

    def place(self) -> bool:
        """Place the order and read it back: from this instant on the platform trades."""
        order = {
            "symbol": self.symbol,
            "type": "market",
            "side": "buy",
            "quantity": float(LOTS),
            "is_test": True,
            "client_ref": f"recovery:{self.recovery_id}",
        }
        placed = poll(
            lambda: self.gateway.call("POST", ORDERS, order, name="place order"),
            lambda answer: answer.status not in TRANSIENT,
            PLACE_TIMEOUT_SECONDS,
            PLACE_INTERVAL_SECONDS,
        )
        status = placed.field("status")
        if not self._note("an order is placed", "201 filled", f"{placed.shown()} {status}", placed.status == 201):
            return False
        self.order_id = int(placed.field("id"))
        read = self.gateway.call("GET", f"{ORDERS}/{self.order_id}", name="read order")
        found = [read.field("status"), amount(read.field("quantity")), read.field("symbol")]
        read_well = self._note(
            "the order is read back",
            f"filled, {LOTS} {self.symbol}",
            f"{found[0]}, {found[1]} {found[2]}" if read.status == 200 else read.shown(),
            read.status == 200 and found == ["filled", amount(LOTS), self.symbol],
        )
        if read_well:
            self.read_back_at = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return read_well

    def look(self) -> None:
        """Position and account after the order."""
        positions = self.gateway.call("GET", POSITIONS, name="positions")
        held = position_of(positions.data, self.symbol)
        self._note(f"position in {self.symbol}", shown(self.held + LOTS), shown(held), held == self.held + LOTS)
        account = self.gateway.call("GET", self.account_path, name="account")
        self.checks += judge_account(account.data if account.status == 200 else {})
        listed = self.gateway.call("GET", f"{ORDERS}?limit=20", name="list orders")
        found = [one.get("id") for one in listed.data] if listed.status == 200 else listed.shown()
        self._note("the order is listed", self.order_id, found[:1], isinstance(found, list) and self.order_id in found)

    def undo(self) -> None:
        """Cancel the order, and prove it: its status, the account and the position as they were before."""
        answer = poll(
            lambda: self.gateway.call("DELETE", f"{ORDERS}/{self.order_id}", name="undo order"),
            lambda one: one.status not in TRANSIENT,
            UNDO_TIMEOUT_SECONDS,
            PLACE_INTERVAL_SECONDS,
        )
        self._note("the test order is undone", "200 or 204", answer.shown(), answer.status in (200, 204))
        self._undo_leftovers()
        order = self.gateway.call("GET", f"{ORDERS}/{self.order_id}", name="read order")
        self._note("status of the test order", "cancelled", order.field("status"), order.field("status") == "cancelled")
        account = self.gateway.call("GET", self.account_path, name="account")
        for name in ("balance", "equity", "used_margin", "free_margin"):
            was, now = amount(self.before.get(name)), amount(account.field(name))
            self._note(f"{name} after the test order", shown(was), shown(now), was is not None and was == now)
        positions = self.gateway.call("GET", POSITIONS, name="positions")
        held = position_of(positions.data, self.symbol)
        self._note(f"position in {self.symbol} after the test order", shown(self.held), shown(held), held == self.held)

    def _undo_leftovers(self) -> None:
        """Cancel every test order that is still filled: of a run that was killed, or of an order sent twice."""
        listed = self.gateway.call("GET", f"{ORDERS}?limit=100", name="list orders")
        orders = listed.data if listed.status == 200 and isinstance(listed.data, list) else []
        for order in orders:
            if order.get("is_test") and order.get("status") == "filled":
                self.gateway.call("DELETE", f"{ORDERS}/{order['id']}", name="undo order")

    def settle(self) -> None:
        """For a trade that broke off: leave no test order behind, as far as the platform lets us."""
        self._undo_leftovers()


def elapsed(since: float) -> float:
    """Seconds since a monotonic time, to the millisecond."""
    return round(time.monotonic() - since, 3)
