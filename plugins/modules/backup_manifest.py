#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_manifest
short_description: Begin a backup set, and complete it with a signed manifest
version_added: 0.1.0
description:
  - With O(state=started) makes the folder of a new set, under a name that no recovery takes for a set. With
    O(state=complete) writes manifest, signature and checksum list, and gives the set its name by one rename when all of
    it lies on the disk. A set that was interrupted before never looks complete.
  - An increment (O(kind=increment)) is made after the newest set that a recovery would take. It holds only the
    components that were backed up; the records of the others are those of its parent.
author: Platform3 (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
attributes:
  check_mode:
    description: Says what would be made and changes nothing.
    support: full
options:
  state:
    description: Whether to begin the set or to complete it.
    type: str
    choices: [started, complete]
    required: true
  store_path:
    description: Folder of the backup store.
    type: path
    required: true
  state_path:
    description: State folder. Where it is given, an increment is not made after a set that was condemned there.
    type: path
  second_copy:
    description: Whether the store has a second copy, whose record is in O(state_path).
    type: bool
    default: false
  keys:
    description: Keys in use, by name, where there is a second copy. Those that are kept off this machine (see
      M(platform3.recovery.second_copy_keys)) must be these.
    type: dict
    default: {}
  set_id:
    description: Id of the set, its UTC second such as V(20261123T051700Z).
    type: str
    required: true
  kind:
    description: V(full) holds every component, V(increment) those of O(components) and names a parent.
    type: str
    choices: [full, increment]
    default: full
  components:
    description: Components that are backed up into the set. Used with O(state=started), which remembers them.
    type: list
    elements: str
    choices: [postgresql, redis, influxdb, configuration]
    default: [postgresql, redis, influxdb, configuration]
  environment:
    description: Name of the environment.
    type: str
    required: true
  environment_id:
    description: Id of the environment. It is compared with the store's.
    type: str
    required: true
  results:
    description:
      - What the backup of each component gave, by the component's name. Each value is the registered result of its
        module, of which C(artefacts) and C(content) are used, C(chain) where it builds on older sets, and C(failed)
        and C(msg) where it failed.
      - Required with O(state=complete). A component that failed or left no result keeps the set incomplete.
    type: dict
  signing_key:
    description: OpenSSH private key that signs the manifest. Required with O(state=complete).
    type: str
  trusted_signers:
    description:
      - Those whose signature a recovery will believe. The new signature is tried against them.
      - Required with O(state=complete) and O(kind=increment), whose parent must be signed by one of them.
    type: list
    elements: dict
    suboptions:
      identity:
        description: Name of the signer.
        type: str
        required: true
      public_key:
        description: The signer's OpenSSH public key.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: backup | Begin the backup set
  platform3.recovery.backup_manifest:
    state: started
    fence: "{{ recovery_fence }}"
    store_path: /opt/platform3/backups
    set_id: 20261123T051700Z
    environment: lab
    environment_id: lab-0123456789ab
    kind: increment
    components: [influxdb]
    trusted_signers: "{{ backup_set_trusted_signers }}"
  register: __backup_set_started

- name: backup | Sign the manifest and complete the backup set
  platform3.recovery.backup_manifest:
    state: complete
    fence: "{{ recovery_fence }}"
    store_path: /opt/platform3/backups
    set_id: 20261123T051700Z
    environment: lab
    environment_id: lab-0123456789ab
    results: "{{ backup_set_results }}"
    signing_key: "{{ backup_set_signing_key }}"
    trusted_signers: "{{ backup_set_trusted_signers }}"
"""

RETURN = r"""
backup_set:
  description: The set.
  returned: always
  type: dict
  contains:
    id:
      description: Its id.
      type: str
    path:
      description: Its folder; ends in C(.incomplete) until the set is complete.
      type: str
    sequence:
      description: Its sequence number.
      type: int
    kind:
      description: Whether it is a full set or an increment; returned when it is begun, as the following.
      type: str
    components:
      description: Components that are to be backed up.
      type: list
      elements: str
    parent:
      description: Id of the set that an increment is made after, null for a full set.
      type: str
    off_machine_segments:
      description: Streamed WAL segments that the second copy holds; null where there is none.
      type: list
      elements: str
    parents:
      description: By component what the parent holds of it, C(chain) and C(content); empty for a full set.
      type: dict
unchanged:
  description: Whether no set was made, because all is as in the parent, which RV(backup_set) is then.
  returned: when state is complete and so it is
  type: bool
removed:
  description: Folders of interrupted backups that were removed.
  returned: when state is started
  type: list
  elements: str
bytes:
  description: Size of all artefacts.
  returned: when state is complete
  type: int
files:
  description: Number of artefacts.
  returned: when state is complete
  type: int
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _backup_store as store_files
from ansible_collections.platform3.recovery.plugins.module_utils import _chains, _signing, _verification
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    COMPONENTS,
    INCOMPLETE_SUFFIX,
    LARGE_BYTES,
    MANIFEST_NAME,
    MARKER_NAME,
    SIGNATURE_NAME,
    Manifest,
    build,
    render,
    root_files,
    set_instant,
    verification_name,
    verification_text,
)
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import (
    KEYS_PATH,
    STATE_PATH,
    off_machine_segments,
    parse_fingerprints,
    parse_state,
    require_keys,
)
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SignedSets, parent_of
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso, read_text

INCOMPLETE_DATA = "running data was not touched; the set stays incomplete and no recovery will take it"


def segments_off_machine(state_path: str) -> list[str]:
    """Streamed segments that the second copy holds, by its shipper's record."""
    return off_machine_segments(parse_state(read_text(os.path.join(state_path, STATE_PATH))))


def started(module: AnsibleModule) -> dict[str, Any]:
    """Make the set's folder and remove what interrupted backups left."""
    given = module.params
    store, set_id = given["store_path"], given["set_id"]
    path = os.path.join(store, set_id)
    sets = store_files.read_sets(store)
    store_files.require_environment(store, given["environment_id"])
    if given["keys"]:
        require_keys(parse_fingerprints(read_text(os.path.join(given["state_path"], KEYS_PATH))), given["keys"])
    if os.path.lexists(path):
        raise _not_begun(set_id, f"{path} is there already", "start the backup again: it gets the id of its own second")
    sequence = store_files.next_sequence(sets)
    parent = None
    if given["kind"] == "increment":
        signed = SignedSets(store, given["trusted_signers"], state_path=given["state_path"])
        parent = parent_of(set_id, signed, given["environment"], given["environment_id"])
    removed = store_files.leftovers(store, set_id)
    incomplete = path + INCOMPLETE_SUFFIX
    if not module.check_mode:
        fence = fence_of(module)
        marker = {
            "backup_set": set_id,
            "sequence": sequence,
            "environment_id": given["environment_id"],
            "recovery_id": fence.recovery_id,
            "epoch": fence.epoch,
            "started_at": now_iso(),
            "components": given["components"],
            "parent": parent["backup_set"] if parent else None,
        }
        try:
            for leftover in removed:
                shutil.rmtree(leftover)
            store_files.begin(store, set_id, marker)
        except OSError as error:
            next_step = f"make {store} writable for the user that Ansible becomes on the host in group backup_store"
            raise _not_begun(set_id, f"{error.filename}: {error.strerror}", next_step) from None
    return {
        "changed": True,
        "backup_set": {
            "id": set_id,
            "path": incomplete,
            "sequence": sequence,
            "kind": given["kind"],
            "components": given["components"],
            "parent": parent["backup_set"] if parent else None,
            "off_machine_segments": segments_off_machine(given["state_path"]) if given["second_copy"] else None,
            "parents": {
                name: {"chain": _chains.chain_of(parent, name), "content": parent["components"][name]}
                for name in given["components"]
                if parent
            },
        },
        "removed": removed,
        "diff": {"before": "".join(f"{one}\n" for one in removed), "after": f"{incomplete}\n"},
    }


def _not_begun(set_id: str, found: str, next_step: str) -> RecoveryError:
    return RecoveryError("PRC-206", f"begin backup set {set_id}", found, "running data was not touched", next_step)


def complete(module: AnsibleModule) -> dict[str, Any]:
    """Judge the components' results, write what makes a set of them, and rename."""
    given = module.params
    final = os.path.join(given["store_path"], given["set_id"])
    path = final + INCOMPLETE_SUFFIX
    if module.check_mode:
        # Nothing was written that could be judged; what failed to be looked at is known already.
        bad = failures(given["results"])
        if bad:
            raise _not_complete(given["set_id"], _named(bad))
        return {"changed": True, "backup_set": {"id": given["set_id"], "path": final}, "bytes": 0, "files": 0}
    marker = store_files.read_marker(path)
    if marker is None or marker.get("environment_id") != given["environment_id"]:
        raise _not_complete(given["set_id"], f"{path} is not a set that this backup began")
    if os.path.lexists(final):
        raise _not_complete(given["set_id"], f"{final} is there already")
    if nothing_changed(given, marker):
        shutil.rmtree(path)
        parent = {"id": marker["parent"], "path": os.path.join(given["store_path"], marker["parent"])}
        return {"changed": False, "unchanged": True, "backup_set": parent, "bytes": 0, "files": 0}
    manifest = drafted(given, marker)
    artefacts = manifest["artefacts"]
    wrong = _verification.listing_problems(path, {MARKER_NAME, *root_files(given["set_id"])}, artefacts, artefacts)
    if wrong:
        raise _not_complete(given["set_id"], "; ".join(wrong[:5]))
    progress = Progress(given["progress_path"])
    progress.start("reading back large files", sum(one["bytes"] for one in artefacts if one["bytes"] >= LARGE_BYTES))
    try:
        manifest["artefacts"] = _verification.with_chunks(path, artefacts, progress.advance)
        manifest["finished_at"] = now_iso()
        _write(path, manifest, given["signing_key"], given["trusted_signers"])
        store_files.seal(path, final)
    except (ValueError, OSError) as error:  # read back wrong; disk full, store gone
        raise _not_complete(given["set_id"], str(error)) from None
    return {
        "changed": True,
        "backup_set": {"id": given["set_id"], "path": final, "sequence": manifest["sequence"]},
        "bytes": sum(one["bytes"] for one in artefacts),
        "files": len(artefacts),
    }


def nothing_changed(given: dict[str, Any], marker: dict[str, Any]) -> bool:
    """Whether every component that was asked for is as in the parent: there is nothing to make a set of then."""
    gathered(given["set_id"], given["results"], marker.get("components", ()))
    return bool(marker.get("parent")) and all(one.get("unchanged") for one in given["results"].values())


def drafted(given: dict[str, Any], marker: dict[str, Any]) -> Manifest:
    """The manifest from the components' results, as finished now; RecoveryError PRC-207 where they make none."""
    set_id, results = given["set_id"], given["results"]
    components, artefacts = gathered(set_id, results, marker.get("components", ()))
    signed = SignedSets(given["store_path"], given["trusted_signers"]) if marker.get("parent") else None
    try:
        parent = None
        if signed is not None:
            parent = parent_of(set_id, signed, given["environment"], given["environment_id"], marker["parent"])
        if parent is not None:  # what is as in the parent is inherited from it
            components = {name: one for name, one in components.items() if not results[name].get("unchanged")}
        taken = {name: list(results[name].get("chain") or ()) for name in components}
        inherited, chains = _chains.extended(parent, set_id, taken)
        manifest = build(
            set_id=set_id,
            environment=given["environment"],
            environment_id=given["environment_id"],
            sequence=marker["sequence"],
            started_at=marker["started_at"],
            finished_at=now_iso(),
            components={**inherited, **components},
            artefacts=artefacts,
            parent=marker.get("parent"),
            chains=chains if parent else None,
        )
    except RecoveryError as error:
        raise _not_complete(set_id, error.found) from None
    wrong = _chains.broken(manifest, signed.look) if signed else None
    if wrong:
        raise _not_complete(set_id, wrong)
    return manifest


def gathered(set_id: str, results: dict[str, Any], asked: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Content by component and all artefacts; RecoveryError PRC-207 names the components that did not give theirs."""
    bad = failures(results)
    bad.update({name: "gave no result" for name in asked if results and name not in results})
    for name, result in results.items():
        if not isinstance(result.get("content"), dict) or not isinstance(result.get("artefacts"), list):
            bad.setdefault(name, "gave no result: its backup did not run to its end")
    if bad or not results:
        raise _not_complete(set_id, _named(bad) or "no component was backed up")
    return (
        {name: result["content"] for name, result in results.items()},
        [artefact for result in results.values() for artefact in result["artefacts"]],
    )


def failures(results: dict[str, Any]) -> dict[str, str]:
    """The components whose backup failed, each with the first line of its message."""
    said = {
        name: str(result.get("msg") or "no message").splitlines()[0].rstrip(".")
        for name, result in results.items()
        if result.get("failed") or result.get("unreachable")
    }
    return {name: f"failed: {message}" for name, message in said.items()}


def _named(bad: dict[str, str]) -> str:
    return "; ".join(f"{name} {reason}" for name, reason in bad.items())


def _not_complete(set_id: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-207",
        f"complete backup set {set_id}",
        found,
        INCOMPLETE_DATA,
        "mend what is named, then run ansible-playbook backup.yml again: it removes the incomplete set",
    )


def _write(path: str, manifest: Manifest, signing_key: str, trusted: list[dict[str, str]]) -> None:
    """Manifest, signature (tried as a recovery will try it) and checksum list into the set's folder."""
    raw = render(manifest)
    signature = _signing.sign(raw, signing_key)
    _signing.signer_of(raw, signature, _signing.allowed_signers(trusted))
    listing = verification_text(manifest, hashlib.sha256(raw).hexdigest())
    store_files.write_durable(os.path.join(path, MANIFEST_NAME), raw)
    store_files.write_durable(os.path.join(path, SIGNATURE_NAME), signature)
    store_files.write_durable(os.path.join(path, verification_name(manifest["backup_set"])), listing.encode())


def work(module: AnsibleModule) -> dict[str, Any]:
    """Begin or complete the set."""
    if set_instant(module.params["set_id"]) is None:
        raise _not_begun(module.params["set_id"][:80], "the id is no UTC second", "use an id such as 20261123T051700Z")
    return started(module) if module.params["state"] == "started" else complete(module)


def main() -> None:
    """Entry point."""
    signers = {"identity": {"type": "str", "required": True}, "public_key": {"type": "str", "required": True}}
    run_module(
        {
            **STEP_ARGUMENTS,
            "state": {"type": "str", "choices": ["started", "complete"], "required": True},
            "store_path": {"type": "path", "required": True},
            "state_path": {"type": "path"},
            "second_copy": {"type": "bool", "default": False},
            "keys": {"type": "dict", "default": {}, "no_log": True},
            "set_id": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["full", "increment"], "default": "full"},
            "components": {
                "type": "list",
                "elements": "str",
                "choices": list(COMPONENTS),
                "default": list(COMPONENTS),
            },
            "environment": {"type": "str", "required": True},
            "environment_id": {"type": "str", "required": True},
            "results": {"type": "dict"},
            "signing_key": {"type": "str", "no_log": True},
            "trusted_signers": {"type": "list", "elements": "dict", "options": signers},
        },
        work,
        supports_check_mode=True,
        required_if=[
            ("state", "complete", ["results", "signing_key", "trusted_signers"]),
            ("kind", "increment", ["trusted_signers"]),
        ],
    )


if __name__ == "__main__":
    main()
