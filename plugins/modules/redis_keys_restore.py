#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_keys_restore
short_description: Bring chosen keys back into the live Redis
description:
  - Restores the set's snapshot, or the shipped log, as M(platform3.recovery.redis_restore) does, to the newest point or
    to a O(target_time), in a scratch server of the same image without a network, in a volume that goes away with it.
  - Copies the keys that match from there into the live server, which goes on serving, by the commands DUMP and RESTORE
    with absolute times to live. Values of all types come over whole. Memory is bounded by the biggest single value.
  - Keys whose time to live has ended since are not brought back.
  - All keys that will be touched are kept aside first, in the quarantine of the server's volume, under the recovery id.
    Only those are touched afterwards. M(platform3.recovery.redis_keys_put_back) gives them what they had.
  - What is written to one of these keys between keeping it and replacing it is replaced and is not kept; with
    O(mode=merge) it stays.
  - A pattern that matches no key of the source is refused before anything is kept, with the kinds of keys that are
    there. Neither values nor whole names of keys are printed.
  - With the same recovery id it goes on where an earlier run ended, and changes nothing once that was the end.
  - The user needs SCAN, INFO, EXISTS, MEMORY USAGE, PEXPIRETIME, DUMP, RESTORE, UNLINK, WAITAOF on all keys.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.redis
  - platform3.recovery.redis.snapshot
  - platform3.recovery.redis.log
attributes:
  check_mode:
    description: Restores in the scratch server and counts what would be added, replaced and removed; touches no key.
    support: full
options:
  patterns:
    description:
      - Keys to bring back, as glob patterns of the command SCAN (V(session:*)); V(*) for all.
      - May be left out where O(databases) are named, which are then brought back whole.
    type: list
    elements: str
    default: []
  databases:
    description: Numbers of the databases to look in; left out, all that hold a key in the source or the live server.
    type: list
    elements: int
    default: []
  mode:
    description:
      - With V(replace) the keys that match become those of the source. Others of them are replaced, and those that the
        source has not are removed.
      - With V(merge) keys that are missing are added, and none that is there is touched.
    type: str
    choices: [replace, merge]
    default: replace
  volume:
    description: Compose key of the live server's volume, in whose quarantine the keys are kept.
    type: str
    required: true
  image:
    description: Image of the service, also used for the scratch server.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: restore | Bring the sessions back as they were before the mistake
  platform3.recovery.redis_keys_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    patterns: ["session:*"]
    mode: merge
    volume: redis-data
    image: platform3/redis:8
    environment_id: "{{ recovery_environment_id }}"
    user: forex_admin
    password: "{{ redis_password }}"
    set_path: "{{ recovery_set.path }}"
    artefact: "{{ recovery_set.manifest.artefacts | selectattr('component', 'eq', 'redis') | first }}"
    content: "{{ recovery_set.manifest.components.redis }}"
    log_path: /opt/platform3/backups/aof
    target_time: "2026-11-23T14:30:00+00:00"
"""

RETURN = r"""
recovery_point:
  description: Instant of the newest data that the keys come from (UTC).
  returned: success
  type: str
reached:
  description: How close it came to the target, as RV(platform3.recovery.redis_restore#module:reached).
  returned: with O(target_time), not in check mode
  type: dict
source:
  description: What the keys come from, C(log) or C(snapshot).
  returned: success
  type: str
warnings_found:
  description: What must be known of the source, as of M(platform3.recovery.redis_restore).
  returned: success
  type: list
  elements: str
databases:
  description:
    - Of each database the keys that were restored (of which added were not there), removed, left as somebody wrote them
      meanwhile or as they were there, and expired on the way.
  returned: success
  type: dict
kept:
  description: Keys that were kept aside, as they were or as absent.
  returned: success, not in check mode
  type: int
checks:
  description: That what was restored is whole, and that what was written is on disk.
  returned: success
  type: list
  elements: dict
bytes:
  description: Bytes restored into the scratch server.
  returned: success, not in check mode
  type: int
parts:
  description: Seconds of each part.
  returned: success, not in check mode
  type: dict
quarantined:
  description: Whether keys are kept aside for this recovery.
  returned: success
  type: bool
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import decode, in_all
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept_place import (
    kept_file,
    read_state,
    write_kept,
    write_state,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_copy import (
    Chosen,
    bring,
    databases_of,
    keep,
    plan,
    require_matches,
    synced,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_live import (
    LIVE_ARGUMENTS,
    another_state,
    live_clients,
    live_volume,
    reading,
    refuse_input,
    writing,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys_source import source_server
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOG_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._redis_restore import (
    SNAPSHOT_ARGUMENTS,
    Snapshot,
    snapshot_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **LIVE_ARGUMENTS,
    **LOG_ARGUMENTS,
    **SNAPSHOT_ARGUMENTS,
    "patterns": {"type": "list", "elements": "str", "default": []},
    "databases": {"type": "list", "elements": "int", "default": []},
    "mode": {"type": "str", "choices": ["replace", "merge"], "default": "replace"},
}


def asked_of(given: dict[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """What one recovery id stands for; RecoveryError PRC-646 where no key is chosen, or of no database."""
    if not given["patterns"] and not given["databases"]:
        raise refuse_input("neither patterns nor databases are named")
    if "" in given["patterns"]:
        raise refuse_input("a pattern is empty")
    most = int(snapshot.settings["databases"])
    beyond = [str(db) for db in given["databases"] if not 0 <= db < most]
    if beyond:
        raise refuse_input(f"there is no database {', '.join(beyond)}; they are numbered from 0 to {most - 1}")
    return {
        "patterns": sorted(set(given["patterns"] or ["*"])),
        "databases": sorted(set(given["databases"])),
        "mode": given["mode"],
        "sha256": snapshot.sha256,
        "target_time": given["target_time"] or "",
        "restore_from": given["restore_from"],
    }


def chosen_of(asked: dict[str, Any], live: Any, source: Any) -> Chosen:
    """The keys that are chosen, their databases named."""
    with reading():
        databases = asked["databases"] or sorted(databases_of(source(0)) | databases_of(live(0)))
    return Chosen(tuple(asked["patterns"]), tuple(databases), asked["mode"] == "replace")


def diff_of(asked: dict[str, Any], counts: dict[str, dict[str, int]]) -> dict[str, str]:
    """What becomes of the keys."""
    whole = in_all(counts)
    which = f"keys {', '.join(asked['patterns'])}: "
    after = f"{whole['restored']} from the source, of which {whole['added']} were missing; {whole['removed']} removed\n"
    return {"before": f"{which}as they are, kept in quarantine\n", "after": which + after}


def would_bring(given: dict[str, Any], asked: dict[str, Any], snapshot: Snapshot, fence: Any) -> dict[str, Any]:
    """The module's result in check mode."""
    live = live_clients(given)
    with source_server(given, snapshot, fence) as (record, source):
        chosen = chosen_of(asked, live, source)
        with reading():
            require_matches(chosen, source)
            counts = plan(chosen, live, source)
    return {
        "changed": any(counts[db][name] for db in counts for name in ("restored", "removed")),
        "diff": diff_of(asked, counts),
        "databases": counts,
        "recovery_point": record["recovery_point"],
        "source": record["source"],
        "warnings_found": record["warnings"],
        "checks": record["checks"],
        "quarantined": False,
    }


def bring_back(
    given: dict[str, Any], asked: dict[str, Any], snapshot: Snapshot, worker: VolumeWorker
) -> dict[str, Any]:
    """Keep and bring, or as much of it as an earlier run left to do; gives what is noted of it."""
    state = read_state(worker)
    if state and (state["state"] == "put_back" or state["asked"] != asked):
        raise another_state(worker, state)
    if state.get("state") == "brought":
        return {**state, "changed": False}
    progress, live = Progress(given["progress_path"]), live_clients(given)
    began = time.monotonic()
    with source_server(given, snapshot, worker.fence) as (record, source):
        chosen = chosen_of(asked, live, source)
        served = time.monotonic()
        if not state:
            with reading():
                require_matches(chosen, source)
                number, size = write_kept(worker, keep(chosen, live, source, progress))
            state = {"state": "kept", "asked": asked, "kept": number, "kept_bytes": size}
            write_state(worker, state)
        kept = time.monotonic()
        with writing(), kept_file(worker) as read:
            counts = bring(decode(read, dumps=False), chosen, live, source, progress)
        with writing():
            on_disk = check("what was written is in the log on disk", "redis", True, synced(live(0)))
    checks = require(
        [*record["checks"], on_disk],
        "PRC-654",
        "put the chosen keys on disk",
        "they are brought back, and what they had is kept aside; a crash now might lose them",
        "see the disk of the append-only log",
    )
    parts = {"source": served - began, "keep": kept - served, "bring": time.monotonic() - kept}
    state = {
        **state,
        "state": "brought",
        "databases": counts,
        "checks": checks,
        "parts": {**record["parts"], **{name: round(value, 3) for name, value in parts.items()}},
        **{
            name: record[name]
            for name in ("recovery_point", "reached", "source", "warnings", "bytes")
            if name in record
        },
    }
    write_state(worker, state)
    return {**state, "changed": any(counts[db][name] for db in counts for name in ("restored", "removed"))}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given, fence = module.params, fence_of(module)
    snapshot = snapshot_of(given)
    asked = asked_of(given, snapshot)
    volume = live_volume(given)
    if module.check_mode:
        return would_bring(given, asked, snapshot, fence)
    with VolumeWorker("redis", volume, given["image"], given["environment_id"], fence) as worker:
        record = bring_back(given, asked, snapshot, worker)
    return {
        "changed": record["changed"],
        "diff": diff_of(asked, record["databases"]),
        **{name: record[name] for name in ("databases", "kept", "checks", "parts", "recovery_point", "source")},
        **({"reached": record["reached"]} if "reached" in record else {}),
        "bytes": record.get("bytes", 0),
        "warnings_found": record["warnings"],
        "quarantined": True,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
