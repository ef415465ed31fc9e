# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL brought to a point in time beside the live data, and seen to end there once more when it is promoted.

The server itself judges where the point lies (`recovery_target_*`), pauses there, and says so. It is compared there,
stopped, exchanged, replays to the same point again with archiving on, pauses, and is promoted: the new timeline begins
where replay had ended beside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import restore_script
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_fork import POINT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import PointPlan
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import (
    POLL_SECONDS,
    Clock,
    iso_sql,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_scratch import (
    BESIDE,
    STALL_SECONDS,
    ScratchServer,
    ask,
    check_restored,
    restore_files,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import point
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import restore_folder
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, identifier, literal
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    format_lsn,
    parse_lsn,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import RESET_SQL

# xlogrecovery.c: recoveryStopsBefore and recoveryStopsAfter.
_STOPPED = r"recovery stopping (before|after|at) (commit|abort|WAL location|restore point)"


def restore_to_point(
    worker: VolumeWorker,
    stanza: str,
    plan: PointPlan,
    processes: int,
    settings: Sequence[str],
    progress: Progress,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Base backup and WAL up to the point into restore-<recovery_id>/, paused there and compared; gives the facts.

    options: further ones of pgBackRest.
    """
    clock = Clock()
    restore_files(worker, stanza, plan.found, processes, progress, [*plan.recovery_options, *options])
    clock.lap("copy")
    begin = parse_lsn(plan.found.backup.lsn_start)
    scratch = ["wal_retrieve_retry_interval=200ms", "lc_messages=C", *settings]
    with ScratchServer(worker, restore_folder(worker.fence.recovery_id), scratch) as server:
        with server.session(plan.content["database"]) as session:
            reached, stopped = await_point(session, server, begin, plan.stop.lsn, progress)
            clock.lap("replay")
            session.execute(RESET_SQL)
            progress.start("comparing figures")
            locked = locked_tables(session, plan.content["figures"]["tables"])
            checks = [] if locked else check_restored(session, plan.content)
            replayed_at = session.row(f"SELECT {_exact('pg_last_xact_replay_timestamp()')} AS at")["at"]
            # Which transactions are in: what lies behind the point is told by it, see _postgresql_undone.py.
            snapshot = session.row("SELECT pg_current_snapshot()::text AS now")["now"]
            clock.lap("compare")
        server.stop(restore_script(stanza, [], SEGMENT_BYTES))
    clock.lap("stop")
    commit, ended = plan.last_replayed(reached)
    # The server counts from where it began to replay.
    replayed = ended if ended and ended.lsn >= begin else None
    checks += point_checks(plan, reached, point(replayed), replayed_at)
    clock.lap("prove")
    return {
        "method": "physical",
        "system_identifier": plan.found.backup.system_identifier,
        "parent_timeline": plan.found.plan.timeline,
        "target": {"kind": plan.target.kind, "value": plan.target.value},
        "backup_set": plan.backup_set,
        "label": plan.found.backup.label,
        "stopped": stopped,
        "last_commit": point(commit),
        "snapshot": snapshot,
        "end_lsn": format_lsn(reached),
        "replayed_lsn": format_lsn(reached),
        "recovery_point": (point(commit) or {"at": plan.recovery_point})["at"],
        "replayed_bytes": max(0, reached - begin),
        "bytes": plan.found.backup.bytes + len(plan.found.plan.files) * SEGMENT_BYTES,
        "checks": checks,
        "uncompared": locked,
        "parts": clock.parts,
    }


def locked_tables(session: Session, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The critical tables that replay has locked: a transaction that drops or empties them is under way at the point.

    Who reads one would wait until the server is promoted, which undoes that transaction: they are compared then.
    """
    named = ", ".join(f"({literal(one['table'])}, {literal(identifier(one['table']))})" for one in tables)
    rows = session.rows(
        f"SELECT DISTINCT critical.name FROM (VALUES {named}) AS critical (name, identifier)"
        " JOIN pg_locks ON relation = to_regclass(identifier) AND granted AND mode = 'AccessExclusiveLock'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1"
    )
    return [str(row["name"]) for row in rows]


def _exact(expression: str) -> str:
    return iso_sql(expression).replace(".MS", ".US")


def await_point(session: Session, server: ScratchServer, begin: int, stop: int, progress: Progress) -> tuple[int, str]:
    """Wait until the server pauses at the point; returns how far it replayed, and its own words for why it ended.

    RecoveryError PRC-557 where the WAL ended first, or where it did not pause: then it is no longer at the point.
    """
    progress.start("replaying WAL", max(stop - begin, 0))
    seen, since = -1, time.monotonic()
    while True:
        now = ask(session, server, POINT)
        lsn = int(now["lsn"])
        progress.at(min(lsn, stop) - begin)
        if not now["standby"]:
            raise server.failure("PRC-557", "end replay at the target", "the server did not pause there")
        if now["paused"]:
            said = server.said(_STOPPED)
            if said is None:
                raise server.failure("PRC-557", "end replay at the target", "it paused, but not for the target")
            return lsn, re.sub(r"^.*LOG: +", "", said).strip()
        if lsn != seen:
            seen, since = lsn, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS and now["waits"] == "RecoveryRetrieveRetryInterval":
            found = f"replay stands still at {format_lsn(lsn)} and did not meet the target"
            raise server.failure("PRC-557", "end replay at the target", found)
        time.sleep(POLL_SECONDS)


def point_checks(
    plan: PointPlan, reached: int, ended: Mapping[str, Any] | None, replayed_at: str | None
) -> list[Check]:
    """Compare where the server ended with what the WAL says; ChecksFailed PRC-557.

    ended: the last transaction by the WAL that was replayed; replayed_at: its time by the server.
    """
    stop = plan.stop
    if stop.before:
        # By time the server is the judge: two commits at once may stand in the WAL in another order than their times.
        where, good = f"before {format_lsn(stop.lsn)}", reached <= stop.lsn
    else:
        where, good = f"right behind {format_lsn(stop.lsn)}", reached > stop.lsn
    checks = [check("replay ended at the target", COMPONENT, where, format_lsn(reached), ok=good)]
    at = ended["at"] if ended else None
    checks.append(check("last transaction replayed, by WAL and server", COMPONENT, at, replayed_at))
    next_step = "see what the archive holds of the target (playbooks/recovery_window.yml)"
    return require(checks, "PRC-557", "find the restored database at the target", BESIDE, next_step)
