# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a recovery as lines for the terminal."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._hostvars import registered
from ansible_collections.platform3.recovery.plugins.module_utils._plan import plan_lines

DOCUMENTATION = r"""
name: recovery_plan
short_description: What a recovery is about to do, as lines for the operator
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Says what will be replaced, the recovery point of each component, the expected loss and the deadline by the clock.
positional: groups, set, objectives, inputs
extends_documentation_fragment: [platform3.recovery.hostvars]
options:
  set:
    description: The chosen backup set (id, path, manifest).
    type: dict
    required: true
  objectives:
    description: RTO and RPO targets.
    type: dict
    required: true
  inputs:
    description: The normalised inputs of the run.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ hostvars | platform3.recovery.recovery_plan(groups, recovery_set, recovery_objectives, recovery_inputs) }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"recovery_plan": recovery_plan}


def recovery_plan(
    hostvars: Any, groups: dict[str, list[str]], chosen: dict[str, Any], objectives: dict[str, Any], inputs: Any
) -> list[str]:
    """Gather what the preflights found by component, then format it."""
    found: dict[str, dict[str, Any]] = {}
    for component in ("postgresql", "redis", "influxdb", "app_services"):
        found[component] = registered(hostvars, groups, component, f"__{component}_preflight")
        reach = registered(hostvars, groups, component, f"__{component}_wal", f"__{component}_log")
        if reach:
            found[component]["recovery_point"] = reach.get("recovery_point")
            found[component]["segments"] = (reach.get("plan") or {}).get("segments")
    replay = registered(hostvars, groups, "backup_store", "__postgresql_replay")
    found["postgresql"]["replay"] = replay.get("figures") or {}
    return plan_lines(found, chosen, objectives, dict(inputs))
