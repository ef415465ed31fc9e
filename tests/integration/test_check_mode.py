# SPDX-License-Identifier: GPL-3.0-or-later
"""`full_recovery.yml --check` where everything is lost: it shows what would come, and makes nothing of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bad_input import LAB_INVENTORY, complete_sets, environment_id, playbook
from tests.integration.scratch import docker
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

STATE = Path("/opt/platform3/recovery")


def labelled() -> list[str]:
    """Containers and volumes that carry the lab's id, running or not."""
    label = f"label=platform3.recovery.environment={environment_id()}"
    listings = (["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"])
    return [name for listing in listings for name in docker(*listing, "--filter", label).split()]


@pytest.fixture
def backup() -> Iterator[Path]:
    """The set to recover from, with the platform lost; afterwards the platform serves again."""
    if not complete_sets():
        made = playbook(LAB_INVENTORY, "backup.yml")
        assert made.status == 0, made.text[-4000:]
    with contextlib.suppress(SystemExit):  # a test before this one may have lost it
        drill.lose_everything()
    yield complete_sets()[-1]
    recovered = playbook(LAB_INVENTORY, "full_recovery.yml")
    assert recovered.status == 0, recovered.text[-6000:]


def test_a_lost_platform_is_planned_and_left_lost(backup: Path) -> None:
    journals = sorted(STATE.glob("*/journal.jsonl"))
    shown = playbook(LAB_INVENTORY, "full_recovery.yml", "--check", "--diff")
    assert shown.status == 0, shown.text[-6000:]
    assert backup.name in shown.text, "the plan names the set"
    for component in ("postgresql", "redis", "influxdb", "app_services"):
        assert component in shown.text
    assert labelled() == []
    assert sorted(STATE.glob("*/journal.jsonl")) == journals
    assert not (STATE / "lock").exists()


def test_a_damaged_set_fails_the_check_as_it_would_the_recovery(backup: Path) -> None:
    damaged = next(backup.glob("*.rdb"), None) or next(backup.rglob("*.rdb"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        shown = playbook(LAB_INVENTORY, "full_recovery.yml", "--check", "-e", f"recovery_backup_set={backup.name}")
    finally:
        damaged.write_bytes(whole)
    assert shown.status != 0
    assert damaged.name in shown.text
    assert labelled() == []
    assert not (STATE / "lock").exists()
