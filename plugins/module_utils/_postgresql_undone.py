# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the quarantined PostgreSQL holds that the recovered one does not: rows of transactions behind the point.

Which transactions those are is told by their ids, not by times in the rows: a row's time is when its transaction began,
and one that began before the point may have been committed behind it.

The quarantined server is started where it lies. That does what its own next start would have done, which is what a
rollback is: it ends its own WAL, on its own timeline, and is shut down in good order. It keeps every WAL segment that
is not archived yet: archiving is on and has no command, so that nothing is archived and nothing is taken for archived.
"""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import iso_sql
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_scratch import (
    SOCKET_IN_SCRATCH,
    ScratchServer,
    load_facts,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import identifier, literal, psql_argv
from ansible_collections.platform3.recovery.plugins.module_utils._undone import Listing, unlisted, write_listing
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

# Behind those of ScratchServer, which they outrank. Nothing may be lost here when the machine goes down, so fsync is
# on; a slot must not be given up, nor a segment ended, for a look.
SETTINGS = (
    "fsync=on",
    "archive_mode=on",
    "archive_command=",
    "archive_library=",
    "archive_timeout=0",
    "max_slot_wal_keep_size=-1",
    "default_transaction_read_only=on",
    "autovacuum=off",
    "lc_messages=C",
)
START_SECONDS = 3600.0
QUERY_TIMEOUT = "1h"
# Longest text of a row's details: a CSV is no place for documents.
DETAILS_CHARACTERS = 1000
KEPT = "the recovered platform and the quarantined data are as they were"
BY_HAND = "docs/runbook.md, To a point in time, says how to look into the quarantine by hand"

# Why the folder cannot be opened, or nothing. A server that is itself being recovered would begin a new timeline.
_LOOK = """
cd "$1" 2>/dev/null && [ -n "$(ls -A)" ] || { echo none; exit 0; }
for name in PG_VERSION global/pg_control pg_wal; do
  [ -e "$name" ] || { echo "damaged: it has no $name"; exit 0; }
done
for name in recovery.signal standby.signal backup_label; do
  [ ! -e "$name" ] || { echo "damaged: it holds $name, so it was in the middle of a recovery itself"; exit 0; }
done
rm -f postmaster.pid
"""


@dataclass(frozen=True)
class Point:
    """Which transactions the recovered data holds: those below xmax, save the unfinished ones (xmin and above)."""

    xmin: int
    xmax: int


def parse_point(text: str) -> Point:
    """Read what pg_current_snapshot() said where replay paused. In recovery it does not name the unfinished ones."""
    found = re.fullmatch(r"(\d+):(\d+):[\d,]*", text)
    if not found:
        raise ValueError(f"no snapshot: {text!r}")
    return Point(int(found.group(1)), int(found.group(2)))


def unfinished_query(point: Point) -> str:
    """For the recovered server: the transactions below xmax that had not been committed at the point."""
    return (
        f"SELECT x FROM generate_series({point.xmin}::bigint, {point.xmax - 1}) AS x"
        " WHERE pg_xact_status(x::text::xid8) <> 'committed'"
    )


def listing_query(wanted: Mapping[str, Any], point: Point, unfinished: Sequence[int], following: int) -> str:
    """COPY of the rows that transactions behind the point made or changed, for the quarantined server.

    following: its next transaction id, with the epoch that a row's own id (32 bits) lacks. Ids up to 2 are none.
    """
    column = {name: f"t.{identifier(str(wanted[name]))}" for name in ("id", "at", "account") if wanted.get(name)}
    xid = f"({following} - (({following} - t.xmin::text::bigint) & 4294967295))"
    late = f"{xid} >= {point.xmax}"
    if unfinished:
        late = f"({late} OR {xid} IN ({', '.join(map(str, unfinished))}))"
    named = [f"{literal(name + '=')} || t.{identifier(name)}::text" for name in wanted.get("details") or []]
    details = f"left(concat_ws('; ', {', '.join(named)}), {DETAILS_CHARACTERS})" if named else "''"
    at = iso_sql(f"{column['at']}::timestamptz").replace(".MS", ".US") if "at" in column else "''"
    account = f"{column['account']}::text" if "account" in column else "''"
    amount = f"({wanted['amount']})::text" if wanted.get("amount") else "''"
    where = f" AND ({wanted['where']})" if wanted.get("where") else ""
    order = f"{column['at']}, {column['id']}" if "at" in column else column["id"]
    return (
        f"COPY (SELECT {column['id']}::text, {at}, {account}, {amount}, {details}"
        f" FROM {identifier(str(wanted['table']))} AS t WHERE t.xmin::text::bigint > 2 AND {late}{where}"
        f" ORDER BY {order}) TO STDOUT WITH (FORMAT csv);"
    )


def cannot_list(code: str, what: str, found: str) -> RecoveryError:
    """Why a listing is not there."""
    return RecoveryError(code, f"list the {what} that were undone", found, KEPT, BY_HAND)


def list_undone(given: Mapping[str, Any], worker: VolumeWorker) -> list[Listing]:
    """A listing for each of given["wanted"], none of them left out whatever fails.

    given: the module's inputs (database, container, wanted, dest, progress_path).
    """
    progress = Progress(given["progress_path"])
    try:
        point = require_point(worker)
        folder = require_folder(worker)
        unfinished = _ask_recovered(given, point)
        progress.start("starting the quarantined server")
        with ScratchServer(worker, folder, SETTINGS) as server:
            try:
                with server.session(given["database"], START_SECONDS) as session:
                    row = session.row("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS following")
                listings = []
                for wanted in given["wanted"]:
                    progress.start(f"listing {wanted['kind']}")
                    query = listing_query(wanted, point, unfinished, int(row["following"]))
                    listings.append(_list_one(given, worker, wanted, query))
            finally:
                # Also where a listing failed: what was started is stopped in good order.
                if server.runs():
                    server.stop()
        return listings
    except RecoveryError as error:
        return [unlisted(given["dest"], one["kind"], _told(error)) for one in given["wanted"]]


def _told(error: RecoveryError) -> RecoveryError:
    own = error.code in ("PRC-581", "PRC-582", "PRC-583")
    return error if own else cannot_list("PRC-582", "rows", f"{error.code} {error.attempted}: {error.found}")


def require_point(worker: VolumeWorker) -> Point:
    """The transactions of the point, which the restore noted; RecoveryError PRC-581 where this recovery noted none."""
    state = worker.swap_state()
    if state != "swapped":
        raise cannot_list("PRC-581", "rows", f"the data was not exchanged by this recovery (state '{state or 'none'}')")
    noted = load_facts(worker).get("snapshot")
    if not noted:
        raise cannot_list("PRC-581", "rows", "the restore did not end at a point in time, so nothing was undone by it")
    return parse_point(noted)


def require_folder(worker: VolumeWorker) -> str:
    """The quarantined data folder; RecoveryError PRC-581 where there is none, PRC-582 where it cannot be opened."""
    folder = f"{ROOT}/quarantine/{worker.fence.recovery_id}"
    said = worker.bash(_LOOK, folder).stdout.strip()
    if said == "none":
        raise cannot_list("PRC-581", "rows", "there is no old data in quarantine (a total loss leaves none)")
    if said:
        raise cannot_list("PRC-582", "rows", f"the quarantined data cannot be opened: {said}")
    return folder


def _ask_recovered(given: Mapping[str, Any], point: Point) -> list[int]:
    with LiveServer(given["container"], given["database"], "").session(60.0) as session:
        return [int(row["x"]) for row in session.rows(unfinished_query(point), timeout_seconds=600)]


def _list_one(given: Mapping[str, Any], worker: VolumeWorker, wanted: Mapping[str, Any], query: str) -> Listing:
    try:
        return write_listing(given["dest"], wanted["kind"], _rows(worker, given["database"], wanted["kind"], query))
    except RecoveryError as error:
        return unlisted(given["dest"], wanted["kind"], error)


def _rows(worker: VolumeWorker, database: str, kind: str, query: str) -> Iterator[list[str]]:
    """The rows of a COPY, one at a time; RecoveryError PRC-583 with the server's words where it ends before its end."""
    argv = worker.exec_argv(psql_argv(database, SOCKET_IN_SCRATCH), interactive=True)
    with (
        tempfile.TemporaryFile(mode="w+") as said,
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, encoding="utf-8", errors="replace"
        ) as process,
    ):
        assert process.stdin and process.stdout
        try:
            process.stdin.write(f"SET statement_timeout = '{QUERY_TIMEOUT}';\n{query}\n")
            process.stdin.close()
            yield from csv.reader(process.stdout)
            if process.wait() != 0:
                said.seek(0)
                lines = [line.strip() for line in said if "ERROR" in line or "FATAL" in line]
                found = lines[-1].partition("ERROR: ")[2].strip() or lines[-1] if lines else "psql did not end well"
                raise cannot_list("PRC-583", kind, f"the quarantined database says: {found}")
        finally:
            process.kill()
