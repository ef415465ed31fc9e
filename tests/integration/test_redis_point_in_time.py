# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis at a point in time, really: marks with known times, a FLUSHALL, rewrites, damage, and the way back."""

from __future__ import annotations

import calendar
import math
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.redis_stage import IMAGE, Platform, docker

EACH_SECONDS = 0.1


@dataclass(frozen=True)
class Mark:
    """A key that was written, after sent_at and before done_at (seconds since 1970)."""

    name: str
    sent_at: float
    done_at: float


class Marks(threading.Thread):
    """Writes a key each tenth of a second, and knows when."""

    def __init__(self, platform: Platform, prefix: str = "mark") -> None:
        super().__init__(daemon=True)
        self.client = platform.client()
        self.prefix = prefix
        self.written: list[Mark] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(EACH_SECONDS):
            name = f"{self.prefix}:{len(self.written):05}"
            sent_at = time.time()
            self.client.set(name, "1")
            self.written.append(Mark(name, sent_at, time.time()))

    def until(self, number: int) -> None:
        """Wait for so many marks."""
        while len(self.written) < number:
            assert self.is_alive(), "the writer ended"
            time.sleep(EACH_SECONDS)

    def end(self) -> list[Mark]:
        """Write no more."""
        self.ended.set()
        self.join()
        return self.written


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


def iso(instant: float) -> str:
    """An instant with an offset that is not UTC's: inputs may have any."""
    shifted = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant + 3600))
    return f"{shifted}.{int(instant % 1 * 1000):03d}+01:00"


def seconds(text: str) -> float:
    """Seconds since 1970 of a module's answer."""
    whole = time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    return calendar.timegm(whole) + float("0" + text[19:-1])


class Recoveries:
    """One recovery after another to instants of one store, each with a fence of its own; the shipper stays away."""

    def __init__(self, platform: Platform, backup: dict[str, Any]) -> None:
        self.platform = platform
        self.backup = backup
        self.number = 0

    def to(self, instant: float | str, **changes: Any) -> dict[str, Any]:
        """The result of a restore to an instant."""
        self.number += 1
        docker("rm", "--force", self.platform.id, self.platform.shipper)
        target = instant if isinstance(instant, str) else iso(instant)
        fence = {"recovery_id": f"t{self.number}", "epoch": self.number + 1}
        return self.platform.restore_log(self.backup, **{"fence": fence, "target_time": target, **changes})

    def assess(self, instant: float | None = None, **changes: Any) -> dict[str, Any]:
        """The answer of redis_log_info."""
        given = {
            "fence": {"recovery_id": "t", "epoch": 1},
            "image": IMAGE,
            "environment_id": self.platform.id,
            "snapshot_at": self.backup["content"]["recovery_point"],
            "snapshot_bytes": self.backup["artefacts"][0]["bytes"],
            "log_path": str(self.platform.store / "aof"),
            "window": True,
        }
        target = {} if instant is None else {"target_time": iso(instant)}
        return self.platform.run("redis_log_info", {**given, **target, **changes})


def reached(result: dict[str, Any], instant: float) -> float:
    """The reached point of a restore that is within a second of what was asked for, and not after it."""
    assert not result.get("failed"), result
    point = seconds(result["reached"]["reached_point"])
    assert 0 <= instant - point < 1 and abs(instant - point - result["reached"]["skew_seconds"]) < 0.01, result
    assert result["source"] == "log" and result["recovery_point"] == result["reached"]["reached_point"]
    assert seconds(result["reached"]["newest_command_at"]) < point
    return point


def require_marks(platform: Platform, marks: list[Mark], point: float, either: frozenset[str] = frozenset()) -> int:
    """Every mark before point is there, none after it, and no other but those that may be or not; gives how many."""
    found = {name for name in platform.everything() if name.startswith(("mark:", "later:"))}
    missing = [one for one in marks if one.done_at < point and one.name not in found]
    late = [one for one in marks if one.sent_at > point and one.name in found]
    assert (missing, late) == ([], []), point
    assert found - either <= {one.name for one in marks}
    return len(found)


def rewrite(platform: Platform) -> None:
    """A rewrite of the log, shipped."""
    before = platform.await_shipped()[2]
    platform.client().bgrewriteaof()
    platform.wait_for(lambda: platform.await_shipped()[2] != before, "new generation")


def until_whole_second() -> None:
    """Wait for a little after the next second begins."""
    time.sleep(1.05 - time.time() % 1)


def test_a_flushall_is_found_and_undone_to_any_instant_through_a_rewrite(platform: Platform) -> None:
    backup = platform.backup()
    began = time.time()
    until_whole_second()
    writer = Marks(platform)
    writer.start()
    writer.until(25)
    rewrite(platform)
    writer.until(55)
    flush_sent = time.time()
    platform.client().flushall()
    flush_done = time.time()
    writer.until(len(writer.written) + 25)
    marks = writer.end()
    platform.await_shipped()
    recoveries = Recoveries(platform, backup)
    window = recoveries.assess()["window"]
    assert len(window) == 2 and {one["life"] for one in window} == {"initial"}, window
    earliest, latest = (seconds(one) for one in (window[0]["earliest"], window[-1]["latest"]))
    assert earliest <= began + 2 and marks[-1].sent_at - 1 < latest <= marks[-1].done_at

    # Found by its second, and undone by taking that as the target.
    asked = {"image": IMAGE, "environment_id": platform.id, "log_path": str(platform.store / "aof")}
    told = platform.run("redis_log_find_info", {**asked, "around": iso(began), "window_seconds": 60})
    assert [one["command"] for one in told["events"]] == ["FLUSHALL"], told
    flushed_at = seconds(told["events"][0]["at"])
    assert math.floor(flush_sent) <= flushed_at <= flush_done
    platform.lose()
    kept = [one for one in marks if one.done_at < flush_sent]
    after = [one for one in marks if one.sent_at > flush_done]
    # A mark on its way beside the FLUSHALL came before or after it: the server knows, the writer does not.
    beside = frozenset({one.name for one in marks} - {one.name for one in [*kept, *after]})
    assert require_marks(platform, kept, reached(recoveries.to(flushed_at), flushed_at), beside) > 30

    # To many instants: of the former generation, of the newer one, before and after the FLUSHALL.
    chosen = random.Random(7)
    instants = [seconds(window[0]["earliest"]) + 0.5, seconds(window[1]["earliest"]) - 0.3]
    instants += [chosen.uniform(marks[8].sent_at, flushed_at) for _ in range(3)] + [flush_sent - 0.001]
    for instant in instants:
        assert recoveries.assess(instant)["source"] == "log"
        point = reached(recoveries.to(instant), instant)
        require_marks(platform, kept, point, beside)
    point = reached(recoveries.to(latest + 0.9), latest + 0.9)
    assert require_marks(platform, after, point, beside) > 0
    # Without a target it is the newest point, as ever.
    newest = recoveries.to("")
    assert not newest.get("failed") and "reached" not in newest, newest
    assert set(platform.everything()) - beside == {one.name for one in after}


def test_what_cannot_be_reached_is_refused_with_its_neighbours_and_nothing_is_touched(platform: Platform) -> None:
    platform.client().set("first", "1")
    until_whole_second()
    backup = platform.backup()
    snapshot = seconds(backup["content"]["recovery_point"])
    rewrite(platform)
    until_whole_second()
    rewrite(platform)
    for _ in range(3):
        until_whole_second()
        platform.client().set("last", "1")
    platform.await_shipped()
    recoveries = Recoveries(platform, backup)
    window = recoveries.assess()["window"]
    # Two generations are kept: what came before them is gone, but for the snapshot.
    earliest, latest = seconds(window[0]["earliest"]), seconds(window[-1]["latest"])
    assert earliest > snapshot + 0.5, (window, backup["content"]["recovery_point"])
    before = platform.files()
    held = platform.everything()
    for target, named in [
        (snapshot - 30, window[0]["earliest"]),
        (latest + 1, window[-1]["latest"]),
        (time.time() + 3600, window[-1]["latest"]),
    ]:
        for refused in (recoveries.assess(target), recoveries.to(target)):
            assert refused["failed"] and refused["error"]["code"] == "PRC-625" and named in refused["msg"], refused
    naive = recoveries.to("2026-11-23T14:30:00")
    assert naive["failed"] and naive["error"]["code"] == "PRC-624", naive
    # The refused ones had a volume in their hands: its data is as it was, and nothing lies beside it.
    assert platform.in_volume("ls -d restore-* quarantine 2>/dev/null || true") == ""
    assert platform.files() == before
    platform.compose("up", "--detach", "redis")
    assert platform.everything() == held

    # Check mode says what would be reached, and changes nothing either.
    shown = recoveries.to(latest - 0.5, _ansible_check_mode=True)
    assert shown["changed"] and abs(shown["reached"]["skew_seconds"] - 0.5) < 0.01 and shown["source"] == "log", shown
    assert platform.in_volume("ls -d restore-* quarantine 2>/dev/null || true") == ""

    # Before the log's beginning the snapshot is the nearest, unless a log is required.
    target = earliest - 0.2
    assert recoveries.assess(target, log="required")["error"]["code"] == "PRC-625"
    result = recoveries.to(target)
    assert not result.get("failed") and result["source"] == "snapshot", result
    assert result["reached"]["reached_point"] == backup["content"]["recovery_point"]
    assert abs(result["reached"]["skew_seconds"] - (target - snapshot)) < 0.01
    assert any("before the target" in one for one in result["warnings_found"])
    assert platform.everything() == {"first": "1"}
    # The same recovery does not take another target than the one its data was restored for.
    fence = {"recovery_id": f"t{recoveries.number}", "epoch": 50}
    other = recoveries.to(latest, fence=fence)
    assert other["failed"] and other["error"]["code"] == "PRC-609", other
    assert not recoveries.to(target, fence={**fence, "epoch": 51}).get("failed")


def test_damage_is_gone_around_by_an_older_base_and_never_cut_off(platform: Platform) -> None:
    platform.client().set("first", "1")
    backup = platform.backup()
    until_whole_second()
    writer = Marks(platform)
    writer.start()
    writer.until(15)
    rewrite(platform)
    platform.client().set("damaged", "here")
    writer.until(len(writer.written) + 30)
    marks = writer.end()
    platform.await_shipped()
    platform.lose()
    recoveries = Recoveries(platform, backup)
    folder = platform.store / "aof/initial"
    bases = sorted(folder.glob("*.base.rdb"), key=lambda path: int(path.name.split(".")[2]))
    assert len(bases) == 2
    text = bytearray(bases[-1].read_bytes())
    text[-20] ^= 8
    bases[-1].write_bytes(text)
    target = marks[-1].sent_at - 0.5
    result = recoveries.to(target)
    require_marks(platform, marks, reached(result, target))
    assert any("generation 2) could not be used" in one for one in result["warnings_found"]), result
    # An increment is read by both bases: damage in its middle leaves the snapshot, or nothing.
    newest = max(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))
    log = newest.read_bytes()
    newest.write_bytes(log.replace(b"$7\r\ndamaged", b"$9999\r\ndamaged"))
    assert newest.read_bytes() != log
    refused = recoveries.to(target, log="required")
    assert refused["failed"] and refused["error"]["code"] == "PRC-620" and newest.name in refused["msg"], refused
    result = recoveries.to(target)
    assert not result.get("failed") and result["source"] == "snapshot", result
    assert result["reached"]["skew_seconds"] > 2 and platform.everything() == {"first": "1"}
    assert any("is damaged behind byte" in one for one in result["warnings_found"]), result


def test_a_second_recovery_finds_the_life_that_the_platform_had_at_its_target(platform: Platform) -> None:
    """To after the first one's fork, to what that one undid, and to before it."""
    backup = platform.backup()
    until_whole_second()
    writer = Marks(platform)
    writer.start()
    writer.until(50)
    first = writer.end()
    platform.await_shipped()
    recoveries = Recoveries(platform, backup)
    docker("rm", "--force", platform.id, platform.shipper)
    fork = first[20].sent_at
    point = reached(recoveries.to(fork), fork)
    assert platform.resume()["shipped"].startswith("t1-2 ")
    until_whole_second()
    writer = Marks(platform, "later")
    writer.start()
    writer.until(30)
    later = writer.end()
    platform.await_shipped()
    platform.lose()
    assert seconds((platform.store / "aof/t1-2/restored").read_text().split()[1]) == point
    window = recoveries.assess()["window"]
    assert {(one["life"], one["inherited"]) for one in window} == {
        ("initial", False),
        ("t1-2", True),
        ("t1-2", False),
    }
    # What the first recovery had undone lies in the first life's log still.
    undone = first[-1].sent_at - 0.7
    point = reached(recoveries.to(undone), undone)
    assert point > fork and require_marks(platform, [*first, *later], point) > 20
    # After its fork, the undone marks stay undone.
    target = later[-1].sent_at - 0.7
    kept = [one for one in first if one.done_at < fork]
    result = recoveries.to(target)
    found = {name for name in platform.everything() if name.startswith("mark:")}
    assert found <= {one.name for one in kept} and len(found) > 5
    require_marks(platform, [*[one for one in first if one.name in found], *later], reached(result, target))
    # Between the lives nothing was written that counts.
    own = next(one for one in window if one["life"] == "t1-2" and not one["inherited"])
    refused = recoveries.assess(seconds(own["earliest"]) - 0.5)
    assert refused["failed"] and "nearest before" in refused["msg"] and "nearest after" in refused["msg"], refused
    # Before its fork both lives have the same; without the first one's folder the second serves it.
    for path in (platform.store / "aof/initial").iterdir():
        path.unlink()
    early = first[15].sent_at
    require_marks(platform, first, reached(recoveries.to(early), early))
    assert recoveries.assess(undone)["failed"]


def test_what_expired_since_the_target_is_gone_and_stale_prices_are_dropped(platform: Platform) -> None:
    backup = platform.backup()
    client = platform.client()
    until_whole_second()
    client.set("session:long", "1", ex=3600)
    client.set("session:short", "1", ex=5)
    client.set("setting", "1")
    platform.client(1).set("price:EURUSD", "1.1")
    platform.client(1).set("candle:EURUSD", "1.1")
    until_whole_second()
    target = time.time()
    assert client.pttl("session:short") > 0
    until_whole_second()
    client.flushall()
    platform.wait_for(lambda: time.time() > target + 5, "end of the short session")
    client.set("tick", "2")
    platform.await_shipped()
    platform.lose()
    recoveries = Recoveries(platform, backup)
    result = recoveries.to(target, cache_patterns=[{"db": 1, "pattern": "price:*"}])
    reached(result, target)
    assert result["dropped"] == {"1": 1}
    assert platform.everything() == {"session:long": "1", "setting": "1"}
    assert platform.client(1).keys("*") == ["candle:EURUSD"]
    verified = platform.verify(backup, result["expected_keys"])
    assert not verified.get("failed"), verified


def test_what_emptied_the_server_is_listed_with_its_second_and_what_expired_or_was_a_few_is_not(
    platform: Platform,
) -> None:
    client = platform.client()
    until_whole_second()
    client.mset({f"session:{number}": "1" for number in range(500)})
    client.delete(*[f"session:{number}" for number in range(50)])
    until_whole_second()
    for number in range(50, 300):
        client.unlink(f"session:{number}")
    platform.client(1).set("a", "1")
    platform.client(1).flushdb()
    client.swapdb(0, 1)
    until_whole_second()
    client.set("tick", "1")
    platform.await_shipped()
    given = {"image": IMAGE, "environment_id": platform.id, "log_path": str(platform.store / "aof")}
    told = platform.run("redis_log_find_info", {**given, "around": iso(time.time()), "window_seconds": 30})
    assert not told.get("failed"), told
    assert [one["command"] for one in told["events"]] == ["DEL or UNLINK", "FLUSHDB", "SWAPDB"], told
    deleted = told["events"][0]
    assert (deleted["keys"], deleted["database"], deleted["kinds"]) == (250, 0, ["session:* (250)"])
    assert told["events"][1]["database"] == 1 and told["events"][2]["arguments"] == ["0", "1"]
    assert [one["life"] for one in told["searched"]] == ["initial"] and told["warnings_found"] == []
    nothing = platform.run("redis_log_find_info", {**given, "around": "2020-01-01T00:00:00Z"})
    assert nothing["failed"] and nothing["error"]["code"] == "PRC-626" and "they hold" in nothing["msg"], nothing
