# SPDX-License-Identifier: GPL-3.0-or-later
"""Trying a secret on a server that may answer or not; the real servers are asked in test_bad_input.py."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _login


@contextmanager
def server(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that reads once and answers once."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(timeout=5)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_command_is_written_by_length() -> None:
    assert _login.redis_command("AUTH", "ä", "a b") == b"*3\r\n$4\r\nAUTH\r\n$2\r\n\xc3\xa4\r\n$3\r\na b\r\n"


@pytest.mark.parametrize(
    ("answer", "opens"),
    [(b"+OK\r\n", True), (b"-WRONGPASS invalid username-password pair\r\n", False), (b"", None)],
)
def test_what_redis_answers(answer: bytes, opens: bool | None) -> None:
    with server(answer) as (port, heard):
        login = {"host": "127.0.0.1", "port": port, "user": "admin", "password": "x"}
        assert _login.redis_opens(login) is opens
    assert heard == [_login.redis_command("AUTH", "admin", "x")]


@pytest.mark.parametrize(
    ("status", "opens"), [(b"200 OK", True), (b"401 Unauthorized", False), (b"503 Service Unavailable", None)]
)
def test_what_influxdb_answers(status: bytes, opens: bool | None) -> None:
    with server(b"HTTP/1.0 " + status + b"\r\nContent-Length: 0\r\n\r\n") as (port, heard):
        assert _login.influxdb_opens({"url": f"http://127.0.0.1:{port}", "password": "t"}) is opens
    assert b"Token t" in heard[0]


@pytest.mark.parametrize("component", _login.OPENS)
def test_where_nothing_answers_nothing_is_said(component: str) -> None:
    port = a_free_port()
    login = {"host": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}", "user": "u", "password": "p"}
    assert _login.OPENS[component]({**login, "database": "d"}) is None
