# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation of which life brings Redis to an instant, and what is said of instants that none reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target import (
    candidates,
    nearest,
    parse_lives,
    parts_of,
    reaches_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import (
    Choice,
    Target,
    choose_for_target,
    reached_of,
    would_reach,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from hypothesis import given, settings
from hypothesis import strategies as st

T = 1795411000


def head(at: int) -> str:
    """First bytes of a base that was made then, as hexadecimal digits."""
    return (b"REDIS0012\xfa\x05ctime\xc2" + at.to_bytes(4, "little")).hex()


def life(
    name: str,
    bases: dict[int, int],
    increments: dict[int, tuple[int | None, int | None]],
    manifests: dict[int, list[int]],
    restored: tuple[float, float] | None = None,
) -> str:
    """One life as it is listed. bases: number -> when; increments: number -> first and last second; manifests: number
    of the base -> its increments."""
    lines = [f"life {name}"]
    if restored:
        lines.append(f"restored {to_iso(restored[0])} {to_iso(restored[1])}")
    for number, listed in manifests.items():
        lines.append(f"manifest {number} file a.{number}.base.rdb seq {number} type b")
        lines += [f"manifest {number} file a.{one}.incr.aof seq {one} type i" for one in listed]
    lines += [f"file a.{number}.base.rdb 100" for number in bases]
    lines += [f"file a.{number}.incr.aof 10" for number in increments]
    for number, (first, last) in increments.items():
        lines.append(f"increment a.{number}.incr.aof {first or '-'} {last or '-'}")
    lines += [f"base a.{number}.base.rdb {head(at)}" for number, at in bases.items()]
    return "\n".join(lines) + "\n"


# Two generations; the second base was made in the middle of a second that both increments write in.
INITIAL = life("initial", {1: T, 2: T + 100}, {1: (T, T + 100), 2: (None, T + 200)}, {1: [1], 2: [2]})
# Lost at T+200; taken back to T+150 by a recovery that ended at T+300, and gone on with from there.
SECOND = life(
    "r1-2",
    {2: T + 100, 3: T + 400},
    {2: (None, T + 400), 3: (T + 401, T + 500)},
    {2: [2], 3: [3]},
    (T + 300.5, T + 150.0),
)


def best(listing: str, second: int) -> tuple[str, int, bool] | None:
    """Life, generation and origin of what is taken for a second."""
    found = candidates(reaches_of(parse_lives(listing))[0], second)
    return (found[0].life, found[0].number, found[0].inherited) if found else None


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        (T, None),
        (T + 1, ("initial", 1, False)),
        (T + 100, ("initial", 1, False)),
        (T + 101, ("initial", 2, False)),
        (T + 150, ("initial", 2, False)),
        (T + 180, ("initial", 2, False)),
        (T + 200, ("initial", 2, False)),
        (T + 201, None),
        (T + 300, None),
        (T + 301, ("r1-2", 2, False)),
        (T + 400, ("r1-2", 2, False)),
        (T + 401, ("r1-2", 3, False)),
        (T + 501, None),
    ],
)
def test_the_newest_base_before_it_of_the_life_that_the_platform_had_then(second: int, taken: Any) -> None:
    assert best(INITIAL + SECOND, second) == taken
    assert best(SECOND + INITIAL, second) == taken


def test_a_life_without_the_one_before_it_serves_what_it_inherited_and_no_more() -> None:
    assert best(SECOND, T + 101) == ("r1-2", 2, True) and best(SECOND, T + 150) == ("r1-2", 2, True)
    # Undone by that recovery: only the first life's log held it.
    assert best(SECOND, T + 151) is None and best(SECOND, T + 180) is None


def test_data_that_was_put_back_counts_from_where_it_goes_on_and_not_while_another_life_served() -> None:
    back = life("initial", {1: T}, {1: (T, T + 800)}, {1: [1]})
    assert best(back + SECOND, T + 450) == ("r1-2", 3, False)
    assert best(back + SECOND, T + 700) == ("initial", 1, False)
    # And if that of the other life is damaged, this one does not stand in for it.
    reaches, _problems = reaches_of(parse_lives(back + SECOND))
    assert {one.life for one in candidates(reaches, T + 450)} == {"r1-2"}


def test_an_older_base_carries_on_through_all_increments_and_only_as_far_as_needed() -> None:
    listing = life(
        "initial", {1: T, 5: T + 50}, {1: (T, T + 9), 2: (T + 10, T + 19), 3: (None, T + 60)}, {1: [1], 5: [3]}
    )
    reaches, problems = reaches_of(parse_lives(listing))
    assert not problems and [(one.number, one.earliest, one.latest) for one in reaches] == [
        (1, T + 1, T + 60),
        (5, T + 51, T + 60),
    ]
    oldest = reaches[0]
    assert oldest.until(T + 10).generation.files == ("a.1.base.rdb", "a.1.incr.aof")
    assert oldest.until(T + 11).generation.increments == ("a.1.incr.aof", "a.2.incr.aof", "a.3.incr.aof")
    assert oldest.until(T + 11).generation.lines[-1] == "file a.3.incr.aof seq 3 type i"
    assert oldest.until(T + 10).bytes == 110
    assert [(one.first, one.last) for one in parts_of(parse_lives(listing)[0])] == [
        (T, T + 9),
        (T + 10, T + 19),
        (T + 19, T + 60),
    ]


def test_a_gap_in_the_numbers_ends_a_generation_and_what_is_missing_is_told() -> None:
    listing = life("initial", {1: T}, {1: (T, T + 9), 3: (T + 20, T + 29)}, {1: [1], 2: [2]})
    reaches, problems = reaches_of(parse_lives(listing))
    assert [one.latest for one in reaches] == [T + 9]
    assert "generation 2" in problems[0] and "lacks a.2.base.rdb, a.2.incr.aof" in problems[0]


def test_a_base_that_is_dated_behind_the_log_before_it_does_not_count_earlier() -> None:
    listing = life("initial", {1: T, 2: T + 9}, {1: (T, T + 10), 2: (None, T + 30)}, {1: [1], 2: [2]})
    assert best(listing, T + 10) == ("initial", 1, False) and best(listing, T + 11) == ("initial", 2, False)


@given(st.floats(T - 50, T + 600))
@settings(deadline=None)
def test_every_instant_is_reached_within_its_second_or_its_neighbours_are_named(target: float) -> None:
    reaches, _problems = reaches_of(parse_lives(INITIAL + SECOND))
    second = int(target)
    before, after = nearest(reaches, target)
    found = candidates(reaches, second)
    if found:
        assert before == second and all(one.earliest <= second <= one.latest for one in found)
        return
    seconds = [at for at in range(T - 60, T + 610) if candidates(reaches, at)]
    assert before == max((at for at in seconds if at <= target), default=None)
    assert after == min((at for at in seconds if at > target), default=None)


def chosen(
    path: Path, target: float | str, snapshot_at: float, listing: str = INITIAL + SECOND, **changes: Any
) -> Choice:
    """The choice for a target."""
    text = target if isinstance(target, str) else to_iso(target)
    given = {"restore_from": "newest", "log": "preferred", "log_path": str(path), "target_time": text, **changes}
    return choose_for_target(given, to_iso(snapshot_at), lambda script: listing)


def test_a_target_with_a_fraction_is_reached_at_its_second_and_the_skew_is_said(tmp_path: Path) -> None:
    choice = chosen(tmp_path, T + 150.75, T + 20)
    assert choice.logs[0].number == 2 and "no signature" in choice.warnings[-1]
    assert would_reach(choice, "") == {
        "target_time": to_iso(T + 150.75),
        "reached_point": to_iso(T + 150),
        "skew_seconds": 0.75,
    }
    told = reached_of(choice, T + 150, T + 140)
    assert told["newest_command_at"] == to_iso(T + 140) and "nothing was written between" in told["told"]
    assert "between" not in reached_of(choice, T + 150, T + 149)["told"]
    assert Target(choice, True).is_after(to_iso(T + 150)) and not Target(choice, True).is_after(to_iso(T + 150.5))


def test_a_snapshot_stands_in_where_no_log_reaches_back_and_says_what_that_costs(tmp_path: Path) -> None:
    choice = chosen(tmp_path, T, T - 30)
    assert not choice.logs and would_reach(choice, to_iso(T - 30))["skew_seconds"] == 30
    assert "30.000 s before the target" in choice.warnings[-1]
    assert "snapshot" in reached_of(choice, T - 30)["told"]
    # Between two lives, where it is nearer than the log's end.
    assert not chosen(tmp_path, T + 250, T + 220).logs
    # Where no log is shipped, or the snapshot is asked for, it is all there is.
    assert chosen(tmp_path / "gone", T + 900, T + 20).snapshot
    assert not chosen(tmp_path, T + 150, T + 20, restore_from="snapshot").logs


@pytest.mark.parametrize(
    ("target", "snapshot_at", "changes", "told"),
    [
        (T - 5, T + 1, {}, f"no point before it, {to_iso(T + 1)} is the nearest after it"),
        (T + 250, T + 20, {}, f"{to_iso(T + 200)} is the nearest before it, {to_iso(T + 301)} is the nearest after it"),
        (T + 900, T + 20, {}, f"{to_iso(T + 500)} is the nearest before it, no point after it"),
        (T + 900, T + 600, {}, "may be incomplete"),
        (T, T - 30, {"log": "required"}, "no point before it"),
        (T + 10, T + 20, {"restore_from": "snapshot"}, "no shipped log serves"),
        (T + 10, T + 20, {"log_path": None}, "redis_log_shipping"),
    ],
)
def test_a_target_that_cannot_be_reached_is_refused_with_its_neighbours(
    tmp_path: Path, target: float, snapshot_at: float, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecoveryError) as error:
        chosen(tmp_path, target, snapshot_at, **changes)
    assert error.value.code == "PRC-625" and told in error.value.found


def test_a_target_without_an_offset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecoveryError, match="has no offset") as error:
        chosen(tmp_path, "2026-11-23T14:30:00", T)
    assert error.value.code == "PRC-624"
