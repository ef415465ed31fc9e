# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket's id is replaced in the metadata, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_bucket_ids
from ansible_collections.platform3.recovery.plugins.module_utils._bolt import BoltFile, NotBolt
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_bucket_ids import (
    BUCKETS,
    give_ids,
    rename_in,
    renamed,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import METADATA as OF_DATABASES
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import METADATA_KEY, NotMeta, databases
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import AUTHORISATIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.test_bolt import large_file, require_sound
from tests.unit.plugins.module_utils.test_influxdb_meta import database, meta

GIVEN, OLD, OTHER = "5b00a129b6eebc0a", "27043be453f85db2", "a4a5fc4f48a049ea"
IDS = {GIVEN: OLD}
TEXT = st.lists(st.one_of(st.binary(max_size=9), st.sampled_from([GIVEN.encode(), OTHER.encode()])), max_size=5).map(
    b"".join
)


@given(st.dictionaries(TEXT, TEXT, max_size=9))
def test_an_id_is_replaced_wherever_it_stands_and_the_way_back_is_the_same(items: dict[bytes, bytes]) -> None:
    """Keys and values; nothing is lost, and of the id that the server gave nothing is left."""
    done = renamed(items, IDS)
    assert len(done) == len(items) and GIVEN.encode() not in b" ".join([*done, *done.values()])
    assert renamed(done, {OLD: GIVEN}) == items


def test_ids_that_become_one_are_refused() -> None:
    """The old id is there already."""
    with pytest.raises(NotBolt, match=OLD):
        renamed({GIVEN.encode(): b"1", OLD.encode(): b"2"}, IDS)


METADATA = {
    BUCKETS: {GIVEN.encode(): b'{"id":"5b00a129b6eebc0a"}', OTHER.encode(): b"{}"},
    AUTHORISATIONS: {b"11b47c4627314000": b'{"permissions":[{"id":"27043be453f85db2"}]}'},
    "bucketindexv1": {b"24667e072af09e45candles": GIVEN.encode(), b"24667e072af09e45ticks": OTHER.encode()},
    "v1_tsm1_metadata": {b"meta.db": b"\x08\x00*8\n\x10" + GIVEN.encode() + b"\x12\x07autogen" * 900},
}


MORE = st.dictionaries(st.sampled_from(["sessionsv1", "tasksv1"]), st.dictionaries(TEXT.filter(bool), TEXT, max_size=9))


@settings(max_examples=20, deadline=None)
@given(MORE)
def test_the_file_holds_the_same_under_the_other_id(more: dict[str, dict[bytes, bytes]]) -> None:
    """Every bucket as many entries as before; a second time there is nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        path = large_file(Path(folder) / "bolt", {**METADATA, **more})
        assert rename_in(str(path), IDS) == (True, {BUCKETS: {OLD, OTHER}, AUTHORISATIONS: {"11b47c4627314000"}})
        require_sound(path)
        bolt = BoltFile(str(path))
        assert {name: bolt.bucket(name) for name in bolt.names()} == {
            name: renamed(items, IDS) for name, items in {**METADATA, **more}.items()
        }
        written = path.read_bytes()
        assert rename_in(str(path), IDS)[0] is False and path.read_bytes() == written


def test_metadata_that_is_not_understood_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """A bucket within a bucket could hold the id."""
    path = large_file(tmp_path / "bolt", METADATA, b"nested")
    written = path.read_bytes()
    with pytest.raises(NotBolt, match="holds buckets"):
        rename_in(str(path), IDS)
    assert path.read_bytes() == written


def test_what_the_server_must_know_of_files_is_in_the_same_file(tmp_path: Path) -> None:
    """The database of the id that the server gave gets the old one, and the shards; a second time it has them."""
    live = {METADATA_KEY: meta([database(GIVEN, {}), database(OTHER, {1: [1]})], 1, 1)}
    path = large_file(tmp_path / "bolt", {**METADATA, OF_DATABASES: live})
    wanted = database(OLD, {2: [5]})
    assert rename_in(str(path), IDS, [wanted])[0] is True
    require_sound(path)
    found = databases(BoltFile(str(path)).bucket(OF_DATABASES)[METADATA_KEY])
    assert found == {OLD: wanted, OTHER: database(OTHER, {1: [1]})}
    assert rename_in(str(path), IDS, [wanted])[0] is False


def test_a_shard_that_another_bucket_has_by_now_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """And so is metadata that names no databases."""
    live = {METADATA_KEY: meta([database(GIVEN, {}), database(OTHER, {1: [5]})], 1, 5)}
    path = large_file(tmp_path / "bolt", {**METADATA, OF_DATABASES: live})
    written = path.read_bytes()
    with pytest.raises(NotMeta, match="shard 5"):
        rename_in(str(path), IDS, [database(OLD, {2: [5]})])
    assert path.read_bytes() == written
    other = large_file(tmp_path / "other", {**METADATA, OF_DATABASES: {b"raft": b"1"}})
    with pytest.raises(NotBolt, match=r"holds no meta\.db"):
        rename_in(str(other), IDS, [database(OLD, {2: [5]})])


class Stage:
    """A service, a volume and a server, of which one thing fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
        self.did: list[str] = []
        self.fails = fails
        monkeypatch.setattr(_influxdb_bucket_ids, "exchange", self.exchange)
        monkeypatch.setattr(_influxdb_bucket_ids, "put_in_place", lambda _worker: self.did.append("put back"))

    def exchange(self, _worker: object, ids: dict[str, str], _databases: object) -> tuple[bool, dict[str, set[str]]]:
        """The metadata's exchange."""
        if self.fails == "exchange":
            raise NotBolt("page 7 is damaged")
        self.did.append(f"exchange {ids[GIVEN]}")
        return True, {BUCKETS: {OLD}, AUTHORISATIONS: {"1"}}

    def take_away(self) -> None:
        """The service's end."""
        self.did.append("take away")

    def start(self, _api: object) -> None:
        """The service's start."""
        self.did.append("start")
        if self.fails == "start" and self.did.count("start") == 1:
            raise RecoveryError("PRC-704", "wait", "it ended with status 1", "", "")

    def ids(self, _path: str, _key: str) -> list[str]:
        """The server's buckets."""
        return [OTHER] if self.fails == "bucket" else [OTHER, OLD]

    def authorisations(self) -> list[dict[str, Any]]:
        """The server's tokens."""
        return [] if self.fails == "token" else [{"id": "1"}]

    def give(self, files: Arriving | None = None) -> list[dict[str, Any]]:
        """give_ids on the stage."""
        fake: Any = self
        return give_ids(fake, fake, fake, IDS, files)


class Arriving:
    """Files that come in the stop."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def databases(self) -> list[bytes]:
        """What the metadata is to know."""
        if self.stage.fails == "databases":
            raise NotBolt("the set's metadata is damaged")
        return []

    def move_in(self) -> None:
        """They come."""
        self.stage.did.append("move in")

    def move_out(self) -> None:
        """They go."""
        self.stage.did.append("move out")

    def checks(self, _api: object) -> list[dict[str, Any]]:
        """Whether they are there."""
        return [{"name": "values", "expected": 7, "found": 6, "ok": self.stage.fails != "values"}]


def test_the_server_is_away_while_the_metadata_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every bucket and token is proven."""
    stage = Stage(monkeypatch, "")
    assert [one["ok"] for one in stage.give()] == [True, True]
    assert stage.did == ["take away", f"exchange {OLD}", "start"]


def test_files_are_in_place_before_the_metadata_that_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is started in between serves what it did; what they hold is proven too."""
    stage = Stage(monkeypatch, "")
    assert [one["ok"] for one in stage.give(Arriving(stage))] == [True, True, True]
    assert stage.did == ["take away", "move in", f"exchange {OLD}", "start"]


@pytest.mark.parametrize(
    ("fails", "did"),
    [
        ("databases", []),
        ("exchange", ["move in"]),
        ("start", ["move in", f"exchange {OLD}", "start"]),
        ("token", ["move in", f"exchange {OLD}", "start"]),
        ("values", ["move in", f"exchange {OLD}", "start"]),
    ],
)
def test_files_that_do_not_prove_themselves_go_again(
    monkeypatch: pytest.MonkeyPatch, fails: str, did: list[str]
) -> None:
    """Behind the metadata that knew them."""
    stage = Stage(monkeypatch, fails)
    with pytest.raises(RecoveryError) as caught:
        stage.give(Arriving(stage))
    assert caught.value.code == "PRC-781" and "no file is in place" in caught.value.data
    back = ["put back"] if "start" in did else []
    assert stage.did == ["take away", *did, "take away", *back, "move out", "start"]


@pytest.mark.parametrize(
    ("fails", "words"), [("start", "ended with status 1"), ("bucket", OLD), ("token", "tokens behind the restart")]
)
def test_what_does_not_prove_itself_is_put_back(monkeypatch: pytest.MonkeyPatch, fails: str, words: str) -> None:
    """The server serves again with the metadata that it had."""
    stage = Stage(monkeypatch, fails)
    with pytest.raises(RecoveryError, match=words) as caught:
        stage.give()
    assert caught.value.code == "PRC-780" and "with the metadata that it had" in caught.value.data
    assert stage.did == ["take away", f"exchange {OLD}", "start", "take away", "put back", "start"]


def test_metadata_that_cannot_be_written_leaves_the_server_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to put back."""
    stage = Stage(monkeypatch, "exchange")
    with pytest.raises(RecoveryError, match="page 7 is damaged"):
        stage.give()
    assert stage.did == ["take away", "take away", "start"]
