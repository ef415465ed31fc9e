# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a backup set of it, and chosen buckets brought back into it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso

from tests.integration.influxdb_stage import DAY, DAYS, Platform, Taken, seed
from tests.integration.scratch import docker

OWN_VOLUMES = "label=platform3.recovery.influxdb_buckets=yes"
NOW = time.time_ns()
# The second day of the seed, of which half of the points of one symbol were deleted before the backup.
RANGE = (NOW - (DAYS - 1) * DAY, NOW - (DAYS - 2) * DAY)
WHOLE = (0, NOW + DAY)


class Scene:
    """A server, a set of it, and a point of the range that only the server has."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform = platform
        facts = seed(platform)
        self.organisation = str(facts["organisation"])
        self.mark(
            "market-data", 'ticks,symbol=EURUSD,venue=a\\ b open=true,seen=7u,note="x \\"y\\" \n z"', RANGE[0] + 5
        )
        self.token = self.prepare_analytics(str(facts["buckets"]["analytics"]))
        self.taken = Taken(folder, platform.backup(folder), facts)
        self.epoch = 1

    def prepare_analytics(self, bucket: str) -> str:
        """All that names a bucket by its id: a mapping, a label, and a token that is for it alone, which is given."""
        api, ours = self.platform.api, {"orgID": self.organisation}
        api.json(f"/api/v2/buckets/{bucket}", "PATCH", {"description": "candles of a minute"})
        mapping = {"bucketID": bucket, "database": "candles", "retention_policy": "long", "default": True}
        api.json("/api/v2/dbrps", "POST", {**ours, **mapping})
        label = api.json("/api/v2/labels", "POST", {**ours, "name": "of analysts"})["label"]
        api.json(f"/api/v2/buckets/{bucket}/labels", "POST", {"labelID": label["id"]})
        resource = {"type": "buckets", "id": bucket, **ours}
        permissions = [{"action": action, "resource": resource} for action in ("read", "write")]
        return str(api.json("/api/v2/authorizations", "POST", {**ours, "permissions": permissions})["token"])

    def bucket(self, name: str) -> Bucket:
        """A bucket of the live server."""
        [found] = self.platform.api.json(f"/api/v2/buckets?name={name}")["buckets"]
        return Bucket(self.platform.api, self.organisation, found["id"])

    def mark(self, bucket: str, line: str, at: int) -> None:
        """Write a point."""
        self.bucket(bucket).write([f"{line} {at}"])

    def points(self, bucket: str = "market-data", within: tuple[int, int] = WHOLE) -> list[str]:
        """What a bucket holds."""
        return sorted(self.bucket(bucket).lines(within))

    def inputs(self, recovery: str, **more: Any) -> dict[str, Any]:
        """The module's inputs."""
        self.epoch += 1  # as the lock does each time it is taken
        given = self.platform.restore_inputs(self.taken, recovery, self.epoch)
        return {**given, "buckets": ["market-data"], "start": iso(RANGE[0]), "stop": iso(RANGE[1]), **more}

    def run(self, recovery: str, **more: Any) -> dict[str, Any]:
        """The module's result; whatever it did, nothing is left beside."""
        result = self.platform.run("influxdb_buckets_restore", self.inputs(recovery, **more))
        assert self.left() == "", result
        return result

    def everything(self) -> dict[str, Any]:
        """All ids and tokens, and what is known of each bucket and mapping but the time of its last change."""
        api = self.platform.api
        buckets = api.json("/api/v2/buckets?limit=100")["buckets"]
        kept = ("id", "name", "description", "retentionRules", "labels")
        mappings = api.json(f"/api/v2/dbrps?orgID={self.organisation}")["content"]
        return {
            "ids": api.inventory(),
            "tokens": sorted((one["id"], one["token"], one["status"]) for one in api.authorisations()),
            "buckets": sorted((one["id"], *(str(one.get(name)) for name in kept)) for one in buckets),
            "mappings": sorted((one["bucketID"], one["database"], one["retention_policy"]) for one in mappings),
        }

    def container(self) -> str:
        """The id of the server's container; empty where it is away."""
        return docker("ps", "--quiet", "--no-trunc", "--filter", f"name=^{self.platform.id}$")

    def require_scoped_token_works(self) -> None:
        """The token for analytics writes, reads what it wrote by Flux and by InfluxQL, and may do no more."""
        platform, own = self.platform, self.platform.api.another(self.token)
        bucket = Bucket(own, self.organisation, self.taken.bucket("analytics")["id"])
        line = f"probe value=1 {NOW + DAY - 1}"
        bucket.write([line])
        assert line in list(bucket.lines(WHOLE))
        found = own.read(own.request("GET", "/query?db=candles&q=SELECT+value+FROM+probe"))
        assert b"probe" in found, found
        platform.api.delete(self.organisation, bucket.id, iso(NOW + DAY - 1), iso(NOW + DAY), "")
        with pytest.raises(RecoveryError):
            Bucket(own, self.organisation, self.bucket("market-data").id).write([line])

    def left(self) -> str:
        """The scratch volumes that are there."""
        mine = f"label=platform3.recovery.environment={self.platform.id}"
        return docker("volume", "ls", "--quiet", "--filter", OWN_VOLUMES, "--filter", mine)


def serving_scene(folder: Path) -> Iterator[Scene]:
    """A scene in a folder, which goes away."""
    platform = Platform(folder / "platform", secrets.token_hex(16))
    try:
        platform.start()
        yield Scene(platform, folder / "set")
    finally:
        platform.clean()


def delete_analytics(scene: Scene) -> str:
    """The bucket is gone; gives the id that it had."""
    old = scene.bucket("analytics").id
    scene.platform.api.json(f"/api/v2/buckets/{old}", "DELETE")
    return old


ANALYTICS: dict[str, Any] = {"buckets": ["analytics"], "start": "", "stop": ""}


def names(scene: Scene) -> list[str]:
    """The buckets' names; none while the server is away."""
    try:
        return [str(one["name"]) for one in scene.platform.api.json("/api/v2/buckets?limit=100")["buckets"]]
    except RecoveryError:
        return []
