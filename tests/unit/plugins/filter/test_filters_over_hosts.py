# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that gather what other hosts registered."""

from __future__ import annotations

from typing import Any

from ansible_collections.platform3.recovery.plugins.filter.recovery_plan import recovery_plan
from ansible_collections.platform3.recovery.plugins.filter.rollback_refusals import rollback_refusals

COMPONENTS = ("postgresql", "redis", "influxdb", "app_services")
GROUPS = {name: [f"{name}-1"] for name in (*COMPONENTS, "backup_store")}
OBJECTIVES = {"rto": {"complete_system": {"target_seconds": 900}, "postgresql": {"target_seconds": 300}}}


def hosts(**registered: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{name}-1": registered.get(name, {}) for name in GROUPS}


def test_a_rollback_is_refused_by_who_refuses_and_by_who_says_nothing() -> None:
    answers: dict[str, dict[str, Any]] = {
        "postgresql": {"__recovery_old_data": {"changed": False}},
        "redis": {"__recovery_old_data": {"failed": True, "error": {"code": "PRC-701"}}},
        "influxdb": {"__recovery_old_data": {"unreachable": True}},
    }
    assert rollback_refusals(hosts(**answers), GROUPS) == [
        "redis refuses (PRC-701)",
        "influxdb did not answer",
        "app_services did not answer",
    ]
    answers["redis"] = answers["influxdb"] = answers["postgresql"]
    assert rollback_refusals(hosts(**answers, app_services={"__app_services_discard": {"ok": True}}), GROUPS) == []


def test_who_was_left_alone_by_the_recovery_is_not_asked() -> None:
    groups = {**GROUPS, "recovering": ["redis-1", "app_services-1"]}
    answers = {"app_services": {"__app_services_discard": {"skipped": True}}}
    assert rollback_refusals(hosts(**answers), groups) == ["redis did not answer"]
    assert len(rollback_refusals(hosts(**answers), {**groups, "recovering": []})) == 3


def test_the_plan_shows_what_the_preflights_found() -> None:
    found: dict[str, dict[str, Any]] = {
        "postgresql": {
            "__postgresql_preflight": {"volume_state": {"environment_id": "x"}},
            "__postgresql_wal": {"recovery_point": "2026-11-23T05:17:00Z", "plan": {"segments": 3}},
        },
        "redis": {"__redis_log": {"recovery_point": "2026-11-23T05:16:00Z"}},
        "app_services": {"__app_services_preflight": {"serving": True}},
        "backup_store": {
            "__postgresql_replay": {"figures": {"bytes_per_second": 48e6, "other_seconds": 9.0, "counted": 2}}
        },
    }
    inputs = {"recovery_id": "r", "incident_at": "2026-11-23T05:18:00Z"}
    lines = recovery_plan(hosts(**found), GROUPS, {"id": "s"}, OBJECTIVES, inputs)
    rows = {line.split()[0]: line for line in lines}
    assert "data present (ours)" in rows["postgresql"] and "2026-11-23T05:17:00Z" in rows["postgresql"]
    assert "2026-11-23T05:16:00Z" in rows["redis"]
    assert "preflight failed" in rows["influxdb"]
    assert "SERVING" in rows["app_services"]
    assert "up to 48 MiB" in rows["WAL"] and "48 MB/s (slowest of 2)" in rows["WAL"]
