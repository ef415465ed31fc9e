# SPDX-License-Identifier: GPL-3.0-or-later
"""The WAL stream on real servers: commits that wait for it, a receiver that is lost, a slot that is lost."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.postgresql_stage import IMAGE, Stage
from tests.integration.scratch import docker, logs, until

SERVICES = "platform3/services:1"
LOST_AFTER_SECONDS = 2
ORDER = "INSERT INTO orders (account_id, quantity) VALUES (%s, 0.1) RETURNING order_id"


@pytest.fixture(scope="module", name="stage")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A database that streams, asynchronously."""
    stage = Stage(tmp_path_factory.mktemp("stream"))
    try:
        stage.start()
        yield stage
    finally:
        stage.clean()


def receiver(stage: Stage) -> str:
    return f"{stage.id}-forex-wal-receiver"


def stream(stage: Stage, **arguments: Any) -> dict[str, Any]:
    """Run the module that sets the mode."""
    return stage.module(
        "postgresql_wal_stream",
        **{
            **stage.shared("w-1", 1),
            "compose": stage.compose_input,
            "receiver_service": "wal-receiver",
            "lost_after_seconds": LOST_AFTER_SECONDS,
            "timeout_seconds": 30,
            **arguments,
        },
    )


def info(stage: Stage) -> dict[str, Any]:
    """Run the module that looks."""
    shared = stage.shared("w-1", 1)
    del shared["fence"]
    return stage.module(
        "postgresql_wal_stream_info",
        **{**shared, "compose": stage.compose_input, "service": "postgresql", "image": IMAGE},
        environment_id=stage.id,
    )


def codes(found: dict[str, Any]) -> set[str]:
    assert "problems" in found, found
    return {one["code"] for one in found["problems"]}


def waits(stage: Stage) -> bool:
    return stage.superuser("SHOW synchronous_standby_names") == "platform3_stream"


def records(stage: Stage) -> list[dict[str, Any]]:
    path = stage.store / "wal-stream" / "degraded.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def commit(stage: Stage, account: int = 1) -> float:
    """Commit one order; how long that took."""
    with stage.connect() as connection:
        begun = time.monotonic()
        connection.execute(ORDER, [account])
        return time.monotonic() - begun


def test_a_lost_receiver_degrades_is_told_and_is_waited_for_again(stage: Stage) -> None:
    done = stream(stage, wal_stream="sync")
    assert done.get("checks") and all(one["ok"] for one in done["checks"]), done
    assert waits(stage)
    assert not stream(stage, wal_stream="sync")["changed"]
    stage.trade(20)
    found = info(stage)
    assert codes(found) == set(), found
    assert (found["mode"]["kind"], found["mode"]["waits"], found["degraded"]) == ("sync", True, [])

    docker("kill", receiver(stage))
    seconds = commit(stage)
    assert seconds > 0.5, "the commit did not wait for the receiver, so the fault did not happen"
    assert seconds < LOST_AFTER_SECONDS + 5
    until(lambda: records(stage), 10, "the record of the interval")
    log = logs(stage.container)
    assert "ALARM: the receiver has confirmed nothing for" in log
    found = info(stage)
    assert {"PRC-573", "PRC-574"} <= codes(found)
    assert found["degraded"][0]["to"] is None

    docker("start", receiver(stage))
    until(lambda: waits(stage), 30, "synchronous again")
    until(lambda: len(records(stage)) > 1, 10, "the end of the interval")
    begun, ended = info(stage)["degraded"][0]["from"], info(stage)["degraded"][0]["to"]
    assert begun < ended
    assert codes(info(stage)) == set()
    stage.trade(5)


@pytest.fixture
def small_disk(stage: Stage) -> Iterator[Path]:
    """The stream's folder on a disk of its own, which holds one segment and half of the next."""
    folder = stage.store / "wal-stream"
    docker("stop", receiver(stage))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,uid=999,gid=999", "platform3-test", folder], check=True)
    try:
        docker("start", receiver(stage))
        yield folder
    finally:
        docker("stop", receiver(stage))
        subprocess.run(["umount", "--lazy", folder], check=True)
        docker("start", receiver(stage))


def test_a_receiver_whose_disk_is_full_degrades_and_trading_goes_on(stage: Stage, small_disk: Path) -> None:
    stream(stage, wal_stream="sync")
    until(lambda: waits(stage), 30, "synchronous")
    alarms = _stderr(stage).count("ALARM: the receiver has confirmed nothing for")
    stage.superuser("SELECT pg_switch_wal()")
    seconds = commit(stage)
    until(lambda: "No space left on device" in logs(receiver(stage)), 10, "the fault")
    assert seconds > 0.5, "the commit did not wait for the receiver, so the fault did not happen"
    assert seconds < LOST_AFTER_SECONDS + 5
    until(lambda: _stderr(stage).count("ALARM: the receiver has confirmed nothing for") > alarms, 10, "the alarm")
    stage.trade(5)
    subprocess.run(["mount", "-o", "remount,size=256m", small_disk], check=True)
    until(lambda: waits(stage), 30, "synchronous again")
    stage.trade(5)


def _stderr(stage: Stage) -> str:
    return subprocess.run(["docker", "logs", stage.container], capture_output=True, text=True, check=True).stderr


SERVICE = """
import asyncio
from services.common import database, transaction

async def place():
    pool = database(1)
    await pool.open()
    try:
        async with transaction(pool) as connection:
            await connection.execute("INSERT INTO orders (account_id, quantity) VALUES (2, 0.1)")
        print("acknowledged")
    except Exception as error:
        shown = str(getattr(error, "detail", "")).partition(":")[0]
        print(" ".join([type(error).__name__, str(getattr(error, "status_code", "")), shown]).strip())

asyncio.run(place())
"""


def cancel_a_wait(stage: Stage) -> bool:
    """End the wait of a commit, if one waits, as an operator or a timeout does."""
    query = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    return stage.superuser(query) != "0"


def in_a_service(stage: Stage) -> str:
    """What a service of the lab makes of an order."""
    mounts = ["--volume", f"{stage.folder}/secrets:/run/secrets:ro"]
    label = f"platform3.recovery.environment={stage.id}"
    argv = ["run", "--rm", "--network", f"{stage.id}_default", "--label", label, *mounts, SERVICES]
    return docker(*argv, "python", "-c", SERVICE)


def test_where_trading_is_to_wait_it_waits(stage: Stage) -> None:
    assert "checks" in stream(stage, wal_stream="sync", when_lost="wait")
    docker("kill", receiver(stage))
    with stage.connect() as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
        threading.Timer(LOST_AFTER_SECONDS + 3, connection.cancel_safe).start()
        begun = time.monotonic()
        cursor = connection.execute(ORDER, [1])
        assert time.monotonic() - begun > LOST_AFTER_SECONDS + 2
        # What the trading service must not acknowledge: the row is there, with a warning.
        assert cursor.statusmessage == "INSERT 0 1"
        assert notices == ["canceling wait for synchronous replication due to user request"]
    assert waits(stage)
    cancelling = threading.Thread(target=until, args=(lambda: cancel_a_wait(stage), 20, "a wait to cancel"))
    cancelling.start()
    assert in_a_service(stage) == "HTTPException 503 not acknowledged"
    cancelling.join()
    assert in_a_service(stage) == "TimeoutError"
    docker("start", receiver(stage))
    stage.await_streamed()
    assert commit(stage) < 5
    assert in_a_service(stage) == "acknowledged"
    assert "checks" in stream(stage, wal_stream="async")
    assert not waits(stage)


def test_a_lost_slot_is_named_and_made_anew(stage: Stage) -> None:
    assert "checks" in stream(stage, wal_stream="sync", when_lost="degrade")
    docker("kill", receiver(stage))
    stage.superuser("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    stage.superuser("SELECT pg_reload_conf()")
    for _ in range(3):
        stage.superuser("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000)); SELECT pg_switch_wal()")
    stage.superuser("CHECKPOINT")
    status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'platform3_stream'"
    until(lambda: stage.superuser(status) == "lost", 20, "the slot is lost")
    stage.superuser("ALTER SYSTEM RESET max_slot_wal_keep_size")
    stage.superuser("SELECT pg_reload_conf()")
    found = info(stage)
    lost = [one for one in found["problems"] if one["code"] == "PRC-571"]
    assert lost and "playbooks/wal_stream.yml" in lost[0]["next_step"]

    done = stream(stage, wal_stream="sync")
    assert (done["renewed"], done["stream_name"]) == ("the slot is lost", "w-1-1"), done
    assert (stage.store / "fence" / "wal_stream").read_text() == "w-1-1"
    until(lambda: waits(stage), 20, "synchronous again")
    assert commit(stage) < 5
    assert codes(info(stage)) == set()


def test_sigkill_under_load_loses_no_acknowledged_order(stage: Stage) -> None:
    full = stage.backup(dump="never")["content"]["pgbackrest"]
    assert (full["type"], full["depends_on"]) == ("full", [])
    stage.trade(20)
    increment = stage.backup(dump="never", type="incr")["content"]["pgbackrest"]
    assert (increment["type"], increment["depends_on"]) == ("incr", [full["label"]])
    assert "checks" in stream(stage, wal_stream="sync")
    acknowledged: list[int] = []
    workers = [threading.Thread(target=_trade_until_it_ends, args=(stage, acknowledged, one)) for one in range(1, 5)]
    for worker in workers:
        worker.start()
    until(lambda: len(acknowledged) > 300, 30, "load")
    docker("kill", stage.container)
    stage.lose()
    for worker in workers:
        worker.join()
    restored = stage.restore("r-1", 5)
    assert restored.get("checks") and all(one["ok"] for one in restored["checks"]), restored
    assert restored["replayed_bytes"] > 0
    assert stage.content["pgbackrest"]["label"] == increment["label"], "it was the increment that was restored"
    # The lost server waited for its receiver; the restored one does not, before there is one.
    assert not waits(stage)
    there = {row[0] for row in stage.execute("SELECT order_id FROM orders")}
    assert [one for one in acknowledged if one not in there] == []
    resumed = stage.resume("r-1", 5, wal_stream="sync", lost_after_seconds=LOST_AFTER_SECONDS)
    assert {"a commit waits for the WAL receiver"} <= {one["name"] for one in resumed["checks"]}, resumed
    assert waits(stage)
    assert commit(stage) < 5


def _trade_until_it_ends(stage: Stage, acknowledged: list[int], account: int) -> None:
    with stage.connect() as connection:
        try:
            while True:
                row = connection.execute(ORDER, [account]).fetchone()
                assert row
                acknowledged.append(row[0])
        except psycopg.OperationalError:
            return


@pytest.fixture
def full_repository(stage: Stage) -> Iterator[Path]:
    """The repository with room for one more segment and no other."""
    folder = stage.store / "pgbackrest"
    docker("stop", stage.container)
    used = int(subprocess.run(["du", "-sb", folder], capture_output=True, text=True, check=True).stdout.split()[0])
    kept = folder.with_name("pgbackrest-kept")
    folder.rename(kept)
    folder.mkdir()
    size = used + (20 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},uid=999,gid=999", "platform3-test", folder], check=True)
    subprocess.run(["cp", "--archive", f"{kept}/.", folder], check=True)
    try:
        docker("start", stage.container)
        yield folder
    finally:
        docker("stop", stage.container)
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()
        kept.rename(folder)
        docker("start", stage.container)


def test_a_full_repository_is_told_at_once_and_trading_goes_on(stage: Stage, full_repository: Path) -> None:
    before = set((full_repository / "backup/platform3").glob("*F"))
    refused = stage.backup()
    assert refused["error"]["code"] == "PRC-534" and "is full" in refused["msg"], refused
    assert set((full_repository / "backup/platform3").glob("*F")) == before
    stage.trade(5)
    subprocess.run(["mount", "-o", "remount,size=1g", full_repository], check=True)
    taken = stage.backup()
    assert taken.get("content"), taken
