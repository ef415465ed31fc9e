#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_lock
short_description: Take or give back the one lock on an environment's data
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - The lock gives the fence (recovery id and epoch) that every module which changes data must show.
  - Each time it is taken the epoch rises, so that an orphan of an earlier run is outranked.
  - A recovery that did not end well keeps the lock for its O(recovery_id); a recovery outranks a backup.
options:
  state:
    description:
      - V(taken) takes the lock or goes on with an unfinished recovery of the same id.
      - V(released) ends the run; the lock is freed if O(outcome) is V(success) or V(abandoned), or if no step behind
        assess was begun since it was taken, so that nothing can be half done. A backup frees it with V(untouched) too.
      - V(stopping) asks the run that holds the lock to end at its next step.
      - V(found) only tells who holds it.
    type: str
    choices: [taken, released, stopping, found]
    default: taken
  state_path:
    description: State folder (C(recovery_state_path)).
    type: path
    required: true
  store_path:
    description: Backup store (C(backup_store_path)); its environment id and epoch are compared and raised.
    type: path
  environment_id:
    description: Id of the environment; the one stored in the state folder and the backup store must be the same.
    type: str
  recovery_id:
    description:
      - Id of the recovery or backup.
      - Where a backup gives none, it gets C(backup-) and the UTC second in which it takes the lock.
    type: str
  kind:
    description: What takes the lock.
    type: str
    choices: [recovery, backup]
    default: recovery
  wait_seconds:
    description: How long a backup waits for another backup to give the lock back before it is refused.
    type: int
    default: 0
  scenario:
    description: For the journal and for messages to others.
    type: str
    default: full
  holder:
    description: Who runs it, for messages to others.
    type: str
    default: unknown
  elapsed_seconds:
    description: How long the run has been at work before it asked for the lock; the RTO counts from there.
    type: float
    default: 0
  details:
    description:
      - What the journal's first line of this run also holds (components, backup set, incident).
      - An C(incident_at) that is null becomes the latest instant at which the platform can have been lost, where the
        state folder holds a log of heartbeats that reaches beyond the backup set. That is when the heartbeat after the
        last acknowledged one was due and not taken, and never later than the start of the recovery.
    type: dict
    default: {}
  goal_told:
    description: Whether it was told what to recover; where it was not, only a recovery that was begun may go on. One of
      chosen components that goes on must be told the same ones, or none.
    type: bool
    default: true
  fence:
    description: The fence of the run that ends, for O(state=released).
    type: dict
    suboptions:
      recovery_id:
        description: Id of the recovery or backup.
        type: str
        required: true
      epoch:
        description: Epoch of this run.
        type: int
        required: true
  outcome:
    description: How the run ended, for O(state=released). V(untouched) is a failure before anything was changed.
    type: str
    choices: [success, partial, failed, untouched, abandoned]
attributes:
  check_mode:
    support: full
    description: In check mode nothing is taken; the fence has epoch 0.
"""

EXAMPLES = r"""
- name: Take the lock
  platform3.recovery.recovery_lock:
    state_path: /opt/platform3/recovery
    store_path: /opt/platform3/backups
    environment_id: lab-0123456789ab
    recovery_id: 20261123T051700Z-full
  register: __recovery_lock
"""

RETURN = r"""
fence:
  description: What every module that changes data must show.
  type: dict
  returned: state is taken
  sample: {"recovery_id": "20261123T051700Z-full", "epoch": 7}
run:
  description: How often this recovery took the lock; 1 for the first run.
  type: int
  returned: state is taken
began_at:
  description: When the first run of this recovery began, ISO 8601 UTC.
  type: str
  returned: state is taken
resumed_before:
  description: Whether an earlier run of this recovery had begun to start services on the restored data.
  type: bool
  returned: state is taken
freed:
  description: Whether the lock is free now; a recovery that was not finished keeps it.
  type: bool
  returned: state is released
held:
  description: The lock that was met, or null.
  type: dict
  returned: always
details:
  description:
    - O(details) as the first run of this recovery gave them.
    - C(scenario), C(components), C(services) and C(parts) of that run are among them also where O(details) does not
      name them.
  type: dict
  returned: state is taken
"""

import datetime
import json
import os
import time
from dataclasses import asdict, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._barrier import resumed, touched
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import incident, read_log
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import PLAYBOOKS
from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import shown_parts
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import set_id_of
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import named
from ansible_collections.platform3.recovery.plugins.module_utils._state import (
    Lock,
    append_entry,
    exclusive,
    now_iso,
    parse_lock,
    read_text,
    refusal,
    replace_text,
)

WAIT_POLL_SECONDS = 0.5
FREEING = {"recovery": ("success", "abandoned"), "backup": ("success", "abandoned", "untouched")}
# What cannot be begun a second time under one id; a rollback or release works on a recovery that has ended.
RECOVERIES = ("full", "partial", "point_in_time", "drill")


def take(module: AnsibleModule, held: Lock | None, lock_path: str) -> dict[str, Any]:
    """Take the lock over held, or say who has it."""
    given = module.params
    for folder in (given["state_path"], given["store_path"]):
        compare_environment(folder, given["environment_id"])
    age = time.time() - os.stat(lock_path).st_mtime if held else 0.0
    wanted = wanted_id(given)
    reason = refusal(held, wanted, given["kind"], age)
    if reason and held:
        raise refused(reason, held, wanted)
    epoch_path = os.path.join(given["state_path"], "epoch")
    store_epoch_path = os.path.join(given["store_path"], "fence", "epoch")
    epoch = 1 + max(int(read_text(path) or 0) for path in (epoch_path, store_epoch_path))
    again = held is not None and held.recovery_id == wanted
    journal_path = os.path.join(given["state_path"], wanted, "journal.jsonl")
    if not again and given["scenario"] in RECOVERIES and read_text(journal_path):
        raise RecoveryError(
            "PRC-307",
            f"begin recovery {wanted}",
            "a recovery of this id has ended already",
            "nothing was changed",
            "leave recovery_id out for a new recovery, or name an unfinished one",
        )
    if not again and not given["goal_told"]:
        raise RecoveryError(
            "PRC-312",
            f"go on with recovery {wanted}",
            "there is no unfinished recovery of this id, and what a new one is to bring back was not told",
            "nothing was changed",
            "give the id that reports/ and the card name, or say what to recover (target or components)",
        )
    run = 1 + (held.run if held and again else 0)
    details = dict(given["details"])
    if again and given["scenario"] in RECOVERIES:
        first = json.loads(read_text(journal_path).splitlines()[0])
        require_same_goal(first, given)
        # What was not told again is put on record as it was told first: the barriers wait for these components.
        details |= goal_of(first)
    if "incident_at" in details and not details["incident_at"]:
        began = time.time() - given["elapsed_seconds"]
        details["incident_at"] = incident(read_log(given["state_path"]), details.get("backup_set"), began)
    if module.check_mode:
        fence = {"recovery_id": wanted, "epoch": 0}
        return {"fence": fence, "run": run, "details": details, "resumed_before": False, "began_at": now_iso()}
    lock = Lock(
        environment_id=given["environment_id"],
        epoch=epoch,
        holder=given["holder"],
        kind=given["kind"],
        recovery_id=wanted,
        run=run,
        scenario=given["scenario"],
        taken_at=now_iso(),
    )
    replace_text(epoch_path, str(epoch))
    replace_text(lock_path, lock.line() + "\n")
    stop_path = os.path.join(given["state_path"], wanted, "stop")
    if os.path.exists(stop_path):
        os.unlink(stop_path)
    append_entry(
        given["state_path"],
        run,
        {
            "event": "run_started",
            "recovery_id": lock.recovery_id,
            "epoch": epoch,
            "result": {"elapsed_seconds": given["elapsed_seconds"]},
            "scenario": given["scenario"],
            "kind": given["kind"],
            "holder": given["holder"],
            "environment_id": given["environment_id"],
            **{key: value for key, value in details.items() if key != "scenario"},
        },
    )
    return {
        "changed": True,
        "fence": {"recovery_id": lock.recovery_id, "epoch": epoch},
        "run": run,
        "resumed_before": resumed(parse(read_text(journal_path))),
        "began_at": json.loads(read_text(journal_path).splitlines()[0])["at"],
        "details": first_details(read_text(journal_path), details),
    }


def wanted_id(given: dict[str, Any]) -> str:
    """The id to take the lock for. A backup's is made under the lock, and differs from that of every other backup."""
    if given["recovery_id"]:
        return str(given["recovery_id"])
    while True:
        wanted = f"backup-{set_id_of(datetime.datetime.now(datetime.timezone.utc))}"
        if not os.path.exists(os.path.join(given["state_path"], wanted)):
            return wanted
        time.sleep(0.1)


def to_wait_for(given: dict[str, Any], held: Lock | None, lock_path: str) -> bool:
    """Whether a backup meets another one that is at work."""
    if given["state"] != "taken" or given["kind"] != "backup" or held is None or held.kind != "backup":
        return False
    return refusal(held, given["recovery_id"] or "", "backup", time.time() - os.stat(lock_path).st_mtime) is not None


def first_details(journal: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the first run of this recovery was told: a later run goes on with the same set, components and incident.

    What works on a recovery, such as a rollback, gives nothing and hears what that brought back.
    """
    first = json.loads(journal.splitlines()[0])
    return {**goal_of(first, "scenario"), **{key: first.get(key, value) for key, value in given.items()}}


def goal_of(first: dict[str, Any], *more: str) -> dict[str, Any]:
    """What a run brings back, by the record of the recovery's first run."""
    return {key: first[key] for key in ("components", "services", "parts", *more) if key in first}


def require_same_goal(first: dict[str, Any], given: dict[str, Any]) -> None:
    """A recovery that goes on is of the same scenario, target, components and parts, or RecoveryError PRC-311: half is
    done.

    What is not told again is that of the first run.
    """
    target, began = target_of(given["details"]), (first.get("scenario"), target_of(first), components_of(first))
    told = components_of(given["details"]) if given["goal_told"] and given["scenario"] == "partial" else ""
    parts, began_parts = given["details"].get("parts") or {}, first.get("parts") or {}
    same_parts = parts == began_parts or (not parts and not told)
    same_target = all(one in ("", other) for one, other in zip(target, began[1]))
    if given["scenario"] == began[0] and same_target and told in ("", began[2]) and same_parts:
        return
    asked, found = (
        f"{str(scenario).replace('_', '-')} recovery"
        + (f" to {' of '.join(filter(None, at))}" if at[0] else "")
        + (f" of {components}" if components and scenario == "partial" else "")
        + "".join(f", of {name} only {chosen}" for name, chosen in shown_parts(only).items())
        for scenario, at, components, only in ((given["scenario"], target, told, parts), (*began, began_parts))
    )
    raise RecoveryError(
        "PRC-311",
        f"go on with recovery {given['recovery_id']} as a {asked}",
        f"it was begun as a {found}",
        "nothing was changed by this",
        f"run {PLAYBOOKS.get(str(began[0]), began[0])} with its recovery_id, and no other target, components or parts;"
        " or abandon.yml",
    )


def target_of(details: dict[str, Any]) -> tuple[str, str]:
    """The instant of a point-in-time recovery, and what it was resolved from; each "" where there is none."""
    return details.get("target_time") or "", named(details.get("point_name") or "", details.get("wal_target"))


def components_of(details: dict[str, Any]) -> str:
    """The components of a recovery as they are typed; "" where none are named."""
    return ",".join(details.get("components") or [])


def compare_environment(folder: str, environment_id: str) -> None:
    """The folder belongs to this environment, or RecoveryError PRC-306."""
    found = read_text(os.path.join(folder, "environment_id")).strip()
    if found != environment_id:
        raise RecoveryError(
            "PRC-306",
            f"use {folder} for environment {environment_id}",
            f"it belongs to environment {found}" if found else "it holds no environment_id",
            "nothing was changed",
            "see that the inventory names this environment's own folders (recovery_state_path, backup_store_path)",
        )


def refused(reason: str, held: Lock, wanted: str) -> RecoveryError:
    """Somebody else holds the lock: say how to go on with theirs."""
    if held.kind == "backup":
        way = "wait for it to end, then run the same command again"
    else:
        way = (
            f"go on with it: ansible-playbook {playbook_of(held.scenario)} -e recovery_id={held.recovery_id} "
            f"(or give it up: ansible-playbook playbooks/abandon.yml -e recovery_id={held.recovery_id})"
        )
    return RecoveryError("PRC-308", f"take the lock for {wanted}", reason, "nothing was changed", way)


def playbook_of(scenario: str) -> str:
    """The playbook of a scenario, against the checkout."""
    if scenario in RECOVERIES:
        return "drill.yml" if scenario == "drill" else f"{scenario}_recovery.yml"
    return f"playbooks/{scenario}.yml"


def release(module: AnsibleModule, held: Lock | None, lock_path: str) -> dict[str, Any]:
    """End the run: journal its outcome, and free the lock where the recovery is over."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "freed": True}
    fence = given["fence"] or {"recovery_id": given["recovery_id"], "epoch": held.epoch if held else 0}
    if held is None or held.recovery_id != fence["recovery_id"] or held.epoch != fence["epoch"]:
        raise RecoveryError(
            "PRC-303",
            f"end the run of {fence['recovery_id']}, epoch {fence['epoch']}",
            f"the lock is held by {held.recovery_id}, epoch {held.epoch}" if held else "nobody holds the lock",
            "nothing was changed by this",
            "leave the run that holds the lock to its end",
        )
    append_entry(
        given["state_path"],
        held.run,
        {
            "event": "run_finished",
            "recovery_id": held.recovery_id,
            "epoch": held.epoch,
            "outcome": given["outcome"],
        },
    )
    journal = read_text(os.path.join(given["state_path"], held.recovery_id, "journal.jsonl"))
    begun = touched(parse(journal), held.run)
    freed = given["outcome"] in FREEING[held.kind] or begun is None
    if freed:
        os.unlink(lock_path)
    elif begun and begun != held.scenario:
        # A rollback that was refused leaves the recovery that it took the lock from as unfinished as it was.
        replace_text(lock_path, replace(held, scenario=begun).line() + "\n")
    return {"changed": True, "freed": freed}


def stop(module: AnsibleModule, held: Lock | None) -> dict[str, Any]:
    """Ask the holder to end at its next step."""
    given = module.params
    if held is None or held.recovery_id != given["recovery_id"]:
        raise RecoveryError(
            "PRC-309",
            f"stop {given['recovery_id']}",
            f"the lock is held by {held.recovery_id}" if held else "no recovery is running",
            "nothing was changed",
            f"name the one that runs: -e recovery_id={held.recovery_id}" if held else "there is nothing to stop",
        )
    path = os.path.join(given["state_path"], held.recovery_id, "stop")
    if os.path.exists(path):
        return {"changed": False}
    if not module.check_mode:
        replace_text(path, now_iso())
    return {"changed": True}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do what state asks, alone in the state folder."""
    given = module.params
    state, state_path = given["state"], given["state_path"]
    if state == "taken" and given["kind"] == "recovery" and not given["recovery_id"]:
        module.fail_json(msg="recovery_id is missing: only a backup gets one by itself")
    lock_path = os.path.join(state_path, "lock")
    patience = time.monotonic() + (0 if module.check_mode else given["wait_seconds"])
    while True:
        with exclusive(state_path):
            held = parse_lock(read_text(lock_path))
            if time.monotonic() >= patience or not to_wait_for(given, held, lock_path):
                result: dict[str, Any] = {"changed": False, "held": asdict(held) if held else None}
                if state == "taken":
                    result.update(take(module, held, lock_path))
                elif state == "released":
                    result.update(release(module, held, lock_path))
                elif state == "stopping":
                    result.update(stop(module, held))
                return result
        time.sleep(WAIT_POLL_SECONDS)


def main() -> None:
    """Entry point."""
    run_module(
        {
            "state": {"type": "str", "choices": ["taken", "released", "stopping", "found"], "default": "taken"},
            "state_path": {"type": "path", "required": True},
            "store_path": {"type": "path"},
            "environment_id": {"type": "str"},
            "recovery_id": {"type": "str"},
            "kind": {"type": "str", "choices": ["recovery", "backup"], "default": "recovery"},
            "wait_seconds": {"type": "int", "default": 0},
            "scenario": {"type": "str", "default": "full"},
            "holder": {"type": "str", "default": "unknown"},
            "elapsed_seconds": {"type": "float", "default": 0},
            "details": {"type": "dict", "default": {}},
            "goal_told": {"type": "bool", "default": True},
            "fence": {
                "type": "dict",
                "options": {
                    "recovery_id": {"type": "str", "required": True},
                    "epoch": {"type": "int", "required": True},
                },
            },
            "outcome": {"type": "str", "choices": ["success", "partial", "failed", "untouched", "abandoned"]},
        },
        work,
        supports_check_mode=True,
        required_if=[
            ("state", "taken", ("store_path", "environment_id")),
            ("state", "released", ("outcome",)),
            ("state", "released", ("fence", "recovery_id"), True),
            ("state", "stopping", ("recovery_id",)),
        ],
    )


if __name__ == "__main__":
    main()
