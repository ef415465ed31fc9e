# SPDX-License-Identifier: GPL-3.0-or-later
"""A point in time of the lab is restored beside it while customers trade on, looked at, taken over and dropped."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests.integration.bad_input import LAB_INVENTORY, ROOT, STORE, complete_sets, environment_id, playbook, secret
from tests.integration.scratch import docker, until
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

STATE = Path("/opt/platform3/recovery/sandbox")
PORTS = {"postgresql": 15432, "redis": 16379, "influxdb": 18086}
SKEW_SECONDS = 1.0


def query(statement: str, port: int = 5432) -> Any:
    """What a statement as the owner gives first, on the running platform or on the sandbox's port."""
    with psycopg.connect(
        host="127.0.0.1", port=port, dbname="forex_trading", user="forex_admin", password=secret("postgresql_password")
    ) as connection:
        done = connection.execute(statement)
        return done.fetchone()[0] if done.description else None  # type: ignore[index]


def running_since() -> dict[str, str]:
    """When each container of the lab was started, by name."""
    names = docker("ps", "--quiet", "--filter", "label=com.docker.compose.project=platform3-lab").split()
    return dict(
        line.split() for line in docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *names).splitlines()
    )


def kept_by_the_platform() -> tuple[str, list[str], str]:
    """What a recovery of the platform would change in its store and state: epoch, timelines in the archive, lock."""
    epoch = (STORE / "fence/epoch").read_text(encoding="utf-8")
    histories = sorted(path.name for path in (STORE / "pgbackrest/archive").rglob("*.history*"))
    lock = STATE.parent / "epoch"
    return epoch, histories, lock.read_text(encoding="utf-8")


def left_of_the_sandbox() -> str:
    """Containers, volumes and networks of the sandbox."""
    label = ["--filter", f"label=platform3.recovery.environment={environment_id()}-sandbox"]
    return "\n".join(
        docker(*listing, *label, "--quiet") for listing in (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
    ).strip()


def into_sandbox(lsn: str) -> list[str]:
    """The arguments that restore a position in the WAL beside the platform."""
    return ["point_in_time_recovery.yml", "-e", "recovery_into=sandbox", "-e", f"recovery_target_lsn={lsn}"]


def influxdb(port: int = 8086) -> InfluxApi:
    """The running InfluxDB, or the sandbox's."""
    return InfluxApi(f"http://127.0.0.1:{port}", secret("influxdb_token"))


def bucket_id() -> str | None:
    """Id of the bucket market-data of the running InfluxDB; None where there is none."""
    listed = influxdb().json("/api/v2/buckets?org=forex-trading&limit=100")["buckets"]
    return next((str(one["id"]) for one in listed if one["name"] == "market-data"), None)


def ticks_until(at: str, port: int = 8086) -> int:
    """How many ticks there are up to an instant."""
    api = influxdb(port)
    organisation = api.json("/api/v2/orgs?org=forex-trading")["orgs"][0]["id"]
    flux = (
        f'from(bucket: "market-data") |> range(start: 0, stop: {at}) |> filter(fn: (r) => r._measurement == "ticks"'
        ' and r._field == "bid") |> group() |> count()'
    )
    return int(api.query(organisation, flux)[0]["_value"])


def keys() -> int:
    """How many keys the running Redis has in its first database."""
    with redis.Redis(username="forex_admin", password=secret("redis_password")) as client:
        return int(client.dbsize())  # type: ignore[arg-type]


def three_mistakes() -> None:
    """Each datastore loses what the platform lives from."""
    with redis.Redis(username="forex_admin", password=secret("redis_password")) as client:
        client.flushall()
    influxdb().json(f"/api/v2/buckets/{bucket_id()}", "DELETE")
    query("DROP TABLE orders CASCADE")
    assert query("SELECT to_regclass('orders')") is None and bucket_id() is None


@pytest.fixture
def as_found() -> Iterator[None]:
    """Nothing of a sandbox is left in the lab, also where the test fails."""
    yield
    query("DROP TABLE IF EXISTS sandbox_mark")
    if STATE.exists() or left_of_the_sandbox():
        playbook(LAB_INVENTORY, "playbooks/sandbox_drop.yml")


@pytest.mark.usefixtures("as_found")
def test_a_point_is_looked_at_beside_the_platform_then_taken_over_and_dropped(tmp_path: Path) -> None:
    if not any(json.loads((one / "backup_manifest.json").read_text())["parent"] is None for one in complete_sets()):
        assert playbook(LAB_INVENTORY, "backup.yml").status == 0
    drill.LEDGER.unlink(missing_ok=True)
    with drill.traffic():
        until(lambda: drill.LEDGER.exists() and len(drill.acknowledged(drill.utc_now())) > 50, 30, "orders are placed")
        query("CREATE TABLE sandbox_mark AS SELECT generate_series(1, 3) AS number")
        time.sleep(2)
        lsn = query("SELECT pg_current_wal_lsn()")
        time.sleep(2)
        query("DROP TABLE sandbox_mark")
        increment = playbook(LAB_INVENTORY, "backup.yml", "-e", "backup_set_kind=increment")
        assert increment.status == 0, increment.text[-3000:]
        since, kept = running_since(), kept_by_the_platform()

        with socket.create_server(("127.0.0.1", PORTS["redis"])):
            taken = playbook(LAB_INVENTORY, *into_sandbox(lsn))
        assert taken.status != 0 and "PRC-431" in taken.text and "PRC-434" in taken.text, taken.text[-4000:]
        assert left_of_the_sandbox() == "" and not STATE.exists()

        began = drill.utc_now()
        made = playbook(LAB_INVENTORY, *into_sandbox(lsn))
        ended = drill.utc_now()
        assert made.status == 0, made.text[-8000:]
        again = playbook(LAB_INVENTORY, *into_sandbox(lsn))
        assert again.status != 0 and "PRC-430" in again.text
        expiry = playbook(LAB_INVENTORY, "playbooks/expire_backups.yml", "--check")
        assert expiry.status == 0, expiry.text[-4000:]
        assert "a sandbox was made from it" in " ".join(expiry.text.split())

        assert query("SHOW archive_mode", PORTS["postgresql"]) == "off"
        assert query("SELECT count(*) FROM sandbox_mark", PORTS["postgresql"]) == 3
        assert running_since() == since and kept_by_the_platform() == kept

    # Customers traded on: in each tenth of the time that it took, and nothing of it is lost.
    first, last = parse_iso(began), parse_iso(ended)
    tenths = {int((parse_iso(at) - first) / (last - first) * 10) for at in drill.acknowledged(ended).values()}
    assert tenths >= set(range(10))
    assert drill.lost(drill.acknowledged(ended), drill.utc_now()) == {}

    found = json.loads((ROOT / "reports/sandbox.json").read_text(encoding="utf-8"))
    target = found["target_time"]
    behind = {name: parse_iso(target) - parse_iso(one["reached"]) for name, one in found["components"].items()}
    assert set(behind) == set(PORTS) and all(0 <= one <= SKEW_SECONDS for one in behind.values()), behind
    rows = {one["what"]: one for part in found["compared"].values() for one in part}
    assert (rows["sandbox_mark"]["running"], rows["sandbox_mark"]["sandbox"]) == (None, 3)
    assert 0 < rows["orders"]["sandbox"] < rows["orders"]["running"]
    # Not even the proof that it takes writes is left there.
    assert rows["audit_log"]["newest_sandbox"] <= target
    assert rows["orders"]["newest_sandbox"] <= target < rows["orders"]["newest_running"]
    assert rows["keys in db0"]["sandbox"] > 0
    assert 0 < rows["points in market-data"]["sandbox"] < rows["points in market-data"]["running"]
    assert "== SANDBOX of lab" in made.text and found["take_over"] in made.text
    assert f"recovery_target_lsn={lsn} -e recovery_backup_set={found['backup_set']}" in found["take_over"]

    # Later something else goes wrong, and is found; the point from before it is known, and good.
    bucket = bucket_id()
    three_mistakes()
    moments = tmp_path / "moments.json"
    around = ("-e", f"recovery_around={drill.utc_now()}", "-e", "recovery_window_seconds=30")
    told = playbook(LAB_INVENTORY, "playbooks/find_moment.yml", *around, "-e", f"recovery_moments_file={moments}")
    assert told.status == 0, told.text[-4000:]
    events = json.loads(moments.read_text(encoding="utf-8"))["events"]
    for component, what in (
        ("redis", "FLUSHALL"),
        ("influxdb", "bucket market-data deleted"),
        ("postgresql", "DROP TABLE public.orders"),
    ):
        [mistake] = [one for one in events if one["component"] == component and one["what"].startswith(what)]
        assert parse_iso(mistake["target"]) > parse_iso(target) - SKEW_SECONDS

    taken_over = playbook(LAB_INVENTORY, *found["take_over"].split()[1:])
    assert taken_over.status == 0, taken_over.text[-8000:]
    report = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    assert (report["scenario"], report["outcome"]) == ("point_in_time", "success")
    assert report["evidence"]["point_in_time"]["asked_as"] == f"LSN {lsn}"
    # All is as it was in the sandbox, which stands until it is dropped.
    orders = f"SELECT count(*) FROM orders WHERE created_at <= '{target}'"
    assert query(orders) == rows["orders"]["sandbox"] == query(orders, PORTS["postgresql"])
    assert query("SELECT count(*) FROM sandbox_mark") == 3
    assert bucket_id() == bucket
    assert ticks_until(target) == ticks_until(target, PORTS["influxdb"]) > 0
    assert keys() > rows["keys in db0"]["sandbox"] * 0.9

    dropped = playbook(LAB_INVENTORY, "playbooks/sandbox_drop.yml")
    assert dropped.status == 0, dropped.text[-4000:]
    assert left_of_the_sandbox() == "" and not STATE.exists()


def test_a_misspelt_sandbox_does_not_replace_the_platform() -> None:
    since = running_since()
    target = "recovery_target_time=2026-11-23T05:17:00Z"
    done = playbook(LAB_INVENTORY, "point_in_time_recovery.yml", "-e", "recovery_into=sandbx", "-e", target)
    assert done.status != 0 and "PRC-102" in done.text and "did you mean 'sandbox'" in done.text
    assert "nothing was touched" in done.text and running_since() == since
