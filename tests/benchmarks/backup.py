# SPDX-License-Identifier: GPL-3.0-or-later
"""A full backup step by step, an increment, and InfluxDB's full backup against one shard after the other with gzip."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    History,
    Step,
    parts_of,
    read_history,
)
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import recoveries
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, say
from tests.benchmarks.table import Figure, Result
from tools import drill

INFLUXDB = {"backup_set_kind": "increment", "backup_set_components": "influxdb"}
TRAFFIC_SECONDS = 60


def measure(lab: Lab, _runs: int) -> Result:
    """Everything once; InfluxDB alone, whole, the new way and the old; a minute of ticks as an increment."""
    backup_set = lab.back_up()
    full = newest_backup(lab)
    say("InfluxDB alone, every shard whole")
    lab.playbook("backup.yml", {**INFLUXDB, "influxdb_chain_max_increments": "0"}, {})
    whole = longest_steps(newest_backup(lab))["influxdb"]
    say("InfluxDB one shard after the other, gzipped by the server")
    gzipped_seconds = one_by_one(lab, lab.manifest(lab.newest_set()))
    say(f"{TRAFFIC_SECONDS} s of traffic, then an increment")
    lab.playbook("backup.yml", INFLUXDB, {})
    with drill.traffic(100):
        time.sleep(TRAFFIC_SECONDS)
    lab.playbook("backup.yml", INFLUXDB, {})
    increment = longest_steps(newest_backup(lab))["influxdb"]
    return Result(
        "backup",
        [sizes(lab.manifest(backup_set)), "each step's own time; the components of a full backup run at once"],
        [
            Figure("full backup, all of it", run_seconds(full)),
            *(Figure(f"full backup: {name}", one.seconds or 0.0) for name, one in sorted(longest_steps(full).items())),
            Figure("InfluxDB alone, copied whole", copy_seconds(whole)),
            Figure("InfluxDB alone, MB", whole.result["bytes"] / 1e6, "MB"),
            Figure("InfluxDB one shard after the other with gzip", gzipped_seconds),
            Figure("one by one with gzip / whole", gzipped_seconds / copy_seconds(whole), "x", 5, at_least=True),
            Figure(f"increment after {TRAFFIC_SECONDS} s of ticks", copy_seconds(increment), goal=2),
            Figure("increment, MB", increment.result["bytes"] / 1e6, "MB"),
            Figure("increment, share of the whole", 100 * increment.result["bytes"] / whole.result["bytes"], "%", 1),
        ],
    )


def newest_backup(lab: Lab) -> History:
    """What the newest backup's journal tells."""
    newest = max(name for name in recoveries(str(lab.state)) if name.startswith("backup-"))
    return read_history(lab.journal(newest))


def run_seconds(history: History) -> float:
    """From the first entry, which is written as soon as the lock is held, to the last."""
    return parse_iso(history.entries[-1]["at"]) - parse_iso(history.entries[0]["at"])


def longest_steps(history: History) -> dict[str, Step]:
    """Of each component the step that took longest, of those that ended well."""
    ended = sorted((one for one in history.steps if one.outcome == "ok"), key=lambda one: one.seconds or 0.0)
    return {one.component: one for one in ended}


def copy_seconds(step: Step) -> float:
    """The part of a step in which data was copied."""
    return parts_of(step)["copy"]


def one_by_one(lab: Lab, manifest: dict[str, Any]) -> float:
    """Seconds of the old way: metadata, then each shard that the set names, gzipped by the server, into a file."""
    shards = manifest["components"]["influxdb"]["shards"]
    with TemporaryDirectory(prefix="platform3-benchmark-", dir="/var/tmp") as scratch:
        began = time.monotonic()
        for path in ["metadata", *(f"shards/{one['id']}" for one in shards)]:
            headers = {"Authorization": f"Token {lab.secret('influxdb_token')}", "Accept-Encoding": "gzip"}
            request = urllib.request.Request(f"{lab.facts['influxdb_url']}/api/v2/backup/{path}", headers=headers)
            with (
                urllib.request.urlopen(request, timeout=600) as answer,
                (Path(scratch) / path.replace("/", "-")).open("wb") as sink,
            ):
                if path != "metadata" and answer.headers.get("Content-Encoding") != "gzip":
                    raise RuntimeError(f"{path}: not gzipped: this is not the old way")
                while chunk := answer.read(1 << 20):
                    sink.write(chunk)
        return time.monotonic() - began
