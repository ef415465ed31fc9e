# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _objectives as objectives
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._journal import History, read_history
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins import journal_samples as samples

ALL = ["postgresql", "redis", "influxdb", "configuration", "app_services"]
INCIDENT = to_iso(samples.START - 45)
SECONDS = st.one_of(st.none(), st.floats(0, 1e5))
ORDER = ("met", "late", "missed")


def read(written: samples.Journal, now: float | None = None) -> History:
    clock = None
    if now is not None:
        boot_id, base = written.boot
        clock = {"at": to_iso(samples.START + now), "monotonic": base + now, "boot_id": boot_id}
    return read_history(written.in_order(), clock)


@given(SECONDS, SECONDS, SECONDS)
def test_a_verdict_needs_figure_and_target(seconds: Any, target: Any, maximum: Any) -> None:
    verdict = objectives.rto_verdict(seconds, target, maximum)
    assert (verdict == "not_measured") == (seconds is None or target is None)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e4), st.floats(0, 1e4))
def test_longer_is_never_better(seconds: float, more: float, target: float, room: float) -> None:
    before = objectives.rto_verdict(seconds, target, target + room)
    after = objectives.rto_verdict(seconds + more, target, target + room)
    assert ORDER.index(after) >= ORDER.index(before)
    assert objectives.rpo_verdict(seconds, target) == "missed" or objectives.rpo_verdict(seconds / 2, target) == "met"


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(300, "met"), (300.001, "late"), (600, "late"), (600.001, "missed"), (None, "not_measured")],
)
def test_limits_belong_to_the_better_side(seconds: float | None, verdict: str) -> None:
    assert objectives.rto_verdict(seconds, 300, 600) == verdict


def test_times_of_a_good_recovery() -> None:
    times = objectives.recovery_times(read(samples.full()), samples.OBJECTIVES, ALL)
    assert times["postgresql"]["seconds"] == pytest.approx(2.1 + 7.0 + 24.6 + 0.3 + 4.8)
    assert times["redis"]["seconds"] == pytest.approx(2.1 + 7.0 + 5.1 + 0.3 + 1.2)
    assert times["complete_system"]["seconds"] == times["app_services"]["seconds"] == pytest.approx(50.1)
    assert {time["verdict"] for time in times.values()} == {"met"}
    assert times["redis"]["target_seconds"] == 180 and times["redis"]["maximum_seconds"] == 300


def test_dead_time_between_runs_counts_from_the_first_run() -> None:
    times = objectives.recovery_times(read(samples.killed_and_resumed()), samples.OBJECTIVES, ALL)
    assert times["postgresql"]["seconds"] == pytest.approx(2.1 + 248 + 24.6 + 0.3 + 4.8)
    assert times["redis"]["verdict"] == "late"


def test_what_did_not_come_back_is_not_measured_until_its_maximum_has_passed() -> None:
    written = samples.one_component_failed()
    early = objectives.recovery_times(read(written), samples.OBJECTIVES, ALL)
    assert early["redis"] == {
        "seconds": None,
        "target_seconds": 180,
        "maximum_seconds": 300,
        "verdict": "not_measured",
    }
    late = objectives.recovery_times(read(written, now=400.0), samples.OBJECTIVES, ALL)
    assert late["redis"]["verdict"] == "missed" and late["redis"]["seconds"] is None
    assert late["complete_system"]["verdict"] == "not_measured"
    assert late["influxdb"]["verdict"] == "met"


def test_what_was_not_asked_for_is_not_measured() -> None:
    times = objectives.recovery_times(read(samples.full(), now=9999.0), samples.OBJECTIVES, ["redis"])
    assert times["redis"]["verdict"] == "met"
    assert times["postgresql"]["verdict"] == times["complete_system"]["verdict"] == "not_measured"


@given(st.floats(-1e5, 1e5))
def test_no_loss_and_no_downtime_is_negative(shift: float) -> None:
    history = read(samples.full())
    incident = to_iso(samples.START + shift)
    for loss in objectives.recovery_losses(history, samples.OBJECTIVES, incident).values():
        assert loss["seconds"] is None or loss["seconds"] >= 0
    down = objectives.downtime_seconds(history, incident)
    assert down is not None and down >= 0


@given(st.floats(0, 500), st.floats(0, 500))
def test_times_are_never_negative_and_move_with_the_journal(delay: float, elapsed: float) -> None:
    written = samples.Journal()
    written.run_started(0.0, elapsed=elapsed)
    samples.restore(written, at=delay)
    samples.validate(written, at=delay + 40)
    times = objectives.recovery_times(read(written), samples.OBJECTIVES, ALL)
    for name in objectives.RTO_NAMES:
        assert times[name]["seconds"] >= delay + elapsed - 0.02


def test_losses_against_the_incident() -> None:
    losses = objectives.recovery_losses(read(samples.full()), samples.OBJECTIVES, INCIDENT)
    assert losses["trading_transactions"]["seconds"] == 0.0  # the last commit is newer than the incident's time
    assert losses["user_sessions"]["seconds"] == pytest.approx(0.4)
    assert losses["market_data"] == {
        "seconds": pytest.approx(4.0),
        "target_seconds": 300,
        "verdict": "met",
        "recovery_point": "2026-11-23T05:16:11.000Z",
    }
    assert losses["configuration"]["verdict"] == "not_measured"


def test_a_loss_past_its_target_is_missed() -> None:
    late = to_iso(samples.START + 60)
    losses = objectives.recovery_losses(read(samples.full()), samples.OBJECTIVES, late)
    assert losses["trading_transactions"]["verdict"] == "missed"
    assert losses["user_sessions"]["verdict"] == "met"


def test_without_an_incident_nothing_is_measured_and_the_point_is_told() -> None:
    losses = objectives.recovery_losses(read(samples.full()), samples.OBJECTIVES, None)
    assert {loss["verdict"] for loss in losses.values()} == {"not_measured"}
    assert losses["trading_transactions"]["recovery_point"] == "2026-11-23T05:16:15.400Z"
    assert objectives.downtime_seconds(read(samples.full()), None) is None


def test_a_failed_component_has_no_recovery_point() -> None:
    losses = objectives.recovery_losses(read(samples.one_component_failed()), samples.OBJECTIVES, INCIDENT)
    assert losses["user_sessions"] == {
        "seconds": None,
        "target_seconds": 900,
        "verdict": "not_measured",
        "recovery_point": None,
    }


def test_downtime_ends_when_customers_come_in() -> None:
    assert objectives.downtime_seconds(read(samples.full()), INCIDENT) == pytest.approx(45 + 52.7)
    assert objectives.downtime_seconds(read(samples.one_component_failed()), INCIDENT) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rto": {"postgres": {"target_seconds": 1}}}, "postgres"),
        ({"rto": {"redis": {"target_seconds": "soon"}}}, "soon"),
        ({"rpo": {"market_data": {"target_seconds": -1}}}, "-1"),
        ({"rto": ["redis"]}, "list"),
        ("300", "str"),
    ],
)
def test_wrong_objectives_are_named(wrong: Any, says: str) -> None:
    with pytest.raises(RecoveryError, match=says):
        objectives.check_objectives(wrong)


def test_objectives_may_be_strings_as_extra_variables_are() -> None:
    given_as_text = {"rto": {"redis": {"target_seconds": "180", "maximum_seconds": "300"}}}
    objectives.check_objectives(given_as_text)
    times = objectives.recovery_times(read(samples.full()), given_as_text, ALL)
    assert times["redis"]["target_seconds"] == 180 and times["postgresql"]["verdict"] == "not_measured"
