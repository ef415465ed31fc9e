# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a recovery replays WAL, and how much of it, and so how old a base backup, the RTO allows."""

from __future__ import annotations

import yaml
from ansible_collections.platform3.recovery.plugins.module_utils._replay import measurement, replay_figures, wal_bound

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, say
from tests.benchmarks.table import Figure, Result

OBJECTIVES = "inventories/lab/group_vars/all/objectives.yml"
# Half of it is new rows, the other half their change; full pages are written as after any base backup.
CHANGES = """
CREATE TABLE benchmark_wal AS SELECT n AS id, repeat(md5(n::text), 4) AS text FROM generate_series(1, 2000000) AS n;
ALTER TABLE benchmark_wal ADD PRIMARY KEY (id);
UPDATE benchmark_wal SET text = upper(text);
DROP TABLE benchmark_wal;
"""


def measure(lab: Lab, _runs: int) -> Result:
    """A backup, more than a gigabyte of WAL after it, total loss, recovery."""
    backup_set = lab.back_up()
    say("changes after the backup")
    lab.sql(*CHANGES.strip().split("\n"))
    lab.lose()
    recovery_id = lab.recover().report["recovery_id"]
    found = measurement(recovery_id, lab.journal(recovery_id))
    if found is None:
        raise RuntimeError(f"the journal of {recovery_id} does not say how much was replayed")
    told = replay_figures([found])
    objectives = yaml.safe_load((lab.root / OBJECTIVES).read_text(encoding="utf-8"))["recovery_objectives"]
    target = float(objectives["rto"]["postgresql"]["target_seconds"])
    bound = wal_bound(told["bytes_per_second"], target, told["other_seconds"])
    return Result(
        "replay",
        [
            sizes(lab.manifest(backup_set)),
            f"the bound leaves a fifth of PostgreSQL's RTO ({target:.0f} s) unused, and the time of all else",
        ],
        [
            Figure("WAL replayed", found["bytes"] / 1e6, "MB"),
            Figure("replaying it", found["seconds"]),
            Figure("speed", told["bytes_per_second"] / 1e6, "MB/s"),
            Figure("WAL that the RTO allows", bound / 1e9, "GB"),
        ],
    )
