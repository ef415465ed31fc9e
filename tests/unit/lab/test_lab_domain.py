# SPDX-License-Identifier: GPL-3.0-or-later
"""What an order does to a position, and the other pure parts of the lab's application."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services.domain import (
    BOUND,
    LOT,
    SYMBOLS,
    Position,
    candle_lines,
    candles,
    fill,
    hash_password,
    next_price,
    password_matches,
    quote,
)

D = Decimal
lots = st.integers(-300, 300).filter(bool).map(lambda hundredths: D(hundredths) / 100)
prices = st.integers(90_000, 120_000).map(lambda pips: D(pips) / 100_000)


@pytest.mark.parametrize(
    ("before", "signed", "price", "after", "profit"),
    [
        (Position(), "0.10", "1.10000", Position(D("0.10"), D("1.10000")), "0"),
        (Position(D("0.10"), D("1.10000")), "0.10", "1.20000", Position(D("0.20"), D("1.15000")), "0"),
        (Position(D("0.20"), D("1.15000")), "-0.05", "1.16000", Position(D("0.15"), D("1.15000")), "50.00"),
        (Position(D("0.20"), D("1.15000")), "-0.20", "1.14000", Position(), "-200.00"),
        (Position(D("-0.10"), D("1.10000")), "0.30", "1.09000", Position(D("0.20"), D("1.09000")), "100.00"),
    ],
    ids=["opens", "adds", "reduces", "closes", "turns around"],
)
def test_a_fill_changes_a_position(before: Position, signed: str, price: str, after: Position, profit: str) -> None:
    assert fill(before, "EURUSD", D(signed), D(price)) == (after, D(profit))


def test_profit_in_another_currency_is_turned_into_usd() -> None:
    _, profit = fill(Position(D("1.00"), D("150.00000")), "USDJPY", D("-1.00"), D("160.00000"))
    assert profit == D("6250.00")


@given(st.lists(st.tuples(lots, prices), min_size=1, max_size=20))
def test_closing_everything_realises_exactly_what_was_paid_and_received(fills: list[tuple[Decimal, Decimal]]) -> None:
    position, realised, cash = Position(), D(0), D(0)
    for signed, price in fills:
        position, profit = fill(position, "EURUSD", signed, price)
        realised, cash = realised + profit, cash - signed * price * LOT
        assert position.used_margin("EURUSD") >= 0
    assert position.quantity == sum(signed for signed, _ in fills)
    if position.quantity:
        price = D("1.05")
        _, profit = fill(position, "EURUSD", -position.quantity, price)
        realised, cash = realised + profit, cash + position.quantity * price * LOT
    # Average prices have five decimals: at most half a pip times the lots held is lost at each step.
    assert abs(realised - cash) <= sum(abs(signed) for signed, _ in fills) * len(fills) * LOT * D("0.000005") + len(
        fills
    )


def test_the_walk_stays_within_its_bounds_however_hard_it_is_pushed() -> None:
    for symbol, home in SYMBOLS.items():
        price = home
        for _ in range(2000):
            price = next_price(symbol, price, random.choice([-1e4, 1e4, random.gauss(0, 1)]))
            assert home * (1 - BOUND) <= price + 1e-5 and price - 1e-5 <= home * (1 + BOUND)
        bid, ask = quote(symbol, price)
        assert 0 < bid < ask


def test_candles_follow_the_ticks_of_their_minute() -> None:
    found = candles(
        [("A", 60.0, 2.0, 1), ("A", 61.0, 3.0, 1), ("B", 61.5, 9.0, 5), ("A", 119.9, 1.0, 2), ("A", 120.0, 7.0, 4)]
    )
    assert found == {("A", 60): [2, 3, 1, 1, 4], ("B", 60): [9, 9, 9, 9, 5], ("A", 120): [7, 7, 7, 7, 4]}
    assert candle_lines(found)[1] == "candles,symbol=B open=9.0,high=9.0,low=9.0,close=9.0,volume=5.0 60"


def test_passwords_are_salted_and_only_the_right_one_matches() -> None:
    first, second = hash_password("open sesame"), hash_password("open sesame")
    assert first != second
    assert password_matches("open sesame", first) and password_matches("open sesame", second)
    assert not password_matches("open sesam", first)
