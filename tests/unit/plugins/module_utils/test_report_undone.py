# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss statement in report, page, event log and card: never "nothing" where nothing is known."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _report_text as texts
from ansible_collections.platform3.recovery.plugins.module_utils._report_html import page
from ansible_collections.platform3.recovery.plugins.module_utils._report_undone import files_of

from tests.unit.plugins import journal_samples as samples
from tests.unit.plugins.module_utils.test_report import build, validate

ROW = {"kind": "orders", "id": "7", "at": "", "account": "3", "amount": "0.10", "details": "<b>|x"}
FILE = {"name": "undone_orders.csv", "bytes": 40, "sha256": "a" * 64}
ORDERS = {"kind": "orders", "count": 312, "sum": "31.20", "first": [ROW] * 20, "file": FILE, "says": ""}
WHY = "PRC-640: there is no old data in quarantine"
SESSIONS = {"kind": "sessions", "count": None, "sum": None, "first": [], "file": None, "says": WHY}
SHOWN = "reports/x/report.html"


def recovered(*listings: Any, scenario: str = "point_in_time") -> dict[str, Any]:
    """The report of a recovery to a point in time whose steps told these listings."""
    written = samples.full()
    for number, listing in enumerate(listings):
        name = f"List what was undone {number}"
        told = {"undone": [listing], "warnings_found": [WHY] if listing is SESSIONS else []}
        written.step(80.0 + number, 80.5 + number, "report", "postgresql", name, result=told)
    report = build(written, scenario=scenario)
    validate(report)
    return report


def card_line(report: dict[str, Any]) -> str:
    """The card's line on what was undone."""
    return next((line for line in texts.card(report, SHOWN) if line.startswith("  undone")), "")


def test_what_was_undone_stands_everywhere_and_changes_no_time() -> None:
    report = recovered(ORDERS)
    assert files_of(report["undone"]) == [FILE]
    assert card_line(report).split(maxsplit=1)[1] == "312 orders: reports/x/undone_*.csv"
    for text in (texts.markdown(report), page(report)):
        assert FILE["sha256"] in text and "31.20" in text and "The first 20 of 312." in text
        assert "<b>" not in text.partition("Undone by the cut")[2].partition("Course of")[0].replace("<b>Und", "")
    without = recovered()
    assert (report["outcome"], report["rto"]) == ("success", without["rto"])


def test_what_is_not_known_is_said_and_is_no_failure() -> None:
    report = recovered(ORDERS, SESSIONS)
    assert report["outcome"] == "success"
    assert [one["message"] for one in report["issues"] if one["severity"] == "warning"][-1] == WHY
    assert "312 orders; sessions not known: " in card_line(report)
    assert WHY in page(report) and WHY in texts.markdown(report)


def test_no_statement_is_told_from_none_that_was_due() -> None:
    assert "not listed" in card_line(recovered())
    assert "It was not made" in page(recovered()) and "It was not made" in texts.markdown(recovered())
    full = recovered(scenario="full")
    assert full["undone"] is None and card_line(full) == ""
    assert "Undone by the cut" not in page(full) + texts.markdown(full)


@pytest.mark.parametrize("told", [{}, {"count": "3"}, {"count": None, "file": FILE, "first": [ROW]}, {"file": 3}])
def test_a_listing_that_makes_no_sense_is_not_known(told: dict[str, Any]) -> None:
    report = recovered({"kind": "orders", **told})
    assert report["undone"][0]["count"] is None and report["undone"][0]["says"]
    assert "orders not known" in card_line(report)
    assert page(report) and texts.markdown(report)
