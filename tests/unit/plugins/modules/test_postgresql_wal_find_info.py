# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search of PostgreSQL's WAL refuses before it looks at the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, Store, run


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"around": "2026-11-22T12:00:00"}, "PRC-563", "offset"),
        ({"around": "yesterday"}, "PRC-563", "not a date"),
        ({"window_seconds": 0}, "PRC-563", "window_seconds"),
        ({"window_seconds": 86401}, "PRC-563", "window_seconds"),
        ({"many_rows": 0}, "PRC-563", "many_rows"),
        ({}, "PRC-566", "no usable backup set"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, changes: dict[str, Any], code: str, named: str) -> None:
    store = Store(tmp_path)
    (tmp_path / "state").mkdir()
    given: dict[str, Any] = {
        "store_path": str(store.path),
        "state_path": str(tmp_path / "state"),
        "environment_id": ENVIRONMENT["environment_id"],
        "trusted_signers": store.signers,
        "compose": {"project": "none", "directory": str(tmp_path), "files": ["none.yaml"]},
        "service": "postgresql",
        "image": "none",
        "stanza": "platform3",
        "around": "2026-11-22T12:00:00Z",
    }
    found = run("postgresql_wal_find_info", {**given, **changes})
    assert (found.get("failed"), found["error"]["code"]) == (True, code)
    assert named in found["msg"]
