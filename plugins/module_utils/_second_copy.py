# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copy of the backup store on another machine: how far it is, what of it a recovery needs. Pure.

Its shipper (sidecars/second_copy.py) says what it did in `<state>/second_copy/state.json`, by lane:
`stream` (WAL stream, Redis' log) and `store` (repository, sets). What grows lies there as an index, `growing.zst`, and
chunks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import root_files
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import parse_manifest
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, span

LANES = ("stream", "store")
STATE_PATH = os.path.join("second_copy", "state.json")
KEYS_PATH = os.path.join("second_copy", "keys.json")
# What cannot lie beside the copy, because it is what opens it; looked for once a year.
KEPT_ELSEWHERE = ("s3_key", "age_identities")
YEAR_SECONDS = 366 * 86400
INDEX = "growing.zst"
# What the second copy is said to be late with, in the words of an operator.
CARRIES = {"stream": "WAL and Redis' log", "store": "backup sets and pgBackRest's repository"}
_SAFE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9._/@+=-]+")

State = Mapping[str, Any]


def parse_state(text: str) -> State | None:
    """The shipper's record; None where there is none, or it is none of ours."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    good = isinstance(found, dict) and all(isinstance(found.get(name) or {}, dict) for name in LANES)
    return found if good else None


def reached(state: State | None, lane: str) -> str | None:
    """Everything that the lane carries was off this machine as it was at this instant; None where it never was."""
    good = ((state or {}).get(lane) or {}).get("good_started_at")
    return str(good) if good else None


def problems(state: State | None, now: float, maximum_seconds: float) -> list[str]:
    """What is wrong with the second copy, as sentences. maximum_seconds: how old the newest good pass may be."""
    if state is None:
        return ["the second copy has no record: does its shipper (second-copy) run?"]
    found = []
    for lane in LANES:
        good, error = reached(state, lane), (state.get(lane) or {}).get("error")
        why = f": {error}" if error else ": does its shipper (second-copy) run?"
        if good is None:
            found.append(f"the second copy never had {CARRIES[lane]} whole{why}")
        elif now - parse_iso(good) > maximum_seconds:
            found.append(f"the second copy lacks {CARRIES[lane]} of the last {span(now - parse_iso(good))}{why}")
    return found


def points(stored: Mapping[str, str | None], state: State | None) -> dict[str, str | None]:
    """The newest instant of each component that comes back with this machine gone (ISO 8601).

    stored: what the local store brings back. Nothing does before a first whole pass of the sets.
    """
    store, stream = reached(state, "store"), reached(state, "stream")
    log = bool(((state or {}).get("stream") or {}).get("log"))
    lane = {"postgresql": stream or store, "redis": stream if log else store}
    return {name: earliest(point, lane.get(name, store)) if store else None for name, point in stored.items()}


def earliest(*instants: str | None) -> str | None:
    """The first of the instants, None where one of them is not known."""
    known = [one for one in instants if one]
    return min(known, key=parse_iso) if len(known) == len(instants) else None


def off_machine_segments(state: State | None) -> list[str]:
    """Names of the streamed segments that the second copy holds, in order."""
    listed = ((state or {}).get("stream") or {}).get("segments") or []
    return sorted(str(one).rpartition("/")[2] for one in listed)


def status_32110(state: State | None, now: float, maximum_seconds: float, errors: int, proven: int) -> dict[str, Any]:
    """The rule 3-2-1-1-0: three copies (the platform's own among them), in two places, one off the machine, one that
    nobody can change, no error. By each what is so, whether all holds, and it as a sentence.

    errors: sets and WAL that are known to be bad; proven: sets that were read again as they were signed.
    """
    none = ["there is no second copy, or no record of it"]
    wrong = none if state is None else problems(state, now, maximum_seconds)
    off, place = not wrong, (state or {}).get("place")
    lock = (state or {}).get("lock") if off else None
    wrong += ["the bucket keeps no version by object lock"] if off and not lock else []
    wrong += [f"{errors} sets or WAL segments are bad"] if errors else []
    wrong += [] if proven else ["no set was verified yet"]
    figures = {
        "copies": 3 if off else 2,
        "places": 2 if off else 1,
        "off_machine": int(off),
        "immutable": int(bool(lock)),
        "errors": errors,
    }
    shown = "-".join(str(one) for one in figures.values())
    sentence = f"does NOT hold ({shown}): {'; '.join(wrong)}" if wrong else f"holds: {place}, {lock}"
    return {
        **figures,
        "holds": not wrong,
        "wrong": wrong,
        "place": place,
        "lock": lock,
        "sentence": f"3-2-1-1-0 {sentence}",
    }


# --- what a recovery of one set must fetch ---------------------------------------------------------------------------


def set_paths(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every file of these sets, as paths in the store."""
    found = []
    for one in manifests:
        set_id = one["backup_set"]
        found += [f"{set_id}/{name}" for name in sorted(root_files(set_id))]
        found += [f"{set_id}/{artefact['path']}" for artefact in one["artefacts"]]
    return found


@dataclass(frozen=True)
class Repository:
    """What a set needs of pgBackRest's repository: labels of base backups, oldest first, and WAL from a segment on."""

    stanza: str
    labels: tuple[str, ...]
    archive_id: str
    wal_start: str

    @property
    def backup(self) -> str:
        """Folder of the base backups."""
        return f"pgbackrest/backup/{self.stanza}"

    @property
    def archive(self) -> str:
        """Folder of the archived WAL."""
        return f"pgbackrest/archive/{self.stanza}"

    @property
    def infos(self) -> list[str]:
        """By what pgBackRest knows what it holds."""
        names = [f"{self.backup}/backup.info", f"{self.archive}/archive.info"]
        return [*names, *(f"{one}.copy" for one in names)]


def repository_of(manifest: Mapping[str, Any]) -> Repository | None:
    """What the set's base backup needs; None where it names none."""
    named = (manifest["components"].get("postgresql") or {}).get("pgbackrest")
    if not named:
        return None
    labels = (*named.get("depends_on", ()), named["label"])
    return Repository(named["stanza"], labels, named["archive_id"], named["wal_start"])


def wal_from(paths: Iterable[str], wal_start: str) -> list[str]:
    """Of files and folders of WAL (`.../<24 hex>...` or the archive's `<16 hex>`) those that hold WAL from a segment
    on, of any timeline; histories and what is named otherwise too."""
    found = []
    for path in paths:
        name = path.rstrip("/").rpartition("/")[2]
        match = re.match(r"[0-9A-F]{8}([0-9A-F]{8,16})(?![0-9A-F])", name)
        if match is None or match[1] >= wal_start[8:][: len(match[1])]:
            found.append(path)
    return found


@dataclass(frozen=True)
class GrowingFile:
    """A file of the index. size: in bytes, what is not in chunks and tail is zeros; chunks: SHA-256 of each."""

    path: str
    size: int
    modified: float
    chunks: tuple[str, ...]
    tail: bytes


@dataclass(frozen=True)
class Index:
    """What grew, as of one instant. folders: owner, group and mode of the store's folders."""

    at: str
    environment_id: str
    folders: Mapping[str, Sequence[int]]
    files: tuple[GrowingFile, ...]

    def text(self, path: str) -> str:
        """Content of a small file, empty where there is none."""
        return next((one.tail.decode(errors="replace") for one in self.files if one.path == path), "")


def parse_index(data: bytes) -> Index:
    """The index, unpacked. ValueError where it is none, or names a file outside of the store."""
    line, _, tails = data.partition(b"\n")
    try:
        head = json.loads(line)
        files = []
        for one in head["files"]:
            amount = int(one["tail_bytes"])
            tail, tails = tails[:amount], tails[amount:]
            if not _SAFE.fullmatch(one["path"]) or len(tail) != amount:
                raise ValueError(f"the index is cut, or names {one['path']!r}")
            chunks = tuple(str(key) for key in one["chunks"])
            if not all(re.fullmatch(r"[0-9a-f]{64}", key) for key in chunks):
                raise ValueError("the index names a chunk that is none")
            files.append(GrowingFile(one["path"], int(one["bytes"]), float(one["modified"]), chunks, tail))
        return Index(str(head["at"]), str(head["environment_id"]), head["folders"], tuple(files))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the index is malformed ({type(error).__name__})") from None


def wanted_growing(
    index: Index, wal_start: str | None, every_generation: bool = False
) -> tuple[list[GrowingFile], list[str]]:
    """Of what grows the part that a recovery reads, and the bases of Redis' log that belong to it.

    That is WAL from a segment on, the newest generation of the log of the newest life (every_generation: all of all
    lives, since an instant may lie in any), fence and environment.
    """
    lives = {one.path.split("/")[1] for one in index.files if one.path.startswith("aof/")}
    generations = [(life, number) for life in lives for number in _generations(index, life)]
    if generations and not every_generation:
        generations = [max(generations, key=lambda one: (_number(index.text(f"aof/{one[0]}/epoch")), *one))]
    keep, bases = set(), []
    for life, number in sorted(generations):
        generation = parse_manifest(index.text(f"aof/{life}/{number}.manifest"))
        keep |= {f"aof/{life}/{name}" for name in (*generation.increments, f"{number}.manifest", "epoch", "restored")}
        bases.append(f"aof/{life}/{generation.base}")
    streams = wal_from((one.path for one in index.files if one.path.startswith("wal-stream/")), wal_start or "")
    keep |= set(streams)
    files = [one for one in index.files if one.path in keep or not one.path.startswith(("aof/", "wal-stream/"))]
    return files, bases


def _generations(index: Index, life: str) -> list[int]:
    found = [re.fullmatch(rf"aof/{re.escape(life)}/(\d+)\.manifest", one.path) for one in index.files]
    return [int(one[1]) for one in found if one]


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else -1


def assemble(file: GrowingFile, chunks: Mapping[str, bytes]) -> bytes:
    """The content of a file. ValueError where a chunk is missing or is not what its name says."""
    parts = []
    for key in file.chunks:
        if hashlib.sha256(chunks.get(key, b"")).hexdigest() != key:
            raise ValueError(f"{file.path}: a chunk of it is {'damaged' if key in chunks else 'missing'}")
        parts.append(chunks[key])
    return b"".join([*parts, file.tail]).ljust(file.size, b"\0")


# --- the keys, off this machine --------------------------------------------------------------------------------------


def fingerprints(keys: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each key, white space at its ends aside."""
    return {name: hashlib.sha256(value.strip().encode()).hexdigest() for name, value in sorted(keys.items())}


def parse_fingerprints(text: str) -> dict[str, str]:
    """What lies off this machine, by the record of second_copy_keys; empty where nothing does."""
    try:
        found = json.loads(text)["fingerprints"]
        return {str(name): str(value) for name, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def require_keys(stored: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Every key in use lies off this machine, once the keys were kept there at all. PRC-395."""
    missing = [name for name, value in fingerprints(keys).items() if stored.get(name) != value]
    if stored and missing:
        raise RecoveryError(
            "PRC-395",
            "begin a backup",
            f"not kept off this machine as in use now: {', '.join(missing)}",
            "nothing was written: with this machine's loss the new backups could not be read, or not be believed",
            "ansible-playbook playbooks/second_copy_keys.yml keeps the keys in use there, encrypted with age",
        )


def key_problems(stored: Mapping[str, str], elsewhere: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    """What is not known to be kept off this machine, as sentences. elsewhere: records of name, place, date (ISO)."""
    found = []
    if not stored:
        found.append("the keys of the backups are not kept off this machine: run playbooks/second_copy_keys.yml")
    for name in KEPT_ELSEWHERE:
        known = [one for one in elsewhere if one.get("name") == name]
        ages = [now - parse_iso(f"{one['date']}T00:00:00Z") for one in known if one.get("date") and one.get("place")]
        if not ages:
            found.append(f"second_copy_keys_elsewhere does not say where {name} is kept off this machine")
        elif min(ages) > YEAR_SECONDS:
            found.append(f"nobody has looked for {name} off this machine for a year (second_copy_keys_elsewhere)")
    return found
