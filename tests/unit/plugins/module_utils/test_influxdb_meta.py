# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of a backup set comes into the metadata of the live server, and nothing else changes there."""

from __future__ import annotations

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_meta import (
    NotMeta,
    bytes_field,
    databases,
    fields,
    group_ids,
    groups_of,
    living,
    merged,
    number_field,
    shard_ids,
    taken_shards,
)
from hypothesis import given
from hypothesis import strategies as st

GONE, OTHER = "27043be453f85db2", "a4a5fc4f48a049ea"
# A field that no version has yet, and one of 64 bits.
UNKNOWN = bytes_field(77, b"kept") + b"\xf9\x04" + b"12345678"
Groups = dict[int, list[int]]


def group(group_id: int, shards: list[int], deleted_at: int = 0) -> bytes:
    """A shard group of one day, with an owner of its first shard."""
    start = number_field(1, group_id) + number_field(2, group_id * 86400) + number_field(3, (group_id + 1) * 86400)
    held = [bytes_field(5, number_field(1, one) + bytes_field(3, number_field(1, 0)) + UNKNOWN) for one in shards]
    return start + number_field(4, deleted_at) + b"".join(held) + UNKNOWN


def database(name: str, groups: Groups, deleted: Groups | None = None) -> bytes:
    """A database with one retention policy."""
    held = [group(one, shards) for one, shards in groups.items()]
    held += [group(one, shards, 99) for one, shards in (deleted or {}).items()]
    policy = bytes_field(1, b"autogen") + number_field(2, 0) + number_field(3, 86400) + number_field(4, 1)
    policy += b"".join(bytes_field(5, one) for one in held) + UNKNOWN
    return bytes_field(1, name.encode()) + bytes_field(2, b"autogen") + bytes_field(3, policy) + UNKNOWN


def meta(listed: list[bytes], greatest_group: int, greatest_shard: int) -> bytes:
    """Metadata as the server writes it."""
    begin = number_field(1, 1) + number_field(2, 40) + number_field(3, 2**63 + 1)
    end = number_field(7, 0) + number_field(8, greatest_group) + number_field(9, greatest_shard)
    return begin + b"".join(bytes_field(5, one) for one in listed) + end + UNKNOWN


def greatest(message: bytes) -> tuple[int, int]:
    """MaxShardGroupID and MaxShardID."""
    found = {one.number: one.value for one in fields(message)}
    return found[8], found[9]


def without_databases(message: bytes) -> list[bytes]:
    """All else that it holds but the greatest ids."""
    return [one.raw for one in fields(message) if one.number not in (5, 8, 9)]


def test_a_deleted_database_comes_back_in_place_of_the_empty_one() -> None:
    """Its shards and groups keep their ids; the other's bytes are the same."""
    live = meta([database(GONE, {}), database(OTHER, {3: [4]})], 9, 12)
    wanted = database(GONE, {2: [5], 7: [8, 9]})
    done = merged(live, wanted)
    assert databases(done) == {GONE: wanted, OTHER: database(OTHER, {3: [4]})}
    assert greatest(done) == (9, 12) and without_databases(done) == without_databases(live)
    assert merged(done, wanted) == done, "a second time there is nothing to do"


def test_a_database_that_is_not_there_is_added() -> None:
    """Behind the others."""
    done = merged(meta([database(OTHER, {3: [4]})], 3, 4), database(GONE, {2: [5]}))
    assert list(databases(done)) == [OTHER, GONE] and greatest(done) == (3, 5)


def test_a_group_whose_id_is_taken_gets_a_new_one() -> None:
    """And is told from all others; its shards and times are the same."""
    live = meta([database(GONE, {}), database(OTHER, {2: [4]})], 3, 4)
    done = merged(live, database(GONE, {2: [5], 3: [6]}))
    assert group_ids(databases(done)[GONE]) == {3, 4} and greatest(done) == (4, 6)
    first = groups_of(databases(done)[GONE])[0]
    assert first == number_field(1, 4) + group(2, [5])[len(number_field(1, 2)) :]
    assert merged(done, database(GONE, {2: [5], 3: [6]})) == done


def test_a_shard_that_another_database_has_is_refused() -> None:
    """One that is marked as deleted too: the server would delete what has its id."""
    for other in (database(OTHER, {3: [5]}), database(OTHER, {}, {3: [5]})):
        live = meta([database(GONE, {}), other], 3, 5)
        assert taken_shards(live, GONE) == {5} and taken_shards(live, OTHER) == set()
        with pytest.raises(NotMeta, match="shard 5"):
            merged(live, database(GONE, {2: [5]}))


def test_what_is_deleted_or_left_out_does_not_come_back() -> None:
    """The groups alone go, all else stays."""
    whole = database(GONE, {2: [5], 3: [6, 7]}, {1: [1]})
    assert living(whole) == database(GONE, {2: [5], 3: [6, 7]})
    assert living(whole, {6}) == database(GONE, {2: [5]})
    assert living(database(GONE, {2: [5]})) == database(GONE, {2: [5]})


@pytest.mark.parametrize("damaged", [b"\x08", b"\x2a\x05ab", b"\x0b", b"\x00\x01", b"\x09\x01", b"\xff" * 12])
def test_what_is_no_such_message_is_refused(damaged: bytes) -> None:
    """Cut off within a field or a number, of a kind or a number that is none."""
    with pytest.raises(NotMeta):
        databases(damaged)


IDS = st.lists(st.integers(1, 60), unique=True, max_size=8)
MESSAGE = st.lists(
    st.one_of(
        st.builds(number_field, st.integers(10, 5000), st.integers(0, 2**64 - 1)),
        st.builds(bytes_field, st.integers(10, 5000), st.binary(max_size=20)),
    ),
    max_size=4,
).map(b"".join)


@given(IDS, IDS, IDS, st.integers(0, 80), MESSAGE, MESSAGE)
def test_nothing_else_changes_and_no_id_is_there_twice(
    groups: list[int], others: list[int], wanted: list[int], most: int, more: bytes, inside: bytes
) -> None:
    """Whatever ids there are, and whatever fields nobody knows."""
    live = meta([database(GONE, {}), database(OTHER, {one: [one + 100] for one in others})], most, 160) + more
    back = database(GONE, {one: [one] for one in [*groups, *wanted]}) + inside
    done = merged(live, back)
    held = databases(done)
    assert held[OTHER] == database(OTHER, {one: [one + 100] for one in others})
    assert held[GONE].endswith(inside) and len(held) == 2
    assert shard_ids(held[GONE]) == {*groups, *wanted} and len(group_ids(held[GONE])) == len({*groups, *wanted})
    assert not group_ids(held[GONE]) & group_ids(held[OTHER])
    assert without_databases(done) == without_databases(live)
    assert greatest(done)[0] >= max({most, *group_ids(held[GONE])}) and greatest(done)[1] == 160
    assert b"".join(one.raw for one in fields(done)) == done and merged(done, back) == done
