# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback that cannot be: refused before anything is taken away, and the lock is free again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.platform3.recovery.plugins.module_utils._state import append_entry

from tests.integration.bad_input import LAB_INVENTORY, ROOT, Ended, playbook

pytestmark = [pytest.mark.integration, pytest.mark.lab]

ENVIRONMENT_ID = "scratch-rollback"
RECOVERY = "20261123T051700Z-full"


class Place:
    """An environment of its own, without a container or a volume, whose recovery has ended well."""

    def __init__(self, folder: Path) -> None:
        self.inventory, self.state = folder / "inventory", folder / "state"
        shutil.copytree(LAB_INVENTORY, self.inventory)
        self.hosts: dict[str, Any] = yaml.safe_load((LAB_INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
        for place in (self.state, folder / "store/fence"):
            place.mkdir(parents=True)
        for place in (self.state, folder / "store"):
            (place / "environment_id").write_text(ENVIRONMENT_ID, encoding="utf-8")
        given = {
            "lab_root": str(ROOT),
            "recovery_environment_id": ENVIRONMENT_ID,
            "recovery_state_path": str(self.state),
            "backup_store_path": str(folder / "store"),
            "recovery_compose": {"project": ENVIRONMENT_ID, "directory": str(folder), "files": ["compose.yaml"]},
            "postgresql_port": 1,
            "postgresql_password": "unused",
        }
        (self.inventory / "group_vars/all/zz_test.yml").write_text(yaml.safe_dump(given), encoding="utf-8")
        for event in (
            {"event": "run_started", "epoch": 1},
            {"event": "run_finished", "epoch": 1, "outcome": "success"},
        ):
            append_entry(str(self.state), 1, {"recovery_id": RECOVERY, **event})

    def lose(self, component: str) -> None:
        """Put a component on a host that cannot be reached."""
        lost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        self.hosts["all"]["children"][component]["hosts"] = {f"lost-{component}": lost}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(self.hosts), encoding="utf-8")

    def roll_back(self) -> Ended:
        return playbook(self.inventory, "playbooks/rollback.yml", "--extra-vars", f"recovery_id={RECOVERY}")

    def phases(self) -> set[str]:
        """The phases of which the journal tells."""
        lines = (self.state / RECOVERY / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return {entry["phase"] for entry in map(json.loads, lines) if "phase" in entry}


@pytest.mark.parametrize("lost", [("redis",), ("postgresql", "redis", "influxdb", "app_services")])
def test_where_there_is_nothing_to_put_back_nothing_is_taken_away(tmp_path: Path, lost: tuple[str, ...]) -> None:
    place = Place(tmp_path)
    for component in lost:
        place.lose(component)
    ended = place.roll_back()
    assert ended.status != 0
    assert "The rollback was not begun, and nothing was changed" in ended.text
    reasons = dict.fromkeys(("postgresql", "redis", "influxdb"), "refuses (PRC-407)")
    reasons |= {"app_services": "refuses (PRC-408)"} | dict.fromkeys(lost, "did not answer")
    assert all(f"{component} {reason}" in ended.text for component, reason in reasons.items()), ended.text[-4000:]
    assert "The lock is free again." in ended.text and not (place.state / "lock").exists()
    assert place.phases() == {"assess"}
