# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's gateway as its customers meet it: bounded calls whose times are kept, and the stream of prices."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlsplit

CALL_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.1
LOGIN = "/api/v1/auth/login"
ORDERS = "/api/v1/orders"
POSITIONS = "/api/v1/positions"
STREAM = "/api/v1/stream"
# What a platform answers that is still coming up: nothing, or that something behind it is away.
TRANSIENT = (0, 502, 503, 504)


@dataclass(frozen=True)
class Answer:
    """What came back: the status (0: nothing did), the parsed JSON or the text, and the milliseconds it took."""

    status: int
    data: Any
    milliseconds: float

    def field(self, name: str) -> Any:
        """A field of the answered object; None where there is none."""
        return self.data.get(name) if isinstance(self.data, Mapping) else None

    def shown(self) -> str:
        """The answer as a few words for a check: status and detail."""
        detail = self.field("detail") or (self.data if isinstance(self.data, str) else "")
        return f"{self.status or 'no answer'} {str(detail)[:120]}".strip()


class Gateway:
    """A base address. Calls from several threads are safe: each has a connection of its own.

    `times` holds a record of each call that is named: {"call": "place order", "milliseconds": 12.3, "status": 201}.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.token = ""
        self.times: list[dict[str, Any]] = []

    def _open(self, timeout_seconds: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=timeout_seconds)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        return {**headers, "Authorization": f"Bearer {self.token}"} if self.token else headers

    def call(
        self, method: str, path: str, body: Any = None, *, name: str = "", timeout_seconds: float = CALL_TIMEOUT_SECONDS
    ) -> Answer:
        """One request, never repeated; its time is recorded where it has a name. Never raises for the network."""
        connection = self._open(timeout_seconds)
        began = time.monotonic()
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, self._url.path.rstrip("/") + path, sent, self._headers())
            response = connection.getresponse()
            status, text = response.status, response.read().decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, str(error) or type(error).__name__
        finally:
            connection.close()
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        if name:
            self.times.append({"call": name, "milliseconds": milliseconds, "status": status})
        try:
            return Answer(status, json.loads(text), milliseconds)
        except ValueError:
            return Answer(status, text, milliseconds)

    def log_in(self, username: str, password: str) -> Answer:
        """Log in; the token is kept for later calls where it is given."""
        answer = self.call("POST", LOGIN, {"username": username, "password": password}, name="login")
        if answer.status == 200:
            self.token = str(answer.field("token") or "")
        return answer

    def admits_customers(self) -> Answer:
        """A login that nobody can have: 503 while the platform is closed to customers, 401 once it is open."""
        return self.call("POST", LOGIN, {"username": f"nobody-{uuid.uuid4().hex[:8]}", "password": uuid.uuid4().hex})

    def events(self, path: str, timeout_seconds: float) -> Iterator[Any]:
        """The data of server-sent events, parsed; ends after timeout_seconds or when the stream does."""
        deadline = time.monotonic() + timeout_seconds
        connection = self._open(timeout_seconds)
        try:
            connection.request("GET", self._url.path.rstrip("/") + path, None, self._headers())
            response = connection.getresponse()
            while response.status == 200 and time.monotonic() < deadline:
                line = response.readline()
                if not line:
                    return
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            connection.close()


def poll(
    ask: Callable[[], Answer],
    good: Callable[[Answer], bool],
    timeout_seconds: float,
    interval_seconds: float = POLL_SECONDS,
) -> Answer:
    """Ask until the answer is good or the time is up; the last answer either way."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = ask()
        if good(answer) or time.monotonic() >= deadline:
            return answer
        time.sleep(interval_seconds)


def verdict_of(service: str, gateway_service: str, health: Answer | None) -> str:
    """How a service is by the gateway's /health: "ok", or what is said instead.

    The gateway itself is well once it answers, whatever it says of others.
    """
    if health is None or not isinstance(health.data, Mapping):
        return "the gateway does not answer"
    if service == gateway_service:
        return "ok"
    return str((health.field("components") or {}).get(service, "unknown to the gateway"))
