# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of its own with the data of a set or of a point in time: in a volume that goes away with it, without a
network, reached by a socket in a folder that only this user can enter."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._redis_bring_back import (
    restore_newest,
    restore_to_target,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_copy import TIMEOUT_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOG_MOUNT
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import Snapshot
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import start_scratch_at
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker, stop_orphans

if TYPE_CHECKING:
    import redis

COMPONENT, SCRATCH_LABEL = "redis-keys", "platform3.recovery.redis_keys"
MOUNT, SOCKET = "/keys", "redis.sock"
_SERVE = start_scratch_at(f"{MOUNT}/{SOCKET}") + f"chmod 666 {MOUNT}/{SOCKET}\n"


@contextmanager
def source_server(
    given: Mapping[str, Any], snapshot: Snapshot, fence: Fence
) -> Iterator[tuple[dict[str, Any], Callable[[int], redis.Redis]]]:
    """Gives the record of what was restored (as restore_beside does) and what makes a client of a database of it.

    given: the module's inputs (compose, image, environment_id, LOG_ARGUMENTS, progress_path). Nothing of it is left.
    """
    stop_orphans(COMPONENT, given["environment_id"], fence)
    _remove_left(given["environment_id"])
    volume = f"{given['compose']['project']}_redis-keys-{fence.recovery_id}"
    labels = ["--label", f"{ENVIRONMENT_LABEL}={given['environment_id']}", "--label", f"{SCRATCH_LABEL}=yes"]
    folder = tempfile.mkdtemp(prefix="platform3-keys-")
    place = os.path.join(folder, "server")
    os.mkdir(place)
    # The server is another user; the folder around it lets nobody in but us.
    os.chmod(place, 0o777)
    mounts = [f"{place}:{MOUNT}"]
    if given["log_path"] and os.path.isdir(given["log_path"]):
        mounts.append(f"{given['log_path']}:{LOG_MOUNT}:ro")
    docker(["volume", "create", *labels, volume])
    try:
        with VolumeWorker(COMPONENT, volume, given["image"], given["environment_id"], fence, mounts) as worker:
            restore = restore_to_target if given["target_time"] else restore_newest
            record = restore({**given, "cache_patterns": []}, worker, snapshot)
            _serve(worker, snapshot)
            connect = _clients(os.path.join(place, SOCKET))
            try:
                yield record, connect
            finally:
                for db in range(int(snapshot.settings["databases"])):
                    connect(db).close()
    finally:
        docker(["volume", "rm", "--force", volume], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _clients(socket: str) -> Callable[[int], redis.Redis]:
    """What makes a client of a database, once."""
    import redis

    @cache
    def connect(db: int) -> redis.Redis:
        return redis.Redis(unix_socket_path=socket, db=db, socket_timeout=TIMEOUT_SECONDS)

    return connect


def _serve(worker: VolumeWorker, snapshot: Snapshot) -> None:
    """Serve what was restored; RecoveryError PRC-653 where the server does not start."""
    settings = snapshot.settings
    arguments = [f"{ROOT}/restore-{worker.fence.recovery_id}", settings["dbfilename"]]
    arguments += [settings[name] for name in ("databases", "appenddirname", "appendfilename")]
    done = worker.run(["bash", "-euc", _SERVE, "bash", *arguments, "yes"], check=False)
    if done.returncode != 0:
        raise RecoveryError(
            "PRC-653",
            f"serve the data of {snapshot.path} beside the live Redis",
            last_line(done.stderr) or f"the scratch server ended with {done.returncode}",
            "the live keys were not touched",
            "see that the host has memory for the data twice",
        )


def _remove_left(environment_id: str) -> None:
    """Take away what a run that was killed had left; what another one works with stays."""
    filters = ["--filter", f"label={ENVIRONMENT_LABEL}={environment_id}", "--filter", f"label={SCRATCH_LABEL}=yes"]
    for name in docker(["volume", "ls", "--quiet", *filters]).stdout.split():
        docker(["volume", "rm", name], check=False)
