# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A shipped log into a volume: its base and increments copied, checked, its torn end cut, loaded and counted."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import total
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import (
    TORN_MAXIMUM_BYTES,
    ShippedLog,
    is_torn,
    last_time,
    parse_check,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_cut import cut_back, write_manifest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOG_MOUNT, TIME_BYTES
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import (
    UNTOUCHED,
    Snapshot,
    cannot_restore,
    finish,
    identity,
    load,
    prepare,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import SCRATCH_LOG
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import Target
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

# A log that lost so much against the snapshot before it is told: somebody may have emptied the server.
FEWER = 0.5


class LogUnusable(RecoveryError):
    """The shipped log cannot be loaded as it is. The snapshot may be taken instead, and that is said."""

    def __init__(self, shipped: ShippedLog, found: str) -> None:
        super().__init__(
            "PRC-620",
            f"restore Redis from the shipped log {shipped.life}, generation {shipped.number}",
            found,
            UNTOUCHED,
            "bring a good copy of the log into the store, or take the snapshot (-e redis_log=preferred)",
        )


def restore_log_beside(
    worker: VolumeWorker,
    snapshot: Snapshot,
    shipped: ShippedLog,
    patterns: Sequence[Mapping[str, Any]],
    known: Sequence[str],
    progress: Progress,
    target: Target | None = None,
) -> dict[str, Any]:
    """Make restore-<recovery_id>/ whole from the shipped log, and leave it marked.

    known: what is known already that the report must say. target: where the log is to be taken back to one. Gives a
    record as restore_beside does, with warnings of what was cut. Raises LogUnusable where the log is damaged;
    the folder is then made anew by whoever comes next.
    """
    began = time.monotonic()
    folder, log = prepare(worker, snapshot)
    place = f"{folder}/{log[0]}"
    progress.start("copy the shipped log", shipped.bytes)
    sizes: dict[str, int] = {}
    for name in shipped.generation.files:
        sizes[name] = _copy(worker, snapshot, shipped, name, place)
        progress.at(sum(sizes.values()))
    copied = time.monotonic()

    progress.start("check the shipped log")
    warnings = list(known)
    if target is None:
        for name in shipped.generation.increments:
            cut = _check(worker, shipped, f"{place}/{name}", newest=name == shipped.generation.increments[-1])
            if cut:
                sizes[name] -= cut
                warnings.append(f"the last {cut} bytes of the shipped log were a write under way and were cut ({name})")
    else:
        shipped, sizes = _cut_back(worker, shipped, target, place)
    write_manifest(worker, f"{place}/{log[1]}.manifest", shipped.generation.lines)
    at = _reached(worker, shipped, place)
    checked = time.monotonic()

    progress.start("load the shipped log and count its keys")
    try:
        loaded = load(worker, snapshot, patterns, None)
    except RecoveryError as error:
        if error.code != "PRC-605":
            raise
        raise LogUnusable(shipped, error.found) from None
    held = sum(total(entry) for entry in snapshot.content["keys"].values())
    if loaded["loaded"] < held * FEWER and (target is None or target.is_after(snapshot.content["recovery_point"])):
        way = "recover with -e redis_restore_from=snapshot" if target is None else "take an earlier target"
        warnings.append(
            f"the shipped log holds {loaded['loaded']} keys, the snapshot before it held {held}; if somebody emptied "
            f"the server by mistake, {way}"
        )
    wanted = [name for name, size in sizes.items() if size]
    whole = check("files of the shipped log that were loaded", "redis", ", ".join(wanted), ", ".join(_loaded(worker)))
    choice = "recover from the snapshot (-e redis_restore_from=snapshot)"
    loaded["checks"] = [*require([whole], "PRC-608", "restore Redis", UNTOUCHED, choice), *loaded["checks"]]
    record = {
        **identity(worker, snapshot, "log"),
        "recovery_point": to_iso(at),
        **(target.reached(at) if target else {}),
        **loaded,
        "bytes": sum(sizes.values()),
        "warnings": warnings,
    }
    return finish(worker, snapshot, record, {"copy": copied - began, "check": checked - copied})


def _copy(worker: VolumeWorker, snapshot: Snapshot, shipped: ShippedLog, name: str, place: str) -> int:
    """Copy one file of the log into the volume; gives its bytes."""
    source = f"{LOG_MOUNT}/{shipped.life}/{name}"
    done = worker.bash('cp -- "$1" "$2/" && stat -c %s "$2/${1##*/}"', source, place, check=False)
    if done.returncode == 0:
        return int(done.stdout)
    if worker.run(["test", "-r", source], check=False).returncode != 0:
        raise LogUnusable(shipped, f"{name} is missing or cannot be read")
    raise cannot_restore(
        snapshot,
        "PRC-603",
        last_line(done.stderr) or f"the copy of {name} into the volume failed",
        "see that the volume has room (docker system df)",
    )


def _check(worker: VolumeWorker, shipped: ShippedLog, path: str, newest: bool) -> int:
    """Check one increment by redis-check-aof; of the newest a torn end is cut. Gives the bytes that were cut."""
    done = worker.bash('[ ! -s "$1" ] || redis-check-aof "$1" 2>&1', path, check=False)
    if done.returncode == 0:
        return 0
    name = path.rsplit("/", 1)[1]
    size, whole = parse_check(done.stdout) or (0, 0)
    what = next((line for line in done.stdout.splitlines() if line.startswith("0x")), last_line(done.stdout))
    damage = LogUnusable(shipped, f"{name} is damaged behind byte {whole} of {size} ({what.strip()})")
    if not newest or not 0 <= whole < size or size - whole > TORN_MAXIMUM_BYTES:
        raise damage
    argv = worker.exec_argv(["tail", "-c", f"+{whole + 1}", path])
    if not is_torn(subprocess.run(argv, capture_output=True, check=True).stdout):
        raise damage
    worker.run(["truncate", "-s", str(whole), path])
    return size - whole


def _cut_back(
    worker: VolumeWorker, shipped: ShippedLog, target: Target, place: str
) -> tuple[ShippedLog, dict[str, int]]:
    """The copied log taken back to the target, and the bytes of each file that is left."""
    try:
        left = cut_back(worker, place, shipped.generation, target.choice.second, target.continues)
    except ValueError as error:
        raise LogUnusable(shipped, str(error)) from None
    sizes = worker.bash('cd "$1"; shift; stat -c %s -- "$@"', place, *left.files).stdout.split()
    return replace(shipped, generation=left), dict(zip(left.files, map(int, sizes)))


def _loaded(worker: VolumeWorker) -> list[str]:
    """Names of the files that the scratch server says it loaded, in that order; empty ones it passes by."""
    script = "sed -En 's/.*DB loaded from (base|incr) file ([^ ]+): .*/\\2/p' \"$1\""
    return worker.bash(script, SCRATCH_LOG).stdout.split()


def _reached(worker: VolumeWorker, shipped: ShippedLog, place: str) -> int:
    """Seconds since 1970 of the newest command that is left, of the base's making where there is none."""
    for name in reversed(shipped.generation.increments):
        argv = worker.exec_argv(["tail", "-c", str(TIME_BYTES), f"{place}/{name}"])
        at = last_time(subprocess.run(argv, capture_output=True, check=True).stdout)
        if at is not None:
            return at
    if shipped.base_at is None:
        raise LogUnusable(shipped, "neither its base nor its commands say when they were written")
    return shipped.base_at
