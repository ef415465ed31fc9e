#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_audit_find_info
short_description: Find who took data away, in the audit log that the platform keeps in PostgreSQL
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Runs a query of the inventory on the running server as the owner of the data, in a transaction that cannot write,
    and gives what the platform's own audit log says of a time.
  - Where the server does not answer, that is no failure but stands in RV(warnings_found).
    M(platform3.recovery.postgresql_wal_find_info) needs no server.
  - Takes no lock and changes nothing.
extends_documentation_fragment: [platform3.recovery.postgresql, platform3.recovery.span]
options:
  owner:
    description: Role that owns the data, as which the query is run.
    type: str
    required: true
  query:
    description:
      - A SELECT with the columns C(at) (timestamptz), C(actor), C(action), C(object), and C(rows), C(xid) (the
        transaction) and C(source) (program and address), which may be null.
      - V(%(from)s) and V(%(until)s) in it stand for the time that is searched. Another per cent sign is written once.
    type: str
    required: true
  limit:
    description: How many events are listed at most, those nearest to the middle.
    type: int
    default: 200
  timeout_seconds:
    description: How long the query may take.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: find | See who took data away from PostgreSQL
  platform3.recovery.postgresql_audit_find_info:
    container: forex-postgres
    database: forex_trading
    owner: forex_admin
    query: >-
      SELECT at, actor, action, subject AS object, detail ->> 'rows' AS rows, detail ->> 'transaction' AS xid,
      detail ->> 'application' AS source FROM audit_log
      WHERE action LIKE 'sql.%' AND at BETWEEN %(from)s AND %(until)s
    around: "2026-11-23T14:30:00+00:00"
"""

RETURN = r"""
events:
  description: What was found, in order of time.
  returned: success
  type: list
  elements: dict
  contains:
    at:
      description: When it was done, by the log (UTC, to the microsecond); the commit comes later.
      type: str
    actor:
      description: Who did it.
      type: str
    action:
      description: What was done.
      type: str
    object:
      description: To what.
      type: str
    rows:
      description: How many rows; null where the log does not say.
      type: int
    xid:
      description: The transaction as the WAL counts it (the lower 32 bits); null where the log does not say.
      type: int
    source:
      description: From which program and address; null where the log does not say.
      type: str
searched:
  description: Which time was searched, as C(from) and C(to); empty where the server does not answer.
  returned: success
  type: list
  elements: dict
warnings_found:
  description: That the server does not answer, or that there is more than is listed.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_audit import COLUMNS, bounded, events_of
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import SECOND
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, identifier
from ansible_collections.platform3.recovery.plugins.module_utils._span import SPAN_ARGUMENTS, reach_of
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_microseconds
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time

# So long a server that is there is waited for: it may be in the middle of a restart.
ANSWER_SECONDS = 10
ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    **SPAN_ARGUMENTS,
    "limit": {"type": "int", "default": 200},
    "timeout_seconds": {"type": "int", "default": 30},
}


def span_of(given: dict[str, Any]) -> tuple[int, int]:
    """From when to when it is searched (microseconds since 1970); PRC-563 where the inputs are none of that."""
    try:
        middle, reach = parse_microseconds(given["around"]), reach_of(given) * SECOND
        for name in ("limit", "timeout_seconds"):
            if given[name] < 1:
                raise ValueError(f"{name} is {given[name]}, and must be at least 1")
        if not given["query"].strip():
            raise ValueError("query is empty")
    except ValueError as error:
        attempted = f"search the audit log around {given['around']}"
        raise RecoveryError("PRC-563", attempted, str(error), "nothing was changed", "correct it") from None
    return middle - reach, middle + reach


def reached(given: dict[str, Any]) -> Session | str:
    """A session on the server, or why there is none."""
    server = LiveServer(given["container"], given["database"], stanza="")
    try:
        server.require_alive([])
        return server.session(timeout_seconds=ANSWER_SECONDS)
    except RecoveryError as error:
        return error.found


def asked(session: Session, given: dict[str, Any], span: tuple[int, int]) -> list[dict[str, Any]]:
    """The rows of the query, one more than the limit where there are more; PRC-567 where it fails."""
    seconds = given["timeout_seconds"]
    try:
        session.execute(
            f"SET ROLE {identifier(given['owner'])}; SET statement_timeout = '{seconds}s';"
            f" SET lock_timeout = '{seconds}s'; BEGIN TRANSACTION READ ONLY;"
        )
        return session.rows(bounded(given["query"], *span, given["limit"]), timeout_seconds=seconds + 10)
    except RecoveryError as error:
        raise RecoveryError(
            "PRC-567",
            "search the platform's audit log",
            error.found,
            "nothing was changed",
            f"correct postgresql_audit_query (it gives {', '.join(COLUMNS)}), or narrow recovery_window_seconds where"
            " it took too long",
        ) from None


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: connect, ask."""
    given = module.params
    span = span_of(given)
    session = reached(given)
    if isinstance(session, str):
        lost = f"the server does not answer ({session})"
        return {"changed": False, "events": [], "searched": [], "warnings_found": [lost]}
    with session:
        rows = asked(session, given, span)
    limit = given["limit"]
    more = [f"it tells of more than {limit}: those nearest to the time are listed"] if len(rows) > limit else []
    return {
        "changed": False,
        "events": events_of(rows[:limit]),
        "searched": [{"from": show_time(span[0]), "to": show_time(span[1])}],
        "warnings_found": more,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
