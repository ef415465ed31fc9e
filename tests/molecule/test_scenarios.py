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
TIMEOUT_SECONDS = 900

pytestmark = pytest.mark.molecule


def test_every_scenario_is_run() -> None:
    assert {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    """`molecule test -s NAME` ends with status 0."""
    done = subprocess.run(
        ["molecule", "test", "--scenario-name", name],
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
