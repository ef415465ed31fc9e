# SPDX-License-Identifier: GPL-3.0-or-later
"""backup.yml against the running lab, into a store of its own: whole, killed in the middle, twice at once, one failing.

The pgBackRest repository is the lab's; lock, journal and sets are not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.descendants import kill_all

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
STORE = Path("/opt/platform3/backups")
TIMEOUT_SECONDS = 300

pytestmark = [pytest.mark.integration, pytest.mark.lab]


class Place:
    """A backup store and a state folder for these tests."""

    def __init__(self, folder: Path) -> None:
        self.store, self.state = folder / "store", folder / "state"
        self.state.mkdir()
        (self.store / "fence").mkdir(parents=True)
        for name in ("pgbackrest", "wal-stream"):
            (self.store / name).symlink_to(STORE / name)
        for place in (self.store, self.state):
            shutil.copy(ROOT / "lab/run/environment_id", place / "environment_id")
        # An epoch that no volume outranks, as the lab's own store would give it.
        shutil.copytree(STORE / "fence", self.store / "fence", dirs_exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        places = ["-e", f"backup_store_path={self.store}", "-e", f"recovery_state_path={self.state}"]
        return [str(BIN / "ansible-playbook"), "backup.yml", *places, *arguments]

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return done.returncode, re.sub(r"\s+", " ", done.stdout)

    def sets(self) -> list[str]:
        """Names of what looks like a complete set."""
        return sorted(path.name for path in self.store.iterdir() if re.fullmatch(r"\d{8}T\d{6}Z", path.name))

    def incomplete(self) -> list[str]:
        return sorted(path.name for path in self.store.glob("*.incomplete"))

    def listing(self) -> list[tuple[str, int]]:
        """Every file of the sets with its size."""
        found = [path for one in self.store.glob("2*") for path in one.rglob("*") if path.is_file()]
        return sorted((str(path.relative_to(self.store)), path.stat().st_size) for path in found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("backup"))


def test_a_killed_backup_leaves_nothing_that_looks_complete_and_a_second_one_waits_for_it(place: Place) -> None:
    first = subprocess.Popen(place.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not any(place.store.glob("*.incomplete/redis/*")):
            assert first.poll() is None, "the first backup ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        status, text = place.run()
        assert first.poll() is None, "the first backup ended while the second one tried"
        assert status != 0
        assert "[PRC-308]" in text and "is running (last sign of life" in text
    finally:
        kill_all(first.pid)
        first.wait()
    assert place.sets() == []
    assert len(place.incomplete()) == 1


def test_the_next_backup_removes_what_was_left_and_completes(place: Place) -> None:
    (left,) = place.incomplete()
    lock = place.state / "lock"
    assert json.loads(lock.read_text())["recovery_id"] == f"backup-{left.split('.')[0]}"
    long_ago = time.time() - 3600
    os.utime(lock, (long_ago, long_ago))
    status, text = place.run()
    assert status == 0, text[-3000:]
    assert "is complete:" in text
    assert len(place.sets()) == 1 and place.incomplete() == []
    assert not lock.exists()


def test_a_complete_set_is_accepted_by_sha256sum_and_openssh(place: Place, tmp_path: Path) -> None:
    (name,) = place.sets()
    folder = place.store / name
    argv = ["sha256sum", "--check", "--strict", "--quiet", f"verification_{name}.txt"]
    subprocess.run(argv, cwd=folder, check=True)
    listed = {line.split("  ", 1)[1] for line in (folder / f"verification_{name}.txt").read_text().splitlines()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {"backup_manifest.json.sig", f"verification_{name}.txt"}
    public = (ROOT / "secrets/lab/backup_signing_key.pub").read_text()
    (tmp_path / "allowed").write_text(f"anybody {public}")
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "anybody", "-n", "platform3-backup"]
    argv += ["-s", "backup_manifest.json.sig"]
    subprocess.run(argv, cwd=folder, input=(folder / "backup_manifest.json").read_bytes(), check=True)


def test_a_set_holds_every_component_and_no_secret(place: Place) -> None:
    (name,) = place.sets()
    manifest = json.loads((place.store / name / "backup_manifest.json").read_text())
    assert set(manifest["components"]) == {"postgresql", "redis", "influxdb", "configuration"}
    assert {one["component"] for one in manifest["artefacts"]} == set(manifest["components"])
    secrets = [path.read_text().strip() for path in (ROOT / "secrets/lab").iterdir() if path.suffix != ".pub"]
    readable = [place.store / name / "backup_manifest.json", *(place.store / name / "configuration").rglob("*")]
    for path in readable:
        if path.is_file():
            assert not [one for one in secrets if one in path.read_text(errors="replace")], path


def test_check_mode_takes_no_lock_and_writes_nothing(place: Place) -> None:
    before = place.listing()
    status, text = place.run("--check")
    assert status == 0, text[-3000:]
    assert place.listing() == before and not (place.state / "lock").exists()


def test_a_component_that_fails_is_named_and_leaves_no_complete_set(place: Place) -> None:
    before = place.sets()
    status, text = place.run("-e", "redis_password=wrong")
    assert status != 0
    assert "redis failed" in text, text[-3000:]
    assert place.sets() == before and len(place.incomplete()) == 1
    assert not (place.state / "lock").exists(), "the lock is free for the next backup"


def test_a_store_of_another_environment_is_refused_before_anything_is_written(place: Place) -> None:
    path = place.store / "environment_id"
    mine = path.read_text()
    path.write_text("drill-0123456789ab")
    try:
        before = place.listing()
        status, text = place.run()
        assert status != 0 and "belongs to environment drill-0123456789ab" in text
        assert place.listing() == before
    finally:
        path.write_text(mine)
