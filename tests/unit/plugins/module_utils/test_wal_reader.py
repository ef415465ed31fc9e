# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import _FETCH

NAME = "000000010000000000000005"


@pytest.mark.parametrize(
    ("there", "read"), [(f"{NAME}.partial", True), (NAME, True), ("000000010000000000000006", False)]
)
def test_a_segment_that_became_whole_since_it_was_listed_is_read(tmp_path: Path, there: str, read: bool) -> None:
    (tmp_path / there).write_bytes(b"WAL")
    wal = tmp_path / "wal"
    entry = f"{NAME} {tmp_path / NAME}.partial cat"
    script = ["bash", "-c", _FETCH.replace("/tmp/wal", str(wal)), "bash", "stanza", NAME, NAME, "", entry]  # noqa: S108
    said = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60).stdout
    if read:
        assert not said and (wal / NAME).stat().st_size == SEGMENT_BYTES
        assert (wal / NAME).read_bytes().startswith(b"WAL\0")
    else:
        assert f"unread {tmp_path / NAME}" in said
