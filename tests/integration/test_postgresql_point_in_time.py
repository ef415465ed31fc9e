# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL brought to points in time: every mark at or before is there, none after, on whichever timeline."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.postgresql_stage import Stage
from tests.integration.scratch import start_module

EARLIER, LATER = "20261123T051700Z", "20261123T061700Z"
EACH = 15
MARKED = list(range(1, 3 * EACH + 1))


@dataclass
class Mark:
    """A committed row: its transaction, and the instant and the position right behind its commit."""

    number: int
    xid: str
    at: str
    lsn: str


@dataclass
class Marked:
    """A database that was marked, backed up twice on the way, and lost; the contents of both sets by their id."""

    stage: Stage
    marks: dict[int, Mark] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    window: dict[str, Any] = field(default_factory=dict)

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The modules' input `sets`."""
        return [{"backup_set": name, "content": content} for name, content in self.sets.items()]


def mark(stage: Stage, numbers: Sequence[int], switch_after: int = 0) -> dict[int, Mark]:
    """Commit marks one by one, with an instant between each two."""
    made = {}
    behind = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    with stage.connect() as connection:
        for number in numbers:
            sql = "INSERT INTO marks (number) VALUES (%s) RETURNING pg_current_xact_id()::text"
            xid = connection.execute(sql, [number]).fetchone()[0]  # type: ignore[index]
            row = connection.execute(f"{behind}, pg_current_wal_lsn()::text").fetchone()
            made[number] = Mark(number, xid, *row)  # type: ignore[misc]
            time.sleep(0.002)
            if number == switch_after:
                stage.superuser("SELECT pg_switch_wal()")
    return made


def name_point(stage: Stage, name: str, **arguments: Any) -> dict[str, Any]:
    """Set a restore point by the module."""
    shared = stage.shared("p-1", 1)
    del shared["backup_store_path"]
    return stage.module("postgresql_restore_point", **shared, name=name, **arguments)


@pytest.fixture(scope="module", name="lost")
def _lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marked]:
    """Set, marks 1-15, point `first`, marks 16-30, set, marks 31-45, with ended segments on the way; then lost."""
    stage = Stage(tmp_path_factory.mktemp("marked"))
    lost = Marked(stage)
    try:
        stage.start()
        stage.execute("CREATE TABLE marks (number int PRIMARY KEY)")
        assert "content" in stage.backup(dump="never", set_id=EARLIER)
        lost.sets[EARLIER] = stage.content
        # pgBackRest names the end of a backup by the second.
        time.sleep(1.1)
        lost.marks |= mark(stage, MARKED[:EACH], switch_after=8)
        lost.points["first"] = name_point(stage, "first")
        lost.marks |= mark(stage, MARKED[EACH : 2 * EACH], switch_after=20)
        assert "content" in stage.backup(dump="never", set_id=LATER, type="incr")
        lost.sets[LATER] = stage.content
        time.sleep(1.1)
        lost.marks |= mark(stage, MARKED[2 * EACH :], switch_after=35)
        lost.points["last"] = name_point(stage, "last")
        mark(stage, [1000])
        stage.await_streamed()
        stage.await_archived()
        stage.lose()
        lost.window = stage.wal_info(target=wanted("name", "first"), sets=lost.listed)["window"]
        yield lost
    finally:
        stage.clean()


@pytest.fixture(name="stage")
def _stage(tmp_path: Path, lost: Marked) -> Iterator[Stage]:
    """A new environment with a copy of what the lost one left: its store and its secrets."""
    stage = Stage(tmp_path, lost.stage)
    try:
        yield stage
    finally:
        stage.clean()
        shutil.rmtree(tmp_path, ignore_errors=True)


def wanted(kind: str, value: str) -> dict[str, str]:
    """The modules' input `target`."""
    return {"kind": kind, "value": value}


def bring_to(stage: Stage, lost: Marked, number: int, kind: str, value: str) -> dict[str, Any]:
    """Recover to a target, as recovery r-<number>, and see that all that is checked is good."""
    target = wanted(kind, value)
    planned = stage.wal_info(target=target, sets=lost.listed)
    assert "plan" in planned, planned
    result = stage.restore(f"r-{number}", 4 + number, target=target, sets=lost.listed)
    assert not [one for one in result["checks"] if not one["ok"]], result
    assert result["stopped"].startswith("recovery stopping"), result
    assert (result["backup_set"], result["label"]) == (planned["plan"]["backup_set"], planned["plan"]["label"])
    assert result["last_commit"] == planned["plan"]["last_commit"]
    assert result["parent_timeline"] == planned["plan"]["timeline"]
    return result


def marks_of(stage: Stage) -> list[int]:
    """The marks that are there."""
    return [row[0] for row in stage.execute("SELECT number FROM marks ORDER BY number")]


def test_a_restore_point_is_archived_with_its_segment(lost: Marked) -> None:
    point = lost.points["first"]
    assert point["changed"], point
    assert point["segment"] in lost.stage.archived()
    assert lost.marks[EACH].at < point["at"] < lost.marks[EACH + 1].at


def test_each_instant_has_what_was_committed_at_or_before_it(stage: Stage, lost: Marked) -> None:
    """Each recovery goes to before the fork of the one before it, and the archive always holds more WAL."""
    marks = lost.marks
    targets = [
        ("time", marks[40].at, 40, LATER),
        ("xid", marks[33].xid, 33, LATER),
        ("time", marks[28].at, 28, EARLIER),
        ("name", "first", 15, EARLIER),
        ("lsn", marks[7].lsn, 7, EARLIER),
    ]
    for number, (kind, value, last, used) in enumerate(targets, start=1):
        if number > 1:
            stage.kill()
        result = bring_to(stage, lost, number, kind, value)
        assert marks_of(stage) == list(range(1, last + 1)), result
        # Each new timeline comes out of the first one: what lies behind its fork is not taken for its past.
        assert (result["parent_timeline"], result["timeline"]) == (1, number + 1)
        assert result["backup_set"] == used
        if kind != "lsn":
            assert result["last_commit"]["xid"] == int(marks[last].xid)
        verified = stage.verify(f"r-{number}", 4 + number, content=lost.sets[used])
        assert not [one for one in verified["checks"] if not one["ok"]], verified
    # The recovered database is one like any other: traded on, lost, and brought to its newest point.
    assert stage.resume("r-5", 9)["stream_name"] == "r-5"
    mark(stage, [2000, 2001], switch_after=2000)
    stage.await_streamed()
    stage.lose()
    content = lost.sets[EARLIER]
    newest = stage.restore("r-6", 10, content=content)
    assert not [one for one in newest["checks"] if not one["ok"]], newest
    assert newest["parent_timeline"] == 6
    assert marks_of(stage) == [*range(1, 8), 2000, 2001]


def test_a_second_recovery_picks_the_timeline_of_its_target(stage: Stage, lost: Marked) -> None:
    marks = lost.marks
    assert bring_to(stage, lost, 1, "time", marks[20].at)["timeline"] == 2
    assert stage.resume("r-1", 5)["stream_name"] == "r-1"
    later = mark(stage, range(2001, 2011), switch_after=2004)
    name_point(stage, "first-again")
    mark(stage, [3000])
    stage.await_streamed()
    stage.kill()

    # What the first recovery undid is not reached any more, and is never taken for what came after it.
    for kind, value in (("time", marks[40].at), ("xid", marks[45].xid), ("name", "last")):
        refused = stage.wal_info(target=wanted(kind, value), sets=lost.listed)
        assert refused["error"]["code"] == "PRC-554", refused
        assert "timeline 1 from LSN" in refused["msg"]
        assert marks[20].xid in refused["msg"], refused

    # Behind its fork, then before it.
    second = bring_to(stage, lost, 2, "time", later[2007].at)
    assert (second["parent_timeline"], second["timeline"]) == (2, 3)
    assert marks_of(stage) == [*range(1, 21), *range(2001, 2008)]
    stage.kill()
    third = bring_to(stage, lost, 3, "time", marks[12].at)
    assert (third["parent_timeline"], third["timeline"]) == (1, 4)
    assert marks_of(stage) == list(range(1, 13))
    window = stage.wal_info(target=wanted("time", marks[10].at), sets=lost.listed)["window"]
    assert [one["timeline"] for one in window["timelines"]] == [1, 4]
    assert {one["timeline"] for one in window["abandoned"]} == {1, 2, 3}


def test_a_set_that_was_taken_after_the_target_is_not_used(stage: Stage, lost: Marked) -> None:
    target = wanted("time", lost.marks[10].at)
    refused = stage.wal_info(target=target, content=lost.sets[LATER])
    assert refused["error"]["code"] == "PRC-551", refused
    used = stage.wal_info(target=target, content=lost.sets[LATER], sets=lost.listed)
    assert used["plan"]["backup_set"] == EARLIER
    signed = {**lost.sets[EARLIER], "pgbackrest": {**lost.sets[EARLIER]["pgbackrest"], "manifest_sha256": "0" * 64}}
    refused = stage.wal_info(target=target, content=signed)
    assert refused["error"]["code"] == "PRC-506", refused


def test_the_last_commit_itself_can_be_reached(stage: Stage, lost: Marked) -> None:
    latest = lost.window["latest"]
    plan = stage.wal_info(target=wanted("time", latest["at"]), sets=lost.listed)["plan"]
    assert (plan["stops"], plan["stop_lsn"]) == ("after", latest["lsn"])
    assert bring_to(stage, lost, 1, "time", latest["at"])["last_commit"]["lsn"] <= latest["lsn"]
    assert marks_of(stage) == [*MARKED, 1000]


def test_what_cannot_be_reached_is_refused_with_nothing_touched(stage: Stage, lost: Marked) -> None:
    earliest, latest = lost.window["earliest"], lost.window["latest"]
    for code, kind, value, named in (
        ("PRC-550", "time", "2026-11-23T05:17:00", "no offset"),
        ("PRC-550", "lsn", "16-B374D848", "not a WAL position"),
        ("PRC-550", "xid", "2", "no transaction id"),
        ("PRC-550", "name", "it's", "a name here"),
        ("PRC-551", "time", "2026-01-01T00:00:00Z", earliest["at"]),
        ("PRC-551", "lsn", "0/10", earliest["lsn"]),
        ("PRC-552", "time", "2999-01-01T00:00:00Z", latest["at"]),
        ("PRC-552", "lsn", "FF/10", latest["at"]),
        ("PRC-555", "xid", "4000000", "4000000"),
        ("PRC-555", "name", "never-set", "never-set"),
    ):
        for refused in (
            stage.wal_info(target=wanted(kind, value), sets=lost.listed),
            stage.restore("r-1", 5, target=wanted(kind, value), sets=lost.listed),
        ):
            assert refused.get("failed"), refused
            assert refused["error"]["code"] == code, refused
            assert named in refused["msg"], refused
    assert stage.is_untouched()
    refused = stage.wal_info(target=wanted("name", "first"), method="logical")
    assert refused["error"]["code"] == "PRC-559"


def test_a_target_in_a_gap_names_the_points_on_both_sides(stage: Stage, lost: Marked) -> None:
    name = lost.points["first"]["segment"]
    stage.archived()[name].unlink()
    for path in stage.streamed().values():
        if path.name.startswith(name):
            path.unlink()
    stop = lost.sets[LATER]["pgbackrest"]["lsn_stop"]
    for kind, value in (("time", lost.marks[22].at), ("lsn", lost.marks[22].lsn)):
        for refused in (
            stage.wal_info(target=wanted(kind, value), sets=lost.listed),
            stage.restore("r-1", 5, target=wanted(kind, value), sets=lost.listed),
        ):
            assert refused["error"]["code"] == "PRC-553", refused
            assert f"{name} is missing" in refused["msg"]
            assert f"transaction {lost.marks[8].xid})" in refused["msg"], refused
            assert f"(LSN {stop})" in refused["msg"], refused
    assert stage.is_untouched()
    unknown = stage.wal_info(target=wanted("name", "first"), sets=lost.listed)
    assert unknown["error"]["code"] == "PRC-555"
    assert name in unknown["msg"]
    # On both sides of the gap everything can be reached.
    planned = stage.wal_info(target=wanted("time", lost.marks[40].at), sets=lost.listed)
    assert planned["plan"]["backup_set"] == LATER
    assert [one["segment"] for one in planned["window"]["gaps"]] == [name]
    bring_to(stage, lost, 1, "time", lost.marks[5].at)
    assert marks_of(stage) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("point", ["replaying", "starting"])
def test_killed_on_the_way_the_next_run_ends_at_the_same_point(stage: Stage, lost: Marked, point: str) -> None:
    target = wanted("time", lost.marks[18].at)
    arguments = stage.restore_arguments("r-1", 5, target=target, sets=lost.listed)
    worker = f"platform3-one-shot-{stage.volume}-5"
    begun = {
        "replaying": ["exec", worker, "test", "-e", "/var/lib/platform3/restore-r-1/postmaster.pid"],
        "starting": ["exec", stage.container, "true"],
    }[point]
    with start_module(stage.folder, "postgresql_restore", arguments) as run:
        while subprocess.run(["docker", *begun], capture_output=True, check=False).returncode != 0:
            assert run.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)  # each look takes time from what it looks at
        run.send_signal(signal.SIGKILL)
    result = stage.restore("r-1", 6, target=target, sets=lost.listed)
    assert not [one for one in result["checks"] if not one["ok"]], result
    assert marks_of(stage) == list(range(1, 19))
    again = stage.restore("r-1", 7, target=target, sets=lost.listed)
    assert (again["timeline"], marks_of(stage)) == (2, list(range(1, 19)))


def test_check_mode_shows_the_way_and_changes_nothing(stage: Stage, lost: Marked) -> None:
    target = wanted("xid", lost.marks[33].xid)
    result = stage.restore("r-1", 5, target=target, sets=lost.listed, _ansible_check_mode=True)
    assert result["plan"]["last_commit"]["xid"] == int(lost.marks[33].xid)
    assert stage.is_untouched()


def test_a_name_that_stands_twice_is_refused(stage: Stage, lost: Marked) -> None:
    bring_to(stage, lost, 1, "time", lost.marks[20].at)
    stage.resume("r-1", 5)
    assert name_point(stage, "no good")["error"]["code"] == "PRC-550"
    assert "lsn" not in name_point(stage, "first", _ansible_check_mode=True)
    again = name_point(stage, "first")
    mark(stage, [3000])
    stage.await_streamed()
    refused = stage.wal_info(target=wanted("name", "first"), sets=lost.listed)
    assert refused["error"]["code"] == "PRC-556", refused
    assert stage.wal_info(target=wanted("lsn", again["lsn"]), sets=lost.listed)["plan"]["timeline"] == 2


def test_a_critical_table_is_there_as_it_was_just_before_it_was_emptied_or_dropped(tmp_path: Path) -> None:
    """At the pause replay holds the lock of the transaction that did it: who reads the table there waits for ever."""
    stage = Stage(tmp_path)
    figures = "SELECT count(*), sum(quantity) FROM orders"
    try:
        stage.start()
        stage.execute("CREATE TABLE marks (number int PRIMARY KEY); CREATE TABLE kept AS SELECT * FROM orders")
        assert "content" in stage.backup(dump="never", set_id=EARLIER)
        time.sleep(1.1)
        held = {}
        for number, deed in ((1, "TRUNCATE orders CASCADE"), (2, "DROP TABLE orders CASCADE")):
            stage.trade(number)  # not the same figures before both
            before = mark(stage, [number])[number]
            held[number] = (before, stage.execute(figures))
            stage.execute(deed)
            if number == 1:  # what the set counted must be there before the second deed too
                stage.execute("INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT * FROM kept")
        mark(stage, [3])
        stage.await_streamed()
        stage.await_archived()
        sets = [{"backup_set": EARLIER, "content": stage.content}]
        stage.lose()
        for number, (before, orders) in sorted(held.items(), reverse=True):
            result = stage.restore(f"r-{number}", 9 - number, target=wanted("time", before.at), sets=sets)
            assert not [one for one in result["checks"] if not one["ok"]], result
            assert "orders" in result["uncompared"]
            assert stage.execute(figures) == orders and marks_of(stage) == list(range(1, number + 1))
            assert not stage.verify(f"r-{number}", 9 - number, figures=True).get("failed")
            stage.kill()
        assert held[1][1] != held[2][1]
    finally:
        stage.clean()
