# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live server whose keys are brought back or put back: its inputs, its clients, and what it may refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import find_volume
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_copy import TIMEOUT_SECONDS, not_written
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import SERVER_ARGUMENTS, server_of
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

if TYPE_CHECKING:
    import redis

LIVE_ARGUMENTS: dict[str, dict[str, Any]] = {
    **SERVER_ARGUMENTS,
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
}


def refuse_input(found: str) -> RecoveryError:
    """The refusal of what was chosen."""
    return RecoveryError(
        "PRC-646",
        "choose the keys to bring back",
        found,
        "nothing was changed",
        "name them, as in -e redis_key_patterns=session:* or -e redis_key_databases=0",
    )


def another_state(worker: VolumeWorker, state: Mapping[str, Any]) -> RecoveryError:
    """The refusal of a recovery id under which something else was done."""
    asked = state["asked"]
    found = (
        f"it brought back {', '.join(asked['patterns'])} ({asked['mode']}) from another source, or others than these"
    )
    if state["state"] == "put_back":
        found = "its keys were put back as they had been"
    return RecoveryError(
        "PRC-649",
        f"bring keys back as {worker.fence.recovery_id}",
        found,
        "nothing was changed by this run",
        "ask for what this recovery began with, or start a new recovery (without recovery_id)",
    )


def live_volume(given: Mapping[str, Any]) -> str:
    """The engine's name of the live server's volume, once that server answers; RecoveryError PRC-647 otherwise."""
    volume = find_volume(given["compose"]["project"], given["volume"])
    if volume is None:
        raise _not_served(f"there is no volume {given['volume']} of project {given['compose']['project']}")
    with reading():
        client = server_of(dict(given)).connect()
        client.ping()
        client.close()
    return volume


def live_clients(given: Mapping[str, Any]) -> Callable[[int], redis.Redis]:
    """What makes a client of a database of the live server, once."""
    server = server_of(dict(given))

    @cache
    def connect(db: int) -> redis.Redis:
        return server.connect(TIMEOUT_SECONDS, db=db, text=False)

    return connect


@contextmanager
def reading() -> Iterator[None]:
    """Turns the client's errors into RecoveryError PRC-647, as long as no key was touched."""
    import redis

    try:
        yield
    except redis.exceptions.RedisError as error:
        raise _not_served(str(error) or type(error).__name__) from None


@contextmanager
def writing() -> Iterator[None]:
    """Turns the client's errors into RecoveryError PRC-651, once keys are touched."""
    import redis

    try:
        yield
    except redis.exceptions.RedisError as error:
        raise not_written(str(error) or type(error).__name__) from None


def _not_served(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-647",
        "read the keys of the live Redis",
        found,
        "no key was touched",
        "chosen keys need a Redis that serves and a user that may use DUMP, RESTORE and SCAN; where it is lost, bring "
        "Redis back whole (without redis_key_patterns)",
    )
