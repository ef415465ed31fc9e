# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL, really: backed up, traded on, killed, lost and brought back, by damaged ways too."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.postgresql_stage import IMAGE, SET_ID, Stage
from tests.integration.scratch import docker, start_module

TRADED = 300


@pytest.fixture(scope="module", name="lost")
def _lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A backed-up database that was traded on and then lost with SIGKILL; `expected` is what was acknowledged."""
    stage = Stage(tmp_path_factory.mktemp("lost"))
    try:
        stage.start()
        stage.backed_up = stage.backup()  # type: ignore[attr-defined]
        assert "content" in stage.backed_up, stage.backed_up  # type: ignore[attr-defined]
        stage.trade(TRADED, switches=3)
        stage.await_archived()
        stage.trade(TRADED)
        stage.await_streamed()
        stage.expected = stage.orders()  # type: ignore[attr-defined]
        stage.lose()
        yield stage
    finally:
        stage.clean()


@pytest.fixture(name="stage")
def _stage(tmp_path: Path, lost: Stage) -> Iterator[Stage]:
    """A new environment with a copy of what the lost one left: its store and its secrets."""
    stage = Stage(tmp_path, lost)
    try:
        yield stage
    finally:
        stage.clean()
        shutil.rmtree(tmp_path, ignore_errors=True)


def expected(lost: Stage) -> int:
    """Orders that were acknowledged before the loss."""
    return int(lost.expected)  # type: ignore[attr-defined]


def bad_checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Checks of a result that are not good; there must be some checks."""
    assert result["checks"]
    return [one for one in result["checks"] if not one["ok"]]


def test_a_backup_writes_what_the_set_says(lost: Stage) -> None:
    result = lost.backed_up  # type: ignore[attr-defined]
    assert {one["kind"] for one in result["artefacts"]} == {"globals", "dump"}
    for one in result["artefacts"]:
        data = (lost.store / SET_ID / one["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["bytes"], one["sha256"])
    known = result["content"]["pgbackrest"]
    manifest = lost.store / "pgbackrest" / "backup" / "platform3" / known["label"] / "backup.manifest"
    assert hashlib.sha256(manifest.read_bytes()).hexdigest() == known["manifest_sha256"]
    orders = result["content"]["figures"]["tables"][0]
    assert (orders["settled_rows"], orders["settled_sum"]) == (20000, "2000100.00")
    roles = (lost.store / SET_ID / "postgresql" / f"globals_{SET_ID}.sql").read_text()
    assert "forex_admin" in roles
    assert "PASSWORD" not in roles


def test_all_that_was_acknowledged_comes_back_twice(stage: Stage, lost: Stage) -> None:
    stage.set_secret("postgresql_password", "rotated-" + stage.secret("postgresql_password"))
    first = stage.restore("r-1", 5)
    assert not bad_checks(first)
    assert (first["timeline"], first["parent_timeline"], first["quarantined"]) == (2, 1, False)
    assert first["passwords_set"] == ["forex_admin"]
    assert stage.orders() == expected(lost)
    verified = stage.verify("r-1", 5)
    assert not bad_checks(verified), verified
    assert (stage.store / "fence" / "epoch").read_text() == "5"

    # Again, as the next run of the same recovery does: nothing is lost or promoted once more.
    again = stage.restore("r-1", 6)
    assert not bad_checks(again)
    assert (again["timeline"], again["passwords_set"]) == (2, [])
    assert stage.orders() == expected(lost)

    # A second loss right afterwards, before any new backup: both timelines come back.
    assert stage.resume("r-1", 6)["stream_name"] == "r-1"
    stage.trade(TRADED, switches=2)
    stage.await_streamed()
    stage.lose()
    second = stage.restore("r-2", 7)
    assert not bad_checks(second), second
    assert (second["timeline"], second["parent_timeline"]) == (3, 2)
    assert stage.orders() == expected(lost) + TRADED
    assert not bad_checks(stage.verify("r-2", 7))


def test_old_data_that_was_put_back_is_what_the_next_recovery_brings(stage: Stage, lost: Stage) -> None:
    assert stage.restore("r-1", 5)["quarantined"] is False
    assert stage.resume("r-1", 5)["new_timeline"] is None
    stage.trade(10)
    stage.await_streamed()
    stage.kill()
    second = stage.restore("r-2", 6)
    assert (second["quarantined"], second["timeline"]) == (True, 3)
    assert stage.orders() == expected(lost) + 10
    stage.resume("r-2", 6)
    stage.trade(5)
    stage.await_streamed()

    # Rolled back: what was traded on timeline 3 is discarded, and the next recovery must not bring it.
    stage.kill()
    assert stage.put_back("r-2", 7)["swap_state"] == "rolled_back"
    resumed = stage.resume("r-2", 7)
    assert (resumed["new_timeline"], resumed["stream_name"]) == (4, "r-2-7")
    assert stage.orders() == expected(lost) + 10
    assert stage.resume("r-2", 8)["new_timeline"] is None
    stage.trade(3)
    stage.await_streamed()
    stage.lose()
    third = stage.restore("r-3", 9)
    assert (third["parent_timeline"], third["timeline"]) == (4, 5), third
    assert stage.orders() == expected(lost) + 13
    refused = stage.restore("r-2", 10)
    assert refused["failed"]


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def in_the_middle(stage: Stage) -> str:
    """A segment after the backup and before the newest, which the stream does not hold either."""
    start = stage.content["pgbackrest"]["wal_stop"]
    names = [name for name in sorted(stage.archived()) if name > start]
    assert len(names) >= 3, names
    (stage.streamed()[names[1]]).unlink()
    return names[1]


def test_a_damaged_segment_in_the_middle_is_never_the_end(stage: Stage, lost: Stage) -> None:
    name = in_the_middle(stage)
    path = stage.archived()[name]
    sound = path.read_bytes()
    flip_a_bit(path)
    refused = stage.restore("r-1", 5)
    assert refused["failed"], refused
    assert refused["error"]["code"] in ("PRC-512", "PRC-513", "PRC-515"), refused
    assert name in refused["msg"]
    assert stage.is_untouched()
    # The same recovery goes on once the segment is whole.
    path.write_bytes(sound)
    assert not bad_checks(stage.restore("r-1", 6))
    assert stage.orders() == expected(lost)


def test_a_damaged_segment_at_the_end_is_not_the_end_either(stage: Stage) -> None:
    for path in stage.streamed().values():
        path.unlink()
    newest = max(stage.archived())
    flip_a_bit(stage.archived()[newest])
    refused = stage.restore("r-1", 5)
    assert refused["failed"], refused
    assert newest in refused["msg"]
    assert stage.is_untouched()


def test_a_damaged_record_in_the_last_streamed_segment_is_not_its_end(stage: Stage) -> None:
    path = next(path for name, path in stage.streamed().items() if name.endswith(".partial"))
    data = bytearray(path.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    assert used > 20_000
    data[used // 2] ^= 1
    path.write_bytes(data)
    refused = stage.restore("r-1", 5)
    assert refused["error"]["code"] == "PRC-512", refused
    assert "it is damaged at" in refused["msg"]
    assert stage.is_untouched()


def test_a_record_that_was_cut_off_by_the_loss_is_the_end(stage: Stage, lost: Stage) -> None:
    path = next(path for name, path in stage.streamed().items() if name.endswith(".partial"))
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    path.write_bytes(data[: used - 20] + bytes(len(data) - used + 20))
    assert not bad_checks(stage.restore("r-1", 5))
    assert expected(lost) - 2 <= stage.orders() <= expected(lost)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_gap_is_found_before_anything_is_touched(stage: Stage, damage: str) -> None:
    name = in_the_middle(stage)
    path = stage.archived()[name]
    path.unlink()
    if damage == "empty":
        path.touch()
    for refused in (stage.wal_info(), stage.restore("r-1", 5)):
        assert refused["failed"]
        assert refused["error"]["code"] == "PRC-508"
        assert name in refused["msg"]
    assert stage.is_untouched()


def test_an_unreadable_segment_ends_the_recovery(stage: Stage) -> None:
    name = in_the_middle(stage)
    stage.archived()[name].chmod(0)
    refused = stage.restore("r-1", 5)
    assert refused["failed"], refused
    assert name in refused["msg"]
    assert stage.is_untouched()


def test_segments_that_only_the_stream_holds_are_replayed_and_archived(stage: Stage, lost: Stage) -> None:
    start = stage.content["pgbackrest"]["wal_stop"]
    streamed = stage.streamed()
    gone = sorted(name for name in stage.archived() if name > start and name in streamed)[1:]
    assert gone
    for name in gone:
        stage.archived()[name].unlink()
    result = stage.restore("r-1", 5)
    assert not bad_checks(result)
    assert result["archived_from_stream"] == gone
    assert set(gone) <= set(stage.archived())
    assert stage.orders() == expected(lost)


def test_the_look_says_how_far_a_recovery_will_come(stage: Stage) -> None:
    result = stage.wal_info()
    assert result["plan"]["last_segment_source"] == "partial"
    assert result["needed_bytes"] > stage.content["pgbackrest"]["bytes"]
    assert result["recovery_point"] >= stage.content["recovery_point"]
    assert stage.is_untouched()


def test_another_image_database_or_base_backup_is_refused(stage: Stage) -> None:
    content = stage.content
    for code, change in (
        ("PRC-502", {"version": "16.4"}),
        ("PRC-505", {"system_identifier": "1"}),
        ("PRC-504", {"pgbackrest": {**content["pgbackrest"], "label": "20261101-000000F"}}),
        ("PRC-506", {"pgbackrest": {**content["pgbackrest"], "manifest_sha256": "0" * 64}}),
        ("PRC-507", {"settings": {**content["settings"], "max_connections": 5000}}),
    ):
        assert stage.wal_info(content={**content, **change})["error"]["code"] == code


def test_figures_that_differ_are_found_before_the_exchange(stage: Stage) -> None:
    tables = [{**stage.content["figures"]["tables"][0], "settled_sum": "1.00"}]
    content = {**stage.content, "figures": {**stage.content["figures"], "tables": tables}}
    refused = stage.restore("r-1", 5, content=content)
    assert refused["error"]["code"] == "PRC-516"
    assert [one["name"] for one in bad_checks(refused)] == ["orders: sum of quantity over settled rows"]
    assert stage.is_untouched()


def test_check_mode_changes_nothing(stage: Stage) -> None:
    result = stage.restore("r-1", 5, _ansible_check_mode=True)
    assert result["changed"]
    assert result["plan"]["label"] == stage.content["pgbackrest"]["label"]
    assert (stage.store / "fence" / "epoch").read_text() == "1"
    assert stage.is_untouched()


def in_volume(stage: Stage, script: str) -> Callable[[], bool]:
    """Whether a test in the one-shot container is true."""

    def look() -> bool:
        name = f"platform3-one-shot-{stage.volume}-5"
        done = subprocess.run(["docker", "exec", name, "bash", "-c", script], capture_output=True, check=False)
        return done.returncode == 0

    return look


def serves(stage: Stage) -> Callable[[], bool]:
    """Whether the server's own container runs."""
    return lambda: bool(docker("ps", "--quiet", "--filter", f"name=^{stage.container}$"))


@pytest.mark.parametrize("point", ["copying", "replaying", "starting"])
def test_killed_on_the_way_the_next_run_ends_the_same(stage: Stage, lost: Stage, point: str) -> None:
    reached = {
        "copying": in_volume(stage, "test -e /var/lib/platform3/restore-r-1/backup.manifest"),
        "replaying": in_volume(stage, "test -e /var/lib/platform3/restore-r-1/postmaster.pid"),
        "starting": serves(stage),
    }[point]
    with start_module(stage.folder, "postgresql_restore", stage.restore_arguments("r-1", 5)) as run:
        while not reached():
            assert run.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)  # each look takes time from what it looks at
        run.send_signal(signal.SIGKILL)
    result = stage.restore("r-1", 6)
    assert not bad_checks(result), result
    assert result["timeline"] == 2
    assert stage.orders() == expected(lost)
    label = f"label=platform3.recovery.environment={stage.id}"
    assert docker("ps", "--all", "--format", "{{.Names}}", "--filter", label) == stage.container


def test_an_outranked_run_is_refused_and_a_fenced_server_cannot_archive(stage: Stage, lost: Stage) -> None:
    assert not bad_checks(stage.restore("r-1", 5))
    refused = stage.restore("r-1", 4)
    assert refused["error"]["code"] == "PRC-402"
    assert stage.orders() == expected(lost)
    # A lost host that comes back: its volume is of an older epoch than the store's fence.
    script = "echo 4 >/var/lib/platform3/epoch; platform3-archive pg_wal/000000010000000000000009"
    fence = f"{stage.store}/fence:/fence:ro"
    done = subprocess.run(
        ["docker", "run", "--rm", "--volume", fence, IMAGE, "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "fenced: this volume is of epoch 4, the backup store knows 5" in done.stderr


def test_a_running_server_is_not_restored_over(stage: Stage) -> None:
    assert not bad_checks(stage.restore("r-1", 5))
    refused = stage.restore("r-2", 6)
    assert refused["error"]["code"] == "PRC-510"
    assert stage.container in refused["msg"]
    assert not bad_checks(stage.verify("r-1", 6))


def test_the_dump_makes_a_new_database_that_is_archived_and_backed_up(stage: Stage) -> None:
    result = stage.restore("r-1", 5, method="logical")
    assert not bad_checks(result), result
    assert result["recovery_point"] == stage.content["dump"]["started_at"]
    assert result["system_identifier"] != stage.content["system_identifier"]
    assert stage.orders() == 20000
    verified = stage.verify("r-1", 5, method="logical", system_identifier=result["system_identifier"])
    assert not bad_checks(verified), verified
    # The new database has a history of its own: backed up, traded on, lost, and brought back.
    assert stage.resume("r-1", 5)["stream_name"] == "r-1"
    assert "content" in stage.backup(dump="never")
    stage.trade(50)
    stage.await_streamed()
    stage.lose()
    again = stage.restore("r-2", 6)
    assert not bad_checks(again), again
    assert stage.orders() == 20050


def test_an_empty_server_does_not_take_the_repository_over(stage: Stage) -> None:
    stage.compose("run", "--rm", "--no-deps", "postgresql", "initialise")
    stage.compose("up", "--detach", "--no-deps", "postgresql")
    stage.execute("CREATE TABLE orders (quantity numeric, created_at timestamptz); CREATE TABLE accounts ()")
    refused = stage.backup()
    assert refused["error"]["code"] == "PRC-533", refused
    stage.lose()
    assert not bad_checks(stage.restore("r-1", 5))


def test_a_set_without_a_dump_cannot_be_restored_logically(stage: Stage) -> None:
    assert stage.wal_info(method="logical")["recovery_point"] == stage.content["dump"]["started_at"]
    refused = stage.wal_info(method="logical", content={**stage.content, "dump": None})
    assert refused["error"]["code"] == "PRC-524"


def test_verify_finds_what_is_wrong(stage: Stage) -> None:
    assert not bad_checks(stage.restore("r-1", 5))
    stage.superuser(
        "SET session_replication_role = replica; INSERT INTO orders (account_id, quantity) VALUES (999, -1)"
    )
    stage.superuser("DELETE FROM orders WHERE order_id = 7")
    found = {one["name"] for one in bad_checks(stage.verify("r-1", 5))}
    assert found == {
        "orders of nothing",
        "orders: rows without their parent (orders_account_id_fkey)",
        "orders: settled rows",
        "orders: sum of quantity over settled rows",
    }
    wrong = stage.verify("r-1", 5, password="not the password")
    assert wrong["error"]["code"] == "PRC-541"


def test_streamed_wal_from_before_a_backup_goes_once_it_is_archived(stage: Stage) -> None:
    assert not bad_checks(stage.restore("r-1", 5))
    stage.resume("r-1", 5)
    stage.trade(40, switches=4)
    stage.await_streamed()
    stage.await_archived()
    before = {path.name for path in (stage.store / "wal-stream" / "r-1").iterdir()}
    result = stage.backup(dump="never")
    assert result["tidied"] > 0
    left = {path.name for path in (stage.store / "wal-stream" / "r-1").iterdir()}
    start = result["content"]["pgbackrest"]["wal_start"]
    assert {name for name in before if len(name) == 24 and name < start} - left
    # The receiver goes on, and a loss now is recovered from the new backup.
    stage.trade(20)
    stage.await_streamed()
    orders = stage.orders()
    stage.lose()
    assert not bad_checks(stage.restore("r-3", 6))
    assert stage.orders() == orders


def test_a_server_that_must_not_archive_leaves_the_store_to_the_platform(stage: Stage) -> None:
    probe = "SELECT pg_logical_emit_message(true, 'platform3.recovery', 'write probe')"
    kept = [path for name in ("fence", "pgbackrest") for path in (stage.store / name).rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in kept}
    done = stage.restore("r-1", 2, archiving=False, write_probe=probe)
    assert "msg" not in done, done
    verified = stage.verify("r-1", 2, archiving=False, write_probe=probe)
    assert "msg" not in verified, verified
    now = [path for name in ("fence", "pgbackrest") for path in (stage.store / name).rglob("*") if path.is_file()]
    assert {path: path.read_bytes() for path in now} == before and before
