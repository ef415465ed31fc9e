#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_wal_find_info
short_description: Find when tables of PostgreSQL were dropped or emptied, in its WAL
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the WAL of archive and stream around a time with C(pg_waldump), in one read-only container, and lists dropped,
    truncated and rewritten tables, large deletes and dropped databases. What was not committed is left out.
  - Tables get their names from the maps in the manifests of the backup sets. Where no map knows one, such as one that
    was made since the last set, its file is named.
  - The rows of a transaction that began before the searched time are counted from there on.
  - What earlier recoveries to a point in time have left behind is searched as well, and marked.
  - Needs neither the server nor its volume, takes no lock and changes nothing.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.span
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  many_rows:
    description: Deletes are listed where one transaction took away so many rows or more.
    type: int
    default: 1000
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: find | Look for what took data away from PostgreSQL
  platform3.recovery.postgresql_wal_find_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
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
      description: When it was committed (UTC, to the microsecond).
      type: str
    kind:
      description:
        - V(DROP TABLE), V(TRUNCATE), V(DELETE) or V(DROP DATABASE).
        - V(REWRITE) where a table got other files by something else (VACUUM FULL, CLUSTER, ALTER TABLE), or by a
          TRUNCATE in a transaction that dropped something too.
      type: str
    tables:
      description: The tables or databases, with their schema; the file where no backup set names it.
      type: list
      elements: str
    more_tables:
      description: How many more there are than are named.
      type: int
    rows:
      description: How many rows were deleted, of all tables together; null for other kinds.
      type: int
    xid:
      description: The transaction.
      type: int
    lsn:
      description: Where its commit begins.
      type: str
    before:
      description:
        - What brings PostgreSQL to just before it, as C(target) of M(platform3.recovery.postgresql_restore). It is a
          time, since a transaction's id as a target would keep that transaction.
        - Null where no base backup leads there.
      type: dict
    abandoned_timeline:
      description: The timeline, where it lies on what an earlier recovery left behind; else null.
      type: int
searched:
  description: Which of that time was searched, as C(from), C(to), C(segments) and C(abandoned_timeline).
  returned: success
  type: list
  elements: dict
gaps:
  description: WAL that is missing in that time, as C(segment), C(wrong) and the last and first instant around it,
    C(from) and C(to).
  returned: success
  type: list
  elements: dict
warnings_found:
  description: What else was not searched.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_find import Span, search
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import Ways, contents_of
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import SECOND
from ansible_collections.platform3.recovery.plugins.module_utils._repository import STORE_ARGUMENTS, repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._span import SPAN_ARGUMENTS, reach_of
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_microseconds
from ansible_collections.platform3.recovery.plugins.module_utils._wal_changes import names_of
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import one_shot

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STORE_ARGUMENTS,
    **SPAN_ARGUMENTS,
    "many_rows": {"type": "int", "default": 1000},
}


def span_of(given: dict[str, Any]) -> Span:
    """What is sought; PRC-563 where the inputs are none of that."""
    try:
        middle, reach = parse_microseconds(given["around"]), reach_of(given) * SECOND
        if given["many_rows"] < 1:
            raise ValueError(f"many_rows is {given['many_rows']}, and is 1 or more")
    except ValueError as error:
        attempted = f"search the WAL of PostgreSQL around {given['around']}"
        raise RecoveryError("PRC-563", attempted, str(error), "nothing was changed", "correct it") from None
    return Span(middle - reach, middle + reach, given["many_rows"])


def contents_of_store(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """PostgreSQL's parts of the sets that a recovery may take, by id, the oldest first."""
    entries, _ignored = read_store(
        given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"]
    )
    manifests = {one.set_id: one.read.manifest for one in reversed(entries) if one.usable and one.read.manifest}
    parts = {set_id: one["components"].get("postgresql") for set_id, one in manifests.items()}
    return {set_id: one for set_id, one in parts.items() if one}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: read the sets, read the WAL."""
    given = module.params
    span = span_of(given)
    contents = contents_of_store(given)
    if not contents:
        raise RecoveryError(
            "PRC-566",
            "search the WAL of PostgreSQL",
            "no usable backup set holds PostgreSQL: whose WAL it is, is not known",
            "nothing was changed",
            "mount the right backup store, or run backup.yml; playbooks/catalog.yml tells what there is",
        )
    newest = list(contents.values())[-1]
    repository = repository_of(given)
    own = [one for one in contents.values() if one["system_identifier"] == newest["system_identifier"]]
    with one_shot(given["image"], repository.mounts, given["environment_id"]) as run_bash:
        sets = [{"backup_set": set_id, "content": one} for set_id, one in contents.items()]
        ways = Ways(repository.look(run_bash), contents_of(newest, sets), run_bash)
        found = search(ways, names_of(own), span)
    return {
        "changed": False,
        "events": found.events,
        "searched": found.searched,
        "gaps": found.gaps,
        "warnings_found": found.warnings,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
