#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_wal_info
short_description: Find out, before anything is touched, how far PostgreSQL can be recovered
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the pgBackRest repository, the WAL stream and the image in one read-only container, without the server or its
    volume.
  - It fails where the base backup is missing, of another database or not the one that was signed, where the image is of
    another major version, where a setting is too low for replay, or where WAL is missing before the newest segment.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.postgresql.one_shot
  - platform3.recovery.postgresql.target
options:
  service:
    description: Compose service of the server.
    type: str
    required: true
  content:
    description: The part C(components.postgresql) of the set's manifest.
    type: dict
    required: true
  method:
    description: How PostgreSQL will be restored.
    type: str
    choices: [physical, logical]
    default: physical
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: assess | Look for gaps in the WAL
  platform3.recovery.postgresql_wal_info:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    environment_id: lab-0123456789ab
    backup_store_path: /opt/platform3/backups
    content: "{{ recovery_set.manifest.components.postgresql }}"
"""

RETURN = r"""
plan:
  description:
    - Base backup, timeline, first and last segment, and the segments that only the stream holds.
    - C(abandoned) says that the base backup is of what an earlier recovery to a point in time, or a rollback, left
      behind; the present life is on a newer timeline that it does not lead to.
    - With O(target) also the set of the base backup (C(backup_set), null where O(sets) does not name it), the bytes of
      WAL to replay (C(replay_bytes)), the record that replay ends before or behind (C(stops), C(stop_lsn)) and the
      last transaction committed there (C(last_commit)).
  type: dict
  returned: success
window:
  description:
    - C(earliest) and C(latest) point that can be reached, C(gaps) with the nearest points on both sides, the
      C(timelines) of the present data with their positions, and what earlier recoveries have C(abandoned). Times from
      its C(since) on are refused, until the present life goes on (C(again)).
    - A point is C(at), C(lsn) and C(xid).
  type: dict
  returned: with O(target)
recovery_point:
  description: About the instant that replay will reach, by when the newest WAL was written.
  type: str
  returned: success
needed_bytes:
  description: Room that the restore takes beside the old data.
  type: int
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import Ways, contents_of
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    SETS_ARGUMENT,
    TARGET_ARGUMENT,
    target_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    assess,
    look,
    look_without_volume,
    one_shot_mounts,
    require_dump,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import one_shot

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "content": {"type": "dict", "required": True},
    "method": {"type": "str", "choices": ["physical", "logical"], "default": "physical"},
    "target": TARGET_ARGUMENT,
    "sets": SETS_ARGUMENT,
}


def of_the_dump(content: dict[str, Any]) -> dict[str, Any]:
    """What a logical restore comes to; its indexes are made anew, beside the data."""
    dump = require_dump(content)
    return {
        "changed": False,
        "plan": {"dump": dump["path"]},
        "recovery_point": dump["started_at"],
        "needed_bytes": content["pgbackrest"]["bytes"] * 2,
    }


def refuse_undone(plan: dict[str, Any]) -> None:
    """PRC-562 where the base backup is of what an earlier recovery undid: replay would bring that back unasked."""
    if plan["abandoned"]:
        raise RecoveryError(
            "PRC-562",
            f"recover PostgreSQL from the base backup {plan['label']}",
            "it was taken of what a later recovery to a point in time, or a rollback, has left behind",
            "nothing was changed",
            "choose a set from before that with -e recovery_backup_set=... (playbooks/catalog.yml lists them), and take"
            " a full backup (backup.yml) after each such recovery",
        )


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: look, judge."""
    given = module.params
    target = target_of(given)
    if given["method"] == "logical":
        return of_the_dump(given["content"])
    known = given["content"]["pgbackrest"]
    mounts = one_shot_mounts(compose_of(given), given["service"], given["backup_store_path"])
    image, environment = given["image"], given["environment_id"]
    window = {}
    if target is None:
        view = look_without_volume(image, mounts, environment, known["stanza"], known["label"])
        plan = assess(view, given["content"]).as_dict()
        refuse_undone(plan)
    else:
        with one_shot(image, mounts, environment) as run_bash:
            view = look(run_bash, known["stanza"], known["label"])
            ways = Ways(view, contents_of(given["content"], given["sets"]), run_bash)
            plan, window = ways.plan(target).as_dict(), {"window": ways.window()}
    return {
        **window,
        "changed": False,
        "plan": plan,
        "recovery_point": plan["recovery_point"],
        "needed_bytes": plan["needed_bytes"],
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
