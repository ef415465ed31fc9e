#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_target_info
short_description: Say which backup set brings InfluxDB to an instant, and what is lost
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Of the sets that are complete, signed, of this environment and whole along their chains, takes the oldest that was
    captured at or after the target. It holds every point up to it; M(platform3.recovery.influxdb_restore) removes those
    after it. A target after the newest set is brought as far as that was captured.
  - Says where points, shards or buckets were deleted between the set before the target and that one. What was deleted
    after the target is missing in the later set; the last set before the delete has it, and lacks what came since.
  - A set from after a recovery is not taken for an instant before it. The journals in the state folder tell.
  - A point's own time counts, not when it arrived. One that was written before the target with a later time is removed,
    and one that was written after it with an earlier time stays.
  - Takes no lock and changes nothing.
extends_documentation_fragment:
  - platform3.recovery.store
  - platform3.recovery.store.state
options:
  version:
    description: Version of InfluxDB that will run. Sets of another major version are passed over; empty for any.
    type: str
    default: ""
  target_time:
    description: The instant, ISO 8601 with its offset; empty to ask for the window alone.
    type: str
    default: ""
  prefer:
    description:
      - Which set is chosen where data was deleted in between, V(complete) the one captured after the target, or
        V(before_deletes) the last one before the deletes.
    type: str
    choices: [complete, before_deletes]
    default: complete
  arrival_seconds:
    description: How long after the time that it bears a point may be written. Sets captured within it are passed over.
    type: float
    default: 5
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Ask what a recovery of InfluxDB to an instant would take and lose
  platform3.recovery.influxdb_target_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    target_time: "2026-11-23T14:30:00+00:00"
  register: __influxdb_target
"""

RETURN = r"""
window:
  description: C(earliest) and C(latest) instant that every point can be brought back to, and the number of C(points)
    that were captured; null where no usable set holds InfluxDB.
  returned: success
  type: dict
target_time:
  description: The target in UTC.
  returned: with O(target_time)
  type: str
chosen:
  description: The set to restore.
  returned: with O(target_time)
  type: dict
  contains: &choice
    backup_set:
      description: Its id.
      type: str
    captured_at:
      description: Every write acknowledged before is in it.
      type: str
    reached_at:
      description: Up to when every point is brought back, but for what is lost.
      type: str
    points_removed:
      description: Whether it holds points after the target, which are removed.
      type: bool
    lost:
      description:
        - By bucket (C(bucket), C(organisation)) what is missing of the state at the target. C(what) is V(not_captured)
          (written after the set), V(late) (perhaps not yet written when it was captured), V(undone) (perhaps undone by
          a recovery), or V(points), V(shards), V(bucket) that were deleted after the target, or perhaps so.
        - C(from) and C(to) bound when it was written or deleted, C(at) says when it was deleted where a tombstone
          tells, C(values) how many values at least are missing where figures tell.
      type: list
      elements: dict
    created:
      description: Names of buckets that the set before does not have. Where they were made after the target they stay,
        without points after it.
      type: list
      elements: str
other:
  description: The other choice, where data was deleted in between (see O(prefer)); null where there is none.
  returned: with O(target_time)
  type: dict
  contains: *choice
deletes:
  description: What was deleted, in the form of C(lost). With a O(target_time) between the sets around it and not surely
    before it; without one in all the window.
  returned: success
  type: list
  elements: dict
component:
  description: What a recovery reads of the chosen set, C(id), C(path), C(content), C(artefacts) and C(older), as
    M(platform3.recovery.backup_manifest_info) gives it.
  returned: with O(target_time)
  type: dict
bytes:
  description: Bytes that are read from the store for it, along its chain.
  returned: with O(target_time)
  type: int
passed_over:
  description: Sets that cannot be used, each with C(id) and C(reason).
  returned: success
  type: list
  elements: dict
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._chains import chain_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import COMPONENT, iso
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lives import read_lives
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import (
    ARRIVAL_SECONDS,
    BEFORE_DELETES,
    COMPLETE,
    bad_target,
    captures_of,
    choose,
    deletes_in,
    window_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest, needed_artefacts
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._selection import version_problem
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SETS_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry, read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_nanoseconds

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SETS_ARGUMENTS,
    "version": {"type": "str", "default": ""},
    "target_time": {"type": "str", "default": ""},
    "prefer": {"type": "str", "choices": [COMPLETE, BEFORE_DELETES], "default": COMPLETE},
    "arrival_seconds": {"type": "float", "default": ARRIVAL_SECONDS},
}


def usable(entries: Sequence[Entry], version: str) -> tuple[dict[str, Manifest], list[dict[str, str]]]:
    """The manifests with InfluxDB's data that a recovery may take, by id, and why others are passed over."""
    manifests: dict[str, Manifest] = {}
    passed = []
    for one in entries:
        manifest = one.read.manifest
        content = (manifest or {"components": {}})["components"].get(COMPONENT)
        reason = "" if one.usable else one.reason or one.state
        if not reason and content is not None and version:
            reason = version_problem(COMPONENT, content["version"], version) or ""
        if reason:
            passed.append({"id": one.set_id, "reason": reason})
        elif manifest is not None and content is not None:
            manifests[one.set_id] = manifest
    return manifests, passed


def part(store: str, set_id: str, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """What a recovery reads of a set, and of those it builds on (which are usable as it is)."""
    *older, last = [
        {
            "id": one,
            "path": os.path.join(store, one),
            "artefacts": needed_artefacts(manifests[one], [COMPONENT]),
        }
        for one in chain_of(manifests[set_id], COMPONENT)
    ]
    return {**last, "content": manifests[set_id]["components"][COMPONENT], "older": older}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, choose, tell."""
    given = module.params
    try:
        target = parse_nanoseconds(given["target_time"]) if given["target_time"] else None
    except ValueError as error:
        raise bad_target(str(error)) from None
    store = given["store_path"]
    entries, _ignored = read_store(store, given["state_path"], given["environment_id"], given["trusted_signers"])
    manifests, passed = usable(entries, given["version"])
    captures = captures_of(manifests.values())
    result = {"changed": False, "window": window_of(captures), "passed_over": passed}
    lives = read_lives(given["state_path"])
    if target is None:
        return {**result, "deletes": [one.as_dict() for one in deletes_in(captures, lives)]}
    choices = choose(target, captures, time.time_ns(), given["prefer"], lives, given["arrival_seconds"])
    component = part(store, choices.chosen.capture.set_id, manifests)
    read = [component, *component["older"]]
    return {
        **result,
        "target_time": iso(target),
        "chosen": choices.chosen.as_dict(),
        "other": choices.other.as_dict() if choices.other else None,
        "deletes": [one.as_dict() for one in choices.deletes],
        "component": component,
        "bytes": sum(file["bytes"] for one in read for file in one["artefacts"]),
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
