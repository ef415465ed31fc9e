# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging what was restored."""

from __future__ import annotations

from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Figures
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import nanoseconds
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_verify import (
    bucket_checks,
    compare_inventory,
)

NEWEST = "2026-11-23T07:17:14.005Z"


def record(shard: int, points: int, newest: str | None = NEWEST) -> dict[str, Any]:
    """A shard's record with three values a point."""
    return {"id": shard, "points": points, "values": 3 * points, "newest_at": newest}


def bad(checks: list[dict[str, Any]]) -> list[str]:
    """Names of the checks that are not good."""
    return [one["name"] for one in checks if not one["ok"]]


def test_the_same_figures_are_good() -> None:
    """Each is compared, and the newest point may be newer."""
    found = Figures(5, 15, nanoseconds(NEWEST) + 1)
    checks = bucket_checks("market-data", [(record(1, 5), found)], True)
    assert [one["name"] for one in checks] == [
        "points in bucket market-data",
        "values in bucket market-data",
        "newest point in bucket market-data",
    ]
    assert not bad(checks)


def test_a_loss_in_one_shard_is_not_hidden_by_another() -> None:
    """Sums are equal, shards are not."""
    newest = nanoseconds(NEWEST)
    checks = bucket_checks("b", [(record(1, 5), Figures(4, 12, newest)), (record(2, 5), Figures(6, 18, newest))], True)
    assert bad(checks) == ["shards of bucket b that differ"]


def test_deleted_points_that_came_back_are_found() -> None:
    """More than expected is as wrong as less."""
    checks = bucket_checks("b", [(record(1, 5), Figures(6, 18, nanoseconds(NEWEST)))], True)
    assert bad(checks) == ["points in bucket b", "values in bucket b", "shards of bucket b that differ"]


def test_more_is_accepted_where_services_wrote_since() -> None:
    """But never less, in no shard."""
    newest = nanoseconds(NEWEST)
    assert not bad(bucket_checks("b", [(record(1, 5), Figures(6, 18, newest))], False))
    assert bad(bucket_checks("b", [(record(1, 5), Figures(5, 14, newest))], False))
    pairs = [(record(1, 5), Figures(4, 12, newest)), (record(2, 5), Figures(7, 21, newest))]
    assert bad(bucket_checks("b", pairs, False)) == ["shards of bucket b that differ"]


def test_an_older_or_no_newest_point_is_found() -> None:
    """Points after the settled moment are not counted, but their newest is known."""
    for newest in (nanoseconds(NEWEST) - 1, None):
        assert bad(bucket_checks("b", [(record(1, 5), Figures(5, 15, newest))], True)) == ["newest point in bucket b"]
    assert not bad(bucket_checks("b", [(record(1, 0, None), Figures())], True))
    assert not bad(bucket_checks("b", [], True))


def test_ids_are_compared_not_numbers() -> None:
    """A token made anew is not the one that was there."""
    assert not bad(compare_inventory({"tasks": ["a"], "users": []}, {"tasks": ["a"], "users": [], "more": ["x"]}))
    (check,) = compare_inventory({"tasks": ["a", "b"]}, {"tasks": ["a", "c"]})
    assert (check["ok"], check["found"]) == (False, "2 (missing b; unknown c)")
