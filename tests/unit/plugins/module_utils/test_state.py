# SPDX-License-Identifier: GPL-3.0-or-later
"""The state folder: the lock's rules, and a journal that two writers (Python and shell) append to alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _state as state
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence


def a_lock(recovery_id: str = "r1", kind: str = "recovery", epoch: int = 7) -> state.Lock:
    return state.Lock("lab-1", epoch, "me", kind, recovery_id, 2, "full", "2026-11-23T05:00:00Z")


def shell_append(folder: Path, fence: Fence, starting: bool = True) -> subprocess.CompletedProcess[str]:
    command = state.append_command(str(folder), fence, starting=starting)
    entry = json.dumps({"event": "step_started", "recovery_id": fence.recovery_id, "name": 'it\'s "quoted" 50 %'})
    return subprocess.run(["sh", "-c", command], input=entry[1:] + "\n", capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lock").write_text(a_lock().line() + "\n", encoding="utf-8")
    (tmp_path / "r1").mkdir()
    return tmp_path


def test_a_lock_survives_its_file() -> None:
    assert state.parse_lock(a_lock().line()) == a_lock()
    assert state.parse_lock("") is None


@pytest.mark.parametrize(
    ("held", "wanted", "kind", "age", "free"),
    [
        (None, "r1", "recovery", 0, True),
        (a_lock("r1"), "r1", "recovery", 0, True),
        (a_lock("r1"), "r2", "recovery", 9999, False),
        (a_lock("r1"), "b1", "backup", 9999, False),
        (a_lock("b1", "backup"), "r2", "recovery", 0, True),
        (a_lock("b1", "backup"), "b2", "backup", 5, False),
        (a_lock("b1", "backup"), "b2", "backup", 61, True),
    ],
)
def test_who_may_take_the_lock(held: state.Lock | None, wanted: str, kind: str, age: float, free: bool) -> None:
    assert (state.refusal(held, wanted, kind, age) is None) is free


def test_shell_and_python_append_the_same_form(folder: Path) -> None:
    stamped = state.append_entry(str(folder), 2, {"event": "note", "recovery_id": "r1"})
    done = shell_append(folder, Fence("r1", 7))
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == stamped
    assert second["name"] == 'it\'s "quoted" 50 %'
    assert second["run"] == 2
    assert set(first) - {"event", "recovery_id"} <= set(second)


def test_an_older_epoch_cannot_append(folder: Path) -> None:
    done = shell_append(folder, Fence("r1", 6))
    assert done.returncode == state.FENCED_STATUS
    assert json.loads(done.stdout)["epoch"] == 7
    assert not (folder / "r1/journal.jsonl").exists()


def test_another_recovery_cannot_append(folder: Path) -> None:
    assert shell_append(folder, Fence("r", 7)).returncode == state.FENCED_STATUS


def test_nothing_is_appended_without_a_lock(folder: Path) -> None:
    (folder / "lock").unlink()
    assert shell_append(folder, Fence("r1", 7)).returncode == state.FENCED_STATUS


def test_a_stop_ends_the_run_at_the_next_start_but_lets_the_step_finish(folder: Path) -> None:
    (folder / "r1/stop").touch()
    assert shell_append(folder, Fence("r1", 7), starting=True).returncode == state.STOPPED_STATUS
    assert shell_append(folder, Fence("r1", 7), starting=False).returncode == 0


@pytest.mark.parametrize("writer", ["shell", "python"])
def test_a_torn_line_does_not_swallow_the_next(folder: Path, writer: str) -> None:
    (folder / "r1/journal.jsonl").write_text('{"at": "2026-11-23T05:0', encoding="utf-8")
    if writer == "shell":
        assert shell_append(folder, Fence("r1", 7)).returncode == 0
    else:
        state.append_entry(str(folder), 1, {"event": "note", "recovery_id": "r1"})
    lines = (folder / "r1/journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    json.loads(lines[1])
