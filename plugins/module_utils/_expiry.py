# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying retention's decision out: sets, base backups, WAL and logs, so that at any moment what is there is whole."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ansible_collections.platform3.recovery.plugins.module_utils import _set_states, _verified
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import set_ids, sync_folder
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._lives import (
    LOG,
    STREAM,
    Life,
    LifeVerdict,
    Lives,
    decide_lives,
    needs_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View
from ansible_collections.platform3.recovery.plugins.module_utils._repository import Repository
from ansible_collections.platform3.recovery.plugins.module_utils._retention import (
    Kept,
    Policy,
    Verdict,
    bases_to_expire,
)
from ansible_collections.platform3.recovery.plugins.module_utils._state import exclusive, parse_lock, read_text
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry, instant_of

EXPIRED_SUFFIX = ".expired"


@dataclass(frozen=True)
class Plan:
    """What goes: sets and base backups in the order in which they go. fulls_left: full base backups that stay.

    lives: what becomes of each folder of streamed WAL and of Redis' log.
    """

    sets: tuple[Entry, ...]
    bases: tuple[str, ...]
    fulls_left: int
    lives: tuple[LifeVerdict, ...] = ()


def require_policy(policy: Policy) -> None:
    """No rule is below zero. PRC-337."""
    wrong = [f"{name} is {value}" for name, value in asdict(policy).items() if value < 0]
    if wrong:
        raise RecoveryError(
            "PRC-337",
            "decide what is kept",
            f"a rule of the retention is below zero: {', '.join(wrong)}",
            "nothing was removed",
            "correct the backup_set_keep_* variables of the inventory",
        )


def as_kept(entry: Entry) -> Kept:
    """A set as retention sees it."""
    bad = {
        "condemned": f"it was condemned at {entry.since}" + (f" ({entry.reason})" if entry.reason else ""),
        "broken_chain": entry.reason,
    }
    return Kept(
        entry.set_id,
        entry.at,
        entry.needs,
        tested=entry.state == "tested",
        bad=bad.get(entry.state, ""),
        bad_since=instant_of(entry.since) if entry.since and entry.state in bad else None,
        held=f"{entry.reason}: condemn it to let it go" if entry.state == "unusable" else "",
    )


def plan(
    entries: Sequence[Entry], verdicts: Sequence[Verdict], view: View, lives: Sequence[Life] = (), stream: str = ""
) -> Plan:
    """What has to be removed for these verdicts (newest first). stream: the folder that WAL is streamed into now."""
    by_id = {one.set_id: one for one in entries if one.state != "incomplete"}
    going = tuple(by_id[one.set_id] for one in verdicts if not one.stays)
    kept = [label for one in verdicts if one.stays and (label := by_id[one.set_id].base_label)]
    # A set whose manifest cannot be read may name any base backup: then all of them stay.
    blind = any(one.stays and by_id[one.set_id].read.manifest is None for one in verdicts)
    gone = [one.base_label for one in going if one.base_label]
    labels = [one.label for one in view.backups]
    bases = () if blind else tuple(bases_to_expire(labels, kept, gone))
    staying = [by_id[one.set_id].read.manifest for one in verdicts if one.stays]
    needs = needs_of(staying, [one for one in view.backups if one.label not in bases], stream)
    fulls_left = sum("_" not in label for label in labels if label not in bases)
    return Plan(going, bases, fulls_left, tuple(decide_lives(lives, needs)))


def carry_out(decided: Plan, repository: Repository, folders: Lives, store: str, state_path: str, fence: Fence) -> None:
    """Remove what the plan names, and what an interrupted expiry left. PRC-303 as soon as another run has the lock."""
    for left in set_ids(store, EXPIRED_SUFFIX):
        _require_lock(state_path, fence)
        _delete(os.path.join(store, left + EXPIRED_SUFFIX))
    for one in decided.sets:
        _remove(one.set_id, store, state_path, fence)
    if decided.bases:
        _require_lock(state_path, fence)
        repository.expire(decided.bases, decided.fulls_left)
    for kind in (STREAM, LOG):
        names = [one.life.name for one in decided.lives if one.life.kind == kind and not one.stays]
        if names:
            _require_lock(state_path, fence)
            folders.remove(kind, names)
    gone = [one.set_id for one in decided.sets]
    _verified.forget(state_path, [*gone, *(f"base-{label}" for label in decided.bases)])
    _set_states.forget(state_path, gone)


def _remove(set_id: str, store: str, state_path: str, fence: Fence) -> None:
    path = os.path.join(store, set_id)
    try:
        with exclusive(state_path):  # a recovery that takes the lock sees the set whole, or not at all
            _compare(state_path, fence)
            os.rename(path, path + EXPIRED_SUFFIX)
            sync_folder(store)
    except OSError as error:
        raise _not_removed(path, error) from None
    _delete(path + EXPIRED_SUFFIX)


def _delete(path: str) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise _not_removed(path, error) from None


def _require_lock(state_path: str, fence: Fence) -> None:
    with exclusive(state_path):
        _compare(state_path, fence)


def _compare(state_path: str, fence: Fence) -> None:
    held = parse_lock(read_text(os.path.join(state_path, "lock")))
    if held is None or held.fence != fence:
        raise RecoveryError(
            "PRC-303",
            f"go on expiring under epoch {fence.epoch}",
            f"another run holds the lock now ({held.recovery_id})" if held else "nobody holds the lock",
            "sets that were removed are gone; those that are there are whole",
            "leave the run that holds the lock to its end, then run playbooks/expire_backups.yml again",
        )


def _not_removed(path: str, error: OSError) -> RecoveryError:
    return RecoveryError(
        "PRC-335",
        f"remove {path}",
        f"{error.filename or path}: {error.strerror}",
        "sets that stay are whole; what is half deleted ends in .expired and no recovery takes it",
        "make the store writable, then run playbooks/expire_backups.yml again: it goes on",
    )


def old_journals(state_path: str, now_seconds: float, days: float) -> list[str]:
    """Folders with the journals of backups and expiries that ended more than so many days ago; no recovery's."""
    found = []
    for kind in ("backup", "expire"):
        pattern = os.path.join(glob.escape(state_path), f"{kind}-*T*Z", "journal.jsonl")
        for path in glob.glob(pattern):
            if now_seconds - os.stat(path).st_mtime > days * 86400:
                found.append(os.path.dirname(path))
    return sorted(found)


def remove_journals(folders: Sequence[str]) -> None:
    """Remove them; one that somebody else removed meanwhile is gone as well."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
