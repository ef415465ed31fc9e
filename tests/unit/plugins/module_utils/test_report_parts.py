# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report says of chosen parts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._journal import read_history
from ansible_collections.platform3.recovery.plugins.module_utils._report_parts import parts_brought_back

STARTED = {
    "event": "run_started",
    "parts": {"postgresql": {"postgresql_tables": ["orders"]}, "redis": {"redis_key_patterns": ["a*"]}},
}


def entries(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    named = {"host": "h", "name": "It", "event": "step_finished"}
    listed = [STARTED, *({**named, **step} for step in steps)]
    return [{"at": f"2026-11-23T05:17:{number:02d}Z", "run": 1, "epoch": 1, **one} for number, one in enumerate(listed)]


def test_what_came_back_is_told_beside_what_was_chosen() -> None:
    table = {"table": "public.orders", "added": 3, "removed": 1, "changed": 0}
    foreseen = {"phase": "assess", "component": "redis", "result": {"databases": {"0": {"restored": 9}}}}
    restored = {"phase": "restore", "component": "postgresql", "result": {"tables": [table]}}
    assert parts_brought_back(read_history(entries(foreseen, restored))) == {
        "postgresql": "orders: public.orders: 3 rows added, 1 removed, 0 changed",
        "redis": "a*: not brought back",
    }


def test_keys_are_told_by_database() -> None:
    step = {"phase": "restore", "component": "redis", "result": {"databases": {"0": {"restored": 9, "removed": 2}}}}
    assert parts_brought_back(read_history(entries(step)))["redis"] == "a*: database 0: 9 restored, 2 removed"


@pytest.mark.parametrize(("by", "words"), [("points", "written"), ("files", "came by files")])
def test_points_are_told_by_bucket(by: str, words: str) -> None:
    bucket = {"range": "b from x to y", "restored": 7, "made": True, "by": by}
    written = {"phase": "restore", "component": "redis", "result": {"buckets": {"b": bucket}}}
    assert parts_brought_back(read_history(entries(written)))["redis"].endswith(
        f"b from x to y: 7 values {words}, the bucket made anew"
    )


def test_whole_datastores_have_no_parts() -> None:
    assert parts_brought_back(read_history([{**entries()[0], "parts": {}}])) == {}
