# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup store with a restore point, and playbooks on it where there is no platform: what only reads needs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.scratch import ROOT
from tests.unit.plugins.modules.set_stage import ENVIRONMENT, FIRST, SECOND, THIRD, Store, run

NAME, AT = "before-release-7", "2026-11-22T12:00:00.003000Z"
GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")


def captured(set_id: str) -> str:
    """When the data of a set is of."""
    return f"{set_id[:4]}-{set_id[4:6]}-{set_id[6:8]}T05:17:00Z"


def named_store(folder: Path) -> Store:
    """Three signed sets a day apart, and a restore point between the last two; beside them the state."""
    made = Store(folder)
    for set_id in (FIRST, SECOND, THIRD):
        made.make(set_id)
        manifest = made.manifest(set_id)
        manifest["started_at"], manifest["finished_at"] = captured(set_id), captured(set_id)
        manifest["components"]["influxdb"] |= {"recovery_point": captured(set_id), "buckets": [], "shards": []}
        manifest["components"]["redis"]["recovery_point"] = captured(set_id)
        made.resign(set_id, manifest)
    (folder / "state").mkdir()
    (folder / "state/environment_id").write_text(ENVIRONMENT["environment_id"])
    (made.path / "fence").mkdir()
    given = {"store_path": str(made.path), "name": NAME, "at": AT, "lsn": "0/5000118", "timeline": 1, "segment": "x"}
    given |= {"fence": {"recovery_id": "backup-20261122T120000Z", "epoch": 1}, "by": "jane", "signing_key": made.key}
    assert run("restore_point", {**given, "environment_id": ENVIRONMENT["environment_id"]})["changed"]
    return made


def playbook(store: Store, path: str, lost: tuple[str, ...] = (), **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook on the store. lost: groups whose host nobody reaches."""
    folder = store.path.parent
    variables: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "recovery_environment": ENVIRONMENT["environment"],
        "recovery_environment_id": ENVIRONMENT["environment_id"],
        "recovery_confirm": ENVIRONMENT["environment"],
        "backup_store_path": str(store.path),
        "recovery_state_path": str(folder / "state"),
        "backup_set_trusted_signers": store.signers,
        "backup_set_signing_key": store.key,
        # There is no platform: what only reads the store needs none.
        "recovery_compose": {"project": store.path.parent.name, "directory": "/nowhere", "files": ["compose.yaml"]},
        "postgresql_container": f"{store.path.parent.name}-none",
        "postgresql_database": "none",
        "postgresql_stanza": "platform3",
        "postgresql_service": "postgresql",
        "postgresql_image": "platform3/postgresql:17",
        "postgresql_restore_method": "physical",
        # Nobody listens there.
        "postgresql_port": 1,
        "redis_service": "redis",
        "redis_port": 1,
        "influxdb_service": "influxdb",
        "influxdb_url": "http://127.0.0.1:1",
        "influxdb_token": "none",
    }
    of_group: dict[str, dict[str, Any]] = {one: {"recovery_component": one} for one in GROUPS if one != "backup_store"}
    for one in lost:
        of_group[one] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    children = {one: {"hosts": {f"{one}-host": {}}, "vars": of_group.get(one, {})} for one in GROUPS}
    inventory = {"all": {"vars": variables, "children": children}}
    (folder / "inventory.json").write_text(json.dumps(inventory))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "inventory.json"), path]
    argv += [part for name, value in inputs.items() for part in ("-e", f"{name}={value}")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
