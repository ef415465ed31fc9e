#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: second_copy_keys
short_description: Keep the keys of the backups off this machine, encrypted with age
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes the keys, encrypted with age for all recipients, as C(keys/bundle.age) beside the second copy, and their
    SHA-256 as C(keys/fingerprints.json). Reads both back, and remembers the fingerprints in the state folder, where a
    backup compares them with the keys in use.
  - The key to the bucket and the identities of age cannot lie there; they are kept elsewhere.
extends_documentation_fragment: platform3.recovery.second_copy
options:
  state_path:
    description: State folder.
    type: path
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  keys:
    description: The keys by name.
    type: dict
    required: true
  recipients:
    description: Public keys of age, two at least.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says whether the keys would be written, and writes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Keep the keys off this machine
  platform3.recovery.second_copy_keys:
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    keys: {signing_key: "{{ backup_set_signing_key }}"}
    recipients: "{{ configuration_age_recipients }}"
    url: https://s3.example.com
    bucket: platform3
    image: platform3/second-copy:1
    access_key: "{{ second_copy_access_key }}"
    secret_key: "{{ second_copy_secret_key }}"
    password: "{{ second_copy_password }}"
    salt: "{{ second_copy_salt }}"
"""

RETURN = r"""
fingerprints:
  description: SHA-256 of each key, by name.
  returned: success
  type: dict
"""

import json
import os
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._age import seal
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import (
    KEYS_PATH,
    fingerprints,
    parse_fingerprints,
)
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy_place import PLACE_ARGUMENTS, Place
from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text, replace_text
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

# Beside what is encrypted with them: the keys to the copy cannot lie inside of it.
_STORE = """
rclone copy --no-check-dest /stage/keys "s3:$1/keys"
rclone copy "s3:$1/keys" /stage/read
cmp /stage/keys/bundle.age /stage/read/bundle.age && cmp /stage/keys/fingerprints.json /stage/read/fingerprints.json
"""


def work(module: AnsibleModule) -> dict[str, Any]:
    """Compare, encrypt, write, read back."""
    given = module.params
    prints = fingerprints(given["keys"])
    path = os.path.join(given["state_path"], KEYS_PATH)
    changed = parse_fingerprints(read_text(path)) != prints
    if changed and not module.check_mode:
        sealed = seal(json.dumps(given["keys"], sort_keys=True).encode(), given["recipients"])
        listed = json.dumps({"at": to_iso(time.time()), "fingerprints": prints}, sort_keys=True)
        with tempfile.TemporaryDirectory() as stage:
            os.mkdir(os.path.join(stage, "keys"))
            for name, content in (("bundle.age", sealed), ("fingerprints.json", listed.encode())):
                with open(os.path.join(stage, "keys", name), "wb") as stream:
                    stream.write(content)
            with Place(given, given["environment_id"], None).opened(stage) as place:
                place.run(_STORE, [given["bucket"]])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_text(path, listed)
    return {"changed": changed, "fingerprints": prints}


def main() -> None:
    """Entry point."""
    run_module(
        {
            "state_path": {"type": "path", "required": True},
            "environment_id": {"type": "str", "required": True},
            "keys": {"type": "dict", "required": True, "no_log": True},
            "recipients": {"type": "list", "elements": "str", "required": True},
            **PLACE_ARGUMENTS,
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
