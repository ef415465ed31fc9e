#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_inventory_info
short_description: List the ids of what a running InfluxDB holds
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Lists organisations, users, authorisations, buckets, tasks and dashboards by their ids, as a backup set's manifest
    does. Compared with the newest set it tells what is gone since.
  - Changes nothing.
options:
  url:
    description: Address of the server.
    type: str
    required: true
  token:
    description: The operator token.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: find_moment | See which buckets there are now
  platform3.recovery.influxdb_inventory_info:
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
  register: __influxdb_now
"""

RETURN = r"""
at:
  description: The server's time just before it was asked (UTC).
  returned: success
  type: str
inventory:
  description: Ids by kind (C(organisations), C(users), C(authorisations), C(buckets), C(tasks), C(dashboards)).
  returned: success
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module

TIMEOUT_SECONDS = 10.0
ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    api = InfluxApi(module.params["url"], module.params["token"], TIMEOUT_SECONDS)
    try:
        return {"changed": False, "at": api.server_time(), "inventory": api.inventory()}
    finally:
        api.close()


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
