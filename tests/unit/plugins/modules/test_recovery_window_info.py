# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of all datastores: of a store with signed sets and points; PostgreSQL's part needs a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _recovery_window_look
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import Stretch
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window_look import Asked, Looked
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_microseconds
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, FIRST, SECOND, THIRD, Store, run

ID = {"environment_id": ENVIRONMENT["environment_id"]}
BEFORE, BETWEEN, LATER = "2026-11-20T12:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z"
LOG = ("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")


def captured(set_id: str) -> str:
    return f"{set_id[:4]}-{set_id[4:6]}-{set_id[6:8]}T05:17:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three sets a day apart, each with a snapshot of Redis and a capture of InfluxDB."""
    made = Store(tmp_path)
    for set_id in (FIRST, SECOND, THIRD):
        made.make(set_id)
        manifest = made.manifest(set_id)
        manifest["started_at"], manifest["finished_at"] = captured(set_id), captured(set_id)
        manifest["components"]["redis"] = {"version": "8.0.2", "recovery_point": captured(set_id)}
        content = {"version": "2.7.12", "recovery_point": captured(set_id), "buckets": [], "shards": []}
        manifest["components"]["influxdb"] = content
        made.resign(set_id, manifest)
    (tmp_path / "state").mkdir()
    return made


@pytest.fixture
def wal(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """What PostgreSQL answers."""
    window = {"earliest": None, "latest": None, "gaps": [], "timelines": [], "abandoned": []}
    looked = Looked(window, [Stretch(parse_microseconds("2026-11-21T05:17:01Z"), parse_microseconds(LATER))])
    monkeypatch.setattr(_recovery_window_look, "look_at_postgresql", lambda *_given: looked)
    return looked


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """A shipped log of Redis that reaches from one instant to another."""
    seconds = [int(parse_microseconds(one) // 1_000_000) for one in LOG]
    head = b"REDIS0012\xfa\x05ctime\xc2" + seconds[0].to_bytes(4, "little")
    listing = [
        "life initial",
        "manifest 1 file appendonly.aof.1.base.rdb seq 1 type b",
        "manifest 1 file appendonly.aof.1.incr.aof seq 1 type i",
        "file appendonly.aof.1.base.rdb 100",
        "file appendonly.aof.1.incr.aof 5000",
        f"increment appendonly.aof.1.incr.aof {seconds[0] + 1} {seconds[1]}",
        f"base appendonly.aof.1.base.rdb {head.hex()}",
    ]
    (store.path / "aof").mkdir()
    text = "\n".join(listing)
    monkeypatch.setattr(_recovery_window_look, "look_without_volume", lambda *_given: lambda _script: text)


def ask(store: Store, **more: Any) -> dict[str, Any]:
    given = {"store_path": str(store.path), "state_path": str(store.path.parent / "state"), **ENVIRONMENT}
    given |= {"trusted_signers": store.signers, "redis_log_path": str(store.path / "aof"), "service": "postgresql"}
    compose = {"project": "none", "directory": "/nowhere", "files": ["compose.yaml"]}
    result = run("recovery_window_info", {**given, "image": "none", "stanza": "s", "compose": compose, **more})
    if "table" in result:
        assert max(len(line) for line in result["table"]) <= 100
    return result


def could(wal: Looked, target: str) -> None:
    more = {"backup_set": FIRST, "base_backup": "20261121-051700F", "segments": 3, "replay_bytes": 48 << 20}
    more |= {"stop_lsn": "0/9000000", "timeline": 1, "seconds": {"replay": 3.2, "whole": 14.0}}
    wal.answer = _recovery_window_look.reached(Asked(target), target, **more)


def test_without_a_target_each_window_and_what_they_share_is_told(store: Store, wal: Looked, log: None) -> None:
    found = ask(store)["window"]
    assert found["target"] is None
    influxdb = found["datastores"]["influxdb"]
    assert influxdb["stretches"] == [
        {"from": show_time(parse_microseconds(captured(FIRST))), "to": show_time(parse_microseconds(captured(THIRD)))}
    ]
    assert found["datastores"]["redis"]["window"]["snapshots"]["points"] == 3
    assert found["shared"]["stretches"] == [
        {"from": "2026-11-22T00:00:01.000000Z", "to": "2026-11-23T00:00:00.999999Z"}
    ]


def test_a_target_that_all_reach_says_what_is_read(store: Store, wal: Looked, log: None) -> None:
    could(wal, BETWEEN)
    result = ask(store, target_time=BETWEEN)
    target = result["window"]["target"]
    assert (target["reachable"], target["sentence"]) == (True, "all datastores can be brought there")
    assert target["backup_set"] == SECOND and target["nearest"] == dict.fromkeys(
        ("before", "after"), show_time(parse_microseconds(BETWEEN))
    )
    redis, influxdb = target["datastores"]["redis"], target["datastores"]["influxdb"]
    assert (redis["source"], redis["log"]["generation"], redis["skew_seconds"]) == ("log", 1, 0.0)
    assert (influxdb["backup_set"], influxdb["chain"], influxdb["bytes"] > 0) == (THIRD, [THIRD], True)
    text = "\n".join(result["table"])
    for told in ("20261121-051700F", "50.3 MB of WAL", "about 3.2 s, with all else about 00:14", "generation 1"):
        assert told in text


def test_of_a_target_that_one_cannot_reach_the_others_are_told_and_the_nearest(
    store: Store, wal: Looked, log: None
) -> None:
    could(wal, LATER)
    result = ask(store, target_time=LATER)
    target = result["window"]["target"]
    assert not target["reachable"]
    assert target["sentence"] == "postgresql and influxdb can be brought there, redis cannot"
    assert target["nearest"] == {"before": "2026-11-23T00:00:00.999999Z", "after": None}
    error = target["datastores"]["redis"]["error"]
    assert error["code"] == "PRC-625" and "2026-11-23T00:00:00.000Z is the nearest before it" in error["found"]
    text = "\n".join(result["table"])
    assert "CANNOT [PRC-625]" in text and "and nothing after it" in " ".join(text.split())


def test_before_the_window_no_set_may_be_taken_and_each_says_why(store: Store, wal: Looked, log: None) -> None:
    wal.answer = _recovery_window_look.refusal(
        RecoveryError("PRC-551", "a", "no base backup stopped before it", "b", "c")
    )
    target = ask(store, target_time=BEFORE)["window"]["target"]
    assert target["backup_set"] is None and not target["reachable"]
    assert target["sentence"].startswith(
        "no datastore can be brought there; no set was finished before it: none of the 3"
    )
    codes = {name: one["error"]["code"] for name, one in target["datastores"].items()}
    assert codes == {"postgresql": "PRC-551", "redis": "PRC-203", "influxdb": "PRC-760"}
    assert target["nearest"] == {"before": None, "after": "2026-11-22T00:00:01.000000Z"}


def test_what_lies_before_the_end_of_the_first_set_is_not_shared(store: Store, wal: Looked) -> None:
    manifest = store.manifest(FIRST)
    manifest["finished_at"] = "2026-11-21T05:19:00Z"
    store.resign(FIRST, manifest)
    could(wal, "2026-11-21T05:18:00Z")
    target = ask(store, target_time="2026-11-21T05:18:00Z")["window"]["target"]
    assert not target["reachable"] and "finished at 2026-11-21T05:19:00Z" in target["sentence"]
    assert target["nearest"] == {"before": None, "after": "2026-11-21T05:19:00.000000Z"}


def test_a_named_point_is_resolved_listed_and_asked_by_its_name(store: Store, wal: Looked, log: None) -> None:
    def put(name: str, at: str) -> None:
        given = {"store_path": str(store.path), "name": name, "at": at, "lsn": "0/1", "timeline": 1, "segment": "x"}
        fence = {"fence": {"recovery_id": "backup-20261123T051700Z", "epoch": 1}}
        assert run("restore_point", {**given, **ID, **fence, "by": "jane", "signing_key": store.key})["changed"]

    put("good", BETWEEN)
    put("late", LATER)
    could(wal, BETWEEN)
    found = ask(store, point_name="good")["window"]
    assert (found["target"]["time"], found["target"]["point_name"], found["target"]["reachable"]) == (
        BETWEEN,
        "good",
        True,
    )
    assert [(one["name"], one["reachable"]) for one in found["points"]] == [("late", False), ("good", True)]
    assert Asked(BETWEEN, "good").of_postgresql() == {"kind": "name", "value": "good"}
    assert Asked(BETWEEN).of_postgresql() == {"kind": "time", "value": BETWEEN}
    refused = ask(store, point_name="godo")
    assert refused["error"]["code"] == "PRC-851" and "good (2026-11-22 12:00:00Z), late" in refused["error"]["found"]


def test_a_transaction_is_resolved_by_postgresql_and_the_others_are_asked_for_its_instant(
    store: Store, wal: Looked, log: None
) -> None:
    could(wal, BETWEEN)
    asked = {"wal_target": {"kind": "xid", "value": "771"}}
    result = ask(store, **asked)
    target = result["window"]["target"]
    assert (target["time"], target["wal_target"], target["backup_set"]) == (BETWEEN, asked["wal_target"], SECOND)
    assert target["reachable"] and target["datastores"]["influxdb"]["backup_set"] == THIRD
    assert any(f"== TARGET {BETWEEN} (transaction 771) " in line for line in result["table"])
    assert Asked("", wal=asked["wal_target"]).of_postgresql() == asked["wal_target"]
    wal.answer = _recovery_window_look.refusal(RecoveryError("PRC-555", "a", "no transaction 771 ended", "b", "c"))
    assert ask(store, **asked)["error"] == wal.answer["error"]
    assert ask(store, wal_target={"kind": "lsn", "value": "16"})["error"]["code"] == "PRC-550"


def test_without_a_log_snapshots_stand_in_and_say_how_far_off_they_are(store: Store, wal: Looked) -> None:
    could(wal, BETWEEN)
    found = ask(store, target_time=BETWEEN)["window"]
    redis = found["target"]["datastores"]["redis"]
    assert (redis["source"], redis["reached_at"]) == ("snapshot", "2026-11-22T05:17:00.000Z")
    assert redis["skew_seconds"] == 6 * 3600 + 43 * 60
    assert any("there is no" in one for one in found["problems"])


def test_a_time_without_offset_is_refused(store: Store, wal: Looked) -> None:
    error = ask(store, target_time="2026-11-22T12:00:00")["error"]
    assert error["code"] == "PRC-102" and "offset" in error["found"]


def test_the_set_is_the_one_that_a_recovery_would_choose(store: Store) -> None:
    condemned = {"state": "condemned", "reason": "a test", "by": "jane", "signing_key": store.key}
    state = str(store.path.parent / "state")
    shared = {"state_path": state, "store_path": str(store.path), "trusted_signers": store.signers}
    assert run("backup_set_state", {**shared, **condemned, "backup_set": SECOND})["changed"]
    entries, _ignored = read_store(str(store.path), state, ID["environment_id"], store.signers)
    assert _recovery_window_look.set_for(entries, ENVIRONMENT, Asked(BETWEEN))["backup_set"] == FIRST
    looked = store.look(backup_set="latest", not_after=BETWEEN, state_path=state)
    assert looked["set"]["id"] == FIRST


def test_a_store_without_sets_reaches_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "state").mkdir()
    nowhere = ask(store, wal_target={"kind": "lsn", "value": "0/5000118"})["error"]
    assert nowhere["code"] == "PRC-551" and "give the instant as recovery_target_time" in nowhere["next_step"]
    result = ask(store, target_time=BETWEEN)
    found = result["window"]
    assert found["shared"] == {"stretches": [], "gaps": []} and not found["target"]["reachable"]
    assert "no usable set names a base backup of PostgreSQL" in found["problems"]
    rows = {
        line.split()[0]: line.split()[3:]
        for line in result["table"]
        if "NONE    " in line and "all together" not in line
    }
    assert rows == {"postgresql": ["see", "PROBLEM"], "redis": ["0", "snapshots,", "no", "log"],
                    "influxdb": ["no", "usable", "set", "holds", "it"]}  # fmt: skip
