# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the keys that a recovery touches are kept aside: quarantine/<recovery_id>/ of the server's own volume, as safe
as the data itself, released with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import Kept, encode, encode_end
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

# $1 the folder; stdin goes to $1/$2, which is there whole or not at all.
_WRITE = """
umask 077; mkdir -p "$1"; cat > "$1/$2.new"; sync "$1/$2.new"; mv -f "$1/$2.new" "$1/$2"; sync "$1"
"""
KEYS, STATE = "keys.kept", "keys.json"


def folder_of(worker: VolumeWorker) -> str:
    """This recovery's quarantine."""
    return f"{ROOT}/quarantine/{worker.fence.recovery_id}"


def read_state(worker: VolumeWorker) -> dict[str, Any]:
    """What this recovery noted of its keys (`state` is kept, brought or put_back); empty where it noted nothing."""
    text = worker.bash('cat "$1" 2>/dev/null || true', f"{folder_of(worker)}/{STATE}").stdout
    return dict(json.loads(text)) if text.strip() else {}


def look_at_state(volume: str, image: str, recovery_id: str) -> dict[str, Any]:
    """As read_state, of a volume that is only looked into: by who may not write there, or has no lock."""
    path = f"{ROOT}/quarantine/{recovery_id}/{STATE}"
    argv = ["run", "--rm", "--network", "none", "--entrypoint", "bash", "--volume", f"{volume}:{ROOT}:ro", image]
    text = docker([*argv, "-uc", 'cat "$1" 2>/dev/null || true', "bash", path]).stdout
    return dict(json.loads(text)) if text.strip() else {}


def write_state(worker: VolumeWorker, state: Mapping[str, Any]) -> None:
    """Note how far this recovery's keys are."""
    worker.run(["bash", "-euc", _WRITE, "bash", folder_of(worker), STATE], stdin=json.dumps(state))


def write_kept(worker: VolumeWorker, kept: Iterable[Kept]) -> tuple[int, int]:
    """Write all keys to the end, on disk; gives how many, and bytes. The file is there whole or not at all.

    Raises RecoveryError PRC-650 where it cannot be written.
    """
    argv = worker.exec_argv(["bash", "-euc", _WRITE, "bash", folder_of(worker), KEYS], interactive=True)
    number = size = 0
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as writing:
        assert writing.stdin is not None and writing.stderr is not None
        try:
            for one in kept:
                size += writing.stdin.write(encode(one))
                number += 1
            writing.stdin.write(encode_end(number))
            writing.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            # Its end would make the half file a whole one.
            writing.kill()
            worker.bash('rm -f "$1"', f"{folder_of(worker)}/{KEYS}.new", check=False)
            raise
        said = last_line(writing.stderr.read().decode(errors="replace"))
    if writing.returncode != 0:
        raise RecoveryError(
            "PRC-650",
            f"keep the live keys aside in {folder_of(worker)} of volume {worker.volume}",
            said or f"the writing ended with status {writing.returncode}",
            "the live keys were not touched",
            "see that the volume has room (docker system df), then go on with the same recovery_id",
        )
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
