# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which backup set a recovery starts from: the newest that is complete, signed, of this environment and compatible.

Nothing is read here: a caller hands in what lies in the store, and a function that looks at one set.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.platform3.recovery.plugins.module_utils import _chains
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest, set_instant
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

LATEST = "latest"
NEAREST = 3


class Found:
    """One set of the store. manifest: parsed, or None where it cannot be read; wrong: then why.

    read: gives both, once one of them is asked for; sequence: the manifest's, where it is known without reading it.
    """

    def __init__(
        self,
        set_id: str,
        read: Callable[[], tuple[Manifest | None, str]],
        sequence: int | None = None,
    ) -> None:
        self.set_id = set_id
        self._read = read
        self._sequence = sequence

    @functools.cached_property
    def _content(self) -> tuple[Manifest | None, str]:
        manifest, wrong = self._read()
        if manifest and self._sequence not in (None, manifest["sequence"]):
            return None, f"its sequence number is {manifest['sequence']}, and {self._sequence} at its end"
        return manifest, wrong

    @property
    def manifest(self) -> Manifest | None:
        """What it holds."""
        return self._content[0]

    @property
    def wrong(self) -> str:
        """Why it cannot be read, "" where it can."""
        return self._content[1]

    @property
    def sequence(self) -> int | None:
        """Its number, which orders the sets; None where the manifest cannot be read."""
        if self._sequence is None and self.manifest:
            return int(self.manifest["sequence"])
        return self._sequence


@dataclass(frozen=True)
class Wanted:
    """What a set must fit. backup_set: `latest` or an id; versions: component -> version found on its host.

    components: those that the recovery brings back; not_after: seconds since 1970 that the set was finished at the
    latest (None: at any time).
    """

    backup_set: str
    environment: str
    environment_id: str
    components: Sequence[str]
    versions: Mapping[str, str]
    not_after: float | None = None


@dataclass(frozen=True)
class PassedOver:
    """A set that was newer than the chosen one, and why it was not taken."""

    set_id: str
    reason: str


def newest_first(sets: Iterable[Found]) -> list[Found]:
    """By sequence number, which no clock can set back; unreadable ones take the place of their id."""
    ordered = sorted(sets, key=lambda one: one.set_id)
    known = 0
    ranked = []
    for one in ordered:
        known = known if one.sequence is None else one.sequence
        ranked.append((known, one.set_id, one))
    return [one for _sequence, _id, one in sorted(ranked, key=lambda row: row[:2], reverse=True)]


def choose(
    sets: Iterable[Found], wanted: Wanted, signature_problem: Callable[[Found], str | None]
) -> tuple[Found, list[PassedOver]]:
    """The set to use, and the newer ones that were passed over with the reason of each.

    signature_problem looks at one set's signature and is asked only for sets that fit otherwise, and for those along
    the chains of the wanted components. An id that is asked for is taken or refused, never replaced. PRC-200 no set at
    all, PRC-201 unknown id, PRC-202 the asked set does not do, PRC-203 none does.
    """
    ordered = newest_first(sets)
    if not ordered:
        raise RecoveryError(
            "PRC-200",
            f"choose a backup set of environment {wanted.environment}",
            "the backup store holds no complete backup set",
            "nothing was changed",
            "check backup_store_path and that the store is mounted; ansible-playbook backup.yml makes a set",
        )
    if wanted.backup_set != LATEST:
        return _asked_for(ordered, wanted, signature_problem), []
    passed: list[PassedOver] = []
    for one in ordered:
        reason = _objection(one, ordered, wanted, signature_problem)
        if reason is None:
            return one, passed
        passed.append(PassedOver(one.set_id, reason))
    reasons = "; ".join(f"{one.set_id}: {one.reason}" for one in passed[:NEAREST])
    more = f"; and {len(passed) - NEAREST} more" if len(passed) > NEAREST else ""
    raise RecoveryError(
        "PRC-203",
        f"choose a backup set of environment {wanted.environment}",
        f"none of the {len(passed)} sets in the store can be used ({reasons}{more})",
        "nothing was changed",
        "mend the reason that is named (trusted signers, environment id, versions), or bring a set into the store",
    )


def _objection(
    one: Found, ordered: list[Found], wanted: Wanted, signature_problem: Callable[[Found], str | None]
) -> str | None:
    """Why a set cannot be taken: for itself, or for a set along its chains; None where it can."""
    known = {other.set_id: other for other in ordered}

    def look(set_id: str) -> _chains.Looked:
        other = known.get(set_id)
        if other is None:
            return "is missing"
        wrong = other.wrong if other.manifest is None else signature_problem(other)
        return f"cannot be used ({wrong})" if wrong or other.manifest is None else other.manifest

    reason = problem(one, wanted) or signature_problem(one)
    return reason if reason or one.manifest is None else _chains.broken(one.manifest, look, wanted.components)


def _asked_for(ordered: list[Found], wanted: Wanted, signature_problem: Callable[[Found], str | None]) -> Found:
    for one in ordered:
        if one.set_id == wanted.backup_set:
            reason = _objection(one, ordered, wanted, signature_problem)
            if reason is None:
                return one
            others = nearest(wanted.backup_set, [other.set_id for other in ordered if other is not one])
            raise RecoveryError(
                "PRC-202",
                f"use backup set {one.set_id}",
                reason,
                "nothing was changed",
                "take the newest good set with -e recovery_backup_set=latest"
                + (f", or one of {', '.join(others)}" if others else "; the store holds no other"),
            )
    raise RecoveryError(
        "PRC-201",
        f"find backup set {wanted.backup_set[:80]!r}",
        "the store holds no complete set of that name",
        "nothing was changed",
        f"the nearest are {', '.join(nearest(wanted.backup_set, [one.set_id for one in ordered]))};"
        " use one of them, or -e recovery_backup_set=latest",
    )


def nearest(wanted_id: str, ids: Sequence[str]) -> list[str]:
    """Up to three of ids, nearest to the wanted one first: in time where it names one, else in spelling."""
    at = set_instant(wanted_id)
    if at is None:
        matcher = difflib.SequenceMatcher(b=wanted_id[:80], autojunk=False)

        def unlike(set_id: str) -> float:
            matcher.set_seq1(set_id)
            return -matcher.ratio()

        return sorted(sorted(ids, reverse=True), key=unlike)[:NEAREST]
    instants = {one: set_instant(one) for one in ids}
    return sorted(
        (one for one in ids if instants[one] is not None), key=lambda one: (abs((instants[one] or at) - at), one)
    )[:NEAREST]


def problem(found: Found, wanted: Wanted) -> str | None:
    """Why a set does not fit, its signature aside; None where it does."""
    manifest = found.manifest
    if manifest is None:
        return found.wrong
    if manifest["environment_id"] != wanted.environment_id:
        return (
            f"it belongs to environment {manifest['environment']} ({manifest['environment_id']}),"
            f" not to {wanted.environment} ({wanted.environment_id})"
        )
    if wanted.not_after is not None and parse_iso(manifest["finished_at"]) > wanted.not_after:
        return f"it was finished at {manifest['finished_at']}, after {to_iso(wanted.not_after)}"
    missing = [name for name in wanted.components if name not in manifest["components"]]
    if missing:
        return f"it does not hold {', '.join(missing)}"
    for name, version in wanted.versions.items():
        if name in wanted.components and name in manifest["components"]:
            reason = version_problem(name, manifest["components"][name]["version"], version)
            if reason is not None:
                return reason
    return None


def version_problem(component: str, saved: str, here: str) -> str | None:
    """Why data written by version saved cannot be used by version here; None where it can.

    PostgreSQL's and InfluxDB's files belong to one major version; Redis reads files of older ones.
    """
    old, new = _major(saved), _major(here)
    if old is None or new is None:
        return f"the version of {component} cannot be compared ({saved!r} in the set, {here!r} here)"
    if component == "redis" and old <= new:
        return None
    if old == new:
        return None
    return f"it was written by {component} {saved}, here runs {here}"


def _major(version: str) -> int | None:
    match = re.match(r"v?(\d+)", version)
    return int(match[1]) if match else None
