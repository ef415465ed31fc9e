#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_window_info
short_description: Say which instants all datastores can be brought to, and what a target would take
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Of each datastore tells the earliest and latest instant that can be reached, what lies between and cannot, and the
    stretches that all of them share.
  - For a target asks each in the way in which its restore would, and gives the refusal of one that cannot be brought
    there in the same words, with the nearest instants that all share.
  - Reads signed sets, the pgBackRest repository with WAL archive and stream (little of the WAL itself), and the shipped
    logs of Redis, in one-shot containers.
  - Takes no lock and changes nothing.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  target_time:
    description: The instant, ISO 8601 with its offset; empty for the window alone.
    type: str
    default: ""
  point_name:
    description: The restore point whose instant is the target, instead of O(target_time).
    type: str
    default: ""
  wal_target:
    description:
      - The LSN or transaction of PostgreSQL whose instant is the target, instead of O(target_time).
      - One that PostgreSQL cannot be brought to ends the module with its refusal, since it has no instant then.
    type: dict
    suboptions:
      kind:
        description: What the value is.
        type: str
        choices: [lsn, xid]
        required: true
      value:
        description: The position or number.
        type: str
        required: true
  redis_log_path:
    description: Folder of Redis' shipped log, where there is one.
    type: path
  redis_restore_from:
    description: As M(platform3.recovery.redis_restore) takes it.
    type: str
    choices: [newest, snapshot]
    default: newest
  redis_log:
    description: As M(platform3.recovery.redis_restore) takes it.
    type: str
    choices: [required, preferred]
    default: preferred
  influxdb_prefer:
    description: As M(platform3.recovery.influxdb_target_info) takes it.
    type: str
    choices: [complete, before_deletes]
    default: complete
  replay:
    description: The C(figures) of M(platform3.recovery.postgresql_replay_info), for the time that replay will take.
    type: dict
    default: {}
  points:
    description: How many of the newest restore points are listed.
    type: int
    default: 20
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: See whether all datastores can be brought to an instant
  platform3.recovery.recovery_window_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
    redis_log_path: /opt/platform3/backups/aof
    target_time: "2026-11-23T14:30:00+00:00"
  register: __backup_set_window
"""

RETURN = r"""
window:
  description: All of it, as it is written to a file.
  returned: success
  type: dict
  contains:
    at:
      description: When this was read, by the store's clock.
      type: str
    environment:
      description: Name of the environment.
      type: str
    datastores:
      description: >-
        By name the C(stretches) that can be reached (C(from), C(to), both included), the C(gaps) between them, and more
        of it in C(window). For PostgreSQL that is the C(window) of M(platform3.recovery.postgresql_wal_info), for Redis
        the C(logs) as of M(platform3.recovery.redis_log_info) and the C(snapshots), for InfluxDB the captures and the
        C(deletes) of M(platform3.recovery.influxdb_target_info).
      type: dict
    shared:
      description: >-
        The C(stretches) that all datastores reach, from the end of the first set on, and the C(gaps) between them.
      type: dict
    points:
      description: Restore points, newest first, as recorded, and whether all datastores reach them (C(reachable)).
      type: list
      elements: dict
    target:
      description: What the target would take; null without one.
      type: dict
      contains:
        time:
          description: The target in UTC.
          type: str
        point_name:
          description: The restore point that it is of; empty where none was given.
          type: str
        wal_target:
          description: The LSN or transaction that it is of, as C(kind) and C(value); null where none was given.
          type: dict
        backup_set:
          description: The set that a recovery would begin with; null where there is none.
          type: str
        datastores:
          description: >-
            By name whether it is C(reachable), the C(error) where it is not, else C(reached_at), C(skew_seconds), the
            C(backup_set), and what is read. For PostgreSQL that is C(base_backup), C(timeline), C(first_segment),
            C(last_segment), C(segments), C(replay_bytes), C(stop_lsn), C(last_commit), C(seconds); for Redis
            C(source), C(log), C(reason); for InfluxDB C(chain), C(bytes), C(captured_at), C(points_removed), C(lost),
            C(created), C(other).
          type: dict
        reachable:
          description: Whether all datastores can be brought there.
          type: bool
        sentence:
          description: Which of them can.
          type: str
        nearest:
          description: The nearest instants that all share, C(before) and C(after) it; null where there is none.
          type: dict
    problems:
      description: What could not be read or used.
      type: list
      elements: str
table:
  description: All of it as lines for a terminal.
  returned: success
  type: list
  elements: str
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import (
    _recovery_window,
    _recovery_window_look,
    _restore_points,
    _signing,
    _verified,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import BEFORE_DELETES, COMPLETE
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import NAME as SIGNATURES
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import KnownSignatures
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import parse_target
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import Stretch
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window_look import Asked, Looked
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window_text import table
from ansible_collections.platform3.recovery.plugins.module_utils._store_reach import REACH_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, parse_microseconds, to_iso

ARGUMENTS: dict[str, dict[str, Any]] = {
    **REACH_ARGUMENTS,
    "environment": {"type": "str", "required": True},
    "target_time": {"type": "str", "default": ""},
    "point_name": {"type": "str", "default": ""},
    "wal_target": {
        "type": "dict",
        "options": {
            "kind": {"type": "str", "choices": ["lsn", "xid"], "required": True},
            "value": {"type": "str", "required": True},
        },
    },
    "redis_restore_from": {"type": "str", "choices": ["newest", "snapshot"], "default": "newest"},
    "redis_log": {"type": "str", "choices": ["required", "preferred"], "default": "preferred"},
    "influxdb_prefer": {"type": "str", "choices": [COMPLETE, BEFORE_DELETES], "default": COMPLETE},
    "replay": {"type": "dict", "default": {}},
    "points": {"type": "int", "default": 20},
}


def asked_of(given: Mapping[str, Any]) -> Asked | None:
    """The target, None where there is none. PRC-102 for a time that is none, 550 for a malformed place in the WAL, 851
    for an unknown name."""
    if given["wal_target"]:
        parse_target(given["wal_target"])
        return Asked("", wal=given["wal_target"])
    if given["point_name"]:
        arguments = (given["store_path"], given["point_name"], given["environment_id"], given["trusted_signers"])
        return Asked(_restore_points.resolve(*arguments).at, given["point_name"])
    if not given["target_time"]:
        return None
    try:
        parse_iso(given["target_time"])
    except ValueError as error:
        way = "correct recovery_target_time"
        raise RecoveryError("PRC-102", "read recovery_target_time", str(error), "nothing was changed", way) from None
    return Asked(given["target_time"])


def reach(stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Stretches and the gaps between them, as data."""
    gaps = _recovery_window.between(stretches)
    return {"stretches": [one.as_dict() for one in stretches], "gaps": [one.as_dict() for one in gaps]}


def target_of(asked: Asked, looked: Mapping[str, Looked], shared: Sequence[Stretch], start: Any) -> dict[str, Any]:
    """What is said of the target."""
    answers = {name: one.answer or {"reachable": False, "error": nothing(name)} for name, one in looked.items()}
    before, after = _recovery_window.nearest(shared, parse_microseconds(asked.at))
    chosen = not isinstance(start, RecoveryError)
    sentence = _recovery_window.verdict(answers)
    return {
        "time": asked.at if asked.name or asked.wal else to_iso(parse_iso(asked.at)),
        "point_name": asked.name,
        "wal_target": dict(asked.wal) or None,
        "backup_set": start["backup_set"] if chosen else None,
        "datastores": answers,
        "reachable": chosen and all(one["reachable"] for one in answers.values()),
        "sentence": sentence if chosen else f"{sentence}; no set was finished before it: {start.found}",
        "nearest": {"before": _recovery_window.shown(before), "after": _recovery_window.shown(after)},
    }


def nothing(name: str) -> dict[str, str]:
    """The answer of a datastore that no set holds."""
    way = "run backup.yml, or mount the right backup store"
    return RecoveryError(
        "PRC-200", f"bring {name} back", "no usable set holds it", "nothing was changed", way
    ).as_dict()


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, ask, lay out."""
    given = module.params
    asked = asked_of(given)
    arguments = (given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"])
    entries, ignored = read_store(*arguments)
    manifests = _recovery_window_look.manifests_of(entries)
    postgresql = _recovery_window_look.look_at_postgresql(given, manifests, asked)
    asked = _recovery_window_look.resolved(asked, postgresql)
    start = _recovery_window_look.start_of(entries, given, asked)
    looked = {
        "postgresql": postgresql,
        "redis": _recovery_window_look.look_at_redis(given, manifests, asked, start),
        "influxdb": _recovery_window_look.look_at_influxdb(given, manifests, asked),
    }
    sets = _recovery_window_look.stretches_of_sets(manifests)
    shared = _recovery_window.shared([sets, *(one.stretches for one in looked.values())])
    signed = KnownSignatures(
        _signing.allowed_signers(given["trusted_signers"]), _verified.recall(given["state_path"], SIGNATURES)
    )
    store, environment_id = os.fspath(given["store_path"]), given["environment_id"]
    points, unusable = _restore_points.read_all(store, environment_id, signed.signer_of, given["points"])
    found = {
        "at": to_iso(time.time()),
        "environment": given["environment"],
        "datastores": {name: {**reach(one.stretches), "window": one.window} for name, one in looked.items()},
        "shared": reach(shared),
        "points": [
            {
                **_restore_points.as_dict(one),
                "reachable": _recovery_window.holds(shared, parse_microseconds(one.at)),
            }
            for one in points
        ],
        "target": target_of(asked, looked, shared, start) if asked else None,
        "problems": [*ignored, *unusable, *(told for one in looked.values() for told in one.problems)],
    }
    return {"changed": False, "window": found, "table": table(found, given["environment"])}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
