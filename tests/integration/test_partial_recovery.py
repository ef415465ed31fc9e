# SPDX-License-Identifier: GPL-3.0-or-later
"""What was brought back alone is put back alone, and what cannot be is refused.

The scenarios molecule/partial_* lose each component under traffic, and bring it back alone.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.bad_input import LAB_INVENTORY, ROOT, playbook

pytestmark = [pytest.mark.integration, pytest.mark.lab]

PROJECT, LABEL = "platform3-lab", "platform3.recovery.environment"


def docker(*arguments: str) -> str:
    """stdout of a docker command that ends well."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def running_since() -> dict[str, str]:
    """When each container of the lab was started, by Compose service."""
    names = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    form = '{{index .Config.Labels "com.docker.compose.service"}} {{.State.StartedAt}}'
    return dict(line.split() for line in docker("inspect", "--format", form, *names).splitlines())


def report() -> dict[str, Any]:
    """The report of the newest recovery."""
    found: dict[str, Any] = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    return found


def test_what_failed_goes_on_by_its_id_alone_and_is_put_back_alone() -> None:
    no_time = ("-e", "redis_start_timeout_seconds=0")
    failed = playbook(LAB_INVENTORY, "partial_recovery.yml", "-e", "recovery_components=redis", *no_time)
    assert failed.status != 0 and "PRC-607" in failed.text, failed.text[-6000:]
    recovery_id = report()["recovery_id"]
    # As the card says it: without the components.
    assert f"partial_recovery.yml -e recovery_id={recovery_id}" in failed.text
    done = playbook(LAB_INVENTORY, "partial_recovery.yml", "-e", f"recovery_id={recovery_id}")
    assert done.status == 0, done.text[-6000:]
    found = report()
    assert (found["recovery_id"], found["outcome"]) == (recovery_id, "success")
    assert {one["name"] for one in found["components"]} == {"redis", "configuration", "app_services"}
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
