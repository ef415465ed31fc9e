#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_undone
short_description: List the rows that a recovery to a point in time undid
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Starts the quarantined PostgreSQL where it lies, in a one-shot container without a network, read-only, and lists the
    rows that transactions behind the point made or changed, into a CSV file for each kind.
  - Which transactions these are is told by their ids, as the recovery noted them where it stopped, not by times in the
    rows. Rows that such a transaction deleted are back, and not listed; neither are rows that were made and deleted
    behind the point.
  - The quarantined server does what its own next start would have done, archives nothing, keeps the WAL that is not
    archived yet, and is shut down in good order, so that a rollback puts back the same data.
  - It does not fail where nothing can be listed (no old data, damage, a table that is missing); that is said then, and
    no file is left for what is not known.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.one_shot
options:
  service:
    description: Compose service of the server.
    type: str
    required: true
  volume:
    description: Compose key of the server's volume.
    type: str
    required: true
  dest:
    description: Folder on this host for the files C(undone_KIND.csv); made where it is missing.
    type: path
    required: true
  wanted:
    description: What to list.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: What the rows are, a lower-case word in the plural; names the file.
        type: str
        required: true
      table:
        description: Table, with its schema where that is not on the search path.
        type: str
        required: true
      id:
        description: Column that identifies a row.
        type: str
        required: true
      at:
        description: Column with its time.
        type: str
      account:
        description: Column with its account.
        type: str
      amount:
        description: SQL expression of the exact number that is summed.
        type: str
      details:
        description: Further columns.
        type: list
        elements: str
        default: []
      where:
        description: SQL condition on the rows.
        type: str
attributes:
  check_mode:
    support: full
    description: Lists nothing and writes nothing.
"""

EXAMPLES = r"""
- name: report | List the orders and deposits that were undone
  platform3.recovery.postgresql_undone:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    container: forex-postgres
    image: platform3/postgresql:17
    volume: postgresql-data
    environment_id: lab-0123456789ab
    backup_store_path: /opt/platform3/backups
    database: forex_trading
    dest: /opt/platform3/recovery/rec-20261123T143500Z-ab12
    wanted:
      - {kind: deposits, table: deposits, id: deposit_id, at: created_at, account: account_id, amount: amount}
"""

RETURN = r"""
undone:
  description: A listing for each kind.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: What was listed.
      type: str
    count:
      description: How many were undone; null where it is not known.
      type: int
    sum:
      description: Sum of their amounts, an exact number as text; null where none has one.
      type: str
    first:
      description: The first rows, at most 20.
      type: list
    file:
      description: Name, bytes and sha256 of the file; null where there is none.
      type: dict
    says:
      description: Why it is not known; empty where it is.
      type: str
warnings_found:
  description: Each kind of which it is not known what was undone, with the reason.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_undone import cannot_list, list_undone
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import one_shot_mounts
from ansible_collections.platform3.recovery.plugins.module_utils._undone import require_kinds, unlisted, warnings_of
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

# Customers trade while this runs: it stands back where processors are short.
CPU_SHARES = 128

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "database": {"type": "str", "required": True},
    "dest": {"type": "path", "required": True},
    "wanted": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kind": {"type": "str", "required": True},
            "table": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "at": {"type": "str"},
            "account": {"type": "str"},
            "amount": {"type": "str"},
            "details": {"type": "list", "elements": "str", "default": []},
            "where": {"type": "str"},
        },
    },
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Open the quarantine and list."""
    given = module.params
    require_kinds(given["wanted"], "postgresql_undone")
    if module.check_mode:
        return {"changed": False, "undone": [], "warnings_found": []}
    compose = compose_of(given)
    try:
        volume = find_volume(compose.project, given["volume"])
        if volume is None:
            raise cannot_list("PRC-581", "rows", f"there is no volume {given['volume']}")
        mounts = one_shot_mounts(compose, given["service"], given["backup_store_path"])
        with VolumeWorker(
            "postgresql", volume, given["image"], given["environment_id"], fence_of(module), mounts,
            cpu_shares=CPU_SHARES,
        ) as worker:  # fmt: skip
            listings = list_undone(given, worker)
    except RecoveryError as error:
        listings = [unlisted(given["dest"], one["kind"], error) for one in given["wanted"]]
    return {"changed": True, "undone": listings, "warnings_found": warnings_of(listings)}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
