# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: what stays, what goes, and what can never happen whatever the store holds and the policy says."""

from __future__ import annotations

import datetime
from dataclasses import fields, replace

from ansible_collections.platform3.recovery.plugins.module_utils._retention import (
    Kept,
    Policy,
    Verdict,
    bases_to_expire,
    decide,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NOW = BEGIN + datetime.timedelta(days=500)
NOTHING = Policy(last=0, min_tested=0)
COUNTS = [one.name for one in fields(Policy) if one.name != "bad_days"]


def at(hours: float) -> datetime.datetime:
    return BEGIN + datetime.timedelta(hours=hours)


def a_set(hours: float, **more: object) -> Kept:
    return Kept(at(hours).strftime("%Y%m%dT%H%M%SZ"), at(hours), **more)  # type: ignore[arg-type]


def staying(verdicts: list[Verdict]) -> set[str]:
    return {one.set_id for one in verdicts if one.stays}


@st.composite
def stores(draw: st.DrawFn) -> list[Kept]:
    """Sets of a year and a half; increments need the sets back to their full one; some are bad, held or in use."""
    made: list[Kept] = []
    for hours in sorted(draw(st.sets(st.integers(0, 12000), max_size=25))):
        needs: tuple[str, ...] = ()
        if made and draw(st.booleans()):
            needs = (*made[-1].needs, made[-1].set_id)
        kind = draw(st.sampled_from(["good", "good", "good", "condemned", "held"]))
        bad = any(one.bad for one in made if one.set_id in needs)
        made.append(
            a_set(
                hours,
                needs=needs,
                tested=draw(st.booleans()),
                bad="condemned" if kind == "condemned" else "broken" if bad else "",
                bad_since=at(hours + draw(st.integers(0, 500))) if kind == "condemned" or bad else None,
                held="foreign" if kind == "held" else "",
                in_use=draw(st.sampled_from(["", "", "", "a sandbox was made from it"])),
            )
        )
    return draw(st.permutations(made))


policies = st.builds(
    Policy, **{name: st.integers(0, 6) for name in COUNTS}, bad_days=st.floats(0, 600, allow_nan=False)
)


@given(stores(), policies)
def test_the_newest_good_set_stays_whatever_the_policy_says(sets: list[Kept], policy: Policy) -> None:
    good = [one for one in sets if one.good]
    if good:
        assert max(good, key=lambda one: one.at).set_id in staying(decide(sets, policy, NOW))


@given(stores(), policies)
def test_so_many_tested_sets_stay_where_there_are_that_many(sets: list[Kept], policy: Policy) -> None:
    tested = {one.set_id for one in sets if one.good and one.tested}
    assert len(tested & staying(decide(sets, policy, NOW))) >= min(policy.min_tested, len(tested))


@given(stores(), policies)
def test_no_set_goes_that_one_which_stays_is_read_with(sets: list[Kept], policy: Policy) -> None:
    stay = staying(decide(sets, policy, NOW))
    there = {one.set_id for one in sets}
    for one in sets:
        if one.set_id in stay:
            assert set(one.needs) & there <= stay


@given(stores(), policies)
def test_no_set_goes_that_is_in_use(sets: list[Kept], policy: Policy) -> None:
    assert {one.set_id for one in sets if one.in_use} <= staying(decide(sets, policy, NOW))


@given(stores(), policies)
def test_a_second_time_nothing_more_goes(sets: list[Kept], policy: Policy) -> None:
    stay = staying(decide(sets, policy, NOW))
    assert staying(decide([one for one in sets if one.set_id in stay], policy, NOW)) == stay


@given(stores(), policies, st.sampled_from(COUNTS), st.integers(1, 5))
def test_keeping_more_removes_no_more(sets: list[Kept], policy: Policy, name: str, more: int) -> None:
    larger = replace(policy, **{name: getattr(policy, name) + more})
    assert staying(decide(sets, policy, NOW)) <= staying(decide(sets, larger, NOW))


@given(stores(), policies)
def test_a_bad_set_keeps_no_good_one_from_staying(sets: list[Kept], policy: Policy) -> None:
    """Bad ones do not count in any rule: without them the same good ones stay, or fewer (what bad ones need)."""
    good = [one for one in sets if one.good]
    if good:
        assert staying(decide(good, policy, NOW)) <= staying(decide(sets, policy, NOW))


@given(stores(), policies)
def test_where_no_good_set_is_left_nothing_goes(sets: list[Kept], policy: Policy) -> None:
    bad = [one for one in sets if not one.good]
    assert staying(decide(bad, policy, NOW)) == {one.set_id for one in bad}


@given(stores(), policies)
@settings(max_examples=50)
def test_every_set_has_a_verdict_with_a_reason_newest_first(sets: list[Kept], policy: Policy) -> None:
    verdicts = decide(sets, policy, NOW)
    assert [one.set_id for one in verdicts] == sorted((one.set_id for one in sets), reverse=True)
    assert all(one.reason for one in verdicts)


def test_each_rule_keeps_the_newest_of_its_periods() -> None:
    sets = [a_set(hours) for hours in (0, 5, 23, 24, 30, 50, 50.5)]
    policy = replace(NOTHING, hourly=2, daily=3)
    reasons = {one.set_id: one.reason for one in decide(sets, policy, NOW) if one.stays}
    assert reasons == {
        "20260103T023000Z": "the newest, hourly 2026-01-03 02 h, daily 2026-01-03",
        "20260102T060000Z": "hourly 2026-01-02 06 h, daily 2026-01-02",
        "20260101T230000Z": "daily 2026-01-01",
    }


def test_what_is_in_use_stays_with_its_chain_and_says_why_though_no_rule_keeps_it() -> None:
    full, increment = a_set(0), a_set(1, needs=(a_set(0).set_id,))
    condemned = a_set(24, bad="it was condemned", bad_since=at(24))
    sets = [full, replace(increment, in_use="read"), replace(condemned, in_use="read"), a_set(36), a_set(48)]
    reasons = {one.set_id: one.reason for one in decide(sets, NOTHING, NOW) if one.stays}
    assert reasons == {
        a_set(48).set_id: "the newest",
        condemned.set_id: "read",
        increment.set_id: "read",
        full.set_id: f"needed by {increment.set_id}",
    }


def test_a_condemned_set_stays_for_the_inquiry_and_then_goes_before_any_good_one() -> None:
    condemned = a_set(48, bad="it was condemned", bad_since=NOW - datetime.timedelta(days=6))
    sets = [a_set(0), a_set(24), condemned]
    policy = replace(NOTHING, daily=2, bad_days=7)
    assert len(staying(decide(sets, policy, NOW))) == 3
    later = decide(sets, policy, NOW + datetime.timedelta(days=2))
    assert [one.set_id for one in later if not one.stays] == [condemned.set_id]


def test_a_base_backup_goes_only_when_nothing_that_stays_is_built_on_it() -> None:
    labels = ["F1F", "F1F_I1I", "F1F_I2I", "F2F", "F2F_I3I", "F3F"]
    assert bases_to_expire(labels, ["F2F_I3I"], ["F1F_I2I", "F3F"]) == ["F3F", "F1F_I2I", "F1F_I1I", "F1F"]
    assert bases_to_expire(labels, ["F1F_I1I"], ["F1F_I2I"]) == ["F1F_I2I"]
    assert bases_to_expire(labels, ["F1F"], []) == [], "one that no set names and is newer may be a set's tomorrow"
    assert bases_to_expire(labels, [], labels) == [], "nothing is kept: then nothing goes"


LABELS = st.lists(st.integers(0, 99), unique=True, max_size=8).map(
    lambda numbers: sorted(
        label for n in numbers for label in (f"F{n:02}F", *(f"F{n:02}F_I{i:02}I" for i in range(n % 4)))
    )
)


@given(LABELS, st.data())
def test_no_kept_base_backup_nor_what_it_is_built_on_goes(labels: list[str], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from(labels))) if labels else []
    gone = data.draw(st.lists(st.sampled_from(labels))) if labels else []
    going = bases_to_expire(labels, kept, gone)
    for one in kept:
        assert one not in going and one.partition("_")[0] not in going
    assert going == sorted(going, reverse=True)
    if kept:
        assert all(one in gone or one < min(kept) for one in going)
