# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules configuration_backup and configuration_restore; the engine's answers are given."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

IMAGES = {"redis": {"image": "redis:8", "id": "sha256:1", "created": None, "repository_digests": []}}


class Host:
    """A host with a configuration and a set to write to, and the modules' inputs for both."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.images: dict[str, Any] = dict(IMAGES)
        self.missing: list[str] = []
        self._monkeypatch = monkeypatch
        (folder / "project").mkdir()
        (folder / "config").mkdir()
        (folder / "set/configuration").mkdir(parents=True)
        (folder / "project/compose.yaml").write_text("services: {}\n")
        (folder / "compose.env").write_text("PORT=1\nDB_PASSWORD=correct horse\n")
        (folder / "config/redis.conf").write_text("appendonly yes\n")
        self.shared: dict[str, Any] = {
            "fence": {"recovery_id": "r", "epoch": 1},
            "compose": {
                "project": "p",
                "directory": str(folder / "project"),
                "files": ["compose.yaml"],
                "env_file": str(folder / "compose.env"),
            },
            "paths": [str(folder / "config")],
        }

    def run(self, name: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.platform3.recovery.plugins.modules.{name}")
        if hasattr(module, "images_here"):
            self._monkeypatch.setattr(module, "images_here", lambda _compose: (self.images, self.missing))
        printed = io.StringIO()
        given = {**self.shared, **arguments, "_ansible_check_mode": check_mode}
        with patch_module_args(given), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
        return result

    def back_up(self, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
        given = {"set_path": str(self.folder / "set"), "inventory": {"environment": "lab"}, **changes}
        return self.run("configuration_backup", check_mode, **given)

    def restore(self, made: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
        given = {"artefacts": made["artefacts"], "content": made["content"], "set_path": str(self.folder / "set")}
        return self.run("configuration_restore", check_mode, **given)

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): path.read_text()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_backup_records_every_file_it_writes(host: Host) -> None:
    made = host.back_up()
    written = {str(p.relative_to(host.folder / "set")): p for p in (host.folder / "set").rglob("*") if p.is_file()}
    assert {one["path"] for one in made["artefacts"]} == set(written)
    for one in made["artefacts"]:
        content = written[one["path"]].read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert made["content"]["images"] == IMAGES and made["content"]["left_out"] == ["DB_PASSWORD"]
    assert json.loads((host.folder / "set/configuration/inventory.json").read_text()) == {"environment": "lab"}


def test_no_secret_is_written(host: Host) -> None:
    host.back_up(secrets=["correct horse"])
    assert not [path for path in (host.folder / "set").rglob("*") if path.is_file() and "horse" in path.read_text()]


@pytest.mark.parametrize("where", ["project/compose.yaml", "config/redis.conf"])
def test_a_secret_in_clear_ends_the_backup_before_anything_is_written(host: Host, where: str) -> None:
    (host.folder / where).write_text("password: correct horse\n")
    result = host.back_up(secrets=["correct horse"])
    assert result["error"]["code"] == "PRC-241" and "horse" not in json.dumps(result)
    assert not [path for path in (host.folder / "set").rglob("*") if path.is_file()]


def test_a_secret_in_the_inventorys_facts_is_refused(host: Host) -> None:
    result = host.back_up(secrets=["correct horse"], inventory={"x": "correct horse"})
    assert result["error"]["code"] == "PRC-241"


def test_an_image_that_the_engine_does_not_hold_is_an_error(host: Host) -> None:
    host.missing = ["redis:8"]
    assert "does not hold redis:8" in host.back_up()["error"]["found"]


def test_check_mode_writes_nothing(host: Host) -> None:
    before = host.files()
    made = host.back_up(check_mode=True)
    assert made["changed"] and "configuration/compose/compose.yaml" in made["diff"]["after"]
    assert host.files() == before


def test_an_unchanged_host_is_as_in_the_set(host: Host) -> None:
    made = host.back_up()
    found = host.restore(made)
    assert all(one["ok"] and one["found"] == "as in the set" for one in found["checks"])
    assert found["restored"] == [] and found["differing"] == []
    assert not found["changed"]


def test_missing_files_come_back_and_others_stay(host: Host) -> None:
    (host.folder / "config/redis.conf").chmod(0o640)
    made = host.back_up()
    (host.folder / "project/compose.yaml").write_text("services: {newer: {}}\n")
    (host.folder / "config/redis.conf").unlink()
    (host.folder / "config").rmdir()
    (host.folder / "compose.env").unlink()
    before = host.files()
    planned = host.restore(made, check_mode=True)
    assert planned["changed"] and host.files() == before
    done = host.restore(made)
    assert sorted(done["restored"]) == [str(host.folder / "compose.env"), str(host.folder / "config/redis.conf")]
    assert done["differing"] == [str(host.folder / "project/compose.yaml")]
    assert done["incomplete"] == [str(host.folder / "compose.env")]
    assert (host.folder / "config/redis.conf").read_text() == "appendonly yes\n"
    assert (host.folder / "config/redis.conf").stat().st_mode & 0o777 == 0o640
    assert (host.folder / "project/compose.yaml").read_text() == "services: {newer: {}}\n"
    assert not host.restore(made)["changed"]
    assert not [name for name in host.files() if name.endswith(".restored")]


def test_a_file_that_does_not_stay_fails_the_comparison(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    made = host.back_up()
    (host.folder / "config/redis.conf").unlink()
    module = importlib.import_module("ansible_collections.platform3.recovery.plugins.modules.configuration_restore")
    monkeypatch.setattr(module, "put", lambda *_given: None)
    result = host.restore(made)
    assert result["error"]["code"] == "PRC-242" and "redis.conf" in result["msg"]
    assert [one["ok"] for one in result["checks"]].count(False) == 1


def test_a_missing_image_fails_the_comparison(host: Host) -> None:
    made = host.back_up()
    host.images = {}
    assert "image of redis" in host.restore(made)["msg"]


def test_a_damaged_file_of_the_set_is_not_brought_back(host: Host) -> None:
    made = host.back_up()
    (host.folder / "config/redis.conf").unlink()
    (host.folder / "set/configuration/files/config/redis.conf").write_text("appendonly no\n")
    assert host.restore(made)["error"]["code"] == "PRC-230"
    assert not (host.folder / "config/redis.conf").exists()
