# SPDX-License-Identifier: GPL-3.0-or-later
"""Real files against their manifest: what is wrong is found and named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _backup_store, _manifest, _verification
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given
from hypothesis import strategies as st

SET_ID = "20261123T051700Z"
FILES = {
    "postgresql/forex_trading.custom": os.urandom(3 << 20),
    "redis/redis.rdb": os.urandom(70_000),
    "influxdb/shards/1.tar": os.urandom(1 << 20),
    "configuration/empty": b"",
}


def write_set(folder: Path) -> dict[str, Any]:
    """Write the files of a set with its manifest; returns the manifest."""
    artefacts = []
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        record = {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        artefacts.append({**record, "component": path.split("/")[0], "kind": "file", "source_version": "1"})
    manifest = _manifest.build(
        set_id=SET_ID,
        environment="lab",
        environment_id="lab-1",
        sequence=1,
        started_at="2026-11-23T05:17:00Z",
        finished_at="2026-11-23T05:17:01Z",
        components={name: {"version": "1"} for name in _manifest.COMPONENTS},
        artefacts=artefacts,
    )
    raw = _manifest.render(manifest)
    listing = _manifest.verification_text(manifest, hashlib.sha256(raw).hexdigest())
    (folder / _manifest.MANIFEST_NAME).write_bytes(raw)
    (folder / _manifest.SIGNATURE_NAME).write_bytes(b"signature")
    (folder / _manifest.verification_name(SET_ID)).write_text(listing)
    return manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / SET_ID


@pytest.fixture
def manifest(folder: Path) -> dict[str, Any]:
    return write_set(folder)


def verify(folder: Path, manifest: dict[str, Any], **needed: Any) -> _verification.Verified:
    return _verification.verify_files(str(folder), manifest, _manifest.needed_artefacts(manifest, **needed))


def wrong(folder: Path, manifest: dict[str, Any], **needed: Any) -> str:
    with pytest.raises(RecoveryError) as caught:
        verify(folder, manifest, **needed)
    assert caught.value.code == "PRC-230"
    assert "nothing was changed" in caught.value.data
    return caught.value.found


def test_a_good_set_is_read_whole(folder: Path, manifest: dict[str, Any]) -> None:
    read: list[int] = []
    artefacts = manifest["artefacts"]
    verified = _verification.verify_files(str(folder), manifest, artefacts, read.append)
    assert verified == _verification.Verified(sum(map(len, FILES.values())), len(FILES))
    assert sum(read) == verified.bytes


def test_sha256sum_accepts_the_list_from_inside_the_set(folder: Path, manifest: dict[str, Any]) -> None:
    argv = ["sha256sum", "--check", "--strict", _manifest.verification_name(SET_ID)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(FILES) + 1


@given(st.data())
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(FILES["redis/redis.rdb"])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    record = {"path": path.name, "bytes": len(content), "sha256": hashlib.sha256(FILES["redis/redis.rdb"]).hexdigest()}
    (found,) = _verification.byte_problems(str(path.parent), [record], lambda _n: None)
    assert found.startswith("flipped is damaged")


@pytest.mark.parametrize("path", [path for path in FILES if FILES[path]])
def test_a_flipped_bit_names_the_file(folder: Path, manifest: dict[str, Any], path: str) -> None:
    content = bytearray(FILES[path])
    content[len(content) // 2] ^= 1
    (folder / path).write_bytes(content)
    found = wrong(folder, manifest)
    assert found.startswith(f"{path} is damaged: sha256 ")
    assert ";" not in found


def test_a_truncated_file_is_named_with_both_sizes(folder: Path, manifest: dict[str, Any]) -> None:
    os.truncate(folder / "redis/redis.rdb", 69_999)
    assert wrong(folder, manifest) == "redis/redis.rdb is truncated: 69999 bytes instead of 70000"


def test_a_longer_file_is_named(folder: Path, manifest: dict[str, Any]) -> None:
    os.truncate(folder / "redis/redis.rdb", 70_001)
    assert "redis/redis.rdb is too long" in wrong(folder, manifest)


def test_a_missing_file_is_named(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "influxdb/shards/1.tar").unlink()
    assert wrong(folder, manifest) == "influxdb/shards/1.tar is missing"


@pytest.mark.parametrize("path", ["redis/extra.rdb", "extra", "influxdb/shards/2.tar", "redis/deep/er"])
def test_an_extra_file_is_named(folder: Path, manifest: dict[str, Any], path: str) -> None:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(b"")
    assert f"{path} is an extra file that the manifest does not list" in wrong(folder, manifest)


def test_a_link_in_the_place_of_a_file_is_not_followed(folder: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(FILES["redis/redis.rdb"])
    (folder / "redis/redis.rdb").unlink()
    (folder / "redis/redis.rdb").symlink_to(tmp_path / "same")
    assert "redis/redis.rdb is link, not a file" in wrong(folder, manifest)


def test_a_linked_folder_is_not_followed(folder: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    (folder / "redis").rename(tmp_path / "elsewhere")
    (folder / "redis").symlink_to(tmp_path / "elsewhere")
    assert "redis/redis.rdb is missing" in wrong(folder, manifest)


def test_everything_that_is_wrong_is_named_at_once(folder: Path, manifest: dict[str, Any]) -> None:
    os.truncate(folder / "redis/redis.rdb", 5)
    (folder / "influxdb/shards/1.tar").unlink()
    (folder / "extra").mkdir()
    found = wrong(folder, manifest)
    assert all(part in found for part in ("redis/redis.rdb", "influxdb/shards/1.tar", "extra is an extra folder"))


def test_what_is_not_needed_is_not_read(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "postgresql/forex_trading.custom").write_bytes(b"damaged")
    assert verify(folder, manifest, components=["redis"]).bytes == 70_000
    assert verify(folder, manifest, components=["redis", "postgresql"], left_out_kinds=["file"]).files == 0


def test_a_file_that_cannot_be_read_is_named(folder: Path, manifest: dict[str, Any]) -> None:
    found = _verification.byte_problems(str(folder / "nowhere"), manifest["artefacts"], lambda _n: None)
    assert found[0] == "configuration/empty cannot be read (No such file or directory)"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_verification, "CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr(_verification, "LARGE_BYTES", 2 << 20)


def test_a_large_file_is_verified_in_parts(folder: Path, manifest: dict[str, Any], small_chunks: None) -> None:
    artefacts = _verification.with_chunks(str(folder), manifest["artefacts"], lambda _n: None)
    large = [one for one in artefacts if "chunks" in one]
    content = FILES["postgresql/forex_trading.custom"]
    assert [one["path"] for one in large] == ["postgresql/forex_trading.custom"]
    assert large[0]["chunks"] == [hashlib.sha256(content[at << 20 : (at + 1) << 20]).hexdigest() for at in range(3)]
    assert _manifest.problems({**manifest, "artefacts": artefacts}) == []
    assert _verification.byte_problems(str(folder), artefacts, lambda _n: None) == []
    damaged = bytearray(content)
    damaged[(2 << 20) + 7] ^= 8
    (folder / "postgresql/forex_trading.custom").write_bytes(damaged)
    (found,) = _verification.byte_problems(str(folder), artefacts, lambda _n: None)
    assert f"in bytes {2 << 20} to {3 << 20}" in found


def test_a_large_file_that_reads_back_wrong_is_found_while_completing(
    folder: Path, manifest: dict[str, Any], small_chunks: None
) -> None:
    damaged = bytearray(FILES["postgresql/forex_trading.custom"])
    damaged[0] ^= 1
    (folder / "postgresql/forex_trading.custom").write_bytes(damaged)
    with pytest.raises(ValueError, match="reads back other bytes than were written"):
        _verification.with_chunks(str(folder), manifest["artefacts"], lambda _n: None)


@given(st.lists(st.integers(0, 5 << 20), max_size=8), st.integers(1, 4))
def test_parts_cover_every_byte_once_and_come_largest_first(sizes: list[int], chunk: int) -> None:
    artefacts = []
    for number, size in enumerate(sizes):
        one: dict[str, Any] = {"path": f"redis/{number}", "bytes": size, "sha256": "a" * 64}
        if number % 2:
            one |= {"chunk_bytes": chunk << 20, "chunks": ["b" * 64] * -(-size // (chunk << 20))}
        artefacts.append(one)
    planned = _verification.parts(artefacts)
    assert [part.length for part in planned] == sorted((part.length for part in planned), reverse=True)
    for one in artefacts:
        at = 0
        for part in sorted((part for part in planned if part.path == one["path"]), key=lambda part: part.offset):
            assert part.offset == at
            at += part.length
        assert at == one["bytes"]


def repository(store: Path, content: bytes = b"[backup]\n") -> dict[str, Any]:
    folder = store / "pgbackrest/backup/platform3/20261123-051700F"
    folder.mkdir(parents=True)
    (folder / "backup.manifest").write_bytes(content)
    named = {
        "stanza": "platform3",
        "label": "20261123-051700F",
        "manifest_sha256": hashlib.sha256(b"[backup]\n").hexdigest(),
    }
    return {"backup_set": SET_ID, "components": {"postgresql": {"version": "17", "pgbackrest": named}}}


def no_base(store: Path, manifest: dict[str, Any]) -> str:
    with pytest.raises(RecoveryError) as caught:
        _verification.verify_pgbackrest(str(store), manifest)
    assert caught.value.code == "PRC-231"
    return caught.value.found


def test_the_pgbackrest_backup_is_found(tmp_path: Path) -> None:
    _verification.verify_pgbackrest(str(tmp_path), repository(tmp_path))


def test_a_pgbackrest_backup_that_is_gone_is_named(tmp_path: Path) -> None:
    manifest = repository(tmp_path)
    (tmp_path / "pgbackrest/backup/platform3/20261123-051700F/backup.manifest").unlink()
    assert "20261123-051700F/backup.manifest cannot be read" in no_base(tmp_path, manifest)


def test_another_pgbackrest_manifest_is_refused(tmp_path: Path) -> None:
    assert "instead of" in no_base(tmp_path, repository(tmp_path, b"[backup]\nedited"))


@pytest.mark.parametrize("label", ["../../x", "", None, 7, "a/b"])
def test_a_pgbackrest_label_that_is_no_name_is_refused(tmp_path: Path, label: Any) -> None:
    manifest = repository(tmp_path)
    manifest["components"]["postgresql"]["pgbackrest"]["label"] = label
    assert "something else than stanza, label" in no_base(tmp_path, manifest)


def test_sealing_gives_the_name_last_and_leaves_nothing_writable(tmp_path: Path) -> None:
    marker = {"backup_set": SET_ID, "sequence": 1}
    path = _backup_store.begin(str(tmp_path), SET_ID, marker)
    assert _backup_store.set_ids(str(tmp_path)) == []
    assert _backup_store.read_marker(path) == marker
    write_set(Path(path))
    _backup_store.seal(path, str(tmp_path / SET_ID))
    assert _backup_store.set_ids(str(tmp_path)) == [SET_ID]
    assert _backup_store.found_set(str(tmp_path), SET_ID).manifest is not None
    modes = [entry.stat().st_mode for entry in (tmp_path / SET_ID).rglob("*") if entry.is_file()]
    assert modes and not any(mode & 0o222 for mode in modes)
    verify(tmp_path / SET_ID, _backup_store.found_set(str(tmp_path), SET_ID).manifest or {})


def test_interrupted_sets_and_other_names_are_no_sets(tmp_path: Path) -> None:
    for name in (f"{SET_ID}.incomplete", "pgbackrest", "wal-stream", "fence", "20261323T051700Z", f"{SET_ID}.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "20261124T000000Z").write_text("a file")
    (tmp_path / "20261125T000000Z").symlink_to(tmp_path / f"{SET_ID}.incomplete")
    assert _backup_store.set_ids(str(tmp_path)) == []
    assert _backup_store.leftovers(str(tmp_path), "20261126T000000Z") == [str(tmp_path / f"{SET_ID}.incomplete")]
    assert _backup_store.leftovers(str(tmp_path), SET_ID) == []


def test_a_set_whose_manifest_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / SET_ID).mkdir()
    assert "cannot be read" in _backup_store.found_set(str(tmp_path), SET_ID).wrong
    (tmp_path / SET_ID / _manifest.MANIFEST_NAME).write_text("{")
    assert "no JSON of ours" in _backup_store.found_set(str(tmp_path), SET_ID).wrong


def test_the_sets_are_ordered_without_reading_their_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = write_set(tmp_path / SET_ID)["sequence"]

    def read(*_: object) -> None:
        pytest.fail("a manifest was read whole")

    monkeypatch.setattr(_backup_store, "parse", read)
    found = _backup_store.read_sets(str(tmp_path))
    assert [one.sequence for one in found] == [sequence] and _backup_store.next_sequence(found) == sequence + 1


def test_the_store_of_another_environment_is_refused(tmp_path: Path) -> None:
    for content in (None, "drill-1"):
        if content is not None:
            (tmp_path / "environment_id").write_text(content)
        with pytest.raises(RecoveryError) as caught:
            _backup_store.require_environment(str(tmp_path), "lab-1")
        assert caught.value.code == "PRC-205"
    (tmp_path / "environment_id").write_text("lab-1")
    _backup_store.require_environment(str(tmp_path), "lab-1")


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """A sparse file is verified, and read back in parts, by a process that never holds as much as that file."""
    size = 256 << 20
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(size)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(bytes(1 << 20))
    script = (
        "import sys\n"
        "from ansible_collections.platform3.recovery.plugins.module_utils import _verification as v\n"
        "record = {'path': 'large', 'bytes': int(sys.argv[2]), 'sha256': sys.argv[3]}\n"
        "chunked = v.with_chunks(sys.argv[1], [record], int)\n"
        "assert len(chunked[0]['chunks']) == 4 and v.byte_problems(sys.argv[1], chunked, int) == []\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path), str(size), digest.hexdigest()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 * 1024, f"{int(done.stdout) >> 10} MiB"
