# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether all that lies in the backup store is still what was written: sets, base backups, WAL.

What was read once and is the same file by size, times and inode is not read again, unless all of it is asked for.
Damage condemns a set; what cannot be read at this moment (a store that is not mounted) proves nothing and does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _verified
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest, root_files
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._repository import Repository
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry
from ansible_collections.platform3.recovery.plugins.module_utils._verification import (
    byte_problems,
    listing_problems,
    verify_pgbackrest,
)

# How byte_problems words a file that could not be read at all.
UNREAD = " cannot be read ("
# Of a set that cannot be believed: its bytes are not what was signed. Another signer may only be a new key.
DAMAGE_CODES = ("PRC-210", "PRC-223")
WAL = "wal"


@dataclass
class Findings:
    """What came out. damaged and unread: by set id (or `wal`), what is wrong; sound: sets that are as they were signed;
    bytes and files: how much was read; known: how many files needed no reading.
    """

    damaged: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)
    sound: list[str] = field(default_factory=list)
    bytes: int = 0
    files: int = 0
    known: int = 0

    def add(self, where: str, problems: Iterable[str]) -> None:
        """Sort problems into damage and what could not be read."""
        for problem in problems:
            kind = self.unread if UNREAD in problem else self.damaged
            kind.setdefault(where, []).append(problem)

    def count(self, amount: int, files: int, known: int) -> None:
        """So many bytes and files were read, and so many needed no reading."""
        self.bytes, self.files, self.known = self.bytes + amount, self.files + files, self.known + known


@dataclass(frozen=True)
class Place:
    """Where to look, and whether what is known counts (full: it does not)."""

    store: str
    state_path: str
    full: bool
    keep: bool
    progress: Progress

    def recall(self, name: str) -> dict[str, _verified.Known]:
        """What was verified before."""
        return {} if self.full else _verified.recall(self.state_path, name)

    def remember(self, name: str, memory: dict[str, _verified.Known]) -> None:
        """Keep what was verified; not in check mode."""
        if self.keep:
            _verified.remember(self.state_path, name, memory)


def verify_sets(place: Place, entries: Sequence[Entry], found: Findings) -> None:
    """Read the files of these sets."""
    for one in entries:
        manifest = one.read.manifest
        if manifest is None:
            if one.read.code in DAMAGE_CODES:
                found.add(one.set_id, [one.read.wrong])
            else:
                found.unread.setdefault(one.set_id, []).append(one.read.wrong)
            continue
        try:
            _verify_set(place, manifest, found)
        except OSError as error:
            if os.path.isdir(os.path.join(place.store, one.set_id)):
                found.add(one.set_id, [f"{error.filename}{UNREAD}{error.strerror})"])
            # else it was expired meanwhile


def _verify_set(place: Place, manifest: Manifest, found: Findings) -> None:
    set_id, artefacts = manifest["backup_set"], manifest["artefacts"]
    root = os.path.join(place.store, set_id)
    wrong = listing_problems(root, root_files(set_id), artefacts, artefacts)
    if not wrong:
        memory = place.recall(set_id)
        prints = {one["path"]: _verified.fingerprint(os.path.join(root, one["path"])) for one in artefacts}
        todo = [
            one for one in artefacts if not _verified.is_known(memory, one["path"], prints[one["path"]], one["sha256"])
        ]
        size = sum(one["bytes"] for one in todo)
        place.progress.start(f"verifying {set_id}", size)
        wrong = byte_problems(root, todo, place.progress.advance)
        found.count(size, len(todo), len(artefacts) - len(todo))
        if not wrong:
            place.remember(set_id, {one["path"]: [*prints[one["path"]], one["sha256"]] for one in artefacts})
    found.add(set_id, wrong)
    if not wrong:
        found.sound.append(set_id)


def verify_bases(place: Place, repository: Repository, entries: Sequence[Entry], found: Findings) -> None:
    """Read the base backups that these sets name, by `pgbackrest verify`; a damaged one damages every set on it."""
    results: dict[str, list[str]] = {}
    for one in entries:
        label, manifest = one.base_label, one.read.manifest
        if label is None or manifest is None:
            continue
        try:
            verify_pgbackrest(place.store, manifest)
            if label not in results:
                results[label] = _verify_base(place, repository, label, found)
            wrong = results[label]
        except RecoveryError as error:
            if error.code != "PRC-231":
                raise
            wrong = [error.found]
        found.add(one.set_id, wrong)
        if wrong and one.set_id in found.sound:
            found.sound.remove(one.set_id)


def _verify_base(place: Place, repository: Repository, label: str, found: Findings) -> list[str]:
    folder = os.path.join(place.store, "pgbackrest", "backup", repository.stanza)
    # It may be built on older ones of the same full backup.
    family = sorted(name for name in os.listdir(folder) if name[:16] == label[:16] and name <= label)
    prints = {name: _verified.folder_fingerprint(os.path.join(folder, name)) for name in family}
    known = place.recall(f"base-{label}")
    if all(known.get(name) == list(prints[name]) for name in family):
        found.count(0, 0, len(family))
        return []
    place.progress.start(f"verifying base backup {label}")
    wrong = repository.verify_base(label)
    found.count(sum(size for size, _digest in prints.values()), len(family), 0)
    if wrong is None:
        place.remember(f"base-{label}", {name: list(prints[name]) for name in family})
        return []
    return [f"its base backup {label}: {wrong}"]


def verify_wal(place: Place, repository: Repository, found: Findings) -> None:
    """Hash the segments of the archive that were not hashed before, against the digest in their names."""
    root = os.path.join(place.store, "pgbackrest", "archive", repository.stanza)
    memory = place.recall(WAL)
    prints: dict[str, list[int]] = {}
    for folder, _folders, names in os.walk(root):
        for name in names:
            if "-" in name and not name.endswith(".tmp"):
                path = os.path.join(folder, name)
                prints[os.path.relpath(path, root)] = _verified.fingerprint(path)
    todo = [path for path, now in prints.items() if memory.get(path) != now]
    size = sum(prints[path][0] for path in todo)
    place.progress.start("verifying the WAL archive", size)
    wrong = repository.damaged_wal(todo) if todo else {}
    wrong = {path: why for path, why in wrong.items() if os.path.lexists(os.path.join(root, path))}
    found.add(WAL, (f"{os.path.basename(path)[:24]} {why}" for path, why in sorted(wrong.items())))
    found.count(size, len(todo), len(prints) - len(todo))
    place.remember(WAL, {path: now for path, now in prints.items() if path not in wrong})


def failure(found: Findings, gaps: Sequence[dict[str, Any]], broken: Sequence[Entry], newest: str | None) -> str:
    """All that is wrong, as clauses; "" where nothing is.

    broken: sets that cannot be read for others; newest: the newest set that a recovery may still take.
    """
    said = [f"set {one} is damaged ({_first(why)})" for one, why in _sets(found.damaged)]
    said += [f"WAL {problem}" for problem in found.damaged.get(WAL, [])]
    said += [f"WAL {one['segment']} {one['wrong']}" for one in gaps]
    said += [f"set {one.set_id} cannot be used: {_why(one)}" for one in broken]
    said += [f"{one} could not be verified ({_first(why)})" for one, why in found.unread.items()]
    if _sets(found.damaged):
        said.append(f"the newest good set is {newest}" if newest else "NO good set is left")
    return "; ".join(said)


def _why(one: Entry) -> str:
    return one.reason if one.state == "broken_chain" else "it is read along with a damaged one"


def _sets(by_place: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    return [(one, why) for one, why in by_place.items() if one != WAL]


def _first(problems: Sequence[str]) -> str:
    more = f", and {len(problems) - 2} more" if len(problems) > 2 else ""
    return "; ".join(problems[:2]) + more
