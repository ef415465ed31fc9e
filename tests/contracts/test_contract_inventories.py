# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories hold the same facts, and only the lab's presets its confirmations."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.contracts.tree import ROOT, load, tool

GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())
LAB_ONLY = {"lab_root", "lab_secrets", "recovery_confirm", "recovery_replace_running"}


def facts(inventory: str) -> dict[str, Any]:
    """What an inventory says of its platform, templates as they stand."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "inventories" / inventory / "group_vars/all").glob("*.yml")):
        if path.name != "vault.yml":
            found |= load(path)
    return found


def test_the_inventories_are_there() -> None:
    assert {"lab", "production"} <= set(INVENTORIES)


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_ansible_reads_it_and_each_group_has_one_host(inventory: str) -> None:
    done = subprocess.run(
        [tool("ansible-inventory"), "--inventory", f"inventories/{inventory}", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {name: len(listed[name]["hosts"]) for name in GROUPS} == dict.fromkeys(GROUPS, 1)


@pytest.mark.parametrize("inventory", [name for name in INVENTORIES if name != "lab"])
def test_it_states_every_fact_that_the_lab_states(inventory: str) -> None:
    assert set(facts("lab")) - LAB_ONLY - set(facts(inventory)) == set()


@pytest.mark.parametrize("inventory", [name for name in INVENTORIES if name != "lab"])
def test_only_the_lab_presets_a_confirmation(inventory: str) -> None:
    assert {"recovery_confirm", "recovery_replace_running"} & set(facts(inventory)) == set()


def test_the_objectives_are_the_platforms() -> None:
    rto = facts("production")["recovery_objectives"]["rto"]
    assert {name: (one["target_seconds"], one["maximum_seconds"]) for name, one in rto.items()} == {
        "postgresql": (300, 600),
        "redis": (180, 300),
        "influxdb": (600, 1200),
        "app_services": (300, 600),
        "complete_system": (900, 1800),
    }
