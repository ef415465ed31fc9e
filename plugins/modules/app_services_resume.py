#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: app_services_resume
short_description: Start the application services tier by tier, closed to customers
description:
  - Closes the platform to its customers, tells the gateway the recovery's epoch, then starts the tiers in order, and
    waits until the gateway's own C(/health), polled each 100 ms, says that every service is well.
  - Proves in the end that a customer is turned away with 503, or let in where the platform was not closed.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.services
attributes:
  check_mode:
    description: Shows what would be started.
    support: full
options:
  services:
    description: Those of the tiers that are started; all where it is left out.
    type: list
    elements: str
  closed:
    description:
      - Whether the platform is closed to its customers first. Not where they go on being served by services that were
        left alone, and what is started holds no trades.
    type: bool
    default: true
  close_argv:
    description: Command that closes the platform to all but the recovery's user.
    type: list
    elements: str
    required: true
  epoch_path:
    description: File that tells the gateway its epoch; written before anything is started.
    type: path
  timeout_seconds:
    description: How long all services may take to be well.
    type: int
    default: 90
"""

EXAMPLES = r"""
- name: resume | Start the services by tier
  platform3.recovery.app_services_resume:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    tiers:
      - {tier: critical, services: [trading-service, user-service, gateway]}
      - {tier: medium, services: [dashboard]}
    close_argv: [touch, /opt/platform3/control/maintenance]
    epoch_path: /opt/platform3/control/epoch
    gateway_url: http://127.0.0.1:3000
    health_urls:
      dashboard: http://127.0.0.1:8080/health
"""

RETURN = r"""
checks:
  description: Each service, and that customers are kept out.
  returned: always
  type: list
  elements: dict
parts:
  description: Seconds until each tier was well.
  returned: success
  type: dict
"""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    Compose,
    compose_of,
    last_line,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import POLL_SECONDS, Gateway, poll
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._watch import (
    SERVICES_ARGUMENTS,
    Watch,
    services_of,
    some_services,
    watched_services,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **SERVICES_ARGUMENTS,
    "services": {"type": "list", "elements": "str"},
    "closed": {"type": "bool", "default": True},
    "close_argv": {"type": "list", "elements": "str", "required": True},
    "epoch_path": {"type": "path"},
    "timeout_seconds": {"type": "int", "default": 90},
}
SWITCH_TIMEOUT_SECONDS = 10.0
CLOSED = "customers are kept out; the data is restored and unchanged by this step"
OPEN = "the data is restored and unchanged by this step; the services that were left alone go on serving"


def switch(argv: list[str]) -> None:
    """Run the inventory's command; RecoveryError PRC-801 where it does not end well."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        found = "" if done.returncode == 0 else last_line(done.stderr) or f"exit status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        found = str(error)
    if found:
        raise RecoveryError(
            "PRC-801",
            f"close the platform to customers ({' '.join(argv)})",
            found,
            "nothing was started",
            "mend platform_close_argv in the inventory",
        )


def write_epoch(path: str, epoch: int) -> None:
    """Tell the gateway its epoch, by rename, so that it never reads half a number."""
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(str(epoch))
    os.replace(f"{path}.new", path)


def start(compose: Compose, tiers: list[dict[str, Any]], watch: Watch, timeout_seconds: float) -> dict[str, float]:
    """Start the tiers in order and look until all are well or the time is up; seconds until each tier was well.

    A tier is started as soon as the one before runs, not when it is well: the engine and the services share the
    machine, and what comes first is given its start first.
    """
    began = time.monotonic()
    well_after: dict[str, float] = {}
    watched = [tier for tier in tiers if tier["watched"]]
    every = watched_services(tiers)
    with ThreadPoolExecutor(max_workers=1) as pool:
        starting = [pool.submit(compose.up, tier["services"]) for tier in tiers]
        while len(well_after) < len(watched) and time.monotonic() - began < timeout_seconds:
            for one in starting:
                if one.done():
                    one.result()
            watch.look(every)
            for tier in watched:
                if tier["tier"] not in well_after and watch.well(tier["services"]):
                    well_after[tier["tier"]] = round(time.monotonic() - began, 3)
            time.sleep(POLL_SECONDS)
        for one in starting:
            one.result()
    return well_after


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    compose, tiers = compose_of(given), given["tiers"]
    if given["services"] is not None:
        tiers = some_services(tiers, given["services"])
    every = services_of(tiers)
    if module.check_mode:
        return {"changed": True, "checks": [], "diff": {"before": "", "after": "\n".join(every) + "\n"}}
    if given["closed"]:
        switch(given["close_argv"])
    if given["epoch_path"]:
        write_epoch(given["epoch_path"], fence_of(module).epoch)
    Progress(given["progress_path"]).start("start the services", len(every), "services")
    watch = Watch(Gateway(given["gateway_url"]), given["gateway_service"], given["health_urls"])
    parts = start(compose, tiers, watch, given["timeout_seconds"])
    watched = watched_services(tiers)
    checks = [check(f"{name} is well", "app_services", "ok", watch.verdicts.get(name, "unknown")) for name in watched]
    wanted = 503 if given["closed"] else 401
    answer = poll(watch.gateway.admits_customers, lambda one: one.status == wanted, SWITCH_TIMEOUT_SECONDS)
    name = "customers are kept out" if given["closed"] else "customers are let in, as before"
    checks.append(check(name, "app_services", wanted, answer.status))
    require(
        checks,
        "PRC-802",
        "start the application services",
        CLOSED if given["closed"] else OPEN,
        "docker logs of the service that is named tells the cause",
    )
    return {"changed": True, "checks": checks, "parts": parts}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
