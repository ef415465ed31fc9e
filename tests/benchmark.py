# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the recovery against its goals and the old procedure; run by `make benchmark`, see docs/benchmarks.md.

`make benchmark ONLY=recovery,verification RUNS=3 WRITE=1`, or the same as options of this script.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "collections")]

from tests.benchmarks import (  # noqa: E402
    backup,
    cost,
    instants,
    loss,
    memory,
    old_procedure,
    partial,
    recovery,
    replay,
    verification,
)
from tests.benchmarks.about import dated  # noqa: E402
from tests.benchmarks.lab import Lab, Refused, say  # noqa: E402
from tests.benchmarks.table import Result, terminal, with_section  # noqa: E402

MEASUREMENTS = {
    "recovery": recovery.measure,
    "old_procedure": old_procedure.measure,
    "verification": verification.measure,
    "memory": memory.measure,
    "backup": backup.measure,
    "replay": replay.measure,
    "cost": cost.measure,
    "loss": loss.measure,
    "instants": instants.measure,
    "partial": partial.measure,
}
DOCUMENT = ROOT / "docs/benchmarks.md"


def options() -> argparse.Namespace:
    """The command line; make's variables are the defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    only = os.environ.get("ONLY", "").replace(",", " ").split()
    parser.add_argument("only", nargs="*", default=only, help=f"some of {', '.join(MEASUREMENTS)} (default: all)")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "1")), help="of the recovery")
    parser.add_argument("--write", action="store_true", default=bool(os.environ.get("WRITE")), help=f"into {DOCUMENT}")
    given = parser.parse_args()
    unknown = set(given.only) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    return given


def main() -> int:
    """Measure, print, write; 1 where a measurement could not be made. The lab is left serving."""
    given = options()
    lab = Lab(ROOT)
    try:
        lab.require_ours()
    except Refused as error:
        print(f"benchmark: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    results: list[Result] = []
    try:
        for name in given.only or MEASUREMENTS:
            say(f"measuring: {name}")
            results.append(dated(lab, MEASUREMENTS[name](lab, given.runs), given.runs))
            if given.write:
                DOCUMENT.write_text(with_section(DOCUMENT.read_text("utf-8"), results[-1]), encoding="utf-8")
    finally:
        if results:
            print(f"\n{terminal(results)}\n", flush=True)
        serving = lab.leave_serving()
    return 0 if serving else 1


if __name__ == "__main__":
    sys.exit(main())
