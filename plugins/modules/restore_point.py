#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point
short_description: Record a restore point of all datastores in the backup store
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes name, instant, position and timeline into one signed file of the store, whole or not at all. The second copy
    carries it.
  - PostgreSQL's own point was set before by M(platform3.recovery.postgresql_restore_point); Redis and InfluxDB have
    none, so that for them the instant counts.
  - A name is given once.
extends_documentation_fragment:
  - platform3.recovery.step
options:
  store_path:
    description: Folder of the backup store.
    type: path
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  name:
    description: Name of the point.
    type: str
    required: true
  at:
    description: Its instant, ISO 8601 with its offset, as PostgreSQL told it.
    type: str
    required: true
  lsn:
    description: The position behind PostgreSQL's point.
    type: str
    required: true
  timeline:
    description: The timeline that it lies on.
    type: int
    required: true
  segment:
    description: The WAL segment that holds it.
    type: str
    required: true
  by:
    description: Who set it.
    type: str
    required: true
  signing_key:
    description: OpenSSH private key that signs manifests too.
    type: str
    required: true
attributes:
  check_mode:
    description: Sees whether the name is free; writes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Backup | Record the restore point
  platform3.recovery.restore_point:
    fence: "{{ recovery_fence }}"
    store_path: /opt/platform3/backups
    environment_id: lab-0123456789ab
    name: before-release-7
    at: "2026-11-23T05:17:00.012345Z"
    lsn: 0/5000118
    timeline: 1
    segment: "000000010000000000000005"
    by: jane@controller
    signing_key: "{{ backup_set_signing_key }}"
"""

RETURN = r"""
point:
  description: What was recorded, C(name), C(at), C(lsn), C(timeline), C(segment), C(environment_id) and C(by).
  type: dict
  returned: success
path:
  description: The file.
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _restore_points
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import require_environment
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._restore_points import RestorePoint

FIELDS = ("name", "at", "lsn", "timeline", "segment", "environment_id", "by")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, sign, link."""
    given = module.params
    store = given["store_path"]
    require_environment(store, given["environment_id"])
    point = RestorePoint(**{name: given[name] for name in FIELDS})
    _restore_points.require_free(store, point.name)
    if not module.check_mode:
        _restore_points.write(store, point, given["signing_key"])
    path = _restore_points.path_of(store, point.name)
    told = {"before": "", "after": f"restore point {point.name} of all datastores at {point.at}\n"}
    return {"changed": True, "diff": told, "point": _restore_points.as_dict(point), "path": path}


def main() -> None:
    """Entry point."""
    arguments: dict[str, dict[str, Any]] = {
        **STEP_ARGUMENTS,
        "store_path": {"type": "path", "required": True},
        **{name: {"type": "str", "required": True} for name in FIELDS},
        "timeline": {"type": "int", "required": True},
        "signing_key": {"type": "str", "required": True, "no_log": True},
    }
    run_module(arguments, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
