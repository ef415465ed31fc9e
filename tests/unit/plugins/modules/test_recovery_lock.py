# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock as backups take it: ids of their own, and waiting for each other."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.platform3.recovery.plugins.module_utils._state import append_entry

ENVIRONMENT_ID = "scratch-lock-0001"


class Place:
    """A state folder and a store."""

    def __init__(self, folder: Path) -> None:
        self.state, self.store = folder / "state", folder / "store"
        for one in (self.state, self.store):
            one.mkdir()
            (one / "environment_id").write_text(ENVIRONMENT_ID)

    def run(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.platform3.recovery.plugins.modules.recovery_lock")
        places = {"state_path": str(self.state), "store_path": str(self.store), "environment_id": ENVIRONMENT_ID}
        printed = io.StringIO()
        given = {**places, **arguments, "_ansible_check_mode": check_mode}
        with patch_module_args(given), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
        return result

    def back_up(self, **arguments: Any) -> dict[str, Any]:
        return self.run(kind="backup", scenario="backup", **arguments)

    def release(self, taken: dict[str, Any], outcome: str = "success") -> dict[str, Any]:
        return self.run(state="released", fence=taken["fence"], outcome=outcome)

    def step(self, taken: dict[str, Any], phase: str) -> None:
        """A step of PostgreSQL that ends well."""
        for event in ("step_started", "step_finished"):
            one = {**taken["fence"], "event": event, "phase": phase, "component": "postgresql", "name": "A step"}
            append_entry(str(self.state), taken["run"], one)

    def recover(self, *phases: str, scenario: str = "full") -> dict[str, Any]:
        """A run of recovery r-1 that comes as far as these phases."""
        details = {"components": ["postgresql"]} if scenario == "full" else {}
        taken = self.run(recovery_id="r-1", scenario=scenario, details=details)
        for phase in phases:
            self.step(taken, phase)
        return taken

    def runs(self, recovery_id: str) -> list[dict[str, Any]]:
        """What the journal says of each run's start."""
        lines = (self.state / recovery_id / "journal.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == "run_started"]

    @property
    def held_for(self) -> str | None:
        """What the lock is held for, None where it is free."""
        lock = self.state / "lock"
        return str(json.loads(lock.read_text())["scenario"]) if lock.exists() else None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_backup_gets_an_id_of_its_own_also_within_one_second(place: Place) -> None:
    ids = []
    for _ in range(3):
        taken = place.back_up()
        ids.append(taken["fence"]["recovery_id"])
        place.release(taken)
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"backup-\d{8}T\d{6}Z", one) for one in ids)


def test_a_second_backup_is_refused_at_once(place: Place) -> None:
    first = place.back_up()
    second = place.back_up()
    assert second["error"]["code"] == "PRC-308"
    assert f"backup {first['fence']['recovery_id']} is running" in second["msg"]


def test_a_backup_that_may_wait_takes_the_lock_when_it_is_given_back(place: Place) -> None:
    first = place.back_up()
    ended: list[float] = []

    def end() -> None:
        ended.append(time.monotonic())
        (place.state / "lock").unlink()

    threading.Timer(1.2, end).start()
    second = place.back_up(wait_seconds=20)
    assert ended and time.monotonic() - ended[0] < 5
    assert second["fence"]["recovery_id"] > first["fence"]["recovery_id"]
    assert second["fence"]["epoch"] == first["fence"]["epoch"] + 1


def test_waiting_ends(place: Place) -> None:
    place.back_up()
    begun = time.monotonic()
    assert place.back_up(wait_seconds=1)["error"]["code"] == "PRC-308"
    assert 1 <= time.monotonic() - begun < 5


def test_a_recovery_is_not_waited_for(place: Place) -> None:
    place.run(recovery_id="20261123T051700Z-full")
    begun = time.monotonic()
    refused = place.back_up(wait_seconds=20)
    assert refused["error"]["code"] == "PRC-308" and "20261123T051700Z-full" in refused["msg"]
    assert time.monotonic() - begun < 5


def test_a_recovery_outranks_a_backup_at_once_and_needs_its_id(place: Place) -> None:
    place.back_up()
    assert place.run(recovery_id="20261123T051700Z-full", wait_seconds=20)["changed"]
    assert place.run()["failed"]


def test_check_mode_neither_waits_nor_takes(place: Place) -> None:
    taken = place.back_up(check_mode=True)
    assert taken["fence"]["epoch"] == 0 and not (place.state / "lock").exists()
    place.back_up()
    begun = time.monotonic()
    assert place.back_up(check_mode=True, wait_seconds=20)["failed"]
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("given", [None, "2026-11-23T05:00:00.000Z"])
def test_the_incident_defaults_to_when_the_next_heartbeat_was_not_taken(place: Place, given: str | None) -> None:
    (place.state / "heartbeats").mkdir()
    log = place.state / "heartbeats/heartbeats.jsonl"
    taken_by_redis = '{"number": 1, "at": "2026-11-23T05:16:59.000Z", "redis": true}'
    taken_by_nobody = '{"number": 2, "at": "2026-11-23T05:17:00.000Z", "redis": null, "seconds": 0.004}'
    log.write_text(f"{taken_by_redis}\n{taken_by_nobody}\n")
    taken = place.run(recovery_id="r-1", details={"incident_at": given, "components": ["redis"]})
    assert taken["details"]["incident_at"] == (given or "2026-11-23T05:17:00.004Z")
    journal = (place.state / "r-1/journal.jsonl").read_text()
    assert json.loads(journal.splitlines()[0])["incident_at"] == taken["details"]["incident_at"]


def test_a_rollback_that_is_refused_gives_the_lock_back(place: Place) -> None:
    place.release(place.recover("assess", "isolate", "restore", "verify"))
    refused = place.recover("assess", scenario="rollback")
    assert place.release(refused, "untouched")["freed"] and place.held_for is None


def test_a_recovery_that_is_not_finished_keeps_its_lock_when_its_rollback_is_refused(place: Place) -> None:
    assert not place.release(place.recover("assess", "isolate"), "failed")["freed"]
    assert not place.release(place.recover("assess", scenario="rollback"), "untouched")["freed"]
    assert place.held_for == "full"
    blocked = place.run(recovery_id="r-2")
    assert "full_recovery.yml -e recovery_id=r-1" in blocked["msg"]
    assert place.recover()["run"] == 3


def test_a_rollback_that_is_half_done_keeps_the_lock_when_it_is_refused_afterwards(place: Place) -> None:
    place.release(place.recover("assess", "isolate", "restore", "verify"))
    place.recover("assess", "isolate", scenario="rollback")  # killed
    again = place.recover("assess", scenario="rollback")
    assert again["run"] == 2 and not place.release(again, "untouched")["freed"]
    assert place.held_for == "rollback"
    assert "playbooks/rollback.yml -e recovery_id=r-1" in place.run(recovery_id="r-2")["msg"]


def test_a_rollback_that_was_killed_while_it_only_looked_leaves_nothing_behind(place: Place) -> None:
    place.release(place.recover("assess", "isolate", "restore", "verify"))
    place.recover("assess", scenario="rollback")  # killed
    assert place.release(place.recover("assess", scenario="rollback"), "untouched")["freed"]


TARGET = "2026-11-23T05:00:00.000Z"


@pytest.mark.parametrize(
    ("scenario", "target", "code"),
    [
        ("point_in_time", "", None),
        ("point_in_time", TARGET, None),
        ("point_in_time", "2026-11-23T05:00:01.000Z", "PRC-311"),
        ("full", "", "PRC-311"),
        ("partial", "", "PRC-311"),
    ],
)
def test_a_recovery_goes_on_only_as_what_it_was_begun_as(
    place: Place, scenario: str, target: str, code: str | None
) -> None:
    begun = place.run(recovery_id="r-1", scenario="point_in_time", details={"target_time": TARGET})
    place.step(begun, "restore")
    again = place.run(recovery_id="r-1", scenario=scenario, details={"target_time": target}, goal_told=bool(target))
    if code:
        assert again["failed"] and again["error"]["code"] == code and "point_in_time_recovery.yml" in again["msg"]
        assert json.loads((place.state / "lock").read_text())["run"] == 1, "the run that holds it still does"
    else:
        assert again["run"] == 2 and again["details"]["target_time"] == TARGET


@pytest.mark.parametrize(("told", "refused"), [({}, False), ({"value": "771"}, False), ({"value": "772"}, True)])
def test_a_recovery_to_a_transaction_goes_on_to_the_same(place: Place, told: dict[str, str], refused: bool) -> None:
    first = {"target_time": TARGET, "wal_target": {"kind": "xid", "value": "771"}}
    place.step(place.run(recovery_id="r-1", scenario="point_in_time", details=first), "restore")
    details = {"target_time": TARGET if told else "", "wal_target": {"kind": "xid", **told} if told else {}}
    again = place.run(recovery_id="r-1", scenario="point_in_time", details=details, goal_told=bool(told))
    if refused:
        assert again["error"]["code"] == "PRC-311"
        assert f"to {TARGET} of transaction 772: it was begun" in again["msg"] and "transaction 771" in again["msg"]
    else:
        assert again["details"] == {**first, "scenario": "point_in_time"}


@pytest.mark.parametrize(
    ("components", "told", "code"),
    [(["redis"], True, None), (["postgresql"], True, "PRC-311"), (["postgresql", "redis", "influxdb"], False, None)],
)
def test_a_partial_recovery_goes_on_with_its_components(
    place: Place, components: list[str], told: bool, code: str | None
) -> None:
    begun = place.run(recovery_id="r-1", scenario="partial", details={"components": ["redis"]})
    place.step(begun, "restore")
    again = place.run(recovery_id="r-1", scenario="partial", details={"components": components}, goal_told=told)
    if code:
        assert again["failed"] and again["error"]["code"] == code
        assert "partial recovery of postgresql" in again["msg"] and "partial recovery of redis" in again["msg"]
    else:
        assert again["run"] == 2 and again["details"]["components"] == ["redis"]
        assert [run["components"] for run in place.runs("r-1")] == [["redis"], ["redis"]], "barriers wait for these"


KEYS = {"redis": {"redis_key_patterns": ["session:*"], "redis_key_mode": "merge"}}


@pytest.mark.parametrize(
    ("parts", "told", "code"),
    [
        (KEYS, True, None),
        ({}, False, None),
        ({}, True, "PRC-311"),
        ({"redis": {"redis_key_patterns": ["a"]}}, True, "PRC-311"),
    ],
)
def test_a_recovery_of_chosen_parts_goes_on_with_these(
    place: Place, parts: dict[str, Any], told: bool, code: str | None
) -> None:
    details = {"components": ["redis"], "parts": KEYS}
    place.step(place.run(recovery_id="r-1", scenario="partial", details=details), "restore")
    again = place.run(recovery_id="r-1", scenario="partial", details={**details, "parts": parts}, goal_told=told)
    if code:
        assert again["error"]["code"] == code and "of redis only session:* (merge)" in again["msg"]
    else:
        assert again["details"]["parts"] == KEYS


def test_a_recovery_that_nobody_began_does_not_go_on_without_a_goal(place: Place) -> None:
    refused = place.run(recovery_id="r-1", scenario="point_in_time", details={"target_time": ""}, goal_told=False)
    assert refused["failed"] and refused["error"]["code"] == "PRC-312" and place.held_for is None
