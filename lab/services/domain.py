# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure parts: symbols, the price walk, what a fill does to a position, candles, passwords."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

SYMBOLS: dict[str, float] = {  # symbol: the price its walk is drawn back to; each has USD on one side
    "EURUSD": 1.0850,
    "GBPUSD": 1.2700,
    "USDJPY": 149.50,
    "AUDUSD": 0.6550,
    "USDCHF": 0.8830,
    "USDCAD": 1.3650,
    "NZDUSD": 0.6020,
    "USDTRY": 32.100,
}
BOUND = 0.03  # a price stays within 3 % of its home
LOT = Decimal(100_000)
LEVERAGE = Decimal(30)
COMMISSION_PER_LOT = Decimal("3.50")
CENT, PIP = Decimal("0.01"), Decimal("0.00001")


def cents(amount: Decimal) -> Decimal:
    """`amount` of money rounded to what numeric(18,2) holds."""
    return amount.quantize(CENT, ROUND_HALF_EVEN)


def next_price(symbol: str, price: float, noise: float) -> float:
    """The price after one step: `noise` (standard normal) moves it, its home draws it back, bounds hold it."""
    home = SYMBOLS[symbol]
    moved = price + noise * home * 2e-5 + (home - price) * 1e-4
    return round(min(max(moved, home * (1 - BOUND)), home * (1 + BOUND)), 5)


def quote(symbol: str, mid: float) -> tuple[float, float]:
    """(bid, ask) around the middle price, one basis point apart."""
    half = SYMBOLS[symbol] * 5e-5
    return round(mid - half, 5), round(mid + half, 5)


def now_text() -> str:
    """Now, UTC, ISO 8601 with Z and milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Position:
    """What an account holds of one symbol: signed lots at an average price."""

    quantity: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)

    def used_margin(self, symbol: str) -> Decimal:
        """Margin in USD: the notional by the leverage."""
        in_usd = self.average_price if symbol.endswith("USD") else Decimal(1)
        return cents(abs(self.quantity) * LOT * in_usd / LEVERAGE)


def fill(position: Position, symbol: str, signed: Decimal, price: Decimal) -> tuple[Position, Decimal]:
    """The position after `signed` lots (negative: sold) at `price`, and the profit realised in USD."""
    quantity = position.quantity + signed
    closed = min(abs(signed), abs(position.quantity)) if position.quantity * signed < 0 else Decimal(0)
    if closed:
        direction = 1 if position.quantity > 0 else -1
        profit = direction * closed * LOT * (price - position.average_price)
        profit = cents(profit if symbol.endswith("USD") else profit / price)
        average = position.average_price if quantity * position.quantity > 0 else price
    else:
        profit = Decimal(0)
        paid = abs(position.quantity) * position.average_price + abs(signed) * price
        average = (paid / abs(quantity)).quantize(PIP, ROUND_HALF_EVEN)
    return Position(quantity, average if quantity else Decimal(0)), profit


def candles(ticks: Iterable[tuple[str, float, float, float]]) -> dict[tuple[str, int], list[float]]:
    """(symbol, minute) -> [open, high, low, close, volume] of ticks (symbol, time, price, volume) in order of time.

    Times and minutes are epoch seconds.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for symbol, at, price, volume in ticks:
        candle = found.setdefault((symbol, int(at) // 60 * 60), [price, price, price, price, 0.0])
        candle[1], candle[2] = max(candle[1], price), min(candle[2], price)
        candle[3], candle[4] = price, candle[4] + volume
    return found


def candle_lines(found: dict[tuple[str, int], list[float]]) -> list[str]:
    """Line protocol (seconds) of candles."""
    return [
        f"candles,symbol={symbol} open={o},high={h},low={low},close={c},volume={volume} {minute}"
        for (symbol, minute), (o, h, low, c, volume) in found.items()
    ]


def hash_password(password: str, salt: bytes | None = None) -> str:
    """`scrypt$<salt>$<digest>`, hex; costs about 50 ms."""
    salt = salt or secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Whether `password` is the one that `stored` was made from."""
    return hmac.compare_digest(hash_password(password, bytes.fromhex(stored.split("$")[1])), stored)
