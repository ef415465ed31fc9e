#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_set_state
short_description: Write down what was found out about a backup set
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Sets are immutable, so that it stands as a signed line in C(sets.jsonl) of the state folder.
  - A condemned set is passed over by recoveries, and so is every set that is read along with it.
  - It takes no lock, so that a set can be condemned while a recovery or a backup runs.
options:
  state_path:
    description: State folder.
    type: path
    required: true
  store_path:
    description: Folder of the backup store.
    type: path
    required: true
  backup_set:
    description: Id of the set.
    type: str
    required: true
  state:
    description: What was found out. V(verified) or V(tested) lifts a condemnation.
    type: str
    choices: [verified, tested, condemned]
    required: true
  reason:
    description: Why, in one line; who condemns must say.
    type: str
    default: ""
  by:
    description: Who or what found it out.
    type: str
    required: true
  signing_key:
    description: OpenSSH private key that signs the line.
    type: str
    required: true
  trusted_signers:
    description: Those whose lines are believed. The new one is tried against them.
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
attributes:
  check_mode:
    description: Says what would be written and writes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Condemn the backup set
  platform3.recovery.backup_set_state:
    state_path: /opt/platform3/recovery
    store_path: /opt/platform3/backups
    backup_set: 20261123T051700Z
    state: condemned
    reason: holds rows of the failed migration
    by: jane@controller
    signing_key: "{{ backup_set_signing_key }}"
    trusted_signers: "{{ backup_set_trusted_signers }}"
"""

RETURN = r"""
before:
  description: What was known of the set, as its line; null where nothing was.
  returned: success
  type: dict
after:
  description: What holds now.
  returned: success
  type: dict
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _signing
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import set_ids
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import (
    STATES,
    SetState,
    append_states,
    lines_of,
    state_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import unknown_set


def work(module: AnsibleModule) -> dict[str, Any]:
    """Compare, sign, append."""
    given = module.params
    ids = set_ids(given["store_path"])
    if given["backup_set"] not in ids:
        raise unknown_set(given["backup_set"], ids)
    signers = _signing.allowed_signers(given["trusted_signers"])
    known = state_of(lines_of(given["state_path"]), given["backup_set"], signers)
    reason = " ".join(given["reason"].split())
    if given["state"] == "condemned" and not reason:
        raise RecoveryError(
            "PRC-336",
            f"condemn backup set {given['backup_set']}",
            "no reason was given",
            "nothing was changed",
            "give -e backup_set_reason='...', for those who find the set passed over",
        )
    said = SetState(given["backup_set"], given["state"], now_iso(), given["by"], reason)
    before = asdict(known) if known else None
    if known and (known.state, known.reason) == (said.state, said.reason):
        return {"changed": False, "before": before, "after": before}
    if not module.check_mode:
        _signing.signer_of(said.signed_bytes(), _signing.sign(said.signed_bytes(), given["signing_key"]), signers)
        append_states(given["state_path"], [said], given["signing_key"])
    return {
        "changed": True,
        "before": before,
        "after": asdict(said),
        "diff": {"before": f"{known.state if known else 'complete'}\n", "after": f"{said.state}\n"},
    }


def main() -> None:
    """Entry point."""
    signers = {"identity": {"type": "str", "required": True}, "public_key": {"type": "str", "required": True}}
    run_module(
        {
            "state_path": {"type": "path", "required": True},
            "store_path": {"type": "path", "required": True},
            "backup_set": {"type": "str", "required": True},
            "state": {"type": "str", "choices": list(STATES), "required": True},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "required": True},
            "signing_key": {"type": "str", "required": True, "no_log": True},
            "trusted_signers": {"type": "list", "elements": "dict", "required": True, "options": signers},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
