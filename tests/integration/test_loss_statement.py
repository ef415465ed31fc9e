# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery to a point in time undid is listed from the quarantine, to the row, and the quarantine stays good."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.postgresql_stage import IMAGE as POSTGRESQL_IMAGE
from tests.integration.postgresql_stage import Stage
from tests.integration.redis_stage import IMAGE as REDIS_IMAGE
from tests.integration.redis_stage import Platform
from tests.integration.scratch import docker, until

ORDERS = {
    "kind": "orders",
    "table": "orders",
    "id": "order_id",
    "at": "created_at",
    "account": "account_id",
    "amount": "quantity",
}
QUARANTINE = "/var/lib/platform3/quarantine/r-1"
ALL_ORDERS = "SELECT order_id, account_id, quantity, created_at FROM orders ORDER BY order_id"
SESSIONS = {"kind": "sessions", "db": 0, "pattern": "session:*", "account": "account_id", "details": ["user_id"]}


def read(folder: Path, listing: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of a listing's file, which is what the listing says it is."""
    path = folder / listing["file"]["name"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(path.read_bytes()).hexdigest() == listing["file"]["sha256"]
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == listing["count"] and rows[:20] == listing["first"]
    return rows


# --- PostgreSQL ---


@pytest.fixture(name="stage")
def _stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        stage.start()
        yield stage
    finally:
        stage.clean()


def in_volume(stage: Stage, script: str) -> str:
    """stdout of a bash script run over the volume."""
    mount = f"{stage.volume}:/var/lib/platform3"
    return docker("run", "--rm", "--network", "none", "--volume", mount, POSTGRESQL_IMAGE, "bash", "-euc", script)


def waiting(stage: Stage, folder: str) -> set[str]:
    """The segments of a data folder that are not archived yet, and are there."""
    script = f'cd {folder}/pg_wal; for one in archive_status/*.ready; do one=${{one##*/}}; ls "${{one%.ready}}"; done'
    return set(in_volume(stage, script).split())


def statement(stage: Stage, *wanted: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The listings of postgresql_undone by kind."""
    shared = stage.shared("r-1", 5)
    del shared["stanza"]
    result = stage.module(
        "postgresql_undone",
        **shared,
        compose=stage.compose_input,
        service="postgresql",
        image=POSTGRESQL_IMAGE,
        volume="postgresql-data",
        environment_id=stage.id,
        dest=str(stage.folder / "statement"),
        wanted=list(wanted),
    )
    assert not result.get("failed"), result
    assert len(result["warnings_found"]) == sum(one["count"] is None for one in result["undone"])
    return {one["kind"]: one for one in result["undone"]}


def test_the_orders_behind_the_cut_are_listed_and_the_quarantine_goes_back(stage: Stage) -> None:
    assert "content" in stage.backup(dump="never")
    time.sleep(1.1)
    stage.trade(20)
    with stage.connect() as slow:
        slow.execute("BEGIN")
        # Its time is before the cut, its commit behind it.
        slow.execute("INSERT INTO orders (account_id, quantity) VALUES (2, 7.00)")
        stage.trade(5)
        cut = stage.execute("SELECT clock_timestamp()::text")[0][0]
        time.sleep(0.05)
        kept = {row[0] for row in stage.execute(ALL_ORDERS)}
        # From here on nothing is archived: only the stream has it, and the server that waits for its archive.
        (stage.store / "fence" / "epoch").write_text("2")
        stage.trade(30, switches=3)
        slow.execute("COMMIT")
    stage.execute("UPDATE orders SET quantity = 9.50 WHERE order_id = 17")
    stage.execute("CREATE TABLE deposits (deposit_id int, amount numeric); INSERT INTO deposits VALUES (1, -12.50)")
    before = stage.execute(ALL_ORDERS)
    stage.await_streamed()
    # Neither slot nor checkpoint keeps the old segments from now on, only that they are not archived.
    stage.superuser("CHECKPOINT")
    stage.kill()

    target = {"kind": "time", "value": cut.replace(" ", "T") + ":00"}
    sets = [{"backup_set": "20261123T051700Z", "content": stage.content}]
    restored = stage.restore("r-1", 5, target=target, sets=sets)
    assert not restored.get("failed"), restored
    assert {row[0] for row in stage.execute(ALL_ORDERS)} == kept
    # Customers trade again, under ids that were undone.
    stage.trade(10)
    unarchived = waiting(stage, QUARANTINE)
    assert len(unarchived) >= 3

    missing = {"kind": "refunds", "table": "refunds", "id": "refund_id"}
    deposits = {"kind": "deposits", "table": "deposits", "id": "deposit_id", "amount": "amount"}
    found = statement(stage, ORDERS, missing, deposits)
    rows = read(stage.folder / "statement", found["orders"])
    changed = {row[0] for row in before} - kept | {17}
    assert {int(row["id"]) for row in rows} == changed and len(rows) == len(changed) == 32
    quantities = {row[0]: str(row[2]) for row in before}
    assert all(row["amount"] == quantities[int(row["id"])] for row in rows)
    assert found["orders"]["sum"] == "19.50"
    assert found["refunds"]["count"] is None and found["refunds"]["file"] is None
    assert "PRC-583" in found["refunds"]["says"] and '"refunds" does not exist' in found["refunds"]["says"]
    assert (found["deposits"]["count"], found["deposits"]["sum"]) == (1, "-12.50")

    # Again the same, though the quarantined server was shut down in good order this time.
    assert statement(stage, ORDERS)["orders"]["file"] == found["orders"]["file"]
    # No WAL that the archive lacks is gone, and what was undone is not in the archive of the new life.
    assert unarchived <= waiting(stage, QUARANTINE)
    assert not unarchived & set(stage.archived())

    in_volume(stage, f"mv {QUARANTINE}/global/pg_control {QUARANTINE}/control")
    damaged = statement(stage, ORDERS)["orders"]
    assert "PRC-582" in damaged["says"] and damaged["count"] is None
    assert list((stage.folder / "statement").glob("*orders*")) == []
    in_volume(stage, f"mv {QUARANTINE}/control {QUARANTINE}/global/pg_control")
    in_volume(stage, f"mv {QUARANTINE} {QUARANTINE}-away; mkdir {QUARANTINE}")
    assert "PRC-581" in statement(stage, ORDERS)["orders"]["says"]
    in_volume(stage, f"rmdir {QUARANTINE}; mv {QUARANTINE}-away {QUARANTINE}")

    # The rollback finds the very data, on its own timeline, and it archives what waited.
    stage.kill()
    assert stage.put_back("r-1", 5)["swap_state"] == "rolled_back"
    assert stage.execute(ALL_ORDERS) == before
    assert stage.superuser("SELECT timeline_id FROM pg_control_checkpoint()") == "1"
    until(lambda: unarchived <= set(stage.archived()), 60, "what waited is archived", stage.container)
    assert "PRC-581" in statement(stage, ORDERS)["orders"]["says"]


# --- Redis ---


@pytest.fixture(name="platform")
def _platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    try:
        platform.start()
        platform.ship()
        yield platform
    finally:
        platform.clean()


def log_in(platform: Platform, first: int, count: int) -> None:
    """Sessions as user-service makes them."""
    pipeline = platform.client().pipeline()
    for number in range(first, first + count):
        pipeline.hset(f"session:token-{number}", mapping={"user_id": number, "account_id": number * 10, "role": "x"})
        pipeline.expire(f"session:token-{number}", 86400)
    pipeline.execute()


def undone_sessions(platform: Platform, recovery_id: str = "r1") -> dict[str, Any]:
    """The listing of redis_undone."""
    result = platform.run(
        "redis_undone",
        {
            **platform.login(),
            "fence": {"recovery_id": recovery_id, "epoch": 2},
            "compose": {"project": platform.id, "directory": str(platform.folder), "files": ["compose.yaml"]},
            "volume": "redis-data",
            "image": REDIS_IMAGE,
            "environment_id": platform.id,
            "content": {},
            "dest": str(platform.folder / "statement"),
            "wanted": [SESSIONS],
        },
    )
    assert not result.get("failed"), result
    assert "token-" not in str(result["undone"])
    listing: dict[str, Any] = result["undone"][0]
    return listing


def digests(platform: Platform, folder: str) -> str:
    """Digest and time of change of every file of a folder in the volume."""
    return platform.in_volume(f"cd {folder}; find . -type f -exec sha256sum {{}} +; find . -printf '%p %T@ %i\\n'")


def test_the_sessions_behind_the_cut_are_listed_and_the_quarantine_is_not_written_to(platform: Platform) -> None:
    log_in(platform, 0, 300)
    platform.client(1).set("price:EURUSD", "1.1")
    backup = platform.backup()
    time.sleep(2.1)
    cut = time.time()
    time.sleep(2.1)
    log_in(platform, 1000, 1200)
    platform.client().set("session:no-hash", "x")
    platform.await_shipped()
    docker("kill", platform.id)
    docker("rm", "--force", platform.id, platform.shipper)
    # As where the server was killed while it wrote.
    log = "/var/lib/platform3/data/appendonlydir"
    platform.in_volume(f"printf '*3\\r\\n$3\\r\\nSET\\r\\n$4\\r\\nto' >> $(ls {log}/*.incr.aof | tail -n 1)")
    instant = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(cut))
    restored = platform.restore_log(backup, target_time=instant)
    assert not restored.get("failed"), restored
    log_in(platform, 5000, 10)

    quarantine = "/var/lib/platform3/quarantine/r1"
    before = digests(platform, quarantine)
    listing = undone_sessions(platform)
    rows = read(platform.folder / "statement", listing)
    tokens = [f"token-{number}" for number in range(1000, 2200)] + ["no-hash"]
    assert sorted(row["id"] for row in rows) == sorted(
        f"sha256:{hashlib.sha256(token.encode()).hexdigest()}" for token in tokens
    )
    assert {row["account"] for row in rows} == {str(number * 10) for number in range(1000, 2200)} | {""}
    assert digests(platform, quarantine) == before

    platform.in_volume(f"mv {quarantine}/appendonlydir {quarantine}/away")
    damaged = undone_sessions(platform)
    assert "PRC-641" in damaged["says"] and damaged["count"] is None
    assert list((platform.folder / "statement").iterdir()) == []
    platform.in_volume(f"mv {quarantine}/away {quarantine}/appendonlydir")
    docker("stop", platform.id)
    assert "PRC-642" in undone_sessions(platform)["says"]
    assert "PRC-640" in undone_sessions(platform, "another")["says"]

    # A total loss leaves nothing to list from.
    docker("rm", "--force", platform.id)
    docker("volume", "rm", platform.volume)
    again = platform.restore_log(backup, target_time=instant)
    assert not again.get("failed"), again
    assert "there is no old data in quarantine" in undone_sessions(platform)["says"]
