# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that a recovery touches, kept aside in the quarantine of the server's own volume."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils import _kept_place
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._kept_place import folder_of
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import Kept, encode, encode_end
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

KEYS, STATE = "keys.kept", "keys.json"


def read_state(worker: VolumeWorker) -> dict[str, Any]:
    """What this recovery noted of its keys (`state` is kept, brought or put_back); empty where it noted nothing."""
    return _kept_place.read_state(worker, STATE)


def look_at_state(volume: str, image: str, recovery_id: str) -> dict[str, Any]:
    """As read_state, of a volume that is only looked into."""
    return _kept_place.look_at_state(volume, image, recovery_id, STATE)


def write_state(worker: VolumeWorker, state: Mapping[str, Any]) -> None:
    """Note how far this recovery's keys are."""
    _kept_place.write_state(worker, STATE, state)


def write_kept(worker: VolumeWorker, kept: Iterable[Kept]) -> tuple[int, int]:
    """Write all keys to the end, on disk; gives how many, and bytes. The file is there whole or not at all.

    Raises RecoveryError PRC-650 where it cannot be written.
    """
    number = 0

    def chunks() -> Iterator[bytes]:
        nonlocal number
        for one in kept:
            yield encode(one)
            number += 1
        yield encode_end(number)

    def refused(found: str) -> RecoveryError:
        return RecoveryError(
            "PRC-650",
            f"keep the live keys aside in {folder_of(worker)} of volume {worker.volume}",
            found,
            "the live keys were not touched",
            "see that the volume has room (docker system df)",
        )

    size = _kept_place.write_file(worker, KEYS, chunks(), refused)
    return number, size


@contextmanager
def kept_file(worker: VolumeWorker) -> Iterator[Callable[[int], bytes]]:
    """Gives what reads the kept keys, as a file's read does; RecoveryError PRC-652 where they are not whole."""
    path = f"{folder_of(worker)}/{KEYS}"
    argv = worker.exec_argv(["cat", path])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:
        assert reading.stdout is not None
        try:
            yield reading.stdout.read
        except ValueError as error:
            raise RecoveryError(
                "PRC-652",
                f"read the keys that were kept aside in {path} of volume {worker.volume}",
                str(error),
                "the live keys that were read until then are written, the others are as they were",
                "keep the file for the inquiry; bring the keys back from a backup set (redis_keys_restore) instead",
            ) from None
        finally:
            reading.kill()
