# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge to Redis: connecting, saving, and scratch servers that prove or convert an RDB without a network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._login import redis_replies

if TYPE_CHECKING:
    import redis

POLL_SECONDS = 0.05
# Where a scratch server listens, inside its container alone.
SCRATCH_SOCKET = "/tmp/platform3-scratch.sock"
SCRATCH_LOG = "/tmp/platform3-scratch.log"

# The inputs that name a live server.
SERVER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6379},
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
}

# $1 folder, $2 file name of an RDB in it, $3 number of databases, $4 appenddirname, $5 appendfilename,
# $6 whether to serve that append-only log (yes), or the RDB (no).
# Returns once every key is loaded; whatever the RDB's defect is, it is the last line of the server's log.
_START = f"""
redis-server --port 0 --unixsocket @SOCKET@ --dir "$1" --dbfilename "$2" --databases "$3" \
  --appendonly "$6" --save '' --appenddirname "$4" --appendfilename "$5" --aof-timestamp-enabled yes \
  --aof-load-truncated no \
  >{SCRATCH_LOG} 2>&1 </dev/null &
pid=$!
until [ "$(redis-cli -s @SOCKET@ PING 2>/dev/null)" = PONG ]; do
  kill -0 $pid 2>/dev/null || {{ tail -n 5 {SCRATCH_LOG} | tr '\\n' ' ' >&2; exit 1; }}
  sleep 0.02
done
"""


def start_scratch_at(socket: str) -> str:
    """The script that starts a scratch server which listens there, in the container's own file system."""
    return _START.replace("@SOCKET@", socket)


START_SCRATCH = start_scratch_at(SCRATCH_SOCKET)
# $7 COUNT_LUA; the answer is one line of JSON on stdout.
COUNT_SCRATCH = f"""
redis-cli -e -s {SCRATCH_SOCKET} EVAL "$7" 0
"""


@dataclass(frozen=True)
class Server:
    """A live Redis: where it listens and who logs in."""

    host: str
    port: int
    user: str
    password: str

    def connect(
        self, timeout_seconds: float = 10.0, anonymous: bool = False, db: int = 0, text: bool = True
    ) -> redis.Redis:
        """A client that tries once; the connection itself is made by its first command.

        anonymous: without user and password; text: whether it answers text, or bytes.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis(
            host=self.host,
            port=self.port,
            username=None if anonymous else self.user,
            password=None if anonymous else self.password,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=min(timeout_seconds, 2.0),
            db=db,
            decode_responses=text,
            retry=Retry(NoBackoff(), 0),
        )


def server_of(parameters: dict[str, Any]) -> Server:
    """The server that a module's inputs name."""
    return Server(parameters["host"], parameters["port"], parameters["user"], parameters["password"])


def wait_until_serving(server: Server, timeout_seconds: float) -> None:
    """Until the server has loaded its data and takes the current secret; asked each 50 ms.

    Raises RecoveryError PRC-606 where the secret is refused, PRC-607 after timeout_seconds.
    """
    deadline = time.monotonic() + timeout_seconds
    last = "no answer yet"
    while time.monotonic() < deadline:
        try:
            replies = redis_replies(server.host, server.port, ("AUTH", server.user, server.password), ("PING",))
        except OSError as error:
            replies, last = [], str(error) or type(error).__name__
        if replies == ["+OK", "+PONG"]:
            return
        # The words of refused secrets; -LOADING and -DENIED (too early, or not from here) are none.
        if replies and replies[0].startswith(("-WRONGPASS", "-NOAUTH", "-ERR")):
            raise RecoveryError(
                "PRC-606",
                f"log in to Redis as {server.user}",
                f"the server refuses the current password ({replies[0][1:]})",
                "the data is restored and served; nothing else was changed",
                "compare the users.acl that the server reads with the secret in the inventory",
            )
        if replies:
            last = replies[-1][1:]
        time.sleep(POLL_SECONDS)
    raise RecoveryError(
        "PRC-607",
        f"reach Redis at {server.host}:{server.port} within {timeout_seconds:.0f} s",
        last,
        "the data is in place; the old data is in quarantine",
        "docker logs of the Redis container names the cause",
    )


def save(client: redis.Redis, timeout_seconds: float, advance: Callable[[int, int], object]) -> int:
    """Write a snapshot without blocking anyone (BGSAVE); give the server's time in ms from just before it began.

    advance is told keys written and keys in all. Raises RecoveryError PRC-601 where the save fails or does not end.
    """
    import redis

    deadline = time.monotonic() + timeout_seconds
    while True:
        seconds, microseconds = client.time()
        saves_before = int(client.info("persistence")["rdb_saves"])
        try:
            # SCHEDULE: waits for a running AOF rewrite instead of failing on it.
            client.execute_command("BGSAVE", "SCHEDULE")
            break
        except redis.exceptions.ResponseError as error:
            # Somebody else's save began before our time: it is not ours, the next one is.
            if "in progress" not in str(error) or time.monotonic() > deadline:
                raise save_failed(str(error)) from None
            time.sleep(POLL_SECONDS)
    while time.monotonic() < deadline:
        state = client.info("persistence")
        running = state["rdb_bgsave_in_progress"]
        if not running and state["rdb_last_bgsave_status"] != "ok":
            raise save_failed("the background save failed; the server's log names the cause")
        if not running and int(state["rdb_saves"]) > saves_before and int(state["rdb_last_save_time"]) >= seconds:
            return int(seconds) * 1000 + int(microseconds) // 1000
        advance(int(state.get("current_save_keys_processed", 0)), int(state.get("current_save_keys_total", 0)))
        time.sleep(POLL_SECONDS)
    raise save_failed(f"the background save did not end within {timeout_seconds:.0f} s")


def save_failed(found: str) -> RecoveryError:
    """The error of a snapshot that was not made."""
    return RecoveryError(
        "PRC-601",
        "save a snapshot of Redis",
        found,
        "the platform goes on as before; this backup set stays incomplete",
        "mend the cause (disk, memory for the fork), then run backup.yml again",
    )


def major(version: str) -> str:
    """The major part of a version ("8" of "8.0.2")."""
    return version.split(".", 1)[0]
