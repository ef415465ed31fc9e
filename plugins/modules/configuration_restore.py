#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_restore
short_description: Bring missing configuration files back from a backup set, and compare
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes those configuration files of the set that the host does not have. A file that is there is never overwritten;
    where it differs from the set's, that is said.
  - Where a file goes comes from the inventory, never from the set.
  - Then every file of the set must be there, and an image of each service. A file or image that differs was changed
    since the backup. It is named and never an error, for the host's own is the newer.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    description: Says which files would be written and changes nothing.
    support: full
options:
  set_path:
    description: Folder of the set.
    type: path
    required: true
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
"""

EXAMPLES = r"""
- name: restore | Bring missing configuration files back
  platform3.recovery.configuration_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    set_path: "{{ recovery_set.path }}"
    artefacts: "{{ recovery_set.manifest.artefacts }}"
    content: "{{ recovery_set.manifest.components.configuration }}"
"""

RETURN = r"""
checks:
  description: Each file and image, and what was found.
  returned: always
  type: list
  elements: dict
restored:
  description: Paths of the files that were written.
  returned: success
  type: list
  elements: str
differing:
  description: Paths of files that were there and are not as in the set. They were left as they are.
  returned: success
  type: list
  elements: str
incomplete:
  description: Paths of env files that were written without their secrets, which are in no set.
  returned: success
  type: list
  elements: str
recovery_point:
  description: When the configuration in the set was read.
  returned: success
  type: str
bytes:
  description: Size of the files that were written.
  returned: success
  type: int
"""

import hashlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _configuration as configuration
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import sync_folder, write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, compose_of
from ansible_collections.platform3.recovery.plugins.module_utils._images import images_here
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._verification import damaged


def work(module: AnsibleModule) -> dict[str, Any]:
    """Write what is missing, then compare."""
    given = module.params
    layout = configuration.Layout(compose_of(given), tuple(given["paths"]))
    differences = configuration.compare_files(layout, given["artefacts"])
    missing = [one for one in differences if one.state == configuration.MISSING]
    contents = [read(given["set_path"], one) for one in missing]
    if not module.check_mode:
        for one, content in zip(missing, contents):
            put(one.path, content, configuration.mode_from(one.artefact))
    return {
        "changed": bool(missing),
        "checks": compare(layout, given, bool(missing) and module.check_mode),
        "restored": [one.path for one in missing],
        "differing": [one.path for one in differences if one.state == configuration.KEPT],
        "incomplete": [
            one.path for one in missing if one.artefact["kind"] == "environment" and given["content"].get("left_out")
        ],
        "recovery_point": given["content"].get("recovery_point"),
        "bytes": sum(len(content) for content in contents),
        "diff": {"before": "", "after": "".join(f"{one.path}\n" for one in missing)},
    }


def compare(layout: configuration.Layout, given: dict[str, Any], will_be_brought_back: bool) -> list[Check]:
    """Checks of every file and image, all of them good; ChecksFailed PRC-242."""
    differences = configuration.compare_files(layout, given["artefacts"])
    checks = configuration.file_checks(differences, will_be_brought_back)
    # Without its Compose files a project has no images to ask for.
    if not will_be_brought_back:
        here, _absent = images_here(layout.compose)
        checks += configuration.image_checks(given["content"].get("images", {}), here)
    return require(
        checks,
        "PRC-242",
        "compare the host's configuration with the backup set",
        "no data was changed by this",
        "load the images that are missing (docker load, docker pull), or bring the files back from configuration/ in"
        " the set",
    )


def read(set_path: str, difference: configuration.Difference) -> bytes:
    """The bytes of a file of the set, which are those of the manifest; PRC-230 otherwise."""
    artefact = difference.artefact
    with open(os.path.join(set_path, artefact["path"]), "rb") as stream:
        content = stream.read(artefact["bytes"] + 1)
    if hashlib.sha256(content).hexdigest() != artefact["sha256"]:
        raise damaged(os.path.basename(set_path), [f"{artefact['path']} is damaged"])
    return content


def put(path: str, content: bytes, mode: int) -> None:
    """Write a file that is not there, with these permissions; never over one that has come meanwhile."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    beside = f"{path}.restored"
    write_durable(beside, content)
    os.chmod(beside, mode)
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(beside)
    sync_folder(folder)


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "set_path": {"type": "path", "required": True},
            "artefacts": {"type": "list", "elements": "dict", "required": True},
            "content": {"type": "dict", "required": True},
            "paths": {"type": "list", "elements": "path", "default": []},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
