# SPDX-License-Identifier: GPL-3.0-or-later
"""All datastores brought to random instants of a storm of marks: which marks are there that must not be, or are not.

A mark is one transaction, one key and one point, each with the time before it was sent and after it was acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import redis
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

from tests.benchmarks.about import sizes
from tests.benchmarks.lab import Lab, say
from tests.benchmarks.table import Figure, Result
from tools import drill

RECOVERIES = 10
STORM_SECONDS = 12.0
PAUSE_SECONDS = 0.02
# The instant lies so far from both ends of the storm, so that there are marks on both sides.
MARGIN_SECONDS = 2.0
GOALS = {"postgresql": 1.0, "redis": 1.0, "influxdb": 1.0}


@dataclass(frozen=True)
class Mark:
    """When one mark was sent to one datastore and when that had acknowledged it, in seconds since 1970."""

    sent: float
    acknowledged: float


@dataclass
class Storm:
    """The marks of one storm by datastore and number. name: sets them apart from those of other storms."""

    name: str
    marks: dict[str, dict[int, Mark]] = field(default_factory=lambda: {one: {} for one in GOALS})


def missing(marks: dict[int, Mark], held: set[int], reached: float) -> list[int]:
    """The marks that were acknowledged at or before the instant that was reached, and are not there."""
    return [number for number, mark in marks.items() if mark.acknowledged <= reached and number not in held]


def unwanted(marks: dict[int, Mark], held: set[int], asked: float) -> list[int]:
    """The marks that were sent after the instant that was asked for, and are there."""
    return [number for number, mark in marks.items() if mark.sent > asked and number in held]


class Stores:
    """The lab's three datastores, to write marks and to read them."""

    def __init__(self, lab: Lab) -> None:
        self._database = psycopg.connect(
            host="127.0.0.1",
            dbname=lab.facts["postgresql_database"],
            user="forex_admin",
            password=lab.secret("postgresql_password"),
            autocommit=True,
        )
        self._redis = redis.Redis(username="forex_admin", password=lab.secret("redis_password"), decode_responses=True)
        self._influxdb = InfluxApi("http://127.0.0.1:8086", lab.secret("influxdb_token"))
        self._organisation = self._influxdb.json("/api/v2/orgs?org=forex-trading")["orgs"][0]["id"]
        found = self._influxdb.json("/api/v2/buckets?name=market-data")["buckets"]
        self._bucket = found[0]["id"]

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()
        self._redis.close()
        self._influxdb.close()

    def write(self, component: str, storm: str, number: int) -> None:
        """One mark, acknowledged when this returns."""
        if component == "postgresql":
            statement = "INSERT INTO audit_log (actor, action, subject) VALUES ('benchmark', %s, %s)"
            self._database.execute(statement, (storm, str(number)))
        elif component == "redis":
            self._redis.set(f"{storm}:{number}", number, ex=3600)
        else:
            line = f"marks,storm={storm} number={number}i {time.time_ns()}"
            self._influxdb.write(self._organisation, self._bucket, line)

    def held(self, component: str, storm: str) -> set[int]:
        """The numbers of the marks that are there."""
        if component == "postgresql":
            rows = self._database.execute("SELECT subject FROM audit_log WHERE action = %s", (storm,)).fetchall()
            return {int(row[0]) for row in rows}
        if component == "redis":
            return {int(key.rpartition(":")[2]) for key in self._redis.scan_iter(f"{storm}:*", count=1000)}
        flux = (
            f'from(bucket: "market-data") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "marks" and'
            f' r.storm == "{storm}") |> keep(columns: ["_time", "_value"])'
        )
        return {int(row["_value"]) for row in self._influxdb.query(self._organisation, flux)}


@contextlib.contextmanager
def storming(lab: Lab, storm: Storm) -> Iterator[None]:
    """Marks are written into each datastore at once while the block runs."""
    over = threading.Event()
    failures: list[BaseException] = []

    def mark(component: str) -> None:
        try:
            with Stores(lab) as stores:
                number = 0
                while not over.is_set():
                    sent = time.time()
                    stores.write(component, storm.name, number)
                    storm.marks[component][number] = Mark(sent, time.time())
                    number += 1
                    over.wait(PAUSE_SECONDS)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=mark, args=(component,)) for component in GOALS]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class Recovered:
    """One recovery: marks in all, of them missing and unwanted; seconds from asked to reached by datastore; skew."""

    marks: int
    missing: int
    unwanted: int
    short: dict[str, float]
    skew: float


def one_instant(lab: Lab, number: int) -> Recovered:
    """A storm, a random instant in it, the recovery to that, and what each datastore then holds."""
    storm = Storm(f"storm-{int(time.time())}-{number}")
    with drill.traffic(), storming(lab, storm):
        began = time.time()
        time.sleep(STORM_SECONDS)
        ended = time.time()
    lab.playbook("backup.yml", {"backup_set_kind": "increment"}, {})
    asked = round(random.uniform(began + MARGIN_SECONDS, ended - MARGIN_SECONDS), 3)
    say(f"recovery {number + 1} to {to_iso(asked)}")
    lab.playbook("point_in_time_recovery.yml", {"recovery_target_time": to_iso(asked)}, {})
    report = json.loads((lab.root / "reports/latest/report.json").read_text(encoding="utf-8"))
    told = report["evidence"]["point_in_time"]
    reached = {component: parse_iso(at) for component, at in told["reached"].items()}
    with Stores(lab) as stores:
        held = {component: stores.held(component, storm.name) for component in GOALS}
    gone = sum(len(missing(marks, held[one], reached[one])) for one, marks in storm.marks.items())
    extra = sum(len(unwanted(marks, held[one], asked)) for one, marks in storm.marks.items())
    short = {component: asked - reached[component] for component in GOALS}
    found = Recovered(sum(map(len, storm.marks.values())), gone, extra, short, float(told["skew_seconds"]))
    say(f"{found}")
    return found


def measure(lab: Lab, runs: int) -> Result:
    """A full backup, then storm, increment and recovery, ten times for each run."""
    backup_set = lab.back_up()
    found = [one_instant(lab, number) for number in range(RECOVERIES * runs)]
    figures = [
        Figure("marks written", sum(one.marks for one in found), ""),
        Figure("missing though at or before the reached point", sum(one.missing for one in found), "", 0),
        Figure("there though after the asked point", sum(one.unwanted for one in found), "", 0),
        *(
            Figure(f"{component}: asked less reached, longest", max(one.short[component] for one in found), goal=goal)
            for component, goal in GOALS.items()
        ),
        Figure("skew between the datastores, longest", max(one.skew for one in found)),
    ]
    about = [
        sizes(lab.manifest(backup_set)),
        f"{RECOVERIES * runs} recoveries of all datastores to a random instant in {STORM_SECONDS:.0f} s of marks, under"
        " 50 orders a second",
        "reached, as the report has it: the last commit that was replayed, the beginning of the second at which Redis'"
        " log was cut, the asked instant where a later set of InfluxDB holds all before it",
    ]
    return Result("instants", about, figures)
