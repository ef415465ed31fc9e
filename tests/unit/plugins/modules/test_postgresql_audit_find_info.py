# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search of the audit log refuses before it asks the server, and that a server that is gone is no failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules.set_stage import run

GIVEN: dict[str, Any] = {
    "container": "none",
    "database": "forex_trading",
    "owner": "forex_admin",
    "query": "SELECT 1",
    "around": "2026-11-22T12:00:00Z",
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"around": "2026-11-22T12:00:00"}, "offset"),
        ({"around": "yesterday"}, "not a date"),
        ({"window_seconds": 0}, "window_seconds"),
        ({"window_seconds": 86401}, "window_seconds"),
        ({"limit": 0}, "limit"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"query": " "}, "query is empty"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], named: str) -> None:
    found = run("postgresql_audit_find_info", {**GIVEN, **changes})
    assert (found.get("failed"), found["error"]["code"]) == (True, "PRC-563")
    assert named in found["msg"]


def test_a_host_that_lost_its_engine_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = run("postgresql_audit_find_info", GIVEN)
    assert (found["events"], found["searched"], found["changed"]) == ([], [], False)
    assert found["warnings_found"] == ["the server does not answer (the docker command is not installed on this host)"]
