# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis, really: backed up, lost, restored, on a container and a volume of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.redis_stage import (
    CANDLES,
    IMAGE,
    PERSISTENT,
    PRICES,
    SESSIONS,
    Platform,
    seed,
)
from tests.integration.scratch import docker, start_module


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A serving, seeded Redis; gone afterwards, whatever happened."""
    made = Platform(tmp_path)
    try:
        made.start()
        seed(made)
        yield made
    finally:
        made.clean()


def sizes(platform: Platform) -> tuple[int, int]:
    """Keys in databases 0 and 1."""
    return platform.client(0).dbsize(), platform.client(1).dbsize()


WHOLE = (SESSIONS + PERSISTENT, CANDLES)


def test_a_lost_redis_comes_back_with_exactly_the_keys_of_its_backup(platform: Platform) -> None:
    """Short-lived keys die meanwhile, later writes are not in the backup, stale prices are dropped."""
    platform.client().set("dies:soon", "1", px=1500)
    backup = platform.backup()
    assert backup["content"]["version"].startswith("8.")
    platform.client().set("written:later", "1")
    platform.lose()
    time.sleep(1.5)

    result = platform.run("redis_restore", platform.restore_input(backup))
    assert not result.get("failed"), result
    assert result["dropped"] == {"1": PRICES}
    assert sizes(platform) == WHOLE
    client = platform.client()
    assert client.get("written:later") is None and client.get("dies:soon") is None
    assert client.hgetall("session:7") == {"user_id": "7", "username": "trader7"}
    assert 3600 + 7 * 30 - 120 < client.ttl("session:7") <= 3600 + 7 * 30
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.info("persistence")["aof_enabled"] == 1

    verified = platform.verify(backup, result["expected_keys"])
    assert not verified.get("failed"), verified
    assert all(one["ok"] for one in verified["checks"]) and len(verified["checks"]) >= 12
    assert verified["warnings_found"] == []
    # What was written after the recovery outlives a crash: the log is really in use.
    pipeline = client.pipeline(transaction=True)
    pipeline.hset("session:new", "user_id", "1")
    pipeline.set("after:recovery", "kept")
    pipeline.execute()
    client.execute_command("WAITAOF", 1, 0, 5000)
    docker("kill", platform.id)
    docker("start", platform.id)
    assert platform.client().get("after:recovery") == "kept"
    assert sizes(platform) == (WHOLE[0] + 2, WHOLE[1])


def test_verify_fails_where_keys_are_missing_and_names_them(platform: Platform) -> None:
    backup = platform.backup()
    platform.client().delete("setting:1", "session:1")
    verified = platform.verify(backup)
    assert verified["failed"] and verified["error"]["code"] == "PRC-611"
    bad = {one["name"]: one for one in verified["checks"] if not one["ok"]}
    assert bad["keys in database 0"]["found"] == WHOLE[0] - 2
    assert "without a time to live" in bad["times to live in database 0"]["found"]


def test_access_rules_that_cost_transactions_at_the_next_start_are_told(platform: Platform) -> None:
    """The loss itself is shown first: off without commands, and a transaction is gone after a restart."""
    backup = platform.backup()
    client = platform.client()
    client.acl_setuser("default", enabled=False, reset=True)
    (platform.folder / "acl/users.acl").write_text("\n".join(client.acl_list()) + "\n")
    verified = platform.verify(backup)
    assert "user default" in verified["warnings_found"][0], verified
    pipeline = client.pipeline(transaction=True)
    # Of one command alone the log keeps no MULTI.
    pipeline.set("written:in:transaction", "1")
    pipeline.set("written:beside:it", "1")
    pipeline.execute()
    client.set("written:alone", "1")
    client.execute_command("WAITAOF", 1, 0, 5000)
    docker("kill", platform.id)
    docker("start", platform.id)
    assert platform.client().mget("written:alone", "written:in:transaction") == ["1", None]
    # A restore does not fall into that trap: what it drops stays dropped.
    platform.lose()
    result = platform.run("redis_restore", platform.restore_input(backup))
    assert not result.get("failed"), result
    assert sizes(platform) == WHOLE


def test_a_plain_copy_of_the_snapshot_would_come_up_empty(platform: Platform) -> None:
    """The trap that the restore goes around: with the log on, Redis ignores dump.rdb."""
    backup = platform.backup()
    platform.lose()
    platform.compose("up", "--no-start", "redis")
    container = docker(
        "create",
        "--volume",
        f"{platform.volume}:/var/lib/platform3",
        "--label",
        f"platform3.recovery.environment={platform.id}",
        IMAGE,
    )
    docker("cp", str(platform.set_path / backup["artefacts"][0]["path"]), f"{container}:/var/lib/platform3/dump.rdb")
    platform.in_volume(
        "cd /var/lib/platform3; mkdir data; cp dump.rdb data/; printf %s " + platform.id + " > environment_id"
    )
    copied = platform.in_volume("stat -c %s /var/lib/platform3/data/dump.rdb")
    assert int(copied) == backup["artefacts"][0]["bytes"]
    platform.compose("up", "--detach", "redis")
    assert sizes(platform) == (0, 0)


def test_a_flipped_bit_is_refused_before_anything_is_exchanged(platform: Platform) -> None:
    backup = platform.backup()
    path = platform.set_path / backup["artefacts"][0]["path"]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    assert path.read_bytes() != bytes(0) and len(damaged) == backup["artefacts"][0]["bytes"]
    docker("rm", "--force", platform.id)
    before = platform.in_volume("cd /var/lib/platform3/data; find . -type f | sort | xargs sha256sum")

    result = platform.run("redis_restore", platform.restore_input(backup))
    assert result["failed"] and result["error"]["code"] == "PRC-604", result
    assert platform.in_volume("cd /var/lib/platform3/data; find . -type f | sort | xargs sha256sum") == before
    assert docker("ps", "--quiet", "--filter", f"label=platform3.recovery.environment={platform.id}") == ""


def test_a_snapshot_that_lost_keys_is_refused_although_its_hash_is_right(platform: Platform) -> None:
    """Keys are compared before the exchange, not only bytes."""
    backup = platform.backup()
    backup["content"]["keys"]["0"]["persistent"] += 1
    platform.lose()
    result = platform.run("redis_restore", platform.restore_input(backup))
    assert result["failed"] and result["error"]["code"] == "PRC-608", result
    assert [one["name"] for one in result["checks"] if not one["ok"]]
    assert platform.in_volume("ls /var/lib/platform3/data 2>/dev/null || true") == ""


def test_a_restore_killed_halfway_is_ended_by_the_next_epoch(platform: Platform) -> None:
    """The killed run's container is left behind, at work; the old data is in quarantine once at the end."""
    backup = platform.backup()
    docker("rm", "--force", platform.id)
    first = start_module(platform.folder, "redis_restore", platform.restore_input(backup, epoch=2))
    orphan = f"platform3-one-shot-{platform.volume}-2"
    for _ in range(400):
        if docker(
            "exec",
            orphan,
            "bash",
            "-c",
            "ls /var/lib/platform3/restore-r1/appendonlydir/appendonly.aof.1.base.rdb",
            check=False,
        ):
            break
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert docker("ps", "--quiet", "--filter", f"name={orphan}"), "the first run was to die at work"

    result = platform.run("redis_restore", platform.restore_input(backup, epoch=3))
    assert not result.get("failed"), result
    assert result["quarantined"] and sizes(platform) == WHOLE
    assert docker("ps", "--all", "--quiet", "--filter", f"name={orphan}") == ""
    assert platform.in_volume(
        "ls /var/lib/platform3/quarantine/r1/appendonlydir; cat /var/lib/platform3/epoch"
    ).endswith("3")

    again = platform.run("redis_restore", platform.restore_input(backup, epoch=4))
    assert not again.get("failed"), again
    assert again["expected_keys"] == result["expected_keys"] and sizes(platform) == WHOLE
    other = platform.run("redis_restore", platform.restore_input(backup, epoch=5, recovery_id="r2"))
    assert not other.get("failed"), other
    replaced = platform.run("redis_restore", platform.restore_input(backup, epoch=6))
    assert replaced["failed"] and replaced["error"]["code"] == "PRC-609", replaced
    late = platform.run("redis_restore", platform.restore_input(backup, epoch=3))
    assert late["failed"] and late["error"]["code"] == "PRC-402", late


def test_a_wrong_password_a_foreign_path_and_another_version_are_named(platform: Platform) -> None:
    backup = platform.backup()
    right, platform.password = platform.password, "wrong"
    wrong = platform.verify(backup)
    platform.password = right
    assert wrong["failed"] and wrong["error"]["code"] == "PRC-606"
    given = platform.restore_input(backup)
    given["artefact"]["path"] = "../compose.yaml"
    foreign = platform.run("redis_restore", given)
    assert foreign["failed"] and foreign["error"]["code"] == "PRC-604"
    given = platform.restore_input(backup)
    given["content"] = {**given["content"], "version": "7.2.4"}
    docker("rm", "--force", platform.id)
    other = platform.run("redis_restore", given)
    assert other["failed"] and other["error"]["code"] == "PRC-602", other
    platform.compose("up", "--detach", "redis")
    assert sizes(platform) == (WHOLE[0], WHOLE[1] + PRICES)
