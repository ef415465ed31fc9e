# SPDX-License-Identifier: GPL-3.0-or-later
"""The same total loss recovered twice, from the same backup set: by the old procedure, and by full_recovery.yml."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import restore_argv

from tests.benchmarks.about import postgresql_bytes, sizes
from tests.benchmarks.lab import LABEL, Lab, Recovery, output, say
from tests.benchmarks.old_steps import MOVING, OldProcedure
from tests.benchmarks.table import Figure, Result

# The goals are for a PostgreSQL of at least this size.
FULL_SIZE_BYTES = 3e9
# Parts of a restore step that move data; the others compare, stop, exchange, start and promote.
MOVING_PARTS = ("copy", "load", "replay", "rewrite", "initialise")


def measure(lab: Lab, _runs: int) -> Result:
    """Back up; lose, old procedure; lose, full recovery; then the base backup alone beside the running lab."""
    backup_set = lab.back_up()
    with tempfile.TemporaryDirectory(prefix="platform3-benchmark-", dir="/var/tmp") as scratch:
        old = OldProcedure(lab, backup_set, Path(scratch))
        lab.lose()
        old_seconds = old.run()
    missing = old.missing()
    if missing:
        raise RuntimeError(f"the old procedure did not bring everything back: {'; '.join(missing)}")
    lab.lose()
    new = lab.recover()
    alone = physical_alone(lab, backup_set)
    size = postgresql_bytes(lab.manifest(backup_set))
    return Result(
        "old_procedure",
        [
            sizes(lab.manifest(backup_set)),
            "both from the same backup set, one after the other; the dump is the set's (zstd), shards are gzipped "
            "beforehand",
            f"goals for a PostgreSQL of {FULL_SIZE_BYTES / 1e9:.0f} GB or more",
        ],
        figures(old.seconds, old_seconds, new, alone, size >= FULL_SIZE_BYTES),
    )


def figures(old: dict[str, float], old_seconds: float, new: Recovery, alone: float, full_size: bool) -> list[Figure]:
    """Each step of the old procedure, the same of the new, and the ratios."""
    old_moving = sum(old[name] for name in MOVING)
    moving = moving_seconds(new.report["steps"])

    def ratio(what: str, value: float, goal: float) -> Figure:
        return Figure(what, value, "x", goal, at_least=True, applies=full_size)

    return [
        *(Figure(f"old: {name}", seconds) for name, seconds in old.items()),
        Figure("old: total loss to first trade read back", old_seconds),
        Figure("old: moving the data, one datastore after the other", old_moving),
        Figure("new: total loss to first trade read back", new.trade_seconds),
        *(Figure(f"new: moving the data of {name}", seconds) for name, seconds in moving.items()),
        Figure("new: moving the data, all at once", max(moving.values())),
        Figure("new: base backup of PostgreSQL alone", alone),
        ratio("old / new to first trade", old_seconds / new.trade_seconds, 2.5),
        ratio("old / new moving the data", old_moving / max(moving.values()), 8),
        ratio("pg_restore / base backup alone", old[MOVING[0]] / alone, 8),
    ]


def moving_seconds(steps: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds that each component's restore moved data, by the steps of a report."""
    found: dict[str, float] = {}
    for step in steps:
        if step["phase"] == "restore":
            seconds = sum(value for name, value in step["parts"].items() if name in MOVING_PARTS)
            if seconds:
                found[step["component"]] = found.get(step["component"], 0.0) + seconds
    return found


def physical_alone(lab: Lab, backup_set: Path) -> float:
    """Seconds of the recovery's own pgBackRest command into a scratch volume, nothing else being restored."""
    say("base backup alone")
    taken = lab.manifest(backup_set)["components"]["postgresql"]["pgbackrest"]
    argv = restore_argv(taken["stanza"], taken["label"], "/var/lib/platform3/data", os.cpu_count() or 1, None)
    service = json.loads(output(*lab.compose("config", "--format", "json")))["services"]["postgresql"]
    binds = [f"--volume={one['source']}:{one['target']}:ro" for one in service["volumes"] if one["type"] == "bind"]
    volume = f"platform3-benchmark-{uuid.uuid4().hex[:12]}"
    output("docker", "volume", "create", f"--label={LABEL}={lab.id}", volume)
    try:
        # A new named volume gets its owner from the image's folder.
        run = ["docker", "run", "--rm", f"--label={LABEL}={lab.id}", f"--volume={volume}:/var/lib/platform3", *binds]
        output(*run, service["image"], "mkdir", "-m", "0700", "/var/lib/platform3/data")
        began = time.monotonic()
        subprocess.run([*run, service["image"], *argv], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", volume], check=False, stdout=subprocess.DEVNULL)
