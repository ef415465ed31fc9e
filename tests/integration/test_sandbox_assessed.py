# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox is assessed and given up where there is no platform: its state is its own, and nothing of it is left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._expiry import sandbox_sets

from tests.integration.store_stage import AT, NAME, named_store, playbook
from tests.unit.plugins.modules.set_stage import SECOND, THIRD, Store

pytestmark = pytest.mark.integration


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return named_store(tmp_path)


def assess(store: Store) -> subprocess.CompletedProcess[str]:
    """The first play of a sandbox alone: inputs, name, sets, lock."""
    include = {"name": "platform3.recovery.sandbox", "tasks_from": "assess"}
    tasks = [{"name": "Assess", "ansible.builtin.include_role": include}]
    play = {"name": "Assess", "hosts": "backup_store", "gather_facts": False, "tasks": tasks}
    path = store.path.parent / "play.json"
    path.write_text(json.dumps([play]))
    return playbook(store, str(path), recovery_into="sandbox", recovery_point_name=NAME)


def left_by_the_platform(store: Store) -> set[str]:
    """What lies in the platform's own state."""
    return {path.name for path in (store.path.parent / "state").iterdir()} - {"sandbox", ".flock", "environment_id"}


def test_a_sandbox_is_assessed_under_a_lock_of_its_own_and_dropped(store: Store) -> None:
    path = store.path.parent / "state/sandbox"
    assert sandbox_sets(str(path)) == frozenset()
    done = assess(store)
    assert done.returncode == 0, done.stdout + done.stderr
    started = json.loads((path / "sandbox/journal.jsonl").read_text().splitlines()[0])
    assert (started["scenario"], started["target_time"], started["point_name"]) == ("sandbox", AT, NAME)
    # InfluxDB comes back from a set that was captured after the point: an expiry keeps both.
    assert (started["backup_set"], started["backup_sets"]) == (SECOND, [SECOND, THIRD])
    assert sandbox_sets(str(path)) == {SECOND, THIRD}
    assert json.loads((path / "lock").read_text())["recovery_id"] == "sandbox"
    assert left_by_the_platform(store) == set()

    again = assess(store)
    assert again.returncode != 0 and "PRC-430" in again.stdout
    look = playbook(store, "playbooks/sandbox_look.yml")
    assert look.returncode != 0 and "PRC-436" in look.stdout

    dropped = playbook(store, "playbooks/sandbox_drop.yml")
    assert dropped.returncode == 0, dropped.stdout + dropped.stderr
    assert not path.exists() and left_by_the_platform(store) == set()


def test_a_sandbox_that_is_refused_leaves_nothing_behind(store: Store) -> None:
    done = playbook(store, "point_in_time_recovery.yml", recovery_into="sandbox", recovery_point_name=NAME)
    assert done.returncode != 0, done.stdout
    # The set was verified, and every datastore was asked.
    assert "[PRC-434] Could not make the sandbox: postgresql, redis, influxdb failed the preflight" in done.stdout
    assert "Describe the sandbox of this datastore" in done.stdout and "PRC-436" not in done.stdout
    assert not (store.path.parent / "state/sandbox").exists() and left_by_the_platform(store) == set()
