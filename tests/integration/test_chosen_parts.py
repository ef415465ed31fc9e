# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, rows and points of the lab are gone: they come back in the servers that serve, and go again by a rollback."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso

from tests.integration.bad_input import LAB_INVENTORY, ROOT, playbook, secret
from tests.integration.scratch import docker, until
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

POSTGRESQL, REDIS = "forex-postgres", "forex-redis"
MARKS = {f"desk:{number}": f"limit {number * 7}" for number in range(300)}
DAY = 86400 * 1_000_000_000
PROJECT = "label=com.docker.compose.project=platform3-lab"


def sql(query: str) -> str:
    """What the lab's PostgreSQL answers."""
    return docker("exec", POSTGRESQL, "psql", "-XAtq", "-d", "forex_trading", "-c", query)


def redis(*commands: str) -> list[str]:
    """What the lab's Redis answers to each of these commands, in database 0."""
    done = subprocess.run(
        ["docker", "exec", "-i", "-e", "REDISCLI_AUTH", REDIS, "redis-cli", "--user", "forex_admin", "--raw"],
        input="\n".join(commands),
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "REDISCLI_AUTH": secret("redis_password").strip()},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def market_data() -> Bucket:
    """The lab's bucket of ticks."""
    api = InfluxApi("http://127.0.0.1:8086", secret("influxdb_token").strip())
    organisation = api.json("/api/v2/orgs?org=forex-trading")["orgs"][0]["id"]
    [listed] = api.json("/api/v2/buckets?name=market-data")["buckets"]
    return Bucket(api, organisation, listed["id"])


def running_since() -> dict[str, str]:
    """When each container of the lab was started, by name."""
    names = docker("ps", "--quiet", "--filter", PROJECT).split()
    return dict(
        line.split() for line in docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *names).splitlines()
    )


def restarted(started: dict[str, str]) -> set[str]:
    """The containers that were not there all the time since."""
    now = running_since()
    return {name.strip("/") for name, at in started.items() if now.get(name) != at}


def report() -> dict[str, Any]:
    """The report of the newest recovery."""
    found: dict[str, Any] = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    return found


def run(name: str, **given: str) -> Any:
    """A playbook of the checkout with these extra variables."""
    return playbook(LAB_INVENTORY, name, *(part for item in given.items() for part in ("-e", "=".join(item))))


@pytest.fixture(scope="module", name="backed_up_at")
def _backed_up_at() -> str:
    """When a full set was begun, with the desk's limits in it."""
    drill.LEDGER.unlink(missing_ok=True)
    redis(*(f'SET {key} "{value}"' for key, value in MARKS.items()))
    with drill.traffic():
        until(lambda: drill.LEDGER.exists() and len(drill.acknowledged(drill.utc_now())) >= 50, 30, "50 orders")
        at = drill.utc_now()
        done = playbook(LAB_INVENTORY, "backup.yml")
    assert done.status == 0, done.text[-4000:]
    return at


@pytest.mark.usefixtures("backed_up_at")
def test_deleted_keys_come_back_from_a_point_in_time_and_go_by_a_rollback() -> None:
    redis('SET desk:0 "limit 1"')  # behind the backup: only the shipped log has it
    wanted = {**MARKS, "desk:0": "limit 1"}
    time.sleep(2)
    before_it = drill.utc_now()
    time.sleep(2)
    redis("UNLINK " + " ".join(MARKS), "SET desk:new 1")
    started = running_since()
    done = run(
        "partial_recovery.yml",
        recovery_components="redis",
        redis_key_patterns="desk:[0-9]*",
        recovery_target_time=before_it,
    )
    assert done.status == 0, done.text[-6000:]
    assert dict(zip(wanted, redis(*(f"GET {key}" for key in wanted)), strict=True)) == wanted
    assert redis("GET desk:new") == ["1"] and restarted(started) == {"heartbeat"}
    found = report()
    assert found["outcome"] == "success" and found["evidence"]["chosen_parts"]["redis"].startswith("desk:[0-9]*: ")
    probes = found["evidence"]["app_services"]["probes"]
    assert len(probes) == 7 and all(one["asked"] == one["well"] > 0 for one in probes.values())

    back = run("playbooks/rollback.yml", recovery_id=found["recovery_id"])
    assert back.status == 0, back.text[-6000:]
    assert redis("EXISTS " + " ".join(wanted)) == ["0"] and redis("GET desk:new") == ["1"]
    redis("UNLINK desk:new")


def test_deleted_rows_come_back_from_the_dump_beside_those_written_since(backed_up_at: str) -> None:
    lost = f"created_at < '{backed_up_at}'::timestamptz - interval '2 seconds'"
    digest = "SELECT count(*), md5(string_agg(d::text, '|' ORDER BY deposit_id)) FROM deposits AS d"
    before = sql(f"{digest} WHERE {lost}")
    assert int(before.split("|")[0]) > 50
    with drill.traffic():
        sql(f"DELETE FROM deposits WHERE {lost}")
        started = running_since()
        done = run(
            "partial_recovery.yml",
            recovery_components="postgresql",
            postgresql_tables="deposits",
            postgresql_tables_mode="merge",
        )
        away = restarted(started)
    assert done.status == 0, done.text[-6000:]
    assert sql(f"{digest} WHERE {lost}") == before
    assert away == {"trading-service", "user-service", "payment-service", "heartbeat"}
    found = report()
    assert found["outcome"] == "success" and "public.deposits: " in found["evidence"]["chosen_parts"]["postgresql"]
    assert not drill.lost(drill.acknowledged(drill.utc_now()), drill.utc_now())

    assert sql("SELECT count(*) FROM platform3_quarantine.tables") != "0"
    released = run("playbooks/release_quarantine.yml", recovery_id=found["recovery_id"])
    assert released.status == 0, released.text[-4000:]
    kept = f"SELECT count(*) FROM platform3_quarantine.tables WHERE recovery_id = '{found['recovery_id']}'"
    assert sql(kept) == "0"


@pytest.mark.usefixtures("backed_up_at")
def test_a_deleted_hour_of_market_data_comes_back() -> None:
    ticks = market_data()
    day = time.time_ns() // DAY * DAY - DAY
    hour, around = (day, day + DAY // 24), (day - DAY // 48, day + DAY // 12)
    before, beside = sorted(ticks.lines(hour)), sorted(ticks.lines(around))
    assert 0 < len(before) < len(beside)
    ticks.delete(*hour)
    assert list(ticks.lines(hour)) == []
    started = running_since()
    done = run(
        "partial_recovery.yml",
        recovery_components="influxdb",
        influxdb_chosen_buckets="market-data",
        influxdb_chosen_start=iso(hour[0]),
        influxdb_chosen_stop=iso(hour[1]),
    )
    assert done.status == 0, done.text[-6000:]
    assert sorted(ticks.lines(hour)) == before and sorted(ticks.lines(around)) == beside
    assert restarted(started) == {"market-data-service", "analytics-service", "heartbeat"}
    found = report()
    assert found["outcome"] == "success" and "values written" in found["evidence"]["chosen_parts"]["influxdb"]
    back = run("playbooks/rollback.yml", recovery_id=found["recovery_id"])
    assert back.status == 0, back.text[-6000:]
    assert list(ticks.lines(hour)) == []


@pytest.mark.usefixtures("backed_up_at")
def test_a_deleted_bucket_comes_back_by_its_files_under_its_id() -> None:
    ticks = market_data()
    day = time.time_ns() // DAY * DAY - DAY
    # Written long before the set was.
    old = (day + DAY // 24, day + DAY // 12)
    before = sorted(ticks.lines(old))
    assert before
    ticks.api.json(f"/api/v2/buckets/{ticks.id}", "DELETE")
    started = running_since()
    done = run("partial_recovery.yml", recovery_components="influxdb", influxdb_chosen_buckets="market-data")
    assert done.status == 0, done.text[-6000:]
    assert market_data().id == ticks.id, "tokens and dashboards would not find it"
    assert sorted(ticks.lines(old)) == before
    assert restarted(started) == {"forex-influxdb", "market-data-service", "analytics-service", "heartbeat"}
    found = report()
    told = found["evidence"]["chosen_parts"]["influxdb"]
    assert found["outcome"] == "success" and "came by files" in told and "made anew" in told, told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"recovery_components": "postgresql", "postgresql_tables": "executons"}, ["PRC-590", "public.executions"]),
        ({"recovery_components": "influxdb", "influxdb_chosen_buckets": "market-dat"}, ["PRC-770", "market-data"]),
        ({"recovery_components": "redis", "redis_key_patterns": "dsk:*"}, ["PRC-648", "session:*"]),
    ],
)
@pytest.mark.usefixtures("backed_up_at")
def test_what_is_not_there_is_refused_before_anything_stops(given: dict[str, str], words: list[str]) -> None:
    before = running_since()
    done = run("partial_recovery.yml", **given)
    assert done.status != 0 and all(word in done.text for word in words), done.text[-5000:]
    assert running_since() == before
