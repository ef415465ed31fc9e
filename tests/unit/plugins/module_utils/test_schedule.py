# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedule's jobs are checked before a unit is written, and every argument reaches the program as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _schedule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given
from hypothesis import strategies as st

from tools import run_unit

RUNNER = _schedule.Runner("/venv/bin/ansible-playbook", "/checkout/playbooks", ("/inventory",), ("--diff",))
THERE = ("backup.yml", "verify_backups.yml")
JOB: dict[str, Any] = {"name": "full", "playbook": "backup.yml", "on_calendar": "daily", "timeout_seconds": 60}
PRINTED = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "), min_size=1)


@given(st.lists(PRINTED, min_size=1, max_size=6))
def test_every_argument_reaches_the_program_as_it_is(arguments: list[str]) -> None:
    line = _schedule.exec_line(["/bin/true", *arguments])
    assert "\n" not in line
    read = [run_unit.specified(one, "a.service", Path("/var/log")) for one in run_unit.words(line)]
    assert read == ["/bin/true", *arguments]


@pytest.mark.parametrize("argv", [[], ["/bin/true", "a\nExecStart=/bin/false"], ["/bin/true", "\0"]])
def test_no_argument_makes_a_line_of_its_own(argv: list[str]) -> None:
    with pytest.raises(RecoveryError) as caught:
        _schedule.exec_line(argv)
    assert caught.value.code == "PRC-360"


def test_a_lone_semicolon_is_an_argument_and_parts_no_commands() -> None:
    assert _schedule.exec_line(["/bin/true", ";", "/bin/false"]) == '/bin/true ";" /bin/false'


def test_a_job_becomes_the_command_line_that_a_person_would_type() -> None:
    (job,) = _schedule.jobs_of([{**JOB, "extra_vars": {"b": 1, "a": "x y"}}], RUNNER, THERE)
    *argv, extra = job["argv"]
    assert argv == [
        "/venv/bin/ansible-playbook",
        "--inventory",
        "/inventory",
        "--diff",
        "/checkout/playbooks/backup.yml",
        "--extra-vars",
    ]
    assert json.loads(extra) == {"a": "x y", "b": 1}
    assert job["randomized_delay_seconds"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": "Full Backup"},
        {"name": "a/b"},
        {"playbook": "../backup.yml"},
        {"on_calendar": "daily\nUser=root"},
        {"on_calendar": ""},
        {"timeout_seconds": 0},
        {"timeout_seconds": "60"},
        {"timeout_seconds": True},
        {"randomized_delay_seconds": -1},
        {"extra_vars": "a=b"},
        {"on_calender": "daily"},
    ],
)
def test_a_malformed_job_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RecoveryError) as caught:
        _schedule.jobs_of([{**JOB, **change}], RUNNER, THERE)
    assert caught.value.code == "PRC-360"


def test_a_misspelt_field_names_the_nearest() -> None:
    with pytest.raises(RecoveryError, match="did you mean 'on_calendar'"):
        _schedule.jobs_of([{**JOB, "on_calender": "daily"}], RUNNER, THERE)


def test_two_jobs_of_one_name_are_refused() -> None:
    with pytest.raises(RecoveryError, match="two jobs are named 'full'"):
        _schedule.jobs_of([JOB, JOB], RUNNER, THERE)


def test_a_job_without_its_playbook_is_refused() -> None:
    with pytest.raises(RecoveryError) as caught:
        _schedule.jobs_of([{**JOB, "playbook": "verify_backup.yml"}], RUNNER, THERE)
    assert caught.value.code == "PRC-361" and "verify_backups.yml" in caught.value.found
