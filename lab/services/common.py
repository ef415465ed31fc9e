# SPDX-License-Identifier: GPL-3.0-or-later
"""What all services share: settings, connections, health, and how they call each other.

Imports are kept few and late: all services start at the same moment in a recovery, and their start counts in its time.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from psycopg import AsyncConnection
    from psycopg.errors import Diagnostic
    from psycopg_pool import AsyncConnectionPool
    from redis.asyncio import Redis

SECONDS_FOR_A_CHECK = 1.5
SECONDS_FOR_A_TRANSACTION = 4
Check = Callable[[], Awaitable[object]]


def env(name: str, default: str) -> str:
    """The setting `name` from the environment."""
    return os.environ.get(name, default)


def secret(name: str) -> str:
    """The secret `name`, read anew each time: it may have been rotated."""
    return Path(env("SECRETS_DIR", "/run/secrets"), name).read_text().strip()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


def reply(data: object, status: int = 200) -> Response:
    """A JSON answer; decimals become numbers, times ISO 8601 with Z."""
    return Response(json.dumps(data, default=_plain, separators=(",", ":")), status, media_type="application/json")


async def body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, its fractions exact; 422 if it is none."""
    try:
        data = json.loads(await request.body(), parse_float=Decimal)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise HTTPException(422, "a JSON object is expected")
    return data


def database(size: int = 4) -> AsyncConnectionPool:
    """A pool that never gives up: each request tries again, so a returned server is in use within a second."""
    from psycopg_pool import AsyncConnectionPool

    def conninfo() -> str:
        password = secret("postgresql_password").replace("\\", "\\\\").replace("'", "\\'")
        return (
            f"host={env('POSTGRESQL_HOST', 'postgresql')} port={env('POSTGRESQL_PORT', '5432')} "
            f"dbname={env('POSTGRESQL_DATABASE', 'forex_trading')} user={env('POSTGRESQL_USER', 'forex_admin')} "
            f"password='{password}' connect_timeout=2 tcp_user_timeout=5000 application_name=platform3"
        )

    return AsyncConnectionPool(
        conninfo, min_size=1, max_size=size, timeout=2, reconnect_timeout=2, open=False, kwargs={"autocommit": True}
    )


async def ping_database(pool: AsyncConnectionPool) -> None:
    """Raise unless the database answers and takes writes."""
    async with pool.connection(timeout=1) as connection:
        row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    if row is None or row[0]:
        raise OSError("the database is in recovery")


@asynccontextmanager
async def transaction(pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection[Any]]:
    """One transaction; 503 where its commit was not confirmed by the receiver it waits for: it may be lost yet."""
    unconfirmed: list[str] = []

    def notice(diagnostic: Diagnostic) -> None:
        if "canceling wait for synchronous replication" in (diagnostic.message_primary or ""):
            unconfirmed.append("local only")

    async with asyncio.timeout(SECONDS_FOR_A_TRANSACTION), pool.connection() as connection:
        connection.add_notice_handler(notice)
        try:
            async with connection.transaction():
                yield connection
        finally:
            connection.remove_notice_handler(notice)
    if unconfirmed:
        raise HTTPException(503, "not acknowledged: the commit is on one machine only; look before you try again")


def redis_client(db: int) -> Redis:
    """A Redis client that answers or fails within a second."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis(
        host=env("REDIS_HOST", "redis"), port=int(env("REDIS_PORT", "6379")), db=db, decode_responses=True,
        username=env("REDIS_USER", "platform_services"), password=secret("redis_services_password"),
        socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1),
    )  # fmt: skip


class Upstream:
    """Keep-alive HTTP to one peer. What it raises where the peer does not answer is an OSError, as of other clients."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url, self.headers = url, headers
        self.session: ClientSession | None = None

    async def request(self, method: str, path: str, data: bytes = b"", timeout: float = 5) -> tuple[int, bytes]:
        """(status, body)."""
        from aiohttp import ClientError, ClientSession

        self.session = self.session or ClientSession(headers=self.headers)  # it wants a running loop
        try:
            async with asyncio.timeout(timeout), self.session.request(method, self.url + path, data=data) as answer:
                return answer.status, await answer.read()
        except ClientError as error:
            raise ConnectionError(f"{self.url}: {error!r}") from error


async def verdicts(checks: Mapping[str, Check]) -> dict[str, str]:
    """Run all checks at once: name -> `ok`, or why not."""

    async def one(check: Check) -> str:
        try:
            async with asyncio.timeout(SECONDS_FOR_A_CHECK):
                await check()
        except Exception as error:  # whatever a client raises: the component is not well
            return f"unavailable: {type(error).__name__}"
        return "ok"

    return dict(zip(checks, await asyncio.gather(*map(one, checks.values())), strict=True))


def service(
    routes: Sequence[BaseRoute], checks: Mapping[str, Check] | None = None, *, pool: AsyncConnectionPool | None = None,
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (), unavailable: Sequence[type[Exception]] = (),
) -> Starlette:  # fmt: skip
    """An application with `/live` and, over its `checks`, `/health`.

    `pool` and `loops` live as long as it does; what it needs may be away meanwhile: such errors are answered 503.
    """
    checks = dict(checks or {})
    if pool is not None:
        from psycopg import OperationalError
        from psycopg.errors import ReadOnlySqlTransaction

        checks["postgresql"] = lambda: ping_database(pool)
        unavailable = (OperationalError, ReadOnlySqlTransaction, *unavailable)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        if pool is not None:
            await pool.open(wait=False)
        tasks = [asyncio.create_task(loop()) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
        if pool is not None:
            await pool.close(timeout=1)

    async def health(_: Request) -> Response:
        components = await verdicts(checks)
        ok = all(verdict == "ok" for verdict in components.values())
        return reply({"status": "ok" if ok else "degraded", "components": components}, 200 if ok else 503)

    async def live(_: Request) -> Response:
        return reply({"status": "ok"})

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return reply({"detail": error.detail}, error.status_code)

    async def away(_: Request, error: Exception) -> Response:
        if pool is not None:  # the other idle connections are probably dead as well
            asyncio.get_running_loop().create_task(pool.check())
        return reply({"detail": f"unavailable: {type(error).__name__}"}, 503)

    handlers: dict[Any, Any] = {HTTPException: refused} | dict.fromkeys((OSError, *unavailable), away)
    all_routes = [*routes, Route("/health", health), Route("/live", live)]
    return Starlette(routes=all_routes, lifespan=lifespan, exception_handlers=handlers)


def serve(app: Starlette) -> None:
    """Serve until SIGTERM."""
    import uvicorn

    uvicorn.run(
        app, host=env("HOST", "0.0.0.0"), port=int(env("PORT", "8000")), http="httptools", loop="asyncio",
        ws="none", access_log=False, log_level="warning", timeout_keep_alive=75, timeout_graceful_shutdown=1,
    )  # fmt: skip
