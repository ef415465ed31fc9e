# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a PostgreSQL backup: what the database says of itself, base backup, dump, tidying of the stream."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import CHUNK_BYTES, HashingWriter
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import (
    Backup,
    backup_argv,
    find_backup,
    info_argv,
    last_error,
    parse_info,
    parse_label,
    parse_progress,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import SETTINGS_THAT_MATTER
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import SOCKET_OF_SERVER, LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES

UNHARMED = "the database and earlier backup sets are untouched"
SETTLED_SECONDS = 60
LOCKED_STATUS = 50
LOCK_WAIT_SECONDS = 300
CHECKPOINT_SECONDS = 600
# So many tables the manifest names by their files.
MAPPED_TABLES = 2000
# A base backup waits for the segments that it began and ended in.
ROOM_BYTES = 4 * SEGMENT_BYTES

_FACTS = f"""
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
  pg_is_in_recovery() AS standby, current_setting('archive_mode') AS archive_mode,
  current_setting('data_checksums') = 'on' AS checksums,
  pg_encoding_to_char(encoding) AS encoding, datcollate AS "collate", datctype AS ctype, datlocprovider AS provider,
  datcollversion AS collation_version,
  to_char((now() - interval '{SETTLED_SECONDS} s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS settled_before
FROM pg_database WHERE datname = current_database()
"""


def database_facts(session: Session) -> dict[str, Any]:
    """What the server says of itself. PRC-530 where it is no primary that archives: no WAL would follow its backup."""
    facts = session.row(_FACTS)
    wrong = "it is a standby" if facts["standby"] else "archive_mode is off" if facts["archive_mode"] == "off" else ""
    if wrong:
        raise RecoveryError(
            "PRC-530", "back up PostgreSQL", wrong, UNHARMED, "finish its recovery, or turn archiving on, then back up"
        )
    settings = session.rows(
        "SELECT name, setting::int AS value FROM pg_settings WHERE name IN"
        f" ({', '.join(literal(name) for name in SETTINGS_THAT_MATTER)})"
    )
    facts["settings"] = {row["name"]: row["value"] for row in settings}
    return facts


def relfilenodes(session: Session, tables: Iterable[str]) -> dict[str, str]:
    """Where each table and its indexes lie below the data folder: to bring one table back without the others."""
    wanted = ", ".join(f"{literal(table)}::regclass" for table in tables)
    rows = session.rows(
        "SELECT oid::regclass::text AS name, pg_relation_filepath(oid) AS path FROM pg_class"
        f" WHERE oid IN ({wanted}) OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN ({wanted}))"
    )
    return {row["name"]: row["path"] for row in rows}


def tables_map(session: Session) -> dict[str, Any]:
    """The database's tables by number: name, its file's number and that of its TOAST table (null for none).

    By them the WAL, which knows numbers only, is read for people; the largest tables, where there are too many.
    """
    rows = session.rows(
        "SELECT c.oid::text AS oid, n.nspname || '.' || c.relname AS name, pg_relation_filenode(c.oid)::text AS file,"
        " pg_relation_filenode(nullif(c.reltoastrelid, 0))::text AS toast, count(*) OVER () AS count"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384"
        f" ORDER BY c.relpages DESC, c.oid LIMIT {MAPPED_TABLES}"
    )
    database = session.row("SELECT oid::text AS oid FROM pg_database WHERE datname = current_database()")
    return {
        "database_oid": int(database["oid"]),
        "tables": {row["oid"]: [row["name"], row["file"], row["toast"]] for row in rows},
        "left_out": int(rows[0]["count"]) - len(rows) if rows else 0,
    }


def settle_timeline(session: Session) -> None:
    """Let a server that was promoted a moment ago write its timeline into pg_control, which it does at a checkpoint.

    pgBackRest compares it with that of the WAL, and refuses where they differ (058).
    """
    row = session.row(
        "SELECT timeline_id <> ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS is_behind"
        " FROM pg_control_checkpoint()"
    )
    if row["is_behind"]:
        session.execute("CHECKPOINT;", timeout_seconds=CHECKPOINT_SECONDS)


def require_room(repository: str) -> None:
    """PRC-534 where the repository's disk has no room for a few segments.

    The archiver stands still then, and pgBackRest would wait for its WAL until its own time is up, and say only that.
    """
    free = shutil.disk_usage(repository).free
    if free < ROOM_BYTES:
        raise RecoveryError(
            "PRC-534",
            "take a base backup with pgBackRest",
            f"the disk of {repository} is full ({free / 1e6:.0f} MB left): WAL is not archived, the server keeps it",
            UNHARMED,
            "make room in the backup store (playbooks/expire_backups.yml), or enlarge it; then back up again",
        )


def base_backup(server: LiveServer, processes: int, kind: str, expected_bytes: int, progress: Progress) -> Backup:
    """A backup of a kind (full, diff, incr) now, a full one where there is none to build on.

    Waits for one that is still at work. PRC-531 where pgBackRest fails.
    """
    progress.start("backing up the cluster", expected_bytes)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    argv = server.exec_argv(backup_argv(server.stanza, processes, kind))
    while True:
        said: list[str] = []
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                percent = parse_progress(line)
                if percent is None:
                    said.append(line)
                else:
                    progress.at(int(expected_bytes * percent / 100))
        if process.returncode != LOCKED_STATUS or time.monotonic() > deadline:
            break
        time.sleep(1)
    label = parse_label("".join(said))
    if process.returncode != 0 or label is None:
        raise RecoveryError(
            "PRC-531",
            "take a base backup with pgBackRest",
            last_error("".join(said)),
            UNHARMED,
            f"docker exec {server.container} pgbackrest --stanza={server.stanza} check; then back up again",
        )
    info = server.run(info_argv(server.stanza))
    return find_backup(parse_info(info, server.stanza), label)


def manifest_sha256(server: LiveServer, label: str) -> str:
    """SHA-256 of the base backup's own manifest, which holds the checksum of each of its files."""
    script = (
        "set -o pipefail; pgbackrest --log-level-console=off --log-level-stderr=error --log-level-file=off"
        ' repo-get "$1" | sha256sum'
    )
    path = f"backup/{server.stanza}/{label}/backup.manifest"
    return server.run(["bash", "-euc", script, "bash", path]).split()[0]


def run_dump(server: LiveServer, argv: Sequence[str], path: str) -> tuple[int, str]:
    """Run a dump command beside the server into a file; returns its size and SHA-256. PRC-532 where it fails."""
    with tempfile.TemporaryFile(mode="w+") as errors:
        process = subprocess.Popen(server.exec_argv(argv), stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout
        try:
            with HashingWriter(path) as target:
                while chunk := process.stdout.read(CHUNK_BYTES):
                    target.write(chunk)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            status = process.wait()
        errors.seek(0)
        said = last_line(errors.read())
    if status != 0 or target.bytes == 0:
        raise RecoveryError(
            "PRC-532", f"dump the database ({argv[0]})", said or f"status {status}", UNHARMED,
            f"docker logs {server.container}; then back up again",
        )  # fmt: skip
    return target.bytes, target.sha256


def dump_argv(database: str, compression: str) -> list[str]:
    """pg_dump in the custom format, which pg_restore can load in parallel, in part, and into a newer major version."""
    connection = [f"--host={SOCKET_OF_SERVER}", "--username=postgres"]
    return ["pg_dump", *connection, "--format=custom", f"--compress={compression}", database]


def globals_argv() -> list[str]:
    """The roles and their memberships, without their passwords."""
    return [
        "pg_dumpall", f"--host={SOCKET_OF_SERVER}", "--username=postgres", "--globals-only", "--no-role-passwords",
    ]  # fmt: skip
