# SPDX-License-Identifier: GPL-3.0-or-later
"""Exposure on the lab, and the loss after an increment as heartbeats measure it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._chains import sets_needed
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import last_acknowledged, read_log
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.integration.bad_input import LAB_INVENTORY, ROOT, STORE, complete_sets, playbook
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

STATE = Path("/opt/platform3/recovery")
# A heartbeat each second, a second to write it, and what stopping the containers takes.
HEARTBEAT_SECONDS = 4.0


def await_heartbeat() -> None:
    """Until every datastore has taken a marker in this second or the one before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        entries = read_log(str(STATE))
        newest = entries[-1] if entries else {}
        every = all(newest.get(name) for name in ("postgresql", "redis", "influxdb"))
        if every and time.time() - parse_iso(str(newest["at"])) < 2:
            return
        time.sleep(0.2)
    pytest.fail("no heartbeat is taken by every datastore")


def recovered() -> dict[str, object]:
    """The report of a full recovery that ended well."""
    done = playbook(LAB_INVENTORY, "full_recovery.yml")
    assert done.status == 0, done.text[-6000:]
    report: dict[str, object] = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    return report


def test_what_is_lost_after_an_increment_is_what_was_exposed() -> None:
    full = playbook(LAB_INVENTORY, "backup.yml")
    assert full.status == 0, full.text[-4000:]
    increment = playbook(LAB_INVENTORY, "backup.yml", "-e", "backup_set_kind=increment")
    assert increment.status == 0, increment.text[-4000:]
    taken = complete_sets()[-1]
    manifest = json.loads((taken / "backup_manifest.json").read_text(encoding="utf-8"))
    assert manifest["parent"] and manifest["chains"]["influxdb"][-1] == taken.name
    await_heartbeat()
    exposed = playbook(LAB_INVENTORY, "playbooks/exposure.yml")
    assert exposed.status == 0, exposed.text[-4000:]

    drill.lose_everything()
    lost_at = time.time()
    logged = last_acknowledged(read_log(str(STATE)))
    assert logged is not None
    report = recovered()
    assert report["backup_set"] == taken.name
    incident_at = parse_iso(str(report["incident_at"]))
    assert 0 < incident_at - parse_iso(logged) <= HEARTBEAT_SECONDS, "lost at the latest when the next one was due"
    assert abs(incident_at - lost_at) < HEARTBEAT_SECONDS
    rpo = report["rpo"]
    assert isinstance(rpo, dict)
    # Streamed and shipped: a heartbeat or two. Market data: since the increment, which is newer than its set's name.
    assert rpo["trading_transactions"]["seconds"] <= HEARTBEAT_SECONDS
    assert rpo["user_sessions"]["seconds"] <= HEARTBEAT_SECONDS
    begun = parse_iso(str(manifest["started_at"]))
    assert 0 < rpo["market_data"]["seconds"] <= incident_at - begun + HEARTBEAT_SECONDS
    assert {rpo[name]["verdict"] for name in ("trading_transactions", "market_data", "user_sessions")} == {"met"}


def await_second_copy(after: float) -> None:
    """Until everything that the store held at an instant is off the machine."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        state = json.loads((STATE / "second_copy/state.json").read_text(encoding="utf-8"))
        reached = [state.get(lane, {}).get("good_started_at") for lane in ("stream", "store")]
        if all(one and parse_iso(one) > after for one in reached):
            return
        time.sleep(0.5)
    pytest.fail(f"the second copy did not follow: {state}")


def test_the_machine_is_lost_with_its_store_and_the_second_copy_brings_it_back() -> None:
    taken = complete_sets()[-1]
    manifest = json.loads((taken / "backup_manifest.json").read_text(encoding="utf-8"))
    await_second_copy(after=time.time())
    drill.lose_everything()
    lost_at = time.time()
    for path in STORE.iterdir():
        if path.name != "environment_id":
            shutil.rmtree(path)
    report = recovered()
    fetched = report["evidence"]["second_copy"]  # type: ignore[index]
    assert report["backup_set"] == fetched["backup_set"] == taken.name
    assert [path.name for path in complete_sets()] == sets_needed(manifest), "what it builds on was fetched as well"
    rpo = report["rpo"]
    assert isinstance(rpo, dict)
    begun = parse_iso(str(manifest["started_at"]))
    assert 0 < rpo["market_data"]["seconds"] <= lost_at - begun + HEARTBEAT_SECONDS
    assert {rpo[name]["verdict"] for name in ("trading_transactions", "user_sessions")} == {"met"}


def test_a_backup_that_did_not_run_is_told(tmp_path: Path) -> None:
    objectives = json.dumps({"recovery_objectives": {"rpo": {"market_data": {"target_seconds": 0}}}})
    textfile = tmp_path / "exposure.prom"
    told = playbook(
        LAB_INVENTORY, "playbooks/exposure.yml", "-e", objectives, "-e", f"backup_set_exposure_textfile={textfile}"
    )
    assert told.status != 0
    assert "PRC-370" in told.text
    assert "market_data, volumes gone" in told.text
    assert 'data="market_data",loss="volumes"' in textfile.read_text(encoding="utf-8")
