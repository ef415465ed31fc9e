# SPDX-License-Identifier: GPL-3.0-or-later
"""trading-service: orders, positions and accounts. An order changes all of them in one transaction.

Unrealised profit is not stored: an account's equity is its balance.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg.rows import dict_row
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.common import body, database, redis_client, reply, serve, service, transaction
from services.domain import COMMISSION_PER_LOT, SYMBOLS, Position, cents, fill

OLDEST_PRICE = timedelta(seconds=10)
ORDER = """order_id AS id, account_id, symbol, type, side, quantity, price, status, client_ref, is_test,
    created_at, filled_at"""
LOCK = "SELECT balance, used_margin FROM accounts WHERE account_id = %s FOR UPDATE"
POSITION = "SELECT quantity, average_price, used_margin FROM positions WHERE account_id = %s AND symbol = %s"
INSERT_ORDER = """INSERT INTO orders
      (account_id, symbol, type, side, quantity, price, status, client_ref, is_test, filled_at)
    VALUES (%(account_id)s, %(symbol)s, 'market', %(side)s, %(quantity)s, %(price)s, %(status)s, %(client_ref)s,
      %(is_test)s, CASE %(status)s WHEN 'filled' THEN now() END)
    RETURNING order_id, created_at"""
EXECUTE = """INSERT INTO executions (order_id, account_id, symbol, side, quantity, price, realised_pnl, commission)
    SELECT order_id, %(account_id)s, %(symbol)s, %(side)s, %(quantity)s, %(price)s, %(pnl)s, %(commission)s"""
EFFECT = """p AS (INSERT INTO positions (account_id, symbol, quantity, average_price, used_margin)
    VALUES (%(account_id)s, %(symbol)s, %(held)s, %(average)s, %(margin)s)
    ON CONFLICT (account_id, symbol) DO UPDATE SET quantity = %(held)s, average_price = %(average)s,
      used_margin = %(margin)s, updated_at = now()),
  a AS (UPDATE accounts SET balance = balance + %(delta)s, equity = balance + %(delta)s,
      used_margin = used_margin + %(margin_delta)s, updated_at = now(),
      free_margin = balance + %(delta)s - used_margin - %(margin_delta)s WHERE account_id = %(account_id)s)"""
FILL = f"WITH o AS ({INSERT_ORDER}), e AS ({EXECUTE} FROM o), {EFFECT} SELECT order_id, created_at FROM o"
CANCEL = f"""WITH u AS (UPDATE orders SET status = 'cancelled' WHERE order_id = %(id)s RETURNING order_id),
  e AS ({EXECUTE} FROM u), {EFFECT}
  INSERT INTO audit_log (actor, action, subject) VALUES ('recovery', 'cancel test order', %(id)s::text)"""

pool = database(6)
cache = redis_client(1)
prices: dict[str, dict[str, str]] = {}
prices_read_at = 0.0


async def price_of(symbol: str, side: str) -> Decimal:
    """The price to trade at, from the cache (read at most five times a second); 503 if it is stale."""
    global prices_read_at
    if time.monotonic() - prices_read_at > 0.2:
        pipeline = cache.pipeline(transaction=False)
        for name in SYMBOLS:
            pipeline.hgetall(f"price:{name}")
        prices.update(zip(SYMBOLS, await pipeline.execute(), strict=True))
        prices_read_at = time.monotonic()
    price = prices[symbol]
    if not price or datetime.now(UTC) - datetime.fromisoformat(price["at"]) > OLDEST_PRICE:
        raise HTTPException(503, f"no fresh price of {symbol}")
    return Decimal(price["ask" if side == "buy" else "bid"])


def order_of(data: dict[str, Any]) -> dict[str, Any]:
    """The checked order of a request; 422 says what is wrong with it."""
    quantity, side, symbol, client_ref = (data.get(key) for key in ("quantity", "side", "symbol", "client_ref"))
    if not isinstance(symbol, str) or symbol not in SYMBOLS:
        raise HTTPException(422, f"symbol must be one of {', '.join(SYMBOLS)}")
    if data.get("type", "market") != "market" or side not in ("buy", "sell"):
        raise HTTPException(422, "type must be market, side buy or sell")
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal) or not 0 < quantity <= 100:
        raise HTTPException(422, "quantity must be a number of lots, at most 100")
    if client_ref is not None and not isinstance(client_ref, str):
        raise HTTPException(422, "client_ref must be text")
    if cents(Decimal(quantity)) != quantity:
        raise HTTPException(422, "quantity must have at most two decimals")
    return {
        "account_id": int(data["account_id"]), "symbol": symbol, "side": side, "quantity": Decimal(quantity),
        "client_ref": client_ref, "is_test": data.get("is_test") is True,
    }  # fmt: skip


async def place(request: Request) -> Response:
    """Place a market order: 201 when it is filled and committed, 422 when it was rejected."""
    order = order_of(await body(request))
    price = await price_of(order["symbol"], order["side"])
    signed = order["quantity"] if order["side"] == "buy" else -order["quantity"]
    commission = cents(order["quantity"] * COMMISSION_PER_LOT)
    async with transaction(pool) as connection:
        account = await (await connection.execute(LOCK, [order["account_id"]])).fetchone()
        if account is None:
            raise HTTPException(404, "no such account")
        held = await (await connection.execute(POSITION, [order["account_id"], order["symbol"]])).fetchone()
        old_margin = held[2] if held else Decimal(0)
        position, pnl = fill(Position(held[0], held[1]) if held else Position(), order["symbol"], signed, price)
        margin, delta = position.used_margin(order["symbol"]), pnl - commission
        filled = margin <= old_margin or account[1] + margin - old_margin <= account[0] + delta
        values = order | {
            "price": price, "pnl": pnl, "commission": commission, "delta": delta, "held": position.quantity,
            "average": position.average_price, "margin": margin, "margin_delta": margin - old_margin,
            "status": "filled" if filled else "rejected",
        }  # fmt: skip
        row = await (await connection.execute(FILL if filled else INSERT_ORDER, values)).fetchone()
        assert row is not None
    answer = {"id": row[0], "status": values["status"], "price": price, "created_at": row[1], **order}
    return reply(answer if filled else answer | {"detail": "not enough free margin"}, 201 if filled else 422)


async def cancel(request: Request) -> Response:
    """Undo a test order: balance, position and margin become what they were without it. Idempotent."""
    order_id, account_id = request.path_params["id"], int(request.query_params["account_id"])
    async with transaction(pool) as connection:
        await connection.execute(LOCK, [account_id])
        find = f"SELECT {ORDER} FROM orders WHERE order_id = %s AND account_id = %s AND is_test"
        order = await (await connection.cursor(row_factory=dict_row).execute(find, [order_id, account_id])).fetchone()
        if order is None:
            raise HTTPException(404, "no such test order")
        if order["status"] == "filled":
            done = "SELECT realised_pnl, commission FROM executions WHERE order_id = %s"
            pnl, commission = await (await connection.execute(done, [order_id])).fetchone() or (0, 0)
            # An average price cannot be computed backwards: fold all other fills of the symbol again.
            others = """SELECT CASE e.side WHEN 'buy' THEN e.quantity ELSE -e.quantity END, e.price
                FROM executions e JOIN orders o USING (order_id) WHERE e.account_id = %s AND e.symbol = %s
                AND o.status = 'filled' AND o.order_id <> %s ORDER BY execution_id"""
            symbol, position = order["symbol"], Position()
            for signed, price in await (await connection.execute(others, [account_id, symbol, order_id])).fetchall():
                position = fill(position, symbol, signed, price)[0]
            before = await (await connection.execute(POSITION, [account_id, symbol])).fetchone()
            margin = position.used_margin(symbol)
            values = order | {
                "side": "sell" if order["side"] == "buy" else "buy", "pnl": -pnl, "commission": -commission,
                "delta": commission - pnl, "held": position.quantity, "average": position.average_price,
                "margin": margin, "margin_delta": margin - (before[2] if before else 0),
            }  # fmt: skip
            await connection.execute(CANCEL, values)
            order["status"] = "cancelled"
    return reply(order)


async def rows(query: str, *values: object) -> list[dict[str, Any]]:
    """What a reading query gives."""
    async with pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return list(await (await cursor.execute(query, values)).fetchall())


async def one(query: str, request: Request) -> Response:
    """The row with the id of the path that belongs to the account of the query, or 404."""
    found = await rows(query, request.path_params["id"], int(request.query_params["account_id"]))
    return reply(found[0]) if found else reply({"detail": "not found"}, 404)


async def orders(request: Request) -> Response:
    """The newest orders, of one account if it is named."""
    account = request.query_params.get("account_id")
    limit = min(max(int(request.query_params.get("limit", 50)), 1), 1000)
    where = "WHERE account_id = %s" if account else ""
    values = [int(account), limit] if account else [limit]
    return reply(await rows(f"SELECT {ORDER} FROM orders {where} ORDER BY order_id DESC LIMIT %s", *values))


async def order(request: Request) -> Response:
    """One order."""
    return await one(f"SELECT {ORDER} FROM orders WHERE order_id = %s AND account_id = %s", request)


async def positions(request: Request) -> Response:
    """Open positions of one account, or the sums of all."""
    columns = "account_id, symbol, quantity, average_price, used_margin, updated_at"
    account = request.query_params.get("account_id")
    if account:
        query = f"SELECT {columns} FROM positions WHERE account_id = %s AND quantity <> 0 ORDER BY symbol"
        return reply(await rows(query, int(account)))
    sums = "count(*) AS accounts, sum(quantity) AS quantity, sum(used_margin) AS used_margin"
    return reply(
        await rows(f"SELECT symbol, {sums} FROM positions WHERE quantity <> 0 GROUP BY symbol ORDER BY symbol")
    )


async def account(request: Request) -> Response:
    """One account."""
    columns = "account_id, user_id, currency, balance, equity, used_margin, free_margin, updated_at"
    return await one(f"SELECT {columns} FROM accounts WHERE account_id = %s AND account_id = %s", request)


app = service(
    [
        Route("/orders", place, methods=["POST"]),
        Route("/orders", orders),
        Route("/orders/{id:int}", order),
        Route("/orders/{id:int}", cancel, methods=["DELETE"]),
        Route("/positions", positions),
        Route("/accounts/{id:int}", account),
    ],
    {"redis": cache.ping},
    pool=pool,
    unavailable=(RedisError,),
)

if __name__ == "__main__":
    serve(app)
