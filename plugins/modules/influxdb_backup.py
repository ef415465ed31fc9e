#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_backup
short_description: Back up an InfluxDB 2 over HTTP into a backup set
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes the metadata (bolt, sqlite, bucket manifest) and one archive a shard, of all buckets of all organisations,
    with their tombstones, so that deleted points stay deleted. Shards come in parallel and without gzip, because they
    are compressed already.
  - Counts each shard's points up to a moment that lies O(settle_seconds) back, before and after its archive is taken.
    Where both agree, the figure is exact for the archive although writes go on; where they do not, the shard is taken
    again with a moment four times further back, four times at most.
  - Compares the newest point in each archive with the newest that the server knew before. A warning of the server, or a
    shard without an archive, is a failure.
extends_documentation_fragment:
  - platform3.recovery.step
options:
  url:
    description: Address of the server.
    type: str
    required: true
  token:
    description: Operator token.
    type: str
    required: true
  organisation:
    description: Organisation that holds the protected buckets.
    type: str
    required: true
  buckets:
    description: Buckets that must be there and hold points, else the backup fails. Others are backed up too.
    type: list
    elements: str
    default: []
  set_path:
    description: Folder of the set being written.
    type: path
    required: true
  container:
    description: Container of the server. Its log is read for the warning that a shard was copied without its cache.
    type: str
  settle_seconds:
    description: How far back points may still arrive; later ones make the backup look further back.
    type: float
    default: 60
  streams:
    description: Shards copied at once.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
    description: Writes nothing.
"""

EXAMPLES = r"""
- name: backup | Copy the metadata and all shards
  platform3.recovery.influxdb_backup:
    fence: "{{ recovery_fence }}"
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
    buckets: [market-data, analytics]
    set_path: "{{ backup_set.path }}"
    container: forex-influxdb
"""

RETURN = r"""
artefacts:
  description: Record of each file for the set's manifest.
  returned: success
  type: list
  elements: dict
content:
  description:
    - The component's part of the set's manifest. V(recovery_point) is the moment before which every acknowledged write
      is in the backup; V(buckets) and V(shards) hold exact figures; V(inventory) the ids of organisations, users,
      authorisations, buckets, tasks and dashboards; V(operator_token) what recognises the operator's token.
  returned: success
  type: dict
bytes:
  description: Bytes written.
  returned: success
  type: int
parts:
  description: Seconds of each part.
  returned: success
  type: dict
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_capture import Capture, require_buckets
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "organisation": {"type": "str", "required": True},
    "buckets": {"type": "list", "elements": "str", "default": []},
    "set_path": {"type": "path", "required": True},
    "container": {"type": "str"},
    "settle_seconds": {"type": "float", "default": 60.0},
    "streams": {"type": "int", "default": 3},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "artefacts": [], "content": {}, "bytes": 0, "parts": {}}
    # The metadata holds every token in clear.
    os.umask(0o077)
    began = time.monotonic()
    api = InfluxApi(given["url"], given["token"])
    version = api.version().lstrip("v")
    recovery_point = iso(time.time_ns() // 1_000_000 * 1_000_000)
    capture = Capture(
        api,
        given["set_path"],
        Progress(given["progress_path"]),
        streams=given["streams"],
        settle_seconds=given["settle_seconds"],
        container=given["container"],
    )
    capture.run()
    content = capture.content(version, recovery_point, given["token"])
    require_buckets(content, given["organisation"], given["buckets"])
    artefacts = capture.artefacts(version)
    return {
        "changed": True,
        "artefacts": artefacts,
        "content": content,
        "bytes": sum(artefact["bytes"] for artefact in artefacts),
        "parts": {"copy": round(time.monotonic() - began, 3)},
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
