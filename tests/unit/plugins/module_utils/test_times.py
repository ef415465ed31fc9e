# SPDX-License-Identifier: GPL-3.0-or-later
"""Instants as text and as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._times import (
    parse_iso,
    parse_microseconds,
    parse_nanoseconds,
    to_iso,
)
from hypothesis import given
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1)
MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2998, 1, 1))
OFFSETS = st.integers(-15 * 60, 15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS)
def test_instants_come_back_as_they_went(moment: datetime) -> None:
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + "Z"
    assert to_iso(parse_iso(text))[:19] + "Z" == text


@given(MOMENTS, OFFSETS)
def test_a_microsecond_is_exact_at_any_date_and_offset(moment: datetime, offset: timezone) -> None:
    text = moment.replace(tzinfo=UTC).astimezone(offset).isoformat()
    assert EPOCH + timedelta(microseconds=parse_microseconds(text)) == moment
    assert parse_nanoseconds(text) == parse_microseconds(text) * 1000
    assert abs(parse_iso(text) - parse_microseconds(text) / 1_000_000) < 1e-5


@given(MOMENTS, st.integers(0, 999_999_999))
def test_a_nanosecond_is_exact_at_any_date(moment: datetime, fraction: int) -> None:
    whole = moment.replace(microsecond=0)
    exact = (whole - EPOCH) // timedelta(seconds=1) * 1_000_000_000 + fraction
    text = f"{whole.isoformat()}.{fraction:09d}Z"
    assert parse_nanoseconds(text) == exact
    assert abs(parse_microseconds(text) * 1000 - exact) <= 500, "the nearest microsecond"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-11-23T05:17:00+01:00", 1795407420_000000000),
        ("2026-11-23T04:17:00.123456789Z", 1795407420_123456789),
        ("2026-11-23 04:17:00,5Z", 1795407420_500000000),
        ("2106-02-07T06:28:16.000001Z", 4294967296_000001000),
        ("2999-12-31T23:59:59.999999Z", 32503679999_999999000),
    ],
)
def test_an_instant_is_exact_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert parse_nanoseconds(text) == nanoseconds
    assert parse_microseconds(text) == (nanoseconds + 500) // 1000


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23T05:17:00+01:00", "2026-11-23T04:17:00.000Z"),
        ("2026-11-23 05:17:00.25Z", "2026-11-23T05:17:00.250Z"),
        ("2026-11-23T05:17-0530", "2026-11-23T10:47:00.000Z"),
        ("2026-11-23T05:17:00,5+01", "2026-11-23T04:17:00.500Z"),
    ],
)
def test_forms_of_an_instant(text: str, utc: str) -> None:
    assert to_iso(parse_iso(text)) == utc


@pytest.mark.parametrize(
    "text",
    ["2026-11-23T05:17:00", "2026-11-23", "now", "2026-13-23T05:17:00Z", "", "1795418105", "0001-01-01T00:00:00Z"],
)
def test_what_is_no_instant_is_refused_in_the_same_words(text: str) -> None:
    said = []
    for parse in (parse_iso, parse_microseconds, parse_nanoseconds):
        with pytest.raises(ValueError) as refused:
            parse(text)
        said.append(str(refused.value))
    assert len(set(said)) == 1 and said[0]
