#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_epoch
short_description: Raise the epoch of a datastore that a recovery left alone
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
description:
  - A recovery raises the epoch of the backup store's fence. A datastore whose volume has an older one is taken for a
    lost host that came back, and is neither archived nor shipped any more.
  - Where a recovery brings back some datastores only, the others follow by this. Their data is not touched, and they
    go on serving.
  - A volume that is not there has no epoch; nothing is made of it.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    description: Says whether there is a volume, and raises nothing.
    support: full
options:
  component:
    description: The datastore.
    type: str
    required: true
  volume:
    description: Compose key of its volume.
    type: str
    required: true
  image:
    description: Image of the datastore, for the one-shot container.
    type: str
    required: true
  environment_id:
    description: Id of the environment, for the container's label.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: resume | Raise the epoch of a datastore that was left alone
  platform3.recovery.volume_epoch:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    component: redis
    volume: redis-data
    image: platform3/redis:8
    environment_id: lab-0123456789ab
"""

RETURN = r"""
checks:
  description: That the volume is at the recovery's epoch.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, find_volume
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "component": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    volume = find_volume(given["compose"]["project"], given["volume"])
    if volume is None or module.check_mode:
        return {"changed": volume is not None, "checks": []}
    fence = fence_of(module)
    # The worker raises the epoch once it is alone in the volume, whatever it is there for.
    with VolumeWorker(given["component"], volume, given["image"], given["environment_id"], fence) as worker:
        found = worker.run(["cat", f"{ROOT}/epoch"]).stdout.strip()
    checks = require(
        [check(f"epoch of {given['component']}, which was left alone", given["component"], str(fence.epoch), found)],
        "PRC-402",
        f"raise the epoch of {given['component']}",
        "its data is untouched; it is not archived or shipped while its epoch is older than the fence's",
        "see that the volume can be written to (docker system df)",
    )
    return {"changed": True, "checks": checks}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
