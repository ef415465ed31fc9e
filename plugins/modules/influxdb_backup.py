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
  - After a O(parent) copies only what changed. A shard with the same files and nothing in memory is taken over with its
    figures; of the others the server is asked for the files that are newer than the parent, and the list of all live
    files is kept. A shard is taken whole where it is new, or where a live file is neither in the new archive nor
    unchanged since the parent. All are taken whole where the volume's epoch or the server's version is not the
    parent's, where the files cannot be listed, and where the chain has reached its bounds.
  - Leaves out shards that are past their bucket's retention.
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
    description:
      - Container of the server. Its log is read for the warning that a shard was copied without its cache, and its
        files are listed. Without it nothing can be made after a parent.
    type: str
  parent:
    description: What the set that this increment is made after holds of InfluxDB, C(chain) and C(content), as
      M(platform3.recovery.backup_manifest) gives it. Empty for a full backup.
    type: dict
    default: {}
  chain_max_increments:
    description: After so many increments all shards are taken whole.
    type: int
    default: 60
  chain_max_age_seconds:
    description: As long after the first set of a chain all shards are taken whole.
    type: float
    default: 86400
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
    parent: "{{ backup_set.parents.influxdb | default({}) }}"
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
      authorisations, buckets, tasks and dashboards; V(operator_token) what recognises the operator's token; V(deletes)
      how often the server was asked to delete points.
  returned: success
  type: dict
chain:
  description: Ids of the sets that a restore reads, oldest first; this one is the last.
  returned: success
  type: list
  elements: str
shards:
  description: How many shards were taken C(full), as C(increment), and C(unchanged) over from the parent.
  returned: success
  type: dict
whole_because:
  description: Why no shard could go on from the parent; empty where they could, and without a parent.
  returned: success
  type: str
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
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import (
    Bounds,
    chain_after,
    deletes_record,
    prepare,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import INCOMPLETE_SUFFIX
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
    "parent": {"type": "dict", "default": {}},
    "chain_max_increments": {"type": "int", "default": 60},
    "chain_max_age_seconds": {"type": "float", "default": 86400.0},
    "settle_seconds": {"type": "float", "default": 60.0},
    "streams": {"type": "int", "default": 3},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    if module.check_mode:
        nothing = {"chain": [], "shards": {}, "whole_because": "", "bytes": 0, "parts": {}}
        return {"changed": True, "artefacts": [], "content": {}, **nothing}
    # The metadata holds every token in clear.
    os.umask(0o077)
    began = time.monotonic()
    api = InfluxApi(given["url"], given["token"])
    version = api.version().lstrip("v")
    set_id = os.path.basename(given["set_path"].rstrip("/")).replace(INCOMPLETE_SUFFIX, "")
    parent = given["parent"] or None
    server_at = api.server_time()
    before = api.deletes()
    recovery_point = iso(time.time_ns() // 1_000_000 * 1_000_000)
    bounds = Bounds(given["chain_max_increments"], given["chain_max_age_seconds"])
    increments, instance, whole_because = prepare(parent, given["container"], version, time.time(), bounds)
    capture = Capture(
        api,
        given["set_path"],
        Progress(given["progress_path"]),
        streams=given["streams"],
        settle_seconds=given["settle_seconds"],
        container=given["container"],
        set_id=set_id,
        increments=increments,
    )
    capture.run()
    chain = chain_after(parent["chain"] if parent else (), set_id, capture.records.values())
    content = {
        **capture.content(version, recovery_point, given["token"]),
        "instance": instance,
        "server_at": server_at,
        "deletes": deletes_record(before, api.deletes()),
        "chain_began_at": parent["content"]["chain_began_at"] if parent and len(chain) > 1 else server_at,
    }
    require_buckets(content, given["organisation"], given["buckets"])
    artefacts = capture.artefacts(version)
    return {
        "changed": True,
        "artefacts": artefacts,
        "content": content,
        "chain": chain,
        "shards": counted(content["shards"], set_id),
        "whole_because": whole_because,
        "bytes": sum(artefact["bytes"] for artefact in artefacts),
        "parts": {"copy": round(time.monotonic() - began, 3)},
    }


def counted(records: list[dict[str, Any]], set_id: str) -> dict[str, int]:
    """How many shards were taken in which way; those that were never written to count as none."""
    kinds = [
        one["base"] if one["archives"][-1] == set_id else "unchanged" for one in records if one["artefact"] is not None
    ]
    return {kind: kinds.count(kind) for kind in ("full", "increment", "unchanged")}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
