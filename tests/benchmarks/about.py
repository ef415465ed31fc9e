# SPDX-License-Identifier: GPL-3.0-or-later
"""On what was measured: how much data, when, which commit, which machine."""

from __future__ import annotations

import dataclasses
import os
import re
from datetime import UTC, datetime
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text

from tests.benchmarks.lab import Lab, output
from tests.benchmarks.table import Result


def postgresql_bytes(manifest: dict[str, Any]) -> int:
    """Size of the cluster that the set's base backup holds."""
    return int(manifest["components"]["postgresql"]["pgbackrest"]["bytes"])


def sizes(manifest: dict[str, Any]) -> str:
    """How much a set brings back."""
    content = manifest["components"]
    rows = sum(one["total_rows"] for one in content["postgresql"]["figures"]["tables"])
    points = sum(one["points"] for one in content["influxdb"]["buckets"])
    rdb = sum(one["bytes"] for one in manifest["artefacts"] if one["component"] == "redis")
    return (
        f"PostgreSQL {postgresql_bytes(manifest) / 1e9:.2f} GB ({rows / 1e6:.1f} million critical rows), "
        f"Redis {rdb / 1e6:.1f} MB of RDB, InfluxDB {points / 1e6:.1f} million points"
    )


def dated(lab: Lab, result: Result, runs: int) -> Result:
    """The result with command, date, commit and machine in front."""
    commit = output("git", "-C", str(lab.root), "rev-parse", "--short", "HEAD")
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = f"make benchmark ONLY={result.name}" + (f" RUNS={runs}" if result.name == "recovery" and runs > 1 else "")
    about = [f"`{command}`, {at}, commit {commit}", machine(), *result.about]
    return dataclasses.replace(result, about=about)


def machine() -> str:
    """Processor, memory, load, system."""
    model = re.search(r"^model name\s*:\s*(.*)$", read_text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", read_text("/proc/meminfo"), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="(.*)"$', read_text("/etc/os-release"), re.MULTILINE)
    return (
        f"{len(os.sched_getaffinity(0))} x {model[1] if model else 'unknown processor'}, "
        f"{int(memory[1]) / 2**20 if memory else 0:.0f} GiB, {system[1] if system else 'unknown system'}, "
        f"load average {os.getloadavg()[1]:.1f} at the end"
    )
