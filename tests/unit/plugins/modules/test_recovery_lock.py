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

    def release(self, taken: dict[str, Any]) -> dict[str, Any]:
        return self.run(state="released", fence=taken["fence"], outcome="success")


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
def test_the_incident_defaults_to_the_last_acknowledged_heartbeat(place: Place, given: str | None) -> None:
    (place.state / "heartbeats").mkdir()
    log = place.state / "heartbeats/heartbeats.jsonl"
    taken_by_redis = '{"number": 1, "at": "2026-11-23T05:16:59.000Z", "redis": true}'
    taken_by_nobody = '{"number": 2, "at": "2026-11-23T05:17:00.000Z", "redis": null}'
    log.write_text(f"{taken_by_redis}\n{taken_by_nobody}\n")
    taken = place.run(recovery_id="r-1", details={"incident_at": given, "components": ["redis"]})
    assert taken["details"]["incident_at"] == (given or "2026-11-23T05:16:59.000Z")
    journal = (place.state / "r-1/journal.jsonl").read_text()
    assert json.loads(journal.splitlines()[0])["incident_at"] == taken["details"]["incident_at"]
