# SPDX-License-Identifier: GPL-3.0-or-later

"""Journals for tests, written as the step plugin and the lock write them."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

START = parse_iso("2026-11-23T05:17:00Z")
RECOVERY_ID = "20261123T051700Z-full"
OBJECTIVES = {
    "rto": {
        "postgresql": {"target_seconds": 300, "maximum_seconds": 600},
        "redis": {"target_seconds": 180, "maximum_seconds": 300},
        "influxdb": {"target_seconds": 600, "maximum_seconds": 1200},
        "app_services": {"target_seconds": 300, "maximum_seconds": 600},
        "complete_system": {"target_seconds": 900, "maximum_seconds": 1800},
    },
    "rpo": {
        "trading_transactions": {"target_seconds": 60, "component": "postgresql"},
        "market_data": {"target_seconds": 300, "component": "influxdb"},
        "user_sessions": {"target_seconds": 900, "component": "redis"},
        "configuration": {"target_seconds": 3600, "component": "configuration"},
        "analytics_data": {"target_seconds": 14400, "component": "influxdb"},
    },
}


class Journal:
    """Builds entries; times are seconds since START."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.epoch = 0
        self.run = 0
        self.boot = ("b5a3c1d0-0000-4000-8000-000000000001", 70_000.0)

    def write(self, at: float, event: str, **fields: Any) -> None:
        boot_id, base = self.boot
        self.entries.append(
            {
                "at": to_iso(START + at),
                "monotonic": round(base + at, 2),
                "boot_id": boot_id,
                "recovery_id": RECOVERY_ID,
                "epoch": fields.pop("epoch", self.epoch),
                "run": self.run,
                "event": event,
                **fields,
            }
        )

    def run_started(self, at: float, elapsed: float = 0.0, **told: Any) -> None:
        self.epoch, self.run = self.epoch + 1, self.run + 1
        facts = {
            "scenario": "full",
            "environment": "lab",
            "components": ["postgresql", "redis", "influxdb", "configuration", "app_services"],
            "backup_set": "20261123T050000Z",
            "incident_id": "INC-4711",
            "incident_at": to_iso(START - 45),
        }
        self.write(at, "run_started", result={"elapsed_seconds": elapsed}, **{**facts, **told})

    def start(self, at: float, phase: str, component: str, name: str, **fields: Any) -> None:
        self.write(at, "step_started", phase=phase, component=component, host=f"lab-{component}", name=name, **fields)

    def end(
        self, at: float, phase: str, component: str, name: str, event: str = "step_finished", **fields: Any
    ) -> None:
        self.write(at, event, phase=phase, component=component, host=f"lab-{component}", name=name, **fields)

    def step(
        self,
        at: float,
        until: float,
        phase: str,
        component: str,
        name: str,
        event: str = "step_finished",
        **fields: Any,
    ) -> None:
        self.start(at, phase, component, name)
        self.end(until, phase, component, name, event, **fields)

    def in_order(self) -> list[dict[str, Any]]:
        return sorted(self.entries, key=lambda entry: entry["at"])

    def text(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.in_order())


def check(name: str, component: str, expected: Any, found: Any) -> dict[str, Any]:
    return {"name": name, "component": component, "expected": expected, "found": found, "ok": expected == found}


POSTGRESQL_CHECKS = [
    check("orders: rows settled before the recovery point", "postgresql", 1003412, 1003412),
    check("orders: sum of quantity", "postgresql", "50126734.20", "50126734.20"),
    check("executions: rows settled before the recovery point", "postgresql", 998127, 998127),
    check("foreign keys hold", "postgresql", 0, 0),
    check("amcheck of critical indexes", "postgresql", "no damage", "no damage"),
    check("replay reached the computed end of WAL", "postgresql", "0/9A0001B8", "0/9A0001B8"),
    check("out of recovery, a write succeeds", "postgresql", True, True),
]
REDIS_CHECKS = [
    check("db 0: keys, net of expiry", "redis", 25118, 25118),
    check("db 1: keys, net of expiry", "redis", 24996, 24996),
]
INFLUXDB_CHECKS = [
    check("market-data: points", "influxdb", 2004512, 2004512),
    check("market-data: newest point", "influxdb", "2026-11-23T05:16:11Z", "2026-11-23T05:16:11Z"),
    check("analytics: points", "influxdb", 20160, 20160),
    check("operator token works", "influxdb", True, True),
    check("deleted points stay deleted", "influxdb", 0, 0),
]
VALIDATE_CHECKS = [
    check("login", "app_services", 200, 200),
    check("trade read back", "app_services", "filled", "filled"),
    check("orders of the last 24 h", "app_services", 71522, 71522),
    check("accounts whose free margin is not equity less used margin", "app_services", 0, 0),
    check("live stream moves", "app_services", True, True),
    check("dashboard serves", "app_services", 200, 200),
]


def assess(journal: Journal, at: float = 0.0) -> None:
    """Preflights and the bytes of the set, all at once."""
    for name in ("postgresql", "redis", "influxdb", "app_services"):
        title = "Check engine, image, volume, disk, ports and secrets"
        journal.step(at + 0.4, at + 1.7, "assess", name, title)
    evidence = {"manifest_sha256": "0f" * 32, "signed_by": "lab-backup", "artefacts": 58, "bytes": 214_748_364}
    title = "Verify every needed byte of the backup set"
    journal.step(
        at + 0.4,
        at + 4.9,
        "assess",
        "recovery",
        title,
        result={"verified": {"bytes": 1, "files": 58, "seconds": 3.9}, "evidence": evidence},
    )
    title = "Compare settings"
    journal.step(at + 0.4, at + 1.2, "assess", "configuration", title)


def isolate(journal: Journal, at: float = 5.2) -> None:
    for offset, name in enumerate(("postgresql", "redis", "influxdb", "app_services")):
        journal.step(at, at + 1.3 + offset / 10, "isolate", name, f"Take {name} away", changed=True)


def restore(journal: Journal, at: float = 7.0, only: tuple[str, ...] = ("postgresql", "redis", "influxdb")) -> None:
    steps = {
        "postgresql": (24.6, {"copy": 11.2, "replay": 8.3, "start": 2.9}, 512_000_000, -44.6, POSTGRESQL_CHECKS, 4.8),
        "redis": (5.1, {"copy": 1.2, "load": 1.9, "start": 0.4}, 38_000_000, -45.4, REDIS_CHECKS, 1.2),
        "influxdb": (9.4, {"copy": 5.8, "start": 2.1}, 96_000_000, -49.0, INFLUXDB_CHECKS, 3.3),
    }
    for name in only:
        seconds, parts, size, point, checks, verified = steps[name]
        result = {"parts": parts, "bytes": size, "recovery_point": to_iso(START + point), "quarantined": True}
        journal.step(
            at, at + seconds, "restore", name, f"Restore {name} beside, swap it in", changed=True, result=result
        )
        done = at + seconds + 0.3
        result = {"checks": checks, "parts": {"check": verified - 0.5}}
        journal.step(done, done + verified, "verify", name, "Compare every figure with the manifest", result=result)


def resume(journal: Journal, at: float = 37.5) -> None:
    title = "Start the services by tier"
    journal.step(
        at,
        at + 8.2,
        "resume",
        "app_services",
        title,
        changed=True,
        result={"parts": {"critical": 4.0, "high": 5.2, "medium": 7.1}},
    )


def validate(journal: Journal, at: float = 46.4, checks: list[dict[str, Any]] | None = None) -> None:
    result = {
        "checks": VALIDATE_CHECKS if checks is None else checks,
        "parts": {"check": 4.1},
        "trade_read_back_at": to_iso(START + at + 1.6),
        "response_times": [{"call": "POST /api/v1/orders", "milliseconds": 18, "status": 201}],
        "containers": [{"name": "forex-redis", "cpu": "0.4 %", "memory": "38 MiB"}],
    }
    good = all(one["ok"] for one in result["checks"])
    event = "step_finished" if good else "step_failed"
    error = {} if good else {"error": {"message": "a check is not good"}}
    journal.step(at, at + 5.0, "validate", "app_services", "Trade as a user", event, result=result, **error)
    if good:
        title = "Open the platform to customers"
        journal.step(at + 5.4, at + 6.3, "validate", "app_services", title, changed=True, result={"parts": {}})


def full() -> Journal:
    """A recovery that succeeded in one run."""
    journal = Journal()
    journal.run_started(0.0, elapsed=2.1)
    for part in (assess, isolate, restore, resume, validate):
        part(journal)
    return journal


def killed_and_resumed() -> Journal:
    """PostgreSQL's host died in the first run; the second got through, while an orphan of the first still wrote."""
    journal = Journal()
    journal.run_started(0.0, elapsed=2.1)
    assess(journal)
    isolate(journal)
    restore(journal, only=("redis", "influxdb"))
    journal.start(7.0, "restore", "postgresql", "Restore postgresql beside, swap it in")
    journal.end(
        37.9,
        "resume",
        "app_services",
        "Start the services by tier",
        "step_refused",
        error={"message": "not verified: postgresql; services start only on data that was"},
    )
    journal.run_started(240.0)
    title = "Restore postgresql beside, swap it in"
    journal.end(
        243.0, "restore", "postgresql", title, "step_failed", epoch=1, error={"message": "an orphan's last words"}
    )
    assess(journal, 241.0)
    isolate(journal, 246.2)
    restore(journal, 248.0)
    resume(journal, 279.0)
    validate(journal, 288.0)
    return journal


def one_component_failed() -> Journal:
    """Redis came back with keys missing; the others are whole, services stay away."""
    journal = Journal()
    journal.run_started(0.0, elapsed=2.1)
    assess(journal)
    isolate(journal)
    restore(journal, only=("postgresql", "influxdb"))
    result = {"parts": {"copy": 1.2}, "bytes": 38_000_000, "recovery_point": to_iso(START - 45.4), "quarantined": True}
    journal.step(7.0, 12.1, "restore", "redis", "Restore redis beside, swap it in", changed=True, result=result)
    error = {
        "code": "PRC-620",
        "attempted": "verify Redis",
        "found": "db 0: keys, net of expiry: expected 25118, found 24003",
        "data": "the old data is in quarantine, no service was started",
        "next_step": "ansible-playbook full_recovery.yml -e recovery_backup_set=20261123T040000Z",
    }
    checks = [check("db 0: keys, net of expiry", "redis", 25118, 24003)]
    title = "Compare every figure with the manifest"
    journal.step(12.4, 13.6, "verify", "redis", title, "step_failed", result={"checks": checks}, error=error)
    title = "Start the services by tier"
    message = "not verified: redis; services start only on data that was"
    journal.step(37.5, 37.6, "resume", "app_services", title, "step_refused", error={"message": message})
    return journal
