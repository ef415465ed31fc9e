#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The code is in plugins/action/recovery_inputs.py: it runs on the controller only.

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_inputs
short_description: Check and normalise every input before any host is touched
version_added: 0.1.0
description:
  - Compares every extra variable, and every inventory variable that begins as one of ours, with the union of the known
    inputs (argument specs and defaults of the roles, and a table), and names the nearest for one that is unknown.
  - Checks that the groups of the platform have one host each, that no option of the command line goes around guard and
    lock, and that the environment's name was repeated.
  - Lists everything that is wrong at once.
  - Runs on the controller only; no connection is made.
author: Platform3 (@platform3)
attributes:
  check_mode:
    description: The same in any mode.
    support: full
options:
  scenario:
    description: What is to be done.
    type: str
    choices:
      - full
      - partial
      - point_in_time
      - drill
      - backup
      - abandon
      - rollback
      - release_quarantine
      - restore_secrets
      - schedule
      - catalog
      - verify_backups
      - expire_backups
      - condemn
      - wal_stream
      - find_moment
      - exposure
      - second_copy_keys
      - restore_point
      - recovery_window
    default: full
  environment:
    description: Name of the environment; O(confirm) compares C(recovery_confirm) with it.
    type: str
    required: true
  confirm:
    description: Whether C(recovery_confirm) is needed.
    type: bool
    default: true
  groups:
    description: Groups that must have exactly one host.
    type: list
    elements: str
    default: [postgresql, redis, influxdb, app_services, backup_store]
"""

EXAMPLES = r"""
- name: assess | Check and normalise every input
  platform3.recovery.recovery_inputs:
    scenario: full
    environment: "{{ recovery_environment }}"
    confirm: true
  register: __recovery_inputs
"""

RETURN = r"""
inputs:
  description:
    - Every input in its normal form, null or its default where it was not given. Times are UTC, components a list.
    - C(recovery_parts) holds, by datastore, what was given about chosen parts of it (tables, keys); empty where none.
    - C(recovery_id) is made from time and scenario where none was given. C(recovery_report_dir) is absolute.
    - C(recovery_wal_target) is the LSN or transaction that was given, as C(kind) and C(value), or empty.
  type: dict
  returned: success
  sample:
    recovery_id: 20261123T051700Z-full
    incident_id: INC-4711
    incident_at: "2026-11-23T05:16:40.000Z"
    recovery_backup_set: latest
    recovery_components: [postgresql, redis, influxdb, app_services]
hosts:
  description: The host of each group.
  type: dict
  returned: success
started_epoch:
  description: When the command was started, in seconds since 1970.
  type: float
  returned: success
error:
  description: What is wrong, all of it.
  type: dict
  returned: failure
"""
