# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input of a full recovery: a clear error, an exit status that is not 0, and nothing touched."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _manifest, _state

from tests.integration.bad_input import (
    CANARY,
    LAB_INVENTORY,
    Bench,
    Ended,
    Manifest,
    complete_sets,
    environment_id,
    live,
    playbook,
    redis_client,
    replace,
    secret,
)

pytestmark = [pytest.mark.integration, pytest.mark.lab]


@pytest.fixture(scope="module")
def backup() -> Path:
    """The newest full set of the lab, made where there is none."""
    full = [one for one in complete_sets() if json.loads((one / _manifest.MANIFEST_NAME).read_text())["parent"] is None]
    if full:
        return full[-1]
    made = playbook(LAB_INVENTORY, "backup.yml")
    assert made.status == 0, made.text[-4000:]
    return complete_sets()[-1]


@pytest.fixture(scope="module")
def before(backup: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """An instant, and the digest of what was live then."""
    redis_client().set(CANARY, "alive")
    until = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    time.sleep(2)  # what was written up to then is settled
    yield until, live(until)
    redis_client().delete(CANARY)


@pytest.fixture
def bench(tmp_path: Path, backup: Path, before: tuple[str, dict[str, Any]]) -> Iterator[Bench]:
    """Where a test may spoil things; afterwards, what is live is as it was and no lock is left."""
    made = Bench(tmp_path, backup)
    yield made
    assert made.asked_the_engine_to_change() == ""
    until, digest = before
    assert live(until) == digest
    lock = made.state / "lock"
    assert not lock.exists() or "somebody-else" in lock.read_text(encoding="utf-8")


def refused(ended: Ended, *words: str) -> None:
    """The run ended not 0, said each of the words, and that nothing was changed."""
    missing = [word for word in words if word not in ended.text]
    assert not missing, f"not said: {missing}\n{ended.text[-6000:]}"
    assert ended.status != 0
    assert "nothing was changed" in ended.text.lower() or "nothing was touched" in ended.text.lower()
    assert "Traceback" not in ended.text


# --- what is typed ---------------------------------------------------------------------------------------------------

# Each of these alone is tried in test_inputs.py and test_recovery_inputs.py. Here they come together, as all that is
# wrong is said at once, and a run of the whole playbook takes its time.
TYPED: dict[str, tuple[list[str], list[str]]] = {
    "values": (
        [
            *("-e", "recovery_confirm=production"),
            *("-e", "recovery_replace_running=production"),
            *("-e", "recovery_backupset=latest"),
            *("-e", '{"recovery_fence": {"recovery_id": "x", "epoch": 9}}'),
            *("-e", "recovery_components=redis"),
            *("-e", "recovery_backup_set=yesterday"),
            *("-e", "incident_at=2026-11-23T05:17:00"),
            *("-e", "recovery_target_time=2026-11-23T05:17:00Z"),
            *("-e", "recovery_id=../../etc"),
        ],
        [
            "PRC-100",
            "9 of its inputs are wrong",
            "[PRC-106] recovery_confirm is 'production'",
            "give -e recovery_confirm=lab",
            "[PRC-107] recovery_replace_running is 'production'",
            "[PRC-101] unknown extra variable 'recovery_backupset', did you mean 'recovery_backup_set'",
            "[PRC-103] the extra variable 'recovery_fence'",
            "[PRC-108]",
            "partial_recovery.yml -e recovery_components=redis",
            "[PRC-102] recovery_backup_set must be 'latest'",
            "[PRC-102] incident_at: '2026-11-23T05:17:00' has no offset",
            "[PRC-109] recovery_target_time",
            "point_in_time_recovery.yml",
            "[PRC-102] recovery_id may hold",
        ],
    ),
    "missing confirmation, unknown component": (
        ["-e", "recovery_confirm=", "-e", "recovery_components=postgres"],
        ["PRC-105", "recovery_confirm is missing", "PRC-102", "'postgres'", "'postgresql'"],
    ),
    "options": (
        ["--limit", "postgresql", "--tags", "restore", "--skip-tags", "always", "--start-at-task", "Restore"],
        [
            "[PRC-114] --limit postgresql",
            "[PRC-115] --tags restore",
            "[PRC-115] --skip-tags always",
            "[PRC-115] --start-at-task",
        ],
    ),
    "limit to the store": (["--limit", "backup_store"], ["PRC-114"]),
    "limit without a component": (["--limit", "all:!redis"], ["PRC-114", "lab-redis"]),
    "start at a task of a role": (["--start-at-task", "restore | *"], ["PRC-115", "--start-at-task"]),
}


@pytest.mark.parametrize(("arguments", "words"), TYPED.values(), ids=TYPED.keys())
def test_what_is_typed_wrongly_is_refused(bench: Bench, arguments: list[str], words: list[str]) -> None:
    refused(bench.recover(*arguments), *words)


# --- the inventory ---------------------------------------------------------------------------------------------------


def spoil_three(hosts: dict[str, Any]) -> None:
    """One group is misspelt, one has no host, one has two."""
    groups = hosts["all"]["children"]
    groups["postgressql"] = groups.pop("postgresql")
    groups["redis"]["hosts"] = {}
    groups["influxdb"]["hosts"]["other-influxdb"] = {}


def shared_host(hosts: dict[str, Any]) -> None:
    hosts["all"]["children"]["redis"]["hosts"] = {"lab-influxdb": {}}


GROUPS: dict[str, tuple[Callable[[dict[str, Any]], None], list[str]]] = {
    "misspelt, empty, two hosts": (
        spoil_three,
        [
            *("PRC-110", "no group 'postgresql'", "postgressql"),
            *("PRC-111", "'redis'", "no host"),
            *("PRC-112", "'influxdb'", "other-influxdb"),
        ],
    ),
    "one host for two": (shared_host, ["lab-influxdb"]),
}


@pytest.mark.parametrize(("change", "words"), GROUPS.values(), ids=GROUPS.keys())
def test_a_wrong_group_is_refused(bench: Bench, change: Callable[[dict[str, Any]], None], words: list[str]) -> None:
    change(bench.hosts)
    bench.write_hosts()
    refused(bench.recover(), *words)


def test_a_misspelt_inventory_variable_is_refused(bench: Bench) -> None:
    bench.give(postgresql_restore_metod="logical")
    refused(bench.recover(), "PRC-104", "postgresql_restore_metod", "postgresql_restore_method")


def test_another_environments_inventory_is_refused(bench: Bench) -> None:
    bench.give(recovery_environment_id="lab-000000000000")
    refused(bench.recover(), environment_id(), "lab-000000000000")


# --- the platform and its host ---------------------------------------------------------------------------------------


def test_a_platform_that_serves_is_not_replaced_unasked(bench: Bench) -> None:
    refused(
        bench.recover("-e", "recovery_replace_running="),
        "PRC-405",
        "platform may be replaced",
        "recovery_replace_running=lab",
    )


def test_a_wrong_password_of_the_probe_does_not_make_a_platform_look_dead(bench: Bench) -> None:
    bench.give(platform_recovery_password="wrong")
    refused(bench.recover("-e", "recovery_replace_running="), "PRC-405")


SECRETS = ("postgresql_password", "redis_password", "influxdb_token")


def test_wrong_passwords_are_found_before_anything_is_touched(bench: Bench) -> None:
    bench.give(**dict.fromkeys(SECRETS, "not-the-secret"))
    ended = bench.recover()
    refused(ended, *SECRETS)
    assert "not-the-secret" not in ended.text


def test_empty_passwords_are_found_before_anything_is_touched(bench: Bench) -> None:
    bench.give(**dict.fromkeys(SECRETS, ""))
    refused(bench.recover(), "PRC-405", *[f"secret {name}" for name in SECRETS])


def test_an_engine_that_does_not_run_is_named(bench: Bench) -> None:
    ended = bench.recover(environment={"DOCKER_HOST": f"unix://{bench.state}/no-engine.sock"})
    refused(ended, "PRC-404", "container engine")


def test_a_disk_that_is_too_small_is_named(bench: Bench) -> None:
    def grow(manifest: Manifest) -> None:
        for one in manifest["artefacts"]:
            if one["component"] == "influxdb":
                one["bytes"] += 1 << 50
                one.pop("chunks", None), one.pop("chunk_bytes", None)

    bench.edit_manifest(grow, secret("backup_signing_key"))
    refused(bench.recover(), "PRC-405", "free disk space for the restore")


def test_another_major_version_is_refused(bench: Bench) -> None:
    bench.edit_manifest(
        lambda manifest: manifest["components"]["postgresql"].update(version="16.4"), secret("backup_signing_key")
    )
    refused(bench.recover(), "16")


def test_a_second_recovery_is_refused_while_one_is_not_finished(bench: Bench) -> None:
    lock = _state.Lock(
        environment_id=environment_id(),
        epoch=1,
        holder="somebody-else@controller",
        kind="recovery",
        recovery_id="20261123T000000Z-full",
        run=1,
        scenario="full",
        taken_at="2026-11-23T00:00:00.000Z",
    )
    (bench.state / "lock").write_text(lock.line() + "\n", encoding="utf-8")
    refused(bench.recover(), "PRC-308", "full_recovery.yml -e recovery_id=20261123T000000Z-full", "abandon.yml")
    assert (bench.state / "lock").read_text(encoding="utf-8") == lock.line() + "\n"


# --- the backup set --------------------------------------------------------------------------------------------------


def test_an_empty_store_is_named(bench: Bench) -> None:
    bench.set.rename(bench.set.with_suffix(".incomplete"))
    refused(bench.recover(), "PRC-200", "backup.yml")


def test_an_unknown_set_names_the_nearest_three(bench: Bench, backup: Path) -> None:
    near = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"]
    for name in near:
        bench.copy_set(backup, name)
    ended = bench.recover("-e", "recovery_backup_set=20260102T120000Z")
    refused(ended, "PRC-201", "20260102T120000Z", *near)
    assert f"{backup.name}," not in ended.text.split("nearest are", 1)[1][:80]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    replace(path, bytes(data))


def test_one_flipped_bit_is_found(bench: Bench) -> None:
    spoilt = bench.artefact("influxdb")
    flip(spoilt)
    ended = bench.recover()
    refused(ended, "PRC-230", spoilt.name)
    # Every other host learns of it by the journal, which it writes through the store's connection.
    for component in ("postgresql", "redis", "influxdb", "app_services"):
        assert f"{component}: isolate was not begun: assess of recovery failed" in ended.text, ended.text[-6000:]


def test_truncated_missing_extra_and_linked_files_are_found(bench: Bench) -> None:
    manifest = bench.manifest()
    first, second = [one["path"] for one in manifest["artefacts"] if one["component"] == "influxdb"][:2]
    replace(bench.set / first, (bench.set / first).read_bytes()[:-1])
    (bench.set / second).unlink()
    (bench.set / "redis/extra.rdb").write_bytes(b"x")
    linked = bench.artefact("redis")
    linked.rename(bench.store / "elsewhere")
    linked.symlink_to(bench.store / "elsewhere")
    refused(
        bench.recover(),
        "PRC-230",
        f"{first} is truncated",
        f"{second} is missing",
        "redis/extra.rdb is an extra file",
        f"{linked.name} is link",
    )


def test_an_edited_manifest_is_refused(bench: Bench) -> None:
    bench.edit_manifest(lambda manifest: manifest.update(sequence=manifest["sequence"] + 1))
    refused(bench.recover(), "PRC-203", "signature")


def test_a_missing_signature_is_refused(bench: Bench) -> None:
    (bench.set / _manifest.SIGNATURE_NAME).unlink()
    refused(bench.recover(), "PRC-203", "sign")


def test_a_foreign_signature_is_refused(bench: Bench, tmp_path: Path) -> None:
    key = tmp_path / "foreign"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    bench.write_manifest(bench.manifest(), key.read_text(encoding="utf-8"))
    refused(bench.recover(), "PRC-203", "trusted")


def test_a_path_that_leads_out_of_its_folder_is_refused(bench: Bench) -> None:
    """Also where the manifest is signed by a trusted key; other such paths are tried in test_manifest.py."""
    path = "influxdb/../../../etc/cron.d/x"

    def lead_out(manifest: Manifest) -> None:
        next(one for one in manifest["artefacts"] if one["component"] == "redis")["path"] = path

    bench.edit_manifest(lead_out, secret("backup_signing_key"))
    refused(bench.recover(), "PRC-203", path)


def test_a_set_of_another_environment_is_refused(bench: Bench) -> None:
    bench.edit_manifest(
        lambda manifest: manifest.update(environment="other", environment_id="other-000000000000"),
        secret("backup_signing_key"),
    )
    refused(bench.recover(), "PRC-203", "other-000000000000")


def test_a_set_that_is_asked_for_and_does_not_do_is_refused_not_replaced(bench: Bench, backup: Path) -> None:
    spoilt = bench.copy_set(backup, "20260101T000000Z")
    (spoilt / _manifest.SIGNATURE_NAME).unlink()
    refused(bench.recover("-e", f"recovery_backup_set={spoilt.name}"), "PRC-202", spoilt.name, "latest", backup.name)


def test_the_tests_would_see_a_change(tmp_path: Path, backup: Path, before: tuple[str, dict[str, Any]]) -> None:
    """The digest moves with what is live, and the docker of the tests does not let a change through."""
    until, digest = before
    made = Bench(tmp_path, backup)
    for words in (["rm", "-f", "nobody"], ["compose", "--project-name", "nobody", "up"], ["volume", "rm", "nobody"]):
        told = subprocess.run([tmp_path / "bin/docker", *words], env={**os.environ, **made.environment}, check=False)
        assert told.returncode == 1
    assert made.asked_the_engine_to_change().count("nobody") == 3
    assert json.dumps(digest, default=str).count("environment_id") >= 3
    redis_client().set(CANARY, "changed")
    try:
        assert live(until)["keys"] != digest["keys"]
    finally:
        redis_client().set(CANARY, "alive")
    assert live(until) == digest
    assert int(digest["rows"].split("|")[0]) > 1000
    assert int(digest["points"]) > 1000
