# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket that was made anew gets the id that it had, while the server is stopped.

The server makes each id itself and no request can name one (2.7.12: tenant/storage.go; RestoreBucket in
storage/engine.go wants the bucket to be there, RestoreKVStore removes all shards). So its metadata is read out, the id
that the server gave is replaced by the old one wherever it stands, and the new file takes the old one's place by one
exchange. The bucket is empty and bears a name that nobody knows until then: neither the engine's folders nor the
sqlite file can name it. Where its points come by files (_influxdb_buckets_files.py), they do so in the same stop, and
what the metadata must know of them is in that same file.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ansible_collections.platform3.recovery.plugins.module_utils._archive import CHUNK_BYTES
from ansible_collections.platform3.recovery.plugins.module_utils._bolt import BoltFile, NotBolt
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import BOLT_FILE, COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import (
    METADATA,
    METADATA_KEY,
    NotMeta,
    merged,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_service import Service
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import AUTHORISATIONS
from ansible_collections.platform3.recovery.plugins.module_utils._kept_place import folder_of, write_file
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, VolumeWorker

# tenant/storage_bucket.go: id -> JSON.
BUCKETS = "bucketsv1"
_EXCHANGE = 'mv -T --exchange "$1" "$2"; sync "${1%/*}" "${2%/*}"'


class Arrival(Protocol):
    """Files that come into the data folder while the server is stopped."""

    def databases(self) -> list[bytes]:
        """What the metadata is to know of them; see merged()."""

    def move_in(self) -> None:
        """Put them in place, as far as they are not."""

    def move_out(self) -> None:
        """Take them away, as far as they are in place."""

    def checks(self, api: InfluxApi) -> list[Check]:
        """That the server holds what they held."""


def renamed(items: Mapping[bytes, bytes], ids: Mapping[str, str]) -> dict[bytes, bytes]:
    """Keys and values of a bolt bucket with each id (as influxdb keeps it: 16 hex digits) replaced by another.

    NotBolt where one of the others stands in a key already that would be made.
    """
    pairs = [(one.encode(), other.encode()) for one, other in ids.items()]

    def put(text: bytes) -> bytes:
        for one, other in pairs:
            text = text.replace(one, other)
        return text

    done = {put(key): put(value) for key, value in items.items()}
    if len(done) != len(items):
        raise NotBolt(f"it holds {', '.join(ids.values())} already")
    return done


def _with_databases(items: Mapping[bytes, bytes], databases: Sequence[bytes]) -> dict[bytes, bytes]:
    """The metadata of databases with these in it; NotBolt where it is not there, NotMeta as merged()."""
    if METADATA_KEY not in items:
        raise NotBolt(f"its bucket {METADATA} holds no {METADATA_KEY.decode()}")
    meta = items[METADATA_KEY]
    for database in databases:
        meta = merged(meta, database)
    return {**items, METADATA_KEY: meta}


def rename_in(path: str, ids: Mapping[str, str], databases: Sequence[bytes] = ()) -> tuple[bool, dict[str, set[str]]]:
    """Replace the ids in a bolt file that nobody has open, merge databases into it, and read all of it again.

    Gives whether anything was to be done, and the ids of the buckets and authorisations that it holds now. NotBolt (or
    NotMeta) where the file cannot be read or would not hold what it must; what it then holds is not to be used.
    """
    bolt = BoltFile(path)
    sizes, changed = {}, {}
    for name in bolt.names():
        items = bolt.bucket(name)
        sizes[name] = len(items)
        new = renamed(items, ids)
        if databases and name == METADATA:
            new = _with_databases(new, databases)
        if new != items:
            changed[name] = new
    if changed:
        bolt.replace(changed)
        bolt = BoltFile(path)
        for name in {*sizes, *bolt.names()}:
            items = bolt.bucket(name)
            if len(items) != sizes.get(name) or items != changed.get(name, items) or renamed(items, ids) != items:
                raise NotBolt(f"bucket {name} of it was not written as it must be")
    held = {name: {key.decode() for key in bolt.bucket(name)} for name in (BUCKETS, AUTHORISATIONS)}
    return bool(changed), held


def copy_bolt(worker: VolumeWorker, data_folder: str, folder: str) -> str:
    """Copy the metadata of a data folder in the volume, which nobody has open, into a local folder; gives its path."""
    path = os.path.join(folder, BOLT_FILE)
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as copy:
        argv = worker.exec_argv(["cat", f"{data_folder}/{BOLT_FILE}"])
        subprocess.run(argv, stdout=copy, stderr=subprocess.DEVNULL, check=True)
    return path


def exchange(
    worker: VolumeWorker, ids: Mapping[str, str], databases: Sequence[bytes] = ()
) -> tuple[bool, dict[str, set[str]]]:
    """Change the volume's metadata as rename_in does; what it was stays in this recovery's quarantine.

    Gives whether it lies there, and what rename_in gives. Killed anywhere, the metadata is the old or the new one, and
    another call comes to the same end.
    """
    with tempfile.TemporaryDirectory(prefix="platform3-bolt-") as folder:
        path = copy_bolt(worker, DATA, folder)
        changed, held = rename_in(path, ids, databases)
        if changed:
            write_file(worker, BOLT_FILE, _chunks(path), _unwritten)
            put_in_place(worker)
    # Where there was nothing to do, a run that was killed had done it.
    kept = changed or worker.bash('test -e "$1"', f"{folder_of(worker)}/{BOLT_FILE}", check=False).returncode == 0
    return kept, held


def put_in_place(worker: VolumeWorker) -> None:
    """Exchange the metadata with the one in quarantine; twice, and all is as it was."""
    worker.bash(_EXCHANGE, f"{folder_of(worker)}/{BOLT_FILE}", f"{DATA}/{BOLT_FILE}")


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _unwritten(found: str) -> RecoveryError:
    return RecoveryError("PRC-780", "write InfluxDB's metadata", found, "it is as it was", "make room")


def give_ids(
    service: Service, worker: VolumeWorker, api: InfluxApi, ids: Mapping[str, str], files: Arrival | None = None
) -> list[Check]:
    """Stop the server, give buckets other ids (the server's -> those that they get), start it; gives what proves it.

    files: what comes in the same stop. It does so before the metadata that knows it: a server that is started in
    between serves what it did. RecoveryError PRC-780, with files PRC-781, where it cannot be done: the server then
    serves with the metadata that it had, and the files are away. May be called again after a run that was killed in
    between.
    """
    exchanged = False
    service.take_away()
    try:
        databases = files.databases() if files else []
        if files:
            files.move_in()
        exchanged, held = exchange(worker, ids, databases)
        service.start(api)
        checks = proven(api, held)
        return [*checks, *(require(files.checks(api), *_DIFFERS) if files else [])]
    except (RecoveryError, NotBolt, NotMeta, OSError, subprocess.CalledProcessError) as error:
        service.take_away()
        if exchanged:
            put_in_place(worker)
        if files:
            files.move_out()
        service.start(api)
        by_files = " and their files" if files else ""
        nothing = "file is in place" if files else "point was written"
        raise RecoveryError(
            "PRC-781" if files else "PRC-780",
            f"give buckets their old ids{by_files} ({', '.join(ids.values())})",
            error.found if isinstance(error, RecoveryError) else str(error),
            f"InfluxDB serves with the metadata that it had, and no {nothing}",
            "see the log of the InfluxDB container and the room on its disk, or bring InfluxDB back whole",
        ) from error


_DIFFERS = (
    "PRC-781",
    "find the points of the files again",
    "it is put back as it was",
    "see the log of the InfluxDB container",
)


def proven(api: InfluxApi, held: Mapping[str, set[str]]) -> list[Check]:
    """That the server knows every bucket and token that its metadata held before it was started."""
    found: dict[str, Any] = {
        BUCKETS: api.ids("/api/v2/buckets", "buckets"),
        AUTHORISATIONS: [one["id"] for one in api.authorisations()],
    }
    words = {BUCKETS: "buckets under their ids", AUTHORISATIONS: "tokens"}
    return require(
        [
            check(f"{words[name]} behind the restart", COMPONENT, "none is missing", _missing(ids - set(found[name])))
            for name, ids in held.items()
        ],
        "PRC-780",
        "find all buckets and tokens again",
        "it is put back as it was",
        "see the log of the InfluxDB container",
    )


def _missing(ids: set[str]) -> str:
    return ", ".join(sorted(ids)) or "none is missing"
