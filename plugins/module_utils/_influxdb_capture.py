# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backing up an InfluxDB that goes on being written: metadata, and every shard with what it must contain.

A shard's figures are taken before and after its archive. They count the points up to a moment that lies a while back;
where both agree, nothing was written to or deleted from that range meanwhile, so that the archive holds exactly them.
The newest point that the archive holds is compared with the newest that the server knew before.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable
from urllib.parse import urlencode

from ansible_collections.platform3.recovery.plugins.module_utils._archive import (
    ArchiveFile,
    ArchiveRefused,
    Quota,
    TarReader,
)
from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import HashingWriter
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import (
    Figures,
    InfluxApi,
    NotFound,
    ServerFailed,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import Files, Increments, listed
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    BOLT_ARTEFACT,
    BUCKETS_ARTEFACT,
    COMPONENT,
    NANOSECONDS,
    SQLITE_ARTEFACT,
    Shard,
    bucket_contents,
    iso,
    nanoseconds,
    shard_record,
    shards_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import fingerprint
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._tsm import NotTsm, newest_time

SHARD_ATTEMPTS = 4
# After that many a shard is taken whole: it needs no listing.
INCREMENT_ATTEMPTS = 2
# A server that deletes points gives no archive of the shard for a moment.
PAUSE_SECONDS = 0.3
ROUNDS = 5
# Each attempt counts up to a moment four times further back: some writer is later than was thought.
SETTLING_FACTOR = 4
BUSY_WARNING = "proceeding without cache contents"

Record = dict[str, Any]


@dataclass(frozen=True)
class Held:
    """What an archive of a shard holds: the newest time of a point (deleted ones included), its files."""

    newest_ns: int | None
    files: Files


def held_by(path: str, shard: Shard) -> Held:
    """What a shard's archive holds.

    Raises ArchiveRefused where the archive is cut off, holds strange members or a TSM file is damaged.
    """
    size = os.stat(path).st_size
    newest, files = [], {}
    with open(path, "rb") as walked, open(path, "rb") as looked_at:
        for entry in TarReader(ArchiveFile(walked, size), Quota(size)):
            shard.place(entry.name)
            if not entry.folder:
                files[entry.name[len(shard.prefix) + 1 :]] = entry.bytes, entry.modified
            if entry.name.endswith(".tsm"):
                try:
                    newest.append(newest_time(looked_at, entry.offset, entry.bytes))
                except NotTsm as error:
                    raise ArchiveRefused(f"{entry.name}: {error}") from error
    return Held(max((time_ns for time_ns in newest if time_ns is not None), default=None), files)


def objection(before: Figures, after: Figures, archived_ns: int | None) -> str:
    """Why an archive that was taken between two looks at the server does not count; "" where it does."""
    if (before.points, before.values) != (after.points, after.values):
        return (
            f"{before.values} values were counted before and {after.values} after: "
            "points older than the settling time are being written or deleted"
        )
    if before.newest_ns is not None and (after.newest_ns is None or after.newest_ns < before.newest_ns):
        return "its newest points were deleted meanwhile"
    if before.newest_ns is not None and (archived_ns is None or archived_ns < before.newest_ns):
        held = "nothing" if archived_ns is None else f"points up to {iso(archived_ns)}"
        return f"the server's newest point is of {iso(before.newest_ns)}, the archive holds {held}"
    return ""


def settled_before(shard: Shard, now_ns: int, settle_seconds: float, attempt: int) -> int:
    """The moment up to which a shard's points are counted (ns), within the shard's time range."""
    settled = now_ns - int(settle_seconds * SETTLING_FACTOR**attempt * NANOSECONDS)
    return max(shard.starts_ns, min(shard.ends_ns, settled))


@dataclass
class Capture:
    """One backup. folder: the set's; increments: what of a parent this backup need not copy again."""

    api: InfluxApi
    folder: str
    progress: Progress
    streams: int = 3
    settle_seconds: float = 60.0
    container: str | None = None
    set_id: str = ""
    increments: Increments = field(default_factory=Increments)
    clock: Callable[[], int] = time.time_ns
    manifest: list[Mapping[str, Any]] = field(default_factory=list)
    inventory: dict[str, list[str]] = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)

    def run(self) -> None:
        """Take metadata and shards until the last metadata names no shard that was not taken."""
        # What an interrupted run left would be an extra file in the set.
        shutil.rmtree(self._path("influxdb/shards"), ignore_errors=True)
        os.makedirs(self._path("influxdb/shards"))
        why = ""
        again: set[int] = set()
        for number in range(ROUNDS):
            if not self._take_metadata():
                why = "users, tokens, buckets, tasks or dashboards were changed during each attempt"
                continue
            now_ns = self.clock()
            wanted = {shard.id: shard for shard in shards_of(self.manifest) if not shard.expired(now_ns)}
            if not number:
                found = {shard_id: self.increments.unchanged(shard) for shard_id, shard in wanted.items()}
                self.records = {shard_id: record for shard_id, record in found.items() if record}
            missing = [shard for shard in wanted.values() if shard.id not in self.records or shard.id in again]
            if number and not missing:
                self._forget(set(self.records) - set(wanted))
                return
            started = int(time.time())
            self._take_shards(missing)
            again = {shard.id for shard in missing} if self._warned(started) else set()
            why = f"the server was {BUSY_WARNING}" if again else "new shards kept coming"
        raise RecoveryError(
            "PRC-705",
            "back InfluxDB up",
            f"{why} ({ROUNDS} rounds)",
            "the set stays incomplete and is never chosen; the database was only read",
            "run the backup again at a quieter time",
        )

    def _take_metadata(self) -> bool:
        """Write bolt, sqlite and the bucket manifest; False where the inventory changed meanwhile."""
        self.progress.start("read the metadata")
        before = self.api.inventory()
        listing = io.BytesIO()
        with HashingWriter(self._path(BOLT_ARTEFACT)) as bolt, HashingWriter(self._path(SQLITE_ARTEFACT)) as sqlite:
            self.api.metadata({"kv": bolt, "sql": sqlite, "buckets": listing})
        with HashingWriter(self._path(BUCKETS_ARTEFACT)) as buckets:
            buckets.write(listing.getvalue())
        for path, written in ((BOLT_ARTEFACT, bolt), (SQLITE_ARTEFACT, sqlite), (BUCKETS_ARTEFACT, buckets)):
            self.files[path] = (written.bytes, written.sha256)
        self.manifest = json.loads(listing.getvalue())
        self.inventory = self.api.inventory()
        listed = sorted(str(bucket["bucketID"]) for bucket in self.manifest)
        return self.inventory == before and listed == self.inventory["buckets"]

    def _path(self, artefact: str) -> str:
        return os.path.join(self.folder, artefact)

    def _take_shards(self, shards: Sequence[Shard]) -> None:
        self.progress.start("copy the shards")
        organisations = {str(one["bucketID"]): str(one["organizationID"]) for one in self.manifest}
        # The newest are the busiest: they go last, so that the point they are taken at is as late as can be.
        ordered = sorted(shards, key=lambda shard: shard.ends_ns)
        with ThreadPoolExecutor(max_workers=self.streams) as pool:
            tasks = [pool.submit(self._take_shard, organisations[shard.bucket_id], shard) for shard in ordered]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _take_shard(self, organisation_id: str, shard: Shard) -> None:
        api = self.api.another()
        why = ""
        known = self.increments.known(shard)
        try:
            for attempt in range(SHARD_ATTEMPTS):
                known = known if attempt < INCREMENT_ATTEMPTS else None
                since = "?" + urlencode({"since": self.increments.since}) if known else ""
                settled = settled_before(shard, self.clock(), self.settle_seconds, attempt)
                before = api.figures(organisation_id, shard, settled)
                try:
                    with HashingWriter(self._path(shard.artefact)) as archive:
                        api.stream(f"/api/v2/backup/shards/{shard.id}{since}", archive, self.progress.advance)
                    held = held_by(archive.path, shard)
                    files, why = self.increments.live(shard, held.files) if known else (held.files, "")
                except NotFound as error:
                    if before.newest_ns is None:
                        self._absent(shard, settled)
                        return
                    why = error.found
                    continue
                except ServerFailed as error:
                    why = error.found
                    time.sleep(PAUSE_SECONDS * (attempt + 1))
                    continue
                except ArchiveRefused as error:
                    why = f"its archive is damaged: {error}"
                    continue
                times = [held.newest_ns, nanoseconds(known["held_to"]) if known and known["held_to"] else None]
                held_to = max((time_ns for time_ns in times if time_ns is not None), default=None)
                why = why or objection(before, api.figures(organisation_id, shard, settled), held_to)
                if not why:
                    self.files[shard.artefact] = (archive.bytes, archive.sha256)
                    self.records[shard.id] = {
                        **shard_record(
                            shard,
                            settled_ns=settled,
                            points=before.points,
                            values=before.values,
                            newest_ns=before.newest_ns,
                            present=True,
                        ),
                        "base": "increment" if known else "full",
                        "archives": [*(known["archives"] if known else ()), self.set_id],
                        "files": listed(files),
                        "held_to": None if held_to is None else iso(held_to),
                    }
                    return
        finally:
            api.close()
        raise RecoveryError(
            "PRC-705",
            f"back up shard {shard.id} of bucket {shard.bucket_id}",
            f"{why} ({SHARD_ATTEMPTS} attempts)",
            "the set stays incomplete and is never chosen; the database was only read",
            "run the backup again at a quieter time, or with a longer influxdb_settle_seconds",
        )

    def _absent(self, shard: Shard, settled: int) -> None:
        """A shard that is planned but was never written to: the server has no files of it."""
        self._forget({shard.id})
        if os.path.exists(self._path(shard.artefact)):
            os.unlink(self._path(shard.artefact))
        record = shard_record(shard, settled_ns=settled, points=0, values=0, newest_ns=None, present=False)
        self.records[shard.id] = {**record, "base": "full", "archives": [], "files": [], "held_to": None}

    def _forget(self, shard_ids: set[int]) -> None:
        """Drop shards that the server has removed meanwhile."""
        for shard_id in shard_ids:
            artefact = (self.records.pop(shard_id, None) or {}).get("artefact")
            if artefact and self.files.pop(artefact, None):
                os.unlink(self._path(artefact))

    def _warned(self, since: int) -> bool:
        """Whether the server's log tells of a shard that was copied without what was still in memory."""
        if self.container is None:
            return False
        log = docker(["logs", "--since", str(since), self.container])
        return BUSY_WARNING in log.stdout + log.stderr

    def artefacts(self, version: str) -> list[Record]:
        """The records of all files for the set's manifest."""
        return [
            {
                "path": path,
                "bytes": size,
                "sha256": digest,
                "component": COMPONENT,
                "kind": "shard" if path.startswith("influxdb/shards/") else "metadata",
                "source_version": version,
            }
            for path, (size, digest) in sorted(self.files.items())
        ]

    def content(self, version: str, recovery_point: str, token: str) -> Record:
        """The component's part of the set's manifest: what a restore must bring back."""
        shards = [self.records[shard_id] for shard_id in sorted(self.records)]
        salt = secrets.token_hex(16)
        own = [one["id"] for one in self.api.authorisations() if one["token"] == token]
        return {
            "version": version,
            "recovery_point": recovery_point,
            "buckets": bucket_contents(self.manifest, shards),
            "shards": shards,
            "inventory": self.inventory,
            "operator_token": {
                "authorisation": own[0] if own else None,
                "salt": salt,
                "fingerprint": fingerprint(token, salt),
            },
        }


def require_buckets(content: Mapping[str, Any], organisation: str, names: Sequence[str]) -> None:
    """Raise RecoveryError PRC-706 unless each protected bucket is in the backup and holds points."""
    held = {bucket["name"]: bucket for bucket in content["buckets"] if bucket["organisation"] == organisation}
    for name in names:
        if name not in held:
            found = f"the server has no such bucket (it has {', '.join(sorted(held)) or 'none'})"
        elif held[name]["newest_at"] is None:
            found = "it holds no points: this may be the wrong server, or an empty volume"
        else:
            continue
        raise RecoveryError(
            "PRC-706",
            f"back up bucket {name} of organisation {organisation}",
            found,
            "the set stays incomplete and is never chosen",
            "if somebody deleted it, bring it back (playbooks/find_moment.yml names the last set that has it): until "
            "then no set of InfluxDB is made; else compare influxdb_url, influxdb_organisation and influxdb_buckets "
            "with the platform",
        )
