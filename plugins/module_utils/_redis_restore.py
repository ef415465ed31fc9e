# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An RDB into a volume as an append-only data set: copied under its hash, loaded as a log's base, counted, checked."""

from __future__ import annotations

import hashlib
import json
import os
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
    add,
    coarsen,
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
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

# What was restored, kept beside the data it describes: a run that comes later, or in between, reads it there.
RECORD = "platform3_restored.json"
UNTOUCHED = "live data was not touched; what was restored beside it is not used"

# The inputs that name the set's snapshot.
SNAPSHOT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "set_path": {"type": "path", "required": True},
    "artefact": {
        "type": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "bytes": {"type": "int", "required": True},
            "sha256": {"type": "str", "required": True},
        },
    },
    "content": {"type": "dict", "required": True},
}

# $1 the folder to restore into, $2 the note of how far the exchange got, $3 folder of the log, $4 name of the log.
# The snapshot becomes the base of a log by this one line, and is loaded as such: the log need not be written anew.
# Says which server the image holds.
_PREPARE = """
rm -rf "$1"; rm -f "$2"
mkdir -m 0700 "$1" "$1/$3"
redis-server --version
echo "file $4.1.base.rdb seq 1 type b" > "$1/$3/$4.manifest"
"""
# Between START_SCRATCH and COUNT_SCRATCH; $8 DROP_LUA, then database and pattern in turn. A line of JSON a round.
_DROP = f"""
( drop=$8; shift 8
while [ $# -gt 0 ]; do
  cursor=0
  until
    dropped=$(redis-cli -e -s {SCRATCH_SOCKET} EVAL "$drop" 0 "$1" "$2" "$cursor") || {{ echo "$dropped" >&2; exit 1; }}
    echo "$dropped"
    [[ $dropped =~ '"cursor":"'([0-9]+)'"' ]] || {{ echo "no cursor: $dropped" >&2; exit 1; }}
    cursor=${{BASH_REMATCH[1]}}
    [ "$cursor" = 0 ]
  do :; done
  shift 2
done )
"""
# $1 folder, $2 folder of the log, $3 name of the log; the record on stdin. The base was loaded whole by the server
# itself; what the server added to it is checked once it has ended.
_FINISH = f"""
cli() {{ redis-cli -e -s {SCRATCH_SOCKET} "$@"; }}
field() {{ cli INFO persistence | tr -d '\\r' | sed -n "s/^$1://p"; }}
[ "$(field aof_enabled)" = 1 ] || {{ echo "the append-only log is off" >&2; exit 1; }}
[ "$(field aof_last_write_status)" = ok ] || {{ echo "the append-only log cannot be written" >&2; exit 1; }}
cli SHUTDOWN NOSAVE || true
for _ in $(seq 1500); do [ -S {SCRATCH_SOCKET} ] || break; sleep 0.02; done
[ ! -S {SCRATCH_SOCKET} ] || {{ tail -n 3 {SCRATCH_LOG} >&2; echo "the scratch server did not end" >&2; exit 1; }}
for log in "$1/$2/$3".*.incr.aof; do
  [ ! -s "$log" ] || checked=$(redis-check-aof "$log" 2>&1) || {{ echo "$checked" | tail -n 1 >&2; exit 1; }}
done
cat > "$1/{RECORD}"
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
        defaults = {
            "databases": "16",
            "dbfilename": "dump.rdb",
            "appenddirname": "appendonlydir",
            "appendfilename": "appendonly.aof",
        }
        return {**defaults, **self.content.get("settings", {})}


def cannot_restore(snapshot: Snapshot, code: str, found: str, next_step: str) -> RecoveryError:
    """A failure to restore that left the live data alone."""
    return RecoveryError(code, f"restore Redis from {snapshot.path}", found, UNTOUCHED, next_step)


def snapshot_of(parameters: Mapping[str, Any]) -> Snapshot:
    """The snapshot that the inputs name; RecoveryError PRC-604 where its path leaves the backup set."""
    artefact = parameters["artefact"]
    root = os.path.realpath(parameters["set_path"])
    path = os.path.realpath(os.path.join(root, artefact["path"]))
    snapshot = Snapshot(path, artefact["bytes"], artefact["sha256"], parameters["content"])
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        raise cannot_restore(
            snapshot, "PRC-604", "it is no file of the backup set", "choose another backup set (recovery_backup_set)"
        )
    return snapshot


def restore_beside(
    worker: VolumeWorker,
    snapshot: Snapshot,
    patterns: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    progress: Progress,
    reached: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make restore-<recovery_id>/ whole from the snapshot, and leave it marked; what a half run left is done again.

    Gives the record of it: recovery_id, log (name of the life that begins here, for the shipper), sha256, source,
    recovery_point, keys (expected from now on), dropped, checks, bytes, warnings, parts (seconds), restored_at (for the
    shipper too), and reached as it is given, of a target. warnings: what is known already that the report must say.
    """
    began = time.monotonic()
    folder, log = prepare(worker, snapshot)
    progress.start("copy the snapshot", snapshot.bytes)
    _copy(worker, snapshot, f"{folder}/{log[0]}/{log[1]}.1.base.rdb", progress)
    copied = time.monotonic()

    progress.start("load the snapshot and count its keys")
    loaded = load(worker, snapshot, patterns, snapshot.content["keys"])
    record = {
        **identity(worker, snapshot, "snapshot"),
        "recovery_point": snapshot.content["recovery_point"],
        **({"reached": dict(reached)} if reached else {}),
        **loaded,
        "bytes": snapshot.bytes,
        "warnings": list(warnings),
    }
    return finish(worker, snapshot, record, {"copy": copied - began})


def identity(worker: VolumeWorker, snapshot: Snapshot, source: str) -> dict[str, Any]:
    """What a record says of whose data it describes."""
    fence = worker.fence
    log = f"{fence.recovery_id}-{fence.epoch}"
    return {"recovery_id": fence.recovery_id, "log": log, "sha256": snapshot.sha256, "source": source}


def prepare(worker: VolumeWorker, snapshot: Snapshot) -> tuple[str, list[str]]:
    """Make the empty folder to restore into; gives it, and the names of the log's folder and of the log."""
    folder = f"{ROOT}/restore-{worker.fence.recovery_id}"
    log = [snapshot.settings["appenddirname"], snapshot.settings["appendfilename"]]
    prepared = worker.bash(_PREPARE, folder, f"{ROOT}/swap-{worker.fence.recovery_id}", *log)
    _require_version(prepared.stdout, worker.image, snapshot)
    return folder, log


def load(
    worker: VolumeWorker,
    snapshot: Snapshot,
    patterns: Sequence[Mapping[str, Any]],
    wanted: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Load what lies in the restore folder in a scratch server, drop what is stale by nature, count what is left.

    wanted: the keys that must be there with those that are dropped; None where nobody counted before, then they are
    counted first. Gives keys (expected from now on), dropped and checks of a record, loaded, the number of keys before
    any was dropped, and parts, the seconds of loading and of comparing.
    """
    began = time.monotonic()
    scratch = [f"{ROOT}/restore-{worker.fence.recovery_id}", snapshot.settings["dbfilename"]]
    scratch += [snapshot.settings[name] for name in ("databases", "appenddirname", "appendfilename")]
    _scratch(worker, snapshot, START_SCRATCH, [*scratch, "yes"])
    loaded = time.monotonic()
    pairs = [text for one in patterns for text in (str(one["db"]), str(one["pattern"]))]
    script = (COUNT_SCRATCH if wanted is None else "") + _DROP + COUNT_SCRATCH
    arguments = [*scratch, "yes", COUNT_LUA, DROP_LUA, *pairs]
    *rounds, last = _scratch(worker, snapshot, script, arguments).splitlines()
    if wanted is None:
        wanted = parse_count(rounds.pop(0))[1]
    dropped: Count = {}
    for line in rounds:
        dropped = add(dropped, parse_count(line)[1])
    expected = subtract(wanted, dropped)
    return {
        "keys": coarsen(expected),
        "dropped": {name: total(entry) for name, entry in dropped.items()},
        "checks": _compare(snapshot, expected, last),
        "loaded": sum(total(entry) for count in (parse_count(last)[1], dropped) for entry in count.values()),
        "parts": {"load": loaded - began, "compare": time.monotonic() - loaded},
    }


def finish(
    worker: VolumeWorker, snapshot: Snapshot, record: dict[str, Any], parts: Mapping[str, float]
) -> dict[str, Any]:
    """End the scratch server, see that its log is whole, leave record beside the data and mark it as restored.

    parts: seconds of what was done before the record's own. Gives the record with the seconds of all parts.
    """
    began = time.monotonic()
    log = [snapshot.settings["appenddirname"], snapshot.settings["appendfilename"]]
    folder = f"{ROOT}/restore-{worker.fence.recovery_id}"
    # What the life that begins here writes itself is later than this.
    record = {"restored_at": to_iso(time.time()), **record}
    _scratch(worker, snapshot, _FINISH, [folder, *log], stdin=json.dumps(record))
    worker.mark_restored()
    seconds = {**parts, **record["parts"], "finish": time.monotonic() - began}
    return {**record, "parts": {name: round(value, 3) for name, value in seconds.items()}}


def read_record(worker: VolumeWorker, folder: str) -> dict[str, Any] | None:
    """What an earlier run of this recovery noted in that folder of the volume; None where it noted nothing."""
    text = worker.bash('cat "$1" 2>/dev/null || true', f"{folder}/{RECORD}").stdout
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _require_version(said: str, image: str, snapshot: Snapshot) -> None:
    """The image's server is of the backup's major version. said: what `redis-server --version` printed."""
    held = next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")
    backed_up = str(snapshot.content["version"])
    if major(held) != major(backed_up):
        raise cannot_restore(
            snapshot,
            "PRC-602",
            f"it was taken from Redis {backed_up}, the image {image} holds {held}",
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
            "see that the volume has room (docker system df)",
        )
    if (moved, digest.hexdigest()) != (snapshot.bytes, snapshot.sha256):
        raise cannot_restore(
            snapshot,
            "PRC-604",
            f"{moved} bytes with sha256 {digest.hexdigest()} were read, the manifest says {snapshot.bytes} bytes with "
            f"sha256 {snapshot.sha256}",
            "the file was changed after it was signed: choose another backup set (recovery_backup_set)",
        )


def _scratch(
    worker: VolumeWorker, snapshot: Snapshot, script: str, arguments: Sequence[str], stdin: str | None = None
) -> str:
    """What the scratch server answers to a script; its complaint is the error's."""
    done = worker.run(["bash", "-euc", script, "bash", *arguments], stdin=stdin, check=False)
    if done.returncode != 0:
        raise cannot_restore(
            snapshot,
            "PRC-605",
            last_line(done.stderr) or last_line(done.stdout) or f"the scratch server failed ({done.returncode})",
            "mend what is named, or choose another backup set (recovery_backup_set)",
        )
    return done.stdout.strip()


def _compare(snapshot: Snapshot, expected: Count, answer: str) -> list[Check]:
    """The checks of a count (COUNT_LUA's answer) against what is expected, all of them good.

    A backup of an empty server holds no key and so gives no check.
    """
    at_ms, found = parse_count(answer)
    checks = compare(expected, found, at_ms)
    if not checks:
        return []
    return require(
        checks,
        "PRC-608",
        f"restore Redis from {snapshot.path}",
        UNTOUCHED,
        "choose another backup set (recovery_backup_set)",
    )
