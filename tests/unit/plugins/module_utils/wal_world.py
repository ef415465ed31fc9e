# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL that is only told of: it commits, is backed up, recovered to points in time, and leaves WAL behind.

What each timeline really went through is known here, so that a plan can be compared with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup, iso
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import PointPlan, Ways, contents_of
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import SECOND, parse_target
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Segment,
    WalFile,
    format_lsn,
    parse_history,
    parse_lsn,
    parse_segment,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import Record

FIXTURE = Path(__file__).parent / "fixtures" / "postgresql" / "content.json"
CONTENT: dict[str, Any] = json.loads(FIXTURE.read_text())
RECORD_BYTES = 40
BEGAN = 1_795_000_000 * SECOND


class World:
    """Its timelines by number: each one's records from the very first on, those it inherited among them."""

    def __init__(self) -> None:
        self.at = BEGAN
        self.lsn = SEGMENT_BYTES + RECORD_BYTES
        self.xid = 700
        self.timeline = 1
        self.records: dict[int, list[Record]] = {1: []}
        self.written_on: dict[int, int] = {}
        self.histories: dict[int, str] = {}
        self.forks: dict[int, int] = {}
        self.files: set[Segment] = {Segment(1, 1)}
        self.backups: list[Backup] = []

    def _write(self, size: int) -> int:
        begin = self.lsn
        self.lsn += size
        self.files |= {Segment(self.timeline, n) for n in (begin // SEGMENT_BYTES, self.lsn // SEGMENT_BYTES)}
        return begin

    def commit(self, micros: int, kind: str = "commit", name: str = "") -> Record:
        """A transaction ends (or a point is named) so many microseconds after what was before."""
        self.at += micros
        xid = 0 if kind == "point" else self.xid
        record = Record(kind, self._write(RECORD_BYTES), xid, None if kind == "point" else self.at, name)
        self.xid += kind != "point"
        self.records[self.timeline].append(record)
        self.written_on[id(record)] = self.timeline
        return record

    def switch(self) -> None:
        """The segment ends."""
        self._write((self.lsn // SEGMENT_BYTES + 1) * SEGMENT_BYTES + RECORD_BYTES - self.lsn)

    def backup(self) -> Backup:
        """A base backup; the clock goes on by seconds meanwhile."""
        start = self._write(RECORD_BYTES)
        self.at += 2 * SECOND
        self._write(RECORD_BYTES)
        found = Backup(
            label=f"{len(self.backups):08d}-000000F",
            system_identifier=CONTENT["system_identifier"],
            version="17",
            archive_id="17-1",
            wal_start=Segment(self.timeline, start // SEGMENT_BYTES).name(),
            wal_stop=Segment(self.timeline, (self.lsn - 1) // SEGMENT_BYTES).name(),
            lsn_start=format_lsn(start),
            lsn_stop=format_lsn(self.lsn),
            started_at=iso((self.at - SECOND) // SECOND),
            finished_at=iso(self.at // SECOND),
            bytes=1,
            repository_bytes=1,
            damaged=False,
        )
        self.backups.append(found)
        self.switch()
        return found

    def recover_to(self, record: Record) -> None:
        """The data as of right behind a record of the present timeline, on a new timeline."""
        index = self.records[self.timeline].index(record)
        end = record.lsn + RECORD_BYTES
        lineage = [line for line in self._lineage() if line[1] < end]
        parent = next((t for t, begin in self._begins() if begin < end), 1)
        new = max(self.records) + 1
        self.histories[new] = "".join(f"{t}\t{format_lsn(lsn)}\tx\n" for t, lsn in [*lineage, (parent, end)])
        self.records[new] = self.records[self.timeline][: index + 1]
        # As the server does: behind every number that was replayed.
        self.timeline, self.lsn = new, end
        self.xid = 1 + max([699, *(one.xid for one in self.records[new])])
        self.files.add(Segment(new, end // SEGMENT_BYTES))
        self.at += 5 * SECOND

    def _lineage(self) -> list[tuple[int, int]]:
        return parse_history(self.histories.get(self.timeline, ""))

    def _begins(self) -> list[tuple[int, int]]:
        """The timelines of the present life with where each began, the newest first."""
        lineage = self._lineage()
        begins = [0, *(end for _, end in lineage)]
        timelines = [*(timeline for timeline, _ in lineage), self.timeline]
        return list(zip(timelines, begins, strict=True))[::-1]

    # What a plan is made with

    def content(self, backup: Backup) -> dict[str, Any]:
        """What a set says of a base backup."""
        content = copy.deepcopy(CONTENT)
        content["pgbackrest"]["label"] = backup.label
        return content

    def view(self) -> View:
        """What a look at the repository finds; there is no stream."""
        archive = {
            f"{one.name()}-{'0' * 40}.lz4": (SEGMENT_BYTES, 0.0)
            for one in sorted(self.files, key=lambda one: one.number)
        }
        histories = {("17-1", timeline): text for timeline, text in self.histories.items()}
        digest = CONTENT["pgbackrest"]["manifest_sha256"]
        return View(CONTENT["version"], {}, self.backups, digest, {"17-1": archive}, histories, [])

    def ways(self) -> Ways:
        """The ways to points in time by all base backups, each of a set of its label's name."""
        sets = [{"backup_set": f"set-{one.label}", "content": self.content(one)} for one in self.backups]
        found = Ways(self.view(), contents_of(self.content(self.backups[0]), sets), None)
        found.reader = Reader(self)  # type: ignore[assignment]
        return found


class Reader:
    """Reads the world's WAL."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reads = 0

    def read(self, files: Sequence[WalFile]) -> list[Record]:
        """The records of segments, those that a new timeline's first segment repeats among them."""
        self.reads += 1
        found = []
        for one in files:
            segment = parse_segment(one.segment)
            listed = self.world.records[segment.timeline]
            found += [record for record in listed if record.lsn // SEGMENT_BYTES == segment.number]
        return found

    def first_record(self, lsn: int, files: Sequence[WalFile]) -> int | None:
        """The first record at or behind a position."""
        return next((one.lsn for one in self.read(files) if one.lsn >= lsn), None)

    def manifest_sha256(self, label: str) -> str:
        """As signed."""
        return str(CONTENT["pgbackrest"]["manifest_sha256"])


def world_of(steps: list[tuple[str, int]]) -> World:
    """A world that went through steps; it is backed up first, and a recovery goes to what lies behind that backup."""
    world = World()
    first = world.backup()
    world.at += 2 * SECOND
    for number, (step, value) in enumerate(steps):
        if step == "switch":
            world.switch()
        elif step == "backup":
            world.backup()
        elif step == "recover":
            reachable = [one for one in world.records[world.timeline] if one.lsn >= parse_lsn(first.lsn_stop)]
            if reachable:
                world.recover_to(reachable[value % len(reachable)])
        else:
            world.commit(value, step, f"point-{number}" if step == "point" else "")
    return world


def way(world: World, kind: str, value: str) -> PointPlan | str:
    """The plan for a target, or the code of what refuses it."""
    try:
        return world.ways().plan(parse_target({"kind": kind, "value": value}))
    except RecoveryError as error:
        return error.code
