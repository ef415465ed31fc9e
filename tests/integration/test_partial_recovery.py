# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL is lost under traffic and brought back alone; everything that does not need it goes on.

The scenarios molecule/partial_* lose each of the others.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.bad_input import LAB_INVENTORY, ROOT, environment_id, playbook
from tests.integration.scratch import until
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

PROJECT, LABEL = "platform3-lab", "platform3.recovery.environment"
SERVICES = {
    "trading-service", "user-service", "gateway", "payment-service", "market-data-service", "analytics-service",
    "dashboard",
}  # fmt: skip
# What is taken away with PostgreSQL, by the lab's inventory: services, sidecars.
STOPPED = {"trading-service", "user-service", "payment-service"}
SIDECARS = {"heartbeat", "wal-receiver"}


def docker(*arguments: str) -> str:
    """stdout of a docker command that ends well."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def running_since() -> dict[str, str]:
    """When each container of the lab was started, by Compose service."""
    names = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    form = '{{index .Config.Labels "com.docker.compose.service"}} {{.State.StartedAt}}'
    return dict(line.split() for line in docker("inspect", "--format", form, *names).splitlines())


def lose(service: str) -> None:
    """Kill a datastore of the lab, and what else has its volume, and delete that."""
    volume = f"{PROJECT}_{service}-data"
    assert docker("volume", "inspect", "--format", f'{{{{index .Labels "{LABEL}"}}}}', volume) == environment_id()
    docker("rm", "--force", *docker("ps", "--all", "--quiet", "--filter", f"volume={volume}").split())
    docker("volume", "rm", volume)


def traded() -> bool:
    """Whether the gateway has acknowledged 50 orders."""
    return drill.LEDGER.exists() and len(drill.acknowledged(drill.utc_now())) >= 50


def report() -> dict[str, Any]:
    """The report of the newest recovery."""
    found: dict[str, Any] = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def backup() -> None:
    """A full set of the lab as it is."""
    done = playbook(LAB_INVENTORY, "backup.yml")
    assert done.status == 0, done.text[-4000:]


@pytest.mark.usefixtures("backup")
def test_a_lost_datastore_comes_back_while_the_others_serve() -> None:
    drill.LEDGER.unlink(missing_ok=True)
    with drill.traffic():
        until(traded, 30, "50 orders are acknowledged")
        before = running_since()
        lose("postgresql")
        lost_at = drill.utc_now()
        done = playbook(LAB_INVENTORY, "partial_recovery.yml", "-e", "recovery_components=postgresql")
        after = running_since()
    assert done.status == 0, done.text[-6000:]
    found = report()
    assert (found["scenario"], found["outcome"]) == ("partial", "success")
    components = {one["name"] for one in found["components"]}
    assert components >= {"postgresql", "app_services"} and not components & {"redis", "influxdb"}

    # Left alone is never touched: neither made anew nor away for a moment.
    left = set(before) - STOPPED - SIDECARS - {"postgresql"}
    assert left == set(after) - STOPPED - SIDECARS - {"postgresql"} and len(left) >= 6
    assert {name: after[name] for name in left} == {name: before[name] for name in left}
    probes = found["evidence"]["app_services"]["probes"]
    assert set(probes) == SERVICES - STOPPED
    assert {name: one["asked"] - one["well"] for name, one in probes.items()} == dict.fromkeys(probes, 0)
    assert min(one["asked"] for one in probes.values()) >= 10

    acknowledged = drill.acknowledged(lost_at)
    point = found["rpo"]["trading_transactions"]["recovery_point"] or lost_at
    assert acknowledged and not {one: at for one, at in drill.lost(acknowledged, lost_at).items() if at <= point}


def test_what_was_brought_back_alone_is_put_back_alone() -> None:
    done = playbook(LAB_INVENTORY, "partial_recovery.yml", "-e", "recovery_components=redis")
    assert done.status == 0, done.text[-6000:]
    recovery_id = report()["recovery_id"]
    before = running_since()
    back = playbook(LAB_INVENTORY, "playbooks/rollback.yml", "-e", f"recovery_id={recovery_id}")
    assert back.status == 0, back.text[-6000:]
    after = running_since()
    assert {name for name in before if after.get(name) != before[name]} == {"redis", "aof-shipper", "heartbeat"}
    # Its epoch is the newest of all, so its log is shipped and PostgreSQL is archived as before.
    shown = playbook(LAB_INVENTORY, "playbooks/wal_stream_info.yml")
    assert shown.status == 0, shown.text[-2000:]
    aof_shipper = docker("inspect", "--format", "{{.State.Health.Status}}", "forex-aof-shipper")
    assert aof_shipper in ("healthy", "starting")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["PRC-108", "needs recovery_components"]),
        (["recovery_components=reddis"], ["PRC-102", "did you mean 'redis'"]),
        (["recovery_components=redis", "recovery_target_time=2026-11-23T05:00:00Z"], ["PRC-109"]),
        (["recovery_components=redis", "recovery_confirm=production"], ["PRC-106"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_touched(given: list[str], words: list[str]) -> None:
    before = running_since()
    arguments = [part for one in given for part in ("-e", one)]
    done = playbook(LAB_INVENTORY, "partial_recovery.yml", *arguments)
    assert done.status != 0 and "nothing was touched" in done.text
    assert all(word in done.text for word in words), done.text[-3000:]
    assert running_since() == before
