# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot out of the live container into a backup set, and the proof that what was stored can be loaded."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import CHUNK_BYTES, HashingWriter
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import COUNT_LUA, Count, parse_count
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import COUNT_SCRATCH, START_SCRATCH
from ansible_collections.platform3.recovery.plugins.module_utils._volume import (
    COMPONENT_LABEL,
    EPOCH_LABEL,
    RECOVERY_LABEL,
)

if TYPE_CHECKING:
    import redis

# What restored files must agree on with the configuration they will be served under.
SETTINGS = ("dir", "dbfilename", "databases", "appenddirname", "appendfilename")
PROVE_TIMEOUT_SECONDS = 3600.0

_PROVE = """
report=$(redis-check-rdb "$1/$2" 2>&1) || { echo "$report" | tail -n 1 >&2; exit 1; }
echo "$report" | grep -F "AUX FIELD ctime"
"""


@dataclass(frozen=True)
class Saved:
    """A stored snapshot: its path, the server's time (ms) just before the save, the server's version and settings."""

    path: str
    at_ms: int
    version: str
    settings: Mapping[str, str]


def read_settings(client: redis.Redis) -> dict[str, str]:
    """The live server's SETTINGS."""
    return {name: str(client.config_get(name)[name]) for name in SETTINGS}


def fetch(container: str, settings: Mapping[str, str], path: str, progress: Progress) -> HashingWriter:
    """Stream the container's RDB into path; size and hash are those of the writer that is returned.

    The file is replaced by rename: whatever another save does meanwhile, one whole snapshot is read.
    """
    source = f"{settings['dir']}/{settings['dbfilename']}"
    progress.start("copy the snapshot")
    with subprocess.Popen(
        ["docker", "exec", container, "cat", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None and reading.stderr is not None
        with HashingWriter(path) as writer:
            while chunk := reading.stdout.read(CHUNK_BYTES):
                writer.write(chunk)
                progress.advance(len(chunk))
        said = last_line(reading.stderr.read().decode(errors="replace"))
    if reading.returncode != 0:
        raise _not_proven(path, said or f"docker exec ended with status {reading.returncode}")
    return writer


def prove(saved: Saved, image: str, environment_id: str, fence: Mapping[str, Any]) -> tuple[int, Count]:
    """Load the stored file in a container that has no network and no volume; give time and count of its keys.

    Raises RecoveryError PRC-610 where it does not load, or is older than the save that was asked for.
    """
    folder, name = os.path.split(saved.path)
    settings = saved.settings
    arguments = [
        "run",
        "--rm",
        "--init",
        "--name",
        f"platform3-redis-proof-{uuid.uuid4().hex[:12]}",
        "--network",
        "none",
    ]
    arguments += ["--label", f"{ENVIRONMENT_LABEL}={environment_id}", "--label", f"{COMPONENT_LABEL}=redis-proof"]
    arguments += ["--label", f"{RECOVERY_LABEL}={fence['recovery_id']}", "--label", f"{EPOCH_LABEL}={fence['epoch']}"]
    # root inside, since the store's files need not be readable for the image's user; the folder is read-only.
    arguments += [
        "--user",
        "0:0",
        "--volume",
        f"{folder}:/set:ro",
        image,
        "bash",
        "-euc",
        _PROVE + START_SCRATCH + COUNT_SCRATCH,
    ]
    arguments += [
        "bash",
        "/set",
        name,
        settings["databases"],
        settings["appenddirname"],
        settings["appendfilename"],
        "no",
    ]
    done = docker([*arguments, COUNT_LUA], timeout_seconds=PROVE_TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        raise _not_proven(saved.path, last_line(done.stderr) or f"the scratch server ended with {done.returncode}")
    made_at = re.search(r"AUX FIELD ctime = '(\d+)'", done.stdout)
    if made_at is None or int(made_at.group(1)) < saved.at_ms // 1000:
        shown = made_at.group(1) if made_at else "at an unknown time"
        raise _not_proven(
            saved.path, f"it was made {shown}, before the save that was asked for at {saved.at_ms // 1000}"
        )
    return parse_count(done.stdout.strip().splitlines()[-1])


def _not_proven(path: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-610",
        f"store and prove the snapshot {path}",
        found,
        "the platform goes on as before; this backup set stays incomplete",
        "mend the cause, then run backup.yml again",
    )
