#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_replay_info
short_description: Find out how fast recoveries have replayed WAL
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the journals in the state folder. The slowest of the newest recoveries that replayed enough to tell counts.
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
- name: Find out how fast WAL is replayed
  platform3.recovery.postgresql_replay_info:
    state_path: /opt/platform3/recovery
  register: __postgresql_replay
"""

RETURN = r"""
measurements:
  description: Of each recovery its C(recovery_id), C(bytes), C(seconds) and C(other_seconds), oldest first.
  type: list
  elements: dict
  returned: success
figures:
  description: The C(bytes_per_second) and C(other_seconds) to count on, null where not measured; how many C(counted).
  type: dict
  returned: success
"""

import contextlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._replay import COUNTED, measurement, replay_figures

ARGUMENTS: dict[str, dict[str, Any]] = {"state_path": {"type": "path", "required": True}}
# Journals are read newest first; older ones than these cannot count.
LOOKED_AT = 4 * COUNTED


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: read, compute."""
    # Backups have journals as well, one a minute at times.
    journals = [
        path for path in Path(module.params["state_path"]).glob("*/journal.jsonl") if "backup-" not in path.parent.name
    ]
    paths = sorted(journals, key=lambda path: path.stat().st_mtime)
    found = []
    for path in paths[-LOOKED_AT:]:
        # A journal that cannot be read measures nothing, and must not hold up a recovery.
        with contextlib.suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            one = measurement(path.parent.name, parse(text)) if "replayed_bytes" in text else None
            found += [one] if one else []
    return {"changed": False, "measurements": found, "figures": replay_figures(found)}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
