# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the steps of a PostgreSQL recovery share: waiting for a server, reading its complaints, timing."""

from __future__ import annotations

import collections
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session

POLL_SECONDS = 0.05
SEE_HOST = "see that the host has room and memory, and that its engine works (docker system df, free -h, docker info)"
# Where replay is, and what it waits for.
WHERE = """
SELECT pg_is_in_recovery() AS standby, (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint AS lsn,
  (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS waits
"""


def raise_epoch(store: str, epoch: int) -> None:
    """Write the newest epoch into the store's fence, so that an older server can archive no more; never lower it."""
    if int(read_fence(store, "epoch") or 0) < epoch:
        write_fence(store, "epoch", str(epoch))


def read_fence(store: str, name: str) -> str:
    """What a file of the store's fence says; "" where there is none."""
    try:
        with open(f"{store}/fence/{name}", encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return ""


def write_fence(store: str, name: str, value: str) -> None:
    """Replace one file of the store's fence at once and for good."""
    path = f"{store}/fence/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(value)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(f"{path}.new", 0o644)
    os.replace(f"{path}.new", path)


class Clock:
    """Seconds of the parts of a step, one after another."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._at = time.monotonic()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.monotonic()
        self.parts[name] = round(self.parts.get(name, 0.0) + now - self._at, 3)
        self._at = now


_TELLING = re.compile(
    "FATAL|PANIC|ERROR|platform3:|invalid |incorrect |unexpected |could not |not possible|insufficient"
)


def complaint(lines: Iterable[str]) -> str:
    """The lines of a server's log that say what is wrong, the last three of them."""
    kept: collections.deque[str] = collections.deque(
        (line.strip() for line in lines if _TELLING.search(line)), maxlen=3
    )
    return " | ".join(kept) or "it said nothing"


def await_session(argv: Sequence[str], require_alive: Callable[[], None], timeout_seconds: float) -> Session:
    """Open a session once the server answers; require_alive raises where it never will. PRC-514 at the deadline."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        session = Session(argv)
        try:
            session.execute("SELECT 1;", timeout_seconds=30)
            return session
        except RecoveryError as error:
            session.__exit__(None, None, None)
            require_alive()
            if time.monotonic() > deadline or ("database" in error.found and "does not exist" in error.found):
                raise RecoveryError(
                    "PRC-514", "connect to PostgreSQL", error.found, "what was restored stays as it is", SEE_HOST
                ) from None
        time.sleep(POLL_SECONDS)


def iso_sql(expression: str) -> str:
    """SQL that gives a time as ISO 8601 UTC with milliseconds."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
