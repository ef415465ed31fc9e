# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL restored beside the live data, in a one-shot container: files, WAL to its end, figures compared."""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    ENVIRONMENT_LABEL,
    command_failed,
    docker,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import (
    RESTORE_SCRIPT,
    STREAM_MOUNT,
    last_error,
    parse_progress,
    restore_argv,
    restore_script,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import figure_checks, figures_query
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import (
    POLL_SECONDS,
    SEE_HOST,
    WHERE,
    Clock,
    await_session,
    complaint,
    iso_sql,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    CONFIGURATION,
    REPOSITORY_MOUNT,
    Assessment,
    require_dump,
    restore_folder,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, patient_psql_argv
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, ROOT, VolumeWorker
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    format_lsn,
    holds_more,
    parse_end,
    parse_lsn,
    parse_segment,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import RESET_SQL

STALL_SECONDS = 5.0
SOCKET_IN_SCRATCH = "/tmp"
BESIDE = "the restore beside the live data is incomplete; the old data was not touched"


def require_nobody_works(volume: str, worker: str) -> None:
    """RecoveryError PRC-510 where a container other than the worker runs on the volume."""
    names = docker(["ps", "--filter", f"volume={volume}", "--format", "{{.Names}}"]).stdout.split()
    others = [name for name in names if name != worker]
    if others:
        raise RecoveryError(
            "PRC-510",
            f"restore into volume {volume}",
            f"containers still run on it: {', '.join(others)}",
            "nothing was changed",
            "the isolate phase takes them away",
        )


# Never used again by a run that goes on: what was missing for a killed one may be there now.
SPOOL = f"{ROOT}/.wal-spool"
# One call, because each into a container costs a tenth of a second: the files, the script, and the last record.
# $1 folder, $2 path of the script, $3 its text, $4 the newest segments, then pgBackRest's command line. A folder that
# pgBackRest did not begin cannot be taken up by --delta, so it is emptied. The last segment is fetched as replay will
# fetch it; one without a record counts for nothing.
_RESTORE = """
folder=$1 script=$2 text=$3 segments=$4; shift 4
rm -rf "$folder/postmaster.pid" SPOOL
if [ ! -e "$folder/PG_VERSION" ] && [ ! -e "$folder/backup.manifest" ]; then rm -rf "$folder"; fi
mkdir -p -m 0700 "$folder"
"$@"
cd "$folder"; printf %s "$text" > "$script"; rm -rf /tmp/last; mkdir /tmp/last
for segment in $segments; do
  bash "./$script" "$segment" "/tmp/last/$segment" || { echo "unread $segment"; exit 126; }
  records=$(pg_waldump --stats --path=/tmp/last "$segment" 2>/dev/null | head -n 1)
  if [ -n "$records" ]; then echo "last $segment"; echo "$records"; break; fi
done
""".replace("SPOOL", SPOOL)
UNREAD_STATUS = 126
# As many of the newest segments as may hold no record: an ended one holds at least its end.
LOOKED_AT = 8


def restore_files(
    worker: VolumeWorker,
    stanza: str,
    found: Assessment,
    processes: int,
    progress: Progress,
    options: Sequence[str] = (),
) -> tuple[str, int]:
    """Put the base backup into restore-<recovery_id>/, each file checked by its checksum, and the restore script.

    options: further ones of pgBackRest. Returns the newest segment that holds a record, and where its last one ends:
    replay to the end of the WAL must get there.
    """
    folder = restore_folder(worker.fence.recovery_id)
    progress.start("restoring the base backup", found.backup.bytes)
    script = restore_script(stanza, found.folders, SEGMENT_BYTES, SPOOL)
    newest = " ".join(one.segment for one in reversed(found.plan.files[-LOOKED_AT:]))
    command = restore_argv(stanza, found.backup.label, folder, processes, found.target_timeline, options)
    argv = worker.exec_argv(["bash", "-euc", _RESTORE, "bash", folder, RESTORE_SCRIPT, script, newest, *command])
    tail: collections.deque[str] = collections.deque(maxlen=60)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            tail.append(line)
            percent = parse_progress(line)
            if percent is not None:
                progress.at(int(found.backup.bytes * percent / 100))
    said = "".join(tail)
    if process.returncode not in (0, UNREAD_STATUS):
        raise RecoveryError("PRC-511", f"restore base backup {found.backup.label}", last_error(said), BESIDE, SEE_HOST)
    read = re.search(r"^last (\S+)$", said, re.M)
    end = parse_end(said)
    if process.returncode != 0 or not read or end is None:
        unread = re.search(r"^unread (\S+)$", said, re.M)
        segment = unread.group(1) if unread else found.plan.files[-1].segment
        reason = complaint(tail) if unread else "it holds no record"
        raise RecoveryError("PRC-512", f"read WAL segment {segment}", reason, BESIDE, _damaged_next(segment))
    return read.group(1), end


def require_sound_end(worker: VolumeWorker, segment: str, end: int) -> None:
    """RecoveryError PRC-512 where the newest segment goes on behind its last valid record: a bad one is in between."""
    if end // SEGMENT_BYTES > parse_segment(segment).number:
        return
    argv = ["tail", "--bytes", f"+{end % SEGMENT_BYTES + 1}", f"/tmp/last/{segment}"]
    done = subprocess.run(worker.exec_argv(argv), capture_output=True, check=False)
    if done.returncode != 0:
        raise command_failed(worker.exec_argv(argv)[1:], done.stderr.decode(errors="replace").strip())
    if holds_more(done.stdout, end):
        found = f"it is damaged at {format_lsn(end)}, and more follows"
        raise RecoveryError("PRC-512", f"read WAL segment {segment}", found, BESIDE, _damaged_next(segment))


def _damaged_next(segment: str) -> str:
    return (
        f"look at {segment} in the archive; where the stream folder holds it whole, move the damaged file out of the"
        " archive"
    )


class ScratchServer:
    """A PostgreSQL in a one-shot container, reachable there alone, without archive. A context manager.

    settings: further `name=value`; the server reads the configuration that it will run with, so that a setting that
    does not suit is found before the exchange.
    """

    def __init__(self, worker: VolumeWorker, folder: str, settings: Iterable[str]) -> None:
        self._worker = worker
        self._folder = folder
        fixed = ["listen_addresses=", f"unix_socket_directories={SOCKET_IN_SCRATCH}", "archive_mode=off", "fsync=off"]
        self._argv = ["postgres", "-D", folder, "-c", f"config_file={CONFIGURATION}"]
        for one in [*fixed, *settings]:
            self._argv += ["-c", one]
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> ScratchServer:
        self._process = subprocess.Popen(
            self._worker.exec_argv(self._argv), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def session(self, database: str, timeout_seconds: float = 3600.0) -> Session:
        """Connect once it answers. PRC-513 where it ends instead."""
        argv = self._worker.exec_argv(patient_psql_argv(database, SOCKET_IN_SCRATCH), interactive=True)
        return await_session(argv, self.require_alive, timeout_seconds)

    def require_alive(self) -> None:
        """RecoveryError PRC-513, with its own last words, where the server has ended."""
        if self._process.poll() is not None:
            raise self.failure("PRC-513", "replay WAL beside the live data", "the server ended")

    def runs(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def failure(self, code: str, attempted: str, found: str) -> RecoveryError:
        """An error that quotes what the server said last."""
        self._log.flush()
        self._log.seek(0)
        return RecoveryError(code, attempted, f"{found}; {complaint(self._log)}", BESIDE, SEE_HOST)

    def said(self, pattern: str) -> str | None:
        """The last line of its log that a regular expression finds something in."""
        # Read at a place of its own: the server writes behind the offset that both share.
        descriptor = self._log.fileno()
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
        return next((line for line in reversed(text.splitlines()) if re.search(pattern, line)), None)

    def stop(self, restore_script: str = "") -> None:
        """Stop it in good order and see its data on disk; with another restore script where one is given."""
        script = (
            'pg_ctl stop --silent --mode=fast --pgdata="$1" --timeout=600;'
            ' if [ -n "$3" ]; then printf %s "$3" > "$1/$2"; fi;'
            # What still fetches for the spool ends by itself, in a tenth of a second.
            ' for try in {1..50}; do rm -rf "$4" 2>/dev/null && break; sleep 0.1; done; sync --file-system "$1"'
        )
        self._worker.bash(script, self._folder, RESTORE_SCRIPT, restore_script, SPOOL)
        self._process.wait(timeout=60)


def ask(session: Session, server: ScratchServer, query: str) -> dict[str, Any]:
    """The one row of a query to a server that may end meanwhile: then its own last words are the error (PRC-513)."""
    server.require_alive()
    try:
        return session.row(query)
    except RecoveryError:
        time.sleep(4 * POLL_SECONDS)
        server.require_alive()
        raise


def replay(session: Session, server: ScratchServer, begin: int, target: int, progress: Progress) -> int:
    """Wait until replay has reached the end of the WAL (target); returns where it is then.

    RecoveryError PRC-515 where it stands still before: then a segment in the middle is damaged, and what is there must
    not be taken for the whole.
    """
    progress.start("replaying WAL", max(target - begin, 0))
    seen, since = -1, time.monotonic()
    while True:
        now = ask(session, server, WHERE)
        lsn = int(now["lsn"])
        progress.at(min(lsn, target) - begin)
        if lsn >= target:
            return lsn
        if lsn != seen:
            seen, since = lsn, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS and now["waits"] == "RecoveryRetrieveRetryInterval":
            found = f"replay ends at {format_lsn(lsn)}, but the WAL reaches to {format_lsn(target)}"
            raise server.failure("PRC-515", "replay the WAL to its end", found)
        time.sleep(POLL_SECONDS)


def check_restored(session: Session, content: Mapping[str, Any]) -> list[Check]:
    """Compare the restored database with what the backup set says of it; ChecksFailed PRC-516."""
    figures = content["figures"]
    rows = session.rows(figures_query(figures["tables"], figures["settled_before"]), timeout_seconds=1800)
    return require(
        figure_checks(figures, rows), "PRC-516", "find the backed-up figures in the restored database", BESIDE,
        "choose another backup set: recovery_backup_set=<id>; keep this one for the investigation",
    )  # fmt: skip


def restore_physical(
    worker: VolumeWorker,
    stanza: str,
    found: Assessment,
    content: Mapping[str, Any],
    processes: int,
    settings: Sequence[str],
    progress: Progress,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Base backup and all WAL into restore-<recovery_id>/, replayed and compared; returns the facts of it.

    options: further ones of pgBackRest.
    """
    folder = restore_folder(worker.fence.recovery_id)
    clock = Clock()
    segment, target = restore_files(worker, stanza, found, processes, progress, options)
    clock.lap("copy")
    require_sound_end(worker, segment, target)
    with ScratchServer(worker, folder, ["wal_retrieve_retry_interval=200ms", *settings]) as server:
        with server.session(content["database"]) as session:
            reached = replay(session, server, parse_lsn(found.backup.lsn_start), target, progress)
            clock.lap("replay")
            # The lost server may have waited for a receiver that is not there when this one takes its place.
            session.execute(RESET_SQL)
            progress.start("comparing figures")
            checks = check_restored(session, content)
            point = session.row(f"SELECT {iso_sql('pg_last_xact_replay_timestamp()')} AS at")["at"]
            clock.lap("compare")
        # All segments lie in pg_wal now; what the server still has to ask for is which timelines there are.
        server.stop(restore_script(stanza, [], SEGMENT_BYTES))
    clock.lap("stop")
    return {
        "method": "physical",
        "system_identifier": found.backup.system_identifier,
        "parent_timeline": found.plan.timeline,
        "end_lsn": format_lsn(target),
        "replayed_lsn": format_lsn(reached),
        "recovery_point": point or found.recovery_point,
        "replayed_bytes": max(0, reached - parse_lsn(found.backup.lsn_start)),
        "bytes": found.backup.bytes + len(found.plan.files) * SEGMENT_BYTES,
        "checks": checks,
        "parts": clock.parts,
    }


# The roles come first; the superuser is there already. Then the dump, which makes the database itself.
_LOAD = """
grep -v '^CREATE ROLE postgres;$' "/set/$1" |
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host=SOCKET --username=postgres --dbname=postgres >/dev/null
pg_restore --host=SOCKET --username=postgres --dbname=postgres --create --exit-on-error --jobs="$3" "/set/$2"
""".replace("SOCKET", SOCKET_IN_SCRATCH)


def restore_logical(
    worker: VolumeWorker, content: Mapping[str, Any], processes: int, settings: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """A new cluster in restore-<recovery_id>/, the set's roles and dump loaded and compared; gives the facts of it."""
    dump = require_dump(content)
    folder = restore_folder(worker.fence.recovery_id)
    clock = Clock()
    worker.bash('rm -rf "$1"', folder)
    worker.run(["initdb", f"--pgdata={folder}", *initdb_options(content["cluster"])])
    clock.lap("initialise")
    loading = ["wal_level=minimal", "max_wal_senders=0", "full_page_writes=off", "autovacuum=off"]
    with ScratchServer(worker, folder, [*loading, *settings]) as server:
        server.session("postgres").__exit__(None, None, None)
        progress.start("loading the dump")
        worker.bash(_LOAD, content["globals"]["path"], dump["path"], str(processes))
        clock.lap("load")
        with server.session(content["database"]) as session:
            checks = check_restored(session, content)
            session.execute("ANALYZE;", timeout_seconds=3600)
            identifier = session.row("SELECT system_identifier::text AS id FROM pg_control_system()")["id"]
        clock.lap("compare")
        server.stop()
    clock.lap("stop")
    return {
        "method": "logical",
        "system_identifier": identifier,
        "parent_timeline": 0,
        "recovery_point": dump["started_at"],
        "bytes": dump["bytes"],
        "checks": checks,
        "parts": clock.parts,
    }


def initdb_options(cluster: Mapping[str, Any]) -> list[str]:
    """How to make a cluster like the one that was backed up."""
    options = [
        "--username=postgres",
        f"--encoding={cluster['encoding']}",
        f"--lc-collate={cluster['collate']}",
        f"--lc-ctype={cluster['ctype']}",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        "--no-instructions",
        "--no-sync",
    ]
    return options + (["--data-checksums"] if cluster["checksums"] else [])


def save_facts(worker: VolumeWorker, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what this recovery restored in the volume, for a run that goes on after the exchange, and return it.

    Whether there is old data to put into quarantine is found out here, the last moment before the exchange.
    """
    script = 'printf %s "$2" > "$1.new"; sync "$1.new"; mv -f "$1.new" "$1"; ls -A "$3" 2>/dev/null || true'
    old = worker.bash(script, _facts_path(worker), json.dumps(facts), DATA).stdout.strip()
    return {**facts, "quarantined": bool(old)}


def load_facts(worker: VolumeWorker) -> dict[str, Any]:
    """What save_facts kept."""
    script = 'cat "$1"; echo; ls -A "$2" 2>/dev/null || true'
    quarantine = f"{ROOT}/quarantine/{worker.fence.recovery_id}"
    facts, _, old = worker.bash(script, _facts_path(worker), quarantine).stdout.partition("\n")
    return {**json.loads(facts), "quarantined": bool(old.strip())}


def _facts_path(worker: VolumeWorker) -> str:
    return f"{ROOT}/restored-{worker.fence.recovery_id}.json"


def archive_streamed(worker: VolumeWorker, stanza: str, found: Assessment) -> list[str]:
    """Put whole segments that only the stream holds into the archive, so that the next recovery needs no old stream.

    They were replayed before, so they are sound. The worker reads the repository only; this container may write to it.
    Returns their names.
    """
    wanted = found.plan.only_streamed()
    if not wanted:
        return []
    argv = [
        "run",
        "--rm",
        "--pull",
        "never",
        "--network",
        "none",
        "--label",
        f"{ENVIRONMENT_LABEL}={worker.environment_id}",
    ]
    argv += ["--volume", f"{worker.volume}:{ROOT}:ro"]
    for mount in worker.mounts:
        is_repository = mount.split(":")[1] == REPOSITORY_MOUNT
        argv += ["--volume", mount[: -len(":ro")] if is_repository else mount]
    paths = [f"{STREAM_MOUNT}/{one.folder}/{one.segment}" for one in wanted]
    folder = restore_folder(worker.fence.recovery_id)
    options = [f"--stanza={stanza}", f"--pg1-path={folder}"]
    docker([*argv, worker.image, "bash", "-euc", _ARCHIVE, "bash", *options, *paths])
    return [one.segment for one in wanted]


_ARCHIVE = """
options=("$1" "$2" --no-archive-async --log-level-console=off --log-level-stderr=error --log-level-file=off)
shift 2
for path in "$@"; do pgbackrest "${options[@]}" archive-push "$path"; done
"""
