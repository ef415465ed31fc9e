#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_restore
short_description: Restore an InfluxDB 2 by its files and start it
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes bolt, sqlite and the shards of a backup set into a folder beside the live data, through a one-shot container.
    Users, tokens, buckets, tasks and dashboards come back with their ids, and deleted points stay deleted. The restore
    endpoints of the server are not used, because they bring deleted points back and change bucket ids.
  - Each byte is read once. What is unpacked passes an allow-list (regular files and folders below the shard's own
    folder), and every file's SHA-256 is compared before anything is exchanged.
  - A set that builds on others is unpacked newest first, and of each shard only the files on its newest list are kept.
    Where one of them is in no archive, or has another size, nothing is exchanged.
  - Shards past their bucket's retention are left out, since the server would delete them at once.
  - Exchanges the data folders, keeps the old data in quarantine, starts the service and waits until it answers.
  - An operator token that was renewed since the backup is set again in the metadata before the server starts.
  - With a O(target_time) points after it are removed before anything is exchanged. A scratch server without network or
    tasks is started on the folder beside, compares the shards that are to be cut with the set, counts what stays, and
    deletes the rest of every bucket; a second start on the same files proves that all at or before the target is there
    and nothing after it. A point's own time decides, not when it was written.
  - Goes on where an earlier run with the same recovery id ended.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.aggregates
options:
  service:
    description: Compose service of InfluxDB.
    type: str
    required: true
  volume:
    description: Compose key of the volume.
    type: str
    required: true
  image:
    description: Image of the service, also used for the work in the volume.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
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
  set_path:
    description: Folder of the backup set.
    type: path
    required: true
  content:
    description: The component's part of the set's manifest.
    type: dict
    required: true
  artefacts:
    description: The manifest's artefacts; those of other components are passed over.
    type: list
    elements: dict
    required: true
  older:
    description: Sets that this one builds on, oldest first.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Id of the set.
        type: str
        required: true
      path:
        description: Its folder.
        type: path
        required: true
      artefacts:
        description: Its artefacts of InfluxDB.
        type: list
        elements: dict
        required: true
  target_time:
    description:
      - Instant to bring the data back to, ISO 8601 with its offset; empty for all that the set holds. Choose the set
        with M(platform3.recovery.influxdb_target_info).
      - A set that was captured before it reaches as far as it was captured.
    type: str
    default: ""
  streams:
    description: Archives unpacked at once.
    type: int
    default: 2
  start_timeout_seconds:
    description: How long the server may take until it answers.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Shows what would be replaced.
"""

EXAMPLES = r"""
- name: restore | Restore InfluxDB by its files and start it
  platform3.recovery.influxdb_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: influxdb
    volume: influxdb-data
    image: platform3/influxdb:2.7
    environment_id: lab-0123456789ab
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
    set_path: "{{ recovery_set.components.influxdb.path }}"
    content: "{{ recovery_set.components.influxdb.content }}"
    artefacts: "{{ recovery_set.components.influxdb.artefacts }}"
    older: "{{ recovery_set.components.influxdb.older }}"
"""

RETURN = r"""
recovery_point:
  description: The moment before which every acknowledged write is restored, ISO 8601 in UTC; the target at the most.
  returned: success
  type: str
bytes:
  description: Bytes moved by this run; 0 where an earlier one had done it.
  returned: success
  type: int
shards:
  description: Number of shards restored.
  returned: success
  type: int
expired:
  description: Ids of shards left out because they are past their bucket's retention.
  returned: success
  type: list
  elements: int
operator_token_set:
  description: Whether the current operator token was set again in the metadata.
  returned: success
  type: bool
parts:
  description: Seconds of each part (prepare, copy, cut, swap, start).
  returned: success
  type: dict
content:
  description: What O(content) is after points were removed, to verify the restored server against.
  returned: with O(target_time)
  type: dict
reached:
  description:
    - Of each bucket C(bucket), C(organisation), its newest point C(newest_at), how far that is behind the target
      (C(behind_seconds)), C(removed_points), C(removed_values) and the newest of them (C(removed_until)).
    - C(created_after_target) tells of a bucket that was made later. It stays, with the points whose times are not after
      the target; null where the server was not asked, because there was nothing to remove.
  returned: with O(target_time)
  type: list
  elements: dict
recompute:
  description: What of O(aggregates) to compute again, C(bucket), C(source_bucket), C(interval_seconds), C(from), C(to).
  returned: with O(target_time)
  type: list
  elements: dict
quarantined:
  description: Whether old data is kept in quarantine.
  returned: success
  type: bool
checks:
  description: That the server knows the current operator token; with a O(target_time) what proves the removal.
  returned: always
  type: list
  elements: dict
"""

import os
import time
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_cut import PointInTime, point_in_time
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    organisation_id,
    restore_plan,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Placement, origin_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_service import ended, require_away
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import AGGREGATE_OPTIONS
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import current_bolt
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "organisation": {"type": "str", "required": True},
    "set_path": {"type": "path", "required": True},
    "content": {"type": "dict", "required": True},
    "artefacts": {"type": "list", "elements": "dict", "required": True},
    "older": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "id": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "artefacts": {"type": "list", "elements": "dict", "required": True},
        },
    },
    "target_time": {"type": "str", "default": ""},
    "aggregates": {"type": "list", "elements": "dict", "default": [], "options": AGGREGATE_OPTIONS},
    "streams": {"type": "int", "default": 2},
    "start_timeout_seconds": {"type": "int", "default": 600},
}


class Parts:
    """Seconds of the parts of the work, each from the end of the one before."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def end(self, name: str) -> None:
        """The part of this name ends now."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now


def ensure_volume(given: dict[str, Any]) -> str:
    """The engine's name of the volume, which Compose makes where it is gone."""
    compose = compose_of(given)
    volume = find_volume(compose.project, given["volume"])
    if volume is None:
        compose.create([given["service"]])
        volume = find_volume(compose.project, given["volume"])
    if volume is None:
        raise RecoveryError(
            "PRC-404",
            f"create the volume {given['volume']} of project {compose.project}",
            "Compose made none of that name",
            "nothing was changed",
            "compare influxdb_volume with the volumes in the Compose file",
        )
    return volume


def cut(placement: Placement, point: PointInTime, given: dict[str, Any], parts: Parts) -> None:
    """Remove what is after the target from the folder beside, before it counts as restored."""
    parts.end("copy")
    placement.progress.start("remove points after the target")
    point.apply(placement.worker, placement.folder, given["token"], given["start_timeout_seconds"])
    parts.end("cut")


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given, content = module.params, module.params["content"]
    os.umask(0o077)
    parts = Parts()
    plan = restore_plan(content, given["artefacts"], time.time_ns(), given["older"])
    organisation = organisation_id(content, given["organisation"])
    point = point_in_time(content, given["target_time"], given["organisation"], given["aggregates"], time.time_ns())
    result: dict[str, Any] = {
        "changed": True,
        "diff": {
            "before": f"volume {given['volume']}: its data, if any, goes to quarantine\n",
            "after": f"volume {given['volume']}: {len(plan.shards)} shards of {given['set_path']}"
            f"{point.clause if point else ''}\n",
        },
        "recovery_point": point.recovery_point if point else content["recovery_point"],
        "shards": len(plan.shards),
        "expired": list(plan.expired),
        "operator_token_set": False,
        "bytes": 0,
        "parts": {},
        "quarantined": False,
        "checks": [],
    }
    if module.check_mode:
        return result
    compose = compose_of(given)
    volume = ensure_volume(given)
    with VolumeWorker(COMPONENT, volume, given["image"], given["environment_id"], fence_of(module)) as worker:
        placement = Placement(
            worker,
            plan,
            given["set_path"],
            origin_of(given["artefacts"], given["older"], point.target_time if point else ""),
            Progress(given["progress_path"]),
            streams=given["streams"],
        )
        if point:
            placement.finish = partial(cut, placement, point, given, parts)
        left = placement.left_to_do()
        if left != "nothing":
            require_away(compose.project, given["service"])
        if left == "everything":
            placement.bolt_path = current_bolt(
                given["set_path"], plan.bolt, content["operator_token"], given["token"], module.tmpdir
            )
            result["operator_token_set"] = placement.bolt_path is not None
            parts.end("prepare")
            result["bytes"] = placement.restore()
            parts.end("copy")
        worker.swap_in()
        if point:
            result |= point.result(worker)
        result["quarantined"] = placement.quarantined()
        result["changed"] = left != "nothing"
    parts.end("swap")
    compose.up([given["service"]])
    api = InfluxApi(given["url"], given["token"])
    api.await_ready(given["start_timeout_seconds"], lambda: ended(compose.project, given["service"]))
    parts.end("start")
    result["parts"] = parts.seconds
    result["checks"] += require(
        [check("operator token is accepted", COMPONENT, True, api.accepts_token(organisation))],
        "PRC-708",
        "use the current operator token on the restored InfluxDB",
        "the restored data is in its place and the old data in quarantine",
        "make an operator token (docker exec CONTAINER influxd recovery auth create-operator --bolt-path …), put it "
        "into the secrets",
    )
    return result


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
