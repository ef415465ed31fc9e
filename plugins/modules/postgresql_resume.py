#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_resume
short_description: Let the WAL stream begin again after a recovery
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Names the recovery in the backup store's fence as the stream's folder, because in the old folder the receiver would
    wait for ever for the old timeline, makes the slot anew with its WAL reserved, starts the receiver and waits until
    it streams.
  - Where the archive knows a later timeline than the server writes, which is so after a rollback, the server is given a
    timeline of its own first. Else the next recovery would follow the timeline that was rolled back.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.one_shot
  - platform3.recovery.postgresql.stream
options:
  service:
    description: Compose service of the server.
    type: str
    required: true
  volume:
    description: Compose key of the server's volume.
    type: str
    required: true
  role_passwords:
    description: The current password of each role, set again where the server is given a new timeline.
    type: dict
    default: {}
  receiver_service:
    description: Compose service of the WAL receiver.
    type: str
    required: true
  stream_name:
    description: Name of the stream's new folder; by default the recovery id, with the epoch where that one was left.
    type: str
  wal_stream:
    description: Whether commits wait for the receiver (V(sync)) from now on. Turned on once it streams, never before.
    type: str
    choices: [async, sync]
    default: async
  when_lost:
    description:
      - What becomes of commits that wait for a receiver that is lost, see
        M(platform3.recovery.postgresql_wal_stream).
    type: str
    choices: [wait, degrade]
    default: degrade
  lost_after_seconds:
    description: After how many seconds without a confirmation the receiver counts as lost.
    type: int
    default: 10
  timeout_seconds:
    description: How long the receiver may take to stream.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says which folder the stream would use; changes nothing.
"""

EXAMPLES = r"""
- name: resume | Let the WAL stream begin again
  platform3.recovery.postgresql_resume:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    volume: postgresql-data
    environment_id: lab-0123456789ab
    receiver_service: wal-receiver
    container: forex-postgres
    database: forex_trading
    stanza: platform3
    backup_store_path: /opt/platform3/backups
"""

RETURN = r"""
checks:
  description: That the receiver streams and has what was written before.
  type: list
  elements: dict
  returned: success
stream_name:
  description: Name of the stream's folder.
  type: str
  returned: success
new_timeline:
  description: The timeline that the server was given, null where it kept its own.
  type: int
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    Compose,
    compose_of,
    docker,
    find_volume,
    inspect_container,
)
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import (
    LiveServer,
    current_timeline,
    set_passwords,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import read_fence, write_fence
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_stream import (
    Stream,
    ancestors,
    ask_for_new_timeline,
    await_new_timeline,
    free_folder,
    is_left_behind,
    segments_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_wal_stream import (
    MODE_ARGUMENTS,
    await_streaming,
    mode_of,
    renew_slot,
    set_mode,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import RESET_SQL

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "role_passwords": {"type": "dict", "default": {}, "no_log": True},
    "receiver_service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "slot": {"type": "str", "default": "platform3_stream"},
    "stream_name": {"type": "str"},
    **MODE_ARGUMENTS,
    "timeout_seconds": {"type": "int", "default": 60},
}


def own_timeline(given: dict[str, Any], compose: Compose, fence: Fence, server: LiveServer) -> int | None:
    """Give the server a timeline of its own where the archive knows a later one; goes on where an earlier run ended."""
    container = inspect_container(given["container"])
    if not container or not container["State"]["Running"]:
        compose.up([given["service"]])
    with server.session() as session:
        asked = session.row("SELECT pg_is_in_recovery() AS standby")["standby"]
        left_behind = not asked and is_left_behind(server, session)
    volume = find_volume(compose.project, given["volume"])
    if left_behind and volume:
        docker(compose.argv(["rm", "--stop", "--force", given["service"]]))
        with VolumeWorker("postgresql", volume, given["image"], given["environment_id"], fence) as worker:
            ask_for_new_timeline(worker, given["stanza"])
        compose.up([given["service"]])
    if not asked and not left_behind:
        return None
    with server.session() as session:
        timeline = await_new_timeline(server, session)
        set_passwords(session, given["role_passwords"])
    return timeline


def folder_of(given: dict[str, Any], fence: Fence, server: LiveServer, known: str) -> str:
    """The stream's folder: this recovery's, unless that one holds WAL that the server does not know."""
    wanted = given["stream_name"] or fence.recovery_id
    if not known.startswith(wanted):
        return wanted
    files = Stream(given["image"], given["environment_id"], given["backup_store_path"]).files()
    with server.session() as session:
        timelines = ancestors(session, current_timeline(session))
        return free_folder(files, timelines, segments_of(session), wanted, f"{wanted}-{fence.epoch}")


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: a timeline of its own where it needs one, the folder's name, the receiver."""
    given, store, fence = module.params, module.params["backup_store_path"], fence_of(module)
    compose = compose_of(given)
    server = LiveServer(given["container"], given["database"], given["stanza"])
    known = read_fence(store, "wal_stream") or "initial"
    if module.check_mode:
        wanted = given["stream_name"] or fence.recovery_id
        return {"changed": known != wanted, "diff": _diff(known, wanted), "stream_name": wanted}
    timeline = own_timeline(given, compose, fence, server)
    wanted = folder_of(given, fence, server, known)
    if known != wanted:
        docker(compose.argv(["rm", "--stop", "--force", given["receiver_service"]]))
        with server.session() as session:
            # Data that was put back may still wait for the receiver that was taken away.
            session.execute(RESET_SQL)
            renew_slot(session, given["slot"])
        write_fence(store, "wal_stream", wanted)
    compose.up([given["receiver_service"]])
    with server.session() as session:
        checks = [await_streaming(session, given["slot"], given["timeout_seconds"])]
        checks += set_mode(session, mode_of(given), given["timeout_seconds"])
    return {
        "changed": known != wanted or timeline is not None,
        "diff": _diff(known, wanted),
        "stream_name": wanted,
        "new_timeline": timeline,
        "checks": checks,
    }


def _diff(known: str, wanted: str) -> dict[str, str]:
    return {"before": f"wal_stream: {known}\n", "after": f"wal_stream: {wanted}\n"}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
