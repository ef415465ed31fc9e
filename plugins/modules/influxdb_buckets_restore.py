#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_buckets_restore
short_description: Bring chosen buckets or time ranges back into the live InfluxDB
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Restores the shards of the chosen buckets by files, as M(platform3.recovery.influxdb_restore) does, into a volume
    that goes away with it, and serves them there in a scratch server of the same image without a network. Every byte is
    compared with the manifest.
  - Writes the points of the range from there into the live server, which goes on serving, and compares value by value
    what it then holds. Other buckets, and points outside of the range, are not touched.
  - All that the live server holds in the range is kept aside first, in the quarantine of its volume, under the recovery
    id. O(state=put_back) gives the range what it had; what was written into it since is lost.
  - A bucket that is gone is made again with its name, description, retention and mappings, and under its old id, so
    that tokens and dashboards that name it find it. Only a server that is stopped can be given an id, so it restarts
    for this once, before the first point is written. Where another bucket has that id, and where one of that name was
    made meanwhile, the bucket has another id, and RV(warnings_found) says so.
  - A bucket that gets its old id back comes by its files, which are placed in the quarantine of the live volume and
    renamed into place in that stop, unless O(start) or O(stop) is given or another bucket has one of its shards' ids.
    Count, first and last value of each of its series are compared; where they differ, all is put back as it was.
  - A range that reaches further than the set, or than the bucket's retention, is cut there.
  - With the same recovery id it goes on where an earlier run ended, and changes nothing once that was the end.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    support: full
    description: >-
      Restores into the scratch server and counts what would come back, and tells what would come by files; the live
      points are not touched.
options:
  state:
    description: Whether the points are brought back (V(restored)) or the range gets what it had before (V(put_back)).
    type: str
    choices: [restored, put_back]
    default: restored
  buckets:
    description: Names of the buckets. Needed with O(state=restored).
    type: list
    elements: str
    default: []
  start:
    description: First instant of the range, ISO 8601 with its offset; left out, all of the bucket's time.
    type: str
    default: ""
  stop:
    description: End of the range, which is not part of it; left out, as far as the set reaches.
    type: str
    default: ""
  mode:
    description:
      - With V(replace) the range becomes what it was in the source. What it has not is deleted.
      - With V(merge) points are written and none is deleted. Where both have a value, it becomes the source's.
    type: str
    choices: [replace, merge]
    default: replace
  target_time:
    description: Points after this instant (ISO 8601 with its offset) are not taken; empty for all that the set holds.
    type: str
    default: ""
  service:
    description: Compose service of the live server, which restarts where a bucket is gone.
    type: str
    required: true
  volume:
    description: Compose key of the live server's volume, in whose quarantine the points are kept.
    type: str
    required: true
  image:
    description: Image of the service, also used for the scratch server.
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
    description: Organisation that holds the buckets.
    type: str
    required: true
  set_path:
    description: Folder of the backup set. Needed with O(state=restored).
    type: path
  content:
    description: The component's part of the set's manifest. Needed with O(state=restored).
    type: dict
    default: {}
  artefacts:
    description: The manifest's artefacts; those of other components are passed over.
    type: list
    elements: dict
    default: []
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
  streams:
    description: Archives unpacked at once.
    type: int
    default: 2
  stop_grace_seconds:
    description: How long the live server may take to stop, where it has to.
    type: int
    default: 10
  start_timeout_seconds:
    description: How long a scratch server may take until it answers, and the live one behind a restart.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: restore | Bring a deleted hour of market data back
  platform3.recovery.influxdb_buckets_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    buckets: [market-data]
    start: "2026-11-23T14:00:00+00:00"
    stop: "2026-11-23T15:00:00+00:00"
    service: influxdb
    volume: influxdb-data
    image: platform3/influxdb:2.7
    environment_id: "{{ recovery_environment_id }}"
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
    set_path: "{{ recovery_set.components.influxdb.path }}"
    content: "{{ recovery_set.components.influxdb.content }}"
    artefacts: "{{ recovery_set.components.influxdb.artefacts }}"

- name: rollback | Put the hour back as it was
  platform3.recovery.influxdb_buckets_restore:
    state: put_back
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: influxdb
    volume: influxdb-data
    image: platform3/influxdb:2.7
    environment_id: "{{ recovery_environment_id }}"
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
"""

RETURN = r"""
buckets:
  description:
    - Of each bucket the V(range) that was taken, the values V(restored) (in check mode, that would be), whether the
      bucket was gone and is V(made) again, its V(id) (in check mode null where the server would choose it), and V(by)
      what it comes, V(files) or V(points).
  returned: success
  type: dict
kept:
  description: Values that the live server held in the range, kept aside.
  returned: success, not in check mode
  type: int
recovery_point:
  description: Instant up to which the source holds points (UTC).
  returned: with O(state=restored)
  type: str
checks:
  description: >-
    That each bucket holds what was written, or what came by files, and that no bucket and no token is missing behind a
    restart.
  returned: success, not in check mode
  type: list
  elements: dict
warnings_found:
  description: Buckets that have another id than in the set, and mappings that lead elsewhere by now.
  returned: success
  type: list
  elements: str
parts:
  description: >-
    Seconds of each part; C(files) until they are placed and proven beside, C(restart) of the stop in which they come.
  returned: success, not in check mode
  type: dict
quarantined:
  description: Whether points are kept aside for this recovery.
  returned: success
  type: bool
"""

import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, find_volume
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import (
    chosen_buckets,
    diff_of,
    only_chosen,
    refused,
    warnings_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import (
    Bucket,
    kept_lines,
    put_back,
    require_points,
    settle,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_files import (
    Files,
    by_files,
    remove_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_live import (
    Live,
    foreseen,
    name_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_run import POINTS, STATE, Run
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_source import (
    remove_left,
    source_server,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    iso,
    restore_plan,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_service import service_of
from ansible_collections.platform3.recovery.plugins.module_utils._kept_place import (
    folder_of,
    look_at_state,
    read_state,
    write_state,
)
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "state": {"type": "str", "choices": ["restored", "put_back"], "default": "restored"},
    "buckets": {"type": "list", "elements": "str", "default": []},
    "start": {"type": "str", "default": ""},
    "stop": {"type": "str", "default": ""},
    "mode": {"type": "str", "choices": ["replace", "merge"], "default": "replace"},
    "target_time": {"type": "str", "default": ""},
    "service": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "organisation": {"type": "str", "required": True},
    "set_path": {"type": "path"},
    "content": {"type": "dict", "default": {}},
    "artefacts": {"type": "list", "elements": "dict", "default": []},
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
    "streams": {"type": "int", "default": 2},
    "stop_grace_seconds": {"type": "int", "default": 10},
    "start_timeout_seconds": {"type": "int", "default": 600},
}


def volume_of(given: dict[str, Any]) -> str:
    """The engine's name of the live server's volume; RecoveryError PRC-774."""
    volume = find_volume(given["compose"]["project"], given["volume"])
    if volume is None:
        found = f"there is no volume {given['volume']} of project {given['compose']['project']}"
        next_step = "where InfluxDB is lost, bring it back whole (without influxdb_chosen_buckets)"
        raise refused("PRC-774", "find the live InfluxDB's volume", found, next_step)
    return volume


def restore(module: AnsibleModule) -> dict[str, Any]:
    """Keep and bring, or as much of it as an earlier run left to do."""
    given, fence, content = module.params, fence_of(module), module.params["content"]
    now = time.time_ns()
    within = (given["start"], given["stop"], given["target_time"])
    chosen = chosen_buckets(content, given["organisation"], given["buckets"], within, now)
    plan = restore_plan(content, given["artefacts"], now, given["older"])
    volume = volume_of(given)
    result = {"recovery_point": iso(max(one.stops_ns for one in chosen) - 1), "quarantined": not module.check_mode}
    asked = {
        "buckets": {one.name: one.stops_ns for one in chosen},
        "within": list(within),
        "mode": given["mode"],
        "set_path": given["set_path"],
    }
    if module.check_mode:
        state = look_at_state(volume, given["image"], fence.recovery_id, STATE)
        with source_server(given, only_chosen(plan, chosen), fence) as api:
            found = {one.name: require_points(Bucket(api, one.organisation, one.id), one) for one in chosen}
        buckets = foreseen(given, chosen, found, state, lambda live: by_files(live, chosen, content, within))
        result |= {"changed": True, "buckets": buckets, "diff": diff_of(chosen, buckets, given["service"]), "parts": {}}
        return {**result, "warnings_found": warnings_of(chosen, buckets)}
    with VolumeWorker(COMPONENT, volume, given["image"], given["environment_id"], fence) as worker:
        state = read_state(worker, STATE)
        if state and (state["state"] == "put_back" or state["asked"] != asked):
            raise refused(
                "PRC-776",
                f"bring points back as {fence.recovery_id}",
                "they were put back" if state["state"] == "put_back" else f"it brought back others: {state['asked']}",
                "ask for what this recovery began with, or start a new recovery (without recovery_id)",
            )
        changed = state.get("state") != "brought"
        if changed:
            state = Run(given, chosen, plan, worker, {"asked": asked, **state}).bring_back()
    return {
        **result,
        **{name: state[name] for name in ("buckets", "kept", "checks", "parts")},
        "changed": changed,
        "diff": diff_of(chosen, state["buckets"], given["service"]),
        "warnings_found": state["warnings"],
    }


def undo(module: AnsibleModule) -> dict[str, Any]:
    """Give the ranges what they had; RecoveryError PRC-778 where nothing was kept, PRC-779 where it is not whole."""
    given, fence = module.params, fence_of(module)
    volume = volume_of(given)
    state = look_at_state(volume, given["image"], fence.recovery_id, STATE)
    if not state:
        found = f"the quarantine of {fence.recovery_id} in volume {volume} holds none (released, or none were kept)"
        next_step = "name the recovery that brought points back (recovery_id)"
        raise refused("PRC-778", f"put the points of {fence.recovery_id} back", found, next_step)
    changed = state["state"] != "put_back"
    result = {"buckets": state.get("buckets", {}), "kept": state["kept"], "checks": [], "warnings_found": []}
    result |= {"parts": {}, "quarantined": True, "changed": changed}
    if module.check_mode or not changed:
        return result
    remove_left(given["environment_id"], fence)
    with VolumeWorker(COMPONENT, volume, given["image"], given["environment_id"], fence) as worker:
        if "ids" in state:
            # A run was killed on the way to stop or start the server. Whichever ids it has, buckets go by their names.
            service = service_of(given)
            service.take_away()
            if state.get("files"):
                Files(worker, state["files"]).withdraw()
            service.start(InfluxApi(given["url"], given["token"]))
        live, buckets = Live(given), {}
        for name, (starts_ns, stops_ns) in state["ranges"].items():
            bucket = live.bucket(name)
            if name in state["missing"]:
                for made in filter(None, (bucket, live.bucket(name_beside(name, fence.recovery_id)))):
                    live.remove(made)
            elif bucket:
                bucket.delete(starts_ns, stops_ns)
                buckets[name] = bucket
        written = written_back(worker, buckets)
        for name, bucket in buckets.items():
            settle(bucket, *state["ranges"][name])
        result["checks"] = require(
            [check("values put back", COMPONENT, state["kept"], written)],
            "PRC-779",
            "put the chosen points back",
            "the range holds what was read until then",
            "keep the volume's quarantine for the inquiry; bring the range back from a backup set instead",
        )
        remove_beside(worker)
        write_state(worker, STATE, {**state, "state": "put_back"})
    return result


def written_back(worker: VolumeWorker, buckets: dict[str, Bucket]) -> int:
    """Write what was kept; gives the values. RecoveryError PRC-779 where the file is not whole."""
    argv = worker.exec_argv(["cat", f"{folder_of(worker)}/{POINTS}"])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:
        assert reading.stdout is not None
        try:
            return put_back(kept_lines(reading.stdout), buckets)
        except (ValueError, KeyError) as error:
            raise RecoveryError(
                "PRC-779",
                f"read the points that were kept aside in {folder_of(worker)} of volume {worker.volume}",
                str(error),
                "the points that were read until then are written",
                "keep the file for the inquiry; bring the range back from a backup set instead",
            ) from None
        finally:
            reading.kill()


def main() -> None:
    """Entry point."""
    run_module(
        ARGUMENTS,
        lambda module: restore(module) if module.params["state"] == "restored" else undo(module),
        supports_check_mode=True,
        required_if=[("state", "restored", ["set_path", "content", "artefacts"])],
    )


if __name__ == "__main__":
    main()
