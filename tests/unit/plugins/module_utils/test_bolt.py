# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and rewriting buckets of a bolt file."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._bolt import BoltFile, NotBolt, checksum
from hypothesis import given, settings
from hypothesis import strategies as st

PAGE = 4096


def leaf(number: int, items: dict[bytes, tuple[int, bytes]]) -> bytes:
    """A leaf page, not padded."""
    elements, data = b"", b""
    for index, (key, (flags, value)) in enumerate(sorted(items.items())):
        elements += struct.pack("<IIII", flags, (len(items) - index) * 16 + len(data), len(key), len(value))
        data += key + value
    return struct.pack("<QHHI", number, 2, len(items), 0) + elements + data


def meta(number: int, root: int, transaction: int, pages: int, valid: bool = True) -> bytes:
    """A meta page."""
    fields = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, 2, pages, transaction)
    page = struct.pack("<QHHI", number, 4, 0, 0) + fields + struct.pack("<Q", checksum(fields) ^ (not valid))
    return page.ljust(PAGE, b"\0")


def bolt_file(path: Path, inline: dict[bytes, bytes]) -> Path:
    """A file with an inline bucket, one on a page of its own and, by the older meta page, an empty root."""
    bucket = struct.pack("<QQ", 0, 7) + leaf(0, {key: (0, value) for key, value in inline.items()})
    root = {b"inline": (1, bucket), b"paged": (1, struct.pack("<QQ", 4, 9))}
    pages = [
        meta(0, 3, 10, 6),
        meta(1, 5, 9, 6),
        struct.pack("<QHHI", 2, 16, 0, 0),
        leaf(3, root),
        leaf(4, {b"k": (0, b"v")}),
        leaf(5, {}),
    ]
    path.write_bytes(b"".join(page.ljust(PAGE, b"\0") for page in pages))
    return path


def test_buckets_are_read_inline_and_paged(tmp_path: Path) -> None:
    """The newer meta page counts."""
    bolt = BoltFile(str(bolt_file(tmp_path / "bolt", {b"a": b"1", b"b": b""})))
    assert bolt.bucket("inline") == {b"a": b"1", b"b": b""}
    assert bolt.bucket("paged") == {b"k": b"v"}
    with pytest.raises(NotBolt, match="no bucket"):
        bolt.bucket("absent")


def test_an_invalid_meta_page_does_not_count(tmp_path: Path) -> None:
    """A torn meta page leaves the other one; none leaves nothing."""
    path = bolt_file(tmp_path / "bolt", {b"a": b"1"})
    with open(path, "r+b") as stream:
        stream.write(meta(0, 3, 10, 6, valid=False))
    with pytest.raises(NotBolt, match="no bucket"):
        BoltFile(str(path)).bucket("inline")
    with open(path, "r+b") as stream:
        stream.write(bytes(2 * PAGE))
    with pytest.raises(NotBolt, match="no valid meta page"):
        BoltFile(str(path))


@settings(max_examples=40)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=64), st.binary(max_size=3000), max_size=30),
    st.dictionaries(st.binary(min_size=1, max_size=64), st.binary(max_size=30), max_size=30),
)
def test_what_is_written_is_read_again(first: dict[bytes, bytes], second: dict[bytes, bytes]) -> None:
    """Twice in a row, so that both meta pages are used; other buckets stay; a file opened anew sees the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = bolt_file(Path(folder) / "bolt", {b"a": b"1"})
        bolt = BoltFile(str(path))
        for content in (first, second):
            bolt.replace({"inline": content})
            for reader in (bolt, BoltFile(str(path))):
                assert reader.bucket("inline") == content
                assert reader.bucket("paged") == {b"k": b"v"}
        assert os.path.getsize(path) % PAGE == 0


def test_a_crash_before_the_meta_page_leaves_the_old_state(tmp_path: Path) -> None:
    """Everything but the meta pages is only appended."""
    path = bolt_file(tmp_path / "bolt", {b"a": b"1"})
    before = path.read_bytes()
    BoltFile(str(path)).replace({"inline": {b"a": b"2"}})
    after = path.read_bytes()
    assert after[2 * PAGE : len(before)] == before[2 * PAGE :]
    path.write_bytes(before[: 2 * PAGE] + after[2 * PAGE :])
    assert BoltFile(str(path)).bucket("inline") == {b"a": b"1"}


@given(st.integers(0, 6 * PAGE - 1), st.integers(1, 255))
def test_damage_raises_only_its_own_error(at: int, change: int) -> None:
    """One byte changed anywhere: read, or NotBolt."""
    with tempfile.TemporaryDirectory() as folder:
        path = bolt_file(Path(folder) / "bolt", {b"a": b"1"})
        data = bytearray(path.read_bytes())
        data[at] ^= change
        path.write_bytes(data)
        try:
            BoltFile(str(path)).bucket("inline")
            BoltFile(str(path)).bucket("paged")
        except NotBolt:
            pass
