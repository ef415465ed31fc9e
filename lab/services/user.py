# SPDX-License-Identifier: GPL-3.0-or-later
"""user-service: login against a salted scrypt hash; a session is a hash in Redis with a time to live."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.common import body, database, redis_client, reply, serve, service
from services.domain import password_matches

SESSION = timedelta(hours=24)
USER = """SELECT u.user_id, u.password_hash, u.role, min(a.account_id) FROM users u JOIN accounts a USING (user_id)
    WHERE u.username = %s AND u.status = 'active' GROUP BY u.user_id"""
AUDIT = "INSERT INTO audit_log (actor, action, subject) VALUES (%s, 'login', %s)"

pool = database(3)
sessions = redis_client(0)


async def login(request: Request) -> Response:
    """Check a password and open a session."""
    data = await body(request)
    username, password = str(data.get("username", "")), str(data.get("password", ""))
    async with pool.connection() as connection:
        user = await (await connection.execute(USER, [username])).fetchone()
    if user is None or not await asyncio.to_thread(password_matches, password, user[1]):
        return reply({"detail": "unknown user or wrong password"}, 401)
    token, expires_at = secrets.token_urlsafe(24), (datetime.now(UTC) + SESSION).replace(microsecond=0)
    session = {"user_id": user[0], "account_id": user[3], "username": username, "role": user[2]}
    async with sessions.pipeline() as pipeline:
        pipeline.hset(f"session:{token}", mapping=session | {"expires_at": expires_at.isoformat()})
        pipeline.expire(f"session:{token}", SESSION)
        await pipeline.execute()
    async with pool.connection() as connection:
        await connection.execute(AUDIT, [username, str(user[0])])
    return reply({"token": token, "user_id": user[0], "account_id": user[3], "expires_at": expires_at})


app = service([Route("/login", login, methods=["POST"])], {"redis": sessions.ping}, pool=pool, unavailable=[RedisError])

if __name__ == "__main__":
    serve(app)
