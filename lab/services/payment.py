# SPDX-License-Identifier: GPL-3.0-or-later
"""payment-service: a deposit and the account it raises change in one transaction."""

from __future__ import annotations

from decimal import Decimal

from psycopg.rows import dict_row
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.common import body, database, reply, serve, service, transaction
from services.domain import cents

RAISE = """UPDATE accounts SET balance = balance + %(amount)s, equity = balance + %(amount)s,
    free_margin = balance + %(amount)s - used_margin, updated_at = now()
    WHERE account_id = %(account_id)s RETURNING balance"""
DEPOSIT = """INSERT INTO deposits (account_id, amount, reference) VALUES (%(account_id)s, %(amount)s, %(reference)s)
    RETURNING deposit_id AS id, account_id, amount, created_at"""

pool = database(2)


async def deposit(request: Request) -> Response:
    """Deposit money: 201 once it is committed."""
    data = await body(request)
    amount = data.get("amount")
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not 0 < amount <= 1_000_000:
        return reply({"detail": "amount must be a number above 0, at most 1000000"}, 422)
    if cents(Decimal(amount)) != amount:
        return reply({"detail": "amount must have at most two decimals"}, 422)
    values = {"account_id": int(data["account_id"]), "amount": amount, "reference": data.get("reference")}
    async with transaction(pool) as connection:
        balance = await (await connection.execute(RAISE, values)).fetchone()
        if balance is None:
            return reply({"detail": "no such account"}, 404)
        done = await (await connection.cursor(row_factory=dict_row).execute(DEPOSIT, values)).fetchone()
    return reply({**(done or {}), "balance": balance[0]}, 201)


app = service([Route("/deposits", deposit, methods=["POST"])], pool=pool)

if __name__ == "__main__":
    serve(app)
