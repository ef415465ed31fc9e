#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_operations_info
short_description: List the recoveries, rollbacks, releases and expiries that were at work around a time
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the journals in the state folder. Backups and restore points, which take nothing away, are left out.
  - Takes no lock and changes nothing.
extends_documentation_fragment: [platform3.recovery.span]
options:
  state_path:
    description: State folder (C(recovery_state_path)).
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: See what was done around the time
  platform3.recovery.recovery_operations_info:
    state_path: /opt/platform3/recovery
    around: "2026-11-23T14:30:00+00:00"
  register: __recovery_moments
"""

RETURN = r"""
events:
  description: Runs in order of time.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its C(recovery_id).
      type: str
    scenario:
      description: What was done, such as V(point_in_time), V(rollback), V(release_quarantine), V(expire_backups).
      type: str
    by:
      description: Who did it.
      type: str
    at:
      description: When it began (UTC).
      type: str
    until:
      description: When it ended; null where no end is recorded.
      type: str
    outcome:
      description: How it ended; null where no end is recorded.
      type: str
    next_run_at:
      description: When the next run under the same id began; null for the last.
      type: str
searched:
  description: How many C(journals) were read, those that were written to since the beginning of that time.
  returned: success
  type: list
  elements: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import recoveries
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._operations import operations_of
from ansible_collections.platform3.recovery.plugins.module_utils._span import SPAN_ARGUMENTS, reach_of
from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state_path": {"type": "path", "required": True},
    **SPAN_ARGUMENTS,
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, select."""
    given = module.params
    try:
        middle, reach = parse_iso(given["around"]), reach_of(given)
    except ValueError as error:
        attempted = f"look for operations around {given['around']}"
        raise RecoveryError("PRC-102", attempted, str(error), "nothing was changed", "correct it") from None
    state = given["state_path"]
    paths = {one: os.path.join(state, one, "journal.jsonl") for one in recoveries(state)}
    # Increments have journals as well, one a minute: what was written before the time says nothing of it.
    journals = {one: read_text(path) for one, path in paths.items() if os.stat(path).st_mtime >= middle - reach}
    events = operations_of(journals, middle - reach, middle + reach)
    return {"changed": False, "events": events, "searched": [{"journals": len(journals)}]}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
