#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_exposure_info
short_description: Measure what would be lost if the platform were lost now
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - For each type of data, the age of the newest point that could be brought back, against its target. By what the
    backup store really holds, WAL and the shipped log of Redis among it, never by what a server says of its backups.
  - Once for volumes that are gone, once for the whole machine.
  - It is no judge; what is past its target, and heartbeats that stopped, are in RV(problems).
extends_documentation_fragment:
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
  - platform3.recovery.compose
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  objectives:
    description: Targets by type of data (C(rpo)), and which component holds it.
    type: dict
    required: true
  redis_log_path:
    description: Folder of Redis' shipped log; left out where none is shipped.
    type: path
  off_machine:
    description:
      - Whether the loss of the whole machine counts. With V(none) there is no copy elsewhere, and that is accepted; it
        is shown, and is no failure.
    type: str
    choices: [required, none]
    default: required
  second_copy:
    description: Whether there is a second copy off this machine. Its shipper's record is read in the state folder.
    type: bool
    default: false
  second_copy_seconds:
    description: How old the newest good pass of the second copy may be.
    type: float
    default: 60
  textfile_path:
    description: File for the textfile collector of Prometheus' node exporter, written by rename.
    type: path
attributes:
  check_mode:
    description: Measures, and does not write O(textfile_path).
    support: full
"""

EXAMPLES = r"""
- name: Measure what would be lost now
  platform3.recovery.backup_exposure_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
    redis_log_path: /opt/platform3/backups/aof
    objectives: "{{ recovery_objectives }}"
"""

RETURN = r"""
exposures:
  description: Each with C(loss) (volumes, machine), C(data), C(component), C(seconds), C(target_seconds), C(verdict),
    C(point).
  returned: success
  type: list
  elements: dict
problems:
  description: What is past its target, and what else is wrong; empty where all is well.
  returned: success
  type: list
  elements: str
table:
  description: All of it as lines for a terminal.
  returned: success
  type: list
  elements: str
"""

import glob
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _exposure as exposure
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import gap_sentence
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import read_log
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import STATE_PATH, parse_state, points
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import problems as copy_problems
from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text
from ansible_collections.platform3.recovery.plugins.module_utils._store_reach import (
    REACH_ARGUMENTS,
    StoreReach,
    reach_of_store,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

# Journals of the newest backups: more than a day of them, where one is made each minute.
JOURNALS = 2000


def newest_points(reach: StoreReach, state_path: str) -> dict[str, str | None]:
    """The newest instant of each component that the store brings back; None where it does not."""
    points = {name: str(window["latest"]) if window else None for name, window in reach.windows.items()}
    if points["configuration"]:
        looked = exposure.configuration_looked_at(journals(state_path))
        points["configuration"] = exposure.newest(points["configuration"], looked)
    return points


def journals(state_path: str) -> list[str]:
    """The journals of the newest backups."""
    texts = []
    for path in sorted(glob.glob(os.path.join(glob.escape(state_path), "backup-*", "journal.jsonl")))[-JOURNALS:]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return texts


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, compare, tell."""
    given = module.params
    reach = reach_of_store(given)
    now = time.time()
    copied = parse_state(read_text(os.path.join(given["state_path"], STATE_PATH))) if given["second_copy"] else None
    stored = newest_points(reach, given["state_path"])
    records = exposure.exposures(given["objectives"], {"volumes": stored, "machine": points(stored, copied)}, now)
    counted = exposure.LOSSES if given["off_machine"] == "required" else ("volumes",)
    problems = [*reach.problems, *exposure.problems(records, counted)]
    problems += [gap_sentence(one) for one in reach.gaps if one["to"] is None]
    problems += copy_problems(copied, now, given["second_copy_seconds"]) if given["second_copy"] else []
    beat = exposure.heartbeat_problem(read_log(given["state_path"]), now)
    problems += [beat] if beat else []
    if given["textfile_path"] and not module.check_mode:
        text = exposure.textfile(records, problems, given["environment"], now)
        write_durable(f"{given['textfile_path']}.new", text.encode())
        os.replace(f"{given['textfile_path']}.new", given["textfile_path"])
    lines = exposure.table(records, problems, given["environment"], to_iso(now))
    return {"changed": False, "exposures": records, "problems": problems, "table": lines}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **REACH_ARGUMENTS,
            "environment": {"type": "str", "required": True},
            "objectives": {"type": "dict", "required": True},
            "off_machine": {"type": "str", "choices": ["required", "none"], "default": "required"},
            "second_copy": {"type": "bool", "default": False},
            "second_copy_seconds": {"type": "float", "default": 60},
            "textfile_path": {"type": "path"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
