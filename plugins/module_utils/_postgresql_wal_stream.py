# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The WAL stream on a running server: its slot made anew, its receiver awaited, commits made to wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import POLL_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES, Segment, parse_segment
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import (
    APPLICATION,
    MODE_SETTING,
    MODES,
    WHEN_LOST,
    Mode,
    settings_sql,
    slot_sql,
)

# The inputs that say how commits and the stream belong together.
MODE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "wal_stream": {"type": "str", "choices": list(MODES), "default": "async"},
    "when_lost": {"type": "str", "choices": list(WHEN_LOST), "default": "degrade"},
    "lost_after_seconds": {"type": "int", "default": 10},
}
COMPLETE = "the database is complete and archives each segment, but a loss now costs up to archive_timeout"


def mode_of(given: Mapping[str, Any]) -> Mode:
    """The mode that a module's inputs ask for."""
    return Mode(given["wal_stream"], given["when_lost"], given["lost_after_seconds"])


def slot_row(session: Session, slot: str) -> dict[str, Any] | None:
    """The slot and the receiver on it; None without a slot."""
    rows = session.rows(slot_sql(literal(slot)))
    return rows[0] if rows else None


def _await(done: Callable[[], bool], timeout_seconds: float, failed: Callable[[], RecoveryError]) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not done():
        if time.monotonic() > deadline:
            raise failed()
        time.sleep(POLL_SECONDS)


def await_streaming(session: Session, slot: str, timeout_seconds: int) -> Check:
    """Wait until the receiver has on disk what was written before; PRC-526 where it does not get there."""
    row = session.row("SELECT pg_current_wal_flush_lsn() AS lsn, (pg_current_wal_flush_lsn() - '0/0')::bigint AS bytes")

    def streams() -> bool:
        found = slot_row(session, slot)
        return bool(found and found["state"] == "streaming" and (found["flush_lsn"] or 0) >= row["bytes"])

    def failed() -> RecoveryError:
        return RecoveryError(
            "PRC-526",
            "let the WAL stream begin again",
            f"no receiver has WAL up to {row['lsn']} after {timeout_seconds} s",
            COMPLETE,
            "mend what the log of the WAL receiver names, then ansible-playbook playbooks/wal_stream.yml",
        )

    _await(streams, timeout_seconds, failed)
    return check("the WAL stream is up to date", COMPONENT, f"at least {row['lsn']}", f"at least {row['lsn']}")


def renew_slot(session: Session, slot: str) -> None:
    """The receiver's slot, made anew: a receiver in an empty folder begins where its slot does, and an older slot may
    ask for WAL that is gone. Its WAL is reserved at once, so that none is missed until the receiver is there."""
    name = literal(slot)
    session.execute(
        # The receiver that was just taken away may hold it for a moment yet.
        f"DO $$ BEGIN FOR turn IN 1..100 LOOP"
        f" PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {name} AND active;"
        f" EXIT WHEN NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {name} AND active);"
        f" PERFORM pg_sleep(0.05); END LOOP; END $$;"
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {name};"
        f"SELECT pg_create_physical_replication_slot({name}, true);"
    )


def await_no_gap(server: LiveServer, session: Session, slot: str, timeout_seconds: int) -> Check:
    """See in the archive the segment before the one with which a new slot begins: what came before is kept there.

    PRC-577 where it does not get there: a commit that the new stream confirms would stand on WAL that nobody holds.
    """
    row = session.row(
        "SELECT (restart_lsn - '0/0')::bigint AS lsn, pg_walfile_name(pg_current_wal_lsn()) AS current,"
        " (SELECT system_identifier::text FROM pg_control_system()) AS id"
        f" FROM pg_replication_slots WHERE slot_name = {literal(slot)}"
    )
    first = parse_segment(row["current"])
    before = Segment(first.timeline, int(row["lsn"]) // SEGMENT_BYTES - 1).name()
    query = (
        "SELECT count(*) AS waiting FROM pg_ls_archive_statusdir()"
        f" WHERE name LIKE '%.ready' AND name <= '{before}.ready'"
    )
    known = session.row(f"SELECT count(*) AS files FROM pg_ls_waldir() WHERE name = '{before}'")["files"]

    def archived() -> bool:
        if session.row(query)["waiting"]:
            return False
        # The server's word is the moment to look; a segment that it does not have any more belongs to another timeline.
        return not known or bool(server.archived(row["id"], before))

    def failed() -> RecoveryError:
        return RecoveryError(
            "PRC-577",
            f"begin the WAL stream anew behind segment {before}",
            f"the archive does not hold it after {timeout_seconds} s",
            COMPLETE,
            "docker logs of the server say why archive_command fails; then run playbooks/wal_stream.yml again",
        )

    _await(archived, timeout_seconds, failed)
    return check("the archive holds what came before the stream", COMPONENT, True, True)


# A commit that waits as customers' do. (No timeout of the server ends such a wait.)
_PROBE = """SET synchronous_commit = on;
SELECT pg_logical_emit_message(true, 'platform3.recovery', 'synchronous commit');
SET synchronous_commit = local;"""
_WAITED = f"""SELECT count(*) AS receivers FROM pg_stat_replication
WHERE application_name = '{APPLICATION}' AND sync_state = 'sync'"""


def set_mode(session: Session, mode: Mode, timeout_seconds: int) -> list[Check]:
    """Make a mode the server's. To sync only where the receiver streams: else every commit would wait at once.

    PRC-578 where the server does not come to wait for the receiver; it is left asynchronous then.
    """
    row = session.row(
        f"SELECT coalesce(current_setting('{MODE_SETTING}', true), '') AS mode,"
        " current_setting('synchronous_standby_names') AS names"
    )
    names = APPLICATION if mode.kind == "sync" else ""
    if (row["mode"] or Mode("async", "degrade", 10).text(), row["names"]) != (mode.text(), names):
        session.execute(settings_sql(mode))
    if mode.kind == "async":
        return []
    try:
        _await(lambda: bool(session.row(_WAITED)["receivers"]), timeout_seconds, lambda: _not_waiting(timeout_seconds))
    except RecoveryError:
        session.execute(settings_sql(Mode("async", mode.when_lost, mode.lost_after_seconds)))
        raise
    session.execute(_PROBE, timeout_seconds=timeout_seconds)
    return [check("a commit waits for the WAL receiver", COMPONENT, True, True)]


def _not_waiting(seconds: int) -> RecoveryError:
    return RecoveryError(
        "PRC-578",
        "let commits wait for the WAL receiver",
        f"no receiver named {APPLICATION} is synchronous after {seconds} s",
        "the stream runs asynchronously as before, nothing waits",
        f"see that the receiver connects as {APPLICATION} (PGAPPNAME) with pg_receivewal --synchronous",
    )
