# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup store's folder: complete sets `<id>/`, sets being written `<id>.incomplete/`, `environment_id`.

A set is complete by its name alone, and gets that name by one rename when everything in it lies on the disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    COMPONENTS,
    INCOMPLETE_SUFFIX,
    MANIFEST_NAME,
    MARKER_NAME,
    MAXIMUM_MANIFEST_BYTES,
    SIGNATURE_NAME,
    Manifest,
    parse,
    set_instant,
)
from ansible_collections.platform3.recovery.plugins.module_utils._selection import Found, newest_first

ENVIRONMENT_NAME = "environment_id"
MAXIMUM_SIGNATURE_BYTES = 64 << 10
# What follows the artefacts and components in a manifest: the sequence number among it.
END_BYTES = 1024
_SEQUENCE = re.compile(rb'^ "sequence": (\d{1,9}),$', re.MULTILINE)


def set_ids(store: str, suffix: str = "") -> list[str]:
    """Ids of the folders named like a set (with this suffix), oldest first; links and other names are not sets.

    PRC-204 where the store cannot be read.
    """
    try:
        with os.scandir(store) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise RecoveryError(
            "PRC-204",
            f"list the backup sets in {store}",
            f"the folder cannot be read ({error.strerror})",
            "nothing was changed",
            "mount the backup store on the host in group backup_store, or correct backup_store_path",
        ) from None
    ids = [name[: len(name) - len(suffix)] for name in names if name.endswith(suffix)]
    return sorted(one for one in ids if set_instant(one) is not None)


def found_set(store: str, set_id: str) -> Found:
    """A complete set, whose manifest is read when it is asked for."""

    def read() -> tuple[Manifest | None, str]:
        try:
            return parse(_read(store, set_id, MANIFEST_NAME, MAXIMUM_MANIFEST_BYTES), set_id), ""
        except OSError as error:
            return None, f"its {MANIFEST_NAME} cannot be read ({error.strerror})"
        except RecoveryError as error:
            return None, error.found

    return Found(set_id, read, _sequence_at_end(store, set_id))


def _sequence_at_end(store: str, set_id: str) -> int | None:
    """The sequence number out of the manifest's last lines, as _manifest.render writes them; None if not there.

    A store may hold sets of many weeks, a minute apart, and reading them whole takes seconds.
    """
    try:
        tail = _read_end(store, set_id, MANIFEST_NAME, END_BYTES)
    except OSError:
        return None
    found = _SEQUENCE.findall(tail)
    return int(found[0]) if len(found) == 1 else None


def read_sets(store: str) -> list[Found]:
    """All complete sets, newest first."""
    return newest_first(found_set(store, one) for one in set_ids(store))


def read_signed(store: str, set_id: str) -> tuple[bytes, bytes]:
    """The bytes of a set's manifest and of its signature; OSError where one is not there."""
    manifest = _read(store, set_id, MANIFEST_NAME, MAXIMUM_MANIFEST_BYTES)
    return manifest, _read(store, set_id, SIGNATURE_NAME, MAXIMUM_SIGNATURE_BYTES)


def _read(store: str, folder: str, name: str, limit: int) -> bytes:
    """A file's bytes, one more than limit at most, so that a huge one is refused and not held. No links."""
    descriptor = os.open(os.path.join(store, folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        return stream.read(limit + 1)


def _read_end(store: str, folder: str, name: str, size: int) -> bytes:
    """The last bytes of a file. No links."""
    descriptor = os.open(os.path.join(store, folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        stream.seek(max(0, os.fstat(descriptor).st_size - size))
        return stream.read(size)


def store_environment_id(store: str) -> str | None:
    """The environment that this store belongs to; None where nothing was written to it yet."""
    try:
        return _read(store, "", ENVIRONMENT_NAME, 200).decode(errors="replace").strip()
    except FileNotFoundError:
        return None


def require_environment(store: str, environment_id: str) -> None:
    """The store is of this environment, by its own word. PRC-205."""
    known = store_environment_id(store)
    if known != environment_id:
        raise RecoveryError(
            "PRC-205",
            f"write a backup set of environment {environment_id} into {store}",
            f"the store belongs to environment {known}" if known else f"it holds no file {ENVIRONMENT_NAME}",
            "nothing was changed",
            "correct backup_store_path in the inventory: two environments never share a store",
        )


def next_sequence(sets: Iterable[Found]) -> int:
    """One more than the highest sequence number among the complete sets."""
    return 1 + max((one.sequence for one in sets if one.sequence is not None), default=0)


def begin(store: str, set_id: str, marker: Mapping[str, Any]) -> str:
    """Make the folder of a set to be written, empty, with its marker; returns its path. Safe to repeat."""
    path = os.path.join(store, set_id + INCOMPLETE_SUFFIX)
    if os.path.lexists(path):
        shutil.rmtree(path)
    # A one-shot container reads a set as its own user, whatever the umask here; who may come here is decided by the
    # store's folder.
    for folder in (path, *(os.path.join(path, component) for component in COMPONENTS)):
        os.mkdir(folder)
        os.chmod(folder, 0o755)
    write_durable(os.path.join(path, MARKER_NAME), json.dumps(marker, sort_keys=True).encode())
    sync_folder(store)
    return path


def read_marker(path: str) -> dict[str, Any] | None:
    """Who writes the set in this folder, or None where it does not say."""
    try:
        marker = json.loads(_read(path, "", MARKER_NAME, 65536))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def leftovers(store: str, set_id: str) -> list[str]:
    """Paths of sets that were begun and never completed, other than set_id.

    The caller holds the lock, so no other backup is running: whatever else is incomplete was interrupted.
    """
    return [os.path.join(store, one + INCOMPLETE_SUFFIX) for one in set_ids(store, INCOMPLETE_SUFFIX) if one != set_id]


def write_durable(path: str, content: bytes) -> None:
    """Write a file so that it lies on the disk when this returns."""
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(path: str) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(path: str, final: str) -> None:
    """Give a written set its final name: every file and folder on the disk, nothing writable, then one rename."""
    marker = os.path.join(path, MARKER_NAME)
    if os.path.lexists(marker):
        os.unlink(marker)
    for folder, _folders, names in os.walk(path, topdown=False):
        for name in names:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
                os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o555)
            finally:
                os.close(descriptor)
        sync_folder(folder)
    os.rename(path, final)
    sync_folder(os.path.dirname(final))
