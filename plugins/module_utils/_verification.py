# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the files of a backup set are those of its manifest: each byte read again, by all processors at once.

The plan is pure (parts), the reading is one function. Memory: one buffer of a MiB for each thread.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    CHUNK_BYTES,
    COMPONENTS,
    LARGE_BYTES,
    Artefact,
    Manifest,
    root_files,
)

BUFFER_BYTES = 1 << 20
PGBACKREST_MANIFEST = "backup.manifest"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is hashed in one go. offset and length in bytes; sha256: what must come out."""

    path: str
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Verified:
    """How much was read and found right."""

    bytes: int
    files: int


def parts(artefacts: Iterable[Artefact]) -> list[Part]:
    """The work of hashing artefacts, largest first: so that no processor is left alone with a large one at the end."""
    planned: list[Part] = []
    for one in artefacts:
        chunks = one.get("chunks")
        if not chunks:
            planned.append(Part(one["path"], 0, one["bytes"], one["sha256"]))
            continue
        size = one["chunk_bytes"]
        for number, digest in enumerate(chunks):
            offset = number * size
            planned.append(Part(one["path"], offset, min(size, one["bytes"] - offset), digest))
    return sorted(planned, key=lambda part: (-part.length, part.path, part.offset))


def hash_part(root: str, part: Part, advance: Advance) -> str:
    """SHA-256 of one part of a file below root; a link in the place of the file is not followed (OSError)."""
    digest = hashlib.sha256()
    view = memoryview(bytearray(min(BUFFER_BYTES, max(part.length, 1))))
    descriptor = os.open(os.path.join(root, part.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        done = 0
        while done < part.length:
            count = os.preadv(descriptor, [view[: part.length - done]], part.offset + done)
            if count == 0:
                break
            digest.update(view[:count])
            done += count
            advance(count)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def listing_problems(
    root: str, beside: Iterable[str], artefacts: Sequence[Artefact], needed: Sequence[Artefact]
) -> list[str]:
    """What lies in the set's folder against what its manifest lists: missing, truncated, extra, links.

    beside: names that may lie there apart from the artefacts. Extra entries anywhere are named; missing ones and wrong
    sizes only among the needed.
    """
    entries = dict(_walk(root))
    wrong = []
    for one in needed:
        entry = entries.get(one["path"])
        if entry is None:
            wrong.append(f"{one['path']} is missing")
        elif not stat.S_ISREG(entry.st_mode):
            wrong.append(f"{one['path']} is {_kind(entry)}, not a file")
        elif entry.st_size != one["bytes"]:
            word = "truncated" if entry.st_size < one["bytes"] else "too long"
            wrong.append(f"{one['path']} is {word}: {entry.st_size} bytes instead of {one['bytes']}")
    listed = {one["path"] for one in artefacts} | set(beside)
    folders = {path[:end] for path in listed for end, letter in enumerate(path) if letter == "/"} | set(COMPONENTS)
    for path, entry in sorted(entries.items()):
        if path not in (folders if stat.S_ISDIR(entry.st_mode) else listed):
            wrong.append(f"{path} is an extra {_kind(entry)} that the manifest does not list")
    return wrong


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each entry below root as (relative path, its own status); links are not followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as found:
            for entry in found:
                path = os.path.join(folder, entry.name)
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def _kind(entry: os.stat_result) -> str:
    for test, word in ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISREG, "file")):
        if test(entry.st_mode):
            return word
    return "special file"


def byte_problems(root: str, artefacts: Sequence[Artefact], advance: Advance, workers: int = 0) -> list[str]:
    """The artefacts whose bytes are not those of the manifest, each with the stretch where it differs."""
    planned = parts(artefacts)
    stop = threading.Event()

    def look(part: Part) -> str | None:
        if stop.is_set():
            return None
        try:
            found = hash_part(root, part, advance)
        except OSError as error:
            return f"{part.path} cannot be read ({error.strerror})"
        if found == part.sha256:
            return None
        return (
            f"{part.path} is damaged: sha256 {found[:12]}… instead of {part.sha256[:12]}…"
            f" in bytes {part.offset} to {part.offset + part.length}"
        )

    with concurrent.futures.ThreadPoolExecutor(max_workers=workers or _processors()) as pool:
        try:
            return sorted(one for one in pool.map(look, planned) if one)
        finally:
            stop.set()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) or 1


def verify_files(
    root: str,
    manifest: Manifest,
    needed: Sequence[Artefact],
    advance: Advance = lambda _amount: None,
    workers: int = 0,
) -> Verified:
    """Read every byte of the needed artefacts of the set in folder root; PRC-230 names all that is wrong.

    What costs nothing (names, sizes) is judged first; bytes are read only where that is right.
    """
    wrong = listing_problems(root, root_files(manifest["backup_set"]), manifest["artefacts"], needed)
    wrong = wrong or byte_problems(root, needed, advance, workers)
    if wrong:
        raise damaged(manifest["backup_set"], wrong)
    return Verified(bytes=sum(one["bytes"] for one in needed), files=len(needed))


def verify_sets(
    store: str,
    needed: Sequence[tuple[Manifest, Sequence[Artefact]]],
    advance: Advance = lambda _amount: None,
    workers: int = 0,
) -> Verified:
    """Read every byte of the needed artefacts of several sets of a store, all of them in parallel.

    needed: each set's manifest with its needed artefacts; the last is the set that was chosen, the others are those it
    builds on. PRC-230 names all that is wrong; paths then begin with the set's id.
    """
    wrong: list[str] = []
    planned: list[Artefact] = []
    for manifest, artefacts in needed:
        set_id = manifest["backup_set"]
        root = os.path.join(store, set_id)
        found = listing_problems(root, root_files(set_id), manifest["artefacts"], artefacts)
        wrong += [f"{set_id}/{one}" for one in found]
        planned += [{**one, "path": f"{set_id}/{one['path']}"} for one in artefacts]
    wrong = wrong or byte_problems(store, planned, advance, workers)
    if wrong:
        raise damaged(needed[-1][0]["backup_set"], wrong, {one.split("/", 1)[0] for one in wrong})
    return Verified(bytes=sum(one["bytes"] for one in planned), files=len(planned))


class Damaged(RecoveryError):
    """Files are not those that were signed. sets: ids of the sets that hold them."""

    sets: frozenset[str] = frozenset()


def damaged(set_id: str, wrong: Sequence[str], sets: Iterable[str] = ()) -> Damaged:
    """The error of a set whose files are not those that were signed. sets: those that hold the damaged ones."""
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    error = Damaged(
        "PRC-230",
        f"verify the files of backup set {set_id}",
        "; ".join(wrong[:5]) + more,
        "nothing was changed; this set must not be restored",
        "keep this set as it is, to find out what damaged it",
    )
    error.sets = frozenset(sets) or frozenset((set_id,))
    return error


def verify_pgbackrest(store_path: str, manifest: Manifest) -> None:
    """The pgBackRest backup that the set names is still in the repository, and its own manifest is the one we signed.

    pgBackRest checks each of its files against that manifest while it restores. PRC-231.
    """
    named = manifest["components"].get("postgresql", {}).get("pgbackrest")
    if named is None:
        return
    set_id = manifest["backup_set"]
    fields = [named.get(field) for field in ("stanza", "label", "manifest_sha256")]
    if not all(isinstance(field, str) and _NAME.fullmatch(field) for field in fields):
        raise _no_base(set_id, "the manifest names it by something else than stanza, label and manifest_sha256")
    stanza, label, sha256 = fields
    path = os.path.join(store_path, "pgbackrest", "backup", stanza, label, PGBACKREST_MANIFEST)
    try:
        found = hash_part("/", Part(path.lstrip("/"), 0, os.stat(path).st_size, sha256), lambda _amount: None)
    except OSError as error:
        raise _no_base(set_id, f"{path} cannot be read ({error.strerror})") from None
    if found != sha256:
        raise _no_base(set_id, f"{path} has sha256 {found[:12]}… instead of {sha256[:12]}…")
    # Files that an increment goes without lie in the backups before it; their checksums stand in its own manifest.
    for needed in named.get("depends_on") or ():
        if not os.path.isfile(os.path.join(store_path, "pgbackrest", "backup", stanza, needed, PGBACKREST_MANIFEST)):
            raise _no_base(set_id, f"base backup {label} needs {needed}, which is not in the repository")


def _no_base(set_id: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-231",
        f"verify the pgBackRest backup that backup set {set_id} names",
        found,
        "nothing was changed",
        "restore PostgreSQL from this set's dump with -e postgresql_restore_method=logical",
    )


def with_chunks(root: str, artefacts: Sequence[Artefact], advance: Advance) -> list[Artefact]:
    """The artefacts of a set that is being completed, each large one with the digests of its parts.

    A large file is read back for that, and its whole digest compared with the one made while it was written: PRC-230
    through damaged() is the caller's, this raises ValueError naming the path.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=_processors()) as pool:
        return list(pool.map(lambda one: _chunked(root, one, advance), artefacts))


def _chunked(root: str, artefact: Artefact, advance: Advance) -> Artefact:
    if artefact["bytes"] < LARGE_BYTES or "chunks" in artefact:
        return artefact
    whole = hashlib.sha256()
    chunks = []
    view = memoryview(bytearray(BUFFER_BYTES))
    with open(os.path.join(root, artefact["path"]), "rb", buffering=0) as stream:
        left = artefact["bytes"]
        while left > 0:
            part, room = hashlib.sha256(), min(CHUNK_BYTES, left)
            while room > 0:
                count = stream.readinto(view[: min(room, BUFFER_BYTES)]) or 0
                if count == 0:
                    raise ValueError(f"{artefact['path']} ended {left} bytes early while it was read back")
                whole.update(view[:count])
                part.update(view[:count])
                room, left = room - count, left - count
                advance(count)
            chunks.append(part.hexdigest())
    if whole.hexdigest() != artefact["sha256"]:
        raise ValueError(f"{artefact['path']} reads back other bytes than were written")
    return {**artefact, "chunk_bytes": CHUNK_BYTES, "chunks": chunks}
