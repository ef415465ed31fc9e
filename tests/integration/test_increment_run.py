# SPDX-License-Identifier: GPL-3.0-or-later
"""backup.yml with backup_set_kind=increment on an InfluxDB of its own, and the chain read back as a recovery reads it.

The full set before it holds a real InfluxDB; its other components are files, since an increment only inherits them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.descendants import kill_all
from tests.integration.influxdb_stage import ORGANISATION, SECOND, Platform, Taken, seed
from tests.unit.plugins.modules.set_stage import ENVIRONMENT, Store, run

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
FULL = "20261122T051700Z"
GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")


class Stage:
    """A server, a store, a state folder and an inventory of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = Platform(folder / "platform", secrets.token_hex(24))
        self.store = Store(folder)
        self.state = folder / "state"
        self.state.mkdir()
        (self.state / "environment_id").write_text(ENVIRONMENT["environment_id"])
        self.facts: dict[str, Any] = {}

    def inventory(self) -> None:
        """Written once the port is known."""
        variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "recovery_environment": ENVIRONMENT["environment"],
            "recovery_environment_id": ENVIRONMENT["environment_id"],
            "recovery_state_path": str(self.state),
            "recovery_compose": {"project": self.platform.id, "directory": str(self.platform.folder), "files": []},
            "backup_store_path": str(self.store.path),
            "backup_set_signing_key": self.store.key,
            "backup_set_trusted_signers": self.store.signers,
            "influxdb_container": self.platform.id,
            "influxdb_url": self.platform.url,
            "influxdb_organisation": ORGANISATION,
            "influxdb_buckets": ["market-data", "analytics"],
            "influxdb_token": self.platform.token,
            "influxdb_settle_seconds": 2,
            "postgresql_service": "postgresql",
            "postgresql_image": "none",
            "postgresql_stanza": "platform3",
        }
        # None of these is there: who touches them fails.
        variables |= {"redis_host": "127.0.0.1", "redis_port": 9, "redis_user": "nobody", "redis_password": "none"}
        hosts = {name: {"hosts": {f"host-{name}": {"recovery_component": name}}} for name in GROUPS}
        del hosts["backup_store"]["hosts"]["host-backup_store"]["recovery_component"]
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": hosts}}))

    def begin(self, *options: str) -> subprocess.Popen[str]:
        """backup.yml at work."""
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "backup.yml"]
        return subprocess.Popen(
            [*argv, "-i", str(self.folder / "hosts.yml"), *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, *options: str) -> tuple[int, str]:
        """Status and output of backup.yml."""
        begun = self.begin(*options)
        said, _nothing = begun.communicate(timeout=120)
        return begun.returncode, re.sub(r"\s+", " ", said)

    def sets(self) -> list[str]:
        """Ids of the complete sets."""
        return sorted(one.name for one in self.store.path.glob("2*Z"))

    def write(self, count: int) -> None:
        """Points of now."""
        now = time.time_ns()
        lines = (f"ticks,symbol=USDCHF bid=1.{number} {now - number * SECOND // 100}" for number in range(count))
        self.platform.api.write(self.facts["organisation"], self.facts["buckets"]["market-data"], "\n".join(lines))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """With a full set."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    try:
        made.platform.start()
        made.facts = seed(made.platform)
        made.inventory()
        yield made
    finally:
        made.platform.clean()


def test_without_a_full_set_the_words_are_to_take_one(stage: Stage) -> None:
    status, text = stage.play("-e", "backup_set_kind=increment")
    take_one = f"take a full backup: ansible-playbook -i {stage.folder / 'hosts.yml'} backup.yml"
    assert status != 0 and "[PRC-750]" in text and take_one in text, text
    assert list(stage.store.path.glob("2*")) == [] and not (stage.state / "lock").exists()


def test_wrong_inputs_touch_nothing(stage: Stage) -> None:
    status, text = stage.play(
        *(
            "-e",
            "backup_set_kind=incremental",
            "-e",
            "backup_set_components=influxbd",
            "-e",
            "backup_set_compnents=redis",
        )
    )
    assert status != 0 and "nothing was touched" in text
    for nearest in ("increment", "influxdb", "backup_set_components"):
        assert f"did you mean '{nearest}'" in text
    assert not (stage.state / "lock").exists()


def test_two_increments_are_a_chain_that_a_recovery_reads(stage: Stage, tmp_path: Path) -> None:
    begun = stage.store.begin(FULL)
    results = stage.store.write(FULL)
    influxdb = stage.platform.backup(Path(begun["backup_set"]["path"]), settle_seconds=2)
    (stage.store.path / f"{FULL}.incomplete/influxdb/data_{FULL}").unlink()
    made = stage.store.complete(FULL, {**results, "influxdb": influxdb})
    assert not made.get("failed"), made
    for _number in range(2):
        stage.write(500)
        status, text = stage.play("-e", "backup_set_kind=increment")
        assert status == 0, text[-3000:]
    first, second = stage.sets()[1:]
    manifest = stage.store.manifest(second)
    assert (manifest["parent"], manifest["chains"]["influxdb"]) == (first, [FULL, first, second])
    assert manifest["chains"]["redis"] == [FULL] and list((stage.store.path / second / "redis").iterdir()) == []
    looked = run(
        "backup_manifest_info",
        {"store_path": str(stage.store.path), "trusted_signers": stage.store.signers, **ENVIRONMENT, "verify": "bytes"},
    )
    assert not looked.get("failed"), looked
    part = looked["set"]["components"]["influxdb"]
    assert looked["set"]["id"] == second and [one["id"] for one in part["older"]] == [FULL, first]
    target = Platform(tmp_path / "target", stage.platform.token)
    try:
        taken = Taken(Path(part["path"]), part, stage.facts)
        restored = target.restore(taken, older=part["older"])
        assert "failed" not in restored, restored
        assert target.count('|> filter(fn: (r) => r.symbol == "USDCHF")') == 1000
        verified = target.verify(taken)
        assert "failed" not in verified, verified
    finally:
        target.clean()


def test_check_mode_writes_nothing(stage: Stage) -> None:
    before = stage.sets()
    status, text = stage.play("-e", "backup_set_kind=increment", "--check")
    assert status == 0, text[-3000:]
    assert stage.sets() == before and not (stage.state / "lock").exists()


def test_a_component_that_fails_leaves_the_chain_as_it_was(stage: Stage) -> None:
    before = stage.sets()
    status, text = stage.play("-e", "backup_set_kind=increment", "-e", "backup_set_components=redis,influxdb")
    assert status != 0 and "redis" in text and "[PRC-207]" in text
    assert stage.sets() == before and not (stage.state / "lock").exists()
    manifest = json.loads((stage.store.path / before[-1] / "backup_manifest.json").read_text())
    stage.write(10)
    status, text = stage.play("-e", "backup_set_kind=increment")
    assert status == 0, text[-3000:]
    assert stage.store.manifest(stage.sets()[-1])["parent"] == manifest["backup_set"]


@pytest.fixture
def small_store(stage: Stage, tmp_path: Path) -> Iterator[Path]:
    """The store on a disk of its own, with 64 kB left on it."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "platform3-test", folder], check=True)
    try:
        subprocess.run(["cp", "--archive", f"{stage.store.path}/.", folder], check=True)
        remount(folder, f"size={shutil.disk_usage(folder).used + 65536}")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_store_that_is_full_or_read_only_is_named_and_the_chain_goes_on(stage: Stage, small_store: Path) -> None:
    before = stage.sets()
    into = ("-e", "backup_set_kind=increment", "-e", f"backup_store_path={small_store}")
    stage.write(10)
    for options, code, said in (
        ("rw", "[PRC-310]", "No space left on device"),
        ("ro", "[PRC-206]", "Read-only file system"),
    ):
        remount(small_store, options)
        status, text = stage.play(*into)
        assert status != 0 and code in text and said in text, text[-3000:]
        assert "Traceback" not in text
        assert sorted(one.name for one in small_store.glob("2*Z")) == before
        assert not (stage.state / "lock").exists()
        stage.write(10)  # the platform goes on
    remount(small_store, "rw,size=64m")
    status, text = stage.play(*into)
    assert status == 0, text[-3000:]
    (made,) = {one.name for one in small_store.glob("2*")} - set(before)
    manifest = json.loads((small_store / made / "backup_manifest.json").read_text())
    assert manifest["parent"] == before[-1] and manifest["chains"]["influxdb"][-1] == made


def test_an_increment_killed_while_it_copies_is_never_a_set_and_the_next_goes_on_from_the_one_before(
    stage: Stage,
) -> None:
    before = stage.sets()
    stage.write(500)
    killed = stage.begin("-e", "backup_set_kind=increment")
    try:
        deadline = time.monotonic() + 60
        while not any(stage.store.path.glob("*.incomplete/influxdb/shards/*")):
            assert killed.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        kill_all(killed.pid)
        killed.wait()
    assert stage.sets() == before and len(list(stage.store.path.glob("*.incomplete"))) == 1
    lock, long_ago = stage.state / "lock", time.time() - 3600
    os.utime(lock, (long_ago, long_ago))
    status, text = stage.play("-e", "backup_set_kind=increment")
    assert status == 0, text[-3000:]
    assert list(stage.store.path.glob("*.incomplete")) == []
    assert stage.store.manifest(stage.sets()[-1])["parent"] == before[-1]
