# SPDX-License-Identifier: GPL-3.0-or-later
"""Total losses at random moments under traffic: which acknowledged orders are missing afterwards, and what was told.

Each mode of the WAL stream, `runs` times. An order counts as acknowledged once it stands in the ledger of the traffic
generator, whenever that was; afterwards each of them is looked for in the recovered database.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, say
from tests.benchmarks.table import Figure, Result
from tools import drill

ORDERS_A_SECOND = 120.0
# The loss comes so many seconds after the newest increment.
MOMENT_SECONDS = (3.0, 12.0)
MODES = ("async", "sync")


@dataclass(frozen=True)
class Loss:
    """One loss. lost_seconds: from the oldest missing order to the last acknowledged one; rpo_seconds: as reported."""

    acknowledged: int
    missing: int
    lost_seconds: float
    rpo_seconds: dict[str, float]


def measure(lab: Lab, runs: int) -> Result:
    """A full backup, then in each mode: increment, a random moment, total loss, recovery; the ledger decides."""
    backup_set = lab.back_up()
    figures: list[Figure] = []
    for mode in MODES:
        lab.playbook("playbooks/wal_stream.yml", {"postgresql_wal_stream": mode}, {})
        figures += figures_of(mode, [one_loss(lab, mode) for _ in range(runs)])
    lab.playbook("playbooks/wal_stream.yml", {"postgresql_wal_stream": MODES[0]}, {})
    return Result(
        "loss",
        [
            sizes(lab.manifest(backup_set)),
            f"{runs} losses in each mode, at random moments under {ORDERS_A_SECOND:.0f} orders a second; every"
            " container killed, every volume deleted",
            "missing: acknowledged orders that the recovered database does not hold",
            "reported RPO: the latest instant of the loss (when the heartbeat after the last one was due) less the"
            " newest heartbeat that came back",
        ],
        figures,
    )


def one_loss(lab: Lab, mode: str) -> Loss:
    """Trade, lose everything at a random moment, recover, and compare with the ledger."""
    drill.LEDGER.unlink(missing_ok=True)
    with drill.traffic(ORDERS_A_SECOND):
        time.sleep(2)
        lab.playbook("backup.yml", {"backup_set_kind": "increment"}, {})
        time.sleep(random.uniform(*MOMENT_SECONDS))
        say(f"total loss, {mode}")
        drill.lose_everything()
        lost_at = drill.utc_now()  # nothing is acknowledged any more
    orders = drill.acknowledged(lost_at)
    lab.playbook("full_recovery.yml", {"postgresql_wal_stream": mode, "incident_id": f"LOSS-{mode}"}, {})
    report = json.loads(Path(lab.root / "reports/latest/report.json").read_text(encoding="utf-8"))
    missing = drill.lost(orders, lost_at)
    last = max(parse_iso(at) for at in orders.values())
    lost = max(0.001, last - min(parse_iso(at) for at in missing.values())) if missing else 0.0
    reported = {name: float(one["seconds"]) for name, one in report["rpo"].items() if one["seconds"] is not None}
    say(f"{len(orders)} acknowledged, {len(missing)} missing, {lost:.3f} s; reported {reported}")
    return Loss(len(orders), len(missing), lost, reported)


def figures_of(mode: str, losses: list[Loss]) -> list[Figure]:
    """What the losses of one mode come to."""

    def worst(name: str) -> float:
        return max(one.rpo_seconds[name] for one in losses)

    margin = min(one.rpo_seconds["trading_transactions"] - one.lost_seconds for one in losses)
    return [
        Figure(f"{mode}: orders acknowledged", sum(one.acknowledged for one in losses), ""),
        Figure(f"{mode}: of them missing", sum(one.missing for one in losses), "", 0 if mode == "sync" else None),
        Figure(f"{mode}: longest true loss of orders", max(one.lost_seconds for one in losses), goal=1),
        Figure(f"{mode}: longest reported RPO of trading", worst("trading_transactions"), goal=60),
        Figure(f"{mode}: reported RPO less true loss, smallest", margin, goal=0, at_least=True),
        Figure(f"{mode}: longest reported RPO of market data", worst("market_data"), goal=300),
        Figure(f"{mode}: longest reported RPO of sessions", worst("user_sessions"), goal=900),
    ]
