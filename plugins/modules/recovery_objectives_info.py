#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_objectives_info
short_description: Recovery times and data loss of a recovery against their objectives
version_added: 0.1.0
description:
  - Reads the journal of a recovery on the host that keeps the state, and computes from it how long each component took,
    how much data was lost, and the verdicts.
  - Can be asked at any time, during a recovery too.
author: Platform3 (@platform3)
attributes:
  check_mode:
    description: Can run in check mode; it changes nothing.
    support: full
options:
  state_path:
    description: Folder that holds the state of recoveries, a folder each.
    type: path
    required: true
  recovery_id:
    description: The recovery to judge.
    type: str
    required: true
  objectives:
    description:
      - Targets in seconds. C(rto) holds C(target_seconds) and C(maximum_seconds) by C(complete_system), C(postgresql),
        C(redis), C(influxdb) and C(app_services).
      - C(rpo) holds C(target_seconds) and C(component) by C(trading_transactions), C(market_data), C(user_sessions),
        C(configuration) and C(analytics_data).
    type: dict
    required: true
  incident_at:
    description:
      - When the data was lost, ISO 8601 with an offset. What the journal's first run was told where left out.
      - Without it data loss and downtime are not measured.
    type: str
  components:
    description: What had to come back. What the journal's first run was told where left out.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: report | Judge times and data loss
  platform3.recovery.recovery_objectives_info:
    state_path: /opt/platform3/recovery
    recovery_id: 20261123T051700Z-full
    incident_at: "2026-11-23T05:16:40Z"
    objectives:
      rto:
        postgresql:
          target_seconds: 300
          maximum_seconds: 600
      rpo:
        trading_transactions:
          target_seconds: 60
          component: postgresql
  register: __recovery_objectives
"""

RETURN = r"""
rto:
  description:
    - For the complete system and each component C(seconds), C(target_seconds), C(maximum_seconds) and the C(verdict)
      met, late, missed or not_measured.
  type: dict
  returned: success
  sample:
    postgresql: {seconds: 41.2, target_seconds: 300, maximum_seconds: 600, verdict: met}
rpo:
  description:
    - For each type of data C(seconds), which is lost at most, C(target_seconds), the C(verdict) met, missed
      or not_measured, and the C(recovery_point).
  type: dict
  returned: success
  sample:
    trading_transactions: {seconds: 0.4, target_seconds: 60, verdict: met, recovery_point: "2026-11-23T05:16:39.600Z"}
downtime_seconds:
  description: From the incident until customers were let in; null while they are out.
  type: float
  returned: success
components:
  description: The state of each component, verified, failed, unfinished, incomplete or not_started.
  type: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._input_forms import instant
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import ALL_COMPONENTS
from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    component_state,
    parse,
    read_history,
    told_at_start,
)
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import clock, read_journal
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._objectives import (
    downtime_seconds,
    recovery_losses,
    recovery_times,
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read the journal, compute."""
    given = module.params
    text = read_journal(given["state_path"], given["recovery_id"]).decode("utf-8", "replace")
    history = read_history(parse(text), clock())
    told = told_at_start(history)
    components = given["components"] or told.get("components") or ALL_COMPONENTS
    incident_at = normal_instant(given["incident_at"] or told.get("incident_at"))
    return {
        "changed": False,
        "rto": recovery_times(history, given["objectives"], components),
        "rpo": recovery_losses(history, given["objectives"], normal_instant(told.get("target_time")) or incident_at),
        "downtime_seconds": downtime_seconds(history, incident_at),
        "components": {name: component_state(history, name) for name in components if name != "app_services"},
    }


def normal_instant(given: object) -> str | None:
    """An instant in UTC, None for none. RecoveryError PRC-102 where it is none."""
    try:
        return instant(given) if given else None
    except ValueError as error:
        raise RecoveryError(
            "PRC-102", "read incident_at", str(error), "nothing was changed by this", "correct incident_at"
        ) from None


def main() -> None:
    """Entry point."""
    run_module(
        {
            "state_path": {"type": "path", "required": True},
            "recovery_id": {"type": "str", "required": True},
            "objectives": {"type": "dict", "required": True},
            "incident_at": {"type": "str"},
            "components": {"type": "list", "elements": "str"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
