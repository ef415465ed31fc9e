# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore points of all datastores at once: a name, and the instant that it stands for. Signed files in the store.

restore_points/<name>.json holds one JSON object: {name, at, lsn, timeline, segment, environment_id, by, signature}.
Only PostgreSQL knows the name itself (it stands in its WAL); Redis and InfluxDB are brought to the instant. A file is
linked into its place whole, so a name is given once, and the second copy carries it as it is.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _signing
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import sync_folder, write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, short

FOLDER = "restore_points"
SUFFIX = ".json"
# As the input takes it. It names a file, here and in the second copy, whose index takes no other letters (_SAFE there).
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
NEAREST = 3
# So that a signature of a point is none of a manifest or of a set's state, and the other way round.
_DOMAIN = b"platform3 restore point\n"
_LIMIT = 65536

SignerOf = Callable[[bytes, bytes], str]


@dataclass(frozen=True)
class RestorePoint:
    """A named instant. at: ISO 8601 UTC; lsn: the position behind PostgreSQL's restore point, on that timeline."""

    name: str
    at: str
    lsn: str
    timeline: int
    segment: str
    environment_id: str
    by: str

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _DOMAIN + json.dumps(asdict(self), sort_keys=True).encode()


def parse(text: bytes) -> tuple[RestorePoint, bytes]:
    """A point and its signature, as they stand in a file. ValueError says what is wrong."""
    if len(text) > _LIMIT:
        raise ValueError("it is larger than any restore point")
    record = json.loads(text)
    if not isinstance(record, dict) or set(record) != {*RestorePoint.__dataclass_fields__, "signature"}:
        raise ValueError("it has not the fields of a restore point")
    signature = record.pop("signature")
    words = {**record, "signature": signature, "timeline": ""}
    if not isinstance(record["timeline"], int) or not all(isinstance(value, str) for value in words.values()):
        raise ValueError("its fields have not the types of a restore point's")
    parse_iso(record["at"])
    return RestorePoint(**record), signature.encode()


def path_of(store: str, name: str) -> str:
    """Where a point of this name stands."""
    return os.path.join(store, FOLDER, name + SUFFIX)


def names(store: str) -> list[str]:
    """Every name that was given, PRC-852 where the store cannot be read."""
    try:
        found = os.listdir(os.path.join(store, FOLDER))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(store, error) from None
    return sorted(one[: -len(SUFFIX)] for one in found if one.endswith(SUFFIX) and NAME.fullmatch(one[: -len(SUFFIX)]))


def read(store: str, name: str, environment_id: str, signer_of: SignerOf) -> RestorePoint:
    """The point of a name that is given, where a trusted signer signed it for this environment. PRC-852, PRC-853."""
    try:
        descriptor = os.open(path_of(store, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            text = stream.read(_LIMIT + 1)
    except OSError as error:
        raise _unreadable(store, error) from None
    try:
        point, signature = parse(text)
        signer_of(point.signed_bytes(), signature)
    except ValueError as error:
        raise _untrusted(name, str(error)) from None
    except RecoveryError as error:
        if error.code == "PRC-224":  # no ssh-keygen here: that is not the point's fault
            raise
        raise _untrusted(name, _signature_clause(error)) from None
    if (point.name, point.environment_id) != (name, environment_id):
        raise _untrusted(name, f"it is {point.name} of environment {point.environment_id}")
    return point


def _signature_clause(error: RecoveryError) -> str:
    return error.found if error.code == "PRC-222" else "it was changed after it was signed"


def nearest(name: str, known: Iterable[str]) -> Iterator[str]:
    """The known names, those first that are spelt most like this one."""
    matcher = difflib.SequenceMatcher(b=name.lower(), autojunk=False)

    def unlike(other: str) -> tuple[float, str]:
        matcher.set_seq1(other.lower())
        return -matcher.ratio(), other

    return iter(sorted(known, key=unlike))


def resolve(store: str, name: str, environment_id: str, trusted: Sequence[Mapping[str, str]]) -> RestorePoint:
    """The point of a name. PRC-851 where it was never given, with the nearest three and their times; PRC-856 where the
    store has no point at all, as where it is lost."""
    signers = _signing.allowed_signers(trusted)

    def signer_of(data: bytes, signature: bytes) -> str:
        return _signing.signer_of(data, signature, signers)

    known = names(store)
    if name in known:
        return read(store, name, environment_id, signer_of)
    near: list[RestorePoint] = []
    for other in nearest(name, known):
        try:
            near.append(read(store, other, environment_id, signer_of))
        except RecoveryError as error:
            if error.code == "PRC-224":
                raise
        if len(near) == NEAREST:
            break
    raise unknown(name, near, known)


def unknown(name: str, near: Sequence[RestorePoint], known: Sequence[str]) -> RecoveryError:
    """PRC-851: of the known names it is none; near: the points of the nearest that can be used. PRC-856: none known."""
    listed = ", ".join(f"{one.name} ({short(one.at)})" for one in near) or "of no use"
    return RecoveryError(
        "PRC-851" if known else "PRC-856",
        f"find the restore point {name}",
        f"no point of that name was set; the nearest are {listed}" if known else "the store holds no restore point",
        "nothing was changed",
        "correct recovery_point_name, or give the instant with -e recovery_target_time=...;"
        " playbooks/recovery_window.yml lists points and window",
    )


def require_free(store: str, name: str) -> None:
    """PRC-850 where the name was given before: PostgreSQL would end at the first point of it. PRC-855 for no name."""
    if not NAME.fullmatch(name):
        raise RecoveryError(
            "PRC-855",
            f"set the restore point {name[:80]!r}",
            "a name has up to 63 of A-Z a-z 0-9 _ . - and begins with a letter, a digit or _",
            "no point was set",
            "correct recovery_point_name",
        )
    if os.path.lexists(path_of(store, name)):
        raise RecoveryError(
            "PRC-850",
            f"set the restore point {name}",
            "a point of that name was set before",
            "the older point stays as it is, and no new one was set",
            "give another name; playbooks/recovery_window.yml lists those that are there",
        )


def write(store: str, point: RestorePoint, signing_key: str) -> None:
    """Record a point, on the disk and whole when this returns. PRC-850 where the name was given, PRC-220, PRC-854."""
    signature = _signing.sign(point.signed_bytes(), signing_key).decode()
    text = json.dumps({**asdict(point), "signature": signature}, indent=1, sort_keys=True) + "\n"
    folder, final = os.path.join(store, FOLDER), path_of(store, point.name)
    fresh = f"{final}.new"
    try:
        os.makedirs(folder, exist_ok=True)
        write_durable(fresh, text.encode())
        os.chmod(fresh, 0o444)
        try:
            os.link(fresh, final)
        except FileExistsError:
            require_free(store, point.name)
        finally:
            os.unlink(fresh)
        sync_folder(folder)
        sync_folder(store)
    except OSError as error:
        raise RecoveryError(
            "PRC-854",
            f"record the restore point {point.name} in {folder}",
            str(error.strerror or error),
            "PostgreSQL's WAL holds the point, and no recovery of all datastores can name it",
            f"make room in the store or mend its rights, then set a point of another name; this instant is reached"
            f" with -e recovery_target_time={point.at}",
        ) from None


def read_all(
    store: str, environment_id: str, signer_of: SignerOf, wanted: int | None = None
) -> tuple[list[RestorePoint], list[str]]:
    """The points, newest first, and a sentence on each that cannot be used. wanted: so many of the last files."""

    def written_at(name: str) -> float:
        return os.lstat(path_of(store, name)).st_mtime

    listed = sorted(names(store), key=written_at, reverse=True)[:wanted]
    found: list[RestorePoint] = []
    problems: list[str] = []
    for name in listed:
        try:
            found.append(read(store, name, environment_id, signer_of))
        except RecoveryError as error:
            if error.code == "PRC-224":
                raise
            problems.append(f"restore point {name} cannot be used: {error.found}")
    return sorted(found, key=lambda one: parse_iso(one.at), reverse=True), problems


def as_dict(point: RestorePoint) -> dict[str, Any]:
    """For a module's result."""
    return asdict(point)


def _untrusted(name: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-853",
        f"use the restore point {name}",
        found,
        "nothing was changed",
        "find out who could write to the store; the instant itself can be given with -e recovery_target_time=...",
    )


def _unreadable(store: str, error: OSError) -> RecoveryError:
    return RecoveryError(
        "PRC-852",
        f"read the restore points in {os.path.join(store, FOLDER)}",
        str(error.strerror or error),
        "nothing was changed",
        "mount the store, or mend the rights of the folder",
    )
