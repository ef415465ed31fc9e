# SPDX-License-Identifier: GPL-3.0-or-later
"""InfluxDB, really: written to, backed up, lost, restored by its files; on containers and volumes of its own."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import restore_plan
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Placement, origin_of
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

from tests.integration.influxdb_stage import (
    DAY,
    DAYS,
    IMAGE,
    POINTS_A_DAY,
    SECOND,
    Platform,
    Taken,
    Writer,
    iso_of,
    seed,
)
from tests.integration.scratch import docker, start_module, until


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, dict[str, Any]]]:
    """A seeded server and what was seeded."""
    platform = Platform(tmp_path_factory.mktemp("source") / "platform", secrets.token_hex(24))
    try:
        platform.start()
        yield platform, seed(platform)
    finally:
        platform.clean()


@pytest.fixture(scope="module")
def taken(source: tuple[Platform, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """A backup that was taken while points were being written."""
    platform, facts = source
    folder = tmp_path_factory.mktemp("sets") / "20261123T051700Z"
    with Writer(platform, facts) as writer:
        before = writer.written
        result = platform.backup(folder, settle_seconds=5)
        assert writer.written > before
    return Taken(folder, result, facts)


@pytest.fixture
def target(tmp_path: Path, source: tuple[Platform, dict[str, Any]]) -> Iterator[Platform]:
    """Another environment, of which nothing exists yet; its operator token is the same."""
    platform = Platform(tmp_path / "target", source[0].token)
    try:
        yield platform
    finally:
        platform.clean()


def live_points() -> int:
    """Field values of the seed that were not deleted."""
    quarter = DAYS * POINTS_A_DAY // 4
    return 3 * (3 * quarter - POINTS_A_DAY // 8)


def test_a_set_holds_what_the_server_held(taken: Taken) -> None:
    """Figures, files and their hashes, modes; no token in clear outside of the metadata files."""
    market = taken.bucket("market-data")
    assert market["values"] >= live_points()
    assert market["shards"] >= DAYS
    assert {one["path"].split("/")[0] for one in taken.artefacts} == {"influxdb"}
    written = {str(path.relative_to(taken.folder)) for path in taken.folder.rglob("*") if path.is_file()}
    assert written == {one["path"] for one in taken.artefacts}
    for one in taken.artefacts:
        path = taken.folder / one["path"]
        assert (path.stat().st_size, path.stat().st_mode & 0o077) == (one["bytes"], 0)
    assert taken.facts["scoped_token"] not in json.dumps(taken.content)


def test_a_restore_brings_everything_back_and_nothing_that_was_deleted(target: Platform, taken: Taken) -> None:
    """Counts, ids, tokens, task, dashboard; deleted points stay deleted; the server takes writes."""
    result = target.restore(taken)
    assert "failed" not in result, result
    assert (result["recovery_point"], result["quarantined"]) == (taken.content["recovery_point"], False)
    seeded = target.count('|> filter(fn: (r) => r._measurement == "ticks" and r.symbol != "NZDUSD")')
    assert seeded == live_points()
    assert target.count('|> filter(fn: (r) => r.symbol == "USDJPY")') == 0
    assert target.api.json(f"/api/v2/tasks/{taken.facts['task']}")["name"] == "tick-count"
    assert target.api.json(f"/api/v2/dashboards/{taken.facts['dashboard']}")["name"] == "Market overview"
    verified = target.verify(taken, scoped_tokens={"market-data-service": taken.facts["scoped_token"]})
    assert "failed" not in verified, verified
    names = {one["name"]: one for one in verified["checks"]}
    assert names["values in bucket market-data"]["found"] == taken.bucket("market-data")["values"]
    assert names["token market-data-service is accepted"]["ok"]
    assert names["a write to bucket analytics"]["ok"]
    assert target.count('|> filter(fn: (r) => r._measurement == "recovery_probe")', "analytics") == 0


def test_a_second_run_with_the_same_id_leaves_the_data_alone(target: Platform, taken: Taken) -> None:
    """Points written since the first run stay."""
    target.restore(taken)
    api, facts = target.api, taken.facts
    api.write(facts["organisation"], facts["buckets"]["analytics"], f"candles,symbol=X open=1.0 {time.time_ns()}")
    again = target.restore(taken, epoch=3)
    assert ("failed" not in again, again.get("bytes")) == (True, 0)
    assert target.count('|> filter(fn: (r) => r.symbol == "X")', "analytics") == 1


def test_a_run_killed_halfway_is_gone_on_with(target: Platform, taken: Taken, tmp_path: Path) -> None:
    """The reader of the largest shard hangs, the run is killed there; the next one ends as if nothing had been."""
    damaged = taken.copy(tmp_path / "set")
    path = damaged.folder / damaged.largest()["path"]
    path.unlink()
    os.mkfifo(path)
    process = start_module(target.folder, "influxdb_restore", target.restore_inputs(damaged, "recovery-1", 2))
    one_shot = ["ps", "--quiet", "--filter", f"name=platform3-one-shot-{target.volume}-2"]
    until(lambda: docker(*one_shot), 30, "the one-shot container")
    look = "ls restore-recovery-1 2>/dev/null || true"
    until(lambda: "influxd.bolt" in target.in_volume(look), 30, "something unpacked before the kill")
    process.kill()
    process.wait()
    left = target.in_volume("ls").split()
    assert "restore-recovery-1" in left
    assert not {"data", "swap-recovery-1"} & set(left), left
    result = target.restore(taken, epoch=3)
    assert "failed" not in result, result
    verified = target.verify(taken)
    assert "failed" not in verified, verified
    assert docker("ps", "--all", "--quiet", "--filter", f"name=platform3-one-shot-{target.volume}") == ""


def test_what_was_restored_but_not_exchanged_is_gone_on_with(target: Platform, taken: Taken) -> None:
    """Killed right before the exchange, and right after it: nothing is copied again, nothing is lost."""
    target.compose("up", "--no-start")
    plan = restore_plan(taken.content, taken.artefacts, time.time_ns())
    with VolumeWorker("influxdb", target.volume, IMAGE, target.id, Fence("recovery-1", 2)) as worker:
        Placement(worker, plan, str(taken.folder), origin_of(taken.artefacts), Progress(None)).restore()
        assert worker.swap_state() == "restored"
    assert "data" not in target.in_volume("ls").split()
    result = target.restore(taken, epoch=3)
    assert (result.get("failed"), result["bytes"], result["changed"]) == (None, 0, True)
    docker("rm", "--force", target.id)
    result = target.restore(taken, epoch=4)
    assert (result.get("failed"), result["bytes"], result["changed"]) == (None, 0, False)
    verified = target.verify(taken, exact=False)
    assert "failed" not in verified, verified


def test_a_run_that_was_outranked_changes_nothing(target: Platform, taken: Taken) -> None:
    """The volume knows a newer epoch."""
    target.restore(taken, epoch=5)
    result = target.restore(taken, recovery="recovery-2", epoch=4)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-402")


def test_a_server_that_runs_is_not_pulled_from_under(target: Platform, taken: Taken) -> None:
    """Isolate was left out: nothing is exchanged."""
    target.restore(taken)
    result = target.restore(taken, recovery="recovery-2", epoch=3)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-713")
    assert target.in_volume("ls quarantine") == "recovery-1"
    docker("rm", "--force", target.id)
    result = target.restore(taken, recovery="recovery-2", epoch=4)
    assert (result.get("failed"), result["quarantined"]) == (None, True)
    assert "influxd.bolt" in target.in_volume("ls quarantine/recovery-2")


def test_a_server_that_cannot_start_is_not_waited_for(target: Platform, taken: Taken) -> None:
    """Its entrypoint refuses the volume: the reason is in the error, long before the time is over."""
    started = time.monotonic()
    result = target.restore(taken, environment_id="another", start_timeout_seconds=300)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-704")
    assert "belongs to environment another" in result["error"]["found"]
    assert time.monotonic() - started < 100


def test_a_flipped_bit_is_refused_before_the_exchange(target: Platform, taken: Taken, tmp_path: Path) -> None:
    """The live data keeps its bytes."""
    target.restore(taken)
    docker("rm", "--force", target.id)
    digest = "find data -type f | sort | xargs sha256sum"
    before = target.in_volume(digest)
    damaged = taken.copy(tmp_path / "set")
    path = damaged.folder / damaged.largest()["path"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = target.restore(damaged, recovery="recovery-2", epoch=3)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-707")
    assert damaged.largest()["path"] in result["error"]["attempted"]
    assert target.in_volume(digest) == before
    assert target.in_volume("ls quarantine") == "recovery-1"


def test_a_missing_archive_is_refused_before_anything_is_touched(
    target: Platform, taken: Taken, tmp_path: Path
) -> None:
    """A shard of the content without an artefact is not merely warned of."""
    damaged = taken.copy(tmp_path / "set")
    damaged.artefacts.remove(damaged.largest())
    result = target.restore(damaged)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-701")
    assert docker("volume", "ls", "--quiet", "--filter", f"name={target.volume}") == ""


def test_the_current_operator_token_is_set_again(target: Platform, taken: Taken, source: Any) -> None:
    """The token was renewed after the backup: the new one works after the restore, the old one does not."""
    target.token = f"renewed-{secrets.token_hex(24)}"
    result = target.restore(taken)
    assert "failed" not in result, result
    assert result["operator_token_set"]
    assert not InfluxApi(target.url, source[0].token).accepts_token(taken.facts["organisation"])
    verified = target.verify(taken, scoped_tokens={"market-data-service": taken.facts["scoped_token"]})
    assert "failed" not in verified, verified
    # The rewritten metadata file is one that the server goes on writing to.
    made = target.api.json("/api/v2/authorizations")["authorizations"]
    assert len(made) == len(taken.content["inventory"]["authorisations"])
    docker("restart", "--time", "5", target.id)
    target.api.await_ready(30)
    assert target.api.accepts_token(taken.facts["organisation"])


def test_an_expired_shard_is_left_out(target: Platform, taken: Taken) -> None:
    """Neither restored nor expected."""
    content = json.loads(json.dumps(taken.content))
    shards = [one for one in content["shards"] if one["bucket_id"] == taken.facts["buckets"]["market-data"]]
    oldest = min(shards, key=lambda one: str(one["starts_at"]))
    oldest["retention_seconds"] = 86400
    result = target.restore(taken, content=content)
    assert (result.get("failed"), result.get("expired")) == (None, [oldest["id"]])
    verified = target.verify(taken, content=content)
    assert "failed" not in verified, verified
    lost = target.verify(taken)
    assert (lost.get("failed"), lost["error"]["code"]) == (True, "PRC-711")


def test_verify_names_what_differs(target: Platform, taken: Taken) -> None:
    """A deleted point, a task less and a foreign token are each found."""
    target.restore(taken)
    api, facts = target.api, taken.facts
    begin, end = iso_of(time.time_ns() - 2 * DAY), iso_of(time.time_ns() - DAY)
    api.delete(facts["organisation"], facts["buckets"]["market-data"], begin, end, 'symbol="GBPUSD"')
    api.json(f"/api/v2/tasks/{facts['task']}", "DELETE")
    result = target.verify(taken, scoped_tokens={"stranger": "no such token"})
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-711")
    bad = {one["name"] for one in result["checks"] if not one["ok"]}
    assert {"values in bucket market-data", "tasks with their ids", "token stranger is accepted"} <= bad
    assert "points in bucket analytics" not in bad


def test_late_points_make_the_backup_look_further_back(source: tuple[Platform, dict[str, Any]], tmp_path: Path) -> None:
    """Points arrive a minute late while the settling time is a second: taken again, until the figures hold."""
    platform, facts = source
    with Writer(platform, facts, late_seconds=60) as writer:
        started = time.time()
        result = platform.backup(tmp_path / "set", settle_seconds=2)
        assert writer.written > 10
    busy = max(result["content"]["shards"], key=lambda one: str(one["settled_before"]))
    market = [one for one in result["content"]["shards"] if one["bucket_id"] == facts["buckets"]["market-data"]]
    newest = max(market, key=lambda one: str(one["starts_at"]))
    assert newest["settled_before"] < iso_of(int((started - 60) * SECOND)), (newest, busy)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"buckets": ["no-such-bucket"]}, "PRC-706"),
        ({"buckets": ["_monitoring"]}, "PRC-706"),
        ({"organisation": "another"}, "PRC-706"),
        ({"token": "wrong"}, "PRC-703"),
        ({"url": "http://127.0.0.1:9"}, "PRC-703"),
    ],
)
def test_a_backup_of_the_wrong_thing_fails(
    source: tuple[Platform, dict[str, Any]], tmp_path: Path, inputs: dict[str, Any], code: str
) -> None:
    """An unknown or empty bucket, a wrong organisation, a wrong token, no server."""
    result = source[0].backup(tmp_path / "set", settle_seconds=5, **inputs)
    assert (result.get("failed"), result["error"]["code"]) == (True, code)
