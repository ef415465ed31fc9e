# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: the only door for customers. Sessions, the maintenance switch, the epoch, and forwarding."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
OWN_ORDER = "/orders/{id}?account_id={account_id}"

sessions, cache = redis_client(0), redis_client(1)
peers = {
    name: Upstream(env(f"{name.upper().replace('-', '_')}_SERVICE_URL", f"http://{name}-service:8000"))
    for name in ("trading", "user", "payment", "market-data", "analytics")
}


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


async def login(request: Request) -> Response:
    """Hand a login on, unless the door is closed to this user."""
    data = await body(request)
    switch.admit(str(data.get("username", "")))
    switch.admit_change()
    status, answer = await peers["user"].request("POST", "/login", json.dumps(data, default=float).encode())
    return Response(answer, status, media_type="application/json")


def relay(peer: str, path: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that hands a request on to `path` of a service, for the account of the session alone."""

    async def endpoint(request: Request) -> Response:
        session, limit, text = await session_of(request), request.query_params.get("limit", "50"), b""
        if request.method != "GET":
            switch.admit_change()
        if request.method == "POST":
            data = await body(request)
            if str(data.setdefault("account_id", int(session["account_id"]))) != session["account_id"]:
                raise HTTPException(404, "no such account")
            if data.get("is_test") and session["username"] != RECOVERY_USER:
                raise HTTPException(403, "is_test is the recovery's")
            text = json.dumps(data, default=float).encode()
        if not limit.isdecimal():
            raise HTTPException(422, "limit must be a number")
        target = path.format(account_id=session["account_id"], limit=limit, **request.path_params)
        status, answer = await peers[peer].request(request.method, target, text)
        return Response(answer, status, media_type="application/json")

    return endpoint


async def cached_price(symbol: str) -> dict[str, Any] | None:
    """The cached price of a symbol."""
    price = await cache.hgetall(f"price:{symbol}")
    if not price:
        return None
    return {"symbol": symbol, "bid": float(price["bid"]), "ask": float(price["ask"]), "at": price["at"]}


async def price(request: Request) -> Response:
    """The price of one symbol."""
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
    """The live stream of prices."""
    await session_of(request)
    return StreamingResponse(ticks(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def health(_: Request) -> Response:
    """Every service, and every datastore as those that use it see it."""
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
        Route("/api/v1/orders", relay("trading", "/orders"), methods=["POST"]),
        Route("/api/v1/orders", relay("trading", "/orders?account_id={account_id}&limit={limit}")),
        Route("/api/v1/orders/{id:int}", relay("trading", OWN_ORDER), methods=["GET", "DELETE"]),
        Route("/api/v1/positions", relay("trading", "/positions?account_id={account_id}")),
        Route("/api/v1/accounts/{id:int}", relay("trading", "/accounts/{id}?account_id={account_id}")),
        Route("/api/v1/deposits", relay("payment", "/deposits"), methods=["POST"]),
        Route("/api/v1/market-data/{symbol}", price),
        Route("/api/v1/stream", stream),
    ],
    unavailable=[RedisError],
)

if __name__ == "__main__":
    serve(app)
