# SPDX-License-Identifier: GPL-3.0-or-later
"""When an archive counts, what is taken again, and when the backup gives up. The server is a fake."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_capture
from ansible_collections.platform3.recovery.plugins.module_utils._archive import ArchiveRefused
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Figures, NotFound, ServerFailed
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_capture import (
    Capture,
    held_by,
    objection,
    require_buckets,
    settled_before,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import Increments, Listing, listed
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import Shard, iso
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress

SECOND = 1_000_000_000
DAY = 86400 * SECOND
BUCKET = "5bbaf279110971d7"
SHARD = Shard(1, BUCKET, "autogen", 0, DAY)


def tsm(newest: int) -> bytes:
    """A TSM file whose newest point is of that time."""
    key = struct.pack(">H", 1) + b"k\x00" + struct.pack(">HqqqI", 1, 0, newest, 5, 1)
    return b"\x16\xd1\x16\xd1\x01" + b"b" + key + struct.pack(">Q", 6)


def shard_archive(newest: int, shard: int = 1, name: str = "000000001-000000001.tsm") -> bytes:
    """A shard's archive with one TSM file."""
    data = tsm(newest)
    made = tarfile.TarInfo(f"{BUCKET}/autogen/{shard}/{name}")
    made.size = len(data)
    return made.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512) + bytes(1024)


class Server:
    """Answers with what it is given: figures in turn, an archive or an error, shard ids of each metadata."""

    def __init__(self, figures: list[Figures], archive: bytes | Exception, shard_ids: list[list[int]]) -> None:
        self._figures, self._archive, self._shard_ids = figures, archive, shard_ids
        self.inventories: list[dict[str, list[str]]] = []
        self.taken: list[str] = []
        self.retention_ns = 0

    def another(self) -> Server:
        """Itself."""
        return self

    def close(self) -> None:
        """Nothing."""

    def inventory(self) -> dict[str, list[str]]:
        """The next inventory, or the usual one."""
        return self.inventories.pop(0) if self.inventories else {"buckets": [BUCKET], "users": []}

    def metadata(self, targets: dict[str, Any]) -> None:
        """One bucket with the next list of shards."""
        ids = self._shard_ids.pop(0) if len(self._shard_ids) > 1 else self._shard_ids[0]
        groups = [
            {"startTime": "1970-01-01T00:00:00Z", "endTime": "1970-01-02T00:00:00Z", "shards": [{"id": shard}]}
            for shard in ids
        ]
        policy = {"name": "autogen", "duration": self.retention_ns, "shardGroups": groups}
        bucket = {"bucketID": BUCKET, "bucketName": "b", "organizationID": "o", "organizationName": "org"}
        targets["kv"].write(b"bolt")
        targets["sql"].write(b"sqlite")
        targets["buckets"].write(json.dumps([{**bucket, "retentionPolicies": [policy]}]).encode())

    def figures(self, _organisation: str, _shard: Shard, _settled: int) -> Figures:
        """The next figures; the last ones for ever."""
        return self._figures.pop(0) if len(self._figures) > 1 else self._figures[0]

    def stream(self, path: str, target: Any, _advance: Any) -> None:
        """The archive, or a good one for another shard than the first."""
        self.taken.append(path.rsplit("/", 1)[1])
        if isinstance(self._archive, Exception):
            raise self._archive
        target.write(self._archive if self.taken[-1] == "1" else shard_archive(100, int(self.taken[-1])))


def capture(server: Server, folder: Path) -> Capture:
    """A backup of that server."""
    made = Capture(server, str(folder), Progress(None), streams=1, clock=lambda: DAY)  # type: ignore[arg-type]
    made.run()
    return made


SAME = Figures(5, 15, 100)


def test_equal_figures_around_an_archive_count(tmp_path: Path) -> None:
    """The shard is taken once; metadata is taken until it names nothing new."""
    server = Server([SAME], shard_archive(100), [[1]])
    made = capture(server, tmp_path)
    assert server.taken == ["1"]
    assert (made.records[1]["points"], made.records[1]["values"]) == (5, 15)
    assert {one["kind"] for one in made.artefacts("2.7.12")} == {"metadata", "shard"}


def test_a_shard_that_is_being_changed_is_taken_again_with_an_older_moment(tmp_path: Path) -> None:
    """Four times as far back each time."""
    server = Server([Figures(4, 12, 100), SAME, SAME], shard_archive(100), [[1]])
    made = capture(server, tmp_path)
    assert server.taken == ["1", "1"]
    assert made.records[1]["settled_before"] == "1970-01-01T23:56:00Z"


def test_a_shard_that_never_settles_fails(tmp_path: Path) -> None:
    """No figure is invented."""
    server = Server([Figures(number, number, 100) for number in range(9)], shard_archive(100), [[1]])
    with pytest.raises(RecoveryError, match=r"PRC-705.*shard 1") as caught:
        capture(server, tmp_path)
    assert "4 attempts" in caught.value.found


def test_an_archive_without_the_newest_point_fails(tmp_path: Path) -> None:
    """The server had "proceeded without cache contents"."""
    with pytest.raises(RecoveryError, match="the archive holds points up to"):
        capture(Server([SAME], shard_archive(99), [[1]]), tmp_path)


def test_a_cut_archive_fails(tmp_path: Path) -> None:
    """An error in the middle of the answer has status 200."""
    with pytest.raises(RecoveryError, match="its archive is damaged"):
        capture(Server([SAME], shard_archive(100)[:-600] + b'{"code":"internal error"}', [[1]]), tmp_path)


def test_a_shard_that_came_meanwhile_is_taken_too(tmp_path: Path) -> None:
    """And one that went is dropped, with its file."""
    server = Server([SAME], shard_archive(100), [[1, 2], [2, 3]])
    made = capture(server, tmp_path)
    assert server.taken == ["1", "2", "3"]
    assert sorted(made.records) == [2, 3]
    assert sorted(path.name for path in (tmp_path / "influxdb/shards").iterdir()) == ["2.tar", "3.tar"]


def test_a_planned_shard_without_files_is_recorded_as_absent(tmp_path: Path) -> None:
    """Only where the server knows no point of its time."""
    gone = NotFound("PRC-703", "a", "status 404", "c", "d")
    made = capture(Server([Figures()], gone, [[1]]), tmp_path)
    assert made.records[1]["artefact"] is None
    assert not list((tmp_path / "influxdb/shards").iterdir())
    with pytest.raises(RecoveryError, match="status 404"):
        capture(Server([SAME], gone, [[1]]), tmp_path)


def test_a_shard_past_its_retention_is_left_out(tmp_path: Path) -> None:
    """The server may delete it at any moment."""
    server = Server([SAME], shard_archive(100), [[1]])
    server.retention_ns = DAY
    made = Capture(server, str(tmp_path), Progress(None), streams=1, clock=lambda: 2 * DAY)  # type: ignore[arg-type]
    made.run()
    assert (server.taken, made.records) == ([], {})
    made.clock = lambda: 2 * DAY - 1
    made.run()
    assert (server.taken, list(made.records)) == (["1"], [1])


def test_a_shard_that_did_not_change_is_not_asked_for(tmp_path: Path) -> None:
    """Its record is the parent's; one that changed goes on from it, and both name their sets."""
    files = {"000000001-000000001.tsm": (len(tsm(100)), 0)}
    record = {"id": 1, "bucket_id": BUCKET, "policy": "autogen", "artefact": SHARD.artefact, "files": listed(files)}
    record |= {"archives": ["a"], "held_to": iso(100), "points": 7}
    listing = Listing("1", {f"{BUCKET}/autogen/1": files, f"{BUCKET}/autogen/2": files}, {f"{BUCKET}/autogen/2": 9})
    two = {**record, "id": 2, "artefact": "influxdb/shards/2.tar"}
    known = Increments({1: record, 2: two}, "1970-01-01T00:00:00Z", listing, lambda _prefix: listing)
    server = Server([SAME], shard_archive(100), [[1, 2]])
    server.stream = lambda path, target, _advance: (  # type: ignore[method-assign]
        server.taken.append(path.rsplit("/", 1)[1]),
        target.write(shard_archive(100, 2)),
    )
    made = Capture(
        server,  # type: ignore[arg-type]
        str(tmp_path),
        Progress(None),
        set_id="b",
        increments=known,
        clock=lambda: DAY,
    )
    made.run()
    assert server.taken == ["2?since=1970-01-01T00%3A00%3A00Z"]
    assert made.records[1] == {**record, "retention_seconds": 0}
    assert (made.records[2]["base"], made.records[2]["archives"]) == ("increment", ["a", "b"])
    assert [one["path"] for one in made.artefacts("2.7") if one["kind"] == "shard"] == ["influxdb/shards/2.tar"]


def test_a_server_that_fails_for_a_moment_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does while points are deleted ("snapshots disabled"); for good it is a failure."""
    monkeypatch.setattr(_influxdb_capture, "PAUSE_SECONDS", 0)
    server = Server([SAME], ServerFailed("PRC-703", "a", "status 500", "c", "d"), [[1]])
    stream = server.stream

    def fails_once(path: str, target: Any, advance: Any) -> None:
        try:
            stream(path, target, advance)
        finally:
            server._archive = shard_archive(100)

    monkeypatch.setattr(server, "stream", fails_once)
    assert capture(server, tmp_path).records[1]["points"] == 5
    assert server.taken == ["1", "1"]
    with pytest.raises(RecoveryError, match=r"PRC-705.*status 500 \(4 attempts\)"):
        capture(Server([SAME], ServerFailed("PRC-703", "a", "status 500", "c", "d"), [[1]]), tmp_path)


def test_metadata_that_is_being_changed_is_taken_again(tmp_path: Path) -> None:
    """A user made meanwhile; one made all the time is a failure."""
    server = Server([SAME], shard_archive(100), [[1]])
    server.inventories = [{"buckets": [BUCKET], "users": []}, {"buckets": [BUCKET], "users": ["u"]}]
    assert capture(server, tmp_path).inventory == {"buckets": [BUCKET], "users": []}
    server.inventories = [{"buckets": [BUCKET], "users": [str(number)]} for number in range(20)]
    with pytest.raises(RecoveryError, match="were changed during each attempt"):
        capture(server, tmp_path)


def test_a_warning_of_the_server_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log is read after each round."""
    server = Server([SAME], shard_archive(100), [[1]])
    warned = [True, False]
    monkeypatch.setattr(Capture, "_warned", lambda _self, _since: warned.pop(0))
    capture(server, tmp_path)
    assert server.taken == ["1", "1"]
    monkeypatch.setattr(Capture, "_warned", lambda _self, _since: True)
    with pytest.raises(RecoveryError, match="without cache contents"):
        capture(server, tmp_path)


def test_objections_name_the_reason() -> None:
    """Equal figures and a newest point that is held: none."""
    assert objection(SAME, SAME, 100) == objection(SAME, SAME, 101) == objection(Figures(), Figures(), None) == ""
    assert "deleted meanwhile" in objection(SAME, Figures(5, 15, 99), 100)
    assert "deleted meanwhile" in objection(SAME, Figures(5, 15, None), 100)
    assert "holds nothing" in objection(SAME, SAME, None)
    assert "being written or deleted" in objection(SAME, Figures(5, 16, 100), 100)


def test_the_settled_moment_stays_in_the_shards_time() -> None:
    """Old shards are counted whole, new ones up to a moment back, future ones not at all."""
    assert settled_before(SHARD, 10 * DAY, 60, 0) == DAY
    assert settled_before(SHARD, DAY, 60, 0) == DAY - 60 * SECOND
    assert settled_before(SHARD, DAY, 60, 2) == DAY - 960 * SECOND
    assert settled_before(SHARD, -DAY, 60, 0) == 0


def test_a_strange_archive_is_refused(tmp_path: Path) -> None:
    """Another shard's files, or a TSM file that is none."""
    path = tmp_path / "1.tar"
    path.write_bytes(shard_archive(7))
    assert held_by(str(path), SHARD).newest_ns == 7
    for data in (shard_archive(7, shard=2), shard_archive(7).replace(b"\x16\xd1\x16\xd1", b"XXXX"), b""):
        path.write_bytes(data)
        with pytest.raises(ArchiveRefused):
            held_by(str(path), SHARD)


@pytest.mark.parametrize(("name", "found"), [("other", "no such bucket"), ("empty", "holds no points")])
def test_a_protected_bucket_must_be_there_with_points(name: str, found: str) -> None:
    """A wrong server, or an empty volume, is not backed up for weeks."""
    buckets = [
        {"name": "full", "organisation": "org", "newest_at": "2026-11-23T07:17:14Z"},
        {"name": "empty", "organisation": "org", "newest_at": None},
        {"name": "other", "organisation": "another", "newest_at": "2026-11-23T07:17:14Z"},
    ]
    require_buckets({"buckets": buckets}, "org", ["full"])
    with pytest.raises(RecoveryError, match=found):
        require_buckets({"buckets": buckets}, "org", ["full", name])


def test_the_last_attempt_is_the_oldest() -> None:
    """An hour's lateness of a writer is within reach of the default settling time."""
    assert 60 * _influxdb_capture.SETTLING_FACTOR ** (_influxdb_capture.SHARD_ATTEMPTS - 1) >= 3600
