#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_keys_put_back
short_description: Put the keys of Redis back that a recovery of chosen keys replaced
description:
  - Gives every key that M(platform3.recovery.redis_keys_restore) touched under this recovery id what it had, with its
    time to live, and removes those that were not there. What was written to these keys since is lost.
  - Keys whose time to live has ended since are not put back.
  - Done twice it comes to the same. That recovery id brings no keys back afterwards.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.redis
attributes:
  check_mode:
    description: Says whether there is something to put back; the keys are not looked at.
    support: full
options:
  volume:
    description: Compose key of the server's volume, in whose quarantine the keys are kept.
    type: str
    required: true
  image:
    description: Image of the service.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: rollback | Put the sessions back as they were
  platform3.recovery.redis_keys_put_back:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    volume: redis-data
    image: platform3/redis:8
    environment_id: "{{ recovery_environment_id }}"
    user: forex_admin
    password: "{{ redis_password }}"
"""

RETURN = r"""
databases:
  description: Of each database the keys that were restored to what they had, and those that were removed.
  returned: success, not in check mode
  type: dict
checks:
  description: That what was written is on disk.
  returned: success, not in check mode
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import decode
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept_place import (
    kept_file,
    look_at_state,
    read_state,
    write_state,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_copy import put_back, synced
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_live import (
    LIVE_ARGUMENTS,
    live_clients,
    live_volume,
    writing,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {**STEP_ARGUMENTS, **COMPOSE_ARGUMENTS, **LIVE_ARGUMENTS}


def require_kept(state: dict[str, Any], recovery_id: str, volume: str) -> None:
    """RecoveryError PRC-655 where no key was kept under this recovery id."""
    if not state:
        raise RecoveryError(
            "PRC-655",
            f"put the keys of {recovery_id} back",
            f"the quarantine of {recovery_id} in volume {volume} holds none (they were released, or none were kept)",
            "nothing was changed",
            "name the recovery that brought keys back (recovery_id)",
        )


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given, fence = module.params, fence_of(module)
    volume = live_volume(given)
    if module.check_mode:
        state = look_at_state(volume, given["image"], fence.recovery_id)
        require_kept(state, fence.recovery_id, volume)
        return {"changed": state["state"] != "put_back"}
    with VolumeWorker("redis", volume, given["image"], given["environment_id"], fence) as worker:
        state = read_state(worker)
        require_kept(state, fence.recovery_id, volume)
        if state["state"] == "put_back":
            return {"changed": False, "databases": state["databases"], "checks": state["checks"]}
        live = live_clients(given)
        with writing(), kept_file(worker) as read:
            counts = put_back(decode(read), live, Progress(given["progress_path"]))
        with writing():
            on_disk = check("what was put back is in the log on disk", "redis", True, synced(live(0)))
        checks = require(
            [on_disk],
            "PRC-654",
            "put the chosen keys on disk",
            "they are as they had been; a crash now might lose that",
            "see the disk of the append-only log",
        )
        write_state(worker, {**state, "state": "put_back", "databases": counts, "checks": checks})
    return {"changed": True, "databases": counts, "checks": checks}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
