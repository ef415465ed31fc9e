# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The services that stop while some components are brought back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES

DOCUMENTATION = r"""
name: services_to_stop
short_description: The services that stop while some components are brought back
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - All services where the application services themselves are brought back, else those that depend on what is.
  - Where nothing is said of a datastore, every service is taken to depend on it.
positional: dependents, components
options:
  _input:
    description: Services by tier, in the order in which they come back.
    type: list
    elements: dict
    required: true
  dependents:
    description: The services that depend on a datastore, by datastore.
    type: dict
    required: true
  components:
    description: The components that are brought back.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what stops
  ansible.builtin.debug:
    msg: "{{ app_services_tiers | platform3.recovery.services_to_stop({'redis': []}, ['redis']) }}"
"""

RETURN = r"""
_value:
  description: Names of services, in the order in which they come back.
  type: list
  elements: str
"""


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"services_to_stop": services_to_stop}


def services_to_stop(
    tiers: Sequence[Mapping[str, Any]], dependents: Mapping[str, Sequence[str]], components: Sequence[str]
) -> list[str]:
    """As the documentation says."""
    every = [service for tier in tiers for service in tier["services"]]
    unknown = [name for name in DATASTORES if name in components and dependents.get(name) is None]
    if "app_services" in components or unknown:
        return every
    stopped = {service for name in components for service in dependents.get(name) or ()}
    return [service for service in every if service in stopped]
