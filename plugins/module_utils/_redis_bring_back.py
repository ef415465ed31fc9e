# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redis brought back into its volume, from whichever reaches further of log and snapshot, once however often called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import choose_source, without_log
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_restore import (
    LogUnusable,
    restore_log_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import (
    UNTOUCHED,
    Snapshot,
    cannot_restore,
    read_record,
    restore_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import (
    Target,
    choose_for_target,
    instant_of,
    reached_of,
    snapshot_for,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, ROOT, VolumeWorker


def bring_back(given: Mapping[str, Any], worker: VolumeWorker, snapshot: Snapshot) -> dict[str, Any]:
    """Restore beside and exchange, or as much of it as an earlier run left to do; gives the record.

    given: the module's inputs (LOG_ARGUMENTS, cache_patterns, progress_path).
    """
    state = worker.swap_state()
    if state in ("rolling_back", "rolled_back"):
        raise cannot_restore(
            snapshot,
            "PRC-609",
            f"{worker.fence.recovery_id} was rolled back in this volume",
            "start a new recovery (without recovery_id)",
        )
    folder = DATA if state in ("swapping", "swapped") else f"{ROOT}/restore-{worker.fence.recovery_id}"
    record = read_record(worker, folder) if state else None
    if state == "swapping" and record is None:
        # The exchange itself was still to come.
        record = read_record(worker, f"{ROOT}/restore-{worker.fence.recovery_id}")
    ours = record is not None and record["recovery_id"] == worker.fence.recovery_id
    same = record is not None and ours and record["sha256"] == snapshot.sha256
    if record is not None and given["restore_from"] == "snapshot" and record.get("source") == "log":
        same = False
    if record is not None and (record.get("reached") or {}).get("target_time") != _asked(given):
        same = False
    if state in ("swapping", "swapped") and not same:
        other = "from another backup set, from the log, or for another target"
        found = other if ours else "and something else has replaced them since"
        raise cannot_restore(
            snapshot,
            "PRC-609",
            f"{worker.fence.recovery_id} has already put its data into this volume, {found}",
            "ask for the set and target that this recovery began with, or start a new recovery (without recovery_id)",
        )
    if record is None or not same:
        restore = restore_to_target if given["target_time"] else restore_newest
        record = restore(given, worker, snapshot)
    worker.swap_in()
    return record


def restore_newest(given: Mapping[str, Any], worker: VolumeWorker, snapshot: Snapshot) -> dict[str, Any]:
    """Restore beside from the shipped log where that reaches further, from the snapshot otherwise; gives the record."""
    progress, patterns = Progress(given["progress_path"]), given["cache_patterns"]
    point = snapshot.content["recovery_point"]
    source = choose_source(given, point, lambda script: worker.bash(script).stdout, UNTOUCHED)
    if source.log is not None:
        try:
            return restore_log_beside(worker, snapshot, source.log, patterns, source.warnings, progress)
        except LogUnusable as error:
            if given["log"] == "required":
                raise
            source = without_log(given, error.found, UNTOUCHED)
    return restore_beside(worker, snapshot, patterns, source.warnings, progress)


def restore_to_target(given: Mapping[str, Any], worker: VolumeWorker, snapshot: Snapshot) -> dict[str, Any]:
    """Restore beside as of given["target_time"]; gives the record, of which `reached` says what was reached.

    A generation that turns out to be damaged is followed by an older one, and by the snapshot where that is allowed.
    Raises RecoveryError PRC-624 or PRC-625 (see choose_for_target), PRC-620 where all of them are damaged.
    """
    progress, patterns = Progress(given["progress_path"]), given["cache_patterns"]
    point = snapshot.content["recovery_point"]
    choice = choose_for_target(given, point, lambda script: worker.bash(script).stdout, UNTOUCHED)
    warnings, last = list(choice.warnings), None
    for reach in choice.logs:
        log = reach.until(choice.second)
        target = Target(choice, len(log.generation.increments) < len(reach.increments))
        try:
            return restore_log_beside(worker, snapshot, log, patterns, warnings, progress, target)
        except LogUnusable as error:
            last = error
            warnings.append(f"{reach.where} could not be used: {error.found}")
    if last is not None:
        if not choice.snapshot:
            raise RecoveryError(
                last.code,
                last.attempted,
                "; ".join([last.found, *warnings[len(choice.warnings) : -1]]),
                UNTOUCHED,
                "bring a good copy of the log into the store, or take a backup set at or before the target with "
                "-e redis_log=preferred (recovery_backup_set)",
            )
        warnings.append(snapshot_for(choice.target, point, "no shipped log could be used"))
    reached = reached_of(choice, parse_iso(point))
    return restore_beside(worker, snapshot, patterns, warnings, progress, reached)


def _asked(given: Mapping[str, Any]) -> str | None:
    """The target as a record names it; None without one."""
    return to_iso(instant_of(given["target_time"], "target_time", UNTOUCHED)) if given["target_time"] else None
