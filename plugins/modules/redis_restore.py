#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_restore
short_description: Restore Redis from the snapshot of a backup set and start it
description:
  - Copies the RDB beside the live data and compares its hash, loads it in a scratch server without a network, compares
    the keys of each database net of expiry, drops cached keys that are stale by nature, and turns it into an
    append-only data set. A server that has the append-only log on ignores an RDB and starts empty.
  - Exchanges the data folders, keeps the old data in quarantine, starts the service and waits until it serves.
  - Goes on where an earlier run with the same recovery id ended.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
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
  host:
    description: Where the server listens.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    default: 6379
  user:
    description: Administrator of Redis.
    type: str
    required: true
  password:
    description: The administrator's current password.
    type: str
    required: true
  set_path:
    description: Folder of the backup set.
    type: path
    required: true
  artefact:
    description: The manifest's record of the RDB.
    type: dict
    required: true
    suboptions:
      path:
        description: Path in the backup set.
        type: str
        required: true
      bytes:
        description: Size of the file.
        type: int
        required: true
      sha256:
        description: Hash of the file.
        type: str
        required: true
  content:
    description: The manifest's component C(redis), as RV(platform3.recovery.redis_backup#module:content).
    type: dict
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
    cache_patterns:
      - {db: 1, pattern: "price:*"}
"""

RETURN = r"""
recovery_point:
  description: Instant of the newest data restored (UTC).
  returned: success
  type: str
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
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import (
    Snapshot,
    cannot_restore,
    read_record,
    restore_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import (
    SERVER_ARGUMENTS,
    server_of,
    wait_until_serving,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, ROOT, VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **SERVER_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "set_path": {"type": "path", "required": True},
    "artefact": {
        "type": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "bytes": {"type": "int", "required": True},
            "sha256": {"type": "str", "required": True},
        },
    },
    "content": {"type": "dict", "required": True},
    "cache_patterns": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"db": {"type": "int", "required": True}, "pattern": {"type": "str", "required": True}},
    },
    "start_timeout_seconds": {"type": "int", "default": 120},
}


def snapshot_of(parameters: dict[str, Any]) -> Snapshot:
    """The snapshot that the inputs name; RecoveryError PRC-604 where its path leaves the backup set."""
    artefact = parameters["artefact"]
    root = os.path.realpath(parameters["set_path"])
    path = os.path.realpath(os.path.join(root, artefact["path"]))
    snapshot = Snapshot(path, artefact["bytes"], artefact["sha256"], parameters["content"])
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        raise cannot_restore(
            snapshot, "PRC-604", "it is no file of the backup set", "choose another backup set (recovery_backup_set)"
        )
    return snapshot


def bring_back(module: AnsibleModule, worker: VolumeWorker, snapshot: Snapshot) -> dict[str, Any]:
    """Restore beside and exchange, or as much of it as an earlier run left to do; gives the record."""
    state = worker.swap_state()
    if state in ("rolling_back", "rolled_back"):
        raise cannot_restore(
            snapshot,
            "PRC-609",
            f"{worker.fence.recovery_id} was rolled back in this volume",
            "start a new recovery (without recovery_id)",
        )
    folder = DATA if state in ("swapping", "swapped") else f"{ROOT}/restore-{worker.fence.recovery_id}"
    record = read_record(worker, folder) if state else None
    if state == "swapping" and record is None:
        # The exchange itself was still to come.
        record = read_record(worker, f"{ROOT}/restore-{worker.fence.recovery_id}")
    ours = record is not None and record["recovery_id"] == worker.fence.recovery_id
    same = record is not None and ours and record["sha256"] == snapshot.sha256
    if state in ("swapping", "swapped") and not same:
        found = "from another backup set" if ours else "and something else has replaced them since"
        raise cannot_restore(
            snapshot,
            "PRC-609",
            f"{worker.fence.recovery_id} has already put its data into this volume, {found}",
            "ask for the backup set that this recovery began with, or start a new recovery (without recovery_id)",
        )
    if record is None or not same:
        progress = Progress(module.params["progress_path"])
        record = restore_beside(worker, snapshot, module.params["cache_patterns"], progress)
        record["bytes"] = snapshot.bytes
    worker.swap_in()
    return record


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    snapshot = snapshot_of(given)
    compose, fence = compose_of(given), fence_of(module)
    volume = find_volume(compose.project, given["volume"])
    diff = {
        "before": f"volume {given['volume']}: {'kept in quarantine' if volume else 'absent'}\n",
        "after": f"volume {given['volume']}: {snapshot.path}, {snapshot.content['recovery_point']}\n",
    }
    if module.check_mode:
        return {"changed": True, "diff": diff, "recovery_point": snapshot.content["recovery_point"]}
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
    with VolumeWorker("redis", volume, given["image"], given["environment_id"], fence) as worker:
        record = bring_back(module, worker, snapshot)
        quarantined = bool(
            worker.bash('ls -A "$1" 2>/dev/null || true', f"{ROOT}/quarantine/{fence.recovery_id}").stdout
        )
    began = time.monotonic()
    compose.up([given["service"]])
    wait_until_serving(server_of(given), given["start_timeout_seconds"]).close()
    return {
        "changed": True,
        "diff": diff,
        "recovery_point": record["recovery_point"],
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
