# SPDX-License-Identifier: GPL-3.0-or-later
"""The append-only log of Redis, really: shipped while it is written and rewritten, and recovered from."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.redis_stage import IMAGE, Platform
from tests.integration.scratch import docker, logs


class Writer(threading.Thread):
    """Writes number after number, some in transactions, through every interruption; knows what was acknowledged."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(daemon=True)
        self.platform = platform
        self.acknowledged = -1
        self.ended = threading.Event()

    def run(self) -> None:
        client = self.platform.client()
        number = 0
        while not self.ended.is_set():
            try:
                pipeline = client.pipeline(transaction=number % 3 == 0)
                for one in range(number, number + 20):
                    pipeline.set(f"number:{one:07}", str(one))
                pipeline.execute()
            except redis.exceptions.RedisError:
                time.sleep(0.02)
                continue
            number += 20
            self.acknowledged = number - 1
            time.sleep(0.001)

    def end(self) -> None:
        """Write no more."""
        self.ended.set()
        self.join()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A serving Redis whose log is shipped; gone afterwards, whatever happened."""
    made = Platform(tmp_path)
    try:
        made.start()
        made.ship()
        yield made
    finally:
        made.clean()


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[str]:
    """A store for logs that holds 2 MB."""
    folder = str(tmp_path / "store/aof")
    Path(folder).mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,uid=999,gid=999", "platform3-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def set_numbers(platform: Platform, numbers: range) -> dict[str, Any]:
    """Write these numbers; gives all that the server holds then."""
    platform.client().mset({f"number:{one:07}": str(one) for one in numbers})
    return platform.everything()


def increment_in_store(platform: Platform) -> Path:
    """The newest increment of the first life."""
    return max((platform.store / "aof/initial").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))


def test_a_log_shipped_through_rewrites_and_kills_brings_back_all_up_to_its_last_pass(platform: Platform) -> None:
    backup = platform.backup()
    writer = Writer(platform)
    writer.start()
    generations = set()
    for turn in range(4):
        platform.client().bgrewriteaof()
        if turn == 1:
            docker("kill", "--signal", "KILL", platform.shipper)
            assert docker("inspect", "--format", "{{.State.ExitCode}}", platform.shipper) == "137"
            docker("start", platform.shipper)
        if turn == 2:
            docker("kill", "--signal", "KILL", platform.id)
            docker("start", platform.id)
            platform.client()
        generations.add(platform.await_shipped()[2])
    assert len(generations) > 1, "the log was to be rewritten while it was shipped"
    platform.wait_for(lambda: platform.client().info("persistence")["aof_rewrite_in_progress"] == 0, "end of a rewrite")
    platform.await_shipped()
    # What was replaced is shipped whole and gone from the volume; the store keeps two generations.
    assert len([name for name in platform.files() if name.endswith(".manifest")]) == 2
    assert len([name for name in platform.files() if name.endswith(".base.rdb")]) == 2
    assert platform.in_volume("ls data/appendonlydir/*.base.rdb | wc -l") == "1"
    # Lost while it is written to: all that was acknowledged before the last whole pass is there, in order, no hole.
    floor = writer.acknowledged
    platform.await_shipped()
    platform.lose()
    writer.end()
    result = platform.restore_log(backup)
    assert not result.get("failed"), result
    assert result["source"] == "log" and "no signature" in result["warnings_found"][0]
    found = platform.everything()
    assert list(found) == [f"number:{one:07}" for one in range(len(found))] and len(found) > floor > 0
    assert list(found.values()) == [str(one) for one in range(len(found))]
    assert result["recovery_point"] > backup["content"]["recovery_point"]
    verified = platform.verify(backup, result["expected_keys"])
    assert not verified.get("failed"), verified

    # The restored data begins a life of its own, and a second loss is recovered from that.
    resumed = platform.resume()
    assert not resumed.get("failed") and resumed["shipped"].startswith("r1-2 "), resumed
    assert not platform.resume()["changed"]
    whole = set_numbers(platform, range(5_000_000, 5_000_100))
    platform.await_shipped()
    platform.lose()
    again = platform.restore_log(backup, fence={"recovery_id": "r2", "epoch": 3})
    assert not again.get("failed"), again
    assert platform.everything() == whole


def test_a_log_that_the_server_cut_is_shipped_as_it_goes_on(platform: Platform) -> None:
    """A server that was killed in a write leaves half a command; it cuts that at its start and writes over it."""
    set_numbers(platform, range(100))
    platform.await_shipped()
    docker("kill", platform.id)
    half = r"*3\r\n$3\r\nSET\r\n$11\r\nhalf:writt"
    platform.in_volume(f"printf '{half}' >> $(ls data/appendonlydir/*.incr.aof)")
    platform.await_shipped()
    assert b"half:writt" in increment_in_store(platform).read_bytes()
    docker("start", platform.id)
    whole = set_numbers(platform, range(100, 300))
    platform.await_shipped()
    kept = increment_in_store(platform).read_bytes()
    assert b"half:writt" not in kept and b"number:0000299" in kept
    source = platform.in_volume("sha256sum < $(ls data/appendonlydir/*.incr.aof)")
    folder = f"{platform.store}/aof/initial"
    copy = docker("run", "--rm", "--network", "none", "--volume", f"{folder}:/log:ro", IMAGE, "bash", "-c",
                  f"sha256sum < /log/{increment_in_store(platform).name}")  # fmt: skip
    assert source == copy and len(whole) == 300


def test_a_torn_end_is_cut_and_told_and_the_rest_comes_back(platform: Platform) -> None:
    backup = platform.backup()
    time.sleep(1)
    whole = set_numbers(platform, range(50))
    platform.client().set("last", "written")
    platform.await_shipped()
    platform.lose()
    shipped = increment_in_store(platform)
    shipped.write_bytes(shipped.read_bytes()[:-5])
    result = platform.restore_log(backup)
    assert not result.get("failed"), result
    assert result["source"] == "log" and any("were cut" in one for one in result["warnings_found"]), result
    assert platform.everything() == whole
    # The store is left as it was.
    assert shipped.read_bytes().endswith(b"\r\nwrit")


def test_a_damaged_middle_is_never_cut_off_silently(platform: Platform) -> None:
    before = set_numbers(platform, range(50))
    backup = platform.backup()
    time.sleep(1)
    set_numbers(platform, range(50, 90))
    platform.client().set("damaged", "here")
    time.sleep(1.1)
    set_numbers(platform, range(90, 120))
    platform.await_shipped()
    platform.lose()
    shipped = increment_in_store(platform)
    text = shipped.read_bytes()
    shipped.write_bytes(text.replace(b"$7\r\ndamaged", b"$9999\r\ndamaged"))
    assert shipped.read_bytes() != text
    refused = platform.restore_log(backup, log="required")
    assert refused["failed"] and refused["error"]["code"] == "PRC-620" and shipped.name in refused["msg"], refused
    assert platform.in_volume("ls data 2>/dev/null || true") == ""
    result = platform.restore_log(backup, fence={"recovery_id": "r1", "epoch": 3})
    assert not result.get("failed"), result
    assert result["source"] == "snapshot" and "damaged behind byte" in result["warnings_found"][0], result
    assert result["recovery_point"] == backup["content"]["recovery_point"]
    assert platform.everything() == before


def test_a_server_that_was_emptied_comes_back_empty_with_a_warning_or_from_its_snapshot(platform: Platform) -> None:
    before = set_numbers(platform, range(1000))
    backup = platform.backup()
    time.sleep(1)
    platform.client().flushall()
    platform.client().set("after", "flushall")
    platform.await_shipped()
    platform.lose()
    result = platform.restore_log(backup)
    assert not result.get("failed"), result
    assert platform.everything() == {"after": "flushall"}
    assert any("redis_restore_from=snapshot" in one for one in result["warnings_found"]), result
    # The same recovery does not take other data than it put into the volume; a new one may.
    other = platform.restore_log(backup, fence={"recovery_id": "r1", "epoch": 3}, restore_from="snapshot")
    assert other["failed"] and other["error"]["code"] == "PRC-609", other
    docker("rm", "--force", platform.id)
    snapshot = platform.restore_log(backup, fence={"recovery_id": "r2", "epoch": 4}, restore_from="snapshot")
    assert not snapshot.get("failed") and snapshot["source"] == "snapshot", snapshot
    assert platform.everything() == before and snapshot["warnings_found"] == []


def test_the_snapshot_is_taken_where_it_reaches_further_and_a_required_log_must_be_there(platform: Platform) -> None:
    set_numbers(platform, range(10))
    platform.await_shipped()
    docker("rm", "--force", platform.shipper)
    time.sleep(1.1)
    whole = set_numbers(platform, range(10, 20))
    backup = platform.backup()
    given = {
        "fence": {"recovery_id": "r1", "epoch": 2},
        "image": IMAGE,
        "environment_id": platform.id,
        "snapshot_at": backup["content"]["recovery_point"],
        "snapshot_bytes": backup["artefacts"][0]["bytes"],
        "log_path": str(platform.store / "aof"),
    }
    told = platform.run("redis_log_info", given)
    assert told["source"] == "snapshot" and "not after the snapshot" in told["reason"], told
    assert told["recovery_point"] == backup["content"]["recovery_point"]
    for path in (platform.store / "aof").glob("*/*.manifest"):
        path.unlink()
    missing = platform.run("redis_log_info", given | {"log": "required"})
    assert missing["failed"] and missing["error"]["code"] == "PRC-621", missing
    platform.lose()
    result = platform.restore_log(backup)
    assert not result.get("failed") and result["source"] == "snapshot", result
    assert "no generation" in result["warnings_found"][0] and platform.everything() == whole


def test_a_platform_of_an_older_epoch_ships_nothing_and_its_health_fails(platform: Platform) -> None:
    healthy = ["exec", platform.shipper, "/sidecars/aof_shipper_healthy"]
    assert docker(*healthy).startswith("initial ")
    (platform.store / "fence/epoch").write_text("2")
    platform.wait_for(lambda: "fenced" in logs(platform.shipper), "refusal")
    before = platform.files()
    set_numbers(platform, range(10))
    time.sleep(1)
    assert platform.files() == before
    platform.wait_for(lambda: docker_fails(*healthy), "failing health check")
    # So does a life that a recovery of a later epoch began.
    (platform.store / "fence/epoch").write_text("1")
    platform.await_shipped()
    assert platform.files() != before and docker(*healthy)
    (platform.store / "aof/r9").mkdir()
    (platform.store / "aof/r9/epoch").write_text("9")
    platform.wait_for(lambda: docker_fails(*healthy), "failing health check")


def docker_fails(*arguments: str) -> bool:
    """Whether a docker command ends badly."""
    with contextlib.suppress(AssertionError):
        docker(*arguments)
        return False
    return True


def test_a_full_store_stops_the_shipping_and_nothing_else(small_store: str, platform: Platform) -> None:
    healthy = ["exec", platform.shipper, "/sidecars/aof_shipper_healthy"]
    for number in range(40):
        platform.client().set(f"filling:{number}", "v" * 100_000)
    platform.wait_for(lambda: "No space left on device" in logs(platform.shipper), "complaint")
    platform.wait_for(lambda: docker_fails(*healthy), "failing health check")
    assert platform.client().set("goes", "on")
    subprocess.run(["mount", "-o", "remount,size=64m", small_store], check=True)
    platform.await_shipped()
    newest = platform.in_volume("ls data/appendonlydir/*.incr.aof")
    assert platform.in_volume(f"stat -c %s {newest}") == str(len(platform.files()[newest.rsplit("/", 1)[1]]))


def test_data_that_is_put_back_goes_on_in_the_folder_it_had(platform: Platform) -> None:
    """After a rollback the old data counts again, although what was rolled back was written later."""
    # So little data as a few keys is taken for a server that somebody started on nothing, and is not put back.
    platform.client().set("ballast", "x" * 2_000_000)
    before = set_numbers(platform, range(10))
    backup = platform.backup()
    given = platform.restore_input(backup)
    isolate = {name: given[name] for name in ("fence", "compose", "environment_id")} | {
        "component": "redis",
        "services": ["redis", "aof-shipper"],
    }
    assert len(platform.run("component_isolate", isolate)["removed"]) == 2
    result = platform.restore_log(backup)
    assert not result.get("failed") and result["quarantined"], result
    assert platform.resume()["shipped"].startswith("r1-2 ")
    set_numbers(platform, range(1000, 1010))
    platform.await_shipped()
    platform.run("component_isolate", isolate)
    back = {name: given[name] for name in ("compose", "environment_id", "service", "volume", "image")}
    back |= {"fence": {"recovery_id": "r1", "epoch": 3}, "component": "redis", "state": "put_back"}
    nothing = {**back, "state": "found", "fence": {"recovery_id": "another", "epoch": 3}}
    assert platform.run("quarantine", nothing)["error"]["code"] == "PRC-407"
    assert platform.run("quarantine", {**back, "state": "found"})["swap_state"] == "swapped"
    assert not platform.run("quarantine", back).get("failed")
    assert platform.run("quarantine", {**back, "state": "found"})["swap_state"] == "rolled_back"
    assert platform.everything() == before
    assert platform.resume()["shipped"].startswith("initial ")
    assert platform.files()["epoch"] == b"3\n" and platform.files("r1-2")["epoch"] == b"2\n"
    time.sleep(1)
    whole = set_numbers(platform, range(10, 20))
    # An increment that was just begun names no time: its base does.
    platform.client().bgrewriteaof()
    platform.wait_for(lambda: platform.await_shipped()[2] == "2", "rewritten log")
    platform.lose()
    again = platform.restore_log(backup, fence={"recovery_id": "r2", "epoch": 4})
    assert not again.get("failed") and again["source"] == "log", again
    assert platform.everything() == whole
