# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts stand in the way of a rollback."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._hostvars import registered
from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES

DOCUMENTATION = r"""
name: rollback_refusals
short_description: Which hosts stand in the way of a rollback
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Names the components without old data to put back, the services where something would be discarded unasked, and the
    hosts that were lost before they could answer.
  - Where the group C(recovering) has hosts, only those were asked.
positional: groups
extends_documentation_fragment: [platform3.recovery.hostvars]
"""

EXAMPLES = r"""
- name: Say who refuses
  ansible.builtin.debug:
    msg: "{{ hostvars | platform3.recovery.rollback_refusals(groups) }}"
"""

RETURN = r"""
_value:
  description: One line for each; none where the rollback may go on.
  type: list
  elements: str
"""

# Where the answers are registered: by roles/recovery/tasks/quarantine.yml and roles/app_services/tasks/discard.yml.
ANSWERS = {**dict.fromkeys(DATASTORES, "__recovery_old_data"), "app_services": "__app_services_discard"}


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"rollback_refusals": rollback_refusals}


def rollback_refusals(hostvars: Any, groups: dict[str, list[str]]) -> list[str]:
    """One line for each component whose host refuses or did not answer."""
    found = []
    for component, name in ANSWERS.items():
        if groups[component][0] not in (groups.get("recovering") or groups[component]):
            continue
        answer = registered(hostvars, groups, component, name)
        if answer.get("skipped") and component in DATASTORES:
            answer = registered(hostvars, groups, component, f"__{component}_parts")
        if not answer or answer.get("unreachable"):
            found.append(f"{component} did not answer")
        elif answer.get("failed"):
            found.append(f"{component} refuses ({(answer.get('error') or {}).get('code') or 'see above'})")
    return found
