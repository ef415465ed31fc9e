# SPDX-License-Identifier: GPL-3.0-or-later
"""All datastores of the lab go back to the instant before a mistake, and the platform trades on from there."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

from tests.integration.bad_input import LAB_INVENTORY, ROOT, complete_sets, live, playbook, secret
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

# Redis reaches the beginning of the target's second; PostgreSQL and InfluxDB the last that was written at or before it.
SKEW_SECONDS = 1.0
LOCK = Path("/opt/platform3/recovery/lock")


def in_database(work: Callable[[psycopg.Connection[Any]], Any]) -> Any:
    """What work gives on a connection as the owner; it is committed."""
    with psycopg.connect(
        host="127.0.0.1", dbname="forex_trading", user="forex_admin", password=secret("postgresql_password")
    ) as connection:
        return work(connection)


def candles_and_ticks(symbol: str, minute: float) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """A symbol's candle of a minute by field, and its ticks in order of time as bid and volume."""
    api = InfluxApi("http://127.0.0.1:8086", secret("influxdb_token"))
    organisation = api.json("/api/v2/orgs?org=forex-trading")["orgs"][0]["id"]

    def rows(bucket: str, measurement: str) -> list[dict[str, str]]:
        return api.query(
            organisation,
            f'from(bucket: "{bucket}") |> range(start: {to_iso(minute)}, stop: {to_iso(minute + 60)})'
            f' |> filter(fn: (r) => r._measurement == "{measurement}" and r.symbol == "{symbol}")',
        )

    try:
        candle = {row["_field"]: float(row["_value"]) for row in rows("analytics", "candles")}
        ticks: dict[str, dict[str, float]] = {}
        for row in rows("market-data", "ticks"):
            ticks.setdefault(row["_time"], {})[row["_field"]] = float(row["_value"])
    finally:
        api.close()
    return candle, [
        (one["bid"], one["volume"]) for _, one in sorted(ticks.items(), key=lambda item: parse_iso(item[0]))
    ]


def run(name: str, **variables: object) -> str:
    """What a playbook on the lab prints that ends well."""
    done = playbook(
        LAB_INVENTORY, name, *(part for one in variables.items() for part in ("-e", "=".join(map(str, one))))
    )
    assert done.status == 0, done.text[-6000:]
    return done.text


def test_a_mistake_is_found_and_undone_in_every_datastore(tmp_path: Path) -> None:
    moments, window = tmp_path / "moments.json", tmp_path / "window.json"
    point = f"before-{int(time.time())}"
    run("backup.yml")
    drill.LEDGER.unlink(missing_ok=True)
    with drill.traffic():
        time.sleep(3)
        run("playbooks/restore_point.yml", recovery_point_name=point)
        time.sleep(3)
        # The last transaction that is wanted back, and the mistake: a delete without its condition.
        sql = (
            "INSERT INTO audit_log (actor, action, subject) VALUES ('test', 'test.last_good', 'point_in_time')"
            " RETURNING pg_current_xact_id()"
        )
        last_good = in_database(lambda one: one.execute(sql).fetchone())[0]
        gone = in_database(lambda one: one.execute("DELETE FROM audit_log").rowcount)
        around = drill.utc_now()
        time.sleep(3)
    assert gone > 0
    run("backup.yml", backup_set_kind="increment")

    run("playbooks/find_moment.yml", recovery_around=around, recovery_window_seconds=60, recovery_moments_file=moments)
    told = json.loads(moments.read_text(encoding="utf-8"))
    [mistake] = [one for one in told["events"] if one["component"] == "postgresql"]
    assert mistake["what"].startswith("DELETE") and "audit_log" in mistake["what"], told["table"]
    assert mistake["size"] == f"{gone} rows" and told["problems"] == []
    # The log that was emptied tells who emptied it.
    [who] = mistake["by"]
    assert who.startswith("forex_admin from ") and mistake["audit"][0]["rows"] == gone
    assert 0 < parse_iso(around) - parse_iso(mistake["target"]) < 3

    run("playbooks/recovery_window.yml", recovery_target_xid=last_good, recovery_window_file=window)
    reach = json.loads(window.read_text(encoding="utf-8"))
    assert reach["target"]["reachable"] is True, reach["target"]
    assert reach["target"]["datastores"]["postgresql"]["last_commit"]["xid"] == int(last_good)
    # The other datastores are brought to its commit.
    target = reach["target"]["time"]
    assert 0 <= parse_iso(mistake["time"]) - parse_iso(target) < 3
    assert [one["reachable"] for one in reach["points"] if one["name"] == point] == [True]

    shown = run("point_in_time_recovery.yml", recovery_target_xid=last_good).split("── Isolate")[0]
    assert "== RECOVERY WINDOW of lab" in shown and f"== TARGET {target} (transaction {last_good})" in shown
    assert f"To {target}, the instant of transaction {last_good}: PostgreSQL ends exactly there" in shown
    report = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    assert (report["scenario"], report["outcome"]) == ("point_in_time", "success")
    # What was undone is no base any longer: a whole set of what is true now followed.
    after = json.loads((complete_sets()[-1] / "backup_manifest.json").read_text(encoding="utf-8"))
    assert after.get("parent") is None and parse_iso(after["started_at"]) > parse_iso(report["finished_at"])
    reached = report["evidence"]["point_in_time"]
    assert (reached["asked"], reached["asked_as"]) == (target, f"transaction {last_good}")
    kept = "SELECT count(*) FROM audit_log WHERE action = 'test.last_good'"
    assert in_database(lambda one: one.execute(kept).fetchone())[0] > 0
    behind = {name: parse_iso(target) - parse_iso(point) for name, point in reached["reached"].items()}
    assert set(behind) == {"postgresql", "redis", "influxdb"}
    assert all(0 <= seconds <= SKEW_SECONDS for seconds in behind.values()), behind
    assert reached["skew_seconds"] <= SKEW_SECONDS

    # Until the recovery began, customers traded on: they were out from then on, and not from the target.
    assert parse_iso(report["incident_at"]) > parse_iso(target) + 6

    # The candle of the minute that was cut is that of the ticks which are left.
    candle, ticks = candles_and_ticks("EURUSD", parse_iso(target) // 60 * 60)
    assert report["evidence"]["influxdb"]["recomputed"][0]["values"] > 0
    bids = [bid for bid, _ in ticks]
    volume = pytest.approx(sum(one for _, one in ticks))
    assert candle == {"open": bids[0], "high": max(bids), "low": min(bids), "close": bids[-1], "volume": volume}

    # All that was acknowledged afterwards is listed as undone, in a file whose digest the report has. What was on its
    # way to the customer at the target had been committed before it.
    [undone] = [one for one in report["undone"] if one["kind"] == "orders"]
    content = (ROOT / "reports/latest" / undone["file"]["name"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == undone["file"]["sha256"]
    listed = {int(row["id"]) for row in csv.DictReader(content.decode().splitlines())}
    on_its_way = drill.acknowledged(to_iso(parse_iso(target) + 1))
    afterwards = set(drill.acknowledged(drill.utc_now())) - set(on_its_way)
    assert afterwards and afterwards - listed == set() and len(listed) == undone["count"]

    before = drill.acknowledged(to_iso(parse_iso(target)))
    assert before and drill.lost(before, target) == {}
    later = "SELECT count(*) FROM orders WHERE created_at > %s AND created_at < %s AND NOT is_test"
    assert in_database(lambda one: one.execute(later, (target, report["started_at"])).fetchone())[0] == 0
    assert in_database(lambda one: one.execute("SELECT count(*) FROM audit_log").fetchone())[0] >= gone


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["PRC-109", "no point in time is given"]),
        (["recovery_target_time=2026-11-23T05:17:00"], ["PRC-102", "offset"]),
        # Neither the store nor its second copy, which is asked then, has a set from before it.
        (["recovery_target_time=2001-01-01T00:00:00Z"], ["PRC-392", "after 2001-01-01", "choose a later target"]),
        (["recovery_target_time=2099-01-01T00:00:00Z"], ["PRC-761", "2099-01-01"]),
        (["recovery_target_xid=800", "recovery_target_lsn=0/10"], ["PRC-109", "each is a point in time"]),
        (["recovery_target_lsn=FFFFFF/10"], ["PRC-552", "the latest point that can be reached is"]),
        (["recovery_target_xid=4000000000"], ["PRC-555", "which reaches from", "the nearest that ended are"]),
    ],
)
def test_a_target_that_cannot_be_is_refused_before_anything_is_touched(given: list[str], words: list[str]) -> None:
    until = to_iso(time.time() - 60)
    before = live(until)
    arguments = [part for one in given for part in ("-e", one)]
    done = playbook(LAB_INVENTORY, "point_in_time_recovery.yml", *arguments)
    assert done.status != 0
    assert all(word in done.text for word in words), done.text[-3000:]
    assert live(until) == before
    assert not LOCK.exists()
