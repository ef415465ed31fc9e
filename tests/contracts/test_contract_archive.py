# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive that others install holds the collection and nothing of this machine."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.contracts.tree import ROOT, files, tool

CANARY = "canary-8c1f1a55-never-in-an-archive"
# Where a secret, a state or a result lies in a checkout that has been used.
PRIVATE = (
    "secrets/lab/postgresql_password",
    "secrets/production/influxdb_token",
    "lab/run/environment_id",
    "lab/run/ledger.jsonl",
    "reports/20261123T051700Z-full/report.json",
    "docs/vault.txt",
    "roles/redis/files/redis_password",
    "plugins/modules/.env",
    "sidecars/.env",
    "inventories/production/group_vars/all/vault.yml",
    ".vault_pass",
    "id_ed25519",
)
NEEDED = (
    "plugins/modules/recovery_lock.py",
    "plugins/action/step.py",
    "playbooks/full_recovery.yml",
    "meta/runtime.yml",
    "sidecars/compose.yaml",
    "sidecars/wal_receiver",
    "sidecars/aof_shipper",
    "sidecars/aof_shipper_healthy",
    "sidecars/heartbeat.py",
    "sidecars/second_copy.py",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as built from a copy of the checkout with a secret in every place where one could lie."""
    folder = tmp_path_factory.mktemp("archive")
    copy = folder / "checkout"
    for path in files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            shutil.copy2(path, target)
    for name in PRIVATE:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(CANARY, encoding="utf-8")
    done = subprocess.run(
        [tool("ansible-galaxy"), "collection", "build", "--output-path", str(folder)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("platform3-recovery-*.tar.gz"))


def test_the_archive_holds_no_secret_and_nothing_that_was_made_here(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
        names = [member.name for member in members]
        leaks = [
            member.name
            for member in members
            if member.isfile() and CANARY.encode() in packed.extractfile(member).read()  # type: ignore[union-attr]
        ]
    assert leaks == []
    assert [name for name in names if name.split("/")[0] in ("secrets", "lab", "reports", "inventories", "tests")] == []


def test_the_archive_holds_what_a_recovery_needs(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    assert set(NEEDED) - names == set()
    roles = {path.relative_to(ROOT).as_posix() for path in files() if path.relative_to(ROOT).parts[0] == "roles"}
    assert {name for name in roles if not name.startswith("roles/lab/")} - names == set()


def test_the_archive_holds_no_lab(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        assert [name for name in packed.getnames() if name.startswith(("roles/lab", "playbooks/lab"))] == []
