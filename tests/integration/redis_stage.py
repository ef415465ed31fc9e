# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis of its own to back up, lose and restore: Compose project, volume, secrets, store."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL

from tests.integration.scratch import ROOT, docker, free_port, logs, new_id, remove_platform, run_module, until

IMAGE = "platform3/redis:8"
PERSISTENT, SESSIONS, PRICES, CANDLES = 3000, 2000, 5400, 700


class Platform:
    """One Redis under a Compose project of its own, its secrets, and a backup set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = new_id()
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.set_path = folder / "20261123T051700Z"
        self.set_path.mkdir()
        acl = folder / "acl"
        acl.mkdir()
        (acl / "users.acl").write_text(
            f"user default off resetpass ~* &* +@all\nuser forex_admin on >{self.password} ~* &* +@all\n"
        )
        shutil.copy(ROOT / "lab/config/redis/redis.conf", folder / "redis.conf")
        label = {ENVIRONMENT_LABEL: self.id}
        self.store = folder / "store"
        for name in ("aof", "fence"):
            (self.store / name).mkdir(parents=True, exist_ok=True)
        os.chown(self.store / "aof", 999, 999)
        (self.store / "fence" / "epoch").write_text("1")
        service: dict[str, Any] = {
            "image": IMAGE,
            "labels": label,
            "container_name": self.id,
            "ports": [f"127.0.0.1:{self.port}:6379"],
            "environment": {"PLATFORM3_ENVIRONMENT_ID": self.id},
            "volumes": [
                "redis-data:/var/lib/platform3",
                f"{folder}/redis.conf:/etc/platform3/redis.conf:ro",
                f"{acl}:/etc/platform3/acl:ro",
            ],
        }
        # As sidecars/compose.yaml has it; a pass takes a fifth of a second so that tests do not wait.
        shipper: dict[str, Any] = {
            "image": IMAGE,
            "labels": label,
            "container_name": f"{self.id}-shipper",
            "command": ["/sidecars/aof_shipper"],
            "environment": {"AOF_SHIP_SECONDS": "0.2", "AOF_MAXIMUM_LAG_SECONDS": "3"},
            "restart": "unless-stopped",
            "network_mode": "none",
            "volumes": [
                "redis-data:/var/lib/platform3",
                f"{self.store}/aof:/aof",
                f"{self.store}/fence:/fence:ro",
                f"{ROOT}/sidecars:/sidecars:ro",
            ],
        }
        services = {"redis": service, "aof-shipper": shipper}
        compose: dict[str, Any] = {"services": services, "volumes": {"redis-data": {"labels": label}}}
        compose["networks"] = {"default": {"labels": label}}
        (folder / "compose.yaml").write_text(json.dumps(compose))
        os.chmod(folder, 0o755)

    @property
    def volume(self) -> str:
        """The engine's name of the volume."""
        return f"{self.id}_redis-data"

    def compose(self, *arguments: str) -> str:
        """Run Compose on the project."""
        return docker("compose", "-p", self.id, "-f", f"{self.folder}/compose.yaml", *arguments)

    def start(self) -> redis.Redis:
        """A new, empty, serving Redis."""
        self.compose("run", "--rm", "redis", "initialise")
        self.compose("up", "--detach", "redis")
        return self.client()

    @property
    def shipper(self) -> str:
        """Name of the container that ships the log."""
        return f"{self.id}-shipper"

    def ship(self) -> None:
        """Start the shipper, and wait for its first pass."""
        self.compose("up", "--detach", "--no-deps", "aof-shipper")
        self.await_shipped()

    def shipped(self) -> list[str]:
        """What the shipper says of its last pass: when it began (seconds of the machine's), life, generation."""
        return docker("exec", self.shipper, "cat", "/tmp/shipped", check=False).split()

    def await_shipped(self) -> list[str]:
        """Wait until a pass that begins from now on has ended: what was written until now is in the store."""
        now = float(Path("/proc/uptime").read_text().split()[0])
        return self.wait_for(lambda: (told := self.shipped()) and float(told[0]) > now and told, "a pass")

    def wait_for(self, ready: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        """What ready gives once it is true."""
        return until(ready, seconds, what, self.shipper)

    def files(self, life: str = "initial") -> dict[str, bytes]:
        """The shipped files of one life of the data."""
        folder = self.store / "aof" / life
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}

    def client(self, db: int = 0) -> redis.Redis:
        """A client of the server, once it serves."""
        client = redis.Redis(
            port=self.port, username="forex_admin", password=self.password, db=db, decode_responses=True
        )
        for _ in range(200):
            try:
                client.ping()
                return client
            except redis.exceptions.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(logs(self.id))

    def lose(self) -> None:
        """Kill the server; containers and volume are gone."""
        docker("kill", self.id)
        docker("rm", "--force", self.id, self.shipper)
        docker("volume", "rm", self.volume)

    def clean(self) -> None:
        """Everything this platform made goes away."""
        remove_platform(self.id)

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A module's result."""
        return run_module(self.folder, name, arguments, unsaid=[self.password])

    def login(self) -> dict[str, Any]:
        """The inputs that name the server."""
        return {"port": self.port, "user": "forex_admin", "password": self.password}

    def backup(self) -> dict[str, Any]:
        """The result of redis_backup."""
        result = self.run(
            "redis_backup",
            {
                **self.login(),
                "fence": {"recovery_id": "backup-1", "epoch": 1},
                "container": self.id,
                "image": IMAGE,
                "environment_id": self.id,
                "set_path": str(self.set_path),
                "set_id": self.set_path.name,
            },
        )
        assert not result.get("failed"), result
        return result

    def restore_input(self, backup: dict[str, Any], epoch: int = 2, recovery_id: str = "r1") -> dict[str, Any]:
        """The inputs of redis_restore."""
        artefact = {name: backup["artefacts"][0][name] for name in ("path", "bytes", "sha256")}
        return {
            **self.login(),
            "fence": {"recovery_id": recovery_id, "epoch": epoch},
            "compose": {"project": self.id, "directory": str(self.folder), "files": ["compose.yaml"]},
            "service": "redis",
            "volume": "redis-data",
            "image": IMAGE,
            "environment_id": self.id,
            "set_path": str(self.set_path),
            "artefact": artefact,
            "content": backup["content"],
            "cache_patterns": [{"db": 1, "pattern": "price:*"}],
        }

    def restore_log(self, backup: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The result of redis_restore that may take the shipped log."""
        given = {**self.restore_input(backup), "log_path": str(self.store / "aof"), "cache_patterns": []}
        return self.run("redis_restore", {**given, **changes})

    def resume(self) -> dict[str, Any]:
        """The result of redis_resume."""
        given = self.restore_input({"artefacts": [{"path": "", "bytes": 0, "sha256": ""}], "content": {}})
        return self.run(
            "redis_resume", {name: given[name] for name in ("fence", "compose")} | {"shipper_service": "aof-shipper"}
        )

    def verify(self, backup: dict[str, Any], expected_keys: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of redis_verify_info."""
        given: dict[str, Any] = {
            **self.login(),
            "fence": {"recovery_id": "r1", "epoch": 2},
            "version": backup["content"]["version"],
            "recovery_point": backup["content"]["recovery_point"],
            "expected_keys": expected_keys or backup["content"]["keys"],
        }
        return self.run("redis_verify_info", given)

    def everything(self) -> dict[str, str | None]:
        """All keys of database 0 and their values."""
        client = self.client()
        keys = sorted(client.scan_iter(count=1000))
        return dict(zip(keys, client.mget(keys), strict=True)) if keys else {}

    def in_volume(self, script: str) -> str:
        """stdout of a bash script run over the volume, which need not be served."""
        return docker(
            "run",
            "--rm",
            "--network",
            "none",
            "--volume",
            f"{self.volume}:/var/lib/platform3",
            IMAGE,
            "bash",
            "-euc",
            script,
        )


def seed(platform: Platform) -> None:
    """Keys with and without a time to live in two databases."""
    pipeline = platform.client(0).pipeline(transaction=False)
    for n in range(SESSIONS):
        pipeline.hset(f"session:{n}", mapping={"user_id": n, "username": f"trader{n}"})
        pipeline.expire(f"session:{n}", 3600 + n * 30)
    for n in range(PERSISTENT):
        pipeline.set(f"setting:{n}", "v" * 40)
    pipeline.execute()
    pipeline = platform.client(1).pipeline(transaction=False)
    for n in range(PRICES):
        pipeline.hset(f"price:{n}", mapping={"bid": 1.1, "ask": 1.2, "at": "2026-11-23T05:17:00Z"})
        if n % 3 == 0:
            pipeline.expire(f"price:{n}", 3600 + n)
    for n in range(CANDLES):
        pipeline.set(f"candle:EURUSD:{n}", "x" * 60, ex=7200 if n % 2 else None)
    pipeline.execute()
