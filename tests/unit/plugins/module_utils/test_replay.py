# SPDX-License-Identifier: GPL-3.0-or-later
"""Replay speed by the journals, and the bound of WAL that follows for the RTO."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._plan import plan_lines
from ansible_collections.platform3.recovery.plugins.module_utils._replay import (
    LEAST_BYTES,
    SHARE,
    bound_of,
    measurement,
    replay_figures,
    replay_line,
    wal_bound,
    wal_rate,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES, WalFile
from hypothesis import given
from hypothesis import strategies as st


def entry(second: int, event: str, **fields: Any) -> dict[str, Any]:
    at = f"2026-11-23T05:17:{second:02}.000Z"
    return {"at": at, "monotonic": float(second), "boot_id": "b", "run": 1, "epoch": 1, "event": event, **fields}


def step(second: int, event: str, phase: str, **fields: Any) -> dict[str, Any]:
    return entry(second, event, phase=phase, component="postgresql", host="h", name=phase, **fields)


JOURNAL = [
    entry(0, "run_started"),
    step(5, "step_started", "restore"),
    step(25, "step_finished", "restore", result={"replayed_bytes": 128 << 20, "parts": {"replay": 8.0, "copy": 4.0}}),
    step(25, "step_started", "verify"),
    step(30, "step_finished", "verify", result={"checks": []}),
]


def test_a_recovery_tells_how_fast_it_replayed() -> None:
    assert measurement("r-1", JOURNAL) == {
        "recovery_id": "r-1", "bytes": 128 << 20, "seconds": 8.0, "other_seconds": 22.0,
    }  # fmt: skip
    assert measurement("r-1", JOURNAL[:3]) is None
    assert measurement("r-1", JOURNAL[:1]) is None


def figures(*seconds: float, size: int = LEAST_BYTES) -> dict[str, Any]:
    return replay_figures({"bytes": size, "seconds": one, "other_seconds": 20.0} for one in seconds)


def test_the_slowest_of_the_newest_counts() -> None:
    found = figures(99.0, 1.0, 2.0, 4.0, 1.0, 1.0)
    assert (found["bytes_per_second"], found["counted"]) == (LEAST_BYTES // 4, 5)


def test_too_little_wal_says_nothing() -> None:
    assert figures(1.0, size=LEAST_BYTES - 1) == {"bytes_per_second": None, "other_seconds": None, "counted": 0}
    assert bound_of(figures(), 300, 1e6) == {
        "bound_bytes": None, "wal_bytes_per_second": 1000000, "interval_seconds": None,
    }  # fmt: skip
    assert "not measured yet" in replay_line(figures(), 300, 1 << 30)


@given(st.floats(1e5, 1e10), st.floats(1, 3600), st.floats(0, 3600))
def test_what_the_bound_allows_is_replayed_in_time(speed: float, target: float, other: float) -> None:
    bound = wal_bound(speed, target, other)
    assert bound >= 0
    if bound:
        assert bound / speed + other <= target * SHARE + 1e-6


def test_the_interval_is_the_bound_by_what_is_written() -> None:
    found = bound_of({"bytes_per_second": 100_000_000, "other_seconds": 40.0}, 300, 1_000_000.0)
    assert (found["bound_bytes"], found["interval_seconds"]) == (20_000_000_000, 20_000)
    assert "MORE THAN THE RTO ALLOWS" in replay_line({**figures(64.0)}, 300, 1 << 30)
    assert "MORE" not in replay_line({**figures(64.0)}, 300, 1 << 20)


@pytest.mark.parametrize(("times", "rate"), [([], None), ([5.0], None), ([-90000.0, 5.0], None), ([10.0, 20.0], 1.0)])
def test_wal_a_second_by_the_last_day(times: list[float], rate: float | None) -> None:
    files = [WalFile("x", "archive", "", 1, one) for one in times]
    found = wal_rate(files, 30.0)
    assert found == (None if rate is None else rate * SEGMENT_BYTES / 10)


def test_the_plan_shows_what_is_to_be_replayed() -> None:
    objectives = {"rto": {"complete_system": {"target_seconds": 900}, "postgresql": {"target_seconds": 300}}}
    found = {"postgresql": {"segments": 8, "replay": figures(1.0), "volume_state": {}}}
    lines = plan_lines(found, {"id": "s"}, objectives, {"recovery_id": "r"}, 0.0)
    assert [line for line in lines if line.startswith("WAL to replay: up to 128 MiB, about 2 s at 67 MB/s")]


def test_the_plan_names_the_point_in_time_and_what_it_was_resolved_from() -> None:
    objectives = {"rto": {"complete_system": {"target_seconds": 900}}}
    inputs: dict[str, Any] = {"recovery_id": "r", "target_time": "2026-11-23T05:00:00.123456Z"}
    assert "To 2026-11-23T05:00:00.123456Z" in plan_lines({}, {"id": "s"}, objectives, inputs, 0.0)
    inputs["wal_target"] = {"kind": "lsn", "value": "0/5000118"}
    line = "To 2026-11-23T05:00:00.123456Z, the instant of LSN 0/5000118: PostgreSQL ends exactly there"
    assert line in plan_lines({}, {"id": "s"}, objectives, inputs, 0.0)


def test_the_plan_of_a_partial_recovery_says_what_stops_and_what_is_left() -> None:
    objectives = {"rto": {name: {"target_seconds": 60} for name in ("complete_system", "postgresql")}}
    inputs = {"recovery_id": "r", "components": ["redis"], "stopped": ["heartbeat"]}
    lines = plan_lines({"redis": {"volume_state": {}}}, {"id": "s"}, objectives, inputs, 0.0)
    assert "postgresql    is left as it is" in lines and "influxdb      is left as it is" in lines
    assert lines[-1] == "app_services  heartbeat will stop, all others go on serving"
