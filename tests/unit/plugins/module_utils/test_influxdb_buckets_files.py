# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bucket comes back by files, and what is compared of its series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_buckets_copy
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import ServerFailed
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import Chosen
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket, settle
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_files import by_files, series_record
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import METADATA, METADATA_KEY

from tests.unit.plugins.module_utils.test_bolt import large_file
from tests.unit.plugins.module_utils.test_influxdb_meta import GONE, OTHER, database, meta

CONTENT = {
    "buckets": [{"id": GONE, "name": "candles"}, {"id": OTHER, "name": "ticks"}],
    "shards": [{"id": 5, "bucket_id": GONE}, {"id": 6, "bucket_id": GONE}, {"id": 4, "bucket_id": OTHER}],
}
CANDLES = Chosen("candles", GONE, "0a" * 8, 0, 0, 9, ((0, 9),))


class Live:
    """A server with some buckets (name -> id) and its metadata of databases."""

    def __init__(self, folder: Path, buckets: dict[str, str], databases: bytes | None) -> None:
        self.api = self
        self.buckets = buckets
        held = {"raft": b"1"} if databases is None else {METADATA_KEY.decode(): databases}
        more = {name.encode(): content for name, content in held.items()}
        self.bolt = large_file(folder / "bolt", {METADATA: more}).read_bytes()

    def bucket(self, name: str) -> str | None:
        """A bucket by its name."""
        return self.buckets.get(name)

    def knows(self, bucket_id: str) -> bool:
        """Whether one has this id."""
        return bucket_id in self.buckets.values()

    def metadata(self, targets: dict[str, Any]) -> None:
        """The bolt file."""
        targets["kv"].write(self.bolt)


@pytest.mark.parametrize(
    ("buckets", "databases", "within", "files"),
    [
        ({}, meta([database(OTHER, {1: [4]})], 1, 4), ("", "", ""), True),
        ({}, meta([database(OTHER, {1: [4]})], 1, 4), ("", "", "2026-11-23T05:17:00+00:00"), True),
        ({}, meta([database(OTHER, {1: [4]})], 1, 4), ("2026-11-23T05:17:00+00:00", "", ""), False),
        ({}, meta([database(OTHER, {1: [4]})], 1, 4), ("", "2026-11-23T05:17:00+00:00", ""), False),
        ({"candles": "5b00a129b6eebc0a"}, meta([], 1, 4), ("", "", ""), False),
        ({"renamed": GONE}, meta([], 1, 4), ("", "", ""), False),
        ({}, meta([database(OTHER, {1: [6]})], 1, 6), ("", "", ""), False),
        ({}, meta([database(OTHER, {}, {1: [6]})], 1, 6), ("", "", ""), False),
        ({}, meta([database(GONE, {})], 1, 6), ("", "", ""), False),
        ({}, None, ("", "", ""), False),
        ({}, b"\x0b", ("", "", ""), False),
    ],
    ids=["gone", "target", "start", "stop", "by hand", "renamed", "shard taken", "deleted shard", "id", "none", "bad"],
)
def test_a_bucket_comes_by_files_where_it_is_gone_and_nothing_of_it_is_taken(
    tmp_path: Path, buckets: dict[str, str], databases: bytes | None, within: tuple[str, str, str], files: bool
) -> None:
    """Else by points, as also where the metadata is not understood."""
    live: Any = Live(tmp_path, buckets, databases)
    assert by_files(live, [CANDLES], CONTENT, within) == ([CANDLES] if files else [])


ROWS = [
    {"result": "count", "table": "0", "_value": "3", "_field": "bid", "_measurement": "ticks", "symbol": "EURUSD"},
    {"result": "count", "table": "1", "_value": "4", "_field": "ask", "_measurement": "ticks", "symbol": ""},
    {"result": "first", "table": "0", "_time": "T1", "_value": "1.5", "_field": "bid", "_measurement": "ticks"},
    {"result": "last", "table": "0", "_time": "T2", "_value": "1.6", "_field": "bid", "_measurement": "ticks"},
]


def test_series_are_the_same_in_whatever_order_and_tables_they_come() -> None:
    """What is no part of a series does not count."""
    found = series_record(ROWS)
    assert (found["series"], found["values"]) == (2, 7)
    assert series_record([{**one, "table": "9", "_start": "T0"} for one in reversed(ROWS)]) == found


@pytest.mark.parametrize("change", [{"_value": "1.7"}, {"_time": "T3"}, {"symbol": "GBPUSD"}, {"result": "first"}])
def test_a_value_a_time_or_a_tag_that_differs_is_told(change: dict[str, str]) -> None:
    """Where the counts are the same too."""
    other = series_record([*ROWS[:-1], {**ROWS[-1], **change}])
    assert other != series_record(ROWS) and other["values"] == 7


LISTED = (
    b'[{"bucketID": "27043be453f85db2", "retentionPolicies": [{"name": "autogen", "duration": 0, "shardGroups": [{'
    b'"startTime": "2026-11-23T00:00:00Z", "endTime": "2026-11-24T00:00:00Z", "shards": [{"id": 5}]}]}]}]'
)


class Busy:
    """A server that cannot write a shard's files just now, so many times."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.asked = refusals, 0

    def metadata(self, targets: dict[str, Any]) -> None:
        """Its one shard."""
        targets["buckets"].write(LISTED)

    def stream(self, _path: str, _target: object) -> None:
        """A shard's archive."""
        self.asked += 1
        if self.asked <= self.refusals:
            raise ServerFailed("PRC-703", "ask", "status 500 snapshots disabled", "", "")


def test_a_shard_that_cannot_be_written_behind_a_restart_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while."""
    monkeypatch.setattr(_influxdb_buckets_copy, "PAUSE_SECONDS", 0.0)
    busy: Any = Busy(3)
    settle(Bucket(busy, "0a" * 8, GONE), 0, 2**62)
    assert busy.asked == 4
    monkeypatch.setattr(_influxdb_buckets_copy, "AGAIN_SECONDS", 0.0)
    with pytest.raises(ServerFailed, match="snapshots disabled"):
        settle(Bucket(Busy(3), "0a" * 8, GONE), 0, 2**62)  # type: ignore[arg-type]
