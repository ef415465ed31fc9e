# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The buckets of the server that serves, and those that are gone from it made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi, NotFound
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import Chosen, told
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket


class Live:
    """The server that serves, and its buckets by name."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.api = InfluxApi(given["url"], given["token"])
        listed = self.api.json("/api/v2/orgs?" + urlencode({"org": given["organisation"]}))["orgs"]
        self._organisation = str(listed[0]["id"])

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of this name; None where there is none."""
        asked = urlencode({"orgID": self._organisation, "name": name})
        try:
            listed = self.api.json(f"/api/v2/buckets?{asked}")["buckets"]
        except NotFound:
            return None
        return Bucket(self.api, self._organisation, str(listed[0]["id"])) if listed else None

    def knows(self, bucket_id: str) -> bool:
        """Whether there is a bucket of this id, whatever its name."""
        try:
            self.api.json(f"/api/v2/buckets/{bucket_id}")
        except NotFound:
            return False
        return True

    def make(self, name: str, like: Mapping[str, Any]) -> Bucket:
        """A bucket with the description and the retention of another one, under an id that the server gives."""
        body = {"orgID": self._organisation, "name": name}
        body |= {key: like[key] for key in ("description", "retentionRules") if key in like}
        made = self.api.json("/api/v2/buckets", "POST", body)
        return Bucket(self.api, self._organisation, str(made["id"]))

    def name(self, bucket: Bucket, name: str) -> None:
        """Give a bucket another name."""
        self.api.json(f"/api/v2/buckets/{bucket.id}", "PATCH", {"name": name})

    def remove(self, bucket: Bucket) -> None:
        """The bucket with all that it holds."""
        self.api.json(f"/api/v2/buckets/{bucket.id}", "DELETE")

    def map(self, mapping: Mapping[str, Any], bucket: Bucket) -> str:
        """Make a mapping (database and retention policy of InfluxQL) lead to a bucket.

        Gives what must be known: one that leads to another bucket by now stays.
        """
        database, policy = mapping["database"], mapping["retention_policy"]
        same = [
            one["bucketID"]
            for one in mappings_of(self.api, self._organisation)
            if (one["database"], one["retention_policy"]) == (database, policy)
        ]
        if not same:
            body = {"orgID": self._organisation, "bucketID": bucket.id, "default": mapping["default"]}
            self.api.json("/api/v2/dbrps", "POST", {**body, "database": database, "retention_policy": policy})
        taken = [one for one in same if one != bucket.id]
        return f"mapping {database}/{policy} leads to bucket {taken[0]} by now, and stays so" if taken else ""


def mappings_of(api: InfluxApi, organisation: str, **more: str) -> list[dict[str, Any]]:
    """The mappings that somebody made; those that the server derives from names come and go with these."""
    listed = api.json("/api/v2/dbrps?" + urlencode({"orgID": organisation, **more}))["content"]
    return [one for one in listed if not one.get("virtual")]


def name_beside(name: str, recovery_id: str) -> str:
    """What a bucket is called until it has its id: nobody writes to it, and a later run knows it for its own."""
    return f"{name}.{recovery_id}"


def like_of(source: InfluxApi, one: Chosen) -> dict[str, Any]:
    """What a bucket is to be made like, from a server that has it: the bucket, and its mappings."""
    return {
        "bucket": source.json(f"/api/v2/buckets/{one.id}"),
        "mappings": mappings_of(source, one.organisation, bucketID=one.id),
    }


def make_again(
    live: Live,
    chosen: Sequence[Chosen],
    likes: Mapping[str, Mapping[str, Any]],
    recovery_id: str,
    give: Callable[[dict[str, str]], None],
) -> tuple[dict[str, Bucket], list[str]]:
    """Make those buckets again that are gone, each under its old id unless another bucket has it.

    Gives all of them by name, and what must be known. likes: by name, see like_of. give: hears which ids (the
    server's -> the old) are to be exchanged. What a run that was killed had done of it is taken for done. The server
    takes a bucket's mappings away with it, so they are made again; tokens and labels it leaves.
    """
    buckets: dict[str, Bucket] = {}
    beside: list[tuple[Chosen, Bucket]] = []
    for one in chosen:
        name = name_beside(one.name, recovery_id)
        found, made = live.bucket(one.name), live.bucket(name)
        if found is None:
            beside.append((one, made or live.make(name, likes[one.name]["bucket"])))
            continue
        buckets[one.name] = found
        if made:  # by a run that was killed, before somebody else made the other one
            live.remove(made)
    ids = {made.id: one.id for one, made in beside if made.id != one.id and not live.knows(one.id)}
    if ids:
        give(ids)
    warnings = []
    for one, made in beside:
        bucket = replace(made, id=ids.get(made.id, made.id))
        said = [live.map(mapping, bucket) for mapping in likes[one.name]["mappings"]]
        warnings += [warning for warning in said if warning]
        live.name(bucket, one.name)
        buckets[one.name] = bucket
    return buckets, warnings


def foreseen(
    given: Mapping[str, Any],
    chosen: Sequence[Chosen],
    restored: Mapping[str, int],
    state: Mapping[str, Any],
    files: Callable[[Live], Iterable[Chosen]],
) -> dict[str, dict[str, Any]]:
    """The result's buckets as they would be. state: what an earlier run noted; files: which would come by files."""
    noted = set(state.get("files", {}))
    if "ids" in state:
        # That run was killed while it gave them: the server may be stopped, and is started by the run in earnest.
        return {
            one.name: told(one, restored[one.name], one.name in state["missing"], one.id, one.name in noted)
            for one in chosen
        }
    live, buckets = Live(given), {}
    noted |= {one.name for one in files(live)}
    for one in chosen:
        bucket = live.bucket(one.name)
        beside = live.bucket(name_beside(one.name, given["fence"]["recovery_id"]))
        free = not live.knows(one.id) or (beside is not None and beside.id == one.id)
        its_id = bucket.id if bucket else one.id if free else None
        made = one.name in state.get("missing", []) or not bucket
        buckets[one.name] = told(one, restored[one.name], made, its_id, one.name in noted)
    return buckets
