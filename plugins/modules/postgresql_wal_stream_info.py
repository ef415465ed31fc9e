#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_wal_stream_info
short_description: Find out what of PostgreSQL's WAL archive and stream hold, and what is wrong with them
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the repository and the stream in a read-only container, and asks the server, if it answers, how far it is.
    What the archive lacks is computed from what the repository holds, not from the server's word.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.one_shot
  - platform3.recovery.postgresql.stream
options:
  service:
    description: Compose service of the server.
    type: str
    required: true
  lag_seconds:
    description: From which lag of the receiver on it is a problem.
    type: int
    default: 10
  archive_lag_seconds:
    description: From which lag of the archive on it is a problem; well above C(archive_timeout).
    type: int
    default: 120
  replay:
    description: C(figures) of M(platform3.recovery.postgresql_replay_info), for the bound of the WAL to replay.
    type: dict
    default: {}
  rto_target_seconds:
    description: In how many seconds PostgreSQL is to be back.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: Find out what archive and stream hold
  platform3.recovery.postgresql_wal_stream_info:
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    environment_id: lab-0123456789ab
    container: forex-postgres
    database: forex_trading
    stanza: platform3
    backup_store_path: /opt/platform3/backups
"""

RETURN = r"""
problems:
  description: What is wrong, each with code, found, data and next_step; empty where all is well.
  type: list
  elements: dict
  returned: success
sentences:
  description: The problems as the operator reads them, empty where all is well.
  type: str
  returned: success
mode:
  description: C(kind) as wanted, C(when_lost), C(lost_after_seconds), and whether commits wait now (C(waits)).
  type: dict
  returned: the server answers
slot:
  description: The slot and the receiver on it (wal_status, safe_wal_size, state, sync_state), null without a slot.
  type: dict
  returned: the server answers
stream:
  description: Newest streamed file with folder, bytes, written_at; lag_bytes and lag_seconds where the server answers.
  type: dict
  returned: success
archive:
  description: The last segment before any gap with written_at, the first one missing, lag_bytes and lag_seconds.
  type: dict
  returned: success
degraded:
  description: When commits did not wait though they should, each with from, to (null while it lasts), mode and reason.
  type: list
  elements: dict
  returned: success
bound:
  description: WAL that may have to be replayed (bound_bytes), WAL a second, and the base-backup interval that follows.
  type: dict
  returned: success
lines:
  description: The same for people.
  type: list
  elements: str
  returned: success
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, compose_of
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import iso
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    View,
    look_without_volume,
    one_shot_mounts,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_wal_stream import slot_row
from ansible_collections.platform3.recovery.plugins.module_utils._replay import bound_of, wal_rate
from ansible_collections.platform3.recovery.plugins.module_utils._wal import archived_segments, streamed_segments
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import (
    LOOK_SQL,
    RECORDS,
    archive_problems,
    archive_state,
    degraded_intervals,
    lags,
    parse_mode,
    status_lines,
    stream_problems,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **COMPOSE_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "slot": {"type": "str", "default": "platform3_stream"},
    "lag_seconds": {"type": "int", "default": 10},
    "archive_lag_seconds": {"type": "int", "default": 120},
    "replay": {"type": "dict", "default": {}},
    "rto_target_seconds": {"type": "int", "default": 300},
}


def ask_server(given: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[RecoveryError]]:
    """The server's state and its slot, and what is wrong with the stream; None and PRC-575 where it does not answer."""
    server = LiveServer(given["container"], given["database"], given["stanza"])
    try:
        server.require_alive([])
        with server.session(timeout_seconds=5) as session:
            found, slot = session.row(LOOK_SQL), slot_row(session, given["slot"])
    except RecoveryError as error:
        away = RecoveryError(
            "PRC-575", "ask PostgreSQL how far it is", error.found, "what the store holds is shown all the same",
            f"docker logs {given['container']}; if it is lost: full_recovery.yml",
        )  # fmt: skip
        return None, None, [away]
    return found, slot, [] if found["standby"] else stream_problems(given["slot"], slot, found, given["lag_seconds"])


def archive_of(view: View, server: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """What the repository holds of the newest timeline: up to where, since when something is missing."""
    system = server["system_identifier"] if server else None
    backups = [one for one in view.backups if system in (None, one.system_identifier)]
    archive_id = backups[-1].archive_id if backups else next(iter(sorted(view.archive)), "")
    segments = archived_segments(view.archive.get(archive_id, {}))
    segment = server["segment"] if server else None
    timeline = int((segment or max(segments, default="00000001"))[:8], 16)
    first = backups[-1].wal_stop if backups else min(segments, default=f"{timeline:08X}{0:016X}")
    state = archive_state(segments, first, timeline)
    written_at = state.newest.written_at if state.newest else None
    lsn = server["lsn"] if server else None
    lag_bytes, lag_seconds = lags(lsn, now, state.end_lsn, written_at) if lsn is not None else (None, None)
    return {
        "newest": state.newest.segment if state.newest else None,
        "written_at": written_at and iso(written_at),
        "missing": state.missing,
        "lag_bytes": lag_bytes,
        "lag_seconds": lag_seconds,
        "wal_bytes_per_second": wal_rate(segments.values(), now),
    }


def stream_of(view: View, server: dict[str, Any] | None, slot: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """What the stream's files hold, and what the receiver lacks."""
    newest = max(streamed_segments(view.stream).values(), key=lambda one: one.written_at, default=None)
    found: dict[str, Any] = {
        "folder": newest.folder if newest else None,
        "newest": newest.segment if newest else None,
        "bytes": newest.bytes if newest else None,
        "written_at": iso(newest.written_at) if newest else None,
        "lag_bytes": None,
        "lag_seconds": None,
    }
    if server and server["lsn"] is not None:
        end = int(slot["flush_lsn"] or slot["restart_lsn"] or 0) if slot else 0
        # A receiver that has all flushed lacks nothing, however long ago that was written.
        lag_bytes, lag_seconds = lags(server["lsn"], now, end, newest.written_at if newest else None)
        found.update(lag_bytes=lag_bytes, lag_seconds=lag_seconds)
    return found


def records_of(store: str) -> list[dict[str, Any]]:
    """The watchdog's records."""
    path = f"{store}/{RECORDS}"
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as stream:
        return degraded_intervals(stream.read())


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: look, ask, judge."""
    given = module.params
    mounts = one_shot_mounts(compose_of(given), given["service"], given["backup_store_path"])
    server, slot, problems = ask_server(given)
    # The server was asked first: what is in the store now holds at least what it had then.
    view = look_without_volume(given["image"], mounts, given["environment_id"], given["stanza"], "none")
    now = float(server["now"]) if server else time.time()
    archive = archive_of(view, server, now)
    problems += archive_problems(archive, given["archive_lag_seconds"])
    result: dict[str, Any] = {
        "stream": stream_of(view, server, slot, now),
        "archive": archive,
        "degraded": records_of(given["backup_store_path"]),
        "bound": bound_of(given["replay"], given["rto_target_seconds"], archive["wal_bytes_per_second"]),
        "problems": [one.as_dict() for one in problems],
        "sentences": "\n".join(one.sentence() for one in problems),
    }
    if server:
        mode = parse_mode(server["mode"])
        since = server["degraded_since"] or None
        told = {"kind": mode.kind, "when_lost": mode.when_lost, "lost_after_seconds": mode.lost_after_seconds}
        result.update(mode={**told, "waits": server["waits"], "degraded_since": since}, slot=slot)
    return {**result, "changed": False, "lines": status_lines(result, given["rto_target_seconds"])}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
