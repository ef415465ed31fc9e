# SPDX-License-Identifier: GPL-3.0-or-later
"""From total loss to the first trade, by full_recovery.yml: the figures of its own report, medians of some runs."""

from __future__ import annotations

from statistics import median

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, Recovery
from tests.benchmarks.table import Figure, Result

COMPONENTS = {"postgresql": "PostgreSQL", "redis": "Redis", "influxdb": "InfluxDB", "app_services": "services"}


def measure(lab: Lab, runs: int) -> Result:
    """A backup, then `runs` times: lose everything, recover."""
    backup_set = lab.back_up()
    done = []
    for _ in range(runs):
        lab.lose()
        done.append(lab.recover())
    about = f"{runs} run{'s' if runs > 1 else ''}" + (", medians" if runs > 1 else "")
    return Result(
        "recovery",
        [
            sizes(lab.manifest(backup_set)),
            f"{about}; goals for the lab's default size (LAB_SCALE 1) on 2 cores",
            "the loss ends, and the clock starts, when the last volume is gone; component times are the report's RTO",
            "orchestration: nothing was being copied, hashed, replayed or started; it includes the comparing",
        ],
        figures(done),
    )


def figures(done: list[Recovery]) -> list[Figure]:
    """The medians of some recoveries."""

    def timing(name: str) -> float:
        return median(float(one.report["timing"][name]) for one in done)

    def rto(name: str) -> float:
        return median(float(one.report["rto"][name]["seconds"]) for one in done)

    return [
        Figure("total loss to first trade read back", median(one.trade_seconds for one in done), goal=90),
        Figure("complete system (RTO of the report)", rto("complete_system")),
        *(Figure(f"{label} (RTO of the report)", rto(name)) for name, label in COMPONENTS.items()),
        Figure("orchestration", timing("orchestration_seconds"), goal=25),
        Figure("of it comparing what came back", timing("checking_seconds")),
        Figure("saved by restoring at once", timing("overlap_seconds")),
        Figure("module runs", median(one.module_runs for one in done), "", goal=45),
    ]
