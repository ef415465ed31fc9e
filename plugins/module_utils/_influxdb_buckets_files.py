# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket that is gone comes back by its files, in the stop in which it gets its old id.

Its shards are placed in this recovery's quarantine, which is in the live server's own volume, so that a rename brings
them in. A scratch server serves them there first: it cuts what lies behind a target, makes index and series file (in
engine/data/<bucket id>/_series, to whose numbers the index of each shard refers, so that they move together), and tells
what the live server must hold afterwards. In a stop two renames a bucket follow, then the exchange of the metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._bolt import BoltFile, NotBolt
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_bucket_ids import BUCKETS, copy_bolt
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import Chosen
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import (
    Bucket,
    Nowhere,
    require_points,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_live import Live, like_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_cut import point_in_time
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    BOLT_FILE,
    COMPONENT,
    Plan,
    iso,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import (
    METADATA,
    METADATA_KEY,
    NotMeta,
    databases,
    living,
    taken_shards,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Placement, origin_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_scratch import ScratchServer
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import current_bolt
from ansible_collections.platform3.recovery.plugins.module_utils._kept_place import folder_of
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, VolumeWorker

# $1: the folder beside, $2: the data folder, $3: where what is in the way goes; then ids of buckets. A folder that is
# not beside any more is in its place.
_MOVE_IN = """
beside=$1/engine; live=$2/engine; left=$3; shift 3; mkdir -p "$live/data" "$live/wal"
for bucket in "$@"; do
  for kind in data wal; do
    [ -e "$beside/$kind/$bucket" ] || continue
    if [ -e "$live/$kind/$bucket" ]; then
      mkdir -p "$left/$kind"; rm -rf "${left:?}/$kind/$bucket"; mv -T "$live/$kind/$bucket" "$left/$kind/$bucket"
    fi
    mv -T "$beside/$kind/$bucket" "$live/$kind/$bucket"
  done
done
sync "$live/data" "$live/wal" "$beside/data"
"""
_MOVE_OUT = """
beside=$1/engine; live=$2/engine; left=$3; shift 3; mkdir -p "$beside/data" "$beside/wal"
for bucket in "$@"; do
  for kind in data wal; do
    [ -e "$beside/$kind/$bucket" ] || [ ! -e "$live/$kind/$bucket" ] ||
      mv -T "$live/$kind/$bucket" "$beside/$kind/$bucket"
    [ ! -e "$left/$kind/$bucket" ] || mv -T "$left/$kind/$bucket" "$live/$kind/$bucket"
  done
done
sync "$live/data" "$live/wal"
"""
# Columns of an answer that do not name the series.
_NO_TAGS = {"", "result", "table", "_start", "_stop", "_time", "_value"}


class Beside(Placement):
    """The shards placed in this recovery's quarantine: they go with it, whatever becomes of the run."""

    @property
    def folder(self) -> str:
        """The folder beside the live data."""
        return beside_of(self.worker)


def beside_of(worker: VolumeWorker) -> str:
    """Where the files of a bucket lie until they are moved in."""
    return f"{folder_of(worker)}/files"


def remove_beside(worker: VolumeWorker) -> None:
    """Take away what was placed beside and not moved in."""
    worker.bash('rm -rf "$1"', beside_of(worker), check=False)


# --- which buckets ---


def by_files(
    live: Live, chosen: Sequence[Chosen], content: Mapping[str, Any], within: tuple[str, str, str]
) -> list[Chosen]:
    """Those of the chosen buckets that can come by files: they are gone, come whole, and nobody has what is theirs.

    within: start, stop and target time as given. A bucket of that name or of the old id, the id in the metadata of
    databases, or one of the shards' ids elsewhere: then it comes by points.
    """
    if within[0] or within[1]:
        return []
    gone = [one for one in chosen if live.bucket(one.name) is None and not live.knows(one.id)]
    if not gone:
        return []
    try:
        meta = live_meta(live.api)
        known, taken = databases(meta), taken_shards(meta)
    except (NotBolt, NotMeta):  # of a version that is not understood: points need nothing of it
        return []
    shards = {one.id: {int(record["id"]) for record in of_buckets(content, [one.id])["shards"]} for one in gone}
    return [one for one in gone if one.id not in known and not shards[one.id] & taken]


def live_meta(api: InfluxApi) -> bytes:
    """The metadata of databases of a server that serves; NotBolt where it holds none."""
    with tempfile.TemporaryDirectory(prefix="platform3-bolt-") as folder:
        path = os.path.join(folder, BOLT_FILE)
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as copy:
            api.metadata({"kv": copy, "sql": Nowhere(), "buckets": Nowhere()})
        return meta_in(path)


def meta_in(path: str) -> bytes:
    """The metadata of databases in a bolt file; NotBolt where it holds none."""
    meta = BoltFile(path).bucket(METADATA).get(METADATA_KEY)
    if meta is None:
        raise NotBolt(f"its bucket {METADATA} holds no {METADATA_KEY.decode()}")
    return meta


def of_buckets(content: Mapping[str, Any], ids: Iterable[str]) -> dict[str, Any]:
    """A set's content with these buckets alone."""
    wanted = set(ids)
    buckets = [one for one in content["buckets"] if one["id"] in wanted]
    return {**content, "buckets": buckets, "shards": [one for one in content["shards"] if one["bucket_id"] in wanted]}


# --- placed and served beside ---


def prepare(
    given: Mapping[str, Any], worker: VolumeWorker, chosen: Sequence[Chosen], plan: Plan
) -> dict[str, dict[str, Any]]:
    """Place the shards of these buckets beside, take them to the target, and tell by name what each then holds.

    plan: of all that the set holds. Each has its id, the values restored, a range (ns) with all of its points, what its
    series are in it (see series_of), the bucket to be made like it (see like_of), and left_out: shards that are past
    their retention. RecoveryError where a byte is not the set's or a bucket holds no point; nothing is left then.
    """
    ids = {one.id for one in chosen}
    own = replace(plan, shards=tuple(one for one in plan.shards if one.shard.bucket_id in ids))
    content = of_buckets(given["content"], ids)
    try:
        with tempfile.TemporaryDirectory(prefix="platform3-buckets-") as folder:
            os.chmod(folder, 0o700)
            bolt_path = current_bolt(
                given["set_path"], plan.bolt, given["content"]["operator_token"], given["token"], folder
            )
            origin = origin_of(given["artefacts"], given["older"])
            progress = Progress(given["progress_path"])
            Beside(worker, own, given["set_path"], origin, progress, given["streams"], bolt_path).place()
        point = point_in_time(content, given["target_time"], given["organisation"], (), time.time_ns())
        if point is not None:
            point.apply(worker, beside_of(worker), given["token"], given["start_timeout_seconds"])
        server = ScratchServer(worker, beside_of(worker), given["start_timeout_seconds"])
        with server, closing(server.api(given["token"])) as api:
            told = {one.name: _told(api, one, own) for one in chosen}
        # What the server has made of them: before a rename makes them the live ones, they are on disk.
        worker.bash('find "$1" -print0 | xargs -0 sync', f"{beside_of(worker)}/engine")
    except BaseException:
        remove_beside(worker)
        raise
    return told


def _told(api: InfluxApi, one: Chosen, plan: Plan) -> dict[str, Any]:
    bucket = Bucket(api, one.organisation, one.id)
    shards = [sources.shard for sources in plan.shards if sources.shard.bucket_id == one.id]
    within = min(shard.starts_ns for shard in shards), max(shard.ends_ns for shard in shards)
    return {
        "id": one.id,
        "organisation": one.organisation,
        "restored": require_points(bucket, one),
        "range": list(within),
        "series": series_of(bucket, within),
        "like": like_of(api, one),
        "left_out": list(plan.expired),
    }


def series_of(bucket: Bucket, within: tuple[int, int]) -> dict[str, Any]:
    """What a bucket's series hold from an instant on and before another: how many there are, their values, and a digest
    of each one's count, first and last value with their times.
    """
    data = (
        f'from(bucketID: "{bucket.id}") |> range(start: time(v: "{iso(within[0])}"), stop: time(v: "{iso(within[1])}"))'
    )
    flux = "\n".join(f'{data} |> {name}() |> yield(name: "{name}")' for name in ("count", "first", "last"))
    return series_record(bucket.api.query(bucket.organisation, flux))


def series_record(rows: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """The record of rows named "count", "first" and "last", in whatever order they come."""
    lines, series, values = [], 0, 0
    for row in rows:
        tags = sorted((name, value) for name, value in row.items() if name not in _NO_TAGS and value)
        lines.append(json.dumps([tags, row["result"], row.get("_time", ""), row["_value"]]))
        if row["result"] == "count":
            series += 1
            values += int(row["_value"])
    digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    return {"series": series, "values": values, "digest": digest}


# --- in the stop ---


@dataclass(frozen=True)
class Files:
    """The files of buckets that are placed beside. told: what prepare() told of them, by name."""

    worker: VolumeWorker
    told: Mapping[str, Mapping[str, Any]]

    def _move(self, script: str, ids: Iterable[str]) -> None:
        self.worker.bash(script, beside_of(self.worker), DATA, f"{folder_of(self.worker)}/in_the_way", *ids)

    def databases(self) -> list[bytes]:
        """Their databases in the set's metadata, without the shards that do not come."""
        with tempfile.TemporaryDirectory(prefix="platform3-bolt-") as folder:
            held = databases(meta_in(copy_bolt(self.worker, beside_of(self.worker), folder)))
        missing = sorted({str(one["id"]) for one in self.told.values()} - set(held))
        if missing:
            raise NotBolt(f"the metadata of the set knows no shard of bucket {missing[0]}")
        return [living(held[one["id"]], one["left_out"]) for one in self.told.values()]

    def move_in(self) -> None:
        """A rename each; what is in the way is kept in this recovery's quarantine."""
        self._move(_MOVE_IN, self._ids())

    def move_out(self) -> None:
        """The way back."""
        self._move(_MOVE_OUT, self._ids())

    def withdraw(self) -> None:
        """Take those away that the live metadata does not know: a run was killed between the renames.

        Where it cannot be read they stay, which does no harm.
        """
        with tempfile.TemporaryDirectory(prefix="platform3-bolt-") as folder:
            try:
                known = BoltFile(copy_bolt(self.worker, DATA, folder)).bucket(BUCKETS)
            except (NotBolt, subprocess.CalledProcessError):
                return
        self._move(_MOVE_OUT, [one for one in self._ids() if one.encode() not in known])

    def checks(self, api: InfluxApi) -> list[Check]:
        """That each bucket of a server holds the same series with the same values."""
        checks = []
        for name, one in self.told.items():
            bucket = Bucket(api, one["organisation"], one["id"])
            expected, found = one["series"], series_of(bucket, (one["range"][0], one["range"][1]))
            checks += [
                check(f"{kind} in bucket {name}", COMPONENT, expected[kind], found[kind])
                for kind in ("series", "values")
            ]
            same = expected["digest"] == found["digest"]
            words = f"count, first and last value of each series in bucket {name}"
            checks.append(check(words, COMPONENT, "as in the set", "as in the set" if same else "others"))
        return checks

    def _ids(self) -> list[str]:
        return [str(one["id"]) for one in self.told.values()]
