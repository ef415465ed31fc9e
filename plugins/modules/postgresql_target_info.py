#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_target_info
short_description: Find the instant of a position in the WAL of PostgreSQL, or of a transaction
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Only PostgreSQL knows such a point. The other datastores are brought to the time of the last commit that it keeps.
  - Reads signed sets, the pgBackRest repository and the WAL stream in one read-only container, without the server or
    its volume. For a transaction the WAL is read from the newest segment backwards.
  - A point that cannot be reached is refused with the nearest that can, in the words of
    M(platform3.recovery.postgresql_wal_info).
  - Takes no lock and changes nothing.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  target:
    description: The point, as of M(platform3.recovery.postgresql_restore).
    type: dict
    required: true
    suboptions:
      kind:
        description: What the value is.
        type: str
        choices: [time, lsn, xid, name]
        required: true
      value:
        description: The point itself.
        type: str
        required: true
  method:
    description: How PostgreSQL will be restored. Only WAL leads to a point.
    type: str
    choices: [physical, logical]
    default: physical
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Find the time of a transaction
  platform3.recovery.postgresql_target_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
    target:
      kind: xid
      value: "771"
  register: __postgresql_point
"""

RETURN = r"""
at:
  description: When the last transaction that the point keeps was committed (UTC, to the microsecond).
  returned: success
  type: str
plan:
  description: The way there, as M(platform3.recovery.postgresql_wal_info) gives it.
  returned: success
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import Ways
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    TARGET_ARGUMENT,
    Target,
    nothing_leads_to,
    target_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._repository import STORE_ARGUMENTS, repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import one_shot

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STORE_ARGUMENTS,
    "target": {**TARGET_ARGUMENT, "required": True},
    "method": {"type": "str", "choices": ["physical", "logical"], "default": "physical"},
}


def contents_of_store(given: Mapping[str, Any], target: Target) -> dict[str | None, Mapping[str, Any]]:
    """PostgreSQL's part of each set that a recovery may take, by id, the newest also under None. PRC-551 for none."""
    entries, _ignored = read_store(
        given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"]
    )
    manifests = {one.set_id: one.read.manifest for one in reversed(entries) if one.usable and one.read.manifest}
    parts = {set_id: one["components"].get("postgresql") or {} for set_id, one in manifests.items()}
    found: dict[str | None, Mapping[str, Any]] = {key: one for key, one in parts.items() if one.get("pgbackrest")}
    if not found:
        raise nothing_leads_to(target)
    return {**found, None: found[max(key for key in found if key is not None)]}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read the sets, read the WAL."""
    given = module.params
    target = target_of(given)
    assert target is not None  # it is required
    contents = contents_of_store(given, target)
    repository = repository_of(given)
    with one_shot(given["image"], repository.mounts, given["environment_id"]) as run_bash:
        plan = Ways(repository.look(run_bash), contents, run_bash).plan(target).as_dict()
    return {"changed": False, "at": plan["recovery_point"], "plan": plan}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
