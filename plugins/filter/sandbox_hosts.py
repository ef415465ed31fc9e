# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which datastores have come through a part of the work on a sandbox."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES

DOCUMENTATION = r"""
name: sandbox_hosts
short_description: Which datastores have come through a part of the work on a sandbox
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Gives what the hosts of the datastores hold under a name, without those that hold nothing, failed, or were lost.
positional: groups, name
extends_documentation_fragment: [platform3.recovery.hostvars]
options:
  name:
    description: The variable.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say who is ready
  ansible.builtin.debug:
    msg: "{{ hostvars | platform3.recovery.sandbox_hosts(groups, '__sandbox_ready') | list }}"
"""

RETURN = r"""
_value:
  description: The values by component.
  type: dict
"""


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"sandbox_hosts": sandbox_hosts}


def sandbox_hosts(hostvars: Any, groups: dict[str, list[str]], name: str) -> dict[str, Any]:
    """What each component's host holds, of those that answered."""
    held = {component: hostvars[groups[component][0]].get(name) for component in DATASTORES}
    return {component: value for component, value in held.items() if value and not _failed(value)}


def _failed(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.get("failed") or value.get("unreachable"))
