# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pgBackRest: its command lines as data, and what it prints, read.

Formats: `pgbackrest info --output=json` and `repo-ls --output=json` as in the user guide and command reference (2.55).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

RESTORE_SCRIPT = "platform3_restore_wal"
STREAM_MOUNT = "/wal-stream"
# How long a segment that is fetched ahead is waited for, before it is fetched at once; one takes a tenth of a second.
# At a switch of timelines processes that fetch ahead outrun each other, and one waits in vain (pgBackRest #2423).
FETCH_AHEAD_SECONDS = 5
_PERCENT = re.compile(r"\(([\d.]+)([KMGT]?)B, ([\d.]+)%\)")


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Backup:
    """One backup in the repository, as `info` describes it. bytes: of the cluster; repository_bytes: as stored.

    kind: full, diff (since the last full one) or incr (since the last of any kind); depends_on: labels of the backups
    whose files it goes without, oldest first.
    """

    label: str
    system_identifier: str
    version: str
    archive_id: str
    wal_start: str
    wal_stop: str
    lsn_start: str
    lsn_stop: str
    started_at: str
    finished_at: str
    bytes: int
    repository_bytes: int
    damaged: bool
    kind: str = "full"
    depends_on: tuple[str, ...] = ()

    @property
    def timeline(self) -> int:
        """The timeline that the backup was taken on."""
        return int(self.wal_start[:8], 16)


def backup_argv(stanza: str, processes: int, kind: str = "full") -> list[str]:
    """Take a backup of a kind (full, diff, incr) now, without expiring others.

    That is the retention's business, which knows what was tested.
    """
    return [
        "pgbackrest",
        f"--stanza={stanza}",
        f"--type={kind}",
        "--compress-type=lz4",
        f"--process-max={processes}",
        "--start-fast",
        "--no-expire-auto",
        "--log-level-console=detail",
        "--log-level-stderr=off",
        "--log-level-file=off",
        "backup",
    ]


def restore_argv(
    stanza: str, label: str, folder: str, processes: int, timeline: int | None, options: Sequence[str] = ()
) -> list[str]:
    """Restore a backup into a folder as a standby. options: further ones, of a recovery that ends at a point in time.

    --delta repairs what an interrupted restore or replay left behind, by checksum, and is ignored in an empty folder.
    timeline: None follows the newest one. A buffer that stays in the processor's cache halved the system's share of
    the time against the default of 1 MiB.
    """
    target = [] if timeline is None else [f"--target-timeline={timeline}"]
    return [
        "pgbackrest",
        f"--stanza={stanza}",
        f"--set={label}",
        f"--pg1-path={folder}",
        f"--process-max={processes}",
        "--buffer-size=256KiB",
        "--delta",
        "--type=standby",
        *target,
        f"--recovery-option=restore_command=bash ./{RESTORE_SCRIPT} %f %p",
        *options,
        "--log-level-console=detail",
        "--log-level-stderr=off",
        "--log-level-file=off",
        "restore",
    ]


def info_argv(stanza: str) -> list[str]:
    """Ask what the repository holds of a stanza."""
    return ["pgbackrest", f"--stanza={stanza}", "--log-level-console=error", "--output=json", "info"]


def parse_info(text: str, stanza: str) -> list[Backup]:
    """The backups of a stanza, oldest first. RecoveryError PRC-503 where the repository does not know the stanza."""
    stanzas = [one for one in json.loads(text) if one["name"] == stanza]
    if not stanzas or not stanzas[0]["db"]:
        found = stanzas[0]["status"]["message"] if stanzas else "no such stanza"
        raise RecoveryError(
            "PRC-503",
            f"find stanza {stanza} in the pgBackRest repository",
            found,
            "nothing was changed",
            f"check backup_store_path and postgresql_stanza: pgbackrest --stanza={stanza} info",
        )
    databases = {(one["id"], one["repo-key"]): one for one in stanzas[0]["db"]}
    return [_backup(one, databases) for one in stanzas[0]["backup"]]


def _backup(entry: dict[str, Any], databases: dict[tuple[int, int], dict[str, Any]]) -> Backup:
    key = (entry["database"]["id"], entry["database"]["repo-key"])
    database = databases[key]
    return Backup(
        label=entry["label"],
        system_identifier=str(database["system-id"]),
        version=str(database["version"]),
        archive_id=f"{database['version']}-{key[0]}",
        wal_start=entry["archive"]["start"],
        wal_stop=entry["archive"]["stop"],
        lsn_start=entry["lsn"]["start"],
        lsn_stop=entry["lsn"]["stop"],
        started_at=iso(entry["timestamp"]["start"]),
        finished_at=iso(entry["timestamp"]["stop"]),
        bytes=int(entry["info"]["size"]),
        repository_bytes=int(entry["info"]["repository"].get("size") or entry["info"]["repository"]["delta"]),
        damaged=bool(entry.get("error")),
        kind=entry.get("type", "full"),
        depends_on=tuple(sorted(entry.get("reference") or ())),
    )


def parse_newest_system(text: str, stanza: str) -> str | None:
    """System identifier of the newest database that the stanza knows, None where there is no such stanza."""
    databases = [one for entry in json.loads(text) if entry["name"] == stanza for one in entry["db"]]
    return str(max(databases, key=lambda one: one["id"])["system-id"]) if databases else None


def archive_ids(text: str, stanza: str, system_identifier: str) -> list[str]:
    """The folders of the archive ("17-1") that belong to a database, by what `info` says."""
    databases = [one for entry in json.loads(text) if entry["name"] == stanza for one in entry["db"]]
    return [f"{one['version']}-{one['id']}" for one in databases if str(one["system-id"]) == system_identifier]


def find_backup(backups: Sequence[Backup], label: str) -> Backup:
    """The backup with this label; RecoveryError PRC-504 naming those there are, or saying that it is damaged."""
    named = [one for one in backups if one.label == label]
    if named and not named[0].damaged:
        return named[0]
    known = ", ".join(one.label for one in backups[-3:]) or "none at all"
    found = "pgBackRest marked it as damaged (page checksums)" if named else f"it is not there; newest: {known}"
    raise RecoveryError(
        "PRC-504",
        f"find base backup {label} in the pgBackRest repository",
        found,
        "nothing was changed",
        "choose another backup set: recovery_backup_set=<id>",
    )


def parse_listing(text: str) -> dict[str, tuple[int, float]]:
    """The files of `repo-ls --recurse --output=json`: path -> (bytes, written at in Unix seconds)."""
    return {
        path: (int(entry["size"]), float(entry["time"]))
        for path, entry in json.loads(text or "{}").items()
        if entry["type"] == "file"
    }


def parse_progress(line: str) -> float | None:
    """How much is done, in percent, by a line of backup or restore at log level detail; None for other lines."""
    found = _PERCENT.search(line)
    return float(found.group(3)) if found else None


def parse_label(output: str) -> str | None:
    """The label in what `backup` printed ("new backup label = 20261123-071003F")."""
    found = re.search(r"new backup label = (\S+)", output)
    return found.group(1) if found else None


def last_error(output: str) -> str:
    """pgBackRest's own sentence about its failure ("ERROR: [055]: unable to ..."), else its last line."""
    found = re.findall(r"ERROR: (\[\d+\]: .*)", output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return str(found[-1]) if found else (lines[-1] if lines else "it said nothing")


def restore_script(stanza: str, folders: Sequence[str], segment_bytes: int, spool: str | None = None) -> str:
    """The restore_command: archive first, then the streams' folders, and nothing but exit 1 says "there is no more".

    folders: names of folders below the stream's mount, the most trusted first. Exit 126 makes PostgreSQL give up: a
    segment that cannot be read must never look like the end of WAL. spool: folder, on the data's file system, that
    pgBackRest fetches the next segments into while one is replayed; None for a server that has its segments already,
    and asks for histories of timelines only.
    """
    ahead = ["--archive-async", f"--spool-path={spool}", "--archive-get-queue-max=256MiB", "--process-max=2"]
    ahead += [f"--archive-timeout={FETCH_AHEAD_SECONDS}"]
    return _RESTORE_SCRIPT.format(
        stanza=shlex.quote(f"--stanza={stanza}"),
        fetching=" ".join(map(shlex.quote, ahead)) if spool else "--no-archive-async",
        folders=" ".join(shlex.quote(f"{STREAM_MOUNT}/{name}") for name in folders),
        segment_bytes=int(segment_bytes),
        first="" if spool else 'case "$1" in *.history) ;; *) exit 1 ;; esac\n',
    )


_RESTORE_SCRIPT = """\
#!/bin/bash
# restore_command of a recovery: $1 the wanted file, $2 where to put it. Removed after promotion.
set -u
give_up() {{ echo "platform3: $*; recovery must not end here" >&2; exit 126; }}
{first}
get() {{
  pgbackrest {stanza} --pg1-path="$PWD" --log-level-console=off --log-level-stderr=error --log-level-file=off "$@"
}}
get {fetching} archive-get "$1" "$2"
status=$?
# The process that fetches ahead may have ended without a word: what it does not answer is asked for.
if [ "$status" -gt 1 ]; then
  get --no-archive-async archive-get "$1" "$2"
  status=$?
fi
[ "$status" -ne 0 ] || exit 0
[ "$status" -eq 1 ] || give_up "WAL file $1 cannot be read from the archive (pgBackRest status $status)"

for folder in {folders}; do
  [ -d "$folder" ] || continue
  if [ -e "$folder/$1" ]; then
    size=$(stat -c %s "$folder/$1") || give_up "$folder/$1 cannot be read"
    case "$1" in
      *.history) ;;
      *) [ "$size" -eq {segment_bytes} ] || give_up "$folder/$1 has $size bytes instead of {segment_bytes}" ;;
    esac
    cp "$folder/$1" "$2" || give_up "$folder/$1 cannot be read"
    exit 0
  fi
done
for folder in {folders}; do
  if [ -e "$folder/$1.partial" ]; then
    cp "$folder/$1.partial" "$2" && truncate -s {segment_bytes} "$2" || give_up "$folder/$1.partial cannot be read"
    exit 0
  fi
done
exit 1
"""
