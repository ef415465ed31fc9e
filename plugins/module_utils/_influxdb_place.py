# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring an InfluxDB by its files: into a folder beside the live data, through a one-shot container.

Each file of the set is read once: it is hashed, and a plain archive of what passes the allow-list goes to `tar` in the
container. The digest is compared before the restored folder counts as restored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import subprocess
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._archive import (
    CHUNK_BYTES,
    ArchiveRefused,
    Entry,
    HashingReader,
    Quota,
    TarWriter,
    copy_members,
    damaged,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    BOLT_FILE,
    COMPONENT,
    SQLITE_FILE,
    Plan,
    Shard,
    ShardSources,
    Source,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, ROOT, VolumeWorker

# Names the set that the data came from, in the data folder itself, so that it moves with the data.
ORIGIN_FILE = ".restored_from"


def origin_of(
    artefacts: Iterable[Mapping[str, Any]], older: Iterable[Mapping[str, Any]] = (), target_time: str = ""
) -> str:
    """A digest that names the component's files in a set, and in those that it builds on: the same whenever it is
    restored, to the same target.
    """
    every = [
        *artefacts,
        *({**file, "path": f"{one['id']}/{file['path']}"} for one in older for file in one["artefacts"]),
    ]
    lines = sorted(f"{one['sha256']}  {one['path']}\n" for one in every if one["component"] == COMPONENT)
    return hashlib.sha256("".join([*lines, target_time]).encode()).hexdigest()


class Unpacking:
    """One `tar` in the one-shot container that unpacks what is written to it into a folder of the volume."""

    def __init__(self, worker: VolumeWorker, folder: str) -> None:
        argv = ["tar", "--extract", "--file=-", f"--directory={folder}", "--no-same-owner", "--no-same-permissions"]
        self._process = subprocess.Popen(
            worker.exec_argv(argv, interactive=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.tar = TarWriter(self)

    def write(self, chunk: bytes) -> int:
        """Hand the whole chunk to tar."""
        assert self._process.stdin is not None
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._process.stdin.write(view) or 0 :]
        except BrokenPipeError:
            raise self._failed() from None
        return len(chunk)

    def close(self) -> None:
        """End the archive and wait until all of it is unpacked."""
        self.tar.close()
        if self._end() != 0:
            raise self._failed()

    def abort(self) -> None:
        """End it where it is."""
        self._process.kill()
        self._end()

    def _end(self) -> int:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait()

    def _failed(self) -> RecoveryError:
        assert self._process.stderr is not None
        self._end()
        said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return RecoveryError(
            "PRC-709",
            "unpack the backup beside the live data",
            said[-1] if said else "tar ended early",
            "the live data was not touched; what had been unpacked beside it is not used",
            "make room or mend the engine (docker system df, docker ps -a)",
        )


@dataclass
class Placement:
    """One restore into the worker's volume. set_path: folder of the set; bolt_path: a bolt file to take instead of the
    set's (whose digest is compared all the same), or None; finish: done on the folder before it counts as restored.
    """

    worker: VolumeWorker
    plan: Plan
    set_path: str
    origin: str
    progress: Progress
    streams: int = 2
    bolt_path: str | None = None
    finish: Callable[[], None] = lambda: None

    @property
    def folder(self) -> str:
        """The folder beside the live data."""
        return f"{ROOT}/restore-{self.worker.fence.recovery_id}"

    def left_to_do(self) -> str:
        """What an earlier run left to do: "everything", "exchange" (the data is whole beside) or "nothing".

        RecoveryError PRC-710 where this recovery was rolled back, or has put another set's data in place.
        """
        state = self.worker.swap_state()
        if state in ("rolling_back", "rolled_back"):
            raise self._refused(f"{self.worker.fence.recovery_id} was rolled back in this volume")
        if state == "" or (state == "restored" and self._origin_in(self.folder) != self.origin):
            return "everything"
        # An exchange that was only announced may or may not have happened.
        if self.origin not in (self._origin_in(DATA), self._origin_in(self.folder)):
            raise self._refused(f"{self.worker.fence.recovery_id} has already put another set's data in place")
        return "nothing" if state == "swapped" else "exchange"

    def _refused(self, found: str) -> RecoveryError:
        return RecoveryError(
            "PRC-710",
            "restore InfluxDB",
            found,
            "nothing was changed by this run",
            "ask for the set that this recovery began with, or start a new recovery (without recovery_id)",
        )

    def _origin_in(self, folder: str) -> str:
        return self.worker.bash(f'cat "$1"/{ORIGIN_FILE} 2>/dev/null || true', folder).stdout.strip()

    def restore(self) -> int:
        """Place everything, and mark it as restored; gives the bytes read. RecoveryError as place()."""
        read = self.place()
        self.worker.mark_restored()
        return read

    def place(self) -> int:
        """Unpack everything into an empty folder beside the live data, compare all digests, make it last.

        Returns the bytes read. RecoveryError where any byte is not the set's.
        """
        self.progress.start("restore beside", self.plan.bytes)
        self.worker.bash(
            'rm -rf "$1" "$2"; mkdir -m 0700 "$1"', self.folder, f"{ROOT}/swap-{self.worker.fence.recovery_id}"
        )
        waiting: queue.SimpleQueue[Source | ShardSources] = queue.SimpleQueue()
        waiting.put(self.plan.bolt)
        waiting.put(self.plan.sqlite)
        for sources in self.plan.shards:
            waiting.put(sources)
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=self.streams) as pool:
            tasks = [pool.submit(self._unpack, waiting, stop) for _number in range(self.streams)]
        for task in tasks:
            task.result()
        self.finish()
        # The files themselves, not the whole file system: other stores are being restored on it at the same time.
        self.worker.bash(
            f'printf %s "$2" > "$1/{ORIGIN_FILE}"; find "$1" -print0 | xargs -0 sync', self.folder, self.origin
        )
        return self.plan.bytes

    def _unpack(self, waiting: queue.SimpleQueue[Source | ShardSources], stop: threading.Event) -> None:
        unpacking = Unpacking(self.worker, self.folder)
        try:
            while not stop.is_set():
                try:
                    source = waiting.get_nowait()
                except queue.Empty:
                    unpacking.close()
                    return
                if isinstance(source, ShardSources):
                    self._place_shard(source, unpacking.tar, stop)
                else:
                    self._place(source, partial(self._place_metadata, source, unpacking.tar))
            unpacking.abort()
        except BaseException:
            stop.set()
            unpacking.abort()
            raise

    def _place_shard(self, sources: ShardSources, target: TarWriter, stop: threading.Event) -> None:
        """The files that the shard's list names, each from the newest archive that holds it."""
        keeping = Keeping(sources.shard, sources.files)
        for source in sources.archives:
            if stop.is_set():
                return
            self._place(source, partial(_copy_kept, sources.shard, source, keeping, target))
        keeping.require_all()

    def _place_metadata(self, source: Source, target: TarWriter, reader: HashingReader) -> None:
        if source is self.plan.bolt and self.bolt_path is not None:
            _copy_file(self.bolt_path, BOLT_FILE, target)
        else:
            name = BOLT_FILE if source is self.plan.bolt else SQLITE_FILE
            target.file(name, source.bytes, iter(lambda: reader.read(CHUNK_BYTES), b""))

    def _place(self, source: Source, copy: Callable[[HashingReader], object]) -> None:
        """Read a file of a set once, whole, and compare it with the manifest."""
        path = os.path.join(source.folder or self.set_path, source.path)
        try:
            with open(path, "rb", buffering=0) as stream:
                reader = HashingReader(stream, self.progress.advance)
                copy(reader)
                found = reader.finish()
        except ArchiveRefused as error:
            raise damaged("PRC-707", path, str(error)) from error
        except OSError as error:
            raise damaged("PRC-707", path, f"it cannot be read ({error.strerror or error})") from error
        if found != (source.bytes, source.sha256):
            raise damaged(
                "PRC-707",
                path,
                f"{source.bytes} bytes with SHA-256 {source.sha256} were expected, {found[0]} with {found[1]} found",
            )

    def quarantined(self) -> bool:
        """Whether this recovery keeps old data in quarantine."""
        listed = self.worker.bash(
            f'ls -A "{ROOT}/quarantine/$1" 2>/dev/null || true', self.worker.fence.recovery_id
        ).stdout
        return bool(listed.strip())


class Keeping:
    """Which members of a shard's archives are kept, newest archive first: those on its list, each once.

    files: name -> bytes, None where there is no list and all are kept.
    """

    def __init__(self, shard: Shard, files: Mapping[str, int] | None) -> None:
        self._shard = shard
        self._listed = files
        self._left = dict(files or {})

    def wants(self, entry: Entry) -> bool:
        """Whether to keep a member; RecoveryError PRC-751 where it has another size than on the list."""
        name = entry.name[len(self._shard.prefix) + 1 :]
        if self._listed is None or entry.folder:
            return True
        size = self._left.pop(name, None)
        if size is not None and size != entry.bytes:
            raise self._refused(f"{name} has {entry.bytes} bytes where {size} are listed")
        return size is not None

    def require_all(self) -> None:
        """RecoveryError PRC-751 unless every file on the list came."""
        if self._left:
            raise self._refused(f"{', '.join(sorted(self._left)[:3])} is in no archive of the chain")

    def _refused(self, found: str) -> RecoveryError:
        return RecoveryError(
            "PRC-751",
            f"restore shard {self._shard.id} of bucket {self._shard.bucket_id} along its chain",
            found,
            "the live data was not touched; what had been unpacked beside it is not used",
            "choose another backup set (recovery_backup_set), and keep this one for the investigation",
        )


def _copy_kept(shard: Shard, source: Source, keeping: Keeping, target: TarWriter, reader: HashingReader) -> None:
    copy_members(reader, target, Quota(source.bytes), shard.place, keeping.wants)


def _copy_file(path: str, name: str, target: TarWriter) -> None:
    with open(path, "rb", buffering=0) as stream:
        chunks: Callable[[], bytes] = lambda: stream.read(CHUNK_BYTES)  # noqa: E731
        target.file(name, os.fstat(stream.fileno()).st_size, iter(chunks, b""))
