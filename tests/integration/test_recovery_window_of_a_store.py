# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of all datastores on a real repository: a named point, a target, a gap, what cannot be reached."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import ARRIVAL_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._restore_points import FOLDER
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

from tests.integration.catalog_stage import INCREMENT, MIDDLE, OLDEST, Store
from tests.integration.postgresql_stage import Stage

pytestmark = pytest.mark.integration
NAME = "before-release-7"


class TimedStore(Store):
    """Whose sets say when Redis and InfluxDB were captured."""

    @staticmethod
    def _small(folder: Path, component: str) -> dict[str, Any]:
        made = Store._small(folder, component)
        made["content"] |= {"recovery_point": to_iso(time.time()), "buckets": [], "shards": []}
        return made

    def window(self, **arguments: Any) -> dict[str, Any]:
        """The window, and its table as one text."""
        given = {**self.shared(), "environment": "test", **arguments}
        result = self.good(self.stage.module("recovery_window_info", **given))
        assert max(len(line) for line in result["table"]) <= 100
        return {**result["window"], "text": " ".join(" ".join(result["table"]).split())}


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TimedStore, dict[str, Any], float]]:
    """A set, orders, a restore point, orders, a set, orders, an increment of InfluxDB; the database is gone.

    Gives the point too, and a time before it.
    """
    stage = Stage(tmp_path_factory.mktemp("stage"))
    try:
        stage.start()
        store = TimedStore(stage, tmp_path_factory.mktemp("made"))
        shutil.copy(stage.folder / "compose.env", store.folder / "compose.env")
        store.make(OLDEST)
        # pgBackRest names the end of a backup by the second.
        time.sleep(1.1)
        stage.trade(10, switches=2)
        asked_at = float(stage.superuser("SELECT extract(epoch FROM clock_timestamp())"))
        shared = stage.shared("p-1", 1)
        del shared["backup_store_path"]
        point = stage.module("postgresql_restore_point", **shared, name=NAME, at_second=True)
        assert point["changed"], point
        given = {name: point[name] for name in ("name", "at", "lsn", "timeline", "segment")}
        given |= {"store_path": str(store.path), "environment_id": stage.id, "by": "jane", "signing_key": store.key}
        store.good(stage.module("restore_point", fence=shared["fence"], **given))
        stage.trade(10, switches=2)
        # A set of InfluxDB that was captured sooner than points may arrive is passed over.
        time.sleep(max(0.0, parse_iso(str(point["at"])) + ARRIVAL_SECONDS + 1 - time.time()))
        store.make(MIDDLE)
        time.sleep(1.1)
        stage.trade(10, switches=2)
        stage.await_streamed()
        stage.await_archived()
        store.make(INCREMENT, "increment")
        stage.lose()
        yield store, point, asked_at
    finally:
        stage.clean()


def test_a_point_waits_for_the_beginning_of_a_second(made: tuple[TimedStore, dict[str, Any], float]) -> None:
    _store, point, asked_at = made
    assert parse_iso(point["at"]) >= int(asked_at) + 1


def test_the_window_is_what_all_share_and_lists_the_point(made: tuple[TimedStore, dict[str, Any], float]) -> None:
    store, point, _asked_at = made
    found = store.window()
    assert found["problems"] == ["Redis: no log is shipped here (redis_log_shipping)"]
    own = {name: one["stretches"] for name, one in found["datastores"].items()}
    assert all(len(one) == 1 for one in own.values()), own
    assert len(found["shared"]["stretches"]) == 1
    shared = found["shared"]["stretches"][0]
    assert parse_iso(shared["from"]) >= max(parse_iso(one[0]["from"]) for one in own.values())
    assert parse_iso(shared["to"]) == min(parse_iso(one[0]["to"]) for one in own.values())
    assert [(one["name"], one["lsn"], one["reachable"]) for one in found["points"]] == [(NAME, point["lsn"], True)]
    assert found["datastores"]["postgresql"]["window"]["timelines"][0]["timeline"] == 1


def test_a_named_point_says_what_is_read_and_how_long_it_takes(made: tuple[TimedStore, dict[str, Any], float]) -> None:
    store, point, _asked_at = made
    found = store.window(point_name=NAME, replay={"bytes_per_second": 1 << 20, "other_seconds": 9.0})
    target = found["target"]
    assert target["reachable"] and (target["time"], target["backup_set"]) == (point["at"], OLDEST)
    wal = target["datastores"]["postgresql"]
    assert (wal["base_backup"], wal["backup_set"]) == (store.label_of(OLDEST), OLDEST)
    assert wal["last_segment"] == point["segment"] and wal["replay_bytes"] > 0
    assert wal["seconds"] == {
        "replay": round(wal["replay_bytes"] / (1 << 20), 1),
        "whole": round(wal["replay_bytes"] / (1 << 20) + 9.0, 1),
    }
    assert target["datastores"]["influxdb"]["backup_set"] == MIDDLE
    assert f"restore point {NAME}" in found["text"] and store.label_of(OLDEST) in found["text"]


def test_a_transaction_and_its_position_have_the_instant_of_its_commit(
    made: tuple[TimedStore, dict[str, Any], float],
) -> None:
    store, point, _asked_at = made
    commit = store.window(point_name=NAME)["target"]["datastores"]["postgresql"]["last_commit"]
    assert parse_iso(commit["at"]) < parse_iso(point["at"])
    for kind, value in (("xid", str(commit["xid"])), ("lsn", commit["lsn"])):
        wanted = {"kind": kind, "value": value}
        resolved = store.good(store.stage.module("postgresql_target_info", **store.shared(), target=wanted))
        assert (resolved["at"], resolved["plan"]["last_commit"]) == (commit["at"], commit)
    target = store.window(wal_target=wanted)["target"]
    assert (target["time"], target["reachable"]) == (commit["at"], True)
    assert target["datastores"]["postgresql"]["skew_seconds"] == 0.0
    logical = store.stage.module("postgresql_target_info", **store.shared(), target=wanted, method="logical")
    assert logical["error"]["code"] == "PRC-559"


def test_a_target_behind_the_wal_is_refused_in_the_words_of_the_restore(
    made: tuple[TimedStore, dict[str, Any], float],
) -> None:
    store, _point, _asked_at = made
    target = store.window(target_time="2099-01-01T00:00:00Z")["target"]
    assert not target["reachable"] and target["nearest"]["after"] is None
    codes = {name: (one["error"] or {}).get("code") for name, one in target["datastores"].items()}
    assert codes == {"postgresql": "PRC-552", "redis": None, "influxdb": "PRC-761"}
    said = target["datastores"]["postgresql"]["error"]["found"]
    assert "the latest point that can be reached is" in said
    assert target["sentence"] == "redis can be brought there, postgresql and influxdb cannot"
    assert target["nearest"]["before"] == store.window()["shared"]["stretches"][-1]["to"]


def test_in_a_gap_both_sides_are_named(tmp_path: Path, made: tuple[TimedStore, dict[str, Any], float]) -> None:
    whole, point, _asked_at = made
    store = TimedStore(whole.stage, tmp_path, whole)
    lost = next(path for path in store.segments() if path.name.startswith(point["segment"]))
    lost.unlink()
    for copy in (store.path / "wal-stream").rglob(f"{point['segment']}*"):
        copy.unlink()
    found = store.window(target_time=point["at"])
    target = found["target"]
    error = target["datastores"]["postgresql"]["error"]
    assert error["code"] == "PRC-553" and f"{point['segment']} is missing" in error["found"]
    assert target["sentence"] == "redis and influxdb can be brought there, postgresql cannot"
    at = parse_iso(point["at"])
    assert parse_iso(target["nearest"]["before"]) < at < parse_iso(target["nearest"]["after"])
    for near in target["nearest"].values():
        assert store.window(target_time=near)["target"]["reachable"], near
    assert [one["reachable"] for one in found["points"]] == [False]
    shutil.rmtree(store.path / FOLDER)
    refused = store.stage.module("recovery_window_info", **store.shared(), environment="test", point_name=NAME)
    assert refused["error"]["code"] == "PRC-856"
