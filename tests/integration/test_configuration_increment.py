# SPDX-License-Identifier: GPL-3.0-or-later
"""The half-hourly job, by the very command line of its unit: a set when something changed, else none; and restored."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.bad_input import ROOT, playbook
from tests.integration.secrets_stage import SECRETS, SET, Scratch
from tests.integration.units import verified

pytestmark = [pytest.mark.integration, pytest.mark.lab]

UNIT = "platform3-configuration-increment.service"


def sets(scratch: Scratch) -> list[str]:
    return sorted(path.name for path in scratch.store.iterdir() if re.fullmatch(r"\d{8}T\d{6}Z.*", path.name))


def run(scratch: Scratch) -> str:
    """Run the job's unit; what it said, white space evened out."""
    argv = [sys.executable, str(ROOT / "tools/run_unit.py"), str(scratch.folder / "units"), str(scratch.folder), UNIT]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def test_a_set_is_made_when_something_changed_and_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch(tmp_path, monkeypatch)
    scratch.complete(scratch.back_up())
    installed = playbook(scratch.inventory, "playbooks/schedule.yml")
    assert installed.status == 0, installed.text
    judged = verified(tmp_path / "units")
    assert (judged.returncode, judged.stderr) == (0, "") and len(list((tmp_path / "units").glob("*.timer"))) == 6
    assert "is complete" in run(scratch), "the inventory's facts are others than those of the first set"
    _full, increment = sets(scratch)
    manifest = json.loads((scratch.store / increment / "backup_manifest.json").read_text())
    assert manifest["parent"] == SET and manifest["chains"]["configuration"] == [increment]
    kept = json.loads((scratch.store / increment / "configuration/inventory.json").read_text())
    assert "configuration-increment" in [job["name"] for job in kept["schedule_jobs"]]
    assert f"Nothing has changed since backup set {increment}" in run(scratch)
    assert sets(scratch) == [SET, increment] and not (tmp_path / "state/lock").exists()
    (tmp_path / "secrets/database_password").write_bytes(b"rotated-since-then")
    assert "is complete" in run(scratch)
    assert len(sets(scratch)) == 3
    assert scratch.restore("safe").status == 0
    wanted = {f"secrets/{name}": content for name, content in SECRETS.items()}
    wanted["secrets/database_password"] = b"rotated-since-then"
    assert {name: content for name, content in scratch.restored().items() if name in wanted} == wanted
    assert not (tmp_path / "state/alarms.jsonl").exists()
