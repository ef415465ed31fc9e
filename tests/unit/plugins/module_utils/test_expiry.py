# SPDX-License-Identifier: GPL-3.0-or-later
"""Which journals go: old ones of backups and expiries, never a recovery's."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.platform3.recovery.plugins.module_utils._expiry import old_journals, remove_journals

NOW = 1_800_000_000.0
DAY = 86400.0


def journal(state: Path, name: str, age_days: float) -> Path:
    (state / name).mkdir(parents=True)
    (state / name / "journal.jsonl").write_text("{}\n")
    os.utime(state / name / "journal.jsonl", (NOW - age_days * DAY,) * 2)
    return state / name


def test_old_journals_of_backups_go_and_those_of_recoveries_stay(tmp_path: Path) -> None:
    old = journal(tmp_path, "backup-20261001T000000Z", 31)
    expiry = journal(tmp_path, "expire-20261001T000000Z", 31)
    kept = [
        journal(tmp_path, "backup-20261120T000000Z", 29),
        journal(tmp_path, "20261001T000000Z-full", 400),
        journal(tmp_path, "backup-restored-by-hand", 400),
    ]
    found = old_journals(str(tmp_path), NOW, 30)
    assert found == [str(old), str(expiry)]
    remove_journals([*found, str(tmp_path / "backup-gone")])
    assert sorted(tmp_path.iterdir()) == sorted(kept)
