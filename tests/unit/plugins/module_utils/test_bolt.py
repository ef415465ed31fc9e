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


def paged(content: dict[bytes, bytes], pages: list[bytes], each: int) -> int:
    """Append the pages of a bucket, leaves of so many keys under branches of so many leaves; gives its root page."""
    keys = sorted(content)
    level: list[tuple[bytes, int]] = []
    for at in range(0, max(len(keys), 1), each):
        level.append((keys[at] if keys else b"", len(pages)))
        page = leaf(len(pages), {key: (0, content[key]) for key in keys[at : at + each]})
        size = -(-len(page) // PAGE)
        page = page[:12] + struct.pack("<I", size - 1) + page[16:]
        pages += [page.ljust(size * PAGE, b"\0"), *[b""] * (size - 1)]
    while len(level) > 1:
        above: list[tuple[bytes, int]] = []
        for at in range(0, len(level), each):
            part, elements, data = level[at : at + each], b"", b""
            for index, (key, child) in enumerate(part):
                elements += struct.pack("<IIQ", (len(part) - index) * 16 + len(data), len(key), child)
                data += key
            above.append((part[0][0], len(pages)))
            pages.append((struct.pack("<QHHI", len(pages), 1, len(part), 0) + elements + data).ljust(PAGE, b"\0"))
        level = above
    return level[0][1]


def large_file(path: Path, buckets: dict[str, dict[bytes, bytes]], nested: bytes = b"", each: int = 2) -> Path:
    """A file whose buckets have pages of their own; nested: the name of one that holds an empty bucket."""
    pages = [b"", b"", struct.pack("<QHHI", 2, 16, 0, 0).ljust(PAGE, b"\0")]
    top = {name.encode(): (1, struct.pack("<QQ", paged(content, pages, each), 3)) for name, content in buckets.items()}
    if nested:
        inner = struct.pack("<QQ", 0, 0) + leaf(0, {})
        top[nested] = (1, struct.pack("<QQ", 0, 0) + leaf(0, {b"inner": (1, inner)}))
    root = len(pages)
    pages.append(leaf(root, top).ljust(PAGE, b"\0"))
    pages[:2] = [meta(0, root, 4, len(pages)), meta(1, root, 3, len(pages))]
    path.write_bytes(b"".join(pages))
    return path


def require_sound(path: Path) -> None:
    """The newest state is one that bbolt accepts: each page once, in bounds, where it says; keys in order."""
    data = path.read_bytes()
    metas = [struct.unpack_from("<IIIIQQQQQQ", data, at + 16) for at in (0, PAGE)]
    newest = max(metas, key=lambda one: one[8])
    assert newest[:4] == (0xED0CDAED, 2, PAGE, 0) and newest[9] == checksum(data[(newest[8] % 2) * PAGE + 16 :][:56])
    assert newest[6] == 0xFFFFFFFFFFFFFFFF and newest[7] * PAGE <= len(data)
    assert struct.unpack_from("<QH", data, (newest[8] % 2) * PAGE) == (newest[8] % 2, 4)
    seen: set[int] = set()

    def walk(page: bytes, number: int) -> list[bytes]:
        found, flags, count, overflow = struct.unpack_from("<QHHI", page)
        taken = set(range(number, number + overflow + 1))
        assert found == number and (number == 0 or (min(taken) >= 2 and max(taken) < newest[7])) and not taken & seen
        seen.update(taken if number else ())
        keys: list[bytes] = []
        for index in range(count):
            at = 16 + index * 16
            if flags == 1:
                position, size, child = struct.unpack_from("<IIQ", page, at)
                below = walk(data[child * PAGE :], child)
                assert page[at + position :][:size] == below[0]
                keys += below
                continue
            kind, position, size, value_size = struct.unpack_from("<IIII", page, at)
            assert number == 0 or at + position + size + value_size <= (overflow + 1) * PAGE
            keys.append(page[at + position :][:size])
            value = page[at + position + size :][:value_size]
            if kind:
                root = struct.unpack_from("<Q", value)[0]
                walk(data[root * PAGE :] if root else value[16:], root)
        assert keys == sorted(set(keys))
        return keys

    walk(data[newest[4] * PAGE :], newest[4])


# Some values are longer than a page.
VALUE = st.builds(lambda text, times: text * times, st.binary(max_size=9), st.sampled_from([1, 3, 1500]))
CONTENT = st.dictionaries(st.binary(min_size=1, max_size=9), VALUE, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), CONTENT, min_size=1), CONTENT, st.booleans())
def test_a_file_of_many_pages_is_read_and_stays_sound(
    buckets: dict[str, dict[bytes, bytes]], new: dict[bytes, bytes], nested: bool
) -> None:
    """Branch pages, values on several pages, nested and empty buckets: what is replaced is new, all else as it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = large_file(Path(folder) / "bolt", buckets, b"nested" if nested else b"")
        bolt = BoltFile(str(path))
        assert bolt.names() == [*sorted(buckets), *["nested"] * nested]
        assert {name: bolt.bucket(name) for name in buckets} == buckets
        replaced = sorted(buckets)[0]
        for content in (new, buckets[replaced]):
            bolt.replace({replaced: content})
            require_sound(path)
            again = BoltFile(str(path))
            assert again.names() == bolt.names()
            assert {name: again.bucket(name) for name in buckets} == {**buckets, replaced: content}
        if nested:
            with pytest.raises(NotBolt, match="holds buckets"):
                bolt.bucket("nested")


def test_thousands_of_keys_are_written_in_order(tmp_path: Path) -> None:
    """More than a page holds, by far."""
    content = {f"{number * 7919 % 5003:08x}".encode(): os.urandom(number % 50) for number in range(5003)}
    path = large_file(tmp_path / "bolt", {"a": {b"k": b"v"}, "b": dict(list(content.items())[:3000])}, each=60)
    BoltFile(str(path)).replace({"a": content})
    require_sound(path)
    assert BoltFile(str(path)).bucket("a") == content


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
