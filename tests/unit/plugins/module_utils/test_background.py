# SPDX-License-Identifier: GPL-3.0-or-later
"""Work behind a module outlives its beginner, is begun once, ends when told; a kill is no result."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._background import Going, end, start


def rounds(going: Going) -> dict[str, int]:
    """Counts how often it went round."""
    count = 0
    while going():
        count += 1
        going.sleep(30)
    return {"rounds": count, "group": os.getpgid(0)}


def worker_of(path: Path) -> int:
    """The worker's process id, once it has told it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and path.read_text(encoding="utf-8").endswith("}"):
            return int(json.loads(path.read_text(encoding="utf-8"))["pid"])
        time.sleep(0.01)
    pytest.fail("the worker did not begin")


def test_it_goes_on_in_a_session_of_its_own_until_it_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    assert start(str(path), rounds, 60)
    worker = worker_of(path)
    began = time.monotonic()
    assert end(str(path), 10) == {"rounds": 1, "group": worker}
    assert worker != os.getpgid(0)
    assert time.monotonic() - began < 10, "it waited for the end of a round's sleep"
    assert not path.exists()


def test_ended_before_it_began_its_first_round_it_still_tells(tmp_path: Path) -> None:
    for _ in range(20):
        assert start(str(tmp_path / "probe"), rounds, 60)
        assert set(end(str(tmp_path / "probe"), 10)) == {"rounds", "group"}


def test_it_is_begun_once(tmp_path: Path) -> None:
    path = str(tmp_path / "probe")
    assert start(path, rounds, 60)
    assert not start(path, rounds, 60)
    assert end(path, 10)["rounds"] == 1


def test_it_ends_by_itself_at_its_limit(tmp_path: Path) -> None:
    def short(going: Going) -> str:
        while going():
            going.sleep(0.01)
        return "limit"

    path = tmp_path / "probe"
    assert start(str(path), short, 0.1)
    deadline = time.monotonic() + 10
    while "found" not in path.read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert end(str(path), 10) == "limit"


def test_one_that_was_killed_found_nothing_and_can_be_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    assert start(str(path), rounds, 60)
    os.kill(worker_of(path), signal.SIGKILL)
    assert end(str(path), 10) is None
    assert start(str(path), rounds, 60)
    assert end(str(path), 10)["rounds"] == 1


def test_what_fails_found_nothing(tmp_path: Path) -> None:
    def fails(_going: Going) -> Any:
        raise ValueError("no")

    assert start(str(tmp_path / "probe"), fails, 60)
    assert end(str(tmp_path / "probe"), 10) is None


def test_one_that_does_not_end_is_told(tmp_path: Path) -> None:
    def deaf(_going: Going) -> None:
        time.sleep(60)

    path = tmp_path / "probe"
    assert start(str(path), deaf, 60)
    worker = worker_of(path)
    with pytest.raises(TimeoutError, match="still worked for"):
        end(str(path), 0.2)
    os.kill(worker, signal.SIGKILL)


def test_what_was_not_begun_found_nothing(tmp_path: Path) -> None:
    assert end(str(tmp_path / "probe"), 1) is None
    with pytest.raises(FileNotFoundError):
        start(str(tmp_path / "no" / "probe"), rounds, 1)
