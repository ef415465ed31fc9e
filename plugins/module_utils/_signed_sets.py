# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sets of a store together with their signatures: each is looked at once, and its manifest is the signed one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import (
    _backup_store,
    _chains,
    _set_states,
    _signing,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    COMPONENTS,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Artefact,
    Manifest,
    needed_artefacts,
    parse,
)
from ansible_collections.platform3.recovery.plugins.module_utils._selection import (
    LATEST,
    Found,
    PassedOver,
    Wanted,
    choose,
)

# The inputs by which what is in a store is found and believed; documented in doc_fragments/store.py.
SIGNED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "store_path": {"type": "path", "required": True},
    "environment_id": {"type": "str", "required": True},
    "trusted_signers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"identity": {"type": "str", "required": True}, "public_key": {"type": "str", "required": True}},
    },
}
# The same for sets, of which the state folder knows more.
SETS_ARGUMENTS: dict[str, dict[str, Any]] = {**SIGNED_ARGUMENTS, "state_path": {"type": "path", "required": True}}


class SignedSets:
    """Sets of a store, newest first, and who signed which. check: whether signatures are looked at.

    state_path: the state folder, where sets that are condemned shall not be believed either. elsewhere: the store is a
    copy, so that damage which verification found in the other one says nothing of it.
    """

    def __init__(
        self,
        store: str,
        trusted: list[dict[str, str]],
        check: bool = True,
        state_path: str | None = None,
        elsewhere: bool = False,
    ) -> None:
        self._store = store
        self._elsewhere = elsewhere
        self._states = _set_states.lines_of(state_path) if state_path else []
        self._check = check
        self._signers = _signing.allowed_signers(trusted)
        self._problems: dict[str, str | None] = {}
        self._signed: dict[str, tuple[str, Manifest]] = {}
        self.sets = _backup_store.read_sets(store)

    def problem(self, one: Found) -> str | None:
        """Why a set is condemned, or its signature not good; None where it can be believed."""
        if not self._check:
            return None
        if one.set_id not in self._problems:
            self._problems[one.set_id] = self._condemned(one.set_id) or self._look(one)
        return self._problems[one.set_id]

    def _condemned(self, set_id: str) -> str | None:
        if self._elsewhere and self.damage(set_id) is not None:
            return None
        return _set_states.condemned_reason(self._state(set_id))

    def damage(self, set_id: str) -> str | None:
        """What verification condemned a set for; None where it did not, or where somebody else condemned it."""
        known = self._state(set_id)
        found = known is not None and known.state == "condemned" and known.by == _set_states.VERIFICATION
        return known.reason if known is not None and found else None

    def _state(self, set_id: str) -> _set_states.SetState | None:
        return _set_states.state_of(self._states, set_id, self._signers)

    def _look(self, one: Found) -> str | None:
        try:
            raw, signature = _backup_store.read_signed(self._store, one.set_id)
            signer = _signing.signer_of(raw, signature, self._signers)
            self._signed[one.set_id] = signer, parse(raw, one.set_id)
        except FileNotFoundError:
            return f"its signature {SIGNATURE_NAME} is missing"
        except OSError as error:
            return f"{MANIFEST_NAME} or its signature cannot be read ({error.strerror})"
        except RecoveryError as error:
            if error.code == "PRC-224":  # no ssh-keygen here: that is not the set's fault
                raise
            return error.found
        return None

    def choose(self, wanted: Wanted) -> tuple[Found, list[PassedOver]]:
        """As _selection.choose, over all sets of the store."""
        return choose(self.sets, wanted, self.problem)

    def signer(self, set_id: str) -> str | None:
        """Who signed a set that was looked at; None where signatures are not."""
        return self._signed[set_id][0] if set_id in self._signed else None

    def manifest(self, set_id: str) -> Manifest:
        """The manifest of a set that was chosen, or stands in a chain of one: as it was signed."""
        if set_id in self._signed:
            return self._signed[set_id][1]
        found = next(one.manifest for one in self.sets if one.set_id == set_id)
        assert found is not None  # choose() takes no set without one
        return found

    def look(self, set_id: str) -> _chains.Looked:
        """The manifest of any set, or why it cannot be believed."""
        found = next((one for one in self.sets if one.set_id == set_id), None)
        wrong = "is missing" if found is None else found.wrong or self.problem(found)
        return wrong or self.manifest(set_id)

    def before(self, chosen: str, wanted: Wanted, damaged: Iterable[str]) -> str | None:
        """Id of the newest set older than the chosen one that would do and reads no damaged set; None without one."""
        ids = [one.set_id for one in self.sets]
        without = set(damaged)
        older = [
            one
            for one in self.sets[ids.index(chosen) + 1 :]
            if one.manifest and not without & set(_chains.sets_needed(one.manifest, wanted.components))
        ]
        # What older ones build on is older still; the damaged ones are among the known, and never the answer.
        try:
            return choose(older, wanted, self.problem)[0].set_id
        except RecoveryError:
            return None

    def parts(self, manifest: Manifest, components: Iterable[str]) -> dict[str, dict[str, Any]]:
        """By component what a recovery reads: its record, the folder and files of the set that made it, and older sets.

        older: oldest first, as id, path and artefacts.
        """
        read = {}
        for name in components:
            *older, last = [self._part(one, name) for one in _chains.chain_of(manifest, name)]
            read[name] = {**last, "content": manifest["components"][name], "older": older}
        return read

    def _part(self, set_id: str, component: str) -> dict[str, Any]:
        artefacts = needed_artefacts(self.manifest(set_id), [component])
        return {"id": set_id, "path": os.path.join(self._store, set_id), "artefacts": artefacts}

    def needed(
        self, manifest: Manifest, components: Iterable[str], left_out_kinds: Iterable[str]
    ) -> list[tuple[Manifest, list[Artefact]]]:
        """Each set that is read for these components with the artefacts needed of it; the set itself is the last."""
        wanted: dict[str, list[str]] = {one: [] for one in _chains.sets_needed(manifest, components)}
        for name in components:
            for one in _chains.chain_of(manifest, name):
                wanted[one].append(name)
        return [
            (self.manifest(one), needed_artefacts(self.manifest(one), names, left_out_kinds) if names else [])
            for one, names in wanted.items()
        ]


def parent_of(set_id: str, signed: SignedSets, environment: str, environment_id: str, parent: str = LATEST) -> Manifest:
    """The manifest of the set after which increment set_id is made: the newest that can be read along all its chains.

    parent: its id, where it was chosen before. RecoveryError PRC-750 where there is none.
    """
    try:
        chosen, _passed = signed.choose(Wanted(parent, environment, environment_id, COMPONENTS, {}))
    except RecoveryError as error:
        raise RecoveryError(
            "PRC-750",
            f"make increment {set_id}",
            f"there is no set that it could be made after ({error.found})",
            "running data was not touched",
            "take a full backup: ansible-playbook backup.yml (without backup_set_kind)",
        ) from None
    return signed.manifest(chosen.set_id)
