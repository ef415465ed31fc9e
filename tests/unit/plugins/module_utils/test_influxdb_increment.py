# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a shard an increment copies, by example; and that a chain always gives back what was there, by property."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_increment as increment
from ansible_collections.platform3.recovery.plugins.module_utils._archive import Entry
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import Deletes
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import (
    MARGIN_SECONDS,
    Bounds,
    Files,
    Increments,
    Listing,
    all_full_because,
    chain_after,
    deletes_asked,
    deletes_record,
    listed,
    parse_listing,
    same,
    since_of,
    uncovered,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import Shard
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Keeping
from hypothesis import given
from hypothesis import strategies as st

BUCKET = "5bbaf279110971d7"
SHARD = Shard(13, BUCKET, "autogen", 0, 86400 * 10**9, 7776000 * 10**9)
PREFIX = f"{BUCKET}/autogen/13"
# As `find` prints it in the container of the server.
LISTING = f"""9
1795430663.6605901830 1193483 wal/{PREFIX}/_00001.wal
1795430663.1605901830 0 wal/{BUCKET}/autogen/30/_00002.wal
1795429722.5000000000 21151793 data/{PREFIX}/000000002-000000002.tsm
0.0000000000 96 data/{PREFIX}/000000002-000000002.tombstone
end
"""
TSM = "000000002-000000002.tsm"
FILES: Files = {TSM: (21151793, 1795429723), "000000002-000000002.tombstone": (96, 0)}


def record(**changes: Any) -> dict[str, Any]:
    """The parent's record of the shard."""
    made = {"id": 13, "bucket_id": BUCKET, "policy": "autogen", "artefact": SHARD.artefact, "files": listed(FILES)}
    return {**made, "archives": ["20261123T051700Z"], "retention_seconds": 1, **changes}


def increments(before: Listing, **changes: Any) -> Increments:
    return Increments({13: record(**changes)}, "", before, lambda _prefix: before)


def test_a_listing_is_read_with_times_as_an_archive_rounds_them() -> None:
    found = parse_listing(LISTING)
    assert (found.instance, found.files) == ("9", {PREFIX: FILES})
    assert found.unflushed == {PREFIX: 1193483, f"{BUCKET}/autogen/30": 0}
    assert parse_listing("\nend\n").instance == "0"


@pytest.mark.parametrize("text", ["", "9\n", LISTING[:-5], LISTING.replace("1193483", "x"), "9\n1.0 1 data/a.tsm\nend"])
def test_a_listing_that_was_cut_off_or_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cut off|not understood"):
        parse_listing(text)


def test_a_shard_is_unchanged_where_files_are_the_same_and_nothing_waits_in_memory() -> None:
    taken = increments(Listing("9", {PREFIX: FILES}, {PREFIX: 0})).unchanged(SHARD)
    assert taken == record(retention_seconds=7776000)
    assert increments(Listing("9", {PREFIX: FILES}, {PREFIX: 1})).unchanged(SHARD) is None
    assert increments(Listing("9", {PREFIX: {**FILES, "b.tsm": (1, 1)}}, {})).unchanged(SHARD) is None
    assert increments(Listing("9", {PREFIX: {TSM: FILES[TSM]}}, {})).unchanged(SHARD) is None
    assert increments(Listing("9", {PREFIX: {**FILES, TSM: (21151793, 1795429725)}}, {})).unchanged(SHARD) is None


@pytest.mark.parametrize("changes", [{"bucket_id": "0" * 16}, {"policy": "other"}, {"artefact": None}])
def test_another_shard_of_the_same_number_is_taken_whole(changes: dict[str, Any]) -> None:
    listing = increments(Listing("9", {PREFIX: FILES}, {}), **changes)
    assert listing.known(SHARD) is None and listing.unchanged(SHARD) is None
    assert Increments().known(SHARD) is None


def test_a_live_file_is_in_the_archive_or_unchanged_since_the_parent() -> None:
    live = {**FILES, "new.tsm": (5, 1795430000)}
    found, why = increments(Listing("9", {PREFIX: live}, {})).live(SHARD, {"new.tsm": (5, 1795430001)})
    assert (found, why) == (live, "")
    for archived in ({}, {"new.tsm": (6, 1795430000)}, {"new.tsm": (5, 1795430002)}):
        assert "new.tsm came while" in increments(Listing("9", {PREFIX: live}, {})).live(SHARD, archived)[1]


def test_a_listing_that_fails_is_an_objection() -> None:
    def fails(_prefix: str) -> Listing:
        raise RecoveryError("PRC-401", "run docker exec", "no such container", "d", "n")

    assert Increments({13: record()}, list_one=fails).live(SHARD, FILES) == ({}, "no such container")


def test_since_lies_a_margin_before_the_servers_clock() -> None:
    assert since_of("2026-11-23T05:17:00Z") == f"2026-11-23T05:16:{60 - MARGIN_SECONDS}Z"


PARENT: dict[str, Any] = {
    "chain": ["a", "b", "c"],
    "content": {"version": "2.7.12", "instance": "9", "chain_began_at": "1970-01-01T00:01:40Z"},
}


def test_bounds_and_instances_end_a_chain() -> None:
    def why(instance: str | None = "9", version: str = "2.7.12", now: float = 200.0, **bounds: Any) -> str:
        return all_full_because(PARENT, instance, version, now, Bounds(**bounds))

    assert why() == why(increments=3) == why(age_seconds=101) == ""
    assert "2 increments, of at most 2" in why(increments=2)
    assert "began 100 s ago" in why(age_seconds=100)
    assert (
        "9 then, 10 now" in why("10")
        and "cannot be listed" in why(None)
        and "here runs 2.7.13" in why(version="2.7.13")
    )
    assert all_full_because({"chain": ["a"], "content": {}}, "9", "2.7.12", 0, Bounds()) != ""


def test_a_set_that_holds_all_of_itself_begins_a_chain() -> None:
    own, older = {"archives": ["d"]}, {"archives": ["a", "d"]}
    assert chain_after(["a", "b"], "d", [own, older]) == ["a", "b", "d"]
    assert chain_after(["a", "b"], "d", [own, {"archives": []}]) == ["d"]
    assert chain_after(["a"], "d", [{"archives": ["a"]}]) == ["a", "d"]


def test_the_container_decides_whether_anything_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def lists(container: str, prefix: str = "") -> Listing:
        if container == "gone":
            raise RecoveryError("PRC-401", "run docker exec", "no such container", "d", "n")
        return parse_listing(LISTING)

    monkeypatch.setattr(increment, "list_container", lists)
    content = {**PARENT["content"], "server_at": "2026-11-23T05:17:00Z", "shards": [record(), {"id": 14}]}
    parent = {"chain": ["a"], "content": content}
    taken, instance, why = increment.prepare(parent, "here", "2.7.12", 200, Bounds())
    assert (list(taken.records), taken.since, instance, why) == ([13], "2026-11-23T05:16:55Z", "9", "")
    for container in ("gone", None):
        taken, instance, why = increment.prepare(parent, container, "2.7.12", 200, Bounds())
        assert (taken.records, instance) == ({}, None) and "cannot be listed" in why
    assert increment.prepare(None, "here", "2.7.12", 200, Bounds())[1:] == ("9", "")
    assert increment.prepare(None, None, "2.7.12", 200, Bounds())[1:] == (None, "")


def test_a_listing_is_tried_again_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increment, "PAUSES_SECONDS", (0, 0))
    answers: list[Any] = [None, LISTING]

    def docker(_arguments: list[str]) -> Any:
        answer = answers.pop(0)
        if answer is None:
            raise RecoveryError("PRC-401", "run docker exec", "exit status 126", "d", "n")
        return subprocess.CompletedProcess([], 0, answer, "")

    monkeypatch.setattr(increment, "docker", docker)
    assert increment.list_container("here").instance == "9"
    answers = [None, None, None, LISTING]
    with pytest.raises(RecoveryError, match="126"):
        increment.list_container("here", PREFIX)
    answers = ["9\n"]
    with pytest.raises(RecoveryError, match=r"PRC-705.*|cut off"):
        increment.list_container("here")


# --- the whole chain -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "compact", "tombstone", "clock", "backup"]), st.integers(-4000, 4000)),
    max_size=40,
)


class Server:
    """A shard's folder, the server's clock, and the backups taken of it. Each file is a new (size, time)."""

    def __init__(self) -> None:
        self.clock, self.number = 1_000_000, 0
        self.live: Files = {}
        self.archives: list[Files] = []
        self.known: tuple[Files, int] | None = None

    def write(self, name: str) -> None:
        self.number += 1
        self.clock += 3
        self.live[name] = self.number, self.clock

    def step(self, kind: str, amount: int) -> None:
        if kind == "write":
            self.write(f"{self.number}.tsm")
        elif kind == "compact":
            for name in sorted(self.live)[: abs(amount) % 4]:
                del self.live[name]
            self.write(f"{self.number}-compacted.tsm")
        elif kind == "tombstone":
            self.write(f"{abs(amount) % 3}.tombstone")
        elif kind == "clock":
            self.clock += amount
        else:
            self.back_up()

    def back_up(self) -> None:
        """As Capture does it: the archive from `since` on, if with the parent's list it covers what is live."""
        if self.known is not None:
            files, server_at = self.known
            archive = {name: file for name, file in self.live.items() if file[1] > server_at - MARGIN_SECONDS}
            if uncovered(self.live, archive, files):
                self.archives = [dict(self.live)]
            else:
                self.archives.append(archive)
        else:
            self.archives = [dict(self.live)]
        self.known = dict(self.live), self.clock

    def restored(self) -> Files:
        assert self.known is not None
        keeping = Keeping(SHARD, {name: size for name, (size, _at) in self.known[0].items()})
        placed: Files = {}
        for archive in reversed(self.archives):
            for name, (size, at) in archive.items():
                if keeping.wants(Entry(f"{PREFIX}/{name}", size, False, 0)):
                    assert name not in placed
                    placed[name] = size, at
        keeping.require_all()
        return placed


@given(STEPS)
def test_a_chain_gives_back_what_was_there_however_files_and_clock_moved(steps: list[tuple[str, int]]) -> None:
    server = Server()
    for kind, amount in steps:
        server.step(kind, amount)
    server.back_up()
    assert server.restored() == server.live


@given(st.lists(st.sampled_from(["write", "compact", "tombstone"]), max_size=20))
def test_with_a_clock_that_only_goes_on_no_shard_is_taken_whole_again(kinds: list[str]) -> None:
    server = Server()
    server.back_up()
    for number, kind in enumerate(kinds):
        server.step(kind, number)
        server.back_up()
    assert len(server.archives) == len(kinds) + 1


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
)
def test_what_is_kept_is_what_is_listed_or_the_restore_ends(files: dict[str, int], held: dict[str, int]) -> None:
    keeping = Keeping(SHARD, files)
    kept = set()
    try:
        for name, size in held.items():
            if keeping.wants(Entry(f"{PREFIX}/{name}", size, False, 0)):
                kept.add(name)
        keeping.require_all()
    except RecoveryError as error:
        assert error.code == "PRC-751"
        assert any(held.get(name) != size for name, size in files.items())
    else:
        assert kept == set(files) and all(held[name] == size for name, size in files.items())


def test_a_folder_and_a_set_without_a_list_keep_all() -> None:
    assert Keeping(SHARD, {}).wants(Entry(PREFIX, 0, True, 0))
    assert Keeping(SHARD, None).wants(Entry(f"{PREFIX}/a.tsm", 5, False, 0))
    Keeping(SHARD, None).require_all()


def test_times_may_differ_by_their_rounding_alone() -> None:
    assert same((1, 5), (1, 6)) and not same((1, 5), (1, 7)) and not same((1, 5), (2, 5)) and not same((1, 5), None)


def test_deletes_between_two_sets_are_those_the_same_server_counted() -> None:
    first = deletes_record(Deletes(3, 1000.0), Deletes(3, 1000.4))
    assert first == {"begun": 3, "ended": 3, "server_started_at": "1970-01-01T00:16:40.000Z"}
    second, restarted = (
        deletes_record(Deletes(4, 1000.2), Deletes(5, 1000.2)),
        deletes_record(Deletes(1, 2000.0), Deletes(1, 2000.0)),
    )
    assert deletes_asked({"deletes": first}, {"deletes": second}) == 2
    assert deletes_asked({"deletes": first}, {"deletes": first}) == 0
    assert deletes_asked({"deletes": second}, {"deletes": restarted}) == 1
    assert deletes_asked({"deletes": first}, {"deletes": None}) == deletes_asked({}, {}) == 0
    assert deletes_record(Deletes(3, 1000.0), Deletes(0, 1010.0)) is None
    assert deletes_record(None, Deletes(0, 1010.0)) is None
