# SPDX-License-Identifier: GPL-3.0-or-later
"""schedule.yml without an init system: units that systemd accepts, whose very command lines are run, and alarms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.bad_input import ROOT, Ended, playbook
from tests.integration.units import verified

pytestmark = [pytest.mark.integration, pytest.mark.lab]

JOBS: list[dict[str, Any]] = [
    # Ends well, and has every character in it that a unit's line could trip over.
    {
        "name": "schedule-again",
        "playbook": "schedule.yml",
        "extra_vars": {"recovery_report_dir": "a b \"c\" 'd' \\ % $HOME ${HOME} ; é"},
        "on_calendar": "*-*-* *:*:00",
        "randomized_delay_seconds": 5,
        "timeout_seconds": 60,
    },
    # Ends with an error of ours: there is no store.
    {
        "name": "backup-full",
        "playbook": "backup.yml",
        "extra_vars": {"backup_set_wait_seconds": 1},
        "on_calendar": "*-*-* 01:30:00 UTC",
        "timeout_seconds": 120,
    },
]


# What lies in the folder already, and is nobody's business.
OTHERS = {"other.service": "x", "platform3-theirs.service": "# somebody's\n[Service]\n"}


class Schedule:
    """An inventory of its own, and the folder that its units are written to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.units, self.inventory = folder, folder / "units", folder / "inventory"
        self.alarms, self.logs = folder / "state/alarms.jsonl", folder / "log"
        (self.inventory / "group_vars").mkdir(parents=True)
        hosts = (ROOT / "inventories/lab/hosts.yml").read_text(encoding="utf-8")
        (self.inventory / "hosts.yml").write_text(hosts)
        for name in ("postgresql", "redis", "influxdb", "app_services"):
            (self.inventory / f"group_vars/{name}.yml").write_text(f"recovery_component: {name}\n")
        self.write()

    def write(self, **changes: Any) -> None:
        facts = {
            "recovery_environment": "scratch",
            "recovery_environment_id": "scratch-schedule-1",
            "recovery_state_path": str(self.folder / "state"),
            "backup_store_path": str(self.folder / "store"),
            "backup_set_trusted_signers": [{"identity": "nobody", "public_key": "ssh-ed25519 AAAA"}],
            "backup_set_signing_key": "{{ 'none' }}",
            "schedule_units_path": str(self.units),
            "schedule_install": False,
            "schedule_jobs": JOBS,
            **changes,
        }
        (self.inventory / "group_vars/all.yml").write_text(yaml.safe_dump(facts))

    def play(self, *arguments: str) -> Ended:
        return playbook(self.inventory, "playbooks/schedule.yml", *arguments)

    def listing(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in self.units.glob("*")}

    def run(self, unit: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(ROOT / "tools/run_unit.py"), str(self.units), str(self.logs), unit]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture(scope="module")
def schedule(tmp_path_factory: pytest.TempPathFactory) -> Schedule:
    made = Schedule(tmp_path_factory.mktemp("schedule"))
    made.units.mkdir()
    for name, text in OTHERS.items():
        (made.units / name).write_text(text)
    first = made.play()
    assert first.status == 0, first.text
    return made


def test_systemd_accepts_every_unit(schedule: Schedule) -> None:
    assert set(schedule.listing()) - set(OTHERS) == {
        "platform3-schedule-again.service",
        "platform3-schedule-again.timer",
        "platform3-backup-full.service",
        "platform3-backup-full.timer",
        "platform3-alarm@.service",
    }
    done = verified(schedule.units, OTHERS)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_proof_by_systemd_sees_a_fault(schedule: Schedule, tmp_path: Path) -> None:
    text = schedule.listing()["platform3-backup-full.timer"].replace("01:30:00", "25:30:00")
    (tmp_path / "platform3-backup-full.timer").write_text(text)
    done = verified(tmp_path)
    assert "platform3-backup-full.timer" in done.stderr


def test_a_job_that_runs_again_changes_nothing_and_raises_no_alarm(schedule: Schedule) -> None:
    before = {path: path.stat().st_mtime_ns for path in schedule.units.iterdir()}
    done = schedule.run("platform3-schedule-again.service")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in schedule.units.iterdir()} == before
    assert not schedule.alarms.exists()
    assert (schedule.logs / "platform3/platform3-schedule-again.log").read_text()


def test_the_unit_of_a_job_that_fails_writes_an_alarm_that_names_what_is_wrong(schedule: Schedule) -> None:
    schedule.alarms.unlink(missing_ok=True)
    done = schedule.run("platform3-backup-full.service")
    assert done.returncode != 0
    assert "ALARM platform3-backup-full.service failed (exit-code" in done.stdout
    (alarm,) = [json.loads(line) for line in schedule.alarms.read_text().splitlines()]
    assert (alarm["unit"], alarm["environment"]) == ("platform3-backup-full.service", "scratch")
    assert any("PRC-" in one for one in alarm["said"]), done.stdout


def test_check_mode_shows_and_writes_nothing(schedule: Schedule, tmp_path: Path) -> None:
    other = Schedule(tmp_path)
    ended = other.play("--check", "--diff")
    assert ended.status == 0, ended.text
    assert "OnCalendar=*-*-* 01:30:00 UTC" in ended.text and not other.units.exists()


def test_a_unit_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path)
    schedule.units.mkdir()
    (schedule.units / "platform3-backup-full.service").write_text("# somebody's\n")
    ended = schedule.play()
    assert ended.status != 0 and "[PRC-362]" in ended.text and "platform3-backup-full.service" in ended.text
    assert schedule.listing() == {"platform3-backup-full.service": "# somebody's\n"}


def test_what_was_installed_is_removed_and_nothing_else(schedule: Schedule) -> None:
    schedule.write(schedule_jobs=JOBS[:1])
    assert schedule.play().status == 0
    assert not [name for name in schedule.listing() if "backup-full" in name], "a job that is gone leaves its timer"
    ended = schedule.play("-e", "schedule_state=absent")
    assert ended.status == 0, ended.text
    assert schedule.listing() == OTHERS
