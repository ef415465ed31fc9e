# SPDX-License-Identifier: GPL-3.0-or-later
"""InfluxDB to an instant: ticks with known times, increments, deletes; every tick up to it is there, none after."""

from __future__ import annotations

import random
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_target as target_of
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, nanoseconds
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_scratch import ScratchServer
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import Capture, Choices
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

from tests.integration.influxdb_stage import DAY, IMAGE, SECOND, Platform, seed
from tests.integration.scratch import docker, start_module
from tests.integration.test_influxdb_increments import Chain

pytestmark = pytest.mark.integration

INTERVAL = 2 * SECOND
AGGREGATES = [{"bucket": "analytics", "source_bucket": "market-data", "interval_seconds": 2}]
RULES = [{"type": "expire", "everySeconds": 90 * 86400, "shardGroupDurationSeconds": 86400}]
KEPT, DELETED = "MARKED", "REMOVED"


class History:
    """A server whose every tick is known: kept[bucket] and deleted hold the times of what was acknowledged."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform = platform
        self.chain = Chain(platform, seed(platform), folder)
        self.kept: dict[str, list[int]] = {}
        self.deleted: list[int] = []
        self.candles: list[int] = []
        self.at: dict[str, int] = {}
        self._candles_until = time.time_ns() // INTERVAL * INTERVAL

    @property
    def buckets(self) -> dict[str, str]:
        """Ids by name."""
        found: dict[str, str] = self.chain.facts["buckets"]
        return found

    def write(self, bucket: str, line: str) -> int:
        """Write a line with the time of now; the time."""
        now = time.time_ns()
        self.platform.api.write(self.chain.facts["organisation"], self.buckets[bucket], f"{line} {now}")
        return now

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        given = {"orgID": self.chain.facts["organisation"], "name": name, "retentionRules": RULES}
        self.buckets[name] = self.platform.api.json("/api/v2/buckets", "POST", given)["id"]

    def storm(self, seconds: float, *others: str) -> None:
        """Ticks, heartbeats, and candles of each interval after its end."""
        until = time.time_ns() + int(seconds * SECOND)
        while time.time_ns() < until:
            for name in ("market-data", *others):
                self.kept.setdefault(name, []).append(self.write(name, f"ticks,symbol={KEPT} bid=1.0"))
            self.deleted.append(self.write("market-data", f"ticks,symbol={DELETED} bid=2.0"))
            for name in ("market-data", "analytics"):
                at = self.write(name, "platform3_heartbeat number=1i")
            self.kept.setdefault("analytics", []).append(at)
            while self._candles_until + INTERVAL <= time.time_ns():
                self.candles.append(self._candles_until)
                line = f"candles,symbol={KEPT} close=1.0 {self._candles_until}"
                self.platform.api.write(self.chain.facts["organisation"], self.buckets["analytics"], line)
                self._candles_until += INTERVAL
            time.sleep(0.01)

    def take(self, *others: str) -> None:
        """The next set; its id in the chain counts."""
        result = self.chain.next(buckets=["market-data", "analytics", *others])
        assert "failed" not in result, result

    def captures(self) -> list[Capture]:
        """What the store would hold."""
        return target_of.captures_of(
            {
                "backup_set": taken.folder.name,
                "components": {"influxdb": taken.content},
                "chains": {"influxdb": result["chain"]},
            }
            for taken, result in zip(self.chain.taken, self.chain.results, strict=True)
        )

    def choose(self, at: int, **more: Any) -> Choices:
        """The set for an instant."""
        return target_of.choose(at, self.captures(), time.time_ns(), arrival_seconds=0, **more)

    def number(self, set_id: str) -> int:
        """Which of the chain's sets it is."""
        return [one.folder.name for one in self.chain.taken].index(set_id)

    def between(self, one: int, other: int) -> int:
        """An instant half-way between two sets' captures."""
        first, second = (self.captures()[number].at_ns for number in (one, other))
        return (first + second) // 2


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Set 0, ticks; set 1, a delete of points; set 2, a bucket deleted; set 3, a bucket made; set 4, ticks."""
    platform = Platform(tmp_path_factory.mktemp("source") / "platform", secrets.token_hex(24))
    try:
        platform.start()
        made = History(platform, tmp_path_factory.mktemp("sets"))
        made.make_bucket("orders")
        made.storm(2, "orders")
        made.take("orders")
        made.storm(3, "orders")
        made.take("orders")
        made.storm(2, "orders")
        made.at["deleting"] = time.time_ns()
        whole = iso(made.at["deleting"] - DAY), iso(made.at["deleting"])
        platform.api.delete(
            made.chain.facts["organisation"], made.buckets["market-data"], *whole, f'symbol="{DELETED}"'
        )
        made.at["deleted"] = time.time_ns()
        # A tombstone's time is known to the second.
        made.storm(4, "orders")
        made.take("orders")
        made.storm(2, "orders")
        made.at["bucket deleted"] = time.time_ns()
        platform.api.json(f"/api/v2/buckets/{made.buckets['orders']}", "DELETE")
        made.storm(2)
        made.take()
        made.storm(2)
        made.at["bucket made"] = time.time_ns()
        made.make_bucket("signals")
        made.storm(2, "signals")
        made.take("signals")
        made.storm(1, "signals")
        yield made
    finally:
        platform.clean()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, history: History) -> Iterator[Platform]:
    """Another environment, which is recovered again and again; its operator token is the same."""
    platform = Platform(tmp_path_factory.mktemp("target") / "platform", history.platform.token)
    platform.epoch = 1
    try:
        yield platform
    finally:
        platform.clean()


def recover(history: History, place: Platform, set_id: str, at: int, **more: Any) -> dict[str, Any]:
    """Bring the other environment to an instant, and compare it as the role does."""
    place.epoch += 1
    docker("rm", "--force", place.id, check=False)
    number = history.number(set_id)
    taken = history.chain.taken[number]
    began = time.monotonic()
    inputs = {"older": history.chain.older(number), "target_time": iso(at), "aggregates": AGGREGATES, **more}
    result = place.restore(taken, f"recovery-{place.epoch}", place.epoch, **inputs)
    assert "failed" not in result, result
    print(f"\n{set_id} to {iso(at)}: {time.monotonic() - began:.1f} s, {result['parts']}")
    verified = place.verify(taken, content=result["content"], buckets=["market-data", "analytics"])
    assert "failed" not in verified, verified
    return result


def times(place: Platform, bucket: str, condition: str) -> list[int]:
    """Times of the points that a condition lets through, oldest first."""
    organisation = place.api.json("/api/v2/orgs")["orgs"][0]["id"]
    flux = (
        f'from(bucket: "{bucket}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)'
        f" |> filter(fn: (r) => {condition}) |> group()"
    )
    return sorted(nanoseconds(row["_time"]) for row in place.api.query(organisation, flux))


def ticks(place: Platform, symbol: str = KEPT, bucket: str = "market-data") -> list[int]:
    """Times of a symbol's ticks."""
    return times(place, bucket, f'r._measurement == "ticks" and r.symbol == "{symbol}"')


def up_to(found: list[int], at: int) -> list[int]:
    """Those at or before an instant."""
    return [one for one in found if one <= at]


def require_state(history: History, place: Platform, at: int, removed: bool = True) -> None:
    """Every mark at or before the instant is there, none after it; candles as far as their interval is before it.

    removed: whether there were points after it, of which the candle of its interval could hold some.
    """
    assert ticks(place) == up_to(history.kept["market-data"], at)
    assert times(place, "analytics", 'r._measurement == "platform3_heartbeat"') == up_to(history.kept["analytics"], at)
    # What was not computed at the capture lacks there, and is computed again.
    candles = times(place, "analytics", f'r._measurement == "candles" and r.symbol == "{KEPT}"')
    floor = at // INTERVAL * INTERVAL
    assert not removed or [one for one in candles if one >= floor] == []
    assert [one for one in history.candles if one < floor - INTERVAL] == [
        one for one in candles if one < floor - INTERVAL
    ]


def test_ten_random_instants_are_reached_exactly(history: History, place: Platform) -> None:
    chance = random.Random(20261123)
    captures = history.captures()
    marks = history.kept["market-data"]
    targets = [chance.randrange(captures[0].at_ns, captures[-1].at_ns) for _number in range(9)]
    targets.append(chance.choice([one for one in marks if captures[0].at_ns < one < captures[-1].at_ns]))
    for at in targets:
        choices = history.choose(at)
        result = recover(history, place, choices.chosen.capture.set_id, at)
        require_state(history, place, at, choices.chosen.removed)
        # Deleted ticks: the state of that time, but for what the choice says is lost.
        named = [one["bucket"] for one in choices.chosen.lost]
        wanted = history.deleted if at < history.at["deleting"] else []
        behind = [one for one in history.deleted if one > history.at["deleted"]]
        expected = up_to(behind, at) if at > history.at["deleted"] or "market-data" in named else up_to(wanted, at)
        if not history.at["deleting"] <= at <= history.at["deleted"]:
            assert ticks(place, DELETED) == expected
        reached = {one["bucket"]: one for one in result["reached"]}["market-data"]
        newest = nanoseconds(reached["newest_at"])
        assert up_to(marks, at)[-1] <= newest <= at and reached["behind_seconds"] == round((at - newest) / SECOND, 3)
        assert result["recovery_point"] == iso(at)
        # Between two storms there may be nothing to remove.
        assert {one["ok"] for one in result["checks"]} == {True}
        assert (len(result["checks"]) > 8) == choices.chosen.removed


def test_a_tick_of_the_very_instant_stays_and_the_next_is_gone(history: History, place: Platform) -> None:
    captures = history.captures()
    marks = [one for one in history.kept["market-data"] if captures[3].at_ns < one < captures[4].at_ns]
    at = marks[len(marks) // 2]
    recover(history, place, history.choose(at).chosen.capture.set_id, at)
    assert ticks(place)[-1] == at
    recover(history, place, history.choose(at - 1).chosen.capture.set_id, at - 1)
    assert ticks(place)[-1] == marks[len(marks) // 2 - 1]


def test_where_points_were_deleted_after_the_target_either_choice_is_what_it_says(
    history: History, place: Platform
) -> None:
    at = history.at["deleting"] - SECOND // 2
    complete = history.choose(at)
    lost = [one for one in complete.chosen.lost if one["what"] == "points"]
    # The server compacts a shard with tombstones within seconds: then the delete is known to the increment.
    assert [(one["bucket"], one["at"] is None or nanoseconds(one["at"]) >= at - SECOND) for one in lost] == [
        ("market-data", True)
    ]
    assert complete.other is not None and history.number(complete.other.capture.set_id) == 1
    recover(history, place, complete.chosen.capture.set_id, at)
    require_state(history, place, at)
    assert ticks(place, DELETED) == []

    before = history.choose(at, prefer="before_deletes").chosen
    assert {one["what"] for one in before.lost} == {"not_captured"}
    assert {one["bucket"] for one in before.lost} >= {"market-data", "analytics", "orders"}
    result = recover(history, place, before.capture.set_id, at)
    assert result["recovery_point"] == iso(before.capture.at_ns)
    captured = up_to(history.deleted, before.capture.at_ns)
    found = ticks(place, DELETED)
    assert found[: len(captured)] == captured and found[-1] <= at


def test_where_points_were_deleted_before_the_target_the_later_set_is_exact(history: History, place: Platform) -> None:
    at = history.captures()[2].at_ns - SECOND // 10
    assert at > history.at["deleted"] + 2 * SECOND
    choices = history.choose(at)
    assert history.number(choices.chosen.capture.set_id) == 2
    assert {one["what"] for one in choices.chosen.lost} <= {"points"}
    recover(history, place, choices.chosen.capture.set_id, at)
    require_state(history, place, at)
    assert ticks(place, DELETED) == up_to([one for one in history.deleted if one > history.at["deleted"]], at)


def test_a_deleted_bucket_is_known_to_one_increment_and_comes_back_from_the_last_before(
    history: History, place: Platform
) -> None:
    at = history.at["bucket deleted"] - SECOND // 2
    choices = history.choose(at)
    lost = [one for one in choices.chosen.lost if one["what"] == "bucket"]
    assert [one["bucket"] for one in lost] == ["orders"] and lost[0]["values"] > 100
    result = recover(history, place, choices.chosen.capture.set_id, at)
    assert "orders" not in {one["bucket"] for one in result["reached"]}
    before = history.choose(at, prefer="before_deletes").chosen
    assert history.number(before.capture.set_id) == 2
    recover(history, place, before.capture.set_id, at)
    captured = up_to(history.kept["orders"], before.capture.at_ns)
    assert ticks(place, bucket="orders")[: len(captured)] == captured and len(captured) > 100


def test_a_bucket_made_after_the_target_stays_and_is_empty(history: History, place: Platform) -> None:
    at = history.at["bucket made"] - SECOND // 2
    choices = history.choose(at)
    assert choices.chosen.created == ("signals",)
    result = recover(history, place, choices.chosen.capture.set_id, at)
    made = {one["bucket"]: one for one in result["reached"]}
    assert (made["signals"]["created_after_target"], made["signals"]["newest_at"]) == (True, None)
    assert made["signals"]["removed_values"] > 0 and not made["market-data"]["created_after_target"]
    assert ticks(place, bucket="signals") == []
    require_state(history, place, at)


def test_candles_of_the_interval_that_is_cut_go_and_are_named(history: History, place: Platform) -> None:
    at = history.candles[-3] + INTERVAL // 2
    result = recover(history, place, history.choose(at).chosen.capture.set_id, at)
    candles = times(place, "analytics", 'r._measurement == "candles" and r.symbol == "MARKED"')
    assert candles == up_to(history.candles, at - INTERVAL // 2 - 1)
    named = result["recompute"]
    assert [(one["bucket"], one["source_bucket"]) for one in named] == [("analytics", "market-data")]
    floor = at // INTERVAL * INTERVAL
    assert (named[0]["from"], named[0]["to"]) == (iso(floor - INTERVAL), iso(floor + INTERVAL))


def test_a_target_after_the_newest_set_reaches_the_set_and_says_so(history: History, place: Platform) -> None:
    at = time.time_ns()
    chosen = history.choose(at).chosen
    assert history.number(chosen.capture.set_id) == 4
    assert {one["what"] for one in chosen.lost} == {"not_captured"}
    result = recover(history, place, chosen.capture.set_id, at)
    assert result["recovery_point"] == iso(chosen.capture.at_ns)
    captured = up_to(history.kept["market-data"], chosen.capture.at_ns)
    assert ticks(place)[: len(captured)] == captured
    assert {one["removed_values"] for one in result["reached"]} == {0} and "cut" in result["parts"]


def test_what_was_removed_stays_removed_over_restart_backup_and_increment(
    history: History, place: Platform, tmp_path: Path
) -> None:
    at = history.between(3, 4)
    result = recover(history, place, history.choose(at).chosen.capture.set_id, at)
    restored = time.time_ns()
    docker("restart", "--timeout", "10", place.id)
    place.api.await_ready(30)
    require_state(history, place, at)
    following = Chain(place, {"buckets": history.buckets, **place_facts(place)}, tmp_path)
    full = following.next(buckets=["market-data"])
    assert "failed" not in full, full
    new = [time.time_ns()]
    place.api.write(
        following.facts["organisation"], history.buckets["market-data"], f"ticks,symbol={KEPT} bid=1.0 {new[0]}"
    )
    increment = following.next(buckets=["market-data"])
    assert "failed" not in increment and increment["chain"] == [one.folder.name for one in following.taken], increment
    # A set from after the recovery holds nothing of what it undid, and all that came after it.
    content = increment["content"]
    assert content["instance"] == str(place.epoch) != history.captures()[-1].content["instance"]
    both = [*history.captures(), Capture("later", nanoseconds(content["recovery_point"]), content)]
    lives = {str(place.epoch): iso(restored)}
    for wanted, set_id in ((at + SECOND // 2, both[4].set_id), (restored - 1, both[4].set_id), (restored, "later")):
        choices = target_of.choose(wanted, both, time.time_ns(), lives=lives, arrival_seconds=0)
        assert (choices.chosen.capture.set_id, choices.other) == (set_id, None)
    other = Platform(tmp_path / "platform", place.token)
    try:
        restored = other.restore(following.taken[1], older=following.older(1))
        assert "failed" not in restored, restored
        assert ticks(other) == up_to(history.kept["market-data"], at) + new
    finally:
        other.clean()
    assert result["content"]["shards"] != history.chain.taken[4].content["shards"]


def place_facts(place: Platform) -> dict[str, Any]:
    """The organisation that a chain of the recovered server needs."""
    return {"organisation": place.api.json("/api/v2/orgs")["orgs"][0]["id"]}


def test_a_run_killed_while_it_removes_points_begins_anew(history: History, place: Platform) -> None:
    at = history.between(3, 4)
    taken, number = history.chain.taken[4], 4
    place.epoch += 1
    docker("rm", "--force", place.id, check=False)
    recovery = f"recovery-{place.epoch}"
    more = {"older": history.chain.older(number), "target_time": iso(at), "aggregates": AGGREGATES}
    progress = place.folder / "progress.json"
    inputs = place.restore_inputs(taken, recovery, place.epoch, progress_path=str(progress), **more)
    running = start_module(place.folder, "influxdb_restore", inputs)
    deadline = time.monotonic() + 60
    while not progress.exists() or "remove points" not in progress.read_text():
        assert time.monotonic() < deadline and running.poll() is None, "it was not caught at it"
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert f"restore-{recovery}" in place.in_volume("ls").split()
    assert f"swap-{recovery}" not in place.in_volume("ls").split()
    place.epoch += 1
    result = place.restore(taken, recovery, place.epoch, **more)
    assert "failed" not in result, result
    require_state(history, place, at)
    again = place.restore(taken, recovery, place.epoch, **more)
    assert (again["changed"], again["content"], again["reached"]) == (False, result["content"], result["reached"])
    # The same set to another instant is another restore.
    other = place.restore(taken, recovery, place.epoch, **{**more, "target_time": iso(at - SECOND)})
    assert other["error"]["code"] == "PRC-710"


def test_a_set_that_is_not_what_it_says_is_not_cut(history: History, place: Platform, tmp_path: Path) -> None:
    """A figure of the shard that is cut differs: nothing is exchanged."""
    at = history.between(3, 4)
    wrong = history.chain.taken[4].copy(tmp_path / history.chain.taken[4].folder.name)
    next(one for one in reversed(wrong.content["shards"]) if int(one["values"]))["values"] += 1
    place.epoch += 1
    docker("rm", "--force", place.id, check=False)
    more = {"older": history.chain.older(4), "target_time": iso(at)}
    result = place.restore(wrong, f"recovery-{place.epoch}", place.epoch, **more)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-763")
    assert f"swap-recovery-{place.epoch}" not in place.in_volume("ls").split()


def test_data_on_which_no_server_starts_is_not_exchanged(place: Platform) -> None:
    place.epoch += 1
    docker("rm", "--force", place.id, check=False)
    with VolumeWorker("influxdb", place.volume, IMAGE, place.id, Fence("damaged", place.epoch)) as worker:
        folder = "/var/lib/platform3/restore-damaged"
        worker.bash('mkdir "$1"; head -c 65536 /dev/urandom > "$1/influxd.bolt"', folder)
        with pytest.raises(RecoveryError, match="PRC-762") as refused, ScratchServer(worker, folder, 20):
            pass
        worker.bash('rm -rf "$1"', folder)
    assert "it ended (" in refused.value.found and "bolt" in refused.value.found


@pytest.mark.parametrize("wrong", ["2026-11-23T14:30:00", "yesterday"])
def test_a_target_without_offset_is_refused(history: History, place: Platform, wrong: str) -> None:
    result = place.restore(history.chain.taken[0], "recovery-1", 1, target_time=wrong)
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-764")


def test_no_scratch_server_is_left(place: Platform) -> None:
    listed = ["docker", "ps", "--all", "--quiet", "--filter", f"label=platform3.recovery.environment={place.id}"]
    names = subprocess.run([*listed, "--filter", "label=platform3.recovery.one_shot"], capture_output=True, text=True)
    assert names.stdout == ""


def test_each_delete_is_found_between_the_two_sets_around_it(history: History) -> None:
    captures = history.captures()
    whole = target_of.deletes_around(captures, {}, captures[0].at_ns, captures[-1].at_ns)
    told = [(one["what"], one["bucket"], one["set_before"], one["set_after"]) for one in whole.events]
    sets = [one.set_id for one in captures]
    assert told == [("points", "market-data", sets[1], sets[2]), ("bucket", "orders", sets[2], sets[3])]
    for event, name in zip(whole.events, ("deleted", "bucket deleted"), strict=True):
        assert nanoseconds(event["from"]) < history.at[name] < nanoseconds(event["to"])
        assert event["before"] == event["from"]
    assert whole.warnings == []
    # Around a time between the first two sets there is none.
    at = history.between(0, 1)
    assert target_of.deletes_around(captures, {}, at, at + 1).events == []
