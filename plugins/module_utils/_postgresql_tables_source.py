# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the rows of chosen tables come from: a dump, loaded into a scratch database, or another running server.

Either ends as a database that is read in one snapshot and copied, table by table, into a scratch schema of the live
database: only there can the rows be compared with the live ones, their foreign keys be looked for, and both be
exchanged in one transaction.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import CHUNK_BYTES, hash_file
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import SOCKET_OF_SERVER, LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables import (
    SCRATCH,
    Name,
    Table,
    entries_of,
    not_in_source,
    refused,
    table_of,
    tables_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_sql import (
    Pair,
    copy_in_sql,
    copy_out_sql,
    sequence_value_query,
    sequences_query,
    stage_sql,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal, psql_argv

# By this name a run knows what an earlier, killed one left at work.
APPLICATION = "platform3.recovery tables"
LONG_SECONDS = 6 * 3600
# The scratch copy, the rows in the live table, those in the quarantine, and the WAL of both.
COPIES = 4
_CHOOSE = "choose another backup set (recovery_backup_set=<id>)"
_RESTORE = [
    "pg_restore", f"--host={SOCKET_OF_SERVER}", "--username=postgres", f"--dbname={SCRATCH}", "--exit-on-error",
    "--no-owner", "--no-privileges", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--no-comments",
    "--no-security-labels",
]  # fmt: skip
# The list comes as an argument: nothing is left behind in the container.
_LOAD = 'list=$1; shift; exec "$@" --use-list=<(printf %s "$list")'


@dataclass(frozen=True)
class Dump:
    """A dump of a signed set. path: where it lies; bytes and sha256: as its manifest says."""

    path: str
    bytes: int
    sha256: str


def dump_of(set_path: str, artefact: Mapping[str, Any]) -> Dump:
    """The dump that the inputs name; RecoveryError PRC-599 where it leaves the backup set or is not there."""
    root = os.path.realpath(set_path)
    path = os.path.realpath(os.path.join(root, artefact["path"]))
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        raise refused("PRC-599", f"read the dump {artefact['path']}", "it is no file of the backup set", _CHOOSE)
    return Dump(path, int(artefact["bytes"]), str(artefact["sha256"]))


def require_signed(dump: Dump, progress: Progress) -> None:
    """RecoveryError PRC-599 where the dump is not, byte for byte, the file that the set's manifest lists."""
    progress.start("verifying the dump", dump.bytes)
    if hash_file(dump.path, progress.advance) != (dump.bytes, dump.sha256):
        raise refused("PRC-599", f"read the dump {dump.path}", "it is not the file that was signed", _CHOOSE)


def not_loaded(what: str, found: str) -> RecoveryError:
    """PRC-599: the source's rows could not be brought beside the live ones."""
    next_step = f"mend the cause, or {_CHOOSE}"
    return refused("PRC-599", what, found or "it ended without a word", next_step)


def require_room(server: LiveServer, needed: int) -> None:
    """RecoveryError PRC-599 where the live server's disk has not the room: it would stand still without any."""
    found = server.run(["bash", "-euc", 'df --block-size=1 --output=avail "$PGDATA" | tail -n 1'])
    free = int(found.strip())
    if free < needed:
        found = f"the disk of {server.container} has {free / 1e6:.0f} MB left, {needed / 1e6:.0f} MB are needed"
        raise not_loaded("bring the tables beside the live ones", found)


def named_psql(database: str) -> list[str]:
    """psql that a later run finds by name."""
    return ["env", f"PGAPPNAME={APPLICATION}", *psql_argv(database, SOCKET_OF_SERVER)]


def _pipe(source: BinaryIO, target: BinaryIO, progress: Progress) -> None:
    """Everything from source to target, as far as target takes it: what it says then is judged by its status."""
    with contextlib.suppress(BrokenPipeError):
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            progress.advance(len(chunk))
    with contextlib.suppress(BrokenPipeError):
        target.close()


def _feed(dump: Dump, argv: Sequence[str], what: str, progress: Progress) -> str:
    """Run a command on the dump and return what it printed; RecoveryError PRC-599 with its last words."""
    with tempfile.TemporaryFile(mode="w+") as said, tempfile.TemporaryFile(mode="w+") as errors:
        with open(dump.path, "rb", buffering=0) as stream:
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=errors)
            assert process.stdin
            try:
                _pipe(stream, process.stdin, progress)  # type: ignore[arg-type]
            except BaseException:
                process.kill()
                raise
            finally:
                status = process.wait()
        said.seek(0)
        errors.seek(0)
        if status != 0:
            lines = [line for line in errors.read().splitlines() if "error" in line.lower()]
            raise not_loaded(what, lines[0] if lines else f"status {status}")
        return said.read()


def make_scratch_database(session: Session) -> None:
    """An empty database beside the live one, of its encoding."""
    row = session.row(
        "SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype"
        " FROM pg_database WHERE datname = current_database()"
    )
    session.execute(
        f"CREATE DATABASE {SCRATCH} TEMPLATE template0 ENCODING {literal(row['encoding'])}"
        f" LC_COLLATE {literal(row['collate'])} LC_CTYPE {literal(row['ctype'])};",
        timeout_seconds=LONG_SECONDS,
    )


def load_dump(server: LiveServer, session: Session, dump: Dump, names: Sequence[Name], progress: Progress) -> None:
    """The dump's chosen tables and their sequences into the scratch database, without indexes and constraints.

    All definitions are loaded, since a table may need types and functions; rows of the chosen tables alone. PRC-591
    where the dump has no such table.
    """
    what = f"load the dump {os.path.basename(dump.path)} into a scratch database"
    progress.start("reading the dump's contents", 0)
    listing = _feed(dump, server.exec_argv(["pg_restore", "--list"], interactive=True), what, progress)
    missing = entries_of(listing, names, [])[1]
    if missing:
        raise not_in_source(missing, f"the dump {os.path.basename(dump.path)}")
    require_room(server, dump.bytes)
    make_scratch_database(session)
    progress.start("loading the definitions", 0)
    _feed(dump, server.exec_argv([*_RESTORE, "--section=pre-data"], interactive=True), what, progress)
    scratch = LiveServer(server.container, SCRATCH, server.stanza)
    with open_session(scratch) as looking:
        rows = looking.rows(sequences_query(names))
    sequences = [Name(row["sequence_schema"], row["sequence"]) for row in rows]
    wanted = entries_of(listing, names, sequences)[0]
    progress.start("loading the chosen tables", dump.bytes)
    argv = ["bash", "-euc", _LOAD, "bash", wanted, *_RESTORE]
    _feed(dump, server.exec_argv(argv, interactive=True), what, progress)


@contextlib.contextmanager
def open_session(server: LiveServer) -> Iterator[Session]:
    """A session that a later run finds by name."""
    with server.session(timeout_seconds=30) as session:
        session.execute(f"SET application_name = {literal(APPLICATION)};")
        yield session


class Snapshot:
    """A source's database as of one instant, however long it takes to read it. A context manager."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Snapshot:
        self.session = self._stack.enter_context(open_session(self.server))
        self.session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
        self._id = self.session.row("SELECT pg_export_snapshot() AS id")["id"]
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._stack.close()

    def tables(self, names: Sequence[Name]) -> dict[Name, Table]:
        """The tables that it has; RecoveryError PRC-591 where one is missing."""
        found = {one.name: one for one in map(table_of, self.session.rows(tables_query(names)))}
        missing = [name for name in names if name not in found]
        if missing:
            raise not_in_source(missing, f"database {self.server.database} of {self.server.container}")
        return found

    def sequences(self, names: Sequence[Name]) -> dict[tuple[Name, str], int]:
        """The last number given in the columns of tables; columns whose sequence gave none are left out."""
        given = {}
        for row in self.session.rows(sequences_query(names)):
            sequence = Name(row["sequence_schema"], row["sequence"])
            value = self.session.row(sequence_value_query(sequence))["value"]
            if value is not None:
                given[Name(row["schema"], row["table"]), row["column"]] = int(value)
        return given

    def copy(self, live: LiveServer, pair: Pair, progress: Progress) -> None:
        """A table's rows into the scratch schema of the live database; RecoveryError PRC-599 unless all came."""
        out = named_psql(self.server.database)
        for one in (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT {literal(self._id)}",
            copy_out_sql(pair.live),
        ):
            out.append(f"--command={one}")
        into = [*named_psql(live.database), f"--command={copy_in_sql(pair)}"]
        what = f"copy the rows of {pair.live.name.text()} beside the live ones"
        with tempfile.TemporaryFile(mode="w+") as errors:
            reader = subprocess.Popen(
                self.server.exec_argv(out), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            writer = subprocess.Popen(
                live.exec_argv(into, interactive=True), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
            )
            assert reader.stdout and writer.stdin
            try:
                _pipe(reader.stdout, writer.stdin, progress)  # type: ignore[arg-type]
            except BaseException:
                reader.kill()
                writer.kill()
                raise
            finally:
                reader.stdout.close()
                # Half of the rows end as silently as all of them: only the reader's status tells which it was.
                statuses = (reader.wait(), writer.wait())
            errors.seek(0)
            said = last_line(
                "\n".join(line for line in errors.read().splitlines() if "ERROR" in line or "FATAL" in line)
            )
        if any(statuses):
            raise not_loaded(what, said or f"status {statuses[0]} of the reader, {statuses[1]} of the writer")


def stage(live: LiveServer, session: Session, source: Snapshot, pairs: Sequence[Pair], progress: Progress) -> None:
    """All chosen tables' rows of the source into the scratch schema."""
    session.execute(f"CREATE SCHEMA {SCRATCH};")
    for pair in pairs:
        session.execute(stage_sql(pair))
        progress.start(f"copying {pair.live.name.text()} beside")
        source.copy(live, pair, progress)
        session.execute(f"ANALYZE {pair.staged};", timeout_seconds=LONG_SECONDS)
