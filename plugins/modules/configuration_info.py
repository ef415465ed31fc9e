#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_info
short_description: Compare a host's configuration with that of a backup set
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Compares each configuration file of the set with the host's, and the ids of the images.
  - A file that differs was changed since the backup. It is named and never an error, for the host's own is the newer.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
options:
  artefacts:
    description: The set's artefacts; those of other components are ignored.
    type: list
    elements: dict
    required: true
  content:
    description: What the manifest says of the configuration.
    type: dict
    required: true
  paths:
    description: Further files and folders of the configuration.
    type: list
    elements: path
    default: []
  missing_allowed:
    description: Whether a file may be missing, because it will be brought back from the set.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: verify | Compare configuration and images with the backup set
  platform3.recovery.configuration_info:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    artefacts: "{{ recovery_set.manifest.artefacts }}"
    content: "{{ recovery_set.manifest.components.configuration }}"
"""

RETURN = r"""
checks:
  description: Each file and image, and what was found.
  returned: always
  type: list
  elements: dict
missing:
  description: Paths of files that the set holds and the host does not.
  returned: success
  type: list
  elements: str
differing:
  description: Paths of files that are not as in the set.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _configuration as configuration
from ansible_collections.platform3.recovery.plugins.module_utils._checks import require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, compose_of
from ansible_collections.platform3.recovery.plugins.module_utils._images import images_here
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module


def work(module: AnsibleModule) -> dict[str, Any]:
    """Compare, and judge."""
    given = module.params
    layout = configuration.Layout(compose_of(given), tuple(given["paths"]))
    differences = configuration.compare_files(layout, given["artefacts"])
    missing = [one.path for one in differences if one.state == configuration.MISSING]
    checks = configuration.file_checks(differences, given["missing_allowed"])
    # Without its Compose files a project has no images to ask for.
    if not missing:
        here, _absent = images_here(layout.compose)
        checks += configuration.image_checks(given["content"].get("images", {}), here)
    require(
        checks,
        "PRC-242",
        "compare the host's configuration with the backup set",
        "no data was changed by this",
        "load the images that are missing (docker load, docker pull), or bring the files back from configuration/ in"
        " the set, then go on with the same recovery_id",
    )
    return {
        "changed": False,
        "checks": checks,
        "missing": missing,
        "differing": [one.path for one in differences if one.state == configuration.KEPT],
    }


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "artefacts": {"type": "list", "elements": "dict", "required": True},
            "content": {"type": "dict", "required": True},
            "paths": {"type": "list", "elements": "path", "default": []},
            "missing_allowed": {"type": "bool", "default": False},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
