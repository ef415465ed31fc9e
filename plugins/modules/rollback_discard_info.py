#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_discard_info
short_description: List what customers did since a recovery, before a rollback discards it
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - A rollback puts the data back that a recovery replaced; what customers did on the recovered data since is lost.
  - Lists it, and fails where there is any and O(discard) is not set, or where it cannot be listed. Changes nothing.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.trading_database
options:
  query:
    description: Statement that gives a row for each thing that would be lost; C(%(since)s) stands for O(since).
    type: str
    required: true
  since:
    description: When the recovery began; what is newer was done on the recovered data. ISO 8601 with an offset.
    type: str
    required: true
  discard:
    description: Whether whoever rolls back accepts the loss.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Reads only.
"""

EXAMPLES = r"""
- name: Assess | List what the rollback would discard
  platform3.recovery.rollback_discard_info:
    fence: "{{ recovery_fence }}"
    postgresql: {host: 127.0.0.1, port: 5432, database: forex_trading, user: forex_admin, password: "{{ secret }}"}
    query: SELECT order_id, created_at FROM orders WHERE created_at > %(since)s AND NOT is_test
    since: "2026-11-23T05:17:00.000Z"
"""

RETURN = r"""
discarded:
  description: What is lost by the rollback, a dictionary of texts each.
  type: list
  elements: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._trading_database import DATABASE_ARGUMENT, connect

ACCEPT = "run it again with -e rollback_discard=true to discard them, or keep the recovered data"
SHOWN = 10


def done_since(given: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the query; RecoveryError PRC-408 where the database does not answer it."""
    import psycopg
    from psycopg.rows import dict_row

    try:
        with connect(given["postgresql"], row_factory=dict_row) as connection:
            rows = connection.execute(given["query"], {"since": given["since"]}).fetchall()
    except psycopg.Error as error:
        raise RecoveryError(
            "PRC-408",
            "list what the rollback would discard",
            f"the live database does not answer: {str(error).splitlines()[0]}",
            "nothing was changed",
            "start the database, or accept the loss unseen with -e rollback_discard=true",
        ) from None
    return [{key: str(value) for key, value in row.items()} for row in rows]


def work(module: AnsibleModule) -> dict[str, Any]:
    """List, and refuse where there is something to lose and nobody accepted it."""
    given = module.params
    try:
        found = done_since(given)
    except RecoveryError:
        if given["discard"]:
            return {"changed": False, "discarded": []}
        raise
    if found and not given["discard"]:
        shown = "; ".join(" ".join(row.values()) for row in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise RecoveryError(
            "PRC-409",
            "roll back without a loss",
            f"customers did {len(found)} things on the recovered data since {given['since']}: {shown}{more}",
            "nothing was changed",
            ACCEPT,
        )
    return {"changed": False, "discarded": found}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            "postgresql": DATABASE_ARGUMENT,
            "query": {"type": "str", "required": True},
            "since": {"type": "str", "required": True},
            "discard": {"type": "bool", "default": False},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
