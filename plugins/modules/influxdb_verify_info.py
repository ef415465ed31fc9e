#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_verify_info
short_description: Compare a restored InfluxDB 2 with what its backup set must contain
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Compares points and field values of every bucket, exactly, and its newest point; deleted points that came back would
    show. Compares the ids of organisations, users, authorisations, buckets, tasks and dashboards.
  - Writes a marker into O(probe_bucket), reads it back and deletes it, because a server that only reads has not
    recovered. Asks with every given scoped token.
  - Fails when one of its checks is not good, with all of them in RV(checks).
extends_documentation_fragment:
  - platform3.recovery.step
options:
  url:
    description: Address of the server.
    type: str
    required: true
  token:
    description: The current operator token.
    type: str
    required: true
  organisation:
    description: Organisation that holds the protected buckets.
    type: str
    required: true
  content:
    description: The component's part of the set's manifest.
    type: dict
    required: true
  buckets:
    description: Buckets that must be among the compared ones.
    type: list
    elements: str
    default: []
  probe_bucket:
    description: Bucket that the marker is written to, measurement C(recovery_probe); empty for no marker.
    type: str
    default: ""
  scoped_tokens:
    description: Tokens of services by name, each of which must be accepted.
    type: dict
    default: {}
  exact:
    description:
      - Whether no more points may be found than the set records. V(false) where an earlier run of the recovery had put
        the data in place already, so that services may have filled in older points since; fewer are never accepted.
    type: bool
    default: true
  restored_whole:
    description: Whether the whole server was restored. Else only chosen buckets were, which were compared where they
      were written; it is proven that the server knows its tokens and takes a write.
    type: bool
    default: true
  streams:
    description: Questions asked at once.
    type: int
    default: 2
attributes:
  check_mode:
    support: full
    description: Is skipped, since nothing was restored.
"""

EXAMPLES = r"""
- name: verify | Compare points, newest times and metadata
  platform3.recovery.influxdb_verify_info:
    fence: "{{ recovery_fence }}"
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
    content: "{{ recovery_set.manifest.components.influxdb }}"
    buckets: [market-data, analytics]
    probe_bucket: analytics
"""

RETURN = r"""
checks:
  description: Everything that was compared.
  returned: always
  type: list
  elements: dict
newest_at:
  description: Newest point of each bucket, ISO 8601 in UTC.
  returned: success
  type: dict
heartbeat:
  description: The newest heartbeat that the recovered data holds, with C(number) and C(at). Of the buckets' the oldest;
    null where one of them has none.
  returned: success
  type: dict
recovery_point:
  description: The time of that heartbeat, where there is one.
  returned: success
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, require
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import organisation_id
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_verify import (
    compare_inventory,
    compare_points,
    newest_heartbeat,
    probe_tokens,
    probe_write,
)
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "organisation": {"type": "str", "required": True},
    "content": {"type": "dict", "required": True},
    "buckets": {"type": "list", "elements": "str", "default": []},
    "probe_bucket": {"type": "str", "default": ""},
    "scoped_tokens": {"type": "dict", "default": {}, "no_log": True},
    "exact": {"type": "bool", "default": True},
    "restored_whole": {"type": "bool", "default": True},
    "streams": {"type": "int", "default": 2},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given, content = module.params, module.params["content"]
    if module.check_mode:
        return {"changed": False, "skipped": True, "checks": [], "newest_at": {}}
    api = InfluxApi(given["url"], given["token"])
    organisation = organisation_id(content, given["organisation"])
    # Once services run, the newest heartbeat is theirs.
    exact, whole = given["exact"], given["restored_whole"]
    heartbeat = newest_heartbeat(api, organisation, given["buckets"]) if exact and whole else None
    checks: list[Check] = []
    newest: dict[str, Any] = {}
    if whole:
        checks, newest = compare_points(
            api, content, given["organisation"], given["buckets"], time.time_ns(), given["streams"], exact
        )
        checks += compare_inventory(content["inventory"], api.inventory())
    checks += probe_tokens(api, organisation, given["scoped_tokens"])
    if given["probe_bucket"]:
        checks += probe_write(api, content, given["organisation"], given["probe_bucket"])
    require(
        checks,
        "PRC-711",
        "verify the restored InfluxDB against its backup set",
        "the restored data is in its place and the old data in quarantine",
        "choose another backup set, or put the old data back (rollback.yml)",
    )
    found = {"heartbeat": heartbeat, **({"recovery_point": heartbeat["at"]} if heartbeat else {})}
    return {"changed": False, "checks": checks, "newest_at": newest, **found}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
