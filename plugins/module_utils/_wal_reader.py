# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the WAL of archive and stream for what a point in time needs to know, in a one-shot container."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import STREAM_MOUNT
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Segment,
    WalFile,
    format_lsn,
    parse_lsn,
    parse_segment,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import Record, parse_records

LIFETIME_SECONDS = 4 * 3600
UNPACK = {"": "cat", "lz4": "lz4 -dc", "gz": "gzip -dc", "zst": "zstd -dc", "bz2": "bzip2 -dc"}
_ERROR = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+): (.*)")
_RECORD = re.compile(r"^rmgr: .*?, lsn: ([0-9A-F]+/[0-9A-F]+), ", re.MULTILINE)

# $1 stanza, $2 first, $3 last segment as they are named here, $4 where to begin ("" for the commits, aborts and restore
# points of all), then a line "name path how-to-unpack" each. All segments get names of one timeline, so that a record
# which goes on behind a fork is read as the server reads it. A segment that was listed in part may have become whole
# since.
_FETCH = """
set -o pipefail
export TZ=UTC
stanza=$1 first=$2 last=$3 start=$4; shift 4
rm -rf /tmp/wal; mkdir /tmp/wal; cd /tmp/wal
for entry in "$@"; do
  read -r name path unpack <<<"$entry"
  case "$path" in
    /*) [ -e "$path" ] || path=${path%.partial}
        cp "$path" "$name" && truncate --size=SEGMENT_BYTES "$name";;
    *) pgbackrest --log-level-console=off --log-level-stderr=error --log-level-file=off "--stanza=$stanza" \\
         repo-get "$path" | $unpack >"$name";;
  esac 2>&1 || { echo "unread $path"; exit 0; }
done
""".replace("SEGMENT_BYTES", str(SEGMENT_BYTES))
_DUMP = (
    _FETCH
    + """
if [ -n "$start" ]; then
  pg_waldump --path=. --start="$start" --limit=1 "$first" "$last" 2>said || true
else
  pg_waldump --path=. --rmgr=Transaction --rmgr=XLOG "$first" "$last" 2>said |
    { grep -E 'desc: (COMMIT|ABORT|RESTORE_POINT)' || true; } | cut -c1-240 || true
fi
sed 's/^/said /' said
"""
)
# As above, for what takes data away: a line for each end of a transaction, and how often each transaction did each of
# these things in each segment (the position without its last six digits). A row that an update moves to another
# partition is deleted there too, by flag 0x10, and one that lost a race for a key, by 0x08.
_CHANGES = (
    _FETCH
    + r"""
pg_waldump --path=. --rmgr=Database --rmgr=Heap --rmgr=Standby --rmgr=Storage --rmgr=Transaction --rmgr=XLOG \
  "$first" "$last" 2>said | awk '
  $2 == "Heap" && !/desc: DELETE .*flags: 0x0[0-7]/ { next }
  { split(substr($0, index($0, " tx: ") + 1), f, /[ ,]+/); xid = f[2]; what = ""; file = ""
    if (at = index($0, " rel ")) { split(substr($0, at + 5), r, " "); file = r[1] } }
  $2 == "Transaction" && f[8] ~ /^(COMMIT|ABORT)/ {
    sub(/; inval msgs.*/, ""); print "ended " f[4] " " xid " " substr($0, index($0, "desc: ") + 6) }
  $2 == "Heap" { what = "deleted " file }
  $2 == "Storage" && f[8] == "CREATE" { what = "created " f[9] }
  $2 == "XLOG" && f[8] ~ /^FPI/ { what = "filled " file }
  $2 == "Database" && f[8] == "DROP" { for (i = 10; f[i] ~ /\//; i++) what = "dropped " f[i] }
  $2 == "Standby" && f[8] == "LOCK" { xid = f[10]; what = "locked " f[12] "/" f[14] }
  what != "" { count[substr(f[4], 1, length(f[4]) - 6) " " xid " " what]++ }
  END { for (key in count) print "did " count[key] " " key }' || true
sed 's/^/said /' said
"""
)
_MANIFEST = """
set -o pipefail
pgbackrest --log-level-console=off --log-level-stderr=error --log-level-file=off repo-get "$1" 2>/dev/null |
  sha256sum || echo missing
"""


@dataclass(frozen=True)
class WalReader:
    """Reads segments. run_bash(script, *arguments) runs where repository and stream are mounted.

    archived: the base name in the archive of each segment there.
    """

    run_bash: Callable[..., Any]
    stanza: str
    archive_id: str
    archived: Mapping[str, str]

    def read(self, files: Sequence[WalFile]) -> list[Record]:
        """The commits, aborts and restore points of files that follow each other. PRC-512 for a damaged one."""
        return parse_records(self._sound(files, self._dump(files, "")))

    def changes(self, files: Sequence[WalFile]) -> str:
        """What takes data away in files that follow each other, see _wal_changes. PRC-512 for a damaged one."""
        return self._sound(files, self._dump(files, "", _CHANGES))

    @staticmethod
    def _sound(files: Sequence[WalFile], text: str) -> str:
        """What was printed of files, where none but the last of them ends before its time."""
        damaged = _ERROR.search(text)
        if damaged and parse_lsn(damaged.group(1)) // SEGMENT_BYTES < parse_segment(files[-1].segment).number:
            number = parse_lsn(damaged.group(1)) // SEGMENT_BYTES
            name = next(one.segment for one in files if parse_segment(one.segment).number >= number)
            raise DamagedSegment(name, f"at {damaged.group(1)}: {damaged.group(2)}")
        return text

    def first_record(self, lsn: int, files: Sequence[WalFile]) -> int | None:
        """Where the first record at or behind a position begins; the position lies in the first of the files."""
        found = _RECORD.search(self._dump(files, format_lsn(lsn)))
        if found is None and len(files) > 1:
            # What lies behind a segment's end that was made early is no record.
            begin = parse_segment(files[1].segment).number * SEGMENT_BYTES
            found = _RECORD.search(self._dump(files[1:], format_lsn(begin)))
        return parse_lsn(found.group(1)) if found else None

    def manifest_sha256(self, label: str) -> str:
        """SHA-256 of the manifest of a base backup, "missing" where it is not there."""
        words: list[str] = self.run_bash(_MANIFEST, f"backup/{self.stanza}/{label}/backup.manifest").stdout.split()
        return "missing" if "missing" in words else words[0]

    def _dump(self, files: Sequence[WalFile], start: str, script: str = _DUMP) -> str:
        names = [Segment(1, parse_segment(one.segment).number).name() for one in files]
        entries = [f"{name} {self._where(one)}" for name, one in zip(names, files)]
        text: str = self.run_bash(script, self.stanza, names[0], names[-1], start, *entries).stdout
        unread = re.search(r"^unread (\S+)$", text, re.MULTILINE)
        if unread:
            said = [line for line in text.splitlines() if line and not line.startswith("unread")]
            raise DamagedSegment(unread.group(1).rpartition("/")[2][:24], said[-1] if said else "it cannot be unpacked")
        return text

    def _where(self, one: WalFile) -> str:
        if one.source != "archive":
            suffix = ".partial" if one.source == "partial" else ""
            return f"{STREAM_MOUNT}/{one.folder}/{one.segment}{suffix} cat"
        name = self.archived[one.segment]
        unpack = UNPACK.get(name.partition(".")[2], "false")
        return f"archive/{self.stanza}/{self.archive_id}/{one.segment[:16]}/{name} {unpack}"


class DamagedSegment(RecoveryError):
    """PRC-512: a segment that cannot be read, or with a bad record that is not its last."""

    def __init__(self, segment: str, found: str) -> None:
        way = "bring a good copy of the segment into the archive, the stream folder may hold one"
        super().__init__("PRC-512", f"read WAL segment {segment}", found, "nothing was exchanged", way)
        self.segment = segment


@contextlib.contextmanager
def one_shot(image: str, mounts: Sequence[str], environment: str) -> Iterator[Callable[..., Any]]:
    """A container without volume or network that stays for several commands; gives run_bash. It ends by itself."""
    argv = ["run", "--detach", "--rm", "--init", "--pull", "never", "--network", "none"]
    argv += ["--label", f"{ENVIRONMENT_LABEL}={environment}"]
    for mount in mounts:
        argv += ["--volume", mount]
    name = docker([*argv, image, "bash", "-c", f"exec sleep {LIFETIME_SECONDS}"]).stdout.strip()

    def run_bash(script: str, *arguments: str) -> Any:
        return docker(["exec", name, "bash", "-euc", script, "bash", *arguments], timeout_seconds=3600)

    try:
        yield run_bash
    finally:
        docker(["rm", "--force", name], check=False)
