# SPDX-License-Identifier: GPL-3.0-or-later
"""What no longer fits together once datastores stand at different instants."""

from __future__ import annotations

from ansible_collections.platform3.recovery.plugins.module_utils._consistency import (
    consistency_warnings,
    prices_ahead,
    sessions_of_nobody,
    trades_without_ticks,
)
from hypothesis import given
from hypothesis import strategies as st


def test_sessions_of_users_that_do_not_exist_are_named() -> None:
    assert sessions_of_nobody({"session:a": "1", "session:b": "7"}, ["1", "2"]) == {"session:b": "7"}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9).map(str)), st.sets(st.integers(0, 9)))
def test_a_session_is_named_exactly_where_its_user_is_unknown(sessions: dict[str, str], users: set[int]) -> None:
    nobody = sessions_of_nobody(sessions, [str(user) for user in users])
    assert all((key in nobody) == (int(user) not in users) for key, user in sessions.items())


def test_a_cached_price_may_be_a_little_newer_than_the_newest_tick() -> None:
    newest = {"EURUSD": 100.0, "USDJPY": 100.0}
    assert prices_ahead({"EURUSD": 109.0, "USDJPY": 111.5, "XAUUSD": 1.0}, newest, 10) == {
        "USDJPY": 11.5,
        "XAUUSD": None,
    }


def test_minutes_of_trades_without_a_tick_are_named_oldest_first() -> None:
    trades = [("EURUSD", 120, 3), ("EURUSD", 60, 2), ("USDJPY", 60, 1)]
    found = trades_without_ticks(trades, [("USDJPY", 60)])
    assert found == [
        {"symbol": "EURUSD", "minute": 60, "orders": 2},
        {"symbol": "EURUSD", "minute": 120, "orders": 3},
    ]


def test_what_does_not_fit_is_said_in_sentences() -> None:
    assert consistency_warnings({}, {}, []) == []
    nobody = {f"session:{number}": str(number) for number in range(7)}
    tickless = [{"symbol": "EURUSD", "minute": 60, "orders": 2}, {"symbol": "EURUSD", "minute": 120, "orders": 3}]
    assert consistency_warnings(nobody, {"USDJPY": 11.5}, tickless) == [
        "7 sessions belong to users that the database does not know (0, 1, 2, 3, 4 and 2 more)",
        "cached prices are newer than the stored ticks of USDJPY",
        "5 orders were filled in 2 minutes of which no tick is stored (EURUSD)",
    ]
