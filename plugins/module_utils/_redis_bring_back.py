# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redis brought back into its volume, from whichever reaches further of log and snapshot, once however often called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    if state in ("swapping", "swapped") and not same:
        found = "from another backup set or from the log" if ours else "and something else has replaced them since"
        raise cannot_restore(
            snapshot,
            "PRC-609",
            f"{worker.fence.recovery_id} has already put its data into this volume, {found}",
            "ask for the backup set that this recovery began with, or start a new recovery (without recovery_id)",
        )
    if record is None or not same:
        record = restore_newest(given, worker, snapshot)
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
