# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, one after the other on the one lab, so that `make test` is a single pytest run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTIAL = ("partial_postgresql", "partial_redis", "partial_influxdb", "partial_app_services")
SCENARIOS = ("default", "backup", "full_recovery", "rollback", *PARTIAL, "point_in_time")
TIMEOUT_SECONDS = 2400

pytestmark = pytest.mark.molecule


def test_every_scenario_is_run() -> None:
    assert {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} == set(SCENARIOS)


def test_all_scenarios() -> None:
    """`molecule test` ends with status 0. In one command, so that the lab they share is asked for once."""
    done = subprocess.run(
        ["molecule", "test", *(part for name in SCENARIOS for part in ("--scenario-name", name))],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MOLECULE_GLOB": "molecule/*/molecule.yml",
            "NO_COLOR": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"\n{done.stdout[-12000:]}"
    assert "Missing playbook" not in done.stdout
    assert all(f"{name} > " in done.stdout for name in SCENARIOS)
