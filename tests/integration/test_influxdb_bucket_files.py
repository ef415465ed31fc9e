# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket that is gone comes back by its files into the InfluxDB that serves, or goes by points where it must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_bucket_ids
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import settle
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_files import Files, beside_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso
from ansible_collections.platform3.recovery.plugins.modules import influxdb_buckets_restore

from tests.integration.influxdb_buckets_stage import (
    ANALYTICS,
    NOW,
    RANGE,
    WHOLE,
    Scene,
    delete_analytics,
    names,
    serving_scene,
)
from tests.integration.influxdb_stage import DAY, DAYS, SECOND
from tests.integration.scratch import docker

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", name="scene")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    yield from serving_scene(tmp_path_factory.mktemp("influxdb"))


MARKET: dict[str, Any] = {"buckets": ["market-data"], "start": "", "stop": ""}


def delete_market_data(scene: Scene) -> str:
    """The bucket is gone; gives the id that it had."""
    old = scene.bucket("market-data").id
    scene.platform.api.json(f"/api/v2/buckets/{old}", "DELETE")
    return old


def engine_folders(scene: Scene) -> list[str]:
    """The buckets of which the server has files."""
    return scene.platform.in_volume("cd data/engine; ls -d data/* wal/* 2>/dev/null || true").split()


def test_a_bucket_comes_back_by_files_along_a_chain_and_what_was_deleted_in_it_stays_away(
    scene: Scene, tmp_path: Path
) -> None:
    """Its shards hold tombstones of the first set and of the increment, and another bucket goes by points meanwhile."""
    api, later = scene.platform.api, NOW - DAY // 2
    older = scene.platform.backup(tmp_path / "20261123T050000Z", settle_seconds=5)
    ticks = [f"ticks,symbol=CHFJPY bid={number}.5 {later + number * SECOND}" for number in range(2000)]
    scene.bucket("market-data").write(ticks)
    api.delete(scene.organisation, scene.bucket("market-data").id, iso(RANGE[0]), iso(NOW), 'symbol="AUDUSD"')
    parent = {"chain": older["chain"], "content": older["content"]}
    newer = scene.platform.backup(tmp_path / "20261123T050100Z", settle_seconds=5, parent=parent)
    assert newer["chain"] == ["20261123T050000Z", "20261123T050100Z"], newer
    before, everything, candles = scene.points(), scene.everything(), scene.points("analytics")
    assert any("CHFJPY" in one for one in before)
    old = delete_market_data(scene)
    candle = scene.bucket("analytics")
    candle.delete(*WHOLE)
    given = {**MARKET, "buckets": ["market-data", "analytics"], "set_path": str(tmp_path / "20261123T050100Z")}
    given |= {"content": newer["content"], "artefacts": newer["artefacts"]}
    own = [one for one in older["artefacts"] if one["component"] == "influxdb"]
    given |= {"older": [{"id": "20261123T050000Z", "path": str(tmp_path / "20261123T050000Z"), "artefacts": own}]}

    done = scene.run("r-80", **given)
    assert "buckets" in done, done
    assert {name: one["by"] for name, one in done["buckets"].items()} == {"market-data": "files", "analytics": "points"}
    assert done["buckets"]["market-data"]["id"] == old and done["buckets"]["market-data"]["restored"] == len(before)
    for _start in range(2):
        assert scene.points() == before and scene.everything() == everything and scene.points("analytics") == candles
        docker("restart", scene.platform.id)
        api.await_ready(30)
    more = [("bid=7", later + 1), ("bid=8", NOW - 30 * DAY)]  # into a shard that came, and into one that is made for it
    for value, at in more:
        scene.mark("market-data", f"ticks,symbol=CHFJPY {value}", at)
    settle(scene.bucket("market-data"), later, NOW)  # until then any server gives others twice, an untouched one too
    assert scene.points() == sorted([*before, *(f"ticks,symbol=CHFJPY {value} {at}" for value, at in more)])
    assert scene.points("analytics") == candles, "no shard has the id of another"
    assert scene.run("r-80", **given)["changed"] is False

    assert scene.run("r-80", **{**MARKET, "buckets": []}, state="put_back")["changed"]
    assert "market-data" not in names(scene) and f"data/{old}" not in engine_folders(scene)
    assert scene.points("analytics") == [], "as it was"
    assert scene.run("r-81", **given)["changed"] and scene.points() == before


def test_a_bucket_comes_back_by_files_up_to_a_target(scene: Scene) -> None:
    half, everything = (RANGE[0] + RANGE[1]) // 2 // SECOND * SECOND, scene.everything()
    delete_market_data(scene)
    whole = scene.run("r-82", **MARKET)
    assert whole["buckets"]["market-data"]["by"] == "files", whole
    points = scene.points()
    delete_market_data(scene)
    foreseen = scene.run("r-83", **MARKET, target_time=iso(half), _ansible_check_mode=True)
    done = scene.run("r-83", **MARKET, target_time=iso(half))
    assert "buckets" in done, done
    before, after = (one["buckets"]["market-data"] | {"range": ""} for one in (foreseen, done))
    assert before == after and after["by"] == "files"
    assert scene.points() == [one for one in points if int(one.rpartition(" ")[2]) <= half]
    assert len(scene.points()) == done["buckets"]["market-data"]["restored"] and scene.everything() == everything
    delete_market_data(scene)
    assert scene.run("r-84", **MARKET)["changed"] and scene.points() == points


@pytest.mark.parametrize("within", [{"start": iso(NOW - (DAYS + 1) * DAY)}, {"stop": iso(NOW)}], ids=["start", "stop"])
def test_a_range_of_a_bucket_that_is_gone_comes_by_points(scene: Scene, within: dict[str, str]) -> None:
    recovery, candles = f"r-85-{'-'.join(within)}", scene.points("analytics")
    delete_analytics(scene)
    done = scene.run(recovery, **{**ANALYTICS, **within})
    assert "buckets" in done and done["buckets"]["analytics"]["by"] == "points", done
    assert scene.points("analytics") == candles


def in_this_process(scene: Scene, recovery: str, **more: Any) -> dict[str, Any]:
    """The module's work, into which a test can reach."""
    defaults = {name: one.get("default") for name, one in influxdb_buckets_restore.ARGUMENTS.items()}
    given = {**defaults, **scene.inputs(recovery, **more)}
    given["compose"] = {"env_file": None, **given["compose"]}
    module: Any = SimpleNamespace(params=given, check_mode=False)
    return influxdb_buckets_restore.restore(module)


def test_a_bucket_whose_files_do_not_prove_themselves_goes_and_all_is_as_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard's data is lost on the way into its place."""
    before, everything = scene.points(), scene.everything()
    old = delete_market_data(scene)
    without, ticks = scene.everything(), scene.points("analytics")
    move_in, seen = Files.move_in, []

    def lose(files: Files) -> None:
        shards = f"{beside_of(files.worker)}/engine/data/{old}/autogen"
        files.worker.bash('ls -d "$1"/*/*.tsm | head -n 1 | xargs rm', shards)
        move_in(files)
        seen.append(engine_folders(scene))

    monkeypatch.setattr(Files, "move_in", lose)
    with pytest.raises(RecoveryError, match="values in bucket market-data: expected") as caught:
        in_this_process(scene, "r-86", **MARKET)
    assert caught.value.code == "PRC-781" and "the metadata that it had" in caught.value.data
    assert f"data/{old}" in seen[0], "they were in place"
    assert f"data/{old}" not in engine_folders(scene) and f"wal/{old}" not in engine_folders(scene)
    assert scene.points("analytics") == ticks and scene.bucket("market-data.r-86").id != old
    assert "market-data" not in names(scene)
    monkeypatch.undo()
    done = scene.run("r-86", **MARKET)
    assert "failed" not in done and scene.points() == before and scene.everything() == everything
    assert scene.run("r-86", **{**MARKET, "buckets": []}, state="put_back")["changed"]
    assert scene.everything() == without
    assert scene.run("r-87", **MARKET)["changed"] and scene.points() == before


class Killed(BaseException):
    """What no run survives."""


def killed_between_the_renames(scene: Scene, recovery: str) -> str:
    """A run ends with the files in place and the old metadata, and the server is started on that; gives the id."""
    old = delete_market_data(scene)

    def kill(*_given: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_influxdb_bucket_ids, "exchange", kill)
        in_this_process(scene, recovery, **MARKET)
    assert not scene.container() and f"data/{old}" in engine_folders(scene)
    scene.platform.compose("up", "--detach")
    scene.platform.api.await_ready(30)
    assert old not in scene.platform.api.ids("/api/v2/buckets", "buckets")
    return old


def test_a_run_killed_between_the_files_and_the_metadata_is_gone_on_with(scene: Scene) -> None:
    before, everything = scene.points(), scene.everything()
    killed_between_the_renames(scene, "r-88")
    foreseen = scene.run("r-88", **MARKET, _ansible_check_mode=True)
    assert foreseen["buckets"]["market-data"]["by"] == "files", foreseen
    done = scene.run("r-88", **MARKET)
    assert "failed" not in done and all(one["ok"] for one in done["checks"]), done
    assert scene.points() == before and scene.everything() == everything


def test_a_run_killed_between_the_files_and_the_metadata_is_put_back(scene: Scene) -> None:
    before, everything = scene.points(), scene.everything()
    old = killed_between_the_renames(scene, "r-89")
    done = scene.run("r-89", **{**MARKET, "buckets": []}, state="put_back")
    assert "failed" not in done and "market-data" not in names(scene), done
    assert f"data/{old}" not in engine_folders(scene) and f"wal/{old}" not in engine_folders(scene)
    assert scene.run("r-90", **MARKET)["changed"]
    assert scene.points() == before and scene.everything() == everything
