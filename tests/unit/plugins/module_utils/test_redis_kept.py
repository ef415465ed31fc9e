# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys kept aside: what is written is read as it was, what is not whole is told, and memory is bounded."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import (
    Kept,
    add_kinds,
    by_database,
    decode,
    empty_counts,
    encode,
    encode_end,
    in_all,
    rounds,
    told_kinds,
)

KEYS = [
    Kept(0, b"session:1", 1_764_000_000_000, b"\x00\nbinary\n{}\xff"),
    Kept(0, b"\xff\xfe not text\n", 0, b""),
    Kept(3, b"gone", 0, None),
    Kept(3, b"big", 0, b"x" * 3_000_000),
]
FILE = b"".join(encode(one) for one in KEYS) + encode_end(len(KEYS))


def test_keys_are_read_as_they_were_written() -> None:
    assert list(decode(io.BytesIO(FILE).read)) == KEYS
    # In pieces of any size, too.
    stream = io.BytesIO(FILE)
    assert list(decode(lambda _size: stream.read(7919))) == KEYS
    assert [one.was_there for one in KEYS] == [True, True, False, True]


def test_values_are_passed_over_where_they_are_not_wanted() -> None:
    found = list(decode(io.BytesIO(FILE).read, dumps=False))
    assert [one.dump for one in found] == [b"", b"", None, b""]
    assert [(one.db, one.key, one.at) for one in found] == [(one.db, one.key, one.at) for one in KEYS]


@pytest.mark.parametrize("dumps", [True, False])
@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b"", "ends before"),
        (FILE[:-12], "ends before"),
        (FILE[:40], "ends before"),
        (encode(KEYS[0]) + encode_end(2), "2 were written"),
        (FILE.replace(b"{}\xff\n", b"{}\xff "), "does not end"),
        (b"[1]\n", "what follows key 0"),
        (b'{"db": 0}\n', "what follows key 0"),
        (b"not JSON\n", "Expecting value"),
    ],
)
def test_a_file_that_is_not_whole_is_told(damaged: bytes, said: str, dumps: bool) -> None:
    with pytest.raises(ValueError, match=said):
        list(decode(io.BytesIO(damaged).read, dumps))


def test_rounds_are_bounded_by_number_and_by_bytes_and_lose_nothing() -> None:
    sizes = [1, 2, 900, 3, 5, 5, 5, 1]
    found = list(rounds(sizes, lambda size: size, keys=3, size=10))
    assert found == [[1, 2], [900], [3, 5], [5, 5], [1]]
    assert list(rounds([], lambda size: size)) == []
    assert [len(some) for some in rounds([0] * 7, lambda size: size, keys=3)] == [3, 3, 1]


def test_a_round_of_kept_keys_is_of_one_database() -> None:
    found = list(by_database(KEYS, keys=2))
    assert [[one.key for one in some] for some in found] == [[KEYS[0].key, KEYS[1].key], [b"gone", b"big"]]
    assert [len(some) for some in by_database(KEYS, size=5)] == [1, 1, 1, 1]


def test_kinds_are_told_without_what_may_be_a_secret() -> None:
    kinds: Counter[str] = Counter()
    add_kinds(kinds, [b"session:secret", b"session:other", b"2f1c9a-secret", b"averyveryverylongsecretname:x"])
    told = told_kinds({1: kinds, 2: Counter()})
    assert told == "database 1: session:* (2), (keys without a colon) (1), (keys with a long name) (1)"
    assert told_kinds({0: Counter()}) == "no key at all"
    many = Counter({f"k{n}:*": 1 for n in range(20)})
    assert told_kinds({0: many}).endswith(" and others")


def test_counts_are_summed_over_the_databases() -> None:
    one = {**empty_counts(), "restored": 3, "added": 1}
    assert in_all({"0": one, "1": {**one, "removed": 2}}) == {**empty_counts(), "restored": 6, "added": 2, "removed": 2}
