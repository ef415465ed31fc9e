#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_verify_info
short_description: Prove that a recovered PostgreSQL holds what was backed up and takes writes
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Compares figures with the backup set, counts rows without their parent and violated invariants, checks the critical
    tables' indexes with amcheck, makes a write that is rolled back, and looks for the timeline in the archive.
  - It connects over the network with the owner's current password, which proves that too.
  - Nothing is changed. It fails when one of its checks is not good, with all of them in RV(checks).
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.postgresql
options:
  stanza:
    description: Stanza of the repository.
    type: str
    required: true
  host:
    description: Address of the server.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    default: 5432
  owner:
    description: Role that owns the data.
    type: str
    required: true
  password:
    description: The owner's current password.
    type: str
    required: true
  content:
    description: The part C(components.postgresql) of the set's manifest.
    type: dict
    required: true
  method:
    description: How it was restored.
    type: str
    choices: [physical, logical]
    default: physical
  system_identifier:
    description: The database that must answer; by default the one of the backup set.
    type: str
  invariants:
    description: Queries that count what must not be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What is counted.
        type: str
        required: true
      query:
        description: A query that gives one number.
        type: str
        required: true
  figures:
    description:
      - Whether counts and sums of the critical tables are compared. Not needed where the restore compared them a moment
        ago in the very same files, before it exchanged them.
    type: bool
    default: true
  heartbeat:
    description: Whether the newest heartbeat is read. Once services run on the recovered data, it is theirs.
    type: bool
    default: true
  restored_whole:
    description: Whether the whole server was restored. Else only tables in it were, and it goes on with the system
      identifier and in the timeline that it had.
    type: bool
    default: true
  amcheck:
    description: Whether the indexes of the critical tables are checked.
    type: bool
    default: true
  archiving:
    description: Whether the server must archive.
    type: bool
    default: true
  write_probe:
    description: A statement that is run as O(owner) and rolled back.
    type: str
    default: SELECT pg_logical_emit_message(true, 'platform3.recovery', 'write probe')
  connections:
    description: How many checks are made at once.
    type: int
    default: 2
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: verify | Compare PostgreSQL with the backup set
  platform3.recovery.postgresql_verify_info:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    stanza: platform3
    database: forex_trading
    owner: forex_admin
    password: "{{ postgresql_password }}"
    content: "{{ recovery_set.manifest.components.postgresql }}"
    invariants:
      - name: accounts whose free margin is not equity less used margin
        query: SELECT count(*) FROM accounts WHERE free_margin <> equity - used_margin
"""

RETURN = r"""
checks:
  description: Every comparison that was made.
  type: list
  elements: dict
  returned: always
seconds:
  description: How long the checks took.
  type: float
  returned: success
heartbeat:
  description: The newest heartbeat that the recovered data holds, with C(number) and C(at); null where there is none.
  returned: success
  type: dict
recovery_point:
  description: The time of that heartbeat, where there is one.
  returned: success
  type: str
"""

import contextlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import (
    POSTGRESQL_TABLE,
    Marker,
    of_postgresql,
)
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import (
    IN_PLACE,
    LiveServer,
    archive_checks,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import Clock
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_verify import (
    STATE_QUERY,
    Work,
    make,
    plan,
    state_checks,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "container": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 5432},
    "database": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "content": {"type": "dict", "required": True},
    "method": {"type": "str", "choices": ["physical", "logical"], "default": "physical"},
    "system_identifier": {"type": "str"},
    "invariants": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "query": {"type": "str", "required": True}},
    },
    "figures": {"type": "bool", "default": True},
    "heartbeat": {"type": "bool", "default": True},
    "restored_whole": {"type": "bool", "default": True},
    "amcheck": {"type": "bool", "default": True},
    "archiving": {"type": "bool", "default": True},
    "write_probe": {
        "type": "str",
        "default": "SELECT pg_logical_emit_message(true, 'platform3.recovery', 'write probe')",
    },
    "connections": {"type": "int", "default": 2},
}
# The checks themselves are made side by side: workers beside each of them would only cost processor time.
SESSION_OPTIONS = "-c max_parallel_workers_per_gather=0 -c work_mem=128MB -c jit=off"
NEXT_STEP = "keep the platform closed; look at the failed checks, then roll back or recover to another backup set"


def connect(given: dict[str, Any]) -> Any:
    """A connection as the owner, by the current password."""
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError:
        raise RecoveryError(
            "PRC-540", "connect to PostgreSQL", "the Python package psycopg is missing on this host",
            "nothing was changed", "set recovery_python to an interpreter that has it (prepare_hosts.yml makes one)",
        ) from None  # fmt: skip
    try:
        return psycopg.connect(
            host=given["host"], port=given["port"], dbname=given["database"], user=given["owner"],
            password=given["password"], autocommit=True, row_factory=dict_row, connect_timeout=10,
            application_name="platform3.recovery verify", options=SESSION_OPTIONS,
        )  # fmt: skip
    except psycopg.Error as error:
        raise RecoveryError(
            "PRC-541",
            f"connect to PostgreSQL on {given['host']}:{given['port']} as {given['owner']}",
            str(error).strip().splitlines()[0],
            IN_PLACE,
            "check postgresql_password and the port",
        ) from None


def rolled_back_write(given: dict[str, Any], connection: Any) -> Check:
    """A write as the application makes it, undone; the server's refusal is what was found."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(given["write_probe"])
    except Exception as error:
        return check("a write by the owner", COMPONENT, True, str(error).strip().splitlines()[0], ok=False)
    return check("a write by the owner", COMPONENT, True, True)


def newest_heartbeat(connection: Any) -> Marker | None:
    """The heartbeat in the database; None where nobody ever wrote one."""
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", [POSTGRESQL_TABLE]).fetchone()["there"]
    if not there:
        return None
    stamp = "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at"
    return of_postgresql(connection.execute(f"SELECT number, {stamp} FROM {POSTGRESQL_TABLE}").fetchall())


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: connect, make every check, fail unless all are good."""
    given, clock = module.params, Clock()
    content = given["content"]
    server = LiveServer(given["container"], given["database"], given["stanza"])
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(given)) for _ in range(given["connections"])]
        first = connections[0]
        heartbeat = newest_heartbeat(first) if given["heartbeat"] else None
        row = first.execute(STATE_QUERY).fetchone()
        wanted = given["system_identifier"] or str(content["system_identifier"])
        if not given["restored_whole"]:
            wanted = row["system_identifier"]
        physical = given["method"] == "physical"
        # A server in which only tables were restored goes on in the timeline that it had.
        new_timeline = physical and given["archiving"] and given["restored_whole"]
        checks = state_checks(row, content, wanted, new_timeline)
        checks.append(rolled_back_write(given, first))
        works: list[tuple[str, Work]] = list(plan(lambda query: list(first.execute(query).fetchall()), content, given))
        if given["archiving"]:
            works.append(("archive", lambda _rows: archive_checks(server, wanted, row["timeline"])))
        checks += make(connections, works)
    clock.lap("verify")
    require(checks, "PRC-542", "verify the recovered PostgreSQL", IN_PLACE, NEXT_STEP)
    found = {"heartbeat": heartbeat, **({"recovery_point": heartbeat["at"]} if heartbeat else {})}
    return {"changed": False, "checks": checks, "seconds": clock.parts["verify"], **found}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
