# SPDX-License-Identifier: GPL-3.0-or-later
"""The barrier: what the journal must hold before a phase may begin."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._barrier import barrier

COMPONENTS = ["postgresql", "redis", "influxdb", "configuration", "app_services"]


class Journal:
    """A journal in the making: each entry a second after the one before."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.run(1)

    def run(self, number: int) -> None:
        self._add(number, {"event": "run_started", "components": COMPONENTS})

    def _add(self, number: int, entry: dict[str, Any]) -> None:
        second = len(self.entries)
        stamp = {"at": f"2026-11-23T05:17:{second:02d}Z", "monotonic": float(second), "boot_id": "b"}
        self.entries.append({**stamp, "run": number, "epoch": number, "recovery_id": "r", **entry})

    def step(self, phase: str, component: str, end: str | None = "step_finished", number: int = 1) -> None:
        names = {"phase": phase, "component": component, "host": component, "name": "It"}
        self._add(number, {"event": "step_started", **names})
        if end:
            result = {"checks": [{"name": "x", "component": component, "expected": 1, "found": 1, "ok": True}]}
            self._add(number, {"event": end, **names, "result": result, "error": {"message": "broke"}})

    def all(self, phase: str, *components: str) -> None:
        for component in components:
            self.step(phase, component)

    def blocked(self, phase: str, component: str) -> str | None:
        self.step(phase, component, end=None)
        reason = barrier(self.entries, phase, component)
        self.entries.pop()
        return reason


HOSTS = ("postgresql", "redis", "influxdb", "app_services")


def test_isolate_waits_for_every_assess_and_the_verified_set() -> None:
    journal = Journal()
    journal.all("assess", *HOSTS)
    assert "recovery: assess" in (journal.blocked("isolate", "redis") or "")
    journal.step("assess", "recovery")
    assert journal.blocked("isolate", "redis") is None


def test_missing_configuration_comes_back_beside_what_is_assessed() -> None:
    journal = Journal()
    journal.step("assess", "redis", end=None)
    assert journal.blocked("restore", "configuration") is None
    journal.step("assess", "redis", "step_failed")
    assert journal.blocked("restore", "configuration") is None
    assert journal.blocked("restore", "redis")
    journal.step("assess", "configuration", "step_failed")
    assert journal.blocked("restore", "configuration")


def test_a_server_of_which_parts_come_back_is_not_isolated() -> None:
    journal = Journal()
    journal.all("assess", "recovery", *HOSTS)
    journal.all("isolate", "influxdb", "app_services", "redis")
    assert "postgresql: isolate" in (journal.blocked("restore", "redis") or "")
    journal.entries[0]["parts"] = {"postgresql": {"postgresql_tables": ["orders"]}}
    assert journal.blocked("restore", "redis") is None
    assert "not verified: postgresql" in (journal.blocked("resume", "redis") or ""), "it is verified as every other"


def test_a_host_that_never_began_blocks_isolation_of_all() -> None:
    journal = Journal()
    journal.all("assess", "recovery", "postgresql", "influxdb", "app_services")
    assert "redis: assess" in (journal.blocked("isolate", "postgresql") or "")


def test_a_failed_isolate_blocks_every_restore() -> None:
    journal = Journal()
    journal.all("assess", "recovery", *HOSTS)
    journal.all("isolate", "postgresql", "influxdb", "app_services")
    journal.step("isolate", "redis", "step_failed")
    assert journal.blocked("restore", "postgresql")


def test_one_failed_restore_leaves_the_others_and_blocks_resume() -> None:
    journal = Journal()
    journal.all("assess", "recovery", *HOSTS)
    journal.all("isolate", *HOSTS)
    journal.step("restore", "redis", "step_failed")
    journal.step("restore", "postgresql")
    assert journal.blocked("verify", "redis")
    assert journal.blocked("verify", "postgresql") is None
    journal.step("verify", "postgresql")
    journal.all("restore", "influxdb")
    journal.all("verify", "influxdb")
    assert "redis" in (journal.blocked("resume", "app_services") or "")
    assert journal.blocked("report", "recovery") is None


def test_what_an_earlier_run_proved_does_not_count_for_this_one() -> None:
    journal = Journal()
    journal.all("assess", "recovery", *HOSTS)
    journal.run(2)
    assert journal.blocked("isolate", "redis")


def test_a_backup_has_no_barriers_but_its_failures() -> None:
    journal = Journal()
    journal.entries[0].pop("components")
    assert journal.blocked("backup", "redis") is None


def test_a_rollback_waits_for_no_phase_of_the_recovery_before_it() -> None:
    journal = Journal()
    journal.all("assess", "recovery", *HOSTS)
    journal.all("isolate", *HOSTS)
    journal.step("restore", "redis", "step_failed")
    journal.run(2)
    journal.entries[-1].update({"kind": "recovery", "scenario": "rollback"})
    journal.entries[-1].pop("components")
    for phase in ("isolate", "quarantine", "resume", "validate"):
        assert journal.blocked(phase, "redis") is None
        assert journal.blocked(phase, "app_services") is None


@pytest.mark.parametrize("outcome", ["step_failed", None])
def test_a_rollback_stops_at_its_own_first_failure(outcome: str | None) -> None:
    """Where one datastore could not be put back, nothing is started on what is there."""
    journal = Journal()
    journal.entries[-1].update({"kind": "recovery", "scenario": "rollback"})
    journal.entries[-1].pop("components")
    journal.step("quarantine", "influxdb")
    journal.step("quarantine", "redis", outcome)
    assert journal.blocked("resume", "postgresql") is not None
    assert journal.blocked("resume", "app_services") is not None
    # Others that are put back at the same time end their work.
    assert (journal.blocked("quarantine", "postgresql") is None) == (outcome is None)


def test_a_sandbox_isolates_nobody_and_is_restored_once_all_were_assessed() -> None:
    journal = Journal()
    journal.entries[0] |= {"scenario": "sandbox", "components": list(HOSTS[:3])}
    journal.all("assess", *HOSTS[:3])
    assert "recovery: assess" in (journal.blocked("restore", "redis") or "")
    journal.step("assess", "recovery")
    assert journal.blocked("restore", "redis") is None
    # The others may still be at it.
    journal.step("restore", "redis")
    journal.step("restore", "postgresql", end=None)
    assert journal.blocked("verify", "redis") is None
    journal.step("verify", "redis")
    assert "influxdb" in (journal.blocked("resume", "influxdb") or "")
