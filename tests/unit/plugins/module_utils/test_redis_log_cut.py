# SPDX-License-Identifier: GPL-3.0-or-later
"""What redis-check-aof says of a log that is taken back to a second: cut, whole, to be asked again, or damaged."""

from __future__ import annotations

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_cut import left_of

NAMES = ("appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof", "appendonly.aof.3.incr.aof")
# As Redis 8.0.2 said it.
WHOLE = """Start checking Multi Part AOF
Start to check INCR files.
Truncate nothing in AOF appendonly.aof.1.incr.aof to timestamp 1795455157
INCR AOF appendonly.aof.1.incr.aof is valid
"""
CUT = """Successfully truncated AOF appendonly.aof.3.incr.aof to timestamp 1795455157
All AOF files and manifest are valid
"""
NOT_LAST = """Failed to truncate AOF ./appendonly.aof.2.incr.aof to timestamp 1795455153 to offset 95 because it is \
not the last file.
If you insist, please delete all files after this file according to the manifest file and delete the corresponding \
records in manifest file manually. Then re-run redis-check-aof.
"""
NOTHING = "AOF ./appendonly.aof.3.incr.aof has nothing before timestamp 1795455155, aborting...\n"
DAMAGED = """Start to check INCR files.
0x              8f: Expected to read 6 bytes, got 5 bytes
AOF analyzed: filename=appendonly.aof.2.incr.aof, size=148, ok_up_to=66, ok_up_to_line=32, diff=82
AOF appendonly.aof.2.incr.aof is not valid. Use the --fix option to try fixing it.
"""


@pytest.mark.parametrize(
    ("said", "status", "left"),
    [
        (WHOLE + CUT, 0, (NAMES, True)),
        (WHOLE, 0, (NAMES, False)),
        (WHOLE + NOT_LAST, 1, (NAMES[:2], None)),
        (WHOLE + NOTHING, 1, (NAMES[:2], None)),
        (NOTHING.replace(".3.", ".1."), 1, ((), None)),
    ],
)
def test_what_is_left_is_read_from_its_answer(said: str, status: int, left: tuple[object, object]) -> None:
    assert left_of(said, status, NAMES) == left


def test_damage_is_named_with_its_file_and_place() -> None:
    with pytest.raises(ValueError, match=r"appendonly.aof.2.incr.aof is damaged behind byte 66 of 148 \(0x"):
        left_of(WHOLE + DAMAGED, 1, NAMES)
    with pytest.raises(ValueError, match="Cannot open"):
        left_of("Cannot open file cut.manifest, aborting...\n", 1, NAMES)
    # A file that is the last one, or none of ours, is not asked for again for ever.
    with pytest.raises(ValueError):
        left_of(NOT_LAST.replace(".2.", ".3."), 1, NAMES)
