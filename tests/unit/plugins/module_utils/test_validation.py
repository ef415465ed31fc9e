# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgements of a platform that was used."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._validation import (
    age_seconds,
    amount,
    judge_account,
    judge_dashboard,
    judge_freshness,
    judge_plan,
    judge_row,
    judge_stream,
    judge_times,
    parse_stats,
    position_of,
    summarise_plan,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 5, 17, tzinfo=UTC)
# EXPLAIN (ANALYZE, FORMAT JSON) of PostgreSQL 17, shortened.
PLAN: list[dict[str, Any]] = [
    {
        "Plan": {
            "Node Type": "Sort",
            "Actual Rows": 10663,
            "Plans": [
                {
                    "Node Type": "Bitmap Heap Scan",
                    "Relation Name": "orders",
                    "Plans": [{"Node Type": "Bitmap Index Scan", "Index Name": "orders_created_at_idx"}],
                }
            ],
        },
        "Planning Time": 0.406,
        "Execution Time": 58.01,
    }
]
STATS = (
    '{"BlockIO":"0B / 0B","CPUPerc":"0.45%","Container":"forex-redis","ID":"8e02","MemPerc":"0.07%",'
    '"MemUsage":"16.07MiB / 23.5GiB","Name":"forex-redis","NetIO":"1MB / 2MB","PIDs":"6"}\n'
    '{"CPUPerc":"2.69%","MemUsage":"35.43MiB / 23.5GiB","Name":"analytics-service"}\n'
)


@pytest.mark.parametrize(
    ("value", "exact"),
    [(0.1, "0.10"), ("12.345", "12.34"), (7, "7.00"), (None, None), ("much", None), ("NaN", None), ([], None)],
)
def test_figures_are_compared_in_cents(value: Any, exact: str | None) -> None:
    assert amount(value) == (None if exact is None else Decimal(exact))


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_free_margin_must_be_equity_less_used_margin(equity: int, used: int) -> None:
    account = {"equity": equity / 100, "used_margin": used / 100, "free_margin": (equity - used) / 100}
    assert judge_account(account)[0]["ok"]
    assert not judge_account({**account, "free_margin": (equity - used + 1) / 100})[0]["ok"]


@pytest.mark.parametrize("account", [{}, None, "503", {"equity": 1, "used_margin": None, "free_margin": 1}])
def test_an_account_without_figures_is_not_well(account: Any) -> None:
    assert not judge_account(account)[0]["ok"]


def test_a_price_is_fresh_only_with_a_time_that_has_an_offset() -> None:
    assert age_seconds("2026-11-23T05:16:55Z", NOW) == 5
    assert age_seconds("2026-11-23T07:16:55+02:00", NOW) == 5
    assert age_seconds("2026-11-23T05:16:55", NOW) is None and age_seconds(None, NOW) is None
    assert judge_freshness("EURUSD", "2026-11-23T05:16:50Z", NOW, 10)["ok"]
    assert not judge_freshness("EURUSD", "2026-11-23T05:16:49Z", NOW, 10)["ok"]
    stale = judge_freshness("EURUSD", (NOW - timedelta(days=1)).isoformat(), NOW, 10)
    assert (stale["expected"], stale["found"]) == ("at most 10 s old", "86400.0 s old")
    assert judge_freshness("EURUSD", None, NOW, 10)["found"] == "no price"


def test_a_stream_that_repeats_itself_does_not_move() -> None:
    tick = {"symbol": "EURUSD", "bid": 1.1}
    assert not judge_stream([tick, dict(tick)])["ok"] and not judge_stream([])["ok"]
    assert judge_stream([tick, {**tick, "bid": 1.2}])["ok"]


def test_a_consistency_row_is_compared_not_printed() -> None:
    assert judge_row("volume", (Decimal("1.10"), Decimal("1.1")), "equal")["ok"]
    assert not judge_row("volume", (1, 2), "equal")["ok"]
    assert judge_row("total", (1, 2), "at_least")["ok"] and not judge_row("total", (2, 1), "at_least")["ok"]
    for row in (None, (1,), (None, 1), (0, None)):
        assert not judge_row("volume", row, "equal")["ok"]


def test_the_best_answered_call_of_a_name_is_judged() -> None:
    times = [
        {"call": "login", "milliseconds": 80, "status": 503},
        {"call": "login", "milliseconds": 2500.5, "status": 200},
        {"call": "account", "milliseconds": 4000, "status": 200},
        {"call": "account", "milliseconds": 3, "status": 200},
    ]
    login, account = judge_times(times, 2000)
    assert (login["found"], login["ok"]) == ("2500.5 ms", False) and account["ok"]


def test_a_plan_that_reads_the_whole_table_is_found_out() -> None:
    summary = summarise_plan(json.dumps(PLAN))
    assert summary == summarise_plan(PLAN)
    assert (summary["execution_milliseconds"], summary["rows"]) == (58.01, 10663)
    assert judge_plan(summary)["ok"] and judge_plan(summary)["found"] == "orders_created_at_idx"
    whole = [{"Plan": {"Node Type": "Seq Scan", "Actual Rows": 1}, "Planning Time": 1, "Execution Time": 900}]
    assert judge_plan(summarise_plan(whole))["found"] == "none: Seq Scan"
    assert not judge_plan(summarise_plan(whole))["ok"]


def test_an_error_page_is_no_dashboard() -> None:
    page = "<!doctype html><html><head>\n<title>Platform3</title></head></html>"
    assert judge_dashboard(200, page, "Platform3")["ok"]
    assert not judge_dashboard(502, page, "Platform3")["ok"]
    assert not judge_dashboard(200, "<title>Welcome to nginx</title> Platform3", "Platform3")["ok"]
    assert not judge_dashboard(200, {"detail": "x"}, "Platform3")["ok"]


def test_stats_name_each_container() -> None:
    assert parse_stats(STATS) == [
        {"name": "analytics-service", "cpu": "2.69%", "memory": "35.43MiB"},
        {"name": "forex-redis", "cpu": "0.45%", "memory": "16.07MiB"},
    ]


def test_nothing_held_is_zero_lots() -> None:
    held = [{"symbol": "EURUSD", "quantity": -0.3}, {"symbol": "GBPUSD", "quantity": 5}]
    assert position_of(held, "EURUSD") == Decimal("-0.30")
    assert position_of([], "EURUSD") == position_of({"detail": "x"}, "EURUSD") == 0
