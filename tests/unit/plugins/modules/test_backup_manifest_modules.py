# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules backup_manifest and backup_manifest_info: a set's life, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules.set_stage import ENVIRONMENT, FIRST, SECOND, THIRD, Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with three sets, to be copied and not changed."""
    store = Store(tmp_path_factory.mktemp("made"))
    for set_id in (FIRST, SECOND, THIRD):
        store.make(set_id)
    return store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A copy of the store with three sets, to damage."""
    copy = object.__new__(Store)
    copy.__dict__ |= made.__dict__
    copy.path = tmp_path / "backups"
    shutil.copytree(made.path, copy.path)
    return copy


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path)


def error_of(result: dict[str, Any], code: str) -> str:
    assert result.get("failed"), result
    assert result["error"]["code"] == code, result
    assert code in result["msg"] and "Next:" in result["msg"]
    return str(result["error"]["found"])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- writing


def test_a_set_is_complete_only_at_its_end(empty: Store) -> None:
    begun = empty.begin(FIRST)
    assert begun["changed"] and begun["backup_set"]["path"] == str(empty.path / f"{FIRST}.incomplete")
    results = empty.write(FIRST)
    assert error_of(empty.look(), "PRC-200") == "the backup store holds no complete backup set"
    done = empty.complete(FIRST, results)
    assert done["backup_set"] == {"id": FIRST, "path": str(empty.path / FIRST), "sequence": 1}
    assert done["files"] == 4 and done["bytes"] == sum(one["artefacts"][0]["bytes"] for one in results.values())
    assert not (empty.path / f"{FIRST}.incomplete").exists()
    names = {path.name for path in (empty.path / FIRST).iterdir() if path.is_file()}
    assert names == {"backup_manifest.json", "backup_manifest.json.sig", f"verification_{FIRST}.txt"}
    argv = ["sha256sum", "--check", "--strict", "--quiet", f"verification_{FIRST}.txt"]
    subprocess.run(argv, cwd=empty.path / FIRST, check=True)


def test_sequence_numbers_rise(store: Store) -> None:
    assert [store.manifest(one)["sequence"] for one in (FIRST, SECOND, THIRD)] == [1, 2, 3]


def test_beginning_removes_what_interrupted_backups_left(empty: Store, tmp_path: Path) -> None:
    empty.begin(FIRST)
    empty.write(FIRST)
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (empty.path / f"{FIRST}.incomplete/redis/link").symlink_to(outside)
    (empty.path / "20261120T051700Z.incomplete").symlink_to(tmp_path)
    begun = empty.begin(SECOND)
    assert begun["removed"] == [str(empty.path / f"{FIRST}.incomplete")]
    assert not (empty.path / f"{FIRST}.incomplete").exists() and outside.read_text() == "kept"


def test_beginning_again_under_the_same_id_begins_anew(empty: Store) -> None:
    empty.begin(FIRST)
    empty.write(FIRST)
    assert empty.begin(FIRST)["removed"] == []
    assert [path for path in (empty.path / f"{FIRST}.incomplete").rglob("*") if path.is_file()] == [
        empty.path / f"{FIRST}.incomplete/.backup_started.json"
    ]


def test_check_mode_says_what_would_be_begun_and_changes_nothing(store: Store) -> None:
    (store.path / "20261120T051700Z.incomplete").mkdir()
    before = sorted(path.name for path in store.path.iterdir())
    begun = store.begin("20261124T051700Z", check_mode=True)
    assert begun["changed"] and begun["backup_set"]["sequence"] == 4 and len(begun["removed"]) == 1
    assert begun["diff"]["after"].strip().endswith("20261124T051700Z.incomplete")
    assert sorted(path.name for path in store.path.iterdir()) == before


@pytest.mark.parametrize("set_id", ["../20261124T051700Z", "latest", "20261324T051700Z"])
def test_an_id_that_is_no_second_is_refused(empty: Store, set_id: str) -> None:
    assert error_of(empty.begin(set_id), "PRC-206") == "the id is no UTC second"


def test_a_set_is_never_written_over(store: Store) -> None:
    before = digests(store.path / THIRD)
    assert "is there already" in error_of(store.begin(THIRD), "PRC-206")
    assert digests(store.path / THIRD) == before


def test_the_store_of_another_environment_is_not_written_to(store: Store) -> None:
    found = error_of(store.begin("20261124T051700Z", environment_id="drill-1"), "PRC-205")
    assert found == "the store belongs to environment lab-0123456789ab"
    assert not list(store.path.glob("*.incomplete"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda r, _f: r.update(redis={}), "redis gave no result"),
        (
            lambda r, _f: r.update(influxdb={"failed": True, "msg": "[PRC-701] Could not copy\nmore"}),
            "influxdb failed: [PRC-701] Could not copy",
        ),
        (lambda r, _f: r.clear(), "no component was backed up"),
        (lambda _r, f: (f / "redis/extra").write_text("x"), "redis/extra is an extra file"),
        (lambda _r, f: (f / f"redis/data_{FIRST}").unlink(), f"redis/data_{FIRST} is missing"),
        (lambda _r, f: os.truncate(f / f"redis/data_{FIRST}", 3), "is truncated: 3 bytes"),
        (lambda _r, f: (f / ".backup_started.json").unlink(), "is not a set that this backup began"),
    ],
    ids=["no result", "a failed component", "nothing", "extra file", "missing file", "truncated file", "no marker"],
)
def test_a_set_that_is_not_whole_stays_incomplete(empty: Store, damage: Any, says: str) -> None:
    empty.begin(FIRST)
    results = empty.write(FIRST)
    damage(results, empty.path / f"{FIRST}.incomplete")
    assert says in error_of(empty.complete(FIRST, results), "PRC-207")
    assert not (empty.path / FIRST).exists()
    error_of(empty.look(), "PRC-200")


def test_check_mode_completes_nothing_but_names_what_failed(empty: Store) -> None:
    empty.begin(FIRST)
    results = empty.write(FIRST)
    before = digests(empty.path)
    assert empty.complete(FIRST, results, check_mode=True)["changed"]
    results["redis"] = {"failed": True, "msg": "[PRC-600] Could not look."}
    found = error_of(empty.complete(FIRST, results, check_mode=True), "PRC-207")
    assert found == "redis failed: [PRC-600] Could not look"
    assert digests(empty.path) == before


def test_a_key_that_no_recovery_would_believe_does_not_complete_a_set(empty: Store) -> None:
    empty.begin(FIRST)
    results = empty.write(FIRST)
    error_of(empty.complete(FIRST, results, signing_key=empty.foreign_key), "PRC-222")
    error_of(empty.complete(FIRST, results, signing_key="nonsense"), "PRC-220")
    assert not (empty.path / FIRST).exists()
    assert empty.complete(FIRST, results)["changed"], "the right key completes it afterwards"


def test_an_artefact_out_of_the_set_is_refused_while_writing(empty: Store) -> None:
    empty.begin(FIRST)
    results = empty.write(FIRST)
    results["redis"]["artefacts"][0]["path"] = "redis/../../../etc/passwd"
    assert "leads out of the set" in error_of(empty.complete(FIRST, results), "PRC-207")


def test_the_signing_key_is_in_no_output(empty: Store) -> None:
    empty.begin(FIRST)
    for results in ({}, empty.write(FIRST)):
        shown = json.dumps(empty.complete(FIRST, results))
        assert empty.key.splitlines()[2] not in shown


# --- choosing and verifying


def test_the_latest_is_chosen_and_verified(store: Store) -> None:
    found = store.look(verify="bytes")
    assert found["set"]["id"] == THIRD and found["set"]["path"] == str(store.path / THIRD)
    assert found["set"]["signed_by"] == "lab-backup" and found["set"]["manifest"] == store.manifest(THIRD)
    assert found["passed_over"] == [] and not found["changed"]
    assert found["verified"]["files"] == 4
    assert found["verified"]["bytes"] == sum(one["bytes"] for one in found["set"]["manifest"]["artefacts"])
    assert found["store_environment_id"] == ENVIRONMENT["environment_id"]


def test_progress_is_written_where_it_is_asked_for(store: Store, tmp_path: Path) -> None:
    store.look(verify="bytes", progress_path=str(tmp_path / "progress"))
    assert json.loads((tmp_path / "progress").read_text())["doing"] == "verifying the backup set"


def test_an_unknown_set_names_the_nearest_three(store: Store) -> None:
    result = store.look(backup_set="20261122T060000Z")
    error_of(result, "PRC-201")
    assert f"the nearest are {SECOND}, {THIRD}, {FIRST};" in result["error"]["next_step"]


def edit(store: Store, set_id: str) -> None:
    path = store.path / set_id / "backup_manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("17.11", "17.12"))


def foreign(store: Store, set_id: str) -> None:
    store.resign(set_id, store.manifest(set_id), store.foreign_key)


def traversal(store: Store, set_id: str) -> None:
    manifest = store.manifest(set_id)
    manifest["artefacts"][0]["path"] = "../../../etc/passwd"
    store.resign(set_id, manifest)


def absolute(store: Store, set_id: str) -> None:
    manifest = store.manifest(set_id)
    manifest["artefacts"][0]["path"] = "/etc/passwd"
    store.resign(set_id, manifest)


def other_environment(store: Store, set_id: str) -> None:
    store.resign(set_id, {**store.manifest(set_id), "environment": "drill", "environment_id": "drill-1"})


def renamed(store: Store, set_id: str) -> None:
    store.resign(set_id, store.manifest(FIRST))


def unsigned(store: Store, set_id: str) -> None:
    (store.path / set_id / "backup_manifest.json.sig").unlink()


def signature_of_another(store: Store, set_id: str) -> None:
    path = store.path / set_id / "backup_manifest.json.sig"
    path.unlink()
    shutil.copy(store.path / FIRST / "backup_manifest.json.sig", path)


def without_manifest(store: Store, set_id: str) -> None:
    (store.path / set_id / "backup_manifest.json").unlink()


def linked_manifest(store: Store, set_id: str) -> None:
    path = store.path / set_id / "backup_manifest.json"
    path.rename(store.path / "elsewhere.json")
    path.symlink_to(store.path / "elsewhere.json")


BAD_MANIFESTS = [
    (edit, "manifest and signature do not belong together"),
    (foreign, "which is not among the trusted signers"),
    (traversal, "leads out of the set with .."),
    (absolute, "is absolute"),
    (other_environment, "it belongs to environment drill (drill-1)"),
    (renamed, f"says it is set {FIRST}, but lies in folder {THIRD}"),
    (unsigned, "its signature backup_manifest.json.sig is missing"),
    (signature_of_another, "manifest and signature do not belong together"),
    (without_manifest, "its backup_manifest.json cannot be read"),
    (linked_manifest, "its backup_manifest.json cannot be read"),
]


@pytest.mark.parametrize(("damage", "says"), BAD_MANIFESTS, ids=[one[0].__name__ for one in BAD_MANIFESTS])
def test_a_bad_manifest_is_refused_where_asked_for_and_passed_over_else(store: Store, damage: Any, says: str) -> None:
    damage(store, THIRD)
    before = digests(store.path)
    assert says in error_of(store.look(backup_set=THIRD), "PRC-202")
    found = store.look()
    assert found["set"]["id"] == SECOND
    assert [one["id"] for one in found["passed_over"]] == [THIRD] and says in found["passed_over"][0]["reason"]
    assert digests(store.path) == before


@pytest.mark.parametrize(("damage", "says"), BAD_MANIFESTS, ids=[one[0].__name__ for one in BAD_MANIFESTS])
def test_where_the_only_set_is_bad_there_is_none(store: Store, damage: Any, says: str) -> None:
    damage(store, THIRD)
    for other in (FIRST, SECOND):
        shutil.rmtree(store.path / other)
    assert says in error_of(store.look(), "PRC-203")


def flip(folder: Path) -> None:
    path = folder / f"influxdb/data_{THIRD}"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def truncate(folder: Path) -> None:
    (folder / f"influxdb/data_{THIRD}").chmod(0o644)
    os.truncate(folder / f"influxdb/data_{THIRD}", 10)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flip, f"influxdb/data_{THIRD} is damaged: sha256"),
        (truncate, f"influxdb/data_{THIRD} is truncated: 10 bytes"),
        (lambda folder: (folder / f"influxdb/data_{THIRD}").unlink(), f"influxdb/data_{THIRD} is missing"),
        (lambda folder: (folder / "influxdb/more").write_text(""), "influxdb/more is an extra file"),
    ],
    ids=["bit flip", "truncation", "missing", "extra"],
)
@pytest.mark.parametrize("asked", ["latest", THIRD])
def test_damaged_bytes_are_an_error_and_never_replaced_unasked(
    store: Store, damage: Any, says: str, asked: str
) -> None:
    damage(store.path / THIRD)
    result = store.look(backup_set=asked, verify="bytes")
    assert says in error_of(result, "PRC-230")
    assert SECOND in result["error"]["next_step"], "the set before is named, to copy and paste"
    assert store.look(backup_set=SECOND, verify="bytes")["verified"]["files"] == 4


def test_only_what_is_needed_is_read(store: Store) -> None:
    flip(store.path / THIRD)
    found = store.look(verify="bytes", components=["redis", "postgresql"])
    assert found["verified"]["files"] == 2


def test_a_pgbackrest_backup_that_is_gone_is_an_error_unless_it_is_not_needed(store: Store) -> None:
    shutil.rmtree(store.path / "pgbackrest/backup/platform3/20261123-051700F")
    assert "backup.manifest cannot be read" in error_of(store.look(verify="bytes"), "PRC-231")
    assert store.look(verify="bytes", verify_pgbackrest=False)["set"]["id"] == THIRD
    assert store.look(verify="bytes", components=["redis"])["set"]["id"] == THIRD


def test_another_major_version_is_refused_with_both_versions(store: Store) -> None:
    found = error_of(store.look(backup_set=THIRD, versions={"postgresql": "18.1"}), "PRC-202")
    assert found == "it was written by postgresql 17.11, here runs 18.1"
    assert store.look(versions={"postgresql": "17.2"})["set"]["id"] == THIRD


def test_without_verification_no_signature_is_asked_for(store: Store) -> None:
    unsigned(store, THIRD)
    found = store.look(verify="none")
    assert found["set"]["id"] == THIRD and found["set"]["signed_by"] is None and found["verified"] is None


def test_an_unreadable_store_says_so(empty: Store) -> None:
    assert "No such file" in error_of(empty.look(store_path=str(empty.path / "nowhere")), "PRC-204")


def test_signers_never_come_from_the_store(store: Store) -> None:
    foreign(store, THIRD)
    (store.path / THIRD / "allowed_signers").write_text(f"lab-backup {store.foreign_public}")
    (store.path / "allowed_signers").write_text(f"lab-backup {store.foreign_public}")
    error_of(store.look(backup_set=THIRD), "PRC-202")
