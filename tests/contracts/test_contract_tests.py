# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests as a whole can be collected by one run of pytest."""

from __future__ import annotations

from collections import Counter

from tests.contracts.tree import ROOT


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by name, and stops at the second."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
