# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An RDB into a volume as an append-only data set: copied under its hash, loaded, counted, rewritten, checked."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import CHUNK_BYTES
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import (
    COUNT_LUA,
    DROP_LUA,
    Count,
    compare,
    parse_count,
    subtract,
    total,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import (
    COUNT_SCRATCH,
    SCRATCH_LOG,
    SCRATCH_SOCKET,
    START_SCRATCH,
    major,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

# What was restored, kept beside the data it describes: a run that comes later, or in between, reads it there.
RECORD = "platform3_restored.json"
UNTOUCHED = "live data was not touched; what was restored beside it is not used"

_EMPTY = """
rm -rf "$1"; rm -f "$2"
mkdir -m 0700 "$1"
"""
_DROP = f"""
shift 5
redis-cli -e -s {SCRATCH_SOCKET} EVAL "$2" 0 "${{@:3}}"
redis-cli -e -s {SCRATCH_SOCKET} EVAL "$1" 0
"""
# The log is whole once its first rewrite ended well; only then the server may go and the RDB beside it too.
_TURN_ON_LOG = f"""
cli() {{ redis-cli -e -s {SCRATCH_SOCKET} "$@"; }}
field() {{ cli INFO persistence | tr -d '\\r' | sed -n "s/^$1://p"; }}
cli CONFIG SET appendonly yes >/dev/null
until [ "$(field aof_rewrite_in_progress)" = 0 ] && [ "$(field aof_rewrite_scheduled)" = 0 ]; do sleep 0.02; done
[ "$(field aof_enabled)" = 1 ] || {{ echo "the append-only log is still off" >&2; exit 1; }}
[ "$(field aof_last_bgrewrite_status)" = ok ] || {{ echo "the first rewrite of the log failed" >&2; exit 1; }}
cli SHUTDOWN NOSAVE || true
for _ in $(seq 500); do [ -S {SCRATCH_SOCKET} ] || break; sleep 0.02; done
[ ! -S {SCRATCH_SOCKET} ] || {{ tail -n 3 {SCRATCH_LOG} >&2; echo "the scratch server did not end" >&2; exit 1; }}
checked=$(redis-check-aof "$1/$2/$3.manifest" 2>&1) || {{ echo "$checked" | tail -n 1 >&2; exit 1; }}
rm "$1/$4"
printf %s "$5" > "$1/{RECORD}"
sync -f "$1"
"""


@dataclass(frozen=True)
class Snapshot:
    """The RDB of a backup set, and what its manifest says of it.

    path: absolute; bytes, sha256: of the file; content: the manifest's component (version, keys, recovery_point,
    settings as the live server had them).
    """

    path: str
    bytes: int
    sha256: str
    content: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        """Names and numbers that the restored files must agree on with the live server's configuration."""
        defaults = {"databases": "16", "appenddirname": "appendonlydir", "appendfilename": "appendonly.aof"}
        return {**defaults, **self.content.get("settings", {})}


def cannot_restore(snapshot: Snapshot, code: str, found: str, next_step: str) -> RecoveryError:
    """A failure to restore that left the live data alone."""
    return RecoveryError(code, f"restore Redis from {snapshot.path}", found, UNTOUCHED, next_step)


def restore_beside(
    worker: VolumeWorker, snapshot: Snapshot, patterns: Sequence[Mapping[str, Any]], progress: Progress
) -> dict[str, Any]:
    """Make restore-<recovery_id>/ whole from the snapshot, and leave it marked; what a half run left is done again.

    Gives the record of it: sha256, recovery_point, keys (expected from now on), dropped, checks, parts (seconds).
    """
    folder = f"{ROOT}/restore-{worker.fence.recovery_id}"
    began = time.monotonic()
    _require_version(worker, snapshot)
    worker.bash(_EMPTY, folder, f"{ROOT}/swap-{worker.fence.recovery_id}")
    progress.start("copy the snapshot", snapshot.bytes)
    _copy(worker, snapshot, f"{folder}/dump.rdb", progress)
    copied = time.monotonic()

    progress.start("load the snapshot and count its keys")
    scratch = [
        folder,
        "dump.rdb",
        *(snapshot.settings[name] for name in ("databases", "appenddirname", "appendfilename")),
    ]
    answer = _scratch(worker, snapshot, START_SCRATCH + COUNT_SCRATCH, [*scratch, COUNT_LUA])
    at_ms, found = parse_count(answer)
    expected: Count = {name: dict(entry) for name, entry in snapshot.content["keys"].items()}
    checks = _require_keys(compare(expected, found, at_ms), snapshot)
    dropped: Count = {}
    if patterns:
        pairs = [text for one in patterns for text in (str(one["db"]), str(one["pattern"]))]
        first, second = _scratch(worker, snapshot, _DROP, [*scratch, COUNT_LUA, DROP_LUA, *pairs]).splitlines()
        dropped = parse_count(first)[1]
        expected = subtract(expected, dropped)
        at_ms, found = parse_count(second)
        checks = _require_keys(compare(expected, found, at_ms), snapshot)
    loaded = time.monotonic()

    progress.start("write the append-only log")
    record = {
        "sha256": snapshot.sha256,
        "recovery_point": snapshot.content["recovery_point"],
        "keys": expected,
        "dropped": {name: total(entry) for name, entry in dropped.items()},
        "checks": checks,
    }
    log = [folder, snapshot.settings["appenddirname"], snapshot.settings["appendfilename"], "dump.rdb"]
    _scratch(worker, snapshot, _TURN_ON_LOG, [*log, json.dumps(record)])
    worker.mark_restored()
    record["parts"] = {
        "copy": round(copied - began, 3),
        "load": round(loaded - copied, 3),
        "rewrite": round(time.monotonic() - loaded, 3),
    }
    return record


def read_record(worker: VolumeWorker, folder: str) -> dict[str, Any] | None:
    """What an earlier run of this recovery noted in that folder of the volume; None where it noted nothing."""
    text = worker.bash('cat "$1" 2>/dev/null || true', f"{folder}/{RECORD}").stdout
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _require_version(worker: VolumeWorker, snapshot: Snapshot) -> None:
    """The image's server is of the backup's major version."""
    words = worker.run(["redis-server", "--version"]).stdout.split()
    image = next((word[2:] for word in words if word.startswith("v=")), "unknown")
    backed_up = str(snapshot.content["version"])
    if major(image) != major(backed_up):
        raise cannot_restore(
            snapshot,
            "PRC-602",
            f"it was taken from Redis {backed_up}, the image {worker.image} holds {image}",
            "name an image of the same major version in redis_image and in the Compose file",
        )


def _copy(worker: VolumeWorker, snapshot: Snapshot, target: str, progress: Progress) -> None:
    """Stream the snapshot into the volume and compare what was streamed with the manifest."""
    digest = hashlib.sha256()
    moved = 0
    argv = worker.exec_argv(["bash", "-euc", 'cat > "$1"', "bash", target], interactive=True)
    said = ""
    with (
        open(snapshot.path, "rb", buffering=0) as source,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as copy,
    ):
        assert copy.stdin is not None and copy.stderr is not None
        try:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                copy.stdin.write(chunk)
                moved += len(chunk)
                progress.advance(len(chunk))
            copy.stdin.close()
        except BrokenPipeError:
            pass
        said = last_line(copy.stderr.read().decode(errors="replace"))
    if copy.returncode != 0:
        raise cannot_restore(
            snapshot,
            "PRC-603",
            said or f"the copy into the volume ended with status {copy.returncode}",
            "see that the volume has room (docker system df), then go on with the same recovery_id",
        )
    if (moved, digest.hexdigest()) != (snapshot.bytes, snapshot.sha256):
        raise cannot_restore(
            snapshot,
            "PRC-604",
            f"{moved} bytes with sha256 {digest.hexdigest()} were read, the manifest says {snapshot.bytes} bytes with "
            f"sha256 {snapshot.sha256}",
            "the file was changed after it was signed: choose another backup set (recovery_backup_set)",
        )


def _scratch(worker: VolumeWorker, snapshot: Snapshot, script: str, arguments: Sequence[str]) -> str:
    """What the scratch server answers to a script; its complaint is the error's."""
    done = worker.bash(script, *arguments, check=False)
    if done.returncode != 0:
        raise cannot_restore(
            snapshot,
            "PRC-605",
            last_line(done.stderr) or last_line(done.stdout) or f"the scratch server failed ({done.returncode})",
            "choose another backup set (recovery_backup_set), or mend what is named and go on with this recovery_id",
        )
    return done.stdout.strip()


def _require_keys(checks: list[Check], snapshot: Snapshot) -> list[Check]:
    """These checks, all good. A backup of an empty server holds no key and so no check; that is said too."""
    if not checks and not snapshot.content["keys"]:
        return []
    return require(
        checks,
        "PRC-608",
        f"restore Redis from {snapshot.path}",
        UNTOUCHED,
        "choose another backup set (recovery_backup_set)",
    )
