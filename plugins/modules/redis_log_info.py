#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_log_info
short_description: Find out, before anything is touched, how far Redis can be recovered
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the shipped append-only logs in one read-only container and says whether the newest of them or the set's
    snapshot reaches further.
  - It fails where a log is required and none can be used, and where a target cannot be reached.
extends_documentation_fragment:
  - platform3.recovery.step
options:
  image:
    description: Image of the server.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  snapshot_at:
    description: Instant of the set's snapshot, C(components.redis.recovery_point) of its manifest.
    type: str
    required: true
  snapshot_bytes:
    description: Size of the set's snapshot.
    type: int
    required: true
  log_path:
    description: Folder of the store's shipped logs; none are looked for where it is left out.
    type: path
  target_time:
    description:
      - Instant that Redis is to be brought back to (ISO 8601 with an offset from UTC). One that cannot be reached is
        refused with the nearest points that can. Left out or empty, it is the newest.
    type: str
  window:
    description: Whether to tell all that can be reached, also without a target.
    type: bool
    default: false
  restore_from:
    description: The newest of snapshot and log, or the V(snapshot) alone.
    type: str
    choices: [newest, snapshot]
    default: newest
  log:
    description: Whether a log that cannot be used is an error (V(required)), or the snapshot is taken (V(preferred)).
    type: str
    choices: [required, preferred]
    default: preferred
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: assess | See how far the log of Redis reaches
  platform3.recovery.redis_log_info:
    fence: "{{ recovery_fence }}"
    image: platform3/redis:8
    environment_id: lab-0123456789ab
    snapshot_at: "{{ recovery_set.manifest.components.redis.recovery_point }}"
    snapshot_bytes: 1048576
    log_path: /opt/platform3/backups/aof
"""

RETURN = r"""
source:
  description: What Redis will be restored from, C(log) or C(snapshot).
  type: str
  returned: success
reason:
  description: Why, as a clause.
  type: str
  returned: success
recovery_point:
  description: The instant that will be reached.
  type: str
  returned: success
reached:
  description: How close that is to the target; its newest command is known once the log is read.
  type: dict
  returned: with O(target_time)
  contains:
    target_time:
      description: The target in UTC.
      type: str
    reached_point:
      description: The instant whose data it will be, at the target or before it.
      type: str
    skew_seconds:
      description: The target less the reached point.
      type: float
window:
  description:
    - The seconds that each generation of each life of the data can be taken back to. What one lacks another may have;
      an instant in none of them cannot be reached.
  type: list
  elements: dict
  returned: with O(target_time) or O(window)
  contains:
    life:
      description: Folder of the log; V(initial) before the first recovery, then one for each.
      type: str
    generation:
      description: Number of its base.
      type: int
    earliest:
      description: First second that can be reached.
      type: str
    latest:
      description: Last second that can be reached.
      type: str
    inherited:
      description: Whether that is what a recovery brought along from the life before.
      type: bool
warnings_found:
  description: Generations that cannot be used, and what stands in for them.
  type: list
  elements: str
  returned: with O(target_time) or O(window)
needed_bytes:
  description: Room that the restore takes beside the old data, and as much again for a rewrite of the log.
  type: int
  returned: success
"""

from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import (
    LOG_ARGUMENTS,
    choose_source,
    look_without_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import (
    choose_for_target,
    look_at_all,
    would_reach,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **LOG_ARGUMENTS,
    "window": {"type": "bool", "default": False},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "snapshot_at": {"type": "str", "required": True},
    "snapshot_bytes": {"type": "int", "required": True},
}


def for_target(given: dict[str, Any], snapshot_at: str, look: Callable[[str], str]) -> dict[str, Any]:
    """The module's result where a target is given."""
    choice = choose_for_target(given, snapshot_at, look)
    reached = would_reach(choice, snapshot_at)
    log_bytes = [one.until(choice.second).bytes for one in choice.logs]
    return {
        "changed": False,
        "source": "log" if choice.logs else "snapshot",
        "reason": choice.reason,
        "recovery_point": reached["reached_point"],
        "reached": reached,
        "window": list(choice.window),
        "warnings_found": list(choice.warnings),
        "needed_bytes": 3 * max([given["snapshot_bytes"], *log_bytes]),
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: look, choose."""
    given = module.params
    snapshot_at = given["snapshot_at"]
    look = look_without_volume(given["image"], given["environment_id"], given["log_path"])
    if given["target_time"]:
        return for_target(given, snapshot_at, look)
    source = choose_source(given, snapshot_at, look)
    bytes_restored = source.log.bytes if source.log else given["snapshot_bytes"]
    result = {
        "changed": False,
        "source": "log" if source.log else "snapshot",
        "reason": source.reason,
        "recovery_point": source.log.recovery_point if source.log else snapshot_at,
        # A log that turns out to be damaged is replaced by the snapshot.
        "needed_bytes": 3 * max(bytes_restored, given["snapshot_bytes"]),
    }
    if given["window"]:
        reaches, problems = look_at_all(given, look)
        result |= {"window": [one.window() for one in reaches], "warnings_found": problems}
    return result


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
