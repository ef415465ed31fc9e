# SPDX-License-Identifier: GPL-3.0-or-later
"""An InfluxDB of its own for the tests: container, volume, seed, writers, and the modules run against it."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi

from tests.integration.scratch import ROOT, docker, free_port, new_id, remove_platform, run_module

IMAGE = "platform3/influxdb:2.7"
ORGANISATION = "forex-trading"
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD")
DAYS, POINTS_A_DAY = 4, 6000
SECOND = 1_000_000_000
DAY = 86400 * SECOND
TASK = 'option task = {name: "tick-count", every: 1h}\nfrom(bucket: "market-data") |> range(start: -1h) |> count()'


class Platform:
    """One InfluxDB under a Compose project of its own."""

    def __init__(self, folder: Path, token: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.id = new_id()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = token
        for name, value in (("influxdb_token", token), ("influxdb_password", secrets.token_hex(12))):
            (folder / name).write_text(value)
        label = {ENVIRONMENT_LABEL: self.id}
        service = {
            "image": IMAGE,
            "labels": label,
            "container_name": self.id,
            "ports": [f"127.0.0.1:{self.port}:8086"],
            "environment": {"PLATFORM3_ENVIRONMENT_ID": self.id},
            "volumes": [
                "influxdb-data:/var/lib/platform3",
                f"{ROOT}/lab/config/influxdb/influxdb.yml:/etc/platform3/influxdb.yml:ro",
                f"{folder}/influxdb_token:/run/secrets/influxdb_token:ro",
                f"{folder}/influxdb_password:/run/secrets/influxdb_password:ro",
            ],
        }
        compose = {
            "services": {"influxdb": service},
            "volumes": {"influxdb-data": {"labels": label}},
            "networks": {"default": {"labels": label}},
        }
        (folder / "compose.yaml").write_text(json.dumps(compose))

    @property
    def volume(self) -> str:
        """The engine's name of the volume."""
        return f"{self.id}_influxdb-data"

    @property
    def api(self) -> InfluxApi:
        """The server, as the operator."""
        return InfluxApi(self.url, self.token)

    def compose(self, *arguments: str) -> str:
        """Run Compose on the project."""
        return docker("compose", "-p", self.id, "-f", f"{self.folder}/compose.yaml", *arguments)

    def start(self) -> None:
        """A new, empty, serving InfluxDB."""
        self.compose("run", "--rm", "-T", "influxdb", "initialise")
        self.compose("up", "--detach")
        self.api.await_ready(30)

    def clean(self) -> None:
        """Everything this platform made goes away."""
        remove_platform(self.id)

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A module's result."""
        return run_module(self.folder, name, arguments, unsaid=[self.token])

    def server(self) -> dict[str, Any]:
        """The inputs that name the server."""
        return {"url": self.url, "token": self.token, "organisation": ORGANISATION}

    def backup(self, folder: Path, **more: Any) -> dict[str, Any]:
        """The result of influxdb_backup into folder."""
        folder.mkdir(exist_ok=True)
        fence = {"recovery_id": "backup-1", "epoch": 1}
        inputs = {"set_path": str(folder), "buckets": ["market-data", "analytics"], "container": self.id, **more}
        return self.run("influxdb_backup", {**self.server(), "fence": fence, **inputs})

    def restore_inputs(self, taken: Taken, recovery: str, epoch: int, **more: Any) -> dict[str, Any]:
        """The inputs of influxdb_restore."""
        return {
            **self.server(),
            "fence": {"recovery_id": recovery, "epoch": epoch},
            "compose": {"project": self.id, "directory": str(self.folder), "files": ["compose.yaml"]},
            "service": "influxdb",
            "volume": "influxdb-data",
            "image": IMAGE,
            "environment_id": self.id,
            "set_path": str(taken.folder),
            "content": taken.content,
            "artefacts": taken.artefacts,
            "start_timeout_seconds": 30,
            **more,
        }

    def restore(self, taken: Taken, recovery: str = "recovery-1", epoch: int = 2, **more: Any) -> dict[str, Any]:
        """The result of influxdb_restore."""
        return self.run("influxdb_restore", self.restore_inputs(taken, recovery, epoch, **more))

    def verify(self, taken: Taken, **more: Any) -> dict[str, Any]:
        """The result of influxdb_verify_info."""
        fence = {"recovery_id": "recovery-1", "epoch": 2}
        inputs = {"content": taken.content, "buckets": ["market-data"], "probe_bucket": "analytics", **more}
        return self.run("influxdb_verify_info", {**self.server(), "fence": fence, **inputs})

    def in_volume(self, script: str) -> str:
        """What a bash script in the volume prints."""
        return docker("run", "--rm", "--volume", f"{self.volume}:/v", "--workdir", "/v", IMAGE, "bash", "-euc", script)

    def count(self, flux: str, bucket: str = "market-data") -> int:
        """Sum of the counts of what a pipe behind from() lets through."""
        organisation = self.api.json("/api/v2/orgs")["orgs"][0]["id"]
        rows = self.api.query(organisation, f'from(bucket: "{bucket}") |> range(start: 0) {flux} |> count()')
        return sum(int(row["_value"]) for row in rows)


class Taken:
    """A backup set's part, and what the server held when it was taken."""

    def __init__(self, folder: Path, result: dict[str, Any], facts: dict[str, Any]) -> None:
        assert "failed" not in result, result
        self.folder = folder
        self.content: dict[str, Any] = result["content"]
        self.artefacts: list[dict[str, Any]] = result["artefacts"]
        self.facts = facts

    def copy(self, folder: Path) -> Taken:
        """The same in another folder, to be damaged there."""
        shutil.copytree(self.folder, folder)
        result = {"content": json.loads(json.dumps(self.content)), "artefacts": json.loads(json.dumps(self.artefacts))}
        return Taken(folder, result, self.facts)

    def largest(self) -> dict[str, Any]:
        """The record of the largest shard archive."""
        return max((one for one in self.artefacts if one["kind"] == "shard"), key=lambda one: int(one["bytes"]))

    def bucket(self, name: str) -> dict[str, Any]:
        """The content of a bucket."""
        return next(one for one in self.content["buckets"] if one["name"] == name)


def seed(platform: Platform) -> dict[str, Any]:
    """Points over some days, some of them deleted, and all that metadata can hold."""
    api = platform.api
    organisation = api.json("/api/v2/orgs")["orgs"][0]["id"]
    buckets = {one["name"]: one["id"] for one in api.json("/api/v2/buckets")["buckets"]}
    rules = [{"type": "expire", "everySeconds": 90 * 86400, "shardGroupDurationSeconds": 86400}]
    api.json(f"/api/v2/buckets/{buckets['market-data']}", "PATCH", {"retentionRules": rules})
    made = api.json("/api/v2/buckets", "POST", {"orgID": organisation, "name": "analytics", "retentionRules": rules})
    buckets["analytics"] = made["id"]
    start = time.time_ns() - DAYS * DAY
    for day in range(DAYS):
        step = DAY // POINTS_A_DAY
        lines = (
            f"ticks,symbol={SYMBOLS[number % 4]} bid=1.{number},ask=1.{number + 1},volume={number}i "
            f"{start + day * DAY + number * step}"
            for number in range(POINTS_A_DAY)
        )
        api.write(organisation, buckets["market-data"], "\n".join(lines))
    api.write(organisation, buckets["analytics"], f"candles,symbol=EURUSD open=1.0,close=2.0 {start + DAY}")
    whole = iso_of(start), iso_of(start + DAYS * DAY)
    api.delete(organisation, buckets["market-data"], *whole, 'symbol="USDJPY"')
    api.delete(organisation, buckets["market-data"], iso_of(start), iso_of(start + DAY // 2), 'symbol="EURUSD"')
    task = api.json("/api/v2/tasks", "POST", {"orgID": organisation, "flux": TASK})
    dashboard = api.json("/api/v2/dashboards", "POST", {"orgID": organisation, "name": "Market overview"})
    resource = {"type": "buckets", "id": buckets["market-data"], "orgID": organisation}
    scoped = api.json(
        "/api/v2/authorizations",
        "POST",
        {
            "orgID": organisation,
            "description": "market data",
            "permissions": [{"action": action, "resource": resource} for action in ("read", "write")],
        },
    )
    return {
        "organisation": organisation,
        "buckets": buckets,
        "task": task["id"],
        "dashboard": dashboard["id"],
        "scoped_token": scoped["token"],
    }


def iso_of(time_ns: int) -> str:
    """Whole seconds as the server takes them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // SECOND))


class Writer(threading.Thread):
    """Writes a point every few milliseconds, `late_seconds` old, until it is stopped."""

    def __init__(self, platform: Platform, facts: dict[str, Any], late_seconds: int = 0) -> None:
        super().__init__(daemon=True)
        self._api, self._facts, self._late = platform.api, facts, late_seconds * SECOND
        self._stopping = threading.Event()
        self.written = 0

    def run(self) -> None:
        """Write."""
        while not self._stopping.wait(0.003):
            line = f"ticks,symbol=NZDUSD bid=1.5,ask=1.6,volume=1i {time.time_ns() - self._late}"
            self._api.write(self._facts["organisation"], self._facts["buckets"]["market-data"], line)
            self.written += 1

    def __enter__(self) -> Writer:
        self.start()
        while not self.written:
            time.sleep(0.01)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self.join()
