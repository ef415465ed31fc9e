#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_backup
short_description: Write the platform's configuration into a backup set
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes Compose files, further configuration files, the ids of all images and facts of the inventory.
  - No secret goes into a set. Lines of an env file whose name is a secret's are left out and named; any other file that
    holds one of O(secrets) or a private key is an error.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    description: Looks at everything and writes nothing.
    support: full
options:
  set_path:
    description: Folder of the set that is being written.
    type: path
    required: true
  paths:
    description: Further files and folders of the configuration. Their names must differ.
    type: list
    elements: path
    default: []
  inventory:
    description: Facts of the inventory to keep.
    type: dict
    default: {}
  secrets:
    description: Secrets that must not be in any file.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: backup | Write configuration and image digests
  platform3.recovery.configuration_backup:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    set_path: "{{ backup_set.path }}"
    paths: [/opt/platform3/config]
    inventory:
      environment: lab
    secrets: ["{{ postgresql_password }}"]
  register: __configuration_backup
"""

RETURN = r"""
artefacts:
  description: Records of the files that were written, for the manifest.
  returned: success
  type: list
  elements: dict
content:
  description: What the manifest says of the configuration.
  returned: success
  type: dict
  contains:
    version:
      description: Version of the layout in the set.
      type: str
    recovery_point:
      description: When it was read.
      type: str
    images:
      description: Image of each service.
      type: dict
    left_out:
      description: Names of variables that were left out as secrets.
      type: list
      elements: str
"""

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _configuration as configuration
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, compose_of
from ansible_collections.platform3.recovery.plugins.module_utils._images import images_here
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read everything, refuse secrets, then write."""
    given = module.params
    layout = configuration.Layout(compose_of(given), tuple(given["paths"]))
    at = now_iso()
    files: dict[str, tuple[str, bytes, str]] = {}
    left_out: list[str] = []
    for source in layout.sources():
        content, names = configuration.content_of(source)
        configuration.require_no_secret(source.path, content, given["secrets"])
        files[source.target] = (source.kind, content, configuration.mode_of(source.path))
        left_out += names
    images, missing = images_here(layout.compose)
    if missing:
        raise configuration.unusable("images.json", f"the engine does not hold {', '.join(missing)}")
    files[configuration.IMAGES_PATH] = ("images", _json(images), "0644")
    inventory = _json(given["inventory"])
    configuration.require_no_secret("the inventory's facts", inventory, given["secrets"])
    files[configuration.INVENTORY_PATH] = ("inventory", inventory, "0644")
    if not module.check_mode:
        for target, (_kind, content, _mode) in files.items():
            path = os.path.join(given["set_path"], target)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_durable(path, content)
    return {
        "changed": True,
        "artefacts": [
            {
                "path": target,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "component": configuration.COMPONENT,
                "kind": kind,
                "source_version": configuration.LAYOUT_VERSION,
                "expected": {"mode": mode},
            }
            for target, (kind, content, mode) in files.items()
        ],
        "content": {
            "version": configuration.LAYOUT_VERSION,
            "recovery_point": at,
            "images": images,
            "left_out": left_out,
        },
        "bytes": sum(len(content) for _kind, content, _mode in files.values()),
        "recovery_point": at,
        "diff": {"before": "", "after": "".join(f"{target}\n" for target in sorted(files))},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "set_path": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "path", "default": []},
            "inventory": {"type": "dict", "default": {}},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
