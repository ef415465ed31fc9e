#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The code is in plugins/action/recovery_report_copy.py: it writes on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_report_copy
short_description: Bring the report of a recovery to the controller
version_added: 0.1.0
description:
  - Copies the files that M(platform3.recovery.recovery_report) wrote to a folder on the controller, compares their
    digests, and points the link C(latest) at them.
author: Platform3 (@platform3)
attributes:
  check_mode:
    description: Copies nothing.
    support: full
options:
  recovery_id:
    description: Id of the recovery.
    type: str
    required: true
  path:
    description: Folder on the host that holds the files.
    type: str
    required: true
  files:
    description: Names and digests of the files, as M(platform3.recovery.recovery_report) returns them.
    type: list
    elements: dict
    required: true
  dest:
    description: Folder on the controller. A relative one is taken against the folder the command was started in.
    type: str
    default: reports
"""

EXAMPLES = r"""
- name: report | Bring the report to the controller
  platform3.recovery.recovery_report_copy:
    recovery_id: "{{ recovery_fence.recovery_id }}"
    path: "{{ __recovery_report.path }}"
    files: "{{ __recovery_report.files }}"
    dest: "{{ recovery_inputs.recovery_report_dir }}"
"""

RETURN = r"""
dest:
  description: Folder on the controller that holds the copies.
  type: str
  returned: success
latest:
  description: The link that points at it.
  type: str
  returned: success
"""
