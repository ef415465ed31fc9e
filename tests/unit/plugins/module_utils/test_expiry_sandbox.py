# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox was made from, or is being, is kept by an expiry until the sandbox is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._expiry import (
    Plan,
    Right,
    as_kept,
    carry_out,
    sandbox_sets,
)
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._retention import Policy, decide
from ansible_collections.platform3.recovery.plugins.module_utils._state import append_entry
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry, Read, instant_of

OLDEST, MIDDLE, NEWEST = "20261120T051700Z", "20261121T051700Z", "20261122T051700Z"
NOW = instant_of("2026-11-23T05:17:00Z")


def begin_sandbox(path: Path, **details: Any) -> None:
    """Take the sandbox's lock, as far as its journal goes."""
    entry = {"event": "run_started", "recovery_id": "sandbox", "epoch": 1, "scenario": "sandbox", **details}
    append_entry(str(path), 1, entry)


def entry(set_id: str) -> Entry:
    return Entry(Read(set_id, None), "complete")


def test_the_sets_of_a_sandbox_are_those_that_its_runs_named(tmp_path: Path) -> None:
    assert sandbox_sets(None) == sandbox_sets(str(tmp_path)) == frozenset()
    begin_sandbox(tmp_path, backup_set=OLDEST, backup_sets=[OLDEST, MIDDLE])
    assert sandbox_sets(str(tmp_path)) == {OLDEST, MIDDLE}
    # Somebody drops it, and is killed in the middle of a line.
    begin_sandbox(tmp_path)
    with (tmp_path / "sandbox/journal.jsonl").open("a") as journal:
        journal.write('{"at": "2026-11-2')
    assert sandbox_sets(str(tmp_path)) == {OLDEST, MIDDLE}


def test_an_expiry_keeps_them_and_says_why(tmp_path: Path) -> None:
    begin_sandbox(tmp_path, backup_set=OLDEST)
    kept = [as_kept(entry(one), sandbox_sets(str(tmp_path))) for one in (OLDEST, MIDDLE, NEWEST)]
    found = {one.set_id: (one.stays, one.reason) for one in decide(kept, Policy(), NOW)}
    assert found == {
        NEWEST: (True, "the newest"),
        MIDDLE: (False, "no rule keeps it"),
        OLDEST: (True, "a sandbox was made from it"),
    }


def test_an_expiry_stops_where_a_sandbox_is_begun_from_a_set_that_was_to_go(tmp_path: Path) -> None:
    store, state = tmp_path / "store", tmp_path / "state"
    for folder in (store / OLDEST, store / MIDDLE, state / "sandbox"):
        folder.mkdir(parents=True)
    held = {"environment_id": "lab-1", "epoch": 5, "holder": "test", "kind": "backup", "run": 1}
    held |= {"recovery_id": "expire-1", "scenario": "expire_backups", "taken_at": "2026-11-23T05:17:00.000Z"}
    (state / "lock").write_text(json.dumps(held))
    right = Right(str(state), Fence("expire-1", 5), str(state / "sandbox"))
    repository, folders = mock.Mock(), mock.Mock()
    begin_sandbox(state / "sandbox", backup_set=OLDEST)
    decided = Plan((entry(MIDDLE), entry(OLDEST)), ("20261120-051700F",), 1)
    with pytest.raises(RecoveryError, match=f"PRC-335.*a sandbox is being made from {OLDEST}") as stopped:
        carry_out(decided, repository, folders, str(store), right)
    assert "expire_backups.yml again" in stopped.value.next_step
    assert {path.name for path in store.iterdir()} == {OLDEST, MIDDLE}
    assert repository.mock_calls == [] and folders.mock_calls == []
    # One that is made from another set hinders nothing.
    carry_out(Plan((entry(MIDDLE),), (), 1), repository, folders, str(store), right)
    assert {path.name for path in store.iterdir()} == {OLDEST}
