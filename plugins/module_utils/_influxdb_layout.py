# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the parts of an InfluxDB 2 lie: in its data folder, in a backup set; and what of a set is to be restored.

Data folder: influxd.bolt, influxd.sqlite, engine/data/<bucket id>/<retention policy>/<shard id>/. In a set:
influxdb/influxd.bolt, influxdb/influxd.sqlite, influxdb/buckets.json and influxdb/shards/<shard id>.tar, whose members
are named <bucket id>/<retention policy>/<shard id>/<file> (influxdb, tsdb/store.go, BackupShard).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._archive import ArchiveRefused
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

COMPONENT = "influxdb"
BOLT_ARTEFACT = "influxdb/influxd.bolt"
SQLITE_ARTEFACT = "influxdb/influxd.sqlite"
BUCKETS_ARTEFACT = "influxdb/buckets.json"
BOLT_FILE = "influxd.bolt"
SQLITE_FILE = "influxd.sqlite"
NANOSECONDS = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_ID = re.compile(r"[0-9a-f]{16}")
_POLICY = re.compile(r"[0-9A-Za-z_-]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def nanoseconds(text: str) -> int:
    """An ISO 8601 time in UTC with Z as nanoseconds since 1970; ValueError for any other form."""
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time in UTC with Z")
    whole = datetime.strptime(found[1] + "Z", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return int((whole - _EPOCH).total_seconds()) * NANOSECONDS + int((found[2] or "0").ljust(9, "0"))


def iso(time_ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC with Z, without needless digits."""
    seconds, rest = divmod(time_ns, NANOSECONDS)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{f'.{rest:09d}'.rstrip('0') if rest else ''}Z"


@dataclass(frozen=True)
class Shard:
    """A live shard: ids, retention policy, the time range it holds [starts_ns, ends_ns), retention (0: for ever)."""

    id: int
    bucket_id: str
    policy: str
    starts_ns: int
    ends_ns: int
    retention_ns: int = 0

    @property
    def artefact(self) -> str:
        """Path of its archive in a backup set."""
        return f"influxdb/shards/{self.id}.tar"

    @property
    def folder(self) -> str:
        """Path of its folder in the data folder."""
        return f"engine/data/{self.bucket_id}/{self.policy}/{self.id}"

    @property
    def prefix(self) -> str:
        """What the members' names in its archive begin with."""
        return f"{self.bucket_id}/{self.policy}/{self.id}"

    def expired(self, now_ns: int) -> bool:
        """Whether all it holds is past its bucket's retention, so that the server would delete it at once."""
        return self.retention_ns > 0 and self.ends_ns + self.retention_ns <= now_ns

    def place(self, member: str) -> str:
        """Where in the data folder a member of its archive belongs; ArchiveRefused if it is not the shard's."""
        if member != self.prefix and not member.startswith(f"{self.prefix}/"):
            raise ArchiveRefused(f"{member!r} does not belong to shard {self.prefix}")
        return f"engine/data/{member}"


def shards_of(manifest: Iterable[Mapping[str, Any]]) -> list[Shard]:
    """The live shards that the server's bucket manifest (influxdb, backup.go, BucketMetadataManifest) names.

    Groups that are marked as deleted are left out: the server removes them.
    """
    return [
        Shard(
            id=int(shard["id"]),
            bucket_id=str(bucket["bucketID"]),
            policy=str(policy["name"]),
            starts_ns=nanoseconds(group["startTime"]),
            ends_ns=nanoseconds(group["endTime"]),
            retention_ns=int(policy["duration"]),
        )
        for bucket in manifest
        for policy in bucket["retentionPolicies"] or []
        for group in policy["shardGroups"] or []
        if not group.get("deletedAt")
        for shard in group["shards"] or []
    ]


def bucket_contents(manifest: Iterable[Mapping[str, Any]], shards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each bucket of the server's manifest must hold, summed from its shards' records (see shard_record)."""
    contents = []
    for bucket in sorted(manifest, key=lambda one: str(one["bucketID"])):
        own = [shard for shard in shards if shard["bucket_id"] == bucket["bucketID"]]
        newest = [shard["newest_at"] for shard in own if shard["newest_at"]]
        contents.append(
            {
                "id": bucket["bucketID"],
                "name": bucket["bucketName"],
                "organisation": bucket["organizationName"],
                "organisation_id": bucket["organizationID"],
                "retention_seconds": max(
                    (int(policy["duration"]) // NANOSECONDS for policy in bucket["retentionPolicies"] or []), default=0
                ),
                "points": sum(shard["points"] for shard in own),
                "values": sum(shard["values"] for shard in own),
                "newest_at": max(newest, key=nanoseconds, default=None),
                "shards": len(own),
            }
        )
    return contents


def shard_record(
    shard: Shard, *, settled_ns: int, points: int, values: int, newest_ns: int | None, present: bool
) -> dict[str, Any]:
    """A shard in a set's content: points and values are exact for times before settled_before."""
    return {
        "id": shard.id,
        "bucket_id": shard.bucket_id,
        "policy": shard.policy,
        "starts_at": iso(shard.starts_ns),
        "ends_at": iso(shard.ends_ns),
        "retention_seconds": shard.retention_ns // NANOSECONDS,
        "settled_before": iso(settled_ns),
        "points": points,
        "values": values,
        "newest_at": None if newest_ns is None else iso(newest_ns),
        "artefact": shard.artefact if present else None,
    }


def recorded_shard(record: Mapping[str, Any]) -> Shard:
    """The shard of a record; RecoveryError PRC-702 where its ids could not have come from a server."""
    if not (
        isinstance(record["id"], int)
        and record["id"] > 0
        and _ID.fullmatch(str(record["bucket_id"]))
        and _POLICY.fullmatch(str(record["policy"]))
    ):
        raise RecoveryError(
            "PRC-702",
            "read the shards of the backup set",
            f"shard {record['id']!r} of bucket {record['bucket_id']!r} has an impossible name",
            "nothing was touched",
            "choose another backup set (recovery_backup_set)",
        )
    return Shard(
        id=record["id"],
        bucket_id=record["bucket_id"],
        policy=record["policy"],
        starts_ns=nanoseconds(record["starts_at"]),
        ends_ns=nanoseconds(record["ends_at"]),
        retention_ns=int(record["retention_seconds"]) * NANOSECONDS,
    )


@dataclass(frozen=True)
class Source:
    """A file of a set: path relative to the set, bytes, sha256, and the set's folder where it is an older set."""

    path: str
    bytes: int
    sha256: str
    folder: str = ""


@dataclass(frozen=True)
class ShardSources:
    """What a shard is restored from. archives: newest first, the last is a full one; files: name -> bytes of what it
    must hold in the end, None where the one archive is all (a set that lists no files).
    """

    shard: Shard
    archives: tuple[Source, ...]
    files: Mapping[str, int] | None = None

    @property
    def bytes(self) -> int:
        """Bytes of all its archives."""
        return sum(source.bytes for source in self.archives)


@dataclass(frozen=True)
class Plan:
    """What a restore does: the metadata files, the shards (largest first), and what is left out and why."""

    bolt: Source
    sqlite: Source
    shards: tuple[ShardSources, ...]
    expired: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files that are read."""
        return self.bolt.bytes + self.sqlite.bytes + sum(one.bytes for one in self.shards)


def restore_plan(
    content: Mapping[str, Any],
    artefacts: Iterable[Mapping[str, Any]],
    now_ns: int,
    older: Iterable[Mapping[str, Any]] = (),
) -> Plan:
    """What of a set to restore at now_ns. content: the set's components.influxdb; artefacts: the manifest's list.

    older: the sets that it builds on, as id, path and artefacts. Raises RecoveryError PRC-701 where an artefact of a
    shard is missing, or one belongs to no shard.
    """
    known = _sources(artefacts, "")
    others = {str(one["id"]): _sources(one["artefacts"], str(one["path"])) for one in older}
    wanted, expired, mapped = [], [], set()
    for record in content["shards"]:
        shard = recorded_shard(record)
        if record["artefact"] is None:
            continue
        if record["artefact"] != shard.artefact:
            raise _unmapped(f"shard {shard.id} names {record['artefact']!r} as its archive")
        # Only the last may be none of the others: the set itself.
        *before, last = [str(one) for one in record.get("archives", [""])]
        missing = [one for one in before if one not in others]
        if missing:
            raise _unmapped(f"shard {shard.id} is to be read from set {missing[0]} too, which is not given")
        within = [others.get(last, known), *(others[one] for one in reversed(before))]
        mapped |= {shard.artefact} if known in within else set()
        archives = tuple(_source(held, shard.artefact) for held in within)
        if shard.expired(now_ns):
            expired.append(shard.id)
        else:
            files = {str(name): int(size) for name, size, _at in record["files"]} if "files" in record else None
            wanted.append(ShardSources(shard, archives, files))
    strangers = sorted(path for path in known if path.startswith("influxdb/shards/") and path not in mapped)
    if strangers:
        raise _unmapped(f"{strangers[0]} belongs to no shard of the set")
    if not wanted and not expired:
        raise _unmapped("it holds not one shard")
    wanted.sort(key=lambda one: one.bytes, reverse=True)
    return Plan(_source(known, BOLT_ARTEFACT), _source(known, SQLITE_ARTEFACT), tuple(wanted), tuple(expired))


def _sources(artefacts: Iterable[Mapping[str, Any]], folder: str) -> dict[str, Source]:
    """The component's files of a set, by path."""
    return {
        str(one["path"]): Source(str(one["path"]), int(one["bytes"]), str(one["sha256"]), folder)
        for one in artefacts
        if one["component"] == COMPONENT
    }


def _source(held: Mapping[str, Source], path: str) -> Source:
    if path not in held:
        raise _unmapped(f"{path} is not among the artefacts of a set that it must be read from")
    return held[path]


def _unmapped(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-701",
        "plan the restore of InfluxDB",
        found,
        "nothing was touched",
        "choose another backup set (recovery_backup_set)",
    )


def checked_shards(content: Mapping[str, Any], now_ns: int) -> list[tuple[Shard, Mapping[str, Any]]]:
    """The shards of a set whose figures must be found again at now_ns, with their records; expired ones are not."""
    pairs = [(recorded_shard(record), record) for record in content["shards"]]
    return [(shard, record) for shard, record in pairs if not shard.expired(now_ns)]


def organisation_id(content: Mapping[str, Any], name: str) -> str:
    """The id of an organisation in a set; RecoveryError PRC-712 where the set holds no bucket of it."""
    for bucket in content["buckets"]:
        if bucket["organisation"] == name:
            return str(bucket["organisation_id"])
    held = sorted({str(bucket["organisation"]) for bucket in content["buckets"]})
    raise RecoveryError(
        "PRC-712",
        f"find organisation {name} in the backup set",
        f"it holds {', '.join(held) or 'none'}",
        "nothing was touched",
        "compare influxdb_organisation with the platform, or choose another backup set",
    )
