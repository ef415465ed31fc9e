# SPDX-License-Identifier: GPL-3.0-or-later
"""The second copy by its record and its index: how late it is, what a recovery needs of it, and what is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import (
    assemble,
    earliest,
    fingerprints,
    key_problems,
    off_machine_segments,
    parse_fingerprints,
    parse_index,
    parse_state,
    points,
    problems,
    repository_of,
    require_keys,
    set_paths,
    status_32110,
    wal_from,
    wanted_growing,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso
from hypothesis import given
from hypothesis import strategies as st

NOW = parse_iso("2026-11-23T05:17:00Z")
START = "000000010000000200000024"


def lane(started: str | None = "2026-11-23T05:16:55Z", **more: Any) -> dict[str, Any]:
    return {"good_started_at": started, "ok": True, "error": None, **more}


def state(**changes: Any) -> dict[str, Any]:
    return {
        "stream": lane(log=True, segments=[f"wal-stream/initial/{START}"]),
        "store": lane("2026-11-23T05:16:50Z"),
        "lock": "COMPLIANCE 30 days",
        "place": "https://s3.example.com/copy",
        **changes,
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"stream": 3}', '{"store": "x"}'])
def test_what_is_no_record_of_the_shipper_is_none(text: str) -> None:
    assert parse_state(text) is None


def test_a_record_is_read_as_it_was_written() -> None:
    assert parse_state(json.dumps(state())) == state()
    assert off_machine_segments(state()) == [START]
    assert off_machine_segments(None) == []


def test_a_copy_that_is_late_failing_or_silent_is_a_problem() -> None:
    assert problems(state(), NOW, 60) == []
    assert "no record" in problems(None, NOW, 60)[0]
    late = problems(state(stream=lane("2026-11-23T05:10:00Z", error="connection refused")), NOW, 60)
    assert late == ["the second copy lacks WAL and Redis' log of the last 07:00: connection refused"]
    never = problems(state(store={"error": None}), NOW, 60)
    assert never == [
        "the second copy never had backup sets and pgBackRest's repository whole: does its shipper (second-copy) run?"
    ]


def test_each_component_comes_back_to_what_its_lane_carried() -> None:
    stored = {
        "postgresql": "2026-11-23T05:16:59Z",
        "redis": "2026-11-23T05:16:58Z",
        "influxdb": "2026-11-23T05:16:58Z",
        "configuration": "2026-11-23T04:00:00Z",
        "other": None,
    }
    assert points(stored, state()) == {
        "postgresql": "2026-11-23T05:16:55Z",
        "redis": "2026-11-23T05:16:55Z",
        "influxdb": "2026-11-23T05:16:50Z",
        "configuration": "2026-11-23T04:00:00Z",
        "other": None,
    }
    without_log = points(stored, state(stream=lane(log=False)))
    assert without_log["redis"] == "2026-11-23T05:16:50Z"
    assert set(points(stored, state(store={})).values()) == {None}
    assert set(points(stored, None).values()) == {None}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4))
def test_the_earliest_is_one_of_them_and_none_is_earlier(seconds: list[int]) -> None:
    import datetime

    texts = [datetime.datetime.fromtimestamp(one, datetime.UTC).isoformat() for one in seconds]
    found = earliest(*texts)
    assert found is not None and parse_iso(found) == min(seconds)
    assert earliest(*texts, None) is None


def test_the_rule_holds_only_where_all_of_it_does() -> None:
    good = status_32110(state(), NOW, 60, 0, 1)
    assert good["holds"] and good["sentence"] == ("3-2-1-1-0 holds: https://s3.example.com/copy, COMPLIANCE 30 days")
    for wrong, figures in (
        (status_32110(None, NOW, 60, 0, 1), "2-1-0-0-0"),
        (status_32110(state(stream=lane("2026-11-23T05:10:00Z")), NOW, 60, 0, 1), "2-1-0-0-0"),
        (status_32110(state(lock=None), NOW, 60, 0, 1), "3-2-1-0-0"),
        (status_32110(state(), NOW, 60, 2, 1), "3-2-1-1-2"),
        (status_32110(state(), NOW, 60, 0, 0), "3-2-1-1-0"),
    ):
        assert not wrong["holds"] and f"does NOT hold ({figures})" in wrong["sentence"]


def test_wal_is_wanted_from_the_base_backup_on_of_any_timeline() -> None:
    names = [f"a/{START[:8]}0000000200000023.zst", f"a/{START}.zst", "b/000000020000000200000025-0123.lz4"]
    assert wal_from([*names, "00000002.history"], START) == [*names[1:], "00000002.history"]
    assert wal_from(["0000000100000001/", "0000000100000002/", "0000000200000003"], START) == [
        "0000000100000002/",
        "0000000200000003",
    ]


def test_a_set_names_its_files_its_base_backups_and_its_wal() -> None:
    base = {"stanza": "main", "label": "b", "depends_on": ["a"], "archive_id": "17-1", "wal_start": START}
    manifest = {
        "backup_set": "20261123T051700Z",
        "components": {"postgresql": {"pgbackrest": base}},
        "artefacts": [{"path": "redis/dump.rdb"}],
    }
    found = repository_of(manifest)
    assert found is not None and found.labels == ("a", "b")
    assert "pgbackrest/archive/main/archive.info.copy" in found.infos
    assert "20261123T051700Z/redis/dump.rdb" in set_paths([manifest])
    assert "20261123T051700Z/backup_manifest.json.sig" in set_paths([manifest])
    assert repository_of({"components": {}}) is None


def packed(files: list[tuple[str, int, list[str], bytes]]) -> bytes:
    """An index as the shipper writes it."""
    head = {
        "at": "2026-11-23T05:16:55Z",
        "environment_id": "lab-1",
        "folders": {"aof": [999, 999, 488]},
        "files": [
            {"path": path, "bytes": size, "modified": 1.5, "chunks": chunks, "tail_bytes": len(tail)}
            for path, size, chunks, tail in files
        ],
    }
    return json.dumps(head).encode() + b"\n" + b"".join(tail for _path, _size, _chunks, tail in files)


def log_of(life: str, epoch: str, number: int) -> list[tuple[str, int, list[str], bytes]]:
    base, one = f"appendonly.aof.{number}.base.rdb", f"appendonly.aof.{number}.incr.aof"
    manifest = f"file {base} seq {number} type b\nfile {one} seq {number} type i\n".encode()
    return [
        (f"aof/{life}/{number}.manifest", len(manifest), [], manifest),
        (f"aof/{life}/{one}", 4, [], b"PING"),
        (f"aof/{life}/epoch", 2, [], epoch.encode()),
    ]


def test_of_the_log_the_newest_generation_of_the_newest_life_is_wanted() -> None:
    partial = f"wal-stream/initial/{START}.partial"
    older = "wal-stream/initial/000000010000000200000003.partial"
    rows = [("fence/epoch", 1, [], b"7"), (partial, 9, [], b"wal"), (older, 9, [], b"wal")]
    rows += log_of("initial", "9", 3) + log_of("r1-10", "10", 1) + log_of("r1-10", "10", 2)
    files, bases = wanted_growing(parse_index(packed(rows)), START)
    assert bases == ["aof/r1-10/appendonly.aof.2.base.rdb"]
    assert {one.path for one in files} == {
        "fence/epoch",
        partial,
        "aof/r1-10/2.manifest",
        "aof/r1-10/appendonly.aof.2.incr.aof",
        "aof/r1-10/epoch",
    }
    files, bases = wanted_growing(parse_index(packed(rows)), START, every_generation=True)
    assert len(bases) == 3 and {one.path for one in files} == {path for path, *_rest in rows if path != older}


@given(
    content=st.binary(max_size=400),
    zeros=st.integers(0, 50),
    chunk=st.integers(1, 60),
)
def test_a_file_that_was_cut_is_put_together_again(content: bytes, zeros: int, chunk: int) -> None:
    whole = content.rstrip(b"\0")
    cut = max(0, (len(whole) - 1) // chunk) * chunk
    parts = {hashlib.sha256(p).hexdigest(): p for p in (whole[at : at + chunk] for at in range(0, cut, chunk))}
    keys = [hashlib.sha256(whole[at : at + chunk]).hexdigest() for at in range(0, cut, chunk)]
    size = len(whole) + zeros
    (file,) = parse_index(packed([("aof/x/y", size, keys, whole[cut:])])).files
    assert assemble(file, parts) == whole.ljust(size, b"\0")
    if keys:
        with pytest.raises(ValueError, match="missing"):
            assemble(file, {})
        with pytest.raises(ValueError, match="damaged"):
            assemble(file, {**parts, keys[0]: b"other bytes"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b"[]\n",
        packed([("../x", 1, [], b"x")]),
        packed([("/x", 1, [], b"x")]),
        packed([("a/./x", 1, [], b"x")]),
        packed([("a/x", 1, ["../../x"], b"x")]),
        packed([("a/x", 1, [], b"xyz")])[:-1],
    ],
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_index(data)


KEYS = {"signing_key": "a key\n", "second_copy_password": "one", "second_copy_salt": "two"}


def test_a_key_in_use_that_is_not_kept_off_the_machine_ends_a_backup() -> None:
    require_keys(fingerprints(KEYS), KEYS)
    require_keys({}, KEYS)  # nothing was ever kept there: the catalogue says so
    with pytest.raises(RecoveryError) as refused:
        require_keys(fingerprints(KEYS), {**KEYS, "signing_key": "rotated"})
    assert refused.value.code == "PRC-395" and "signing_key" in refused.value.found
    assert "rotated" not in refused.value.sentence()
    assert parse_fingerprints(json.dumps({"fingerprints": fingerprints(KEYS)})) == fingerprints(KEYS)
    assert [parse_fingerprints(text) for text in ("", "[]", "{}", '{"fingerprints": 3}')] == [{}] * 4


def test_what_nobody_has_looked_for_in_a_year_is_named() -> None:
    kept = [{"name": name, "place": "safe", "date": "2026-01-01"} for name in ("s3_key", "age_identities")]
    assert key_problems(fingerprints(KEYS), kept, NOW) == []
    assert len(key_problems({}, kept, NOW)) == 1
    old = [{**kept[0], "date": "2025-01-01"}, {**kept[1], "place": ""}]
    said = key_problems(fingerprints(KEYS), old, NOW)
    assert "s3_key" in said[0] and "for a year" in said[0] and "age_identities" in said[1]
