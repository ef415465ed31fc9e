#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: quarantine
short_description: Put the old data of a recovery back, or free it for good
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - A recovery exchanges the restored data with the old and keeps the old in quarantine inside the same volume.
  - V(put_back) exchanges the two again; the restored data is in quarantine then. V(released) deletes what is in
    quarantine; it cannot be put back any more.
  - The component must be isolated before O(state=put_back), which therefore is asked for with O(state=found) first.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  state:
    description: What to do with the quarantined data; V(found) changes nothing, and fails if none can be put back.
    type: str
    choices: [put_back, released, found]
    required: true
  component:
    description: Component that the volume belongs to.
    type: str
    required: true
  service:
    description: Compose service that is started once its old data is back.
    type: str
    required: true
  volume:
    description: Compose key of the volume.
    type: str
    required: true
  image:
    description: The datastore's own image.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would be put back or freed.
"""

EXAMPLES = r"""
- name: rollback | Put the old data back
  platform3.recovery.quarantine:
    state: put_back
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    component: redis
    service: redis
    volume: redis-data
    image: platform3/redis:8
    environment_id: lab-0123456789ab
"""

RETURN = r"""
held_bytes:
  description: Size of what is in quarantine for this recovery before the call.
  type: int
  returned: success
swap_state:
  description: How far the exchange of this recovery is now (restored, swapped, rolled_back, or empty).
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    docker,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

HELD = f"""du -sb {ROOT}/quarantine/"$1" 2>/dev/null | cut -f1 || true"""


def look(given: dict[str, Any], volume: str, recovery_id: str) -> tuple[int, str]:
    """Bytes in quarantine and the exchange's state, read from the volume without writing to it."""
    script = HELD + f"""; echo "state=$(cut -d' ' -f1 {ROOT}/swap-"$1" 2>/dev/null)" """
    arguments = ["run", "--rm", "--network", "none", "--entrypoint", "bash", "--volume", f"{volume}:{ROOT}:ro"]
    lines = docker([*arguments, given["image"], "-uc", script, "bash", recovery_id]).stdout.split()
    held = next((int(line) for line in lines if line.isdigit()), 0)
    state = next((line.partition("=")[2] for line in lines if line.startswith("state=")), "")
    return held, state


def require_old_data(given: dict[str, Any], recovery_id: str, held: int, state: str) -> None:
    """RecoveryError PRC-407 where there is nothing to put back, so that the live data must not be taken away."""
    if state not in ("swapped", "rolling_back") or held < 64 * 1024:
        raise RecoveryError(
            "PRC-407",
            f"put the old data of {given['component']} back",
            f"quarantine of {recovery_id} holds {held} bytes, exchange state is '{state or 'none'}': "
            "there is no old data to put back (a total loss leaves none, a release deletes it)",
            "the running data was not changed",
            "keep the recovered data, or recover to another backup set",
        )


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, refuse what cannot be, then exchange or delete."""
    given = module.params
    fence = fence_of(module)
    volume = find_volume(given["compose"]["project"], given["volume"]) or ""
    held, state = look(given, volume, fence.recovery_id) if volume else (0, "")
    result = {"changed": False, "held_bytes": held, "swap_state": state}
    if given["state"] == "released":
        if not held:
            return result
    elif state == "rolled_back":
        return result
    else:
        require_old_data(given, fence.recovery_id, held, state)
    if given["state"] == "found":
        return result
    if module.check_mode:
        return {**result, "changed": True}
    worker = VolumeWorker(given["component"], volume, given["image"], given["environment_id"], fence)
    with worker:
        if given["state"] == "put_back":
            worker.roll_back()
        else:
            worker.release()
        state = worker.swap_state()
    if given["state"] == "put_back":
        compose_of(given).up([given["service"]])
    return {"changed": True, "held_bytes": held, "swap_state": state}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "state": {"type": "str", "choices": ["put_back", "released", "found"], "required": True},
            "component": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "volume": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "environment_id": {"type": "str", "required": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
