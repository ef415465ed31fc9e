# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The schedule's jobs, checked, with their command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._schedule import Runner, jobs_of

DOCUMENTATION = r"""
name: schedule_jobs
short_description: Check the schedule's jobs, and make their command lines
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Refuses a job that is malformed or names a playbook that is not there, and adds C(argv) to each.
positional: command, playbooks, inventories, arguments
options:
  _input:
    description: The jobs, as C(schedule_jobs) of the inventory.
    type: list
    elements: dict
    required: true
  command:
    description: Path of ansible-playbook.
    type: path
    required: true
  playbooks:
    description: Folder of the playbooks.
    type: path
    required: true
  inventories:
    description: Inventory sources.
    type: list
    elements: path
    required: true
  arguments:
    description: Further options of every command line.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the command lines
  ansible.builtin.debug:
    msg: "{{ schedule_jobs | platform3.recovery.schedule_jobs('/usr/bin/ansible-playbook', '/srv/plays', ['hosts']) }}"
"""

RETURN = r"""
_value:
  description: The jobs, each with all fields and C(argv).
  type: list
  elements: dict
"""


def schedule_jobs(
    jobs: Sequence[Mapping[str, Any]],
    command: str,
    playbooks: str,
    inventories: Sequence[str],
    arguments: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The jobs of the inventory, or AnsibleFilterError with what is wrong."""
    runner = Runner(command, playbooks, tuple(inventories), tuple(arguments))
    try:
        return jobs_of(jobs, runner, [path.name for path in Path(playbooks).glob("*.yml")])
    except RecoveryError as error:
        raise AnsibleFilterError(error.sentence()) from None


class FilterModule:
    """Names of the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"schedule_jobs": schedule_jobs}
