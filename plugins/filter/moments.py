# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took data away from the datastores, in one list by time."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._hostvars import registered
from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES
from ansible_collections.platform3.recovery.plugins.module_utils._moments import AUDIT, OWN, moments_of

DOCUMENTATION = r"""
name: moments
short_description: What took data away from the datastores around a time, in one list
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Puts together what M(platform3.recovery.postgresql_wal_find_info), M(platform3.recovery.redis_log_find_info),
    M(platform3.recovery.influxdb_delete_find_info) and M(platform3.recovery.recovery_operations_info) found, with the
    target of a recovery to just before each where one leads there.
  - What M(platform3.recovery.postgresql_audit_find_info) found of a transaction that the WAL tells of too stands with
    that one; the rest of it stands for itself, without a target.
positional: groups
extends_documentation_fragment: [platform3.recovery.hostvars]
"""

EXAMPLES = r"""
- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ (hostvars | platform3.recovery.moments(groups)).table }}"
"""

RETURN = r"""
_value:
  description:
    - C(events) with C(component), C(time), C(what), C(size), C(target) and what the module C(found); C(by) and C(audit)
      where the audit log says who it was. C(notes) on what was not searched, C(problems) where a component could not be
      searched, and all of it as lines (C(table)).
  type: dict
"""


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"moments": moments}


def moments(hostvars: Any, groups: dict[str, list[str]]) -> dict[str, Any]:
    """Gather what was found by component, then lay it out."""
    found = {name: registered(hostvars, groups, name, f"__{name}_moments") for name in DATASTORES}
    audit = registered(hostvars, groups, "postgresql", "__postgresql_audit_moments")
    return moments_of({**found, AUDIT: audit, OWN: registered(hostvars, groups, "backup_store", f"__{OWN}_moments")})
