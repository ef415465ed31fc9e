# SPDX-License-Identifier: GPL-3.0-or-later
"""The tar filter: what a shard's archive may hold, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import tarfile
import tracemalloc

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._archive import (
    ArchiveFile,
    ArchiveRefused,
    HashingReader,
    Quota,
    TarReader,
    TarWriter,
    copy_members,
    safe_name,
)
from hypothesis import given
from hypothesis import strategies as st

LARGE = Quota(1 << 40)


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member with these fields."""
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in fields.items():
        setattr(made, key, value)
    return made, data


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """An archive as Go's archive/tar writes it: members and two empty blocks."""
    data = b""
    for made, content in members:
        data += made.tobuf(form) + content + bytes(-len(content) % 512)
    return data + bytes(1024)


def copied(data: bytes, quota: Quota = LARGE) -> dict[str, bytes | None]:
    """What tarfile reads from the filtered archive: content by name, None for a folder."""
    target = io.BytesIO()
    writer = TarWriter(target)
    copy_members(HashingReader(io.BytesIO(data)), writer, quota, lambda name: f"engine/{name}")
    writer.close()
    target.seek(0)
    with tarfile.open(fileobj=target, mode="r:") as opened:
        members = opened.getmembers()
        assert all(one.isfile() or one.isdir() for one in members)
        assert all(one.mode == (0o600 if one.isfile() else 0o700) and one.uid == 0 for one in members)
        return {one.name: opened.extractfile(one).read() if one.isfile() else None for one in members}  # type: ignore[union-attr]


def test_files_and_folders_pass() -> None:
    """Names are placed, contents kept, modes and owners dropped."""
    data = archive(
        member("b/autogen/1/index", type=tarfile.DIRTYPE, mode=0o4777),
        member("b/autogen/1/index/0", b"x" * 513, mode=0o4755, uid=1000, uname="root"),
        member("b/autogen/1/empty"),
    )
    assert copied(data) == {
        "engine/b/autogen/1/index": None,
        "engine/b/autogen/1/index/0": b"x" * 513,
        "engine/b/autogen/1/empty": b"",
    }


def test_long_names_pass_in_every_form() -> None:
    """The ustar prefix and a pax header are both understood."""
    name = "/".join(["d" * 60] * 3)
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        assert copied(archive(member(name, b"data"), form=form)) == {f"engine/{name}": b"data"}


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "a/../../escape",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "..",
        "a\nb",
        "a\\b",
        "a\x1bb",
        "\N{RIGHT-TO-LEFT OVERRIDE}a",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    """In the header and in a pax header."""
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with pytest.raises(ArchiveRefused):
            copied(archive(member(name, b"x"), form=form))


def test_a_pax_header_cannot_smuggle_a_name() -> None:
    """The path of the extended header is the one that is checked."""
    made, data = member("harmless", b"x")
    made.pax_headers = {"path": "../escape"}
    with pytest.raises(ArchiveRefused, match="leads out"):
        copied(archive((made, data), form=tarfile.PAX_FORMAT))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_anything_but_files_and_folders_is_refused(kind: bytes) -> None:
    """Links, devices, pipes, sparse files, what is unknown."""
    with pytest.raises(ArchiveRefused, match="neither a file nor a folder"):
        copied(archive(member("a", type=kind, linkname="/etc/passwd")))


def test_extended_headers_are_bounded_and_plain() -> None:
    """No GNU long names, no global headers, no links or sparse files by header, none larger than 64 KiB."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
        with pytest.raises(ArchiveRefused):
            copied(archive(member("a", b"x" * 600, type=kind), member("b")))
    huge, _none = member("a", type=tarfile.XHDTYPE, size=1 << 33)
    with pytest.raises(ArchiveRefused, match=r"header of|unreadable"):
        copied(huge.tobuf(tarfile.GNU_FORMAT))
    for record in (b"21 linkpath=/etc/pass\n", b"22 GNU.sparse.major=1\n", b"9 size=-\n", b"6 x\n", b"99 path=a\n"):
        with pytest.raises(ArchiveRefused):
            copied(archive(member("a", record, type=tarfile.XHDTYPE), member("b", b"x")))


def test_quotas_hold_before_anything_is_written() -> None:
    """A size beyond the quota, in octal, in base 256 or in a pax header, is refused at the header."""
    sizes = [
        member("a", type=tarfile.REGTYPE, size=4097)[0].tobuf(tarfile.USTAR_FORMAT),
        member("a", type=tarfile.REGTYPE, size=1 << 40)[0].tobuf(tarfile.GNU_FORMAT),
        member("a", type=tarfile.REGTYPE, size=1 << 40)[0].tobuf(tarfile.PAX_FORMAT),
    ]
    for header in sizes:
        target = io.BytesIO()
        with pytest.raises(ArchiveRefused):
            copy_members(HashingReader(io.BytesIO(header)), TarWriter(target), Quota(4096), str)
        assert target.getvalue() == b""
    with pytest.raises(ArchiveRefused, match="more than 3 members"):
        copied(archive(*(member(str(number)) for number in range(4))), Quota(4096, entries=3))


def test_clashes_are_refused() -> None:
    """The same file twice, a file below a file, a file for a folder."""
    file, folder = member("a", b"x"), member("a", type=tarfile.DIRTYPE)
    for members in ((file, file), (file, member("a/b")), (file, folder), (folder, file), (member("a/b"), file)):
        with pytest.raises(ArchiveRefused):
            copied(archive(*members))
    assert copied(archive(folder, folder)) == {"engine/a": None}


def test_a_cut_or_damaged_archive_is_refused() -> None:
    """Everywhere it can be cut, and anything behind its end: a server that fails midway adds its error there."""
    whole = archive(member("a/b", b"x" * 700), member("a/c", b"y"))
    for length in range(0, len(whole), 256):
        with pytest.raises(ArchiveRefused):
            copied(whole[:length])
    with pytest.raises(ArchiveRefused, match="something stands after its end"):
        copied(whole + b'{"code":"internal error"}')
    damaged = bytearray(whole)
    damaged[3] ^= 1
    with pytest.raises(ArchiveRefused, match="checksum"):
        copied(bytes(damaged))
    assert copied(whole + bytes(10240)) == copied(whole)


def test_what_is_read_is_hashed_once_and_whole() -> None:
    """The digest covers the whole file, also what the reader did not look at."""
    whole = archive(member("a", random.Random(1).randbytes(5000))) + bytes(3000)
    seen = []
    reader = HashingReader(io.BytesIO(whole), seen.append)
    next(iter(TarReader(reader, LARGE)))
    assert reader.finish() == (len(whole), hashlib.sha256(whole).hexdigest())
    assert sum(seen) == len(whole)


def test_an_archive_on_disk_is_looked_through() -> None:
    """Offsets point at the contents; a cut file is noticed although nothing is read."""
    whole = archive(member("a", b"x" * 700), member("b", b"yz"))
    entries = list(TarReader(ArchiveFile(io.BytesIO(whole), len(whole)), LARGE))
    assert [(one.name, whole[one.offset : one.offset + one.bytes]) for one in entries] == [
        ("a", b"x" * 700),
        ("b", b"yz"),
    ]
    with pytest.raises(ArchiveRefused):
        list(TarReader(ArchiveFile(io.BytesIO(whole[:900]), 900), LARGE))


class Zeros(io.RawIOBase):
    """A file of 200 MB behind a header, that nobody holds."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head, self._left = head, size

    def read(self, amount: int = -1) -> bytes:
        """Head first, then zeros."""
        if self._head:
            part, self._head = self._head[:amount], self._head[amount:]
            return part
        part = bytes(min(amount, self._left))
        self._left -= len(part)
        return part


def test_memory_does_not_grow_with_the_size() -> None:
    """A large member passes in chunks."""
    size = 200 << 20
    made, _none = member("a", size=size)
    tracemalloc.start()
    try:
        reader = HashingReader(Zeros(made.tobuf(tarfile.USTAR_FORMAT), size + 1024))  # type: ignore[arg-type]
        sizes: list[int] = []
        sink = type("Sink", (), {"write": lambda _self, chunk: sizes.append(len(chunk))})()
        copy_members(reader, TarWriter(sink), Quota(size), str)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        assert sum(sizes) == size + 512
    finally:
        tracemalloc.stop()


def test_a_placed_name_is_checked_too() -> None:
    """A place that leads out is refused."""
    with pytest.raises(ArchiveRefused):
        copy_members(
            HashingReader(io.BytesIO(archive(member("a")))), TarWriter(io.BytesIO()), LARGE, lambda _name: "../a"
        )


@given(st.binary(max_size=3000))
def test_noise_is_refused_and_nothing_else_happens(data: bytes) -> None:
    """Random bytes are no archive; only ArchiveRefused is raised."""
    with pytest.raises(ArchiveRefused):
        list(TarReader(HashingReader(io.BytesIO(b"\1" + data)), LARGE))


@given(st.integers(0, 2600), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_else(at: int, change: int) -> None:
    """One byte changed anywhere: passes or is refused."""
    whole = bytearray(archive(member("a/b", b"x" * 700), member("a/c", b"y")))
    whole[at % len(whole)] ^= change
    with contextlib.suppress(ArchiveRefused):
        copied(bytes(whole))


@given(st.text(max_size=40))
def test_a_safe_name_stays_in_its_folder(name: str) -> None:
    """Whatever passes is relative and has no part that means something else."""
    try:
        plain = safe_name(name)
    except ArchiveRefused:
        return
    assert not plain.startswith("/")
    assert all(part not in ("", ".", "..") for part in plain.split("/"))
