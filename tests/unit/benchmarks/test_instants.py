# SPDX-License-Identifier: GPL-3.0-or-later
"""Which marks must be there after a recovery to an instant, and which must not."""

from __future__ import annotations

from tests.benchmarks.instants import Mark, missing, unwanted

# Acknowledged before, under way at, and sent after the instant 10.
MARKS = {0: Mark(8.0, 8.1), 1: Mark(9.9, 10.1), 2: Mark(10.2, 10.3)}


def test_what_was_acknowledged_before_must_be_there() -> None:
    assert missing(MARKS, {1}, 10.0) == [0]
    assert missing(MARKS, {0}, 10.0) == []
    assert missing(MARKS, set(), 8.0) == []


def test_what_was_sent_afterwards_must_not() -> None:
    assert unwanted(MARKS, {0, 1, 2}, 10.0) == [2]
    assert unwanted(MARKS, {0, 1}, 10.0) == []
