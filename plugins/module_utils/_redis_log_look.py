# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a recovery of Redis stands on: the snapshot of the set, or the shipped log where that reaches further."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import ShippedLog, is_newer, newest_log

LOG_MOUNT = "/aof"
TIME_BYTES = 4 * 1024 * 1024
UNSIGNED = "the shipped log bears no signature: its base has a checksum of its own, its commands were checked by form"

# The inputs that say which of the two is taken, and how far back it is taken.
LOG_ARGUMENTS: dict[str, dict[str, Any]] = {
    "log_path": {"type": "path"},
    "target_time": {"type": "str"},
    "restore_from": {"type": "str", "choices": ["newest", "snapshot"], "default": "newest"},
    "log": {"type": "str", "choices": ["required", "preferred"], "default": "preferred"},
}

# Of each life of the data: its newest manifest, the files, the newest time, the base's head. In the form of newest_log.
LOOK = f"""
shopt -s nullglob
cd {LOG_MOUNT}
for life in */; do
  printf 'life %s %s\\n' "${{life%/}}" "$(cat "${{life}}epoch" 2>/dev/null || echo none)"
  newest=$(cd "$life" && printf '%s\\n' [0-9]*.manifest | sort -n | tail -n 1)
  [ -n "$newest" ] || continue
  sed "s/^/manifest ${{newest%.manifest}} /" "$life$newest"
  (cd "$life" && stat --printf 'file %n %s\\n' -- *)
  # Newest first: one that was just begun names no time yet.
  for file in $(awk '$6 == "i" {{ print $2 }}' "$life$newest" | tac); do
    seconds=$(tail -c {TIME_BYTES} "$life$file" 2>/dev/null | LC_ALL=C grep -a -o '^#TS:[0-9]*' | tail -n 1)
    [ -n "$seconds" ] || continue
    echo "time ${{seconds#*:}}"
    break
  done
  base=$(awk '$6 == "b" {{ print $2 }}' "$life$newest")
  echo "base $(head -c 256 "$life$base" 2>/dev/null | od -An -v -tx1 | tr -d ' \\n')"
done
"""


@dataclass(frozen=True)
class Source:
    """What Redis is to be restored from. log: None where it is the snapshot; reason: why, as a clause.

    warnings: what an operator must know of the choice.
    """

    log: ShippedLog | None
    reason: str
    warnings: tuple[str, ...] = ()


def choose_source(
    given: Mapping[str, Any], snapshot_at: str, run: Callable[[str], str], data: str = "nothing was changed"
) -> Source:
    """The log where it reaches further than the snapshot (taken at the ISO instant snapshot_at).

    given: the values of LOG_ARGUMENTS; run: runs a bash script where the store's logs are at LOG_MOUNT, gives what it
    prints; data: what a failure means. Raises RecoveryError PRC-621 where a log is required and none can be used.
    """
    if given["restore_from"] == "snapshot":
        return Source(None, "the snapshot was asked for (redis_restore_from=snapshot)")
    if not given["log_path"]:
        return without_log(given, "no log is shipped here (redis_log_shipping)", data, ())
    if not os.path.isdir(given["log_path"]):
        return without_log(given, f"there is no {given['log_path']}", data)
    try:
        shipped = newest_log(run(LOOK))
    except ValueError as error:
        return without_log(given, str(error), data)
    if shipped is None:
        return without_log(given, "no generation of a log was shipped whole", data)
    where = f"the shipped log ({shipped.life}, generation {shipped.number})"
    if shipped.missing:
        return without_log(given, f"{where} lacks {', '.join(shipped.missing)}", data)
    if shipped.at is None:
        return without_log(given, f"{where} does not tell how far it reaches", data)
    if not is_newer(shipped, snapshot_at):
        return Source(None, f"{where} ends at {shipped.recovery_point}, not after the snapshot of {snapshot_at}")
    return Source(shipped, f"{where} reaches {shipped.recovery_point}", (f"{where}: {UNSIGNED}",))


def without_log(given: Mapping[str, Any], found: str, data: str, warnings: tuple[str, ...] | None = None) -> Source:
    """The snapshot instead of a log that cannot be used, and a warning of it; PRC-621 where a log is required."""
    if given["log"] == "required":
        raise RecoveryError(
            "PRC-621",
            "restore Redis from its shipped log",
            found,
            data,
            "bring a good copy of it into the store, or accept the snapshot with -e redis_log=preferred",
        )
    told = (f"Redis is restored from the snapshot, without what was written after it: {found}",)
    return Source(None, found, told if warnings is None else warnings)


def look_without_volume(image: str, environment_id: str, log_path: str) -> Callable[[str], str]:
    """Runs scripts over the store's logs in one-shot containers, without the server or its volume."""
    arguments = ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0"]
    arguments += ["--label", f"{ENVIRONMENT_LABEL}={environment_id}", "--volume", f"{log_path}:{LOG_MOUNT}:ro"]
    return lambda script: docker([*arguments, image, "bash", "-euc", script], timeout_seconds=600).stdout
