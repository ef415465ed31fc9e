# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of keys net of expiry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import (
    MINUTE_MILLISECONDS,
    add,
    bounds,
    coarsen,
    compare,
    parse_count,
    subtract,
    total,
    without_empty,
)
from hypothesis import given
from hypothesis import strategies as st

NOW_MINUTE = 29_000_000
NOW = NOW_MINUTE * MINUTE_MILLISECONDS

# A server's keys, as pairs of database and time of expiry in ms (None: never).
KEYS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.none() | st.integers(NOW - 3 * MINUTE_MILLISECONDS, NOW + 200 * MINUTE_MILLISECONDS),
    ),
    max_size=120,
)
LATER = st.integers(0, 210 * MINUTE_MILLISECONDS)


def counted(keys: list[tuple[int, int | None]], at_ms: int) -> dict[str, dict[str, Any]]:
    """What a server counts at at_ms: by the minute, without the dead."""
    answer: dict[str, dict[str, Any]] = {}
    for database, expiry in keys:
        if expiry is not None and expiry <= at_ms:
            continue
        entry = answer.setdefault(str(database), {"persistent": 0, "volatile_fields": 0, "minutes": {}})
        if expiry is None:
            entry["persistent"] += 1
        else:
            minute = str(expiry // MINUTE_MILLISECONDS)
            entry["minutes"][minute] = entry["minutes"].get(minute, 0) + 1
    return parse_count(json.dumps({"at_ms": at_ms, "databases": answer}))[1]


@given(KEYS, LATER, st.integers(1, 60))
def test_time_alone_is_never_a_difference(keys: list[tuple[int, int | None]], later: int, buckets: int) -> None:
    expected = coarsen(counted(keys, NOW), buckets)
    assert all(one["ok"] for one in compare(expected, counted(keys, NOW + later), NOW + later))


@given(KEYS, LATER, st.data())
def test_a_lost_key_that_must_be_alive_is_seen(
    keys: list[tuple[int, int | None]], later: int, data: st.DataObject
) -> None:
    expected, at_ms = counted(keys, NOW), NOW + later
    alive = [
        key for key in keys if key[1] is None or key[1] >= at_ms - at_ms % MINUTE_MILLISECONDS + MINUTE_MILLISECONDS
    ]
    if not alive:
        return
    left = list(keys)
    left.remove(data.draw(st.sampled_from(alive)))
    assert not all(one["ok"] for one in compare(expected, counted(left, at_ms), at_ms))


@given(KEYS, LATER, st.integers(0, 3), st.none() | st.integers(NOW, NOW + 10**8))
def test_a_key_too_many_is_seen(
    keys: list[tuple[int, int | None]], later: int, database: int, expiry: int | None
) -> None:
    expected, at_ms = counted(keys, NOW), NOW + later
    if expiry is not None and expiry < at_ms - at_ms % MINUTE_MILLISECONDS + MINUTE_MILLISECONDS:
        return
    more = [*keys, (database, expiry)]
    assert not all(one["ok"] for one in compare(expected, counted(more, at_ms), at_ms))


@given(KEYS, LATER)
def test_bounds_hold_what_is_alive(keys: list[tuple[int, int | None]], later: int) -> None:
    found = counted(keys, NOW + later)
    for database, entry in counted(keys, NOW).items():
        least, most = bounds(entry, NOW + later)
        assert least <= total(found.get(database, {"persistent": 0, "expiring": []})) <= most


@given(KEYS, KEYS, LATER, st.integers(1, 60))
def test_what_was_dropped_is_not_expected_any_more(
    keys: list[tuple[int, int | None]], prices: list[tuple[int, int | None]], later: int, buckets: int
) -> None:
    backed_up = coarsen(counted(keys + prices, NOW), buckets)
    expected = subtract(backed_up, counted(prices, NOW))
    assert all(one["ok"] for one in compare(expected, counted(keys, NOW + later), NOW + later))


@given(KEYS, KEYS)
def test_two_counts_together_are_the_count_of_both(
    one: list[tuple[int, int | None]], other: list[tuple[int, int | None]]
) -> None:
    assert add(counted(one, NOW), counted(other, NOW)) == counted(one + other, NOW)


@given(KEYS, st.integers(1, 40))
def test_coarse_counts_are_small_and_lose_no_key(keys: list[tuple[int, int | None]], buckets: int) -> None:
    fine = counted(keys, NOW)
    for database, entry in coarsen(fine, buckets).items():
        assert len(entry["expiring"]) <= buckets and total(entry) == total(fine[database])


def test_keys_whose_fields_may_expire_may_be_gone() -> None:
    entry = {"persistent": 10, "volatile_fields": 3, "bucket_minutes": 1, "expiring": []}
    assert bounds(entry, NOW) == (7, 10)
    seven = {"0": {**entry, "persistent": 7, "volatile_fields": 0}}
    six = {"0": {**entry, "persistent": 6, "volatile_fields": 0}}
    assert all(one["ok"] for one in compare({"0": entry}, seven, NOW))
    assert not all(one["ok"] for one in compare({"0": entry}, six, NOW))


def test_an_empty_lua_table_is_an_empty_count() -> None:
    assert parse_count('{"at_ms":1,"databases":[]}') == (1, {})
    text = '{"at_ms":1.795e+12,"databases":{"1":{"persistent":2,"volatile_fields":0,"minutes":[]}}}'
    at_ms, count = parse_count(text)
    assert at_ms == 1_795_000_000_000 and count["1"]["expiring"] == []
    assert without_empty({"4": {"persistent": 0, "expiring": []}}) == {}


@pytest.mark.parametrize("text", ["ERR unknown command", "", "LOADING Redis is loading the dataset in memory"])
def test_an_error_message_is_no_count(text: str) -> None:
    with pytest.raises(ValueError):
        parse_count(text)


def test_the_check_says_between_what_it_must_lie() -> None:
    entry = {
        "persistent": 1,
        "volatile_fields": 0,
        "bucket_minutes": 1,
        "expiring": [[NOW_MINUTE, 4], [NOW_MINUTE + 9, 2]],
    }
    found = {"0": {"persistent": 1, "bucket_minutes": 1, "expiring": [[NOW_MINUTE, 1], [NOW_MINUTE + 9, 1]]}}
    number, by_minute = compare({"0": entry}, found, NOW + 5)
    assert (number["expected"], number["found"], number["ok"]) == ("3 to 7", 3, True)
    assert by_minute["found"] == f"1 keys that expire in minute {NOW_MINUTE + 9} instead of 2" and not by_minute["ok"]


def test_once_services_have_written_more_keys_are_good_and_fewer_are_not() -> None:
    expected = {"0": {"persistent": 10, "bucket_minutes": 1, "expiring": [[100, 5]]}}
    more = {"0": {"persistent": 12, "bucket_minutes": 1, "expiring": [[101, 5]]}}
    fewer = {"0": {"persistent": 10, "bucket_minutes": 1, "expiring": [[100, 4]]}}
    assert all(one["ok"] for one in compare(expected, more, 0, exact=False))
    assert not all(one["ok"] for one in compare(expected, more, 0))
    assert not all(one["ok"] for one in compare(expected, fewer, 0, exact=False))
