# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a shard an increment must copy, and which files make the shard up. Pure, but for one listing.

The server's archives know `since` (files changed after an instant) and nothing of files that compaction or retention
took away. So every increment records the whole list of a shard's files, as they lie in the server's folder, and each of
them must be in the new archive or on the parent's list, unchanged; else the shard is taken whole. A restore keeps only
what is on the newest list. A file is the same where name, size and time (whole seconds, as in an archive) are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Deletes
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    NANOSECONDS,
    Shard,
    iso,
    nanoseconds,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT

# Files may bear times this much before the server's Date that was read before they were written.
MARGIN_SECONDS = 5
# The start of one server is computed as near as this from its uptime.
START_SECONDS = 2.0
PAUSES_SECONDS = (0.2, 0.5)

Record = dict[str, Any]
# Name of a file -> its size and its time in whole seconds since 1970.
Files = dict[str, tuple[int, int]]

_LINE = re.compile(r"(\d+)(?:\.(\d+))? (\d+) (data|wal)/([^/]+/[^/]+/\d+)/([^/]+)")

# The log of writes first: where that is empty, all that was written before lies in the files that are listed after.
_LIST = f"""
cat {ROOT}/epoch 2>/dev/null || true; echo; cd {ROOT}/data/engine; [ -d wal ]
scan() {{ find "$@" -type f "(" -name "*.tsm" -o -name "*.tombstone" -o -name "*.wal" ")" -printf "%T@ %s %p\\n"; }}
"""
# A file that goes away meanwhile is an error of find; its shard has changed then, which is what is looked for.
_LIST_ALL = _LIST + "scan wal -mindepth 4 -maxdepth 4 || true; scan data -mindepth 4 -maxdepth 4 || true; echo end"
# A folder that is changed while it is read may show neither the old nor the new file: twice the same is the truth.
_LIST_ONE = (
    _LIST
    + """
before=$(scan "data/$1" -maxdepth 1)
for _again in 1 2 3 4 5 6 7 8; do
  after=$(scan "data/$1" -maxdepth 1)
  if [ "$before" = "$after" ]; then printf "%s\\nend\\n" "$after"; exit 0; fi
  before=$after
done
echo "the files of shard $1 change too fast to be listed" >&2; exit 1
"""
)


@dataclass(frozen=True)
class Listing:
    """What the server's folder holds. instance: epoch of the volume; files and unflushed bytes by shard's prefix."""

    instance: str
    files: Mapping[str, Files]
    unflushed: Mapping[str, int]


def parse_listing(text: str) -> Listing:
    """A listing as _LIST prints it: the epoch, then a line a file; ValueError for a line that is not understood."""
    instance, *lines = text.rstrip("\n").split("\n")
    if not lines or lines.pop() != "end":
        raise ValueError("it was cut off")
    files: dict[str, Files] = {}
    unflushed: dict[str, int] = {}
    for line in lines:
        if not line:
            continue
        found = _LINE.fullmatch(line)
        if not found:
            raise ValueError(f"the line {line[:200]!r} is not understood")
        whole, rest, size, kind, prefix, name = found.groups()
        if kind == "wal":
            unflushed[prefix] = unflushed.get(prefix, 0) + int(size)
        else:
            # An archive's times are rounded to the nearest second.
            files.setdefault(prefix, {})[name] = int(size), int(whole) + ((rest or "0")[0] >= "5")
    return Listing(instance.strip() or "0", files, unflushed)


def list_container(container: str, prefix: str = "") -> Listing:
    """The listing of all shards, or of the one with this prefix, in the server's container; RecoveryError else."""
    script = ["bash", "-euc", _LIST_ONE if prefix else _LIST_ALL, "bash", *([prefix] if prefix else [])]
    for pause in (*PAUSES_SECONDS, None):
        try:
            text = docker(["exec", container, *script]).stdout
            break
        except RecoveryError:  # a busy engine fails to start a command now and then
            if pause is None:
                raise
            time.sleep(pause)
    try:
        return parse_listing(text)
    except ValueError as error:
        raise RecoveryError(
            "PRC-705",
            f"list the files of InfluxDB in container {container}",
            str(error),
            "the database was only read",
            "compare the image with the one that the collection was tested with",
        ) from None


def same(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    """Whether two files of one name are the same: the size, and the time but for its rounding."""
    return one is not None and other is not None and one[0] == other[0] and abs(one[1] - other[1]) <= 1


def uncovered(live: Files, archived: Files, known: Files) -> list[str]:
    """Names of live files that are neither in the new archive nor, unchanged, among those known from the parent."""
    return sorted(
        name for name, file in live.items() if not same(file, archived.get(name)) and not same(file, known.get(name))
    )


def files_of(record: Mapping[str, Any]) -> Files:
    """The files of a shard's record."""
    return {str(name): (int(size), int(modified)) for name, size, modified in record["files"]}


def listed(files: Files) -> list[list[Any]]:
    """The files as a record holds them: name, bytes, time in seconds since 1970."""
    return [[name, *files[name]] for name in sorted(files)]


@dataclass(frozen=True)
class Bounds:
    """How long a chain may become: compaction rewrites what it holds, and a restore reads all of it."""

    increments: int = 60
    age_seconds: float = 86400.0


def all_full_because(
    parent: Mapping[str, Any], instance: str | None, version: str, now_seconds: float, bounds: Bounds
) -> str:
    """Why no shard can go on from what the parent holds; "" where they can.

    parent: its chain (ids, oldest first) and its content, the record; instance: None where it cannot be told.
    """
    content, chain = parent["content"], parent["chain"]
    if "chain_began_at" not in content:
        return "the parent does not list its files"
    started = nanoseconds(content["chain_began_at"]) / NANOSECONDS
    if instance is None:
        return "the server's files cannot be listed"
    if content.get("instance") != instance:
        return f"the data is of another instance ({content.get('instance')} then, {instance} now)"
    if content["version"] != version:
        return f"the parent was written by version {content['version']}, here runs {version}"
    if len(chain) - 1 >= bounds.increments:
        return f"the chain has {len(chain) - 1} increments, of at most {bounds.increments}"
    if now_seconds - started >= bounds.age_seconds:
        return f"the chain began {now_seconds - started:.0f} s ago, at most {bounds.age_seconds:.0f} are allowed"
    return ""


@dataclass
class Increments:
    """What the parent's record lets this backup leave out. An empty one makes every shard full.

    records: the parent's, by shard id; since: what is asked for; before: the listing of all; list_one: lists a shard.
    """

    records: Mapping[int, Record] = field(default_factory=dict)
    since: str = ""
    before: Listing = field(default_factory=lambda: Listing("", {}, {}))
    list_one: Callable[[str], Listing] = lambda prefix: Listing("", {}, {})

    def known(self, shard: Shard) -> Record | None:
        """The parent's record of the very same shard; None where it has to be taken whole."""
        record = self.records.get(shard.id)
        if record is None or (record["bucket_id"], record["policy"]) != (shard.bucket_id, shard.policy):
            return None
        if record["artefact"] is None:  # it had not been written to
            return None
        return record

    def unchanged(self, shard: Shard) -> Record | None:
        """The parent's record where the shard has the same files and nothing waits in memory; else None."""
        record = self.known(shard)
        live = self.before.files.get(shard.prefix, {})
        if record is None or self.before.unflushed.get(shard.prefix, 0):
            return None
        known = files_of(record)
        if set(live) != set(known) or not all(same(live[name], known[name]) for name in live):
            return None
        return {**record, "retention_seconds": shard.retention_ns // NANOSECONDS}

    def live(self, shard: Shard, archived: Files) -> tuple[Files, str]:
        """The shard's files after its archive was taken, and why the chain lacks one of them ("" if it has all)."""
        record = self.known(shard)
        try:
            live = self.list_one(shard.prefix).files.get(shard.prefix, {})
        except RecoveryError as error:
            return {}, error.found
        missing = uncovered(live, archived, files_of(record) if record else {})
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return live, f"{missing[0]}{more} came while its archive was taken" if missing else ""


def deletes_record(before: Deletes | None, after: Deletes | None) -> dict[str, Any] | None:
    """The deletes asked of the server when a backup was begun and when it ended, and when that server was started.

    None where it does not tell, or was started meanwhile. Files tell of a delete only until they are compacted.
    """
    if before is None or after is None or abs(after.started - before.started) > START_SECONDS:
        return None
    return {"begun": before.count, "ended": after.count, "server_started_at": to_iso(before.started)}


def deletes_asked(older: Mapping[str, Any], newer: Mapping[str, Any]) -> int:
    """How often the server was asked to delete points between two records of the component, as far as is known."""
    one, other = older.get("deletes"), newer.get("deletes")
    if not other:
        return 0
    started = [parse_iso(str(record["server_started_at"])) for record in (one, other) if record]
    same_run = one and abs(started[0] - started[1]) <= START_SECONDS
    return int(other["ended"]) - (int(one["begun"]) if one and same_run else 0)


def since_of(server_at: str) -> str:
    """The instant to ask increments from: of the server's clock when its parent was begun, less a margin."""
    return iso(nanoseconds(server_at) - MARGIN_SECONDS * NANOSECONDS)


def chain_after(chain: Sequence[str], set_id: str, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The chain of a set with these shard records, after that of its parent: itself where it holds all of them."""
    builds_on = {one for record in records for one in record["archives"]} - {set_id}
    return [*chain, set_id] if builds_on else [set_id]


def prepare(
    parent: Mapping[str, Any] | None, container: str | None, version: str, now_seconds: float, bounds: Bounds
) -> tuple[Increments, str | None, str]:
    """What can be left out, the instance (None where it cannot be told), and why all is taken whole ("" if it is not).

    parent: what backup_manifest hands on (chain, content), None for a full backup.
    """
    before = None
    if container is not None:
        try:
            before = list_container(container)
        except RecoveryError:
            before = None  # as without a container: nothing is left out
    instance = before.instance if before else None
    if parent is None or before is None or container is None:
        return Increments(), instance, "" if parent is None else "the server's files cannot be listed"
    content = parent["content"]
    why = all_full_because(parent, instance, version, now_seconds, bounds)
    if why:
        return Increments(), instance, why
    records = {int(one["id"]): dict(one) for one in content["shards"] if "files" in one}
    listing = Increments(records, since_of(content["server_at"]), before, lambda one: list_container(container, one))
    return listing, instance, ""
