# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard: one static page, and the state it shows, gathered from the services read-only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.common import Upstream, env, reply, serve, service

PAGE = Path(__file__).with_name("dashboard.html").read_text()
gateway = Upstream(env("GATEWAY_URL", "http://gateway:8000"))
trading = Upstream(env("TRADING_SERVICE_URL", "http://trading-service:8000"))
market_data = Upstream(env("MARKET_DATA_SERVICE_URL", "http://market-data-service:8000"))


async def part(peer: Upstream, path: str) -> Any:
    """What a peer answers, whatever its status; null if it is away."""
    try:
        return json.loads((await peer.request("GET", path, timeout=2))[1])
    except (OSError, ValueError):
        return None


async def state(_: Request) -> Response:
    """All that the page shows; a part whose service is away is null."""
    parts = {
        "health": part(gateway, "/health"),
        "prices": part(market_data, "/prices"),
        "orders": part(trading, "/orders?limit=14"),
        "positions": part(trading, "/positions"),
    }
    return reply(dict(zip(parts, await asyncio.gather(*parts.values()), strict=True)))


async def page(_: Request) -> Response:
    """The page."""
    return HTMLResponse(PAGE)


app = service([Route("/", page), Route("/state", state)])

if __name__ == "__main__":
    serve(app)
