# SPDX-License-Identifier: GPL-3.0-or-later
"""A deleted range and a deleted bucket come back into the InfluxDB that serves, and go again; nothing else changes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, nanoseconds

from tests.integration.influxdb_stage import DAY, DAYS, SECOND, Platform, Taken, seed
from tests.integration.scratch import docker, start_module, until

pytestmark = pytest.mark.integration

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
        self.taken = Taken(folder, platform.backup(folder), facts)
        self.epoch = 1

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
        given.pop("service")
        return {**given, "buckets": ["market-data"], "start": iso(RANGE[0]), "stop": iso(RANGE[1]), **more}

    def run(self, recovery: str, **more: Any) -> dict[str, Any]:
        """The module's result; whatever it did, nothing is left beside."""
        result = self.platform.run("influxdb_buckets_restore", self.inputs(recovery, **more))
        assert self.left() == "", result
        return result

    def left(self) -> str:
        """The scratch volumes that are there."""
        mine = f"label=platform3.recovery.environment={self.platform.id}"
        return docker("volume", "ls", "--quiet", "--filter", OWN_VOLUMES, "--filter", mine)


@pytest.fixture(scope="module", name="scene")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("influxdb")
    platform = Platform(folder / "platform", secrets.token_hex(16))
    try:
        platform.start()
        yield Scene(platform, folder / "set")
    finally:
        platform.clean()


def test_a_deleted_range_comes_back_and_what_stood_there_goes_and_returns(scene: Scene) -> None:
    before, candles = scene.points(), scene.points("analytics")
    inside = scene.points(within=RANGE)
    assert len(inside) > 1000
    scene.bucket("market-data").delete(*RANGE)
    scene.mark("market-data", "ticks,symbol=WRONG bid=1", RANGE[0] + 7)
    scene.mark("market-data", "ticks,symbol=NEW bid=2", NOW + SECOND)  # behind the set, outside of the range
    now = scene.points()

    foreseen = scene.run("r-1", _ansible_check_mode=True)
    assert foreseen["changed"] and foreseen["buckets"]["market-data"]["restored"] == len(inside)
    assert scene.points() == now, "check mode touches nothing"

    done = scene.run("r-1")
    assert done["changed"] and all(one["ok"] for one in done["checks"]) and done["kept"] == 1
    assert done["buckets"]["market-data"]["restored"] == len(inside) and done["warnings_found"] == []
    assert scene.points(within=RANGE) == inside
    assert scene.points() == sorted([*before, f"ticks,symbol=NEW bid=2 {NOW + SECOND}"])
    assert scene.points("analytics") == candles
    assert scene.run("r-1")["changed"] is False

    back = scene.run("r-1", state="put_back")
    assert back["changed"] and scene.points() == now
    assert scene.run("r-1", state="put_back")["changed"] is False
    assert scene.run("r-1")["error"]["code"] == "PRC-776"

    merged = scene.run("r-2", mode="merge")
    assert merged["changed"] and scene.points(within=RANGE) == sorted(
        [*inside, f"ticks,symbol=WRONG bid=1 {RANGE[0] + 7}"]
    )
    assert scene.run("r-3")["changed"] and scene.points(within=RANGE) == inside


def test_a_deleted_bucket_is_made_anew_and_goes_by_put_back(scene: Scene) -> None:
    candles, old = scene.points("analytics"), scene.bucket("analytics")
    ticks = scene.points()
    scene.platform.api.json(f"/api/v2/buckets/{old.id}", "DELETE")
    done = scene.run("r-10", buckets=["analytics"], start="", stop="")
    assert "buckets" in done, done
    assert done["buckets"]["analytics"]["made"] and "under another id" in done["warnings_found"][0]
    [made] = scene.platform.api.json("/api/v2/buckets?name=analytics")["buckets"]
    assert made["id"] != old.id and made["retentionRules"][0]["everySeconds"] == 90 * 86400
    assert scene.points("analytics") == candles and scene.points() == ticks
    scene.run("r-10", buckets=[], state="put_back")
    assert "analytics" not in {one["name"] for one in scene.platform.api.json("/api/v2/buckets")["buckets"]}
    assert scene.run("r-11", buckets=["analytics"], start="", stop="", mode="merge")["changed"]
    assert scene.points("analytics") == candles


def test_a_target_time_leaves_later_points_out(scene: Scene) -> None:
    half = (RANGE[0] + RANGE[1]) // 2 // SECOND * SECOND
    inside = scene.points(within=RANGE)
    scene.bucket("market-data").delete(*RANGE)
    assert scene.run("r-20", target_time=iso(half))["changed"]
    assert scene.points(within=RANGE) == [one for one in inside if int(one.rpartition(" ")[2]) <= half]
    assert scene.run("r-21")["changed"] and scene.points(within=RANGE) == inside


def test_a_killed_run_is_gone_on_with_and_comes_to_the_same(scene: Scene) -> None:
    inside = scene.points(within=RANGE)
    scene.bucket("market-data").delete(*RANGE)
    scene.mark("market-data", "ticks,symbol=WRONG bid=1", RANGE[0] + 7)
    kept = "test ! -e quarantine/r-30/points.json || echo kept"
    for begun in (scene.left, lambda: scene.platform.in_volume(kept)):
        given = {**scene.inputs("r-30"), "progress_path": None}
        process = start_module(scene.platform.folder, "influxdb_buckets_restore", given)
        try:
            until(begun, 60, "it is at work")
        finally:
            process.kill()
            process.wait()
    done = scene.run("r-30")
    assert "failed" not in done and done["kept"] == 1 and scene.points(within=RANGE) == inside


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"buckets": ["market-dat"]}, "PRC-770", "market-data"),
        ({"buckets": []}, "PRC-770", "none is named"),
        ({"start": "2026-11-23T05:17:00"}, "PRC-771", "offset"),
        ({"start": iso(RANGE[1]), "stop": iso(RANGE[0])}, "PRC-771", "nothing that the set knows"),
        ({"start": iso(NOW - 20 * DAY), "stop": iso(NOW - 19 * DAY)}, "PRC-772", "holds no point"),
        ({"volume": "other-data"}, "PRC-774", "other-data"),
        ({"state": "put_back"}, "PRC-778", "holds none"),
    ],
)
def test_what_cannot_be_is_refused_and_no_point_is_touched(
    scene: Scene, given: dict[str, Any], code: str, words: str
) -> None:
    before = scene.points()
    done = scene.run("r-40", **given)
    assert done["failed"] and done["error"]["code"] == code and words in done["msg"], done["msg"]
    assert scene.points() == before


def test_a_damaged_archive_is_refused_and_no_point_is_touched(scene: Scene, tmp_path: Path) -> None:
    before, whole = scene.points(), scene.taken
    scene.taken = whole.copy(tmp_path / "set")
    shards = {
        one["artefact"]: one
        for one in scene.taken.content["shards"]
        if one["artefact"] and nanoseconds(one["starts_at"]) < RANGE[1] and RANGE[0] < nanoseconds(one["ends_at"])
    }
    path = scene.taken.folder / next(one["path"] for one in scene.taken.artefacts if one["path"] in shards)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    try:
        done = scene.run("r-50")
    finally:
        scene.taken = whole
    assert done["failed"] and done["error"]["code"] == "PRC-707" and scene.points() == before
