# SPDX-License-Identifier: GPL-3.0-or-later
"""One datastore lost alone and brought back by partial_recovery.yml: the RTO of its report, medians of some runs."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, output, say
from tests.benchmarks.table import Figure, Result

# How long each may be away.
GOALS = {"postgresql": 45.0, "redis": 20.0, "influxdb": 30.0}


def measure(lab: Lab, runs: int) -> Result:
    """A backup, then `runs` times of each: lose it with its volume, recover it alone."""
    backup_set = lab.back_up()
    figures: list[Figure] = []
    for component, goal in GOALS.items():
        reports = [lost_alone(lab, component) for _ in range(runs)]

        def seconds(name: str, reports: list[dict[str, Any]] = reports) -> float:
            return median(float(one["rto"][name]["seconds"]) for one in reports)

        figures += [
            Figure(f"{component}: verified", seconds(component), goal=goal),
            Figure(f"{component}: first trade read back", seconds("complete_system")),
        ]
    about = f"{runs} run{'s' if runs > 1 else ''} of each" + (", medians" if runs > 1 else "")
    return Result(
        "partial",
        [
            sizes(lab.manifest(backup_set)),
            f"{about}; goals for the lab's default size (LAB_SCALE 1) on 2 cores",
            "from the start of the command to the end of the datastore's verification, as the report has it",
        ],
        figures,
    )


def lost_alone(lab: Lab, component: str) -> dict[str, Any]:
    """Remove a datastore's containers and its volume, recover it; gives the report."""
    volume = f"{lab.facts['recovery_compose']['project']}_{component}-data"
    say(f"loss of {component}")
    output(
        "docker", "rm", "--force", *output("docker", "ps", "--all", "--quiet", "--filter", f"volume={volume}").split()
    )
    output("docker", "volume", "rm", volume)
    lab.playbook("partial_recovery.yml", {"recovery_components": component, "incident_id": "BENCHMARK"}, {})
    report: dict[str, Any] = json.loads((lab.root / "reports/latest/report.json").read_text(encoding="utf-8"))
    if report["outcome"] != "success":
        raise RuntimeError(f"recovery {report['recovery_id']} ended as {report['outcome']}")
    return report
