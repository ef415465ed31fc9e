# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying retention's decision out: sets, base backups, WAL and logs, so that at any moment what is there is whole."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.platform3.recovery.plugins.module_utils import _set_states, _verified
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import set_ids, sync_folder
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse
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
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox import restored_from
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


@dataclass(frozen=True)
class Right:
    """By what an expiry may go on: it still holds the lock, and no sandbox is being made from what goes.

    sandbox_path: folder of the sandbox's state, None where there is none.
    """

    state_path: str
    fence: Fence
    sandbox_path: str | None = None


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


def sandbox_sets(path: str | None) -> frozenset[str]:
    """Sets that the sandbox whose state is in this folder was made from, or is being; none where there is none.

    One that ended half-way counts until it is dropped: whether somebody is still at work on it cannot be told.
    """
    return restored_from(parse(read_text(os.path.join(path, "sandbox", "journal.jsonl")))) if path else frozenset()


def as_kept(entry: Entry, sandbox: Collection[str] = ()) -> Kept:
    """A set as retention sees it. sandbox: those that one was made from."""
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
        in_use="a sandbox was made from it" if entry.set_id in sandbox else "",
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


def carry_out(decided: Plan, repository: Repository, folders: Lives, store: str, right: Right) -> None:
    """Remove what the plan names, and what an interrupted expiry left.

    PRC-303 as soon as another run has the lock, PRC-335 as soon as a sandbox is being made from a set that was to go.
    """
    gone = [one.set_id for one in decided.sets]
    for left in set_ids(store, EXPIRED_SUFFIX):
        _require(right, gone)
        _delete(os.path.join(store, left + EXPIRED_SUFFIX))
    for set_id in gone:
        _remove(set_id, store, right, gone)
    if decided.bases:
        _require(right, gone)
        repository.expire(decided.bases, decided.fulls_left)
    for kind in (STREAM, LOG):
        names = [one.life.name for one in decided.lives if one.life.kind == kind and not one.stays]
        if names:
            _require(right, gone)
            folders.remove(kind, names)
    _verified.forget(right.state_path, [*gone, *(f"base-{label}" for label in decided.bases)])
    _set_states.forget(right.state_path, gone)


def _remove(set_id: str, store: str, right: Right, going: Sequence[str]) -> None:
    path = os.path.join(store, set_id)
    try:
        with exclusive(right.state_path):  # a recovery that takes the lock sees the set whole, or not at all
            _compare(right, going)
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


def _require(right: Right, going: Sequence[str]) -> None:
    with exclusive(right.state_path):
        _compare(right, going)


def _compare(right: Right, going: Sequence[str]) -> None:
    held = parse_lock(read_text(os.path.join(right.state_path, "lock")))
    if held is None or held.fence != right.fence:
        raise RecoveryError(
            "PRC-303",
            f"go on expiring under epoch {right.fence.epoch}",
            f"another run holds the lock now ({held.recovery_id})" if held else "nobody holds the lock",
            "sets that were removed are gone; those that are there are whole",
            "leave the run that holds the lock to its end, then run playbooks/expire_backups.yml again",
        )
    # A sandbox has a lock of its own, so that one may be begun after the decision.
    taken = sorted(sandbox_sets(right.sandbox_path).intersection(going))
    if taken:
        raise RecoveryError(
            "PRC-335",
            f"remove {', '.join(going)}",
            f"a sandbox is being made from {', '.join(taken)} since it was decided what goes",
            "sets that were removed are gone; those that are there are whole",
            "run playbooks/expire_backups.yml again: it keeps what the sandbox is made from",
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
