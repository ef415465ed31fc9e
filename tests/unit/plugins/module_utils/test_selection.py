# SPDX-License-Identifier: GPL-3.0-or-later
"""Which set is taken, which are passed over and why."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _selection
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import set_id_of, set_instant
from ansible_collections.platform3.recovery.plugins.module_utils._selection import Found, Wanted
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso
from hypothesis import given
from hypothesis import strategies as st

ID = "lab-0123456789ab"


def found(set_id: str, sequence: int = 1, **changes: Any) -> Found:
    versions = {"postgresql": "17.11", "redis": "8.0.2", "influxdb": "2.7.12"}
    manifest = {
        "sequence": sequence,
        "environment": "lab",
        "environment_id": ID,
        "components": {name: {"version": version} for name, version in versions.items()},
        **changes,
    }
    return Found(set_id, lambda: (manifest, ""))


def wanted(backup_set: str = "latest", **changes: Any) -> Wanted:
    values: dict[str, Any] = {"environment": "lab", "environment_id": ID, "components": ["redis"], "versions": {}}
    return Wanted(backup_set, **{**values, **changes})


def signed(_one: Found) -> str | None:
    return None


def fails(sets: list[Found], want: Wanted, signature: Any = signed) -> RecoveryError:
    with pytest.raises(RecoveryError) as caught:
        _selection.choose(sets, want, signature)
    assert caught.value.data == "nothing was changed"
    return caught.value


OLD, MIDDLE, NEW = (found(f"2026112{day}T051700Z", day) for day in (1, 2, 3))


def test_the_newest_is_taken() -> None:
    assert _selection.choose([MIDDLE, NEW, OLD], wanted(), signed) == (NEW, [])


def test_a_set_that_was_finished_after_the_wanted_instant_is_passed_over() -> None:
    day = [found(f"2026112{n}T051700Z", n, finished_at=f"2026-11-2{n}T05:17:30Z") for n in (1, 2, 3)]
    limit = parse_iso("2026-11-22T05:17:30Z")
    chosen, passed = _selection.choose(day, wanted(not_after=limit), signed)
    assert chosen == day[1] and [one.set_id for one in passed] == [day[2].set_id]
    assert "2026-11-23T05:17:30Z, after 2026-11-22T05:17:30.000Z" in passed[0].reason
    assert fails(day, wanted(not_after=limit - 2 * 86400)).code == "PRC-203"


def test_newest_is_by_sequence_where_a_clock_was_set_back() -> None:
    behind = found("20251101T000000Z", 4)
    assert _selection.choose([NEW, behind, OLD], wanted(), signed)[0] == behind


def test_of_many_sets_only_those_are_read_that_count() -> None:
    read = []

    def reading(day: int) -> Found:
        one = found(f"202611{day:02d}T051700Z", day)

        def content() -> tuple[Any, str]:
            read.append(day)
            return one.manifest, one.wrong

        return Found(one.set_id, content, day)

    many = [reading(day) for day in range(1, 29)]
    assert _selection.choose(many, wanted(), signed)[0].set_id == "20261128T051700Z"
    assert read == [28]


def test_a_set_whose_end_belies_its_manifest_is_passed_over() -> None:
    one = found("20261126T051700Z", 4)
    swapped = Found(one.set_id, lambda: (one.manifest, ""), 9)
    chosen, passed = _selection.choose([MIDDLE, NEW, OLD, swapped], wanted(), signed)
    assert chosen == NEW
    assert [each.reason for each in passed] == ["its sequence number is 4, and 9 at its end"]


def test_the_one_before_is_taken_where_the_newest_does_not_do_and_it_says_why() -> None:
    torn = Found("20261125T051700Z", lambda: (None, "its backup_manifest.json cannot be read"))
    foreign = found("20261124T051700Z", 4, environment="drill", environment_id="drill-1")
    chosen, passed = _selection.choose(
        [OLD, MIDDLE, NEW, torn, foreign], wanted(), lambda one: "it was signed by a stranger" if one is NEW else None
    )
    assert chosen == MIDDLE
    assert [(one.set_id, one.reason) for one in passed] == [
        (torn.set_id, "its backup_manifest.json cannot be read"),
        (foreign.set_id, f"it belongs to environment drill (drill-1), not to lab ({ID})"),
        (NEW.set_id, "it was signed by a stranger"),
    ]


def test_a_signature_is_looked_at_only_where_the_rest_fits() -> None:
    asked: list[str] = []
    foreign = found("20261124T051700Z", 4, environment_id="drill-1")
    _selection.choose([foreign, NEW, OLD], wanted(), lambda one: asked.append(one.set_id))
    assert asked == [NEW.set_id]


def test_an_empty_store_is_an_error() -> None:
    error = fails([], wanted())
    assert error.code == "PRC-200" and "backup.yml" in error.next_step


def test_where_none_does_each_reason_is_said() -> None:
    error = fails([OLD, NEW], wanted(), lambda one: f"reason of {one.set_id}")
    assert error.code == "PRC-203"
    assert f"{NEW.set_id}: reason of {NEW.set_id}; {OLD.set_id}: reason of {OLD.set_id}" in error.found


def test_the_set_that_is_asked_for_is_taken() -> None:
    assert _selection.choose([NEW, OLD], wanted(OLD.set_id), signed) == (OLD, [])


def test_the_set_that_is_asked_for_is_never_replaced() -> None:
    error = fails([NEW, MIDDLE, OLD], wanted(MIDDLE.set_id), lambda one: "bad" if one is MIDDLE else None)
    assert error.code == "PRC-202" and error.found == "bad"
    assert "latest" in error.next_step and OLD.set_id in error.next_step


def test_an_unknown_set_names_the_nearest_three() -> None:
    far = found("20250101T000000Z", 9)
    error = fails([far, OLD, MIDDLE, NEW], wanted("20261122T060000Z"))
    assert error.code == "PRC-201"
    assert f"the nearest are {MIDDLE.set_id}, {NEW.set_id}, {OLD.set_id};" in error.next_step


def test_a_misspelt_set_names_those_spelt_alike() -> None:
    assert _selection.nearest("2026112T051700Z", ["20250101T000000Z", OLD.set_id, "20200202T020202Z", NEW.set_id])[
        :2
    ] == [NEW.set_id, OLD.set_id]


@given(
    st.lists(st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2030, 1, 1)), max_size=12),
    st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2030, 1, 1)),
)
def test_no_other_set_is_nearer_than_the_three(times: list[datetime.datetime], at: datetime.datetime) -> None:
    ids = sorted({set_id_of(one.replace(tzinfo=datetime.UTC)) for one in times})
    asked = set_id_of(at.replace(tzinfo=datetime.UTC))
    near = _selection.nearest(asked, ids)
    assert len(near) == min(3, len(ids)) and set(near) <= set(ids)

    def distance(set_id: str) -> float:
        one, other = set_instant(set_id), set_instant(asked)
        assert one is not None and other is not None
        return abs((one - other).total_seconds())

    rest = [distance(one) for one in ids if one not in near]
    assert not rest or min(rest) >= max(distance(one) for one in near)


@given(st.permutations([OLD, MIDDLE, NEW]), st.sets(st.sampled_from([OLD.set_id, MIDDLE.set_id, NEW.set_id])))
def test_the_choice_does_not_depend_on_the_order_of_the_store(sets: list[Found], bad: set[str]) -> None:
    good = [one for one in (NEW, MIDDLE, OLD) if one.set_id not in bad]
    check = {one: "bad" for one in bad}
    if not good:
        assert fails(sets, wanted(), lambda one: check.get(one.set_id)).code == "PRC-203"
        return
    chosen, passed = _selection.choose(sets, wanted(), lambda one: check.get(one.set_id))
    assert chosen == good[0]
    assert all(one.set_id > chosen.set_id for one in passed)


@pytest.mark.parametrize(
    ("component", "saved", "here", "fits"),
    [
        ("postgresql", "17.11", "17.2", True),
        ("postgresql", "16.4", "17.2", False),
        ("postgresql", "18.0", "17.2", False),
        ("redis", "7.2.4", "8.0.2", True),
        ("redis", "8.0.2", "7.2.4", False),
        ("influxdb", "v2.7.12", "2.7.1", True),
        ("influxdb", "1.8.10", "2.7.12", False),
        ("redis", "unknown", "8.0.2", False),
    ],
)
def test_major_versions_must_fit(component: str, saved: str, here: str, fits: bool) -> None:
    one = found("20261124T051700Z", components={component: {"version": saved}})
    reason = _selection.problem(one, wanted(components=[component], versions={component: here}))
    assert (reason is None) == fits
    if reason:
        assert component in reason and saved in reason and here in reason


def test_a_set_without_a_needed_component_is_not_taken() -> None:
    one = found("20261124T051700Z", components={"redis": {"version": "8"}})
    assert _selection.problem(one, wanted(components=["redis", "influxdb"])) == "it does not hold influxdb"
