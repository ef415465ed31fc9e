# SPDX-License-Identifier: GPL-3.0-or-later
"""When other data of InfluxDB was put in place, by journals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lives import lives_of, read_lives


def entry(event: str, epoch: int, at: str, **more: Any) -> str:
    made = {"at": f"2026-11-23T{at}.000Z", "event": event, "epoch": epoch, "recovery_id": "20261123T163658Z-full"}
    return json.dumps({**made, **more}) + "\n"


def step(epoch: int, at: str, phase: str, event: str = "step_finished", component: str = "influxdb") -> str:
    return entry(event, epoch, at, phase=phase, component=component, name="Restore", changed=True)


RECOVERY = (
    entry("run_started", 3, "16:37:01", scenario="full")
    + step(3, "16:37:10", "restore", component="redis")
    + step(3, "16:37:33", "restore")
    + step(3, "16:37:36", "verify")
    + entry("run_started", 4, "16:40:00", scenario="full")
    + step(4, "16:40:20", "restore")
)
ROLLBACK = entry("run_started", 6, "17:00:00", scenario="rollback") + step(6, "17:00:30", "quarantine")
RELEASE = entry("run_started", 7, "18:00:00", scenario="release_quarantine") + step(7, "18:00:05", "quarantine")


def test_a_recovery_put_its_data_in_place_once_over_all_its_runs() -> None:
    assert lives_of(RECOVERY) == {"3": "2026-11-23T16:37:33Z", "4": "2026-11-23T16:37:33Z"}


def test_a_rollback_is_another_exchange_and_a_release_is_none() -> None:
    found = lives_of(RECOVERY + ROLLBACK + RELEASE)
    assert (found["6"], found["7"]) == ("2026-11-23T17:00:30Z", "")


def test_what_did_not_end_exchanged_nothing() -> None:
    assert lives_of(entry("run_started", 3, "16:37:01") + step(3, "16:37:33", "restore", "step_failed")) == {}


def test_journals_of_all_recoveries_are_read_and_none_of_backups(tmp_path: Path) -> None:
    for name, text in (
        ("20261123T163658Z-full", RECOVERY),
        ("backup-20261123T170000Z", step(9, "17:00:00", "restore")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.jsonl").write_text(text)
    assert sorted(read_lives(str(tmp_path))) == ["3", "4"]
    assert read_lives(str(tmp_path / "none")) == {}
