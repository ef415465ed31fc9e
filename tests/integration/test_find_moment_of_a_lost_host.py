# SPDX-License-Identifier: GPL-3.0-or-later
"""What was deleted in InfluxDB is told by the backup sets where its server, or its host, is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.store_stage import named_store, playbook
from tests.unit.plugins.modules.set_stage import FIRST, SECOND, THIRD

pytestmark = pytest.mark.integration

BUCKET = {"id": "5bbaf279110971d7", "name": "analytics", "organisation": "forex-trading", "values": 7, "points": 7}


@pytest.mark.parametrize("lost", [(), ("influxdb",)], ids=["server", "host"])
def test_a_deleted_bucket_is_found_by_the_sets_alone(tmp_path: Path, lost: tuple[str, ...]) -> None:
    store = named_store(tmp_path)
    for set_id in (FIRST, SECOND):
        manifest = store.manifest(set_id)
        manifest["components"]["influxdb"]["buckets"] = [BUCKET]
        store.resign(set_id, manifest)
    done = playbook(store, "playbooks/find_moment.yml", lost, recovery_around="2026-11-22T12:00:00Z")
    said = " ".join(done.stdout.split())
    assert f"bucket analytics deleted, between sets {SECOND} and {THIRD}" in said, done.stdout + done.stderr
    assert "influxdb was not searched" not in said
    # No WAL is there to be searched, and that is said.
    assert done.returncode != 0 and "postgresql was not searched" in said
