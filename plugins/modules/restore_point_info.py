#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point_info
short_description: Resolve the name of a restore point to its instant, or see that it is free
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - A name that was never given is refused with the nearest three and their times; one that is to be given, and was, is
    refused too.
  - A record counts only where a trusted signer signed it for this environment.
  - Takes no lock and changes nothing.
extends_documentation_fragment: [platform3.recovery.store]
options:
  name:
    description: Name of the point.
    type: str
    required: true
  expected:
    description: Whether a point of that name is wanted (V(known)), or none (V(free)).
    type: str
    choices: [known, free]
    default: known
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Resolve the name of the restore point
  platform3.recovery.restore_point_info:
    store_path: /opt/platform3/backups
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    name: before-release-7
  register: __recovery_point
"""

RETURN = r"""
point:
  description: Its C(name), C(at), C(lsn), C(timeline), C(segment), C(environment_id), and C(by) whom it was set.
  type: dict
  returned: where it is expected to be known
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _restore_points
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SIGNED_ARGUMENTS


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, read, compare."""
    given = module.params
    if given["expected"] == "free":
        _restore_points.require_free(given["store_path"], given["name"])
        return {"changed": False}
    arguments = (given["store_path"], given["name"], given["environment_id"], given["trusted_signers"])
    return {"changed": False, "point": _restore_points.as_dict(_restore_points.resolve(*arguments))}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **SIGNED_ARGUMENTS,
            "name": {"type": "str", "required": True},
            "expected": {"type": "str", "choices": ["known", "free"], "default": "known"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
