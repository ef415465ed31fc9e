# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's configuration: what goes into a set, where it comes back to, and what never leaves the host."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _configuration as configuration
from ansible_collections.platform3.recovery.plugins.module_utils._docker import Compose
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def layout(tmp_path: Path) -> configuration.Layout:
    project, config = tmp_path / "project", tmp_path / "config"
    (config / "redis").mkdir(parents=True)
    (project / "more").mkdir(parents=True)
    (project / "compose.yaml").write_text("services: {}\n")
    (project / "more/ports.yaml").write_text("services: {}\n")
    (tmp_path / "compose.env").write_text("A=1\n")
    (config / "redis/redis.conf").write_text("appendonly yes\n")
    (tmp_path / "single.conf").write_text("x\n")
    compose = Compose("p", str(project), ("compose.yaml", "more/ports.yaml"), str(tmp_path / "compose.env"))
    return configuration.Layout(compose, (str(config) + "/", str(tmp_path / "single.conf")))


def test_every_file_has_its_place_in_the_set_and_back(layout: configuration.Layout) -> None:
    sources = layout.sources()
    assert {one.target: one.kind for one in sources} == {
        "configuration/compose/compose.yaml": "compose",
        "configuration/compose/more/ports.yaml": "compose",
        "configuration/environment/compose.env": "environment",
        "configuration/files/config/redis/redis.conf": "file",
        "configuration/files/single.conf": "file",
    }
    for one in sources:
        place = layout.place_of(one.target)
        assert place is not None and Path(place) == Path(one.path)


@given(st.text("./abconfigurationcmpseyl", max_size=60))
def test_no_path_of_a_set_leads_out_of_the_places_of_the_inventory(target: str) -> None:
    layout = configuration.Layout(Compose("p", "/project", ("compose.yaml",), "/env/compose.env"), ("/etc/config",))
    for one in (target, f"configuration/{target}", f"configuration/files/config/{target}"):
        place = layout.place_of(one)
        if place is not None:
            assert ".." not in place.split("/")
            assert place.startswith("/etc/config/") or place in (
                "/etc/config",
                "/project/compose.yaml",
                "/env/compose.env",
            )


@pytest.mark.parametrize(
    "target",
    [
        "configuration/compose/other.yaml",
        "configuration/files/config/../../../etc/passwd",
        "configuration/files/unknown/x",
        "configuration/environment/other.env",
        "configuration/images.json",
        "redis/compose/compose.yaml",
        "/etc/passwd",
    ],
)
def test_what_the_inventory_has_no_place_for_is_not_written(layout: configuration.Layout, target: str) -> None:
    assert layout.place_of(target) is None


def test_a_file_that_is_named_and_not_there_is_an_error(layout: configuration.Layout, tmp_path: Path) -> None:
    (tmp_path / "single.conf").unlink()
    with pytest.raises(RecoveryError) as caught:
        layout.sources()
    assert caught.value.code == "PRC-240" and "single.conf" in caught.value.attempted


def test_two_folders_of_one_name_are_an_error(layout: configuration.Layout, tmp_path: Path) -> None:
    (tmp_path / "b/config/redis").mkdir(parents=True)
    (tmp_path / "b/config/redis/redis.conf").write_text("x")
    double = configuration.Layout(layout.compose, (*layout.paths, str(tmp_path / "b/config")))
    with pytest.raises(RecoveryError, match="in one place of the set"):
        double.sources()


def test_a_name_that_no_set_may_hold_is_an_error(layout: configuration.Layout, tmp_path: Path) -> None:
    (tmp_path / "config/my file").write_text("x")
    with pytest.raises(RecoveryError, match="holds characters outside"):
        layout.sources()


def test_secrets_of_an_env_file_are_left_out_and_named() -> None:
    raw = b'PORT=1\nDB_PASSWORD=hunter2\n# PASSWORD=x\nexport API_TOKEN="abc"\nPASSWORD_FREE\n\nAPIKEY=1\n'
    kept, names = configuration.without_secrets(raw)
    assert names == ["DB_PASSWORD", "API_TOKEN", "APIKEY"]
    assert b"hunter2" not in kept and b"abc" not in kept
    assert kept.splitlines()[0] == b"PORT=1" and b"# PASSWORD=x" in kept and b"PASSWORD_FREE" in kept


@given(st.binary(max_size=200))
def test_leaving_secrets_out_twice_is_leaving_them_out_once(raw: bytes) -> None:
    once, _names = configuration.without_secrets(raw)
    assert configuration.without_secrets(once) == (once, [])


@pytest.mark.parametrize(
    "content",
    [b"a: correct horse battery\n", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"-----BEGIN PRIVATE KEY-----\n"],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(content: bytes) -> None:
    with pytest.raises(RecoveryError) as caught:
        configuration.require_no_secret("/x/compose.yaml", content, ["correct horse battery", ""])
    assert caught.value.code == "PRC-241" and "/x/compose.yaml" in caught.value.attempted
    assert "horse" not in caught.value.sentence()


def test_short_values_are_no_secrets_to_look_for() -> None:
    configuration.require_no_secret("/x", b"a lab file", ["lab", ""])


def record(path: str, content: bytes, kind: str = "file", component: str = "configuration") -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path, "bytes": len(content), "sha256": digest, "kind": kind, "component": component}


def test_files_are_compared_as_they_would_be_backed_up(layout: configuration.Layout, tmp_path: Path) -> None:
    (tmp_path / "compose.env").write_text("A=1\nB_SECRET=new\n")
    (tmp_path / "single.conf").unlink()
    differences = configuration.compare_files(
        layout,
        [
            record("configuration/compose/compose.yaml", b"services: {old}\n", "compose"),
            record(
                "configuration/environment/compose.env",
                b"A=1\n# left out of the backup, a secret: B_SECRET\n",
                "environment",
            ),
            record("configuration/files/single.conf", b"x\n"),
            record("configuration/images.json", b"{}", "images"),
            record("redis/x", b"", "rdb", "redis"),
        ],
    )
    assert [(Path(one.path).name, one.state) for one in differences] == [
        ("compose.yaml", configuration.KEPT),
        ("compose.env", configuration.SAME),
        ("single.conf", configuration.MISSING),
    ]
    assert [one["ok"] for one in configuration.file_checks(differences)] == [True, True, False]
    assert all(one["ok"] for one in configuration.file_checks(differences, missing_allowed=True))


def test_services_and_images_are_read_as_docker_prints_them() -> None:
    services = configuration.services_of({"name": "p", "services": {"web": {"image": "web:1"}, "own": {"build": "."}}})
    assert services == {"web": "web:1", "own": "p-own"}
    inspected = [
        {"Id": "sha256:1", "RepoTags": ["web:1"], "RepoDigests": ["web@sha256:9"], "Created": "2026"},
        {"Id": "sha256:2", "RepoTags": ["p-own:latest"], "RepoDigests": None},
    ]
    found = configuration.image_ids(inspected, {**services, "gone": "gone:1"})
    assert {name: one["id"] for name, one in found.items()} == {"web": "sha256:1", "own": "sha256:2"}
    assert found["web"]["repository_digests"] == ["web@sha256:9"]


def test_a_missing_image_is_a_failed_check_and_another_one_is_named() -> None:
    expected = {name: {"image": f"{name}:1", "id": f"sha256:{name}"} for name in ("same", "other", "gone")}
    here = {"same": expected["same"], "other": {"image": "other:1", "id": "sha256:rebuilt"}}
    checks = {one["name"]: one for one in configuration.image_checks(expected, here)}
    assert checks["image of same"]["found"] == configuration.SAME
    assert checks["image of other"]["ok"] and "sha256:rebuilt" in checks["image of other"]["found"]
    assert not checks["image of gone"]["ok"]


@pytest.mark.parametrize(
    ("expected", "mode"),
    [({"mode": "0640"}, 0o640), ({}, 0o600), (None, 0o600), ({"mode": "4755"}, 0o600), ({"mode": 7}, 0o600)],
)
def test_permissions_come_back_and_never_special_ones(expected: Any, mode: int) -> None:
    artefact = {"expected": expected} if expected is not None else {}
    assert configuration.mode_from(artefact) == mode
