# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a datastore that still answers is opened by the secret at hand, before any data is touched."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 5.0


def redis_command(*words: str) -> bytes:
    """A command in Redis' protocol (RESP2, redis.io/docs/latest/develop/reference/protocol-spec)."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(f"${len(raw)}\r\n".encode() + raw + b"\r\n")
    return b"".join(parts)


def redis_replies(host: str, port: int, *commands: tuple[str, ...]) -> list[str]:
    """The first line of Redis' reply to each command, as in "+OK"; fewer where it hangs up. OSError where none comes.

    For questions that are asked before a client library is worth its import, which takes up to half a second.
    """
    with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(b"".join(redis_command(*words) for words in commands))
        with connection.makefile("r", encoding="utf-8", errors="replace", newline="\r\n") as lines:
            replies = [lines.readline().rstrip("\r\n") for _ in commands]
    return [reply for reply in replies if reply]


def redis_opens(login: dict[str, Any]) -> bool | None:
    """Whether AUTH is granted; None where nothing answers."""
    try:
        replies = redis_replies(login["host"], login["port"], ("AUTH", login["user"], login["password"]))
    except OSError:
        return None
    if not replies or replies[0][0] not in "+-":
        return None
    return replies[0].startswith("+OK")


def influxdb_opens(login: dict[str, Any]) -> bool | None:
    """Whether the token may list buckets; None where nothing answers or the server is not well."""
    request = urllib.request.Request(
        f"{login['url']}/api/v2/buckets?limit=1", headers={"Authorization": f"Token {login['password']}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError as refused:
        return False if refused.code in (401, 403) else None
    except (OSError, ValueError):
        return None


def postgresql_opens(login: dict[str, Any]) -> bool | None:
    """Whether the server lets the user in; None where nothing answers."""
    try:
        socket.create_connection((login["host"], login["port"]), timeout=TIMEOUT_SECONDS).close()
    except OSError:
        return None
    import psycopg  # a third of a second: only where there is a server to ask

    try:
        psycopg.connect(
            host=login["host"],
            port=login["port"],
            dbname=login["database"],
            user=login["user"],
            password=login["password"],
            connect_timeout=int(TIMEOUT_SECONDS),
        ).close()
    except psycopg.OperationalError as error:
        # The client gives no code for a failed login (class 28 of PostgreSQL's appendix A), only the server's words.
        words = ("password authentication failed", "no password supplied", "pg_hba.conf")
        return False if any(word in str(error) for word in words) else None
    return True


OPENS = {"postgresql": postgresql_opens, "redis": redis_opens, "influxdb": influxdb_opens}
