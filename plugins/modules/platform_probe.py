#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_probe
short_description: Ask again and again whether the services that are left alone go on serving
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
description:
  - With O(state=started) it begins, in a process of its own that goes on behind the module, to ask the gateway's
    C(/health), and services at their own addresses, every O(interval_seconds). Where an earlier run of this recovery
    has begun that, it goes on.
  - With O(state=ended) it asks once more, ends that, and says of each service how often it was asked, how often it
    answered well, and the longest time it did not.
  - What goes on is known by a file in the user's home, named after O(recovery_id).
extends_documentation_fragment:
  - platform3.recovery.services
options:
  state:
    description: Whether to begin or to end.
    type: str
    choices: [started, ended]
    required: true
  recovery_id:
    description: Id of the recovery.
    type: str
    required: true
  stopped:
    description: Services that the recovery stops; they are not asked about.
    type: list
    elements: str
    default: []
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
    description: Nothing is begun, and nothing found.
    support: full
"""

EXAMPLES = r"""
- name: Probe the services that go on
  platform3.recovery.platform_probe:
    state: started
    recovery_id: "{{ recovery_fence.recovery_id }}"
    tiers: "{{ app_services_tiers }}"
    stopped: [analytics-service, market-data-service]
    gateway_url: http://127.0.0.1:3000
"""

RETURN = r"""
probes:
  description:
    - By service, how often it was C(asked), how often it was C(well), and C(longest_seconds) not well. All of these are
      0 where nothing was heard of whoever asked, and C(last) says why.
  returned: success
  type: dict
  sample: {"trading-service": {"asked": 40, "well": 40, "longest_seconds": 0.0, "last": "ok"}}
"""

import os
import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._background import Going, end, start
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import CALL_TIMEOUT_SECONDS, Gateway
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._watch import (
    SERVICES_ARGUMENTS,
    Watch,
    watched_services,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SERVICES_ARGUMENTS,
    "state": {"type": "str", "choices": ["started", "ended"], "required": True},
    "recovery_id": {"type": "str", "required": True},
    "stopped": {"type": "list", "elements": "str", "default": []},
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


def left_alone(given: dict[str, Any]) -> list[str]:
    """The services that are asked about."""
    return [name for name in watched_services(given["tiers"]) if name not in given["stopped"]]


def ask_until_ended(given: dict[str, Any], going: Going) -> dict[str, dict[str, Any]]:
    """What the worker does and finds."""
    services = left_alone(given)
    watch = Watch(Gateway(given["gateway_url"]), given["gateway_service"], given["health_urls"])

    def ask() -> dict[str, str]:
        watch.look(services)
        return watch.verdicts

    return probe(services, ask, going, given["interval_seconds"], sleep=going.sleep)


def path_of(given: dict[str, Any]) -> str:
    """The file that this recovery's probes are known by. In the home: what lies in /tmp others may have put there."""
    return os.path.expanduser(f"~/.platform3-probe-{given['recovery_id']}")


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    nothing: dict[str, Any] = {"changed": False, "probes": {}}
    if module.check_mode:
        return nothing
    path = path_of(given)
    if given["state"] == "started":
        try:
            start(path, lambda going: ask_until_ended(given, going), given["limit_seconds"])
        except OSError as error:
            raise RecoveryError(
                "PRC-807",
                f"have the services that are left alone probed ({path})",
                str(error),
                "nothing was changed",
                "make room in that folder and have it writable, then run the same command again",
            ) from None
        return nothing
    # Two rounds of questions: the one that is under way, and the last; each service may let one wait.
    rounds = 2 * CALL_TIMEOUT_SECONDS * (1 + len(given["health_urls"]))
    # Data is back by now: that nobody knows how others were meanwhile is said, and keeps no customer out.
    found, reason = None, "its probes ended without a result"
    try:
        found = end(path, rounds + 5)
    except OSError as error:
        reason = str(error)
    unheard = {"asked": 0, "well": 0, "longest_seconds": 0.0, "last": reason}
    return nothing | {"probes": dict.fromkeys(left_alone(given), unheard) if found is None else found}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
