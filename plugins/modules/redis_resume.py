#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_resume
short_description: Let the append-only log of Redis be shipped again after a recovery
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Starts the service that ships the log into the backup store and waits until all that the log holds is there. What
    was restored begins a folder of its own, named after the recovery and its epoch; data that a rollback put back goes
    on in the folder it had.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  shipper_service:
    description: Compose service that ships the log.
    type: str
    required: true
  timeout_seconds:
    description: How long the first copy may take.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says whether the log is shipped; changes nothing.
"""

EXAMPLES = r"""
- name: resume | Let the log of Redis be shipped again
  platform3.recovery.redis_resume:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    shipper_service: aof-shipper
"""

RETURN = r"""
checks:
  description: That the log is in the store.
  type: list
  elements: dict
  returned: success
shipped:
  description: Folder and generation that are shipped.
  type: str
  returned: success
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    Compose,
    compose_of,
    docker,
    last_line,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module

POLL_SECONDS = 0.1
SHIPPING = "/sidecars/aof_shipper_healthy"


def shipped(compose: Compose, service: str) -> str:
    """Folder and generation that the service ships to; "" where it does not run or does not follow."""
    done = docker(compose.argv(["exec", "--no-TTY", service, SHIPPING]), check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def await_shipped(compose: Compose, service: str, timeout_seconds: int) -> str:
    """Start the service and wait for its first whole pass; PRC-623 where it does not get there."""
    docker(compose.argv(["rm", "--stop", "--force", service]))
    compose.up([service])
    deadline = time.monotonic() + timeout_seconds
    while not (found := shipped(compose, service)):
        if time.monotonic() > deadline:
            logs = docker(compose.argv(["logs", "--no-color", "--no-log-prefix", "--tail", "5", service]), check=False)
            raise RecoveryError(
                "PRC-623",
                "let the append-only log of Redis be shipped again",
                last_line(logs.stdout).removeprefix("\x1b[2K").rstrip(".")
                or f"the first copy was not made within {timeout_seconds} s",
                "the restored data is in place and serves, but a loss now costs what is written after the last backup",
                f"mend the cause, which docker compose logs {service} names",
            )
        time.sleep(POLL_SECONDS)
    return found


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: see whether it follows, start it where it does not."""
    given = module.params
    compose, service = compose_of(given), given["shipper_service"]
    before = shipped(compose, service)
    after = before
    if not before:
        after = (
            "the life of the data" if module.check_mode else await_shipped(compose, service, given["timeout_seconds"])
        )
    return {
        "changed": not before,
        "shipped": after,
        "diff": {"before": f"shipped: {before or 'nothing'}\n", "after": f"shipped: {after}\n"},
        "checks": [] if module.check_mode else [check("the append-only log is shipped", "redis", after, after)],
    }


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "shipper_service": {"type": "str", "required": True},
            "timeout_seconds": {"type": "int", "default": 60},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
