# SPDX-License-Identifier: GPL-3.0-or-later
"""What emptied Redis is found in a log of any commands, at its second, and nothing else is."""

from __future__ import annotations

import io
import itertools
import tracemalloc

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_find import (
    CHUNK_BYTES,
    KEPT_BYTES,
    Sought,
    events,
    kind_of,
    sought,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from hypothesis import given, settings
from hypothesis import strategies as st

START = 1795411000
SOUGHT = ("DEL", "UNLINK", "FLUSHALL", "FLUSHDB", "SWAPDB", "SELECT")


def command(*words: bytes) -> bytes:
    """A command as the log holds it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def remark(second: int) -> bytes:
    """The log's remark of a second."""
    return b"#TS:%d\r\n" % second


# Values that look like a log of their own are among them: they are data, and must not be taken for commands.
TEXT = st.one_of(
    st.binary(max_size=80), st.just(remark(5) + command(b"FLUSHALL")), st.just(b"\r\n*1\r\n$8\r\nFLUSHALL")
)
NAMES = st.sampled_from([b"SET", b"set", b"DEL", b"unlink", b"FLUSHALL", b"flushdb", b"SWAPDB", b"SELECT", b"MULTI"])
COMMANDS = st.tuples(NAMES, st.lists(TEXT, max_size=4)).map(lambda one: (one[0], *one[1]))
LOG = st.lists(st.tuples(st.integers(0, 2), COMMANDS), max_size=30)


@settings(deadline=None)
@given(LOG, st.integers(1, 60), st.integers(0, 2000))
def test_every_log_gives_exactly_its_own_commands_however_it_is_read_and_cut(
    log: list[tuple[int, tuple[bytes, ...]]], chunk: int, cut: int
) -> None:
    text, second, expected = b"", START, []
    for step, words in log:
        second += step
        if step:
            text += remark(second)
        if words[0].upper().decode() in SOUGHT:
            kept = tuple(word[:KEPT_BYTES] for word in words[1:])
            expected.append(Sought(second, words[0].upper().decode(), kept, len(text)))
        text += command(*words)
    stream = io.BytesIO(text)
    assert list(sought(lambda size: stream.read(chunk), START)) == expected
    # A log that ends anywhere gives a beginning of the same.
    torn = io.BytesIO(text[: min(cut, len(text))])
    found = list(sought(torn.read, START))
    assert found == expected[: len(found)]


def test_a_huge_value_is_passed_over_without_being_held() -> None:
    size = 40 * CHUNK_BYTES
    whole = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size,
        *[b"x" * CHUNK_BYTES] * 40,
        b"\r\n" + command(b"FLUSHALL"),
    ]
    pieces = iter(whole)
    tracemalloc.start()
    found = list(sought(lambda _size: next(pieces, b""), 7))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.name for one in found] == ["FLUSHALL"] and most < 8 * CHUNK_BYTES


@pytest.mark.parametrize(
    "text", [b"REDIS0012\r\n", b"*1\r\n+OK\r\n", b"*x\r\n", b"*2\r\n$3\r\nSETxx$1\r\n", b"z" * 5000]
)
def test_what_is_no_log_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        list(sought(io.BytesIO(text).read))


def found(*parts: bytes, start: int = START, end: int = START + 10, many: int = 2) -> list[dict[str, object]]:
    """The events of a log."""
    return list(events(sought(io.BytesIO(b"".join(parts)).read), start, end, many))


def test_what_emptied_something_is_told_with_its_second_and_database() -> None:
    log = [
        remark(START - 1) + command(b"FLUSHALL"),
        remark(START) + command(b"SELECT", b"1") + command(b"flushdb", b"ASYNC"),
        remark(START + 1) + command(b"SWAPDB", b"0", b"1"),
        remark(START + 10) + command(b"FLUSHALL"),
        remark(START + 11) + command(b"FLUSHALL"),
    ]
    told = found(*log)
    assert [(one["at"], one["command"], one["database"]) for one in told] == [
        (to_iso(START), "FLUSHDB", 1),
        (to_iso(START + 1), "SWAPDB", None),
        (to_iso(START + 10), "FLUSHALL", None),
    ]
    assert told[0]["arguments"] == ["ASYNC"] and told[1]["arguments"] == ["0", "1"]


def test_many_deletions_of_one_second_count_together_and_few_do_not() -> None:
    one_by_one = b"".join(command(b"DEL", b"session:%d" % number) for number in range(3))
    log = [
        remark(START) + command(b"SELECT", b"0") + one_by_one + command(b"UNLINK", b"price:1", b"plain"),
        remark(START + 1) + command(b"DEL", b"a") + command(b"SELECT", b"1") + command(b"DEL", b"b", b"c"),
    ]
    told = found(*log)
    assert len(told) == 1 and (told[0]["keys"], told[0]["commands"], told[0]["database"]) == (5, 4, 0)
    assert told[0]["kinds"] == ["session:* (3)", "price:* (1)", "(keys without a colon) (1)"]


def test_what_stands_behind_the_searched_time_is_not_read() -> None:
    reads = itertools.count()

    def read(_size: int) -> bytes:
        number = next(reads)
        assert number < 3, "it reads on"
        return remark(START + number * 20) + command(b"FLUSHALL")

    assert len(list(events(sought(read), START, START + 10, 1))) == 1


def test_of_a_key_its_kind_alone_is_told() -> None:
    assert kind_of(b"session:4f3c9a") == "session:*" and "4f3c9a" not in kind_of(b"4f3c9a")
