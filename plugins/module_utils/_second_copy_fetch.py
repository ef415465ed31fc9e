# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing one backup set, and what it is read with, from the second copy back into the backup store.

All of it is laid beside first (`<store>/.second_copy`), so that a fetch that was interrupted goes on; it is moved into
its place when it is whole, the sets last. What lies in the store already stays as it is: it is never older. Only a set
that verification condemned here is fetched again, with its base backup: what differs is moved to `<store>/.damaged` for
the inquiry.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.platform3.recovery.plugins.module_utils import _second_copy as second_copy
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import set_ids, sync_folder
from ansible_collections.platform3.recovery.plugins.module_utils._chains import sets_needed
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import ARRIVAL_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import (
    INCOMPLETE_SUFFIX,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Manifest,
    set_instant,
)
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._restore_points import FOLDER as POINTS
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import GrowingFile, Index, Repository
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy_place import NOTHING_CHANGED, Place
from ansible_collections.platform3.recovery.plugins.module_utils._selection import LATEST, Wanted
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import SetState, append_states
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SignedSets
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso
from ansible_collections.platform3.recovery.plugins.module_utils._verification import byte_problems

STAGE = ".second_copy"
DAMAGED_FOLDER = ".damaged"
FETCHED_BY = "second_copy_fetch"
AT_NAME = "at"
# Of a folder of which the second copy does not say whose it is.
NO_OWNER = (0, 0, 0o755)
# So many of the newest sets are looked at first, then so many more.
BATCH = 40


@contextlib.contextmanager
def alone(state_path: str) -> Iterator[None]:
    """One fetch at a time. PRC-394."""
    with open(os.path.join(state_path, ".second_copy.flock"), "w", encoding="ascii") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryError(
                "PRC-394",
                "fetch from the second copy",
                "another run fetches from it now",
                "nothing was changed by this run",
                "wait for the other run to end, then run the same command again",
            ) from None
        yield


def prepare(stage: str, at: str | None) -> None:
    """An empty folder to lay all of it in, or the one of an interrupted fetch as of the same instant. PRC-397."""
    marker = os.path.join(stage, AT_NAME)
    with _writing(os.path.dirname(stage)):
        known = _read(marker).decode() if os.path.exists(marker) else None
        if known != (at or ""):
            shutil.rmtree(stage, ignore_errors=True)
            os.makedirs(stage, mode=0o700, exist_ok=True)
            with open(marker, "w", encoding="ascii") as stream:
                stream.write(at or "")


@dataclass
class Fetch:
    """One set brought back. place: opened; files and bytes count what was new in the store.

    signing_key: by which a set that was condemned for damage is found sound again; without one, it is not fetched.
    mended: those that were, by id.
    """

    place: Place
    store: str
    state_path: str
    trusted: list[dict[str, str]]
    wanted: Wanted
    progress: Progress
    signing_key: str = ""
    files: int = 0
    bytes: int = 0
    mended: list[str] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """Where all of it is laid first."""
        return self.place.stage

    def choose(self) -> tuple[str, SignedSets]:
        """The set to fetch, as a recovery would choose it from all that the second copy holds. PRC-392."""
        self.progress.start("looking for a set in the second copy")
        ids = sorted((one for one in self.place.folders("") if set_instant(one)), reverse=True)
        if self.wanted.backup_set != LATEST:
            ids = [one for one in ids if one == self.wanted.backup_set]
        found = "it holds no set" if self.wanted.backup_set == LATEST else f"it holds no {self.wanted.backup_set}"
        for at in range(0, len(ids), BATCH):
            signed = self._look(ids[at : at + BATCH])
            try:
                return signed.choose(self.wanted)[0].set_id, signed
            except RecoveryError as error:
                found = error.found
        raise RecoveryError(
            "PRC-392",
            f"find a set to recover from in the second copy {self.place.shown}",
            found,
            NOTHING_CHANGED,
            ("choose a later target; " if self.wanted.not_after is not None else "")
            + "if sets were deleted or overwritten there, read it as it was before that: -e second_copy_at=<instant>,"
            " such as 2026-11-23T05:00:00Z",
        )

    def _look(self, ids: Sequence[str]) -> SignedSets:
        """Manifests and signatures of these sets, and of those that they are read with."""
        manifests = os.path.join(self.stage, "manifests")
        os.makedirs(manifests, exist_ok=True)
        # All are asked for, also those that lie there from a fetch that was interrupted: one may lack its signature.
        asked: set[str] = set()
        todo = set(ids)
        while todo:
            self.place.copy([f"{one}/{name}" for one in todo for name in (MANIFEST_NAME, SIGNATURE_NAME)], manifests)
            asked |= todo
            signed = SignedSets(manifests, self.trusted, True, self.state_path, elsewhere=bool(self.signing_key))
            todo = {other for one in signed.sets if one.manifest for other in sets_needed(one.manifest)} - asked
        return signed

    def bring(self, set_id: str, signed: SignedSets) -> Index | None:
        """Fetch all of it, then move it into its place. PRC-331, PRC-391, PRC-393, PRC-397."""
        manifest = signed.manifest(set_id)
        wanted = [manifest, *(signed.manifest(one) for one in self._until_target(set_id, signed))]
        needed = list(
            {
                part["backup_set"]: part
                for one in wanted
                for part, _artefacts in signed.needed(one, list(one["components"]), [])
            }.values()
        )
        here = set(set_ids(self.store))
        damaged = [one for one in needed if signed.damage(one["backup_set"]) is not None]
        sets = [one for one in needed if one["backup_set"] not in here and one not in damaged]
        repositories = [one for one in map(second_copy.repository_of, wanted) if one]
        index = self._index()
        self.progress.start(f"fetching {set_id} from the second copy")
        os.makedirs(self._data, exist_ok=True)
        with _writing(self.store):
            self._fetch_growing(index, repositories[0].wal_start if repositories else None)
            for repository in dict.fromkeys(repositories):
                self._fetch_repository(repository)
            self._fetch_listed(second_copy.set_paths(sets))
            self._fetch_again(damaged)
            self._publish(index, [one["backup_set"] for one in [*sets, *damaged]])
        return index

    def bring_points(self) -> list[str]:
        """Fetch the records of restore points alone, for a name that decides which set is needed; gives their paths.

        What else lies beside from a fetch that was interrupted stays there. PRC-391, PRC-393, PRC-397.
        """
        self.progress.start("fetching restore points from the second copy")
        index = self._index()
        records = [one for one in index.files if one.path.startswith(f"{POINTS}/")] if index else []
        with _writing(self.store):
            self._fetch_assembled(records)
            if index and records:
                self._merge(POINTS, index.folders.get(POINTS) or NO_OWNER)
                sync_folder(self.store)
        return [one.path for one in records]

    def _fetch_again(self, damaged: Sequence[Manifest]) -> None:
        """Fetch sets that are damaged here, with their base backups, and put aside here what is not the same there.

        Where nothing differs, the copy is no better than what was condemned.
        """
        aside: list[str] = []
        for one in damaged:
            repository = second_copy.repository_of(one)
            labels = [f"{repository.backup}/{label}" for label in repository.labels] if repository else []
            paths = [*second_copy.set_paths([one]), *self.place.files(labels)]
            self.place.copy(paths, self._data)
            self._require(paths)
            wrong = byte_problems(os.path.join(self._data, one["backup_set"]), one["artefacts"], lambda _bytes: None)
            differing = [path for path in paths if not self._is_same(path)]
            if wrong or not differing:
                said = wrong[0] if wrong else "it is byte for byte what was condemned here"
                raise self.place.incomplete(f"set {one['backup_set']} is no better there: {said}")
            aside += [one["backup_set"], *(path for path in differing if path.startswith("pgbackrest/"))]
        # The state is written while a set is not there: it is never said of what is damaged, nor lacking afterwards.
        for path in aside:
            self._put_aside(path)
        self.mended = [one["backup_set"] for one in damaged]
        found = [SetState(one, "verified", now_iso(), FETCHED_BY, self.place.shown) for one in self.mended]
        append_states(self.state_path, found, self.signing_key)

    def _put_aside(self, path: str) -> None:
        here, target = os.path.join(self.store, path), os.path.join(self.store, DAMAGED_FOLDER, path)
        if not os.path.lexists(here):
            return
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(here, target)

    def _is_same(self, path: str) -> bool:
        here = os.path.join(self.store, path)
        return os.path.isfile(here) and filecmp.cmp(here, os.path.join(self._data, path), shallow=False)

    @property
    def _data(self) -> str:
        return os.path.join(self.stage, "data")

    def _index(self) -> Index | None:
        folder = os.path.join(self.stage, "growing")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.place.copy([second_copy.INDEX], folder, unpack=True)
        path = os.path.join(folder, second_copy.INDEX[: -len(".zst")])
        if not os.path.exists(path):
            return None
        try:
            with open(path, "rb") as stream:
                index = second_copy.parse_index(stream.read())
        except ValueError as error:
            raise self.place.incomplete(str(error)) from None
        if index.environment_id != self.place.environment_id:
            raise RecoveryError(
                "PRC-393",
                f"fetch from the second copy {self.place.shown}",
                f"it belongs to environment {index.environment_id}, not to {self.place.environment_id}",
                NOTHING_CHANGED,
                "correct second_copy_url and second_copy_bucket in the inventory",
            )
        return index

    def _until_target(self, set_id: str, signed: SignedSets) -> list[str]:
        """For a target, the sets after the one that replay begins with: the first one beyond it holds every point of
        InfluxDB up to it, those before say what was deleted meanwhile.
        """
        target = self.wanted.not_after
        if target is None or "influxdb" not in self.wanted.components:
            return []
        found = []
        for one in sorted(other.set_id for other in signed.sets if other.set_id > set_id):
            with contextlib.suppress(RecoveryError):  # one that cannot be used is passed over, as in the store
                wanted = dataclasses.replace(self.wanted, backup_set=one, components=["influxdb"], not_after=None)
                found.append(signed.choose(wanted)[0].set_id)
            begun = set_instant(one)
            if begun and begun.timestamp() >= target + ARRIVAL_SECONDS and one in found:
                break
        return found

    def _fetch_growing(self, index: Index | None, wal_start: str | None) -> None:
        if index is None:
            return
        files, bases = second_copy.wanted_growing(index, wal_start, self.wanted.not_after is not None)
        self._fetch_assembled(files)
        self._fetch_listed(bases)

    def _fetch_assembled(self, files: Sequence[GrowingFile]) -> None:
        """Fetch files that lie there as chunks."""
        keys = sorted({key for one in files for key in one.chunks})
        folder = os.path.join(self.stage, "growing")
        self.place.copy([f"chunks/{key}.zst" for key in keys], folder, unpack=True)
        chunks = {key: path for key in keys if os.path.exists(path := os.path.join(folder, "chunks", key))}
        for one in files:
            try:
                content = second_copy.assemble(one, {key: _read(chunks[key]) for key in one.chunks if key in chunks})
            except ValueError as error:
                raise self.place.incomplete(str(error)) from None
            path = os.path.join(self._data, one.path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(content)
            os.utime(path, (one.modified, one.modified))

    def _fetch_repository(self, repository: Repository) -> None:
        """Base backups, .info files, and WAL from the base backup's start on out of the archive and the stream."""
        manifests = [f"{repository.backup}/{label}/backup.manifest" for label in repository.labels]
        listed = self.place.files([f"{repository.backup}/{label}" for label in repository.labels])
        archive = f"{repository.archive}/{repository.archive_id}"
        folders = second_copy.wal_from(self.place.folders(archive), repository.wal_start)
        wal = second_copy.wal_from(self.place.files(f"{archive}/{one}" for one in folders), repository.wal_start)
        # By them PostgreSQL and the plan follow the timelines; they lie beside the folders of the segments.
        histories = [one for one in self.place.files([archive], "") if one.endswith(".history")]
        self._fetch_listed([*dict.fromkeys([*manifests, *listed, *wal, *histories, *repository.infos])])
        stream = [one for one in self.place.files(["wal-stream"]) if one.endswith(".zst")]
        here = [one for one in second_copy.wal_from(stream, repository.wal_start) if not self._has(one)]
        self.place.copy(here, self._data, unpack=True)
        self._require(one[: -len(".zst")] for one in here)

    def _has(self, path: str) -> bool:
        """Whether a packed file is there already, unpacked: in the store, or laid beside.

        There it may be cut as long as it lies packed too: zstd removes what it unpacked when it is done.
        """
        name = path[: -len(".zst")]
        beside = os.path.join(self._data, name)
        whole = os.path.exists(beside) and not os.path.exists(f"{beside}.zst")
        return whole or os.path.exists(os.path.join(self.store, name))

    def _fetch_listed(self, paths: Sequence[str]) -> None:
        """Fetch these, all of which must be there, but for what lies in the store."""
        absent = [one for one in paths if not os.path.exists(os.path.join(self.store, one))]
        self.place.copy(absent, self._data)
        self._require(absent)

    def _require(self, paths: Iterable[str]) -> None:
        missing = [one for one in paths if not os.path.exists(os.path.join(self._data, one))]
        if missing:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise self.place.incomplete(f"{missing[0]} is missing in it{more}")

    def _publish(self, index: Index | None, sets: Sequence[str]) -> None:
        """Move all of it into its place, the sets last: a set is complete by its name.

        Of other sets, which an earlier fetch had begun with, nothing.
        """
        for name in sorted(os.listdir(self._data)):
            if set_instant(name) is None:
                owner = (index.folders.get(name) if index else None) or NO_OWNER
                self._merge(name, owner)
        for one in sets:
            final = os.path.join(self.store, one)
            fresh = final + INCOMPLETE_SUFFIX
            shutil.rmtree(fresh, ignore_errors=True)
            os.rename(os.path.join(self._data, one), fresh)
            for folder, _folders, names in os.walk(fresh):
                os.chmod(folder, 0o755)
                for name in names:
                    os.chmod(os.path.join(folder, name), 0o444)
                    self._count(os.path.join(folder, name))
            os.rename(fresh, final)
        sync_folder(self.store)
        shutil.rmtree(self.stage, ignore_errors=True)

    def _merge(self, name: str, owner: Sequence[int]) -> None:
        source = os.path.join(self._data, name)
        user, group, mode = owner
        if os.path.isfile(source):
            self._place_file(source, os.path.join(self.store, name), (user, group, 0o644))
            return
        for folder, _folders, names in os.walk(source):
            target = os.path.join(self.store, os.path.relpath(folder, self._data))
            if not os.path.isdir(target):
                os.mkdir(target)
                os.chown(target, user, group)
                os.chmod(target, mode)
            for one in names:
                paths = os.path.join(folder, one), os.path.join(target, one)
                self._place_file(*paths, (user, group, mode & 0o666))

    def _place_file(self, source: str, target: str, owner: tuple[int, int, int]) -> None:
        if os.path.lexists(target):
            return
        os.chown(source, owner[0], owner[1])
        os.chmod(source, owner[2])
        os.rename(source, target)
        self._count(target)

    def _count(self, path: str) -> None:
        self.files += 1
        self.bytes += os.stat(path).st_size


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


@contextlib.contextmanager
def _writing(store: str) -> Iterator[None]:
    """What the store's disk refuses, as an error. PRC-397."""
    try:
        yield
    except OSError as error:
        raise RecoveryError(
            "PRC-397",
            f"write what was fetched into {store}",
            f"{error.filename or store}: {error.strerror}",
            NOTHING_CHANGED,
            "make room in the store, or make it writable, then run the same command again",
        ) from None
