# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped log: which generation is the newest, how far it reaches, and where a torn end differs from damage."""

from __future__ import annotations

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import (
    ShippedLog,
    base_time,
    is_newer,
    is_torn,
    last_time,
    newest_log,
    parse_check,
    parse_manifest,
)
from hypothesis import given
from hypothesis import strategies as st

# As Redis 8.0.2 wrote it, rewrites with aof-disable-auto-gc.
MANIFEST = """\
file appendonly.aof.4.base.rdb seq 4 type b
file appendonly.aof.3.incr.aof seq 3 type h startoffset 2
file appendonly.aof.3.base.rdb seq 3 type h
file appendonly.aof.4.incr.aof seq 4 type i startoffset 7
file appendonly.aof.5.incr.aof seq 5 type i startoffset 9
"""
HEAD = b"REDIS0012\xfa\tredis-ver\x058.0.2\xfa\nredis-bits\xc0@\xfa\x05ctime\xc24\x19\x04k\xfa\x08used-mem\xc2\0"
CHECKED = """Start checking Old-Style AOF
0x              8f: Expected to read 6 bytes, got 5 bytes
AOF analyzed: filename=u.aof, size=148, ok_up_to=66, ok_up_to_line=32, diff=82
AOF u.aof is not valid. Use the --fix option to try fixing it.
"""


def command(*words: bytes) -> bytes:
    """A command as the log holds it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


TRANSACTION = command(b"MULTI") + command(b"SET", b"x", b"1") + command(b"SET", b"y", b"2")


def test_a_manifest_gives_the_base_and_its_increments_without_history() -> None:
    found = parse_manifest(MANIFEST)
    assert found.files == ("appendonly.aof.4.base.rdb", "appendonly.aof.4.incr.aof", "appendonly.aof.5.incr.aof")
    assert found.lines == (
        "file appendonly.aof.4.base.rdb seq 4 type b",
        "file appendonly.aof.4.incr.aof seq 4 type i",
        "file appendonly.aof.5.incr.aof seq 5 type i",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file a.1.incr.aof seq 1 type i\n",
        "file a.1.base.rdb seq 1 type b\nfile a.2.base.rdb seq 2 type b\n",
        "file ../a.1.base.rdb seq 1 type b\n",
        "file a.1.base.rdb seq 1\n",
        "file a.1.base.rdb seq x type b\n",
        "file a.1.base.rdb seq 1 type z\n",
        "file a.1.base.rdb seq 1 type b\nfile a.2.incr.aof seq 2 type i\nfile a.1.incr.aof seq 1 type i\n",
        'file "a.1.base.rdb seq 1 type b\n',
    ],
)
def test_a_manifest_that_redis_would_not_have_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_manifest(text)


def listing(**lives: tuple[int, int]) -> str:
    """LOOK's answer: of each life its epoch and the time of its newest command."""
    parts = []
    for name, (epoch, at) in lives.items():
        parts += [f"life {name} {epoch}", "manifest 1 file a.1.base.rdb seq 1 type b", "file a.1.base.rdb 10"]
        parts += [f"time {at}"]
    return "\n".join(parts)


def test_the_life_of_the_highest_epoch_is_the_newest_not_the_one_of_the_newest_time() -> None:
    """After a rollback to an hour ago the newest commands are those that were rolled back."""
    found = newest_log(listing(initial=(9, 1000), r1=(7, 5000), r2=(8, 4000)))
    assert found is not None and (found.life, found.at, found.bytes) == ("initial", 1000, 10)


def test_a_life_of_which_nothing_was_shipped_whole_does_not_count() -> None:
    found = newest_log(f"life r1 12\nfile a.1.base.rdb 5\n{listing(initial=(3, 1000))}\n")
    assert found is not None and found.life == "initial"
    assert newest_log("life r1 12\nfile a.1.base.rdb 5\n") is None
    assert newest_log("") is None


def test_files_that_are_not_there_are_named_and_the_base_tells_the_time_where_no_command_does() -> None:
    found = newest_log(
        f"life r1 2\nmanifest 4 {MANIFEST.splitlines()[0]}\nmanifest 4 {MANIFEST.splitlines()[3]}\n"
        f"file appendonly.aof.4.base.rdb 86\nbase {HEAD.hex()}\n"
    )
    assert found is not None
    assert (found.number, found.missing) == (4, ("appendonly.aof.4.incr.aof",))
    assert found.at == found.base_at == 0x6B041934
    assert found.recovery_point == "2026-11-23T10:45:08.000Z"


def test_the_log_must_reach_into_a_later_second_than_the_snapshot() -> None:
    log = ShippedLog("initial", 1, parse_manifest(MANIFEST), 0, 1795430709, None, ())
    assert is_newer(log, "2026-11-23T10:45:08.999Z")
    assert not is_newer(log, "2026-11-23T10:45:09.000Z")
    assert not is_newer(log, "2026-11-23T10:45:09.700Z")


def test_times_are_read_where_a_remark_stands_only() -> None:
    assert last_time(b"#TS:5\r\n" + command(b"SET", b"a", b"#TS:9\r")) == 5
    assert last_time(command(b"SET", b"a", b"b") + b"#TS:7\r\n") == 7
    assert last_time(b"") is None
    assert base_time(b"REDIS0012") is None
    assert parse_check(CHECKED) == (148, 66)
    assert parse_check("no such file") is None


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_every_beginning_of_a_last_command_is_torn(words: list[list[bytes]], data: st.DataObject) -> None:
    whole = command(*words[0])
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert is_torn(whole[:cut]) or b"\r\n*" in whole or b"\r\n#" in whole


@given(st.integers(0, len(TRANSACTION)))
def test_every_beginning_of_a_transaction_is_torn(cut: int) -> None:
    assert is_torn(TRANSACTION[:cut])


@given(st.integers(0, 30), st.integers(0, 255))
def test_a_changed_byte_before_more_commands_is_damage(at: int, byte: int) -> None:
    """Whatever the byte becomes: a log of which the check stops there is not thrown away from there on."""
    first, more = command(b"SET", b"key", b"value"), command(b"SET", b"other", b"1") * 3 + b"#TS:1795430709\r\n"
    damaged = first[:at] + bytes([byte]) + first[at + 1 :]
    if damaged != first:
        assert not is_torn(damaged + more)


@pytest.mark.parametrize(
    "rest",
    [
        b"\0" * 50,
        b"*3\r\n$3\r\nSET\r\n$9999\r\nkey\r\n" + command(b"SET", b"a", b"1"),
        command(b"SET", b"a", b"1"),
        command(b"EXEC"),
        TRANSACTION + command(b"EXEX") + b"#TS:1795430709\r\n" + command(b"SET", b"a", b"1"),
        TRANSACTION + TRANSACTION,
        b"#TS:" + b"1" * 100,
    ],
)
def test_what_no_interrupted_write_leaves_is_damage(rest: bytes) -> None:
    assert not is_torn(rest)
