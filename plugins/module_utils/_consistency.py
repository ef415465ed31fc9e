# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What no longer fits together once datastores stand at different instants. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = 5


def sessions_of_nobody(sessions: Mapping[str, str], users: Iterable[str]) -> dict[str, str]:
    """The sessions (key -> user id) whose user the database does not know. users: ids that it knows."""
    known = {str(user) for user in users}
    return {key: user for key, user in sessions.items() if user not in known}


def prices_ahead(
    cached: Mapping[str, float], newest: Mapping[str, float], tolerance_seconds: float
) -> dict[str, float | None]:
    """Symbols whose cached price is newer than the newest tick that is stored, by more than the tolerance.

    cached, newest: seconds since 1970 by symbol. Gives by how many seconds, None where no tick is stored at all.
    """
    ahead: dict[str, float | None] = {}
    for symbol, at in sorted(cached.items()):
        stored = newest.get(symbol)
        if stored is None:
            ahead[symbol] = None
        elif at - stored > tolerance_seconds:
            ahead[symbol] = round(at - stored, 1)
    return ahead


def trades_without_ticks(
    trades: Iterable[tuple[str, int, int]], ticks: Iterable[tuple[str, int]]
) -> list[dict[str, Any]]:
    """The minutes in which a symbol was traded and no tick of it is stored, oldest first.

    trades: symbol, minute (seconds since 1970 of its beginning), number of orders; ticks: symbol and minute.
    """
    held = set(ticks)
    return [
        {"symbol": symbol, "minute": minute, "orders": orders}
        for symbol, minute, orders in sorted(trades, key=lambda row: (row[1], row[0]))
        if (symbol, minute) not in held
    ]


def consistency_warnings(
    nobody: Mapping[str, str], ahead: Mapping[str, float | None], tickless: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Sentences for the report, none where all fits."""
    found = []
    if nobody:
        users = sorted(set(nobody.values()))
        found.append(f"{len(nobody)} sessions belong to users that the database does not know ({_some(users)})")
    if ahead:
        found.append(f"cached prices are newer than the stored ticks of {_some(sorted(ahead))}")
    minutes = list(tickless)
    if minutes:
        orders = sum(int(one["orders"]) for one in minutes)
        symbols = sorted({str(one["symbol"]) for one in minutes})
        found.append(
            f"{orders} orders were filled in {len(minutes)} minutes of which no tick is stored ({_some(symbols)})"
        )
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
