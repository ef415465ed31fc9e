# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was verified already, so that a large store is not read again: small files in the state folder.

verified/<name>.json holds {path: [bytes, mtime_ns, ctime_ns, inode, digest]} of one set, or of one part of the
pgBackRest repository. A file that is what it was by all of them need not be hashed. The files are a memory, no proof:
without them everything is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping

from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text, replace_text

FOLDER = "verified"

Known = object


def fingerprint(path: str) -> list[int]:
    """Size, times and inode of a file, the link itself where it is one. OSError where it is not there."""
    found = os.lstat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def is_known(memory: Mapping[str, Known], path: str, now: list[int], digest: str) -> bool:
    """Whether a file with this fingerprint was found to have this digest."""
    return memory.get(path) == [*now, digest]


def folder_fingerprint(path: str) -> tuple[int, str]:
    """Size of all files below a folder, and a digest of the name and fingerprint of each. OSError."""
    total, listed = 0, []
    for folder, _folders, names in os.walk(path):
        for name in names:
            whole = os.path.join(folder, name)
            found = fingerprint(whole)
            total += found[0]
            listed.append([os.path.relpath(whole, path), *found])
    return total, hashlib.sha256(json.dumps(sorted(listed)).encode()).hexdigest()


def recall(state_path: str, name: str) -> dict[str, Known]:
    """What is remembered under a name; {} where nothing is, or where it cannot be understood."""
    try:
        found = json.loads(read_text(_path(state_path, name)) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def remember(state_path: str, name: str, memory: Mapping[str, Known]) -> None:
    """Keep what was verified under a name; OSError where the state folder cannot be written."""
    os.makedirs(os.path.join(state_path, FOLDER), mode=0o750, exist_ok=True)
    replace_text(_path(state_path, name), json.dumps(memory, sort_keys=True))


def forget(state_path: str, names: Iterable[str]) -> None:
    """Drop what is remembered of sets that are gone."""
    for name in names:
        path = _path(state_path, name)
        if os.path.lexists(path):
            os.unlink(path)


def _path(state_path: str, name: str) -> str:
    return os.path.join(state_path, FOLDER, f"{name}.json")
