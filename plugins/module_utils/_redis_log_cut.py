# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copied increments of Redis' log taken back to a second by `redis-check-aof --truncate-to-timestamp`.

The tool reads a manifest's files in order and cuts where the log first names a later second. It cuts the last file only
and leaves none empty: of others it says so and touches nothing; they are then left out, and it is asked again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import Generation, parse_check
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

_NOT_LAST = re.compile(r"^Failed to truncate AOF (?:.*/)?(\S+) to timestamp -?\d+ .* not the last file", re.MULTILINE)
_NOTHING = re.compile(r"^AOF (?:.*/)?(\S+) has nothing before timestamp", re.MULTILINE)
_CUT = re.compile(r"^Successfully truncated AOF ", re.MULTILINE)


def left_of(said: str, status: int, increments: Sequence[str]) -> tuple[tuple[str, ...], bool | None]:
    """What redis-check-aof's answer leaves of the increments, and how it ended: cut (True), whole as it is (False), or
    to be asked again with what is left (None). Raises ValueError where the log is damaged."""
    names = tuple(increments)
    if status == 0:
        return names, _CUT.search(said) is not None
    later, nothing = _NOT_LAST.search(said), _NOTHING.search(said)
    if later and later[1] in names[:-1]:
        return names[: names.index(later[1]) + 1], None
    if nothing and nothing[1] in names:
        return names[: names.index(nothing[1])], None
    named = re.findall(r"AOF analyzed: filename=(?:.*/)?(\S+), size=", said)
    size, whole = parse_check(said) or (0, 0)
    what = next((line for line in said.splitlines() if line.startswith("0x")), last_line(said))
    raise ValueError(f"{named[-1] if named else 'it'} is damaged behind byte {whole} of {size} ({what.strip()})")


def write_manifest(worker: VolumeWorker, path: str, lines: Sequence[str]) -> None:
    """Write a manifest of Redis' log."""
    worker.run(["bash", "-euc", 'cat > "$1"', "bash", path], stdin="".join(f"{line}\n" for line in lines))


def cut_back(worker: VolumeWorker, place: str, generation: Generation, second: int, continues: bool) -> Generation:
    """Take the increments in place back to what was written before second; gives what is left of the generation.

    continues: whether the log goes on behind these increments, in that second or later. The base is not read: the
    caller knows that it is older, and loads it. Raises ValueError where the log is damaged before second, or ends
    before it.
    """
    manifest = f"{place}/cut.manifest"
    left, cut = generation.increments, None
    while left and cut is None:
        write_manifest(worker, manifest, generation.lines[1 : 1 + len(left)])
        argv = ["redis-check-aof", "--truncate-to-timestamp", str(second - 1), manifest]
        done = worker.run(["env", "--chdir", place, *argv], check=False)
        before = left
        left, cut = left_of(done.stdout + done.stderr, done.returncode, left)
        # What was left out begins in that second or later: the rest need not be cut.
        continues = continues or len(left) < len(before) or cut is True
    if not continues:
        raise ValueError("it ends before the target")
    worker.bash('rm -f -- "$1"; cd "$2"; shift 2; rm -f -- "$@"', manifest, place, *generation.increments[len(left) :])
    return Generation(generation.base, left, generation.lines[: 1 + len(left)])
