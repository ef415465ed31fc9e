# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secrets of the configuration as one encrypted file of a set: a tar archive, so that age and tar open it by hand.

Only names stand outside of it. A digest of a secret stands nowhere in clear: a short one could be guessed from it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import sync_folder
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import path_problem

SEALED_PATH = "configuration/secrets.age"
# Secrets are small; something larger stands in the folder by mistake.
MAXIMUM_BYTES = 16 << 20
SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Secret:
    """A file with a secret. name: relative, in the archive and below the folder it comes back to; mode: as it was."""

    name: str
    content: bytes
    mode: int


def secrets_of(paths: Sequence[str]) -> list[Secret]:
    """The files of these paths by name; a folder stands for all files in it, under its own name. PRC-355."""
    found: list[Secret] = []
    for path in paths:
        base = os.path.dirname(path.rstrip("/"))
        names = [path] if not os.path.isdir(path) else []
        for folder, _folders, files in os.walk(path):
            names += [os.path.join(folder, one) for one in files]
        if not names:
            raise _unusable(path, "the folder is empty")
        found += [_read(one, os.path.relpath(one, base)) for one in names]
    return in_order(found)


def in_order(found: Iterable[Secret]) -> list[Secret]:
    """The secrets by name; PRC-355 where two have one name or all together are too large."""
    ordered = sorted(found, key=lambda one: one.name)
    for before, after in zip(ordered, ordered[1:]):
        if before.name == after.name:
            raise _unusable(after.name, "two files or folders of this name would lie in one place")
    if sum(len(one.content) for one in ordered) > MAXIMUM_BYTES:
        raise _unusable(ordered[0].name, f"the secrets are larger than {MAXIMUM_BYTES >> 20} MiB together")
    return ordered


def _read(path: str, name: str) -> Secret:
    problem = path_problem(f"configuration/{name}", "configuration")
    if problem:
        raise _unusable(path, f"its name {problem}")
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(path, "it is no file")
            return Secret(name, stream.read(MAXIMUM_BYTES + 1), stat.S_IMODE(status.st_mode) & 0o777)
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from None


def _unusable(path: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-355",
        f"back up the secret {path}",
        found,
        "running data was not touched; no secret was written, and the backup set stays incomplete",
        "correct configuration_secret_paths in the inventory, or the file, then run the backup again",
    )


def clear_texts(secrets: Iterable[Secret]) -> list[str]:
    """What may stand in no file of a set: the contents of the secrets. A public key among them is none."""
    texts = [one.content.decode(errors="surrogateescape").strip() for one in secrets if not one.name.endswith(".pub")]
    return [text for text in texts if len(text) >= SHORTEST_SECRET]


def pack(secrets: Iterable[Secret]) -> bytes:
    """The secrets as a tar archive; the same bytes for the same secrets."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in secrets:
            member = tarfile.TarInfo(one.name)
            member.size, member.mode = len(one.content), one.mode
            archive.addfile(member, io.BytesIO(one.content))
    return packed.getvalue()


def unpack(packed: bytes) -> list[Secret]:
    """The secrets of an archive made by pack; PRC-356 for anything else than plain files with plain names."""
    found = []
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None or path_problem(f"configuration/{member.name}", "configuration"):
                    raise _no_archive(f"it holds {member.name[:80]!r}, which is no plain file with a plain name")
                found.append(Secret(member.name, stream.read(), member.mode & 0o777))
        return in_order(found)
    except tarfile.TarError as error:
        raise _no_archive(str(error)) from None
    except RecoveryError as error:
        raise _no_archive(error.found) from None


def _no_archive(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-356",
        "unpack the secrets of the backup set",
        found,
        "nothing was written",
        "choose another set with -e recovery_backup_set=ID, and find out who wrote this one",
    )


def require_empty(target: str) -> None:
    """target is not there or an empty folder, else PRC-357: what lies there is never written over."""
    found = None
    if os.path.islink(target) or (os.path.lexists(target) and not os.path.isdir(target)):
        found = "it is no folder"
    elif os.path.isdir(target) and os.listdir(target):
        found = f"it holds {len(os.listdir(target))} entries already, such as {sorted(os.listdir(target))[0]}"
    if found:
        raise RecoveryError(
            "PRC-357",
            f"write the secrets into {target}",
            found,
            "nothing was written",
            "give -e configuration_secrets_target=/path of a new or empty folder, and move the files from there",
        )


def put(target: str, secrets: Sequence[Secret]) -> None:
    """Write the secrets below target, all or none, each for its owner alone (0600), and read them back. PRC-358."""
    beside = f"{target.rstrip('/')}.partial"
    try:
        os.makedirs(os.path.dirname(beside) or ".", exist_ok=True)
        os.mkdir(beside, 0o700)
        for one in secrets:
            path = os.path.join(beside, one.name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(one.content)
                stream.flush()
                os.fsync(descriptor)
            with open(path, "rb") as written:
                if hashlib.sha256(written.read()).digest() != hashlib.sha256(one.content).digest():
                    raise OSError(5, "it was not read back as it was written", path)
        os.rename(beside, target)  # onto an empty folder too, and onto nothing else
        sync_folder(os.path.dirname(beside) or ".")
    except OSError as error:
        raise RecoveryError(
            "PRC-358",
            f"write the secrets into {target}",
            f"{error.filename}: {error.strerror}",
            f"{target} is as it was; {beside} may hold some of the secrets",
            f"remove {beside}, make room or rights for the folder, then run the same command again",
        ) from None
