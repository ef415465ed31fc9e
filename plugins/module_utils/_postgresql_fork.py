# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server that was brought to a point in time and exchanged: it must end there once more, and fork there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import POLL_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal
from ansible_collections.platform3.recovery.plugins.module_utils._wal import format_lsn, parse_history, parse_lsn

# Where replay is, whether it waits at the point, and what it waits for.
POINT = """
SELECT pg_is_in_recovery() AS standby, (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint AS lsn,
  CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END = 'paused' AS paused,
  (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS waits
"""
TARGET_SETTINGS = tuple(f"recovery_target_{name}" for name in ("time", "lsn", "xid", "name", "inclusive", "action"))


def await_point_again(session: Session, facts: Mapping[str, Any], timeout_seconds: float = 900.0) -> bool:
    """Wait until the exchanged server stands where it stood beside; False where it is no standby any more.

    RecoveryError PRC-558 where it stands elsewhere.
    """
    wanted = parse_lsn(facts["end_lsn"])
    deadline = time.monotonic() + timeout_seconds
    while True:
        now = session.row(POINT)
        # A server that is promoted has shown where it was by its history, see fork_checks.
        if not now["standby"] or (now["paused"] and int(now["lsn"]) == wanted):
            return bool(now["standby"])
        if now["paused"] or int(now["lsn"]) > wanted or time.monotonic() > deadline:
            found = f"it is at {format_lsn(int(now['lsn']))}, beside it ended at {facts['end_lsn']}"
            data = "the restored data is in place and read-only, the old data in quarantine"
            next_step = "mend the cause, which docker logs of the PostgreSQL container names"
            raise RecoveryError("PRC-558", "end replay at the same point again", found, data, next_step)
        time.sleep(POLL_SECONDS)


def fork_checks(session: Session, facts: Mapping[str, Any], timeline: int) -> list[Check]:
    """Whether the timeline of a promoted server begins where replay ended beside; ChecksFailed PRC-558."""
    path = literal(f"pg_wal/{timeline:08X}.history")
    parent, fork = parse_history("\n".join(session.execute(f"SELECT pg_read_file({path});")))[-1]
    wanted = f"timeline {facts['parent_timeline']}, LSN {facts['end_lsn']}"
    found = f"timeline {parent}, LSN {format_lsn(fork)}"
    return require(
        [check("the new timeline begins where replay ended", COMPONENT, wanted, found)],
        "PRC-558",
        "end replay at the same point again",
        "the restored data is in place and promoted, the old data in quarantine",
        "do not let customers in; put the old data back with rollback.yml, and begin a new recovery",
    )
