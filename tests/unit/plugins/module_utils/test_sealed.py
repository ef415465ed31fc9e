# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as one archive: what goes in comes out, nothing else does, and nothing is written over."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _sealed
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._sealed import Secret
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z0-9_=@+-]{1,60}(/[A-Za-z0-9_=@+-]{1,60}){0,2}", fullmatch=True)
SECRETS = st.dictionaries(NAMES, st.tuples(st.binary(max_size=200), st.integers(0, 0o777)), max_size=8)


@given(SECRETS)
def test_what_is_packed_comes_out(drawn: dict[str, tuple[bytes, int]]) -> None:
    secrets = _sealed.in_order(Secret(name, *rest) for name, rest in drawn.items())
    assert _sealed.unpack(_sealed.pack(secrets)) == secrets
    assert _sealed.pack(secrets) == _sealed.pack(secrets)


def archive(**fields: object) -> bytes:
    member = tarfile.TarInfo("name")
    for name, value in fields.items():
        setattr(member, name, value)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        opened.addfile(member)
    return packed.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        archive(name="/etc/passwd"),
        archive(name="a/../../b"),
        archive(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        archive(type=tarfile.LNKTYPE, linkname="x"),
        archive(type=tarfile.FIFOTYPE),
        archive(type=tarfile.DIRTYPE),
        b"no archive at all",
        archive()[:100],
    ],
)
def test_only_plain_files_with_plain_names_come_out(packed: bytes) -> None:
    with pytest.raises(RecoveryError) as caught:
        _sealed.unpack(packed)
    assert caught.value.code == "PRC-356"


def test_a_folder_stands_for_its_files_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "lab/deep").mkdir(parents=True)
    (tmp_path / "lab/password").write_bytes(b"correct horse")
    (tmp_path / "lab/deep/token").write_bytes(b"battery staple")
    (tmp_path / "lab/key.pub").write_bytes(b"public key")
    (tmp_path / "one").write_bytes(b"s")
    (tmp_path / "lab/password").chmod(0o400)
    found = _sealed.secrets_of([f"{tmp_path}/lab/", f"{tmp_path}/one"])
    assert [one.name for one in found] == ["lab/deep/token", "lab/key.pub", "lab/password", "one"]
    assert found[2].mode == 0o400
    assert _sealed.clear_texts(found) == ["battery staple", "correct horse"]


def spoil_missing(folder: Path) -> list[str]:
    return [f"{folder}/nothing"]


def spoil_empty(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return [f"{folder}/empty"]


def spoil_twice(folder: Path) -> list[str]:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "password").write_bytes(b"x")
    return [f"{folder}/a/password", f"{folder}/b/password"]


def spoil_name(folder: Path) -> list[str]:
    (folder / "a b").write_bytes(b"x")
    return [f"{folder}/a b"]


def spoil_size(folder: Path) -> list[str]:
    with (folder / "large").open("wb") as stream:
        stream.truncate(_sealed.MAXIMUM_BYTES + 1)
    return [f"{folder}/large"]


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_empty, spoil_twice, spoil_name, spoil_size])
def test_what_cannot_be_kept_ends_the_backup(tmp_path: Path, spoil: object) -> None:
    with pytest.raises(RecoveryError) as caught:
        _sealed.secrets_of(spoil(tmp_path))  # type: ignore[operator]
    assert caught.value.code == "PRC-355"


def test_secrets_are_written_for_their_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "new/secrets"
    before = os.umask(0)
    try:
        _sealed.put(str(target), [Secret("a/b", b"x", 0o444), Secret("c", b"y", 0o777)])
    finally:
        os.umask(before)
    assert {path.relative_to(target).as_posix(): path.stat().st_mode & 0o777 for path in target.rglob("*")} == {
        "a": 0o700,
        "a/b": 0o600,
        "c": 0o600,
    }
    assert target.stat().st_mode & 0o777 == 0o700
    with pytest.raises(RecoveryError) as caught:
        _sealed.require_empty(str(target))
    assert caught.value.code == "PRC-357"
    with pytest.raises(RecoveryError) as caught:
        _sealed.put(str(target), [Secret("c", b"other", 0o600)])
    assert caught.value.code == "PRC-358" and (target / "c").read_bytes() == b"y"


def test_an_empty_or_new_folder_may_be_written_to_and_no_link(tmp_path: Path) -> None:
    _sealed.require_empty(str(tmp_path / "new"))
    _sealed.require_empty(str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RecoveryError):
        _sealed.require_empty(str(tmp_path / "link"))
