#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_delete_find_info
short_description: Find between which backup sets something was deleted in InfluxDB
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - InfluxDB keeps no log. What was deleted is known from the backup sets alone, by buckets and shards that are gone,
    tombstones that came, values that are fewer and deletes that the server counted, so to one increment.
  - Lists what was deleted, or may have been, between two sets around a time, and the set that still has it. What
    retention, a recovery or a rollback took away does not count.
  - What was deleted since the newest set is not known yet, but for whole buckets, where the running server was asked.
  - Takes no lock and changes nothing.
extends_documentation_fragment: [platform3.recovery.span, platform3.recovery.store, platform3.recovery.store.state]
options:
  now:
    description:
      - What the running server holds, C(at) and C(inventory) of M(platform3.recovery.influxdb_inventory_info). A bucket
        that a backup set must hold ends all sets once it was deleted, so that only the server tells of it.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: find | Look for what was deleted in InfluxDB
  platform3.recovery.influxdb_delete_find_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    around: "2026-11-23T14:30:00+00:00"
    now: "{{ {'at': __influxdb_now.at, 'inventory': __influxdb_now.inventory} }}"
"""

RETURN = r"""
events:
  description: What was deleted, in order of time.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description: V(bucket), V(shards) or V(points).
      type: str
    bucket:
      description: Name of the bucket.
      type: str
    organisation:
      description: Its organisation.
      type: str
    values:
      description: How many values are missing at least; null where it is not known, or not sure that any are.
      type: int
    at:
      description: The second in which it was deleted, where a tombstone tells; else null.
      type: str
    from:
      description: When the set before was captured, which still has it.
      type: str
    to:
      description: When the set after it was captured, or the server was asked.
      type: str
    set_before:
      description: Id of the set that still has it.
      type: str
    set_after:
      description: Id of the set that does not; null where it is the running server that does not.
      type: str
    before:
      description: As C(target_time) of M(platform3.recovery.influxdb_target_info) it brings back all that was deleted.
      type: str
searched:
  description: Which of that time lies between two sets, or between the newest and now, as C(from) and C(to).
  returned: success
  type: list
  elements: dict
warnings_found:
  description: Which of that time is not known, and sets that were passed over.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    COMPONENT,
    NANOSECONDS,
    nanoseconds,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lives import read_lives
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import (
    Now,
    captures_of,
    deletes_around,
)
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SETS_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._span import SPAN_ARGUMENTS, reach_of
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_nanoseconds

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SETS_ARGUMENTS,
    **SPAN_ARGUMENTS,
    "now": {"type": "dict", "default": {}},
}


def span_of(given: dict[str, Any]) -> tuple[int, int]:
    """From when to when it is searched (ns since 1970); PRC-765 where the inputs are none of that."""
    try:
        middle, reach = parse_nanoseconds(given["around"]), reach_of(given) * NANOSECONDS
    except ValueError as error:
        attempted = f"search for what was deleted in InfluxDB around {given['around']}"
        raise RecoveryError("PRC-765", attempted, str(error), "nothing was changed", "correct it") from None
    return middle - reach, middle + reach


def now_of(given: dict[str, Any]) -> Now | None:
    """What the running server was found to hold; None where it was not asked or gave no answer."""
    told = given["now"]
    return Now(frozenset(told["inventory"]["buckets"]), nanoseconds(told["at"])) if told else None


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read the sets, compare each with the next."""
    given = module.params
    start, end = span_of(given)
    entries, _ignored = read_store(
        given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"]
    )
    usable = [one.read.manifest for one in entries if one.usable and one.read.manifest is not None]
    captures = captures_of(one for one in usable if COMPONENT in one["components"])
    found = deletes_around(captures, read_lives(given["state_path"]), start, end, now_of(given))
    if not found.searched:
        held = f"their captures reach from {found.first} to {found.last}" if captures else "none holds InfluxDB"
        raise RecoveryError(
            "PRC-766",
            f"search for what was deleted in InfluxDB around {given['around']}",
            f"no two usable backup sets lie around that time: {held}",
            "nothing was changed",
            "search around a time between them, widen the window, or take an increment (backup.yml) and search again",
        )
    passed = [f"set {one.set_id} was passed over: {one.reason or one.state}" for one in entries if not one.usable]
    return {
        "changed": False,
        "events": found.events,
        "searched": found.searched,
        "warnings_found": [*found.warnings, *passed],
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
