# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest time of a TSM file."""

from __future__ import annotations

import contextlib
import io
import struct

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _tsm
from ansible_collections.platform3.recovery.plugins.module_utils._tsm import NotTsm, newest_time
from hypothesis import given
from hypothesis import strategies as st


def tsm(index: dict[bytes, list[tuple[int, int]]], blocks: bytes = b"blocks") -> bytes:
    """A TSM file with these keys and the (minimum, maximum) times of their blocks."""
    data = b"\x16\xd1\x16\xd1\x01" + blocks
    at = len(data)
    for key in sorted(index):
        data += struct.pack(">H", len(key)) + key + b"\x00" + struct.pack(">H", len(index[key]))
        for minimum, maximum in index[key]:
            data += struct.pack(">qqqI", minimum, maximum, 5, 6)
    return data + struct.pack(">Q", at)


def newest(data: bytes) -> int | None:
    """The newest time when the file stands in the middle of an archive."""
    return newest_time(io.BytesIO(b"before" + data + b"after"), 6, len(data))


def test_the_newest_of_all_keys_is_found() -> None:
    """The last block of a key is its newest; times before 1970 count too."""
    assert newest(tsm({b"a": [(1, 5), (6, 9)], b"b": [(2, 7)]})) == 9
    assert newest(tsm({b"a": [(-9, -5)]})) == -5
    assert newest(tsm({})) is None


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=300), st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=9)
    ),
    st.integers(1, 64),
)
def test_windows_of_any_size_give_the_same(index: dict[bytes, list[int]], window: int) -> None:
    """Keys and entries may be cut by the window anywhere."""
    blocks = {key: [(time, time) for time in sorted(times)] for key, times in index.items()}
    before, _tsm.WINDOW_BYTES = _tsm.WINDOW_BYTES, window
    try:
        assert newest(tsm(blocks)) == max((max(times) for times in index.values()), default=None)
    finally:
        _tsm.WINDOW_BYTES = before


def test_what_is_not_tsm_is_refused() -> None:
    """Wrong magic, a footer that points elsewhere, an index that is cut off, a key without blocks."""
    whole = tsm({b"key": [(1, 2)]})
    for damaged in (
        b"",
        b"short",
        b"X" + whole[1:],
        whole[:-8] + struct.pack(">Q", len(whole) * 2),
        whole[:-8] + struct.pack(">Q", 1),
        whole[:-20] + whole[-8:],
        tsm({b"key": []}),
    ):
        with pytest.raises(NotTsm):
            newest(damaged)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_the_same_error(noise: bytes) -> None:
    """Random bytes behind the magic number raise NotTsm or hold no newer key than they say."""
    with contextlib.suppress(NotTsm):
        newest(b"\x16\xd1\x16\xd1\x01" + noise)
