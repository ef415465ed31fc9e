#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_probe_info
short_description: Ask again and again whether the services that are left alone go on serving
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
description:
  - Asks the gateway's C(/health), and services at their own addresses, every O(interval_seconds), for as long as the
    file O(while_path) exists. Run it with C(async) and C(poll=0) beside a recovery, and remove the file at its end.
  - Says of each service how often it was asked, how often it answered well, and the longest time it did not.
extends_documentation_fragment:
  - platform3.recovery.services
options:
  stopped:
    description: Services that the recovery stops; they are not asked about.
    type: list
    elements: str
    default: []
  while_path:
    description: It asks for as long as this file exists.
    type: path
    required: true
  interval_seconds:
    description: From one round of questions to the next.
    type: float
    default: 0.5
  limit_seconds:
    description: It ends after so long in any case.
    type: float
    default: 3600
attributes:
  check_mode:
    description: Asks once.
    support: full
"""

EXAMPLES = r"""
- name: Probe the services that go on
  platform3.recovery.platform_probe_info:
    tiers: "{{ app_services_tiers }}"
    stopped: [analytics-service, market-data-service]
    gateway_url: http://127.0.0.1:3000
    while_path: /tmp/probe
  async: 3600
  poll: 0
  register: __probe
"""

RETURN = r"""
probes:
  description: By service, how often it was C(asked), how often it was C(well), and C(longest_seconds) not well.
  returned: success
  type: dict
  sample: {"trading-service": {"asked": 40, "well": 40, "longest_seconds": 0.0, "last": "ok"}}
"""

import os
import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import Gateway
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._watch import (
    SERVICES_ARGUMENTS,
    Watch,
    watched_services,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SERVICES_ARGUMENTS,
    "stopped": {"type": "list", "elements": "str", "default": []},
    "while_path": {"type": "path", "required": True},
    "interval_seconds": {"type": "float", "default": 0.5},
    "limit_seconds": {"type": "float", "default": 3600},
}


def probe(
    services: list[str],
    ask: Callable[[], dict[str, str]],
    go_on: Callable[[], bool],
    interval_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, dict[str, Any]]:
    """Ask at once and then every interval while go_on; ask gives the verdict on each service, "ok" where it is well."""
    probes: dict[str, dict[str, Any]] = {
        name: {"asked": 0, "well": 0, "longest_seconds": 0.0, "last": ""} for name in services
    }
    # Since when a service has not been well: since it last was.
    well_at = dict.fromkeys(services, clock())
    while True:
        began = clock()
        verdicts = ask()
        for name, one in probes.items():
            one["asked"] += 1
            one["last"] = verdicts.get(name, "unknown")
            if one["last"] == "ok":
                one["well"] += 1
                well_at[name] = began
            else:
                one["longest_seconds"] = round(max(one["longest_seconds"], clock() - well_at[name]), 3)
        if not go_on():
            return probes
        sleep(max(0.05, interval_seconds - (clock() - began)))


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    services = [name for name in watched_services(given["tiers"]) if name not in given["stopped"]]
    watch = Watch(Gateway(given["gateway_url"]), given["gateway_service"], given["health_urls"])
    deadline = time.monotonic() + given["limit_seconds"]

    def ask() -> dict[str, str]:
        watch.look(services)
        return watch.verdicts

    def go_on() -> bool:
        return not module.check_mode and os.path.exists(given["while_path"]) and time.monotonic() < deadline

    return {"changed": False, "probes": probe(services, ask, go_on, given["interval_seconds"])}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
