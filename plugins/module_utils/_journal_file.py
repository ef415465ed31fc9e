# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a journal and the clock it is stamped with, on the host that keeps the state."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso, read_text


def read_journal(state_path: str, recovery_id: str) -> bytes:
    """The bytes of a recovery's journal. RecoveryError PRC-900 names the recoveries there are."""
    path = os.path.join(state_path, recovery_id, "journal.jsonl")
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        found = f"there is no {path}; there are {', '.join(recoveries(state_path)[-3:]) or 'no recoveries yet'}"
    except OSError as error:
        found = f"{path}: {error.strerror}"
    raise RecoveryError(
        "PRC-900",
        f"read the journal of recovery {recovery_id}",
        found,
        "nothing was changed by this",
        f"name a recovery that has a folder in {state_path}: -e recovery_id=...",
    )


def recoveries(state_path: str) -> list[str]:
    """The ids that have a journal, oldest first."""
    try:
        names = os.listdir(state_path)
    except OSError:
        return []
    journals = {name: os.path.join(state_path, name, "journal.jsonl") for name in names}
    there = {name: os.stat(path).st_mtime for name, path in journals.items() if os.path.isfile(path)}
    return sorted(there, key=lambda name: there[name])


def clock() -> dict[str, Any]:
    """This instant as journal entries are stamped: at, monotonic, boot_id."""
    return {
        "at": now_iso(),
        "monotonic": float(read_text("/proc/uptime").split()[0]),
        "boot_id": read_text("/proc/sys/kernel/random/boot_id").strip(),
    }
