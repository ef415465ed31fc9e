# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that lies in the backup store, set by set, with the state of each: read once, judged by pure functions."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _backup_store as store_files
from ansible_collections.platform3.recovery.plugins.module_utils import _chains, _set_states, _signing, _verified
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import NAME as SIGNATURES
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import KnownSignatures
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    INCOMPLETE_SUFFIX,
    SIGNATURE_NAME,
    Manifest,
    parse,
    set_instant,
)
from ansible_collections.platform3.recovery.plugins.module_utils._selection import nearest
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import SetState
from ansible_collections.platform3.recovery.plugins.module_utils._state import parse_lock, read_text
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

# What a recovery may take.
USABLE = ("complete", "verified", "tested")


@dataclass(frozen=True)
class Read:
    """A complete set as it was read. manifest: what a trusted signer signed, or None; code and wrong: then why."""

    set_id: str
    manifest: Manifest | None
    signed_by: str | None = None
    code: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class Entry:
    """One set of the store, judged.

    state: incomplete, complete, verified, tested, condemned, broken_chain, or unusable (unsigned, foreign, unreadable);
    reason: a clause on why, "" where there is none to give; since: when it came into that state, where that is known.
    """

    read: Read
    state: str
    reason: str = ""
    since: str | None = None
    by: str | None = None

    @property
    def set_id(self) -> str:
        """Id of the set."""
        return self.read.set_id

    @property
    def usable(self) -> bool:
        """Whether a recovery may take it."""
        return self.state in USABLE

    @property
    def at(self) -> datetime.datetime:
        """When the backup was begun."""
        at = set_instant(self.set_id)
        assert at is not None  # only such folders are sets
        return at

    @property
    def needs(self) -> tuple[str, ...]:
        """The other sets that are read with it, and its parent."""
        if self.read.manifest is None:
            return ()
        others = {*_chains.sets_needed(self.read.manifest), self.read.manifest["parent"]} - {self.set_id, None}
        return tuple(sorted(others))

    @property
    def base_label(self) -> str | None:
        """Label of the pgBackRest backup that it names, its own or an older set's."""
        named = ((self.read.manifest or {}).get("components") or {}).get("postgresql", {}).get("pgbackrest")
        return str(named["label"]) if named else None

    def as_dict(self, now: datetime.datetime) -> dict[str, Any]:
        """For a module's result and the catalogue's file."""
        manifest = self.read.manifest or {}
        artefacts = manifest.get("artefacts", [])
        base = manifest.get("components", {}).get("postgresql", {}).get("pgbackrest")
        own_base = base and _chains.chain_of(manifest, "postgresql")[-1] == self.set_id
        return {
            "id": self.set_id,
            "kind": ("increment" if manifest["parent"] else "full") if manifest else None,
            "parent": manifest.get("parent"),
            "needs": _chains.sets_needed(manifest)[:-1] if manifest else [],
            "state": self.state,
            "reason": self.reason or None,
            "since": self.since,
            "by": self.by,
            "started_at": manifest.get("started_at"),
            "finished_at": manifest.get("finished_at"),
            "age_seconds": int((now - self.at).total_seconds()),
            "components": sorted(manifest.get("components", {})),
            "files": len(artefacts),
            "bytes": sum(one["bytes"] for one in artefacts),
            "base_backup": self.base_label,
            "base_backup_bytes": int(base.get("repository_bytes", 0)) if own_base else 0,
            "signed_by": self.read.signed_by,
        }


def read_set(store: str, set_id: str, signed: KnownSignatures) -> Read:
    """A complete set: its manifest where a trusted signer signed it, else why not. PRC-224 without ssh-keygen."""
    try:
        raw, signature = store_files.read_signed(store, set_id)
        signer = signed.signer_of(raw, signature)
        return Read(set_id, parse(raw, set_id), signer)
    except FileNotFoundError as error:
        return Read(set_id, None, code="PRC-223", wrong=f"its {os.path.basename(error.filename)} is missing")
    except OSError as error:
        return Read(set_id, None, wrong=f"its manifest or {SIGNATURE_NAME} cannot be read ({error.strerror})")
    except RecoveryError as error:
        if error.code == "PRC-224":  # that is not the set's fault
            raise
        return Read(set_id, None, code=error.code, wrong=error.found)


def read_store(
    store: str, state_path: str, environment_id: str, trusted: Sequence[Mapping[str, str]], keep: bool = False
) -> tuple[list[Entry], list[str]]:
    """Every set of the store, newest first, and a clause on each line of sets.jsonl that was ignored. PRC-204, 221.

    Signatures that were good before are not checked again; keep: remember those that are good now.
    """
    signed = KnownSignatures(_signing.allowed_signers(trusted), _verified.recall(state_path, SIGNATURES))
    ids = store_files.set_ids(store)
    incomplete = store_files.set_ids(store, INCOMPLETE_SUFFIX)
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)) or 1) as pool:
        reads = {one.set_id: one for one in pool.map(lambda one: read_set(store, one, signed), ids)}
    states, ignored = _set_states.read_states(state_path, signed, ids)
    if keep:
        _verified.remember(state_path, SIGNATURES, signed.used)
    lock = parse_lock(read_text(os.path.join(state_path, "lock")))
    found = judge(reads, incomplete, states, environment_id, lock.recovery_id if lock else "")
    return found, ignored


def judge(
    reads: Mapping[str, Read],
    incomplete: Sequence[str],
    states: Mapping[str, SetState],
    environment_id: str,
    lock_id: str = "",
) -> list[Entry]:
    """The state of each set, newest first (by id: its second). lock_id: who holds the lock now."""
    found = [_judge_one(one, reads, incomplete, states, environment_id) for one in reads.values()]
    for set_id in incomplete:
        running = lock_id == f"backup-{set_id}"
        reason = "it is being written" if running else "its backup did not end; the next one removes it"
        found.append(Entry(Read(set_id, None), "incomplete", reason))
    return sorted(found, key=lambda one: (one.set_id, one.state != "incomplete"), reverse=True)


def _judge_one(
    one: Read,
    reads: Mapping[str, Read],
    incomplete: Sequence[str],
    states: Mapping[str, SetState],
    environment_id: str,
) -> Entry:
    known = states.get(one.set_id)
    if known is not None and known.state == "condemned":
        return Entry(one, "condemned", known.reason, known.at, known.by)
    manifest = one.manifest
    if manifest is None:
        return Entry(one, "unusable", one.wrong)
    if manifest["environment_id"] != environment_id:
        return Entry(one, "unusable", f"it belongs to environment {manifest['environment']}")
    broken = _chains.broken(manifest, lambda other: _member(other, reads, incomplete, states))
    if broken:
        since = [states[other].at for other in _chains.sets_needed(manifest) if _is_condemned(other, states)]
        return Entry(one, "broken_chain", broken, max(since, default=None))
    if known is not None:
        return Entry(one, known.state, known.reason, known.at, known.by)
    return Entry(one, "complete", since=manifest["finished_at"])


def _member(
    set_id: str, reads: Mapping[str, Read], incomplete: Sequence[str], states: Mapping[str, SetState]
) -> _chains.Looked:
    """A set that another is read with, or a clause on why it cannot be."""
    if set_id not in reads:
        return "is incomplete" if set_id in incomplete else "is missing"
    if _is_condemned(set_id, states):
        return "is condemned"
    return reads[set_id].manifest or reads[set_id].wrong


def _is_condemned(set_id: str, states: Mapping[str, SetState]) -> bool:
    known = states.get(set_id)
    return known is not None and known.state == "condemned"


def instant_of(text: str) -> datetime.datetime:
    """An ISO 8601 time with its zone."""
    return datetime.datetime.fromtimestamp(parse_iso(text), datetime.timezone.utc)


def unknown_set(wanted: str, ids: Sequence[str]) -> RecoveryError:
    """The error of a set that is not there, with the nearest that are."""
    near = ", ".join(nearest(wanted, ids))
    return RecoveryError(
        "PRC-330",
        f"find backup set {wanted[:80]!r}",
        "the store holds no complete set of that name",
        "nothing was changed",
        f"the nearest are {near}" if near else "the store holds no complete set at all: look at backup_store_path",
    )
