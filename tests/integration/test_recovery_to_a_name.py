# SPDX-License-Identifier: GPL-3.0-or-later
"""A recovery to a restore point's name is assessed: resolved before the set is chosen, or refused with the nearest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scratch import ROOT
from tests.integration.store_stage import AT, NAME, named_store, playbook
from tests.unit.plugins.modules.set_stage import SECOND, THIRD, Store

pytestmark = pytest.mark.integration


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return named_store(tmp_path)


def assess(store: Store, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The first phase of a point-in-time recovery: inputs, name, sets, lock; and what the datastores are told."""
    include = {"name": "platform3.recovery.recovery", "tasks_from": "assess"}
    told = "{'set': recovery_set.id, 'time': recovery_point_in_time, 'postgresql': postgresql_target}"
    tasks = [
        {"name": "Assess", "ansible.builtin.include_role": include, "vars": {"recovery_scenario": "point_in_time"}},
        {"name": "Roles", "ansible.builtin.include_vars": str(ROOT / "roles/recovery/defaults/main.yml")},
        {"name": "Roles", "ansible.builtin.include_vars": str(ROOT / "roles/postgresql/defaults/main.yml")},
        {"name": "Show", "ansible.builtin.debug": {"msg": f"TOLD {{{{ {told} | to_json }}}} END"}},
    ]
    play = {"name": "Assess", "hosts": "backup_store", "gather_facts": False, "tasks": tasks}
    path = store.path.parent / "play.json"
    path.write_text(json.dumps([play]))
    return playbook(store, str(path), **inputs)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the datastores were told."""
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout.partition("TOLD ")[2].partition(" END")[0]
    found: dict[str, Any] = json.loads(text.replace('\\"', '"'))
    return found


def test_a_name_is_resolved_for_all_and_postgresql_is_told_the_name(store: Store) -> None:
    found = told(assess(store, recovery_point_name=NAME, recovery_id="r-1"))
    assert found == {"set": SECOND, "time": AT, "postgresql": {"kind": "name", "value": NAME}}
    path = store.path.parent / "state/r-1/journal.jsonl"
    started = json.loads(path.read_text().splitlines()[0])
    assert (started["target_time"], started["point_name"], started["backup_set"]) == (AT, NAME, SECOND)
    # It goes on with the same point.
    assert told(assess(store, recovery_point_name=NAME, recovery_id="r-1")) == found
    # Had it been begun to a transaction, it would go on to that without being told again.
    wanted = {"kind": "xid", "value": "771"}
    later = path.read_text().splitlines()[1:]
    path.write_text("\n".join([json.dumps({**started, "point_name": "", "wal_target": wanted}), *later, ""]))
    assert told(assess(store, recovery_id="r-1")) == {"set": SECOND, "time": AT, "postgresql": wanted}


def test_a_time_is_told_as_a_time(store: Store) -> None:
    found = told(assess(store, recovery_target_time="2026-11-23T13:00:00+01:00"))
    at = "2026-11-23T12:00:00.000Z"
    assert found == {"set": THIRD, "time": at, "postgresql": {"kind": "time", "value": at}}


def test_an_unknown_name_ends_it_before_the_lock(store: Store) -> None:
    done = assess(store, recovery_point_name="before-release-8")
    assert done.returncode != 0 and "PRC-851" in done.stdout
    assert f"{NAME} (2026-11-22 12:00:00Z)" in done.stdout
    assert {path.name for path in (store.path.parent / "state").iterdir()} <= {"environment_id", ".flock"}


def test_a_point_that_could_not_be_set_gives_the_lock_back_and_its_name_stays_free(store: Store) -> None:
    done = playbook(store, "playbooks/restore_point.yml", recovery_point_name="another")
    assert done.returncode != 0 and f"{store.path.parent.name}-none" in done.stdout
    assert not (store.path.parent / "state/lock").exists()
    assert [path.name for path in (store.path / "restore_points").iterdir()] == [f"{NAME}.json"]
    twice = playbook(store, "playbooks/restore_point.yml", recovery_point_name=NAME)
    assert twice.returncode != 0 and "PRC-850" in twice.stdout


def test_the_window_is_shown_and_written_also_where_wal_cannot_be_read(store: Store) -> None:
    path = store.path.parent / "window.json"
    done = playbook(store, "playbooks/recovery_window.yml", recovery_point_name=NAME, recovery_window_file=str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    target = json.loads(path.read_text())["target"]
    assert target["sentence"] == "redis and influxdb can be brought there, postgresql cannot"
    assert "RECOVERY WINDOW of" in done.stdout and f"restore point {NAME}" in done.stdout
