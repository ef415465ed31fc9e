# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: the only door for customers. Sessions, the maintenance switch, the epoch, and forwarding."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.common import Upstream, body, env, redis_client, reply, serve, service, verdicts
from services.domain import SYMBOLS

RECOVERY_USER = "recovery"
STREAM_SECONDS = 0.25

sessions, cache = redis_client(0), redis_client(1)
peers = {
    name: Upstream(env(f"{name.upper().replace('-', '_')}_SERVICE_URL", f"http://{name}-service:8000"))
    for name in ("trading", "user", "payment", "market-data", "analytics")
}
trading = peers["trading"]


def number_in(path: Path) -> int:
    """The integer a file holds; 0 if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


class Switch:
    """What closes the door, read from two folders at most once a second."""

    def __init__(self, control: Path, fence: Path) -> None:
        self.control, self.fence = control, fence
        self.read_at = float("-inf")
        self.maintenance, self.epoch, self.newest_epoch = False, 0, 0

    def read(self) -> Switch:
        """Itself, not older than a second."""
        if time.monotonic() - self.read_at >= 1:
            self.maintenance = (self.control / "maintenance").exists()
            self.epoch, self.newest_epoch = number_in(self.control / "epoch"), number_in(self.fence / "epoch")
            self.read_at = time.monotonic()
        return self

    def admit(self, username: str) -> None:
        """503 for everybody but the recovery's user during maintenance."""
        if self.read().maintenance and username != RECOVERY_USER:
            raise HTTPException(503, "maintenance")

    def admit_change(self) -> None:
        """503 when a newer epoch exists: this platform was replaced and must not trade on."""
        if self.read().epoch < self.newest_epoch:
            raise HTTPException(503, f"fenced: epoch {self.epoch} is older than {self.newest_epoch}")


switch = Switch(Path(env("CONTROL_DIR", "/control")), Path(env("FENCE_DIR", "/fence")))


async def session_of(request: Request) -> dict[str, str]:
    """The session of a request: 401 without one, 503 in maintenance."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    session = await sessions.hgetall(f"session:{token}") if scheme == "Bearer" and token else {}
    switch.admit(session.get("username", ""))
    if not session:
        raise HTTPException(401, "log in first")
    return dict(session)


async def forward(peer: Upstream, method: str, path: str, data: object = None) -> Response:
    """Hand a request on; OSError (the peer is away) becomes 503."""
    text = b"" if data is None else json.dumps(data, default=float).encode()
    status, answer = await peer.request(method, path, text)
    return Response(answer, status, media_type="application/json")


async def login(request: Request) -> Response:
    """POST /api/v1/auth/login"""
    data = await body(request)
    switch.admit(str(data.get("username", "")))
    switch.admit_change()
    return await forward(peers["user"], "POST", "/login", data)


async def place_order(request: Request) -> Response:
    """POST /api/v1/orders: 201 only after the commit."""
    session = await session_of(request)
    switch.admit_change()
    data = await body(request)
    if data.get("is_test") and session["username"] != RECOVERY_USER:
        raise HTTPException(403, "is_test is the recovery's")
    return await forward(trading, "POST", "/orders", data | {"account_id": int(session["account_id"])})


async def list_orders(request: Request) -> Response:
    """GET /api/v1/orders?limit="""
    session, limit = await session_of(request), request.query_params.get("limit", "50")
    if not limit.isdecimal():
        raise HTTPException(422, "limit must be a number")
    return await forward(trading, "GET", f"/orders?account_id={session['account_id']}&limit={limit}")


async def order(request: Request) -> Response:
    """GET and DELETE /api/v1/orders/{id}"""
    session, order_id = await session_of(request), request.path_params["order_id"]
    if request.method == "DELETE":
        switch.admit_change()
        if session["username"] != RECOVERY_USER:
            raise HTTPException(403, "only test orders can be cancelled")
        return await forward(trading, "DELETE", f"/orders/{order_id}?account_id={session['account_id']}")
    found = await forward(trading, "GET", f"/orders/{order_id}")
    if found.status_code == 200 and str(json.loads(bytes(found.body))["account_id"]) != session["account_id"]:
        return reply({"detail": "not found"}, 404)
    return found


async def positions(request: Request) -> Response:
    """GET /api/v1/positions"""
    return await forward(trading, "GET", f"/positions?account_id={(await session_of(request))['account_id']}")


async def account(request: Request) -> Response:
    """GET /api/v1/accounts/{id}: one's own"""
    session, account_id = await session_of(request), request.path_params["account_id"]
    if session["account_id"] != str(account_id):
        return reply({"detail": "not found"}, 404)
    return await forward(trading, "GET", f"/accounts/{account_id}")


async def deposit(request: Request) -> Response:
    """POST /api/v1/deposits, to one's own account"""
    session, data = await session_of(request), await body(request)
    switch.admit_change()
    if str(data.get("account_id")) != session["account_id"]:
        return reply({"detail": "no such account"}, 404)
    return await forward(peers["payment"], "POST", "/deposits", data)


async def cached_price(symbol: str) -> dict[str, Any] | None:
    """The cached price of a symbol."""
    price = await cache.hgetall(f"price:{symbol}")
    if not price:
        return None
    return {"symbol": symbol, "bid": float(price["bid"]), "ask": float(price["ask"]), "at": price["at"]}


async def price(request: Request) -> Response:
    """GET /api/v1/market-data/{symbol}"""
    await session_of(request)
    found = await cached_price(request.path_params["symbol"])
    return reply(found) if found else reply({"detail": "no price of this symbol"}, 404)


async def ticks() -> AsyncIterator[str]:
    """Server-sent events of the prices that changed; goes on through an outage of the cache."""
    sent: dict[str, Any] = {}
    while True:
        try:
            for symbol in SYMBOLS:
                found = await cached_price(symbol)
                if found and sent.get(symbol) != found["at"]:
                    sent[symbol] = found["at"]
                    yield f"data: {json.dumps(found)}\n\n"
        except (OSError, RedisError):
            yield ": the cache is away\n\n"
        await asyncio.sleep(STREAM_SECONDS)


async def stream(request: Request) -> Response:
    """GET /api/v1/stream"""
    await session_of(request)
    return StreamingResponse(ticks(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def health(_: Request) -> Response:
    """GET /health: every service, and every datastore as those that use it see it."""
    answers = await asyncio.gather(
        *(peer.request("GET", "/health", timeout=2) for peer in peers.values()), return_exceptions=True
    )
    components = {"postgresql": "unknown", "influxdb": "unknown", **await verdicts({"redis": sessions.ping})}
    for name, answer in zip(peers, answers, strict=True):
        components[f"{name}-service"] = "unavailable" if isinstance(answer, BaseException) else "ok"
        seen = {} if isinstance(answer, BaseException) else json.loads(answer[1])["components"]
        components |= {store: verdict for store, verdict in seen.items() if components[store] in ("ok", "unknown")}
    ok = all(verdict == "ok" for verdict in components.values())
    state = {"status": "ok" if ok else "degraded", "components": components}
    return reply(state | {"maintenance": switch.read().maintenance, "epoch": switch.epoch}, 200 if ok else 503)


app = service(
    [
        Route("/health", health),
        Route("/api/v1/auth/login", login, methods=["POST"]),
        Route("/api/v1/orders", place_order, methods=["POST"]),
        Route("/api/v1/orders", list_orders),
        Route("/api/v1/orders/{order_id:int}", order, methods=["GET", "DELETE"]),
        Route("/api/v1/positions", positions),
        Route("/api/v1/accounts/{account_id:int}", account),
        Route("/api/v1/deposits", deposit, methods=["POST"]),
        Route("/api/v1/market-data/{symbol}", price),
        Route("/api/v1/stream", stream),
    ],
    unavailable=[RedisError],
)

if __name__ == "__main__":
    serve(app)
