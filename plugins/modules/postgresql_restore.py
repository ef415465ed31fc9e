#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore
short_description: Restore PostgreSQL beside the old data, exchange, start and promote it
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Physically, the base backup and all WAL of archive and stream are replayed by a server in a one-shot container,
    compared with the end of WAL and with the figures of the backup set, and only then exchanged with the old data,
    started, promoted and seen in the archive. The old data stays in quarantine inside the same volume.
  - Logically, the custom-format dump of the set is loaded into a new cluster beside, which becomes a new database for
    pgBackRest; what happened after the dump is lost.
  - The epoch in the backup store's fence is raised first, so that no older server archives any more; not where
    O(archiving=false), which leaves the store and the running platform alone.
  - With O(target), replay ends there instead of at the end of the WAL. The server itself judges where that is, pauses,
    is compared, and after the exchange pauses at the same position once more before it is promoted. A target that
    cannot be reached is refused before anything is restored; M(platform3.recovery.postgresql_wal_info) says so
    beforehand.
  - It may be run again with the same recovery id at any time and goes on where it was.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.one_shot
  - platform3.recovery.postgresql.target
options:
  service:
    description: Compose service of the server.
    type: str
    required: true
  volume:
    description: Compose key of the server's volume.
    type: str
    required: true
  set_path:
    description: Folder of the backup set.
    type: path
    required: true
  content:
    description: The part C(components.postgresql) of the set's manifest.
    type: dict
    required: true
  method:
    description: From base backup and WAL, or from the dump.
    type: str
    choices: [physical, logical]
    default: physical
  owner:
    description: Role that owns the data.
    type: str
    required: true
  role_passwords:
    description: The current password of each role that has one in the secrets.
    type: dict
    required: true
  processes:
    description: Processes that restore at once.
    type: int
    default: 2
  scratch_settings:
    description: Further settings (C(name=value)) of the server that replays or loads beside the old data.
    type: list
    elements: str
    default: []
  archiving:
    description: Whether the server must archive, or must not. Only a drill or a sandbox, which share the store of a
      platform that lives, say no; then archiving is switched off in the restored data.
    type: bool
    default: true
  write_probe:
    description: A statement, run as O(owner), whose commit proves that the server takes writes.
    type: str
    default: SELECT pg_logical_emit_message(true, 'platform3.recovery', 'write probe')
attributes:
  check_mode:
    support: full
    description: Looks for gaps in the WAL and says what would be restored; changes nothing.
"""

EXAMPLES = r"""
- name: restore | Bring PostgreSQL back to the newest point
  platform3.recovery.postgresql_restore:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    container: forex-postgres
    image: platform3/postgresql:17
    volume: postgresql-data
    environment_id: lab-0123456789ab
    backup_store_path: /opt/platform3/backups
    set_path: "{{ recovery_set.path }}"
    content: "{{ recovery_set.manifest.components.postgresql }}"
    database: forex_trading
    owner: forex_admin
    role_passwords:
      forex_admin: "{{ postgresql_password }}"
      wal_receiver: "{{ postgresql_replication_password }}"
"""

RETURN = r"""
recovery_point:
  description: Commit time of the newest transaction restored (the dump's beginning for O(method=logical)).
  type: str
  returned: success
bytes:
  description: Bytes restored, WAL included.
  type: int
  returned: success
parts:
  description: Seconds of each part.
  type: dict
  returned: success
target:
  description: The point in time that was asked for.
  type: dict
  returned: with O(target)
backup_set:
  description: The set whose base backup was used, where O(sets) names it. Its content holds for the verification.
  type: str
  returned: with O(target)
label:
  description: The base backup that was used.
  type: str
  returned: with O(target)
stopped:
  description: Why replay ended, in the server's own words.
  type: str
  returned: with O(target)
last_commit:
  description: The last transaction that was committed (C(at), C(lsn), C(xid)), null where there was none.
  type: dict
  returned: with O(target)
quarantined:
  description: Whether old data is in quarantine.
  type: bool
  returned: success
checks:
  description: Figures compared beside the old data, the committed write, what the archive holds of the timeline.
  type: list
  elements: dict
  returned: always
uncompared:
  description:
    - Critical tables that a transaction under way at the target had locked, such as one that drops them. Then no
      figures were compared beside; M(platform3.recovery.postgresql_verify_info) compares them in the promoted server.
  type: list
  elements: str
  returned: with O(target)
timeline:
  description: The timeline that the server is on now.
  type: int
  returned: success
parent_timeline:
  description: The timeline that was replayed.
  type: int
  returned: success
end_lsn:
  description: Where the WAL ends, read from archive and stream before replay was believed; with O(target) where replay
    ended.
  type: str
  returned: O(method=physical)
replayed_lsn:
  description: Where replay ended.
  type: str
  returned: O(method=physical)
replayed_bytes:
  description: How far replay went, in bytes of WAL; with the seconds of part C(replay) its speed.
  type: int
  returned: O(method=physical)
passwords_set:
  description: Roles that had another password in the restored data.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    Compose,
    compose_of,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import (
    LiveServer,
    serve,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import (
    plan_point,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import Clock, raise_epoch
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_scratch import (
    archive_streamed,
    load_facts,
    require_nobody_works,
    restore_logical,
    restore_physical,
    save_facts,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    SETS_ARGUMENT,
    TARGET_ARGUMENT,
    target_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_to_point import restore_to_point
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    assess,
    look,
    look_without_volume,
    one_shot_mounts,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import one_shot

# All wait for PostgreSQL, which has the most to copy and replay: it goes before what is restored beside it.
CPU_SHARES = 4096
# Beside a platform that lives, that goes first.
ASIDE_CPU_SHARES = 256

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "set_path": {"type": "path", "required": True},
    "content": {"type": "dict", "required": True},
    "method": {"type": "str", "choices": ["physical", "logical"], "default": "physical"},
    "database": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "role_passwords": {"type": "dict", "required": True, "no_log": True},
    "processes": {"type": "int", "default": 2},
    "scratch_settings": {"type": "list", "elements": "str", "default": []},
    "archiving": {"type": "bool", "default": True},
    "target": TARGET_ARGUMENT,
    "sets": SETS_ARGUMENT,
    "write_probe": {
        "type": "str",
        "default": "SELECT pg_logical_emit_message(true, 'platform3.recovery', 'write probe')",
    },
}


def volume_of(given: dict[str, Any], compose: Compose) -> str:
    """The server's volume, made by Compose where it is gone."""
    volume = find_volume(compose.project, given["volume"])
    if volume is None:
        compose.create([given["service"]])
        volume = find_volume(compose.project, given["volume"])
    if volume is None:
        raise RecoveryError(
            "PRC-522",
            f"make the volume {given['volume']} of project {compose.project}",
            "Compose made none of that name",
            "nothing was changed",
            "check postgresql_volume against the volumes of the Compose file",
        )
    return volume


def bring_beside(given: dict[str, Any], worker: VolumeWorker) -> dict[str, Any]:
    """Restore beside the old data, unless an earlier run did, and exchange; returns the facts of what was restored."""
    state = worker.swap_state()
    if state.startswith("roll"):
        raise RecoveryError(
            "PRC-523",
            f"go on with {worker.fence.recovery_id}",
            "it was rolled back: its data lies in quarantine",
            "the old data is in place, nothing was changed",
            "begin a new recovery, without recovery_id",
        )
    if state != "swapped":
        require_nobody_works(worker.volume, worker.name)
    if state == "":
        facts = save_facts(worker, restore(given, worker))
        worker.mark_restored()
    else:
        facts = load_facts(worker)
    clock = Clock()
    worker.swap_in()
    clock.lap("exchange")
    return {**facts, "parts": {**facts["parts"], **clock.parts}}


def restore(given: dict[str, Any], worker: VolumeWorker) -> dict[str, Any]:
    """By the wanted method into restore-<recovery_id>/."""
    progress = Progress(given["progress_path"])
    content, settings = given["content"], given["scratch_settings"]
    if given["method"] == "logical":
        return restore_logical(worker, content, given["processes"], settings, progress)
    stanza = content["pgbackrest"]["stanza"]
    clock = Clock()
    target = target_of(given)
    # It stands in the data itself then, over what the configuration says, so that no start of it archives.
    options = [] if given["archiving"] else ["--archive-mode=off"]
    view = look(worker.bash, stanza, content["pgbackrest"]["label"])
    if target is None:
        found = assess(view, content)
        clock.lap("look")
        facts = restore_physical(worker, stanza, found, content, given["processes"], settings, progress, options)
    else:
        plan = plan_point(view, content, given["sets"], target, worker.bash)
        clock.lap("look")
        facts = restore_to_point(worker, stanza, plan, given["processes"], settings, progress, options)
        found = plan.replayed_whole()
    facts["parts"] = {**clock.parts, **facts["parts"]}
    if given["archiving"]:
        facts["archived_from_stream"] = archive_streamed(worker, stanza, found)
    return facts


def look_ahead(given: dict[str, Any], mounts: list[str]) -> dict[str, Any]:
    """What would be restored, without a volume to work in."""
    known, image, environment = given["content"]["pgbackrest"], given["image"], given["environment_id"]
    target = target_of(given)
    if target is None:
        view = look_without_volume(image, mounts, environment, known["stanza"], known["label"])
        return assess(view, given["content"]).as_dict()
    with one_shot(image, mounts, environment) as run_bash:
        view = look(run_bash, known["stanza"], known["label"])
        return plan_point(view, given["content"], given["sets"], target, run_bash).as_dict()


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: beside, exchange, start, promote."""
    given = module.params
    compose, fence, content = compose_of(given), fence_of(module), given["content"]
    stanza = content["pgbackrest"]["stanza"]
    mounts = one_shot_mounts(compose, given["service"], given["backup_store_path"])
    target = target_of(given)
    what = f"to {target.text()}" if target else f"of {content['pgbackrest']['label']}"
    after = f"{given['method']} restore {what}, the old data in quarantine\n"
    diff = {"before": "the old data\n", "after": after}
    if module.check_mode:
        plan = look_ahead(given, mounts)
        return {"changed": True, "diff": diff, "recovery_point": plan["recovery_point"], "plan": plan}

    clock = Clock()
    if given["archiving"]:
        raise_epoch(given["backup_store_path"], fence.epoch)
    volume = volume_of(given, compose)
    set_mount = [f"{given['set_path']}:/set:ro"] if given["method"] == "logical" else []
    worker = VolumeWorker(
        "postgresql", volume, given["image"], given["environment_id"], fence, [*mounts, *set_mount],
        cpu_shares=CPU_SHARES if given["archiving"] else ASIDE_CPU_SHARES,
    )  # fmt: skip
    with worker:
        clock.lap("prepare")
        facts = bring_beside(given, worker)
    prepared, clock = clock.parts, Clock()
    compose.up([given["service"]])
    server = LiveServer(given["container"], given["database"], stanza)
    served = serve(server, facts, given, clock)
    return {
        **facts,
        **served,
        "changed": True,
        "diff": diff,
        "checks": [*facts["checks"], *served["checks"]],
        "parts": {**prepared, **facts["parts"], **clock.parts},
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
