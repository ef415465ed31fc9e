#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: app_services_open
short_description: Open the platform to its customers
description:
  - Runs the command that opens the platform, then proves that the gateway judges a customer's login again instead of
    turning everybody away with 503.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
attributes:
  check_mode:
    description: Opens nothing.
    support: full
options:
  open_argv:
    description: Command that opens the platform.
    type: list
    elements: str
    required: true
  gateway_url:
    description: Address of the gateway.
    type: str
    required: true
  timeout_seconds:
    description: How long the gateway may take to notice.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: validate | Open the platform to its customers
  platform3.recovery.app_services_open:
    fence: "{{ recovery_fence }}"
    open_argv: [rm, --force, /opt/platform3/control/maintenance]
    gateway_url: http://127.0.0.1:3000
"""

RETURN = r"""
checks:
  description: That customers are let in.
  returned: always
  type: list
  elements: dict
opened_at:
  description: When the gateway first judged a customer's login (UTC).
  returned: success
  type: str
"""

import subprocess
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import Gateway, poll
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "open_argv": {"type": "list", "elements": "str", "required": True},
    "gateway_url": {"type": "str", "required": True},
    "timeout_seconds": {"type": "int", "default": 10},
}
VALIDATED = "the platform is restored and validated, but still closed to customers"


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "checks": [], "diff": {"before": "closed\n", "after": "open\n"}}
    argv = given["open_argv"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        found = "" if done.returncode == 0 else last_line(done.stderr) or f"exit status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        found = str(error)
    if found:
        raise RecoveryError(
            "PRC-803",
            f"open the platform to customers ({' '.join(argv)})",
            found,
            VALIDATED,
            "mend platform_open_argv in the inventory",
        )
    answer = poll(
        Gateway(given["gateway_url"]).admits_customers, lambda one: one.status == 401, given["timeout_seconds"]
    )
    checks = require(
        [
            check(
                "a customer's login is judged, not turned away",
                "app_services",
                "401",
                answer.shown(),
                ok=answer.status == 401,
            )
        ],
        "PRC-804",
        "open the platform to customers",
        VALIDATED,
        "see why the gateway still turns customers away (its /health tells)",
    )
    opened_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"changed": True, "checks": checks, "opened_at": opened_at}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
