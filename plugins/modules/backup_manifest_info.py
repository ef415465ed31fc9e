#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_manifest_info
short_description: Choose a backup set and verify it
version_added: 0.1.0
description:
  - Chooses the newest set that is complete, signed by a trusted key, of this environment and compatible, and says of
    each newer one why it was passed over. Or takes exactly the set that is asked for.
  - A set that builds on others is taken only where each of them is there, complete, signed and of this environment.
  - Verifies every byte of the artefacts that are needed, along the chain too, with all processors. A set whose bytes
    are damaged is an error, also with V(latest); going back to an older set then is for the operator to decide.
author: Platform3 (@platform3)
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
options:
  store_path:
    description: Folder of the backup store.
    type: path
    required: true
  state_path:
    description: State folder. Where it is given, a set that was condemned there is not taken, nor one that is read
      along with it.
    type: path
  backup_set:
    description: V(latest) or the id of a set.
    type: str
    default: latest
  environment:
    description: Name of the environment that the set must be of.
    type: str
    required: true
  environment_id:
    description: Id of the environment that the set must be of.
    type: str
    required: true
  trusted_signers:
    description: Those whose signature is believed. From the inventory, never from the store.
    type: list
    elements: dict
    required: true
    suboptions:
      identity:
        description: Name of the signer.
        type: str
        required: true
      public_key:
        description: The signer's OpenSSH public key.
        type: str
        required: true
  components:
    description: Components that are needed from the set.
    type: list
    elements: str
    choices: [postgresql, redis, influxdb, configuration]
    default: [postgresql, redis, influxdb, configuration]
  versions:
    description: Version of each component that will run here. A set of another major version is not taken.
    type: dict
    default: {}
  not_after:
    description: Instant (ISO 8601 with its offset) by which the set must have been finished; empty for any.
    type: str
    default: ""
  left_out_kinds:
    description: Kinds of artefacts that this recovery does not read, such as V(dump). Their bytes are not verified.
    type: list
    elements: str
    default: []
  verify:
    description:
      - V(none) reads the manifest only, V(signature) checks who wrote it.
      - V(bytes) reads all artefacts that are needed too, and looks for the pgBackRest backup.
    type: str
    choices: [none, signature, bytes]
    default: signature
  verify_pgbackrest:
    description: Whether O(verify=bytes) looks for the pgBackRest backup in the repository. Only a logical restore can
      do without it.
    type: bool
    default: true
  fence:
    description: Recovery id and epoch, where a recovery holds the lock already. Only shown to the journal.
    type: dict
    suboptions:
      recovery_id:
        description: Id of the recovery that holds the lock.
        type: str
        required: true
      epoch:
        description: Epoch of the lock when this run took it.
        type: int
        required: true
  progress_path:
    description: File for progress figures. Set by the action plugin, not by a task.
    type: path
"""

EXAMPLES = r"""
- name: assess | Choose the backup set
  platform3.recovery.backup_manifest_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    backup_set: latest
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
  register: __recovery_chosen

- name: assess | Verify every byte of the backup set
  platform3.recovery.backup_manifest_info:
    store_path: /opt/platform3/backups
    backup_set: "{{ __recovery_chosen.set.id }}"
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    left_out_kinds: [dump]
    verify: bytes
"""

RETURN = r"""
set:
  description: The chosen set.
  returned: success
  type: dict
  contains:
    id:
      description: Its id.
      type: str
    path:
      description: Its folder.
      type: str
    manifest:
      description: Its manifest.
      type: dict
    signed_by:
      description: The trusted signer; null with O(verify=none).
      type: str
    components:
      description:
        - By name of each needed component what its recovery reads. An increment inherits the components that it did
          not back up from older sets.
        - C(content) is the record, C(id), C(path) and C(artefacts) are of the set that made it, C(older) lists the same
          of the sets before that it builds on, oldest first.
      type: dict
passed_over:
  description: Newer sets that were not taken.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id of the set.
      type: str
    reason:
      description: Why it was not taken.
      type: str
verified:
  description: What was read and found right; null unless O(verify=bytes).
  returned: success
  type: dict
  contains:
    bytes:
      description: Size of the artefacts that were read.
      type: int
    files:
      description: Their number.
      type: int
    seconds:
      description: How long reading took.
      type: float
store_environment_id:
  description: Environment that the store says it belongs to; null where it does not say.
  returned: success
  type: str
"""

import dataclasses
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _backup_store as store_files
from ansible_collections.platform3.recovery.plugins.module_utils import _chains, _verification
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import COMPONENTS, Manifest
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._selection import LATEST, Wanted
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SignedSets
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso


def work(module: AnsibleModule) -> dict[str, Any]:
    """Choose, then verify as far as asked."""
    given = module.params
    store = given["store_path"]
    signed = SignedSets(store, given["trusted_signers"], given["verify"] != "none", given["state_path"])
    wanted = Wanted(
        backup_set=given["backup_set"],
        environment=given["environment"],
        environment_id=given["environment_id"],
        components=given["components"],
        versions={name: str(version) for name, version in given["versions"].items()},
        not_after=parse_iso(given["not_after"]) if given["not_after"] else None,
    )
    chosen, passed = signed.choose(wanted)
    manifest = signed.manifest(chosen.set_id)
    figures = None
    if given["verify"] == "bytes":
        try:
            figures = verified(given, signed, manifest)
        except RecoveryError as error:
            base = _chains.chain_of(manifest, "postgresql")[-1:]  # whose base backup is not there
            spoilt = error.sets if isinstance(error, _verification.Damaged) else base
            before = signed.before(chosen.set_id, dataclasses.replace(wanted, backup_set=LATEST), spoilt)
            raise with_way_back(error, before) from None
    return {
        "changed": False,
        "set": {
            "id": chosen.set_id,
            "path": os.path.join(store, chosen.set_id),
            "manifest": manifest,
            "signed_by": signed.signer(chosen.set_id),
            "components": signed.parts(manifest, given["components"]),
        },
        "passed_over": [{"id": one.set_id, "reason": one.reason} for one in passed],
        "verified": figures,
        "store_environment_id": store_files.store_environment_id(store),
    }


def with_way_back(error: RecoveryError, before: str | None) -> RecoveryError:
    """The error of a damaged set, with the set to go back to as the next step."""
    way = f"the set before it is taken with -e recovery_backup_set={before}; or {error.next_step}"
    if before is None:
        way = f"the store holds no older set that would do; {error.next_step}"
    return RecoveryError(error.code, error.attempted, error.found, error.data, way)


def verified(given: dict[str, Any], signed: SignedSets, manifest: Manifest) -> dict[str, Any]:
    """Read all that is needed; RecoveryError PRC-230 or PRC-231 where something is not as it was signed."""
    began = time.monotonic()
    needed = signed.needed(manifest, given["components"], given["left_out_kinds"])
    if given["verify_pgbackrest"] and "postgresql" in given["components"]:
        _verification.verify_pgbackrest(given["store_path"], manifest)
    progress = Progress(given["progress_path"])
    progress.start(
        "verifying the backup set", sum(one["bytes"] for _manifest, artefacts in needed for one in artefacts)
    )
    read = _verification.verify_sets(given["store_path"], needed, progress.advance)
    return {"bytes": read.bytes, "files": read.files, "seconds": round(time.monotonic() - began, 3)}


def main() -> None:
    """Entry point."""
    signers = {"identity": {"type": "str", "required": True}, "public_key": {"type": "str", "required": True}}
    run_module(
        {
            "store_path": {"type": "path", "required": True},
            "state_path": {"type": "path"},
            "backup_set": {"type": "str", "default": "latest"},
            "environment": {"type": "str", "required": True},
            "environment_id": {"type": "str", "required": True},
            "trusted_signers": {"type": "list", "elements": "dict", "required": True, "options": signers},
            "components": {
                "type": "list",
                "elements": "str",
                "choices": list(COMPONENTS),
                "default": list(COMPONENTS),
            },
            "versions": {"type": "dict", "default": {}},
            "not_after": {"type": "str", "default": ""},
            "left_out_kinds": {"type": "list", "elements": "str", "default": []},
            "verify": {"type": "str", "choices": ["none", "signature", "bytes"], "default": "signature"},
            "verify_pgbackrest": {"type": "bool", "default": True},
            "fence": {**STEP_ARGUMENTS["fence"], "required": False},
            "progress_path": STEP_ARGUMENTS["progress_path"],
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
