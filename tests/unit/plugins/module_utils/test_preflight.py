# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight's judgements, the guard on volumes among them."""

from __future__ import annotations

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _preflight as preflight


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ({"environment_id": "lab-1", "entries": "20"}, True),
        ({"environment_id": "lab-2", "entries": "20"}, False),
        ({"environment_id": "lab-2", "entries": "0"}, False),
        ({"environment_id": "", "entries": "0"}, True),
        ({"environment_id": "", "entries": "12"}, True),  # someone ran up after the loss: to quarantine
        ({}, True),
    ],
)
def test_a_volume_of_another_environment_is_refused(found: dict[str, str], good: bool) -> None:
    checks = preflight.judge_volume("redis", "v", found, "lab-1")
    assert [one["ok"] for one in checks] == [good]


@pytest.mark.parametrize(
    ("wanted", "text", "good"),
    [
        ("17", "postgres (PostgreSQL) 17.11 (Debian 17.11-1)", True),
        ("17", "postgres (PostgreSQL) 16.4", False),
        ("8", "Redis server v=8.0.2 sha=00000000:1", True),
        ("2.7", "InfluxDB v2.7.12 (git: none)", True),
        ("2.7", "InfluxDB v2.8.0", False),
        ("17", "", False),
        ("", "postgres (PostgreSQL) 17.11", False),
    ],
)
def test_only_the_backups_major_version_will_do(wanted: str, text: str, good: bool) -> None:
    assert preflight.judge_version("postgresql", wanted, text)["ok"] is good


def test_too_little_disk_is_refused() -> None:
    assert not preflight.judge_space("redis", 100, 99)["ok"]
    assert preflight.judge_space("redis", 100, 100)["ok"]


def test_a_missing_secret_is_named_but_never_shown() -> None:
    checks = preflight.judge_secrets("redis", {"redis_password": "hunter2", "other": ""})
    assert [(one["name"], one["ok"]) for one in checks] == [("secret other", False), ("secret redis_password", True)]
    assert "hunter2" not in str(checks)


def test_a_clock_an_hour_off_is_refused() -> None:
    assert not preflight.judge_clock("redis", 3600.0, 0.0, 30)["ok"]


@pytest.mark.parametrize(("opens", "good"), [(True, True), (False, False), (None, True)])
def test_a_secret_that_a_running_server_refuses_is_found(opens: bool | None, good: bool) -> None:
    assert preflight.judge_login("redis", "redis_password", opens)["ok"] is good
