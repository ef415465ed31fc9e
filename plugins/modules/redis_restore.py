#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_restore
short_description: Restore Redis from a backup set or from its shipped log and start it
description:
  - Takes the newest shipped generation of the append-only log where it reaches further than the set's snapshot. Copies
    it beside the live data, checks it with C(redis-check-aof), cuts an end that was being written and says so, loads it
    in a scratch server without a network and counts its keys. It bears no signature, which is said as well.
  - Else copies the snapshot beside the live data and compares its hash, loads it so and compares the keys of each
    database net of expiry. It becomes the base of an append-only log, because a server that has the log on ignores a
    snapshot and starts empty.
  - With a O(target_time) finds, of all lives and generations that were shipped, the newest base before the target whose
    log covers it, and takes its log back with C(redis-check-aof --truncate-to-timestamp). What is reached is the
    beginning of the target's second. Where no log reaches back that far, the set's snapshot is taken if it is older
    than the target, and the skew is said; a target behind the end of the log is refused.
  - Keys with a time to live expire by the clock of now, also those that were alive at the target.
  - Drops cached keys that are stale by nature.
  - Exchanges the data folders, keeps the old data in quarantine, starts the service and waits until it serves.
  - Goes on where an earlier run with the same recovery id ended.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.redis
  - platform3.recovery.redis.snapshot
  - platform3.recovery.redis.log
attributes:
  check_mode:
    description: Shows what would be replaced and changes nothing.
    support: full
options:
  service:
    description: Compose service of Redis.
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
  cache_patterns:
    description: Keys that are dropped because a restored value is out of date by nature, as database and glob pattern.
    type: list
    elements: dict
    default: []
    suboptions:
      db:
        description: Number of the database.
        type: int
        required: true
      pattern:
        description: Pattern of the keys, as in the command SCAN.
        type: str
        required: true
  start_timeout_seconds:
    description: How long the server may take to load its data.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: restore | Restore the snapshot and start Redis
  platform3.recovery.redis_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: redis
    volume: redis-data
    image: platform3/redis:8
    environment_id: "{{ recovery_environment_id }}"
    user: forex_admin
    password: "{{ redis_password }}"
    set_path: "{{ recovery_set.path }}"
    artefact: "{{ recovery_set.manifest.artefacts | selectattr('component', 'eq', 'redis') | first }}"
    content: "{{ recovery_set.manifest.components.redis }}"
    log_path: /opt/platform3/backups/aof
    cache_patterns:
      - {db: 1, pattern: "price:*"}
"""

RETURN = r"""
recovery_point:
  description: Instant of the newest data restored (UTC); of a log, the second of its newest command.
  returned: success
  type: str
reached:
  description: How close it came to the target.
  returned: with O(target_time)
  type: dict
  contains:
    target_time:
      description: The target in UTC.
      type: str
    reached_point:
      description: The instant whose data it is, at the target or before it.
      type: str
    skew_seconds:
      description: The target less the reached point; below one second of a log.
      type: float
    newest_command_at:
      description: Second of the newest command that is left in the log; null where it is a snapshot.
      type: str
    told:
      description: The same as a sentence, and whether nothing was written just before.
      type: str
source:
  description: What was restored, C(log) or C(snapshot).
  returned: success
  type: str
warnings_found:
  description: What was cut of the log, why the snapshot was taken instead of it, and that the log bears no signature.
  returned: success
  type: list
  elements: str
expected_keys:
  description: Keys to expect per database from now on, without those that were dropped.
  returned: success
  type: dict
dropped:
  description: Number of keys dropped as stale, per database.
  returned: success
  type: dict
checks:
  description: The counts that were compared before the exchange.
  returned: always
  type: list
  elements: dict
bytes:
  description: Bytes moved.
  returned: success
  type: int
parts:
  description: Seconds of each part.
  returned: success
  type: dict
quarantined:
  description: Whether old data is kept in quarantine.
  returned: success
  type: bool
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_bring_back import bring_back
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import (
    LOG_ARGUMENTS,
    LOG_MOUNT,
    choose_source,
    look_without_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import (
    SNAPSHOT_ARGUMENTS,
    Snapshot,
    snapshot_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import (
    SERVER_ARGUMENTS,
    server_of,
    wait_until_serving,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import (
    choose_for_target,
    would_reach,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **SERVER_ARGUMENTS,
    **LOG_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    **SNAPSHOT_ARGUMENTS,
    "cache_patterns": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"db": {"type": "int", "required": True}, "pattern": {"type": "str", "required": True}},
    },
    "start_timeout_seconds": {"type": "int", "default": 120},
}


def diff_of(given: dict[str, Any], volume: str | None, after: str) -> dict[str, str]:
    """What becomes of the volume."""
    return {
        "before": f"volume {given['volume']}: {'kept in quarantine' if volume else 'absent'}\n",
        "after": f"volume {given['volume']}: {after}\n",
    }


def would_restore(given: dict[str, Any], snapshot: Snapshot, volume: str | None) -> dict[str, Any]:
    """The module's result in check mode."""
    point = snapshot.content["recovery_point"]
    look = look_without_volume(given["image"], given["environment_id"], given["log_path"])
    if given["target_time"]:
        choice = choose_for_target(given, point, look)
        reached = would_reach(choice, point)
        log = choice.logs[0].where if choice.logs else None
        return {
            "changed": True,
            "diff": diff_of(given, volume, f"{log or snapshot.path}, {reached['reached_point']}"),
            "recovery_point": reached["reached_point"],
            "reached": reached,
            "source": "log" if log else "snapshot",
            "warnings_found": list(choice.warnings),
        }
    source = choose_source(given, point, look)
    point = (source.log and source.log.recovery_point) or point
    return {
        "changed": True,
        "diff": diff_of(given, volume, f"{'log' if source.log else snapshot.path}, {point}"),
        "recovery_point": point,
        "source": "log" if source.log else "snapshot",
        "warnings_found": list(source.warnings),
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    snapshot = snapshot_of(given)
    compose, fence = compose_of(given), fence_of(module)
    volume = had = find_volume(compose.project, given["volume"])
    if module.check_mode:
        return would_restore(given, snapshot, volume)
    if volume is None:
        compose.create([given["service"]])
        volume = find_volume(compose.project, given["volume"])
    if volume is None:
        raise RecoveryError(
            "PRC-404",
            f"create the volume {given['volume']} of project {compose.project}",
            "Compose made none of that name",
            "nothing was changed",
            "compare redis_volume with the volumes in the Compose file",
        )
    # The engine would make a folder that is not there.
    logs = given["log_path"] and os.path.isdir(given["log_path"])
    mounts = [f"{given['log_path']}:{LOG_MOUNT}:ro"] if logs else []
    with VolumeWorker("redis", volume, given["image"], given["environment_id"], fence, mounts) as worker:
        record = bring_back(given, worker, snapshot)
        quarantined = bool(
            worker.bash('ls -A "$1" 2>/dev/null || true', f"{ROOT}/quarantine/{fence.recovery_id}").stdout
        )
    began = time.monotonic()
    compose.up([given["service"]])
    wait_until_serving(server_of(given), given["start_timeout_seconds"])
    return {
        "changed": True,
        "diff": diff_of(given, had, f"{record['source']}, {record['recovery_point']}"),
        "recovery_point": record["recovery_point"],
        **({"reached": record["reached"]} if record.get("reached") else {}),
        "source": record["source"],
        "warnings_found": record["warnings"],
        "expected_keys": record["keys"],
        "dropped": record["dropped"],
        "checks": record["checks"],
        "bytes": record.get("bytes", 0),
        "parts": {**record.get("parts", {}), "start": round(time.monotonic() - began, 3)},
        "quarantined": quarantined,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
