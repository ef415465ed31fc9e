# SPDX-License-Identifier: GPL-3.0-or-later
"""A deleted range and a deleted bucket come back into the InfluxDB that serves, and go again; nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_bucket_ids
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check
from ansible_collections.platform3.recovery.plugins.module_utils._docker import Compose
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, nanoseconds
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_service import Service
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

from tests.integration.influxdb_buckets_stage import (
    ANALYTICS,
    NOW,
    RANGE,
    Scene,
    delete_analytics,
    names,
    serving_scene,
)
from tests.integration.influxdb_stage import DAY, IMAGE, SECOND
from tests.integration.scratch import docker, start_module, until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", name="scene")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    yield from serving_scene(tmp_path_factory.mktemp("influxdb"))


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


def test_a_deleted_bucket_comes_back_under_its_old_id_and_goes_by_put_back(scene: Scene) -> None:
    scene.require_scoped_token_works()
    before, candles, ticks = scene.everything(), scene.points("analytics"), scene.points()
    old = delete_analytics(scene)
    without, serving = scene.everything(), scene.container()
    assert old not in str(without["mappings"]) and without["tokens"] == before["tokens"], "what the server takes away"

    foreseen = scene.run("r-10", **ANALYTICS, _ansible_check_mode=True)
    assert foreseen["buckets"]["analytics"]["id"] == old and foreseen["warnings_found"] == []
    assert "made again by files under its old id, for which influxdb restarts" in foreseen["diff"]["after"]
    assert foreseen["buckets"]["analytics"]["by"] == "files" and foreseen["buckets"]["analytics"]["restored"] == 2
    assert scene.everything() == without and scene.container() == serving, "check mode touches nothing"

    done = scene.run("r-10", **ANALYTICS)
    assert "buckets" in done, done
    assert done["buckets"]["analytics"]["made"] and done["buckets"]["analytics"]["id"] == old
    assert done["buckets"]["analytics"]["by"] == "files" and done["buckets"]["analytics"]["restored"] == 2
    assert done["warnings_found"] == [] and len(done["checks"]) == 6 and all(one["ok"] for one in done["checks"])
    assert scene.platform.in_volume("ls quarantine/r-10").split() == ["influxd.bolt", "points.json", "points.kept"]
    assert scene.container() != serving, "it was restarted"
    for _start in range(2):
        assert scene.everything() == before
        assert scene.points("analytics") == candles and scene.points() == ticks
        scene.require_scoped_token_works()
        docker("restart", scene.platform.id)
        scene.platform.api.await_ready(30)
    assert scene.run("r-10", **ANALYTICS)["changed"] is False

    assert scene.run("r-10", **{**ANALYTICS, "buckets": []}, state="put_back")["changed"]
    assert scene.everything() == without and scene.points() == ticks
    assert scene.run("r-11", **ANALYTICS, mode="merge")["changed"]
    assert scene.everything() == before and scene.points("analytics") == candles


def test_a_bucket_that_was_made_by_hand_meanwhile_keeps_its_id(scene: Scene) -> None:
    before, candles = scene.everything(), scene.points("analytics")
    old, api = delete_analytics(scene), scene.platform.api
    hand = api.json("/api/v2/buckets", "POST", {"orgID": scene.organisation, "name": "analytics"})["id"]
    serving = scene.container()
    for check_mode in (True, False):
        done = scene.run("r-12", **ANALYTICS, _ansible_check_mode=check_mode)
        assert (
            done["buckets"]["analytics"] | {"made": False, "id": hand, "by": "points"} == done["buckets"]["analytics"]
        )
        assert hand in done["warnings_found"][0] and old in done["warnings_found"][0]
    assert scene.points("analytics") == candles and scene.container() == serving, "it was not restarted"
    delete_analytics(scene)
    assert scene.run("r-13", **ANALYTICS)["changed"] and scene.everything() == before


def test_an_id_that_another_bucket_has_is_left_to_it(scene: Scene) -> None:
    before, candles = scene.everything(), scene.points("analytics")
    old, api = scene.bucket("analytics").id, scene.platform.api
    api.json(f"/api/v2/buckets/{old}", "PATCH", {"name": "renamed"})
    foreseen = scene.run("r-14", **ANALYTICS, _ansible_check_mode=True)
    assert foreseen["buckets"]["analytics"]["id"] is None and old in foreseen["warnings_found"][0]
    assert "made again by points under another id" in foreseen["diff"]["after"]
    done = scene.run("r-14", **ANALYTICS)
    assert scene.bucket("renamed").id == old and scene.points("renamed") == candles == scene.points("analytics")
    assert done["buckets"]["analytics"]["id"] == scene.bucket("analytics").id and old in done["warnings_found"][0]
    scene.run("r-14", **{**ANALYTICS, "buckets": []}, state="put_back")
    api.json(f"/api/v2/buckets/{old}", "PATCH", {"name": "analytics"})
    assert scene.everything() == before and scene.points("analytics") == candles


def killed_when(scene: Scene, recovery: str, begun: Callable[[Scene], object]) -> None:
    """A run that brings analytics back is killed as soon as something is so."""
    given = {**scene.inputs(recovery, **ANALYTICS), "progress_path": None}
    process = start_module(scene.platform.folder, "influxdb_buckets_restore", given)
    try:
        until(lambda: begun(scene), 60, "it is so far")
    finally:
        process.kill()
        process.wait()
    noted = scene.platform.in_volume(f"cat quarantine/{recovery}/points.json")
    assert '"state": "kept"' in noted, "it was killed before its end"


def beside_has_the_old_id(scene: Scene) -> bool:
    """The server is back with the old id, the name is still another."""
    try:
        found = scene.platform.api.json(f"/api/v2/buckets/{scene.taken.bucket('analytics')['id']}")
    except RecoveryError:
        return False
    return str(found["name"]) == "analytics.r-63"


KILLED: dict[str, Callable[[Scene], object]] = {
    "r-60": lambda scene: "analytics.r-60" in names(scene),
    "r-61": lambda scene: not scene.container(),
    "r-62": lambda scene: scene.platform.in_volume("test ! -e quarantine/r-62/influxd.bolt || echo there"),
    "r-63": beside_has_the_old_id,
}


@pytest.mark.parametrize("recovery", KILLED)
def test_a_run_killed_on_the_way_to_the_old_id_is_gone_on_with(scene: Scene, recovery: str) -> None:
    before, candles = scene.everything(), scene.points("analytics")
    delete_analytics(scene)
    killed_when(scene, recovery, KILLED[recovery])
    if recovery == "r-61":
        assert not scene.container(), "the server is away"
    foreseen = scene.run(recovery, **ANALYTICS, _ansible_check_mode=True)
    assert foreseen["buckets"]["analytics"]["made"] and foreseen["warnings_found"] == [], foreseen
    done = scene.run(recovery, **ANALYTICS)
    assert "failed" not in done and all(one["ok"] for one in done["checks"]), done
    assert scene.everything() == before and scene.points("analytics") == candles


def test_what_a_killed_run_had_made_goes_where_somebody_made_the_bucket_by_hand(scene: Scene) -> None:
    before, candles, api = scene.everything(), scene.points("analytics"), scene.platform.api
    delete_analytics(scene)
    killed_when(scene, "r-64", lambda scene: "analytics.r-64" in names(scene))
    # A stop that the killed run had asked for may still come.
    until(lambda: scene.platform.compose("up", "--detach") or names(scene), 30, "the server serves")
    time.sleep(2)
    until(lambda: scene.platform.compose("up", "--detach") or names(scene), 30, "the server serves")
    hand = api.json("/api/v2/buckets", "POST", {"orgID": scene.organisation, "name": "analytics"})["id"]
    done = scene.run("r-64", **ANALYTICS)
    assert done["buckets"]["analytics"]["id"] == hand and scene.points("analytics") == candles
    assert "analytics.r-64" not in names(scene)
    delete_analytics(scene)
    assert scene.run("r-65", **ANALYTICS)["changed"] and scene.everything() == before


@pytest.mark.parametrize("recovery", ["r-60", "r-61"])
def test_a_run_killed_on_the_way_to_the_old_id_is_put_back(scene: Scene, recovery: str) -> None:
    before = scene.everything()
    delete_analytics(scene)
    without, again = scene.everything(), f"{recovery}-b"
    killed_when(
        scene, again, KILLED["r-61"] if recovery == "r-61" else lambda scene: f"analytics.{again}" in names(scene)
    )
    done = scene.run(again, **{**ANALYTICS, "buckets": []}, state="put_back")
    assert "failed" not in done and scene.everything() == without
    assert scene.run(f"{recovery}-c", **ANALYTICS)["changed"] and scene.everything() == before


def test_metadata_that_does_not_prove_itself_is_exchanged_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    api, platform = scene.platform.api, scene.platform
    made = api.json("/api/v2/buckets", "POST", {"orgID": scene.organisation, "name": "beside"})["id"]
    before, given = scene.everything(), scene.inputs("r-70")
    compose = Compose(platform.id, str(platform.folder), ("compose.yaml",))
    service, fence = Service(compose, "influxdb", 10, 30), Fence(**given["fence"])
    seen: list[bool] = []

    def refuse(api: InfluxApi, held: dict[str, set[str]]) -> list[Check]:
        seen.append("0123456789abcdef" in api.ids("/api/v2/buckets", "buckets"))
        raise RecoveryError("PRC-780", "prove it", "a token is missing", "", "")

    monkeypatch.setattr(_influxdb_bucket_ids, "proven", refuse)
    with (
        VolumeWorker("influxdb", platform.volume, IMAGE, platform.id, fence) as worker,
        pytest.raises(RecoveryError, match="a token is missing") as caught,
    ):
        _influxdb_bucket_ids.give_ids(service, worker, api, {made: "0123456789abcdef"})
    assert caught.value.code == "PRC-780" and seen == [True], "it had served with the new one"
    assert scene.everything() == before
    api.json(f"/api/v2/buckets/{made}", "DELETE")


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
