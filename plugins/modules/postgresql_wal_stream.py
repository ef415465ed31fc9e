#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_wal_stream
short_description: Let WAL stream to the backup store, and say whether commits wait for it
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Brings the receiver of a running server to stream. Where its slot is gone or lost, slot and folder are made anew,
    once the archive holds what came before.
  - Then makes the mode the server's. With V(sync) a commit is acknowledged only when the receiver has it on disk.
  - The mode stands in the server's own settings (C(platform3.wal_stream), PostgreSQL 17), where the watchdog beside the
    server reads it.
  - A commit whose wait is cancelled (by a timeout or the client) is in the database all the same, with the warning
    C(canceling wait for synchronous replication); an application must not acknowledge it.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.stream
options:
  wal_stream:
    description: Whether commits wait for the receiver.
    type: str
    choices: [async, sync]
    default: async
  when_lost:
    description:
      - What becomes of commits that wait for a receiver that is lost, with its disk or its host. With V(wait) they
        wait, and trading stands still. With V(degrade) the watchdog lets them wait no longer, raises an alarm, writes
        the interval down, and lets commits wait again once the receiver has caught up.
    type: str
    choices: [wait, degrade]
    default: degrade
  lost_after_seconds:
    description: After how many seconds without a confirmation the receiver counts as lost.
    type: int
    default: 10
  receiver_service:
    description: Compose service of the WAL receiver.
    type: str
    required: true
  backup_store_path:
    description: Folder of the backup store (C(fence), C(wal-stream)).
    type: path
    required: true
  timeout_seconds:
    description: How long the receiver may take to stream, and the archive to hold what came before a new slot.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would be changed; changes nothing.
"""

EXAMPLES = r"""
- name: resume | Let commits wait for the WAL receiver
  platform3.recovery.postgresql_wal_stream:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    wal_stream: sync
    receiver_service: wal-receiver
    container: forex-postgres
    database: forex_trading
    stanza: platform3
    backup_store_path: /opt/platform3/backups
"""

RETURN = r"""
checks:
  description: That the receiver streams, and that a commit waits for it.
  type: list
  elements: dict
  returned: success
stream_name:
  description: Name of the stream's folder.
  type: str
  returned: success
renewed:
  description: Why slot and folder were made anew, empty where they were not.
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    Compose,
    compose_of,
    docker,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import read_fence, write_fence
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_wal_stream import (
    MODE_ARGUMENTS,
    await_no_gap,
    await_streaming,
    mode_of,
    renew_slot,
    set_mode,
    slot_row,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import (
    LOOK_SQL,
    Mode,
    parse_mode,
    slot_is_usable,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **MODE_ARGUMENTS,
    "receiver_service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "slot": {"type": "str", "default": "platform3_stream"},
    "timeout_seconds": {"type": "int", "default": 60},
}


def require_primary(server: dict[str, Any], container: str) -> None:
    """RecoveryError PRC-576 where the server is a standby: its recovery is not finished."""
    if server["standby"]:
        raise RecoveryError(
            "PRC-576",
            "let WAL stream to the backup store",
            f"{container} is in recovery and writes no WAL of its own",
            "nothing was changed",
            "finish its recovery first (full_recovery.yml with its recovery_id); that lets the stream begin by itself",
        )


def why_renew(row: dict[str, Any] | None) -> str:
    """Why slot and folder must be made anew, "" where the receiver can go on."""
    if row is None:
        return "the slot is gone"
    return "" if slot_is_usable(row) else "the slot is lost"


def renew(given: dict[str, Any], compose: Compose, session: Session, folder: str) -> None:
    """Slot and folder anew. Until commits wait for it, they wait for the old receiver's name, which is the same."""
    docker(compose.argv(["rm", "--stop", "--force", given["receiver_service"]]))
    renew_slot(session, given["slot"])
    write_fence(given["backup_store_path"], "wal_stream", folder)


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: the receiver streams, then the mode is made the server's."""
    given, store, fence = module.params, module.params["backup_store_path"], fence_of(module)
    compose, wanted = compose_of(given), mode_of(given)
    server = LiveServer(given["container"], given["database"], given["stanza"])
    server.require_alive([])
    with server.session(timeout_seconds=30) as session:
        found = session.row(LOOK_SQL)
        require_primary(found, given["container"])
        row = slot_row(session, given["slot"])
        renewed, folder = why_renew(row), read_fence(store, "wal_stream") or "initial"
        wanted_folder = f"{fence.recovery_id}-{fence.epoch}" if renewed else folder
        before = {"mode": parse_mode(found["mode"]), "folder": folder, "streams": bool(row and row["state"])}
        after = {"mode": wanted, "folder": wanted_folder, "streams": True}
        result = {
            "changed": before != after,
            "diff": {"before": shown(before), "after": shown(after)},
            "stream_name": wanted_folder,
            "renewed": renewed,
        }
        if module.check_mode:
            return {**result, "checks": []}
        if wanted.kind == "async":
            set_mode(session, wanted, given["timeout_seconds"])
        checks = []
        if renewed:
            renew(given, compose, session, wanted_folder)
            checks.append(await_no_gap(server, session, given["slot"], given["timeout_seconds"]))
        compose.up([given["receiver_service"]])
        checks.append(await_streaming(session, given["slot"], given["timeout_seconds"]))
        checks += set_mode(session, wanted, given["timeout_seconds"])
    return {**result, "checks": checks}


def shown(state: dict[str, Any]) -> str:
    """A state as the diff has it."""
    mode: Mode = state["mode"]
    streams = "streams" if state["streams"] else "does not stream"
    return f"commits: {mode.text()}\nfolder: {state['folder']}\nreceiver: {streams}\n"


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
