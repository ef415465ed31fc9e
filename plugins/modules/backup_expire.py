#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_expire
short_description: Remove backup sets, base backups and WAL that no rule keeps
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Decides on every set of the store at once and says why each stays or goes. Sets that the policy keeps keep the
    sets they are read with, their parents, their base backups and all WAL since the oldest of these.
  - So do the sets that a sandbox was made from, or is being, until it is dropped.
  - A set is renamed before it is deleted, newest first, so that nothing half deleted looks complete and no set that is
    there lacks one that it is read with. Base backups and WAL go after the sets that name them.
  - Folders of streamed WAL and of Redis' shipped log that earlier lives of the data left go once all that they hold is
    older than the base backups, and Redis' data in the sets, that stay. The newest of each stays in any case.
  - Where no good set is left, nothing is removed.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  redis_log_path:
    description: Folder of Redis' shipped log in the store; left out where it is not shipped.
    type: path
  sandbox_path:
    description: Folder of the sandbox's state; left out, nothing stays for a sandbox.
    type: path
  policy:
    description: How much is kept. Times are UTC.
    type: dict
    required: true
    suboptions:
      last:
        description: So many of the newest good sets; at least one stays in any case.
        type: int
        required: true
      hourly:
        description: The newest of each of so many hours that have one.
        type: int
        required: true
      daily:
        description: The newest of each of so many days.
        type: int
        required: true
      weekly:
        description: The newest of each of so many ISO weeks.
        type: int
        required: true
      monthly:
        description: The newest of each of so many months.
        type: int
        required: true
      yearly:
        description: The newest of each of so many years.
        type: int
        required: true
      min_tested:
        description: So many of the newest tested sets stay in any case.
        type: int
        required: true
      bad_days:
        description: So many days a condemned set stays, and one whose chain is broken.
        type: float
        required: true
  journal_days:
    description: So many days the journals of backups and expiries stay. Those of recoveries are never removed.
    type: float
    default: 30
attributes:
  check_mode:
    description: Decides and says so, and removes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Backup | Remove what no rule keeps
  platform3.recovery.backup_expire:
    fence: "{{ backup_set_fence }}"
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
    redis_log_path: /opt/platform3/backups/aof
    sandbox_path: /opt/platform3/recovery/sandbox
    policy: {last: 10, hourly: 24, daily: 7, weekly: 5, monthly: 12, yearly: 3, min_tested: 2, bad_days: 7}
"""

RETURN = r"""
verdicts:
  description: Each set, newest first, with C(id), whether it C(stays), and the C(reason).
  returned: success
  type: list
  elements: dict
base_backups:
  description: Labels of the base backups that went, or would go.
  returned: success
  type: list
  elements: str
lives:
  description:
    - Each folder of streamed WAL and of Redis' log, with its C(path) in the store, whether it C(stays), the C(reason)
      and its C(bytes).
  returned: success
  type: list
  elements: dict
journals:
  description: How many journals of backups and expiries went, or would go.
  returned: success
  type: int
bytes:
  description: Size of the sets and folders that went, or would go.
  returned: success
  type: int
table:
  description: The decision as lines for a terminal.
  returned: success
  type: list
  elements: str
"""

import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _expiry
from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import life_lines, size, verdict_lines
from ansible_collections.platform3.recovery.plugins.module_utils._lives import Lives
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import read_fence
from ansible_collections.platform3.recovery.plugins.module_utils._repository import STORE_ARGUMENTS, repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._retention import Policy, decide
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store

COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "min_tested")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, decide, remove."""
    given = module.params
    policy = Policy(**given["policy"])
    _expiry.require_policy(policy)
    now = datetime.datetime.now(datetime.timezone.utc)
    arguments = (given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"])
    entries, _ignored = read_store(*arguments)
    used = _expiry.sandbox_sets(given["sandbox_path"])
    verdicts = decide([_expiry.as_kept(one, used) for one in entries if one.state != "incomplete"], policy, now)
    repository = repository_of(given)
    view = repository.look()
    folders = Lives(given["image"], given["environment_id"], given["store_path"], given["redis_log_path"])
    stream = read_fence(given["store_path"], "wal_stream")
    plan = _expiry.plan(entries, verdicts, view, folders.look(view), stream)
    journals = _expiry.old_journals(given["state_path"], now.timestamp(), given["journal_days"])
    if not module.check_mode:
        _expiry.remove_journals(journals)
        right = _expiry.Right(given["state_path"], fence_of(module), given["sandbox_path"])
        _expiry.carry_out(plan, repository, folders, given["store_path"], right)
    listed = [{"id": one.set_id, "stays": one.stays, "reason": one.reason} for one in verdicts]
    gone = {one.set_id for one in plan.sets}
    left = [one.life for one in plan.lives if not one.stays]
    amount = sum(one.as_dict(now)["bytes"] for one in plan.sets) + sum(one.bytes for one in left)
    summary = f"{len(listed) - len(gone)} of {len(listed)} sets stay; going: {size(amount)} in {len(gone)} sets"
    summary += f" and {len(left)} folders of WAL or log" if left else ""
    bases = f", and base backups {plan.bases[-1]} to {plan.bases[0]}, {len(plan.bases)} in all" if plan.bases else ""
    return {
        "changed": bool(plan.sets or plan.bases or left or journals),
        "verdicts": listed,
        "base_backups": list(plan.bases),
        "lives": [
            {"path": one.life.path, "stays": one.stays, "reason": one.reason, "bytes": one.life.bytes}
            for one in plan.lives
        ],
        "journals": len(journals),
        "bytes": amount,
        "table": [*verdict_lines(listed), *life_lines(plan.lives), f"{summary}{bases}"],
        "diff": {"before": "".join(f"{one}\n" for one in [*sorted(gone), *(one.path for one in left)]), "after": ""},
    }


def main() -> None:
    """Entry point."""
    rules: dict[str, Any] = {name: {"type": "int", "required": True} for name in COUNTS}
    rules["bad_days"] = {"type": "float", "required": True}
    run_module(
        {
            **STEP_ARGUMENTS,
            **STORE_ARGUMENTS,
            "policy": {"type": "dict", "required": True, "options": rules},
            "journal_days": {"type": "float", "default": 30},
            "redis_log_path": {"type": "path"},
            "sandbox_path": {"type": "path"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
