# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of snapshot and shipped log Redis is restored from, and what is said of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import Source, choose_source

SNAPSHOT_AT = "2026-11-23T05:17:00.500Z"
AT = 1795411020  # 05:17:00
WHOLE = "life r1-7 7\nmanifest 2 file a.2.base.rdb seq 2 type b\nfile a.2.base.rdb 10\n"


def chosen(path: Path | None, listing: str, **changes: Any) -> Source:
    """The choice for a store whose logs are listed so."""
    given = {"restore_from": "newest", "log": "preferred", "log_path": path and str(path), **changes}
    return choose_source(given, SNAPSHOT_AT, lambda script: listing)


def test_a_log_that_reaches_further_is_taken_and_said_to_be_unsigned(tmp_path: Path) -> None:
    found = chosen(tmp_path, f"{WHOLE}time {AT + 1}\n")
    assert found.log is not None and found.log.recovery_point == "2026-11-23T05:17:01.000Z"
    assert "no signature" in found.warnings[0] and "r1-7, generation 2" in found.warnings[0]


@pytest.mark.parametrize("seconds", [0, -1, -3600])
def test_a_log_that_ends_before_is_not_taken_and_that_is_no_loss_to_warn_of(tmp_path: Path, seconds: int) -> None:
    for log in ("preferred", "required"):
        found = chosen(tmp_path, f"{WHOLE}time {AT + seconds}\n", log=log)
        assert found.log is None and found.warnings == () and "not after the snapshot" in found.reason


def test_the_snapshot_alone_is_asked_for(tmp_path: Path) -> None:
    found = chosen(tmp_path, f"{WHOLE}time {AT + 1}\n", restore_from="snapshot")
    assert found.log is None and found.warnings == ()


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        ("", "no generation"),
        (WHOLE, "does not tell how far"),
        (f"{WHOLE}manifest 2 file a.2.incr.aof seq 2 type i\ntime {AT + 9}\n", "lacks a.2.incr.aof"),
        ("life r1-7 7\nmanifest 2 file a.2.incr.aof seq 2 type i\n", "0 bases instead of one"),
    ],
)
def test_a_log_that_cannot_be_used_is_told_or_ends_the_recovery(tmp_path: Path, listing: str, told: str) -> None:
    found = chosen(tmp_path, listing)
    assert found.log is None and told in found.warnings[0]
    with pytest.raises(RecoveryError, match=told) as error:
        chosen(tmp_path, listing, log="required")
    assert error.value.code == "PRC-621"


def test_a_platform_that_ships_no_log_is_not_warned_and_one_whose_folder_is_gone_is(tmp_path: Path) -> None:
    assert chosen(None, "").warnings == ()
    assert "there is no" in chosen(tmp_path / "gone", "").warnings[0]
