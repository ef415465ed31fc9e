# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sandbox beside the running platform: what a human needs to choose between them."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._hostvars import registered
from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox import card, compare, promotion

DOCUMENTATION = r"""
name: sandbox_comparison
short_description: The sandbox beside the running platform
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Puts together what M(platform3.recovery.sandbox_figures_info) counted in the sandbox and in the running platform. A
    running server that does not answer has no figures; a sandbox that does not answer is a problem.
positional: groups, record
extends_documentation_fragment: [platform3.recovery.hostvars]
options:
  record:
    description: What the sandbox is, as it was recorded when it was made.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ (hostvars | platform3.recovery.sandbox_comparison(groups, record)).table }}"
"""

RETURN = r"""
_value:
  description: The lines for the terminal (C(table)), all of it as data (C(found)), and what stands against it
    (C(problems)).
  type: dict
"""


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"sandbox_comparison": sandbox_comparison}


def sandbox_comparison(hostvars: Any, groups: dict[str, list[str]], record: dict[str, Any]) -> dict[str, Any]:
    """Gather the figures by component, then lay them out."""
    compared: dict[str, Any] = {}
    problems = []
    for component in DATASTORES:
        running, there = (
            registered(hostvars, groups, component, f"__sandbox_figures_{name}") for name in ("running", "there")
        )
        if "figures" in there:
            compared[component] = compare(running.get("figures"), there["figures"])
        else:
            compared[component] = _reason(there)
            problems.append(f"{component}: {compared[component]}")
    found = {**record, "compared": compared, "take_over": promotion(record)}
    return {"table": card(record, compared), "found": found, "problems": problems}


def _reason(result: dict[str, Any]) -> str:
    return str((result.get("error") or {}).get("found") or result.get("msg") or "it was not asked")
