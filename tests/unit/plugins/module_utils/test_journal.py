# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _journal as journal
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins import journal_samples as samples

INTERVALS = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), max_size=30)


def history(written: samples.Journal) -> journal.History:
    return journal.read_history(written.in_order())


def begun(**told: Any) -> samples.Journal:
    """A run that got through assess and isolate."""
    written = samples.Journal()
    written.run_started(0.0, **told)
    samples.assess(written)
    samples.isolate(written)
    return written


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_passed_over_and_is_no_damage() -> None:
    text = samples.full().text()
    torn = text + text.splitlines()[5][:40]
    assert journal.parse(torn) == journal.parse(text)
    assert journal.damaged_lines(torn) == []


def test_a_last_line_without_its_newline_counts() -> None:
    text = samples.full().text()
    assert journal.parse(text.rstrip("\n")) == journal.parse(text)


def test_an_entry_behind_a_torn_one_on_the_same_line_is_found() -> None:
    lines = samples.full().text().splitlines()
    text = "\n".join([lines[0], lines[1][:50] + lines[2], lines[3]]) + "\n"
    assert journal.parse(text) == [json.loads(lines[number]) for number in (0, 2, 3)]
    assert journal.damaged_lines(text) == [2]


def test_damage_in_the_middle_is_named_by_its_line() -> None:
    lines = samples.full().text().splitlines()
    lines[3] = "\x00\x00\x00"
    assert journal.damaged_lines("\n".join(lines) + "\n") == [4]


@given(st.text(max_size=400))
def test_no_text_makes_reading_fail(text: str) -> None:
    entries = journal.parse(text)
    read = journal.read_history(entries)
    assert read.now >= 0
    assert journal.blocking_failure(entries, "report", "recovery") is None


@given(st.integers(0, 20000))
def test_a_journal_cut_anywhere_is_read_up_to_there(cut: int) -> None:
    text = samples.killed_and_resumed().text()
    whole = journal.parse(text)
    part = journal.parse(text[:cut])
    assert part == whole[: len(part)]
    assert len(whole) - len(part) <= text[cut:].count("\n")


@given(
    st.lists(
        st.fixed_dictionaries(
            {"event": st.sampled_from(["run_started", "step_started", "step_failed", "step_finished", "note", "odd"])},
            optional={
                "at": st.one_of(st.just("2026-11-23T05:17:00.000Z"), st.text(max_size=5), st.none()),
                "monotonic": st.one_of(st.floats(-10, 1e6), st.text(max_size=3)),
                "boot_id": st.sampled_from(["a", "b", ""]),
                "epoch": st.one_of(st.integers(0, 3), st.text(max_size=2)),
                "phase": st.sampled_from([*journal.PHASES, "odd"]),
                "component": st.sampled_from(["redis", "postgresql"]),
                "result": st.one_of(
                    st.none(), st.integers(), st.dictionaries(st.sampled_from(["parts", "checks"]), st.none())
                ),
            },
        ),
        max_size=25,
    )
)
def test_odd_entries_never_make_it_fail_and_times_are_never_negative(entries: list[dict[str, Any]]) -> None:
    read = journal.read_history(entries)
    for step in read.steps:
        assert step.started >= 0
        assert step.seconds is None or step.seconds >= 0
    assert journal.orchestration_seconds(read, read.now) <= read.now
    for phase in journal.PHASES:
        journal.blocking_failure(entries, phase, "redis")


# --- epochs and runs -------------------------------------------------------------------------------------------------


def test_entries_of_an_orphan_do_not_count_after_a_takeover() -> None:
    read = history(samples.killed_and_resumed())
    assert read.ignored == 1
    assert all(step.outcome != "failed" for step in read.steps)


def test_an_orphans_own_start_of_a_run_does_not_count_either() -> None:
    written = begun()
    written.run_started(60.0)
    written.write(61.0, "run_started", epoch=1)
    assert len(history(written).runs) == 2


def test_a_start_without_an_end_is_unfinished_in_its_run_and_stays_so() -> None:
    read = history(samples.killed_and_resumed())
    lost = [step for step in read.steps if step.outcome == "unfinished"]
    assert [(step.run, step.component, step.phase) for step in lost] == [(1, "postgresql", "restore")]
    assert journal.overcome(read, lost[0])


def test_the_time_before_the_lock_counts() -> None:
    read = history(samples.full())
    assert read.instant(0.0) == "2026-11-23T05:16:57.900Z"
    assert min(step.started for step in read.steps) == pytest.approx(2.5)


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_stepped_wall_clock_changes_no_duration() -> None:
    straight = samples.full().entries
    stepped = [dict(entry) for entry in straight]
    for entry in stepped[10:]:
        entry["at"] = "2026-11-23T04:00:00.000Z"
    times = [(step.started, step.ended) for step in journal.read_history(straight).steps]
    assert [(step.started, step.ended) for step in journal.read_history(stepped).steps] == times


def test_over_a_reboot_the_wall_clock_counts_and_never_backwards() -> None:
    written = begun()
    written.boot = ("b5a3c1d0-0000-4000-8000-000000000002", -100.0)
    written.run_started(120.0)
    written.step(121.0, 125.0, "assess", "redis", "Check")
    read = history(written)
    assert read.steps[-1].started == pytest.approx(121.0)
    assert read.steps[-1].seconds == pytest.approx(4.0)
    back = [dict(entry) for entry in written.in_order()]
    for entry in back[-3:]:
        entry["at"] = "2020-01-01T00:00:00.000Z"
    assert journal.read_history(back).steps[-1].started >= read.steps[-2].started


# --- barriers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["assess", "isolate"])
@pytest.mark.parametrize("event", ["step_failed", "step_refused"])
def test_a_failure_in_assess_or_isolate_blocks_everything_later(phase: str, event: str) -> None:
    written = begun()
    written.step(6.0, 6.1, phase, "influxdb", "Something", event, error={"found": "no space left"})
    reason = journal.blocking_failure(written.entries, "restore", "redis")
    assert reason is not None and "no space left" in reason and phase in reason


def test_a_host_lost_in_an_earlier_phase_blocks_later_ones() -> None:
    written = begun()
    written.start(6.0, "isolate", "influxdb", "Take it away for good")
    assert "did not end" in str(journal.blocking_failure(written.entries, "restore", "redis"))


def test_a_step_at_work_in_the_same_phase_does_not_block() -> None:
    written = begun()
    written.start(7.0, "restore", "postgresql", "Restore")
    written.start(7.0, "restore", "redis", "Restore")
    assert journal.blocking_failure(written.entries, "restore", "redis") is None
    assert journal.blocking_failure(written.entries, "restore", "postgresql") is None


def test_a_components_failure_blocks_its_own_later_steps_only() -> None:
    written = begun()
    written.step(7.0, 8.0, "restore", "redis", "Restore", "step_failed", error={"message": "bad"})
    assert "bad" in str(journal.blocking_failure(written.entries, "verify", "redis"))
    assert journal.blocking_failure(written.entries, "verify", "postgresql") is None


@pytest.mark.parametrize("phase", ["resume", "validate"])
@pytest.mark.parametrize("missing", journal.DATASTORES)
def test_services_need_every_datastore_verified_that_is_brought_back(phase: str, missing: str) -> None:
    others = tuple(name for name in journal.DATASTORES if name != missing)
    for components, blocked in (((*journal.DATASTORES, "app_services"), True), ((*others, "app_services"), False)):
        written = begun(scenario="partial", components=list(components))
        samples.restore(written, only=others)
        reason = journal.blocking_failure(written.entries, phase, "app_services")
        assert (missing in str(reason)) is blocked and (reason is None) is not blocked


def test_nobody_is_let_in_after_a_failure_in_validate() -> None:
    written = begun()
    samples.restore(written)
    samples.resume(written)
    bad = [*samples.VALIDATE_CHECKS, samples.check("orders", "app_services", 5, 4)]
    samples.validate(written, checks=bad)
    assert journal.blocking_failure(written.entries, "validate", "app_services") is not None


def test_report_is_never_blocked() -> None:
    written = begun()
    written.step(6.0, 6.1, "assess", "recovery", "Verify", "step_failed", error={"message": "damaged"})
    assert journal.blocking_failure(written.entries, "report", "recovery") is None


def test_failures_of_an_earlier_run_do_not_block_the_next() -> None:
    written = begun()
    written.step(7.0, 8.0, "restore", "redis", "Restore", "step_failed", error={"message": "bad"})
    written.run_started(60.0)
    samples.assess(written, 61.0)
    samples.isolate(written, 66.0)
    assert journal.blocking_failure(written.entries, "restore", "redis") is None


def test_a_manifest_is_not_written_over_a_failed_backup() -> None:
    written = samples.Journal()
    written.run_started(0.0)
    written.step(1.0, 2.0, "backup", "redis", "Save", "step_failed", error={"message": "bad"})
    assert journal.blocking_failure(written.entries, "backup", "backup_set") is not None
    assert journal.blocking_failure(written.entries, "backup", "postgresql") is None


# --- states ----------------------------------------------------------------------------------------------------------


def test_states_of_a_good_recovery() -> None:
    read = history(samples.full())
    assert {journal.component_state(read, name) for name in journal.DATASTORES} == {"verified"}
    assert journal.component_state(read, "configuration") == "unchanged"


def test_verify_without_a_check_proves_nothing() -> None:
    written = begun()
    written.step(7.0, 8.0, "restore", "redis", "Restore")
    written.step(8.0, 9.0, "verify", "redis", "Look")
    assert journal.component_state(history(written), "redis") == "incomplete"


def test_a_verify_before_the_last_restore_does_not_count() -> None:
    written = samples.full()
    written.run_started(100.0)
    written.step(101.0, 102.0, "restore", "redis", "Restore redis beside, swap it in", changed=True)
    read = history(written)
    assert journal.component_state(read, "redis") == "incomplete"
    assert journal.component_state(read, "influxdb") == "verified"
    assert journal.trade_read_back(read) is None
    assert journal.gateway_opened(read) is None


def test_a_lost_host_is_unfinished_not_verified() -> None:
    written = begun()
    samples.restore(written, only=("redis",))
    written.start(20.0, "verify", "redis", "Compare more")
    assert journal.component_state(history(written), "redis") == "unfinished"


def test_the_trade_is_taken_at_its_own_time_within_the_step() -> None:
    read = history(samples.full())
    assert journal.trade_read_back(read) == pytest.approx(2.1 + 46.4 + 1.6)
    assert journal.gateway_opened(read) == pytest.approx(2.1 + 52.7)


def test_a_bad_trade_is_none() -> None:
    written = begun()
    samples.restore(written)
    samples.validate(written, checks=[samples.check("trade read back", "app_services", "filled", "rejected")])
    assert journal.trade_read_back(history(written)) is None


# --- intervals -------------------------------------------------------------------------------------------------------


@given(INTERVALS)
def test_a_union_is_at_most_the_wall_time_and_at_least_the_longest(intervals: list[tuple[float, float]]) -> None:
    union = journal.union_seconds(intervals)
    longest = max((end - start for start, end in intervals if end > start), default=0.0)
    ends = [at for one in intervals for at in one]
    wall = max(ends) - min(ends) if ends else 0.0
    assert longest - 1e-6 <= union <= wall + 1e-6


@given(INTERVALS)
def test_merged_intervals_are_disjoint_and_in_order(intervals: list[tuple[float, float]]) -> None:
    merged = journal.merge(intervals)
    assert all(start < end for start, end in merged)
    assert all(one[1] < two[0] for one, two in zip(merged, merged[1:], strict=False))
    assert journal.merge(merged) == merged


@given(INTERVALS)
def test_overlap_is_what_the_sum_has_over_the_union(intervals: list[tuple[float, float]]) -> None:
    total = sum(end - start for start, end in intervals if end > start)
    assert journal.overlap_seconds(intervals) == pytest.approx(total - journal.union_seconds(intervals), abs=1e-6)


@given(st.dictionaries(st.sampled_from(["copy", "hash", "compare", "wait_ready"]), st.floats(0, 100)))
def test_work_is_within_its_step_and_waiting_is_no_work(parts: dict[str, float]) -> None:
    written = samples.Journal()
    written.run_started(0.0)
    written.step(10.0, 40.0, "restore", "redis", "Restore", result={"parts": parts})
    step = history(written).steps[0]
    start, end = journal.work_interval(step)
    assert step.started <= start <= end == step.ended
    worked = parts.get("copy", 0.0) + parts.get("hash", 0.0)
    assert end - start == pytest.approx(min(30.0, worked))


def test_orchestration_is_wall_time_less_work_done_at_once() -> None:
    written = samples.Journal()
    written.run_started(0.0)
    written.step(0.0, 10.0, "restore", "redis", "Restore", result={"parts": {"copy": 8.0}})
    written.step(0.0, 12.0, "restore", "influxdb", "Restore", result={"parts": {"copy": 6.0, "check": 4.0}})
    read = history(written)
    # redis works from 2 to 10, influxdb from 6 to 12: ten seconds together
    assert journal.orchestration_seconds(read, 20.0) == pytest.approx(10.0)


def test_starting_services_took_as_long_as_the_last_tier_and_looking_is_no_work() -> None:
    written = samples.Journal()
    written.run_started(0.0)
    tiers = {"critical": 2.0, "high": 3.0, "medium": 5.5}
    written.step(0.0, 6.0, "resume", "app_services", "Start", result={"parts": tiers})
    written.step(6.0, 9.0, "validate", "app_services", "Trade", result={"parts": {"start": 2.5, "all": 3.0}})
    written.step(10.0, 14.0, "assess", "recovery", "Verify", result={"verified": {"seconds": 3.0, "files": 9}})
    assert [journal.parts_of(step) for step in history(written).steps] == [{"start": 5.5}, {}, {"hash": 3.0}]
    assert journal.orchestration_seconds(history(written), 14.0) == pytest.approx(14.0 - 5.5 - 3.0)


def test_the_slowest_step_is_named() -> None:
    slowest = journal.slowest_step(history(samples.full()))
    assert slowest is not None
    assert (slowest.phase, slowest.component) == ("restore", "postgresql")
    assert journal.slowest_step(journal.read_history([])) is None
