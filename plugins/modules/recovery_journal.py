#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_journal
short_description: Write down in the journal what a step could not write itself
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - For the rescue of a component's block. Steps journal their own failure; this adds the failure of any other task, so
    that no failure is lost and the report names it.
  - Works on the controller and through the connection of the host in group C(backup_store); no module is sent.
options:
  fence:
    description: Recovery id and epoch as given by M(platform3.recovery.recovery_lock).
    type: dict
    required: true
  phase:
    description: Phase that the entry belongs to.
    type: str
    required: true
  component:
    description: Component that the entry belongs to.
    type: str
    required: true
  name:
    description: Name of the task that failed.
    type: str
    required: true
  failure:
    description: Result of the task that failed (C(ansible_failed_result)). One that a step has journalled is left out.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Nothing is written in check mode; the task fails instead, so that the run does not end well.
"""

EXAMPLES = r"""
- name: Write the failure down
  platform3.recovery.recovery_journal:
    fence: "{{ recovery_fence }}"
    phase: restore
    component: redis
    name: "{{ ansible_failed_task.name }}"
    failure: "{{ ansible_failed_result }}"
"""

RETURN = r"""
journalled:
  description: Whether an entry was written.
  type: bool
  returned: always
"""
