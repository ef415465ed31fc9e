# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state folder: lock, epoch and journals, as files on the host in group backup_store.

lock                    who may change data now, one JSON line with sorted keys (Lock)
epoch                   the newest epoch ever given, so that it never falls
.flock                  held while lock or a journal is read or written
<recovery_id>/journal.jsonl, <recovery_id>/stop
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence

FENCED_STATUS = 75
STOPPED_STATUS = 76
# A holder renews the lock with each journal entry and every few seconds of a long step.
BACKUP_STALE_SECONDS = 60


@dataclass(frozen=True)
class Lock:
    """Who holds the lock. kind: recovery or backup; run: how often this recovery_id took it; taken_at: ISO UTC."""

    environment_id: str
    epoch: int
    holder: str
    kind: str
    recovery_id: str
    run: int
    scenario: str
    taken_at: str

    def line(self) -> str:
        """The lock as it lies in its file; append_command relies on the order of the keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def fence(self) -> Fence:
        """What this holder shows."""
        return Fence(self.recovery_id, self.epoch)


def parse_lock(text: str) -> Lock | None:
    """The lock from its file's text; None where nobody holds it."""
    return Lock(**json.loads(text)) if text.strip() else None


def now_iso() -> str:
    """This host's clock, ISO 8601 UTC with milliseconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def refusal(held: Lock | None, wanted_id: str, kind: str, held_age_seconds: float) -> str | None:
    """Why wanted_id may not take the lock now, or None where it may.

    The same recovery goes on (its earlier run is outranked by the new epoch); a recovery outranks a backup; a backup
    takes over from one that has shown no life for BACKUP_STALE_SECONDS. Everything else waits.
    """
    if held is None or held.recovery_id == wanted_id:
        return None
    if held.kind == "backup":
        if kind == "recovery" or held_age_seconds > BACKUP_STALE_SECONDS:
            return None
        return f"backup {held.recovery_id} is running (last sign of life {held_age_seconds:.0f} s ago)"
    return (
        f"recovery {held.recovery_id} (scenario {held.scenario}) is not finished; "
        f"it holds the lock since {held.taken_at}"
    )


@contextlib.contextmanager
def exclusive(state_path: str, timeout_seconds: float = 20.0) -> Iterator[None]:
    """Be alone in the state folder; RecoveryError PRC-300 after timeout_seconds."""
    os.makedirs(state_path, mode=0o750, exist_ok=True)
    with open(os.path.join(state_path, ".flock"), "a", encoding="utf-8") as stream:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise RecoveryError(
                        "PRC-300",
                        f"enter the state folder {state_path}",
                        f"another process has held {state_path}/.flock for {timeout_seconds:.0f} s",
                        "nothing was changed by this run",
                        f"see who holds it with: fuser -v {state_path}/.flock",
                    ) from None
                time.sleep(0.02)
        yield


def read_text(path: str) -> str:
    """The text of a file, "" where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def replace_text(path: str, text: str) -> None:
    """Write a file so that after a crash it is either the old or the new one."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)


def append_entry(state_path: str, run: int, entry: dict[str, Any]) -> dict[str, Any]:
    """Append entry to the journal of entry["recovery_id"], stamped and fsynced; returns it stamped.

    The caller is exclusive(state_path) and has compared the fence.
    """
    with open("/proc/uptime", encoding="ascii") as stream:
        monotonic = float(stream.read().split()[0])
    stamp = {"at": now_iso(), "monotonic": monotonic, "boot_id": read_text("/proc/sys/kernel/random/boot_id").strip()}
    whole = {**stamp, "run": run, **entry}
    folder = os.path.join(state_path, entry["recovery_id"])
    os.makedirs(folder, mode=0o750, exist_ok=True)
    with open(os.path.join(folder, "journal.jsonl"), "ab+") as journal:
        if journal.tell() > 0:
            journal.seek(-1, os.SEEK_END)
            if journal.read(1) != b"\n":
                journal.write(b"\n")  # a line torn by a crash must not swallow this one
        journal.write(json.dumps(whole).encode() + b"\n")
        journal.flush()
        os.fsync(journal.fileno())
    return whole


def append_command(state_path: str, fence: Fence, *, starting: bool) -> str:
    """A shell command that does what append_entry does, in 10 ms where a module run costs 300.

    It reads the entry on stdin as JSON without its opening brace, compares the fence with the lock, refuses to start
    a step once a stop is asked for, stamps and appends. starting: print the whole journal afterwards.
    Exit status 0, FENCED_STATUS (prints the lock) or STOPPED_STATUS.
    """
    journal = shlex.quote(f"{fence.recovery_id}/journal.jsonl")
    pattern = f'*\'"epoch": {fence.epoch},\'*\'"recovery_id": "{fence.recovery_id}",\'*'
    stop_rule = f"[ ! -e {shlex.quote(fence.recovery_id + '/stop')} ] || exit {STOPPED_STATUS}" if starting else ":"
    return f"""set -eu
cd {shlex.quote(state_path)}
exec 9>>.flock
flock --timeout 20 9
lock=$(cat lock 2>/dev/null || true)
case "$lock" in {pattern}) ;; *) printf '%s\\n' "$lock"; exit {FENCED_STATUS};; esac
{stop_rule}
touch lock
run=$(printf %s "$lock" | sed -n 's/.*"run": \\([0-9]*\\).*/\\1/p')
read -r up _ < /proc/uptime
read -r boot < /proc/sys/kernel/random/boot_id
at=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
entry=$(cat)
stamp='{{"at": "%s", "monotonic": %s, "boot_id": "%s", "run": %s, %s\\n'
[ -z "$(tail -c1 {journal} 2>/dev/null)" ] || echo >> {journal}
printf "$stamp" "$at" "$up" "$boot" "$run" "$entry" >> {journal}
sync {journal}
{"cat " + journal if starting else ":"}
"""
