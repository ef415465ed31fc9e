#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_secrets_restore
short_description: Decrypt the secrets of a backup set into an empty folder
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Compares the encrypted file with the digest in the set's signed manifest, decrypts it, and writes each file for its
    owner alone (0600).
  - The folder is new or empty, and gets all of the files or none. Nothing is written over, so that no lock is needed.
attributes:
  check_mode:
    description: Decrypts, names the files and writes nothing.
    support: full
options:
  set_path:
    description: Folder of the set.
    type: path
    required: true
  artefacts:
    description: The set's artefacts, from its signed manifest.
    type: list
    elements: dict
    required: true
  identity:
    description: Text of an identity file of age, or an ssh-ed25519 private key, of one of the recipients.
    type: str
    required: true
  target:
    description: The new or empty folder.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: secrets | Decrypt the secrets into an empty folder
  platform3.recovery.configuration_secrets_restore:
    set_path: "{{ recovery_set.path }}"
    artefacts: "{{ recovery_set.manifest.artefacts }}"
    identity: "{{ lookup('ansible.builtin.file', '/media/safe/identity') }}"
    target: /opt/platform3/secrets-restored
"""

RETURN = r"""
restored:
  description: Paths of the files that were written.
  returned: success
  type: list
  elements: str
"""

import hashlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _age, _sealed
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._verification import damaged


def work(module: AnsibleModule) -> dict[str, Any]:
    """Compare, decrypt, write."""
    given = module.params
    _sealed.require_empty(given["target"])
    secrets = _sealed.unpack(_age.unseal(sealed_of(given["set_path"], given["artefacts"]), given["identity"]))
    restored = [os.path.join(given["target"], one.name) for one in secrets]
    if not module.check_mode:
        _sealed.put(given["target"], secrets)
    return {
        "changed": True,
        "restored": restored,
        "diff": {"before": "", "after": "".join(f"{path}\n" for path in restored)},
    }


def sealed_of(set_path: str, artefacts: list[dict[str, Any]]) -> bytes:
    """The encrypted file, which is that of the manifest: PRC-230 otherwise, PRC-359 where the set has none."""
    set_id = os.path.basename(set_path)
    for one in artefacts:
        if one["path"] == _sealed.SEALED_PATH:
            try:
                with open(os.path.join(set_path, one["path"]), "rb") as stream:
                    content = stream.read(one["bytes"] + 1)
            except OSError as error:
                raise damaged(set_id, [f"{one['path']} cannot be read ({error.strerror})"]) from None
            if hashlib.sha256(content).hexdigest() != one["sha256"]:
                raise damaged(set_id, [f"{one['path']} is damaged"])
            return content
    raise RecoveryError(
        "PRC-359",
        f"restore the secrets of backup set {set_id}",
        "it holds none: configuration_secret_paths was empty when it was made",
        "nothing was written",
        "choose another set with -e recovery_backup_set=ID, or make the secrets anew",
    )


def main() -> None:
    """Entry point."""
    run_module(
        {
            "set_path": {"type": "path", "required": True},
            "artefacts": {"type": "list", "elements": "dict", "required": True},
            "identity": {"type": "str", "required": True, "no_log": True},
            "target": {"type": "path", "required": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
