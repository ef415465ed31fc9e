# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules recovery_report and recovery_objectives_info on a state folder, and recovery_report_copy as a run."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.platform3.recovery.plugins.module_utils._state import Lock

from tests.unit.plugins import journal_samples as samples

ROOT = Path(__file__).parents[4]
ID = samples.RECOVERY_ID
FILES = ["report.html", "report.json", "report.md"]


def call(name: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    module = importlib.import_module(f"ansible_collections.platform3.recovery.plugins.modules.{name}")
    printed = io.StringIO()
    given = {**arguments, "_ansible_check_mode": check_mode}
    with patch_module_args(given), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
    return result


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with the journal of a good recovery that holds the lock at epoch 1."""
    folder = tmp_path / "state"
    (folder / ID).mkdir(parents=True)
    (folder / ID / "journal.jsonl").write_text(samples.full().text())
    hold(folder, ID, 1)
    return folder


def hold(folder: Path, recovery_id: str, epoch: int) -> None:
    lock = Lock("lab-1", epoch, "me", "recovery", recovery_id, 1, "full", "2026-11-23T05:17:00.000Z")
    (folder / "lock").write_text(lock.line() + "\n")


def report(state: Path, check_mode: bool = False, epoch: int = 1, **arguments: Any) -> dict[str, Any]:
    fence = {"recovery_id": ID, "epoch": epoch}
    given = {"state_path": str(state), "fence": fence, "objectives": samples.OBJECTIVES, **arguments}
    return call("recovery_report", check_mode, **given)


def test_the_three_files_are_written_beside_the_journal(state: Path) -> None:
    made = report(state)
    assert made["outcome"] == "success" and made["card"][0].startswith("== RECOVERY SUCCEEDED")
    assert made["report"]["rto"]["redis"]["verdict"] == "met" and "steps" not in made["report"]
    for one in made["files"]:
        content = (state / ID / one["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one["sha256"] and len(content) == one["bytes"]
    assert sorted(path.name for path in (state / ID).iterdir()) == ["journal.jsonl", *FILES]


def test_the_journals_digest_holds_after_the_journal_went_on(state: Path) -> None:
    report(state)
    path = state / ID / "journal.jsonl"
    with path.open("a") as stream:
        stream.write('{"event": "run_finished", "epoch": 1}\n')
    journal = json.loads((state / ID / "report.json").read_text())["evidence"]["journal"]
    assert hashlib.sha256(path.read_bytes()[: journal["bytes"]]).hexdigest() == journal["sha256"]


def test_the_digest_of_the_sets_manifest_is_evidence(state: Path, tmp_path: Path) -> None:
    (tmp_path / "backup_manifest.json").write_text("{}")
    report(state, set_path=str(tmp_path), evidence={"signed_by": "lab-backup"})
    evidence = json.loads((state / ID / "report.json").read_text())["evidence"]
    assert evidence["backup_manifest.json sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert evidence["backup_manifest.json.sig sha256"].startswith("could not be read")
    assert evidence["signed_by"] == "lab-backup"


def test_a_run_that_was_outranked_does_not_write(state: Path) -> None:
    report(state)
    before = (state / ID / "report.json").read_bytes()
    hold(state, ID, 2)
    made = report(state)
    assert made["failed"] and made["error"]["code"] == "PRC-901"
    assert (state / ID / "report.json").read_bytes() == before


def test_check_mode_writes_nothing(state: Path) -> None:
    assert report(state, check_mode=True)["outcome"] == "success"
    assert not (state / ID / "report.json").exists()


def test_check_mode_without_a_journal_has_no_report(tmp_path: Path) -> None:
    made = report(tmp_path, check_mode=True, epoch=0)
    assert made["outcome"] == "untouched" and made["files"] == [] and "Check mode" in made["card"][0]


def test_a_state_folder_that_cannot_be_written_is_said(state: Path) -> None:
    (state / ID / "report.md.new").mkdir()
    assert report(state)["error"]["code"] == "PRC-902"


def test_an_unknown_recovery_names_those_there_are(state: Path) -> None:
    given = {"state_path": str(state), "objectives": samples.OBJECTIVES}
    failed = call("recovery_objectives_info", recovery_id="nonsense", **given)
    assert failed["error"]["code"] == "PRC-900" and ID in failed["msg"]


def test_objectives_are_told_at_any_time(state: Path) -> None:
    given = {"state_path": str(state), "recovery_id": ID, "objectives": samples.OBJECTIVES}
    found = call("recovery_objectives_info", **given)
    assert found["rto"]["postgresql"]["verdict"] == "met"
    assert found["rpo"]["user_sessions"]["seconds"] == pytest.approx(0.4)
    assert found["downtime_seconds"] == pytest.approx(97.7)
    assert found["components"]["influxdb"] == "verified"
    later = call("recovery_objectives_info", **given, incident_at="2026-11-23T06:20:00+01:00")
    assert later["rpo"]["trading_transactions"]["verdict"] == "missed"
    wrong = call("recovery_objectives_info", **given, incident_at="2026-11-23T06:20:00")
    assert wrong["error"]["code"] == "PRC-102"


# --- the copy on the controller --------------------------------------------------------------------------------------


def copy(folder: Path, state: Path, made: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    task = {
        "name": "report | Bring the report to the controller",
        "platform3.recovery.recovery_report_copy": {
            "recovery_id": ID,
            "path": made["path"],
            "files": made["files"],
            "dest": "reports",
        },
    }
    play = {"hosts": "store", "gather_facts": False, "tasks": [task, task]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "hosts.yml").write_text("all: {hosts: {store: {ansible_connection: local}}}\n")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [str(program), "-i", "hosts.yml", "play.yml", *options]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_copy_is_the_original_and_latest_points_at_it(state: Path, tmp_path: Path) -> None:
    made = report(state)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "latest").symlink_to("an-older-one")
    done = copy(tmp_path, state, made)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout  # the second time there is nothing to do
    latest = tmp_path / "reports" / "latest"
    assert os.readlink(latest) == ID
    assert sorted(path.name for path in latest.iterdir()) == FILES
    for name in FILES:
        assert (latest / name).read_bytes() == (state / ID / name).read_bytes()


def test_the_loss_statement_goes_with_the_report_and_stays_private(state: Path, tmp_path: Path) -> None:
    written = samples.full()
    file = {"name": "undone_orders.csv", "bytes": 5, "sha256": hashlib.sha256(b"kind\n").hexdigest()}
    lost = {**file, "name": "undone_deposits.csv"}
    listings = [{"kind": "orders", "count": 0, "file": file}, {"kind": "deposits", "count": 0, "file": lost}]
    written.step(80.0, 81.0, "report", "postgresql", "List what was undone", result={"undone": listings})
    (state / ID / "journal.jsonl").write_text(written.text())
    (state / ID / "undone_orders.csv").write_text("kind\n")
    made = report(state)
    assert [one["name"] for one in made["files"]] == ["report.json", "report.md", "report.html", "undone_orders.csv"]
    done = copy(tmp_path, state, made)
    assert done.returncode == 0, done.stdout + done.stderr
    copied = tmp_path / "reports" / ID / "undone_orders.csv"
    assert copied.read_text() == "kind\n" and copied.stat().st_mode & 0o777 == 0o600


def test_a_report_that_changed_on_the_way_is_not_taken(state: Path, tmp_path: Path) -> None:
    made = report(state)
    (state / ID / "report.json").write_text("{}")
    done = copy(tmp_path, state, made)
    assert done.returncode != 0 and "PRC-910" in done.stdout + done.stderr


def test_check_mode_copies_nothing(state: Path, tmp_path: Path) -> None:
    done = copy(tmp_path, state, report(state), "--check")
    assert done.returncode == 0 and not (tmp_path / "reports").exists()
