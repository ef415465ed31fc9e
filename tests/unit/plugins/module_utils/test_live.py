# SPDX-License-Identifier: GPL-3.0-or-later
"""The live lines, as the operator reads them."""

from __future__ import annotations

from ansible_collections.platform3.recovery.plugins.module_utils._live import (
    clock,
    finished_line,
    progress_line,
    would_lines,
)


def test_progress_with_a_known_total() -> None:
    figures = {"doing": "", "done": 610e6, "total": 1000e6, "unit": "bytes"}
    assert (
        progress_line(192, 900, "restore", "postgresql", figures, 5.17)
        == "[03:12 of 15:00] restore postgresql 61 % 118 MB/s, 00:03 left, on track"
    )


def test_a_step_that_cannot_end_in_time_is_late() -> None:
    figures = {"doing": "replaying WAL", "done": 1e6, "total": 1e9, "unit": "bytes"}
    assert progress_line(890, 900, "restore", "postgresql", figures, 10).endswith("LATE")


def test_nothing_known_yet_is_a_line_all_the_same() -> None:
    assert progress_line(1, 900, "verify", "redis", {}, 0) == "[00:01 of 15:00] verify redis, on track"


def test_a_finished_step_names_its_time() -> None:
    line = finished_line(41, 900, "restore", "redis", "Load the snapshot", 2.14, failed=False)
    assert line == "[00:41 of 15:00] restore redis done in 2.1 s: Load the snapshot"


def test_hours_are_shown_from_an_hour_on() -> None:
    assert clock(3661) == "1:01:01"
    assert clock(-5) == "00:00"


def test_check_mode_shows_what_would_go_and_come() -> None:
    result = {"changed": True, "diff": {"before": "forex-redis\n", "after": "\n"}}
    assert would_lines("isolate", "redis", "Take Redis away", result) == [
        "check mode: isolate redis would: Take Redis away",
        "    - forex-redis",
    ]


def test_check_mode_says_where_nothing_would_change() -> None:
    assert would_lines("assess", "redis", "Look", {"changed": False}) == ["check mode: assess redis is good: Look"]
