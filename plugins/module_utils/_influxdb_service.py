# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container of the InfluxDB that serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    Compose,
    compose_of,
    docker,
    inspect_container,
    last_line,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi


def containers_of(project: str, service: str, *filters: str) -> list[str]:
    """Names of the service's containers."""
    wanted = [f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={service}", *filters]
    arguments = [part for one in wanted for part in ("--filter", one)]
    return docker(["ps", "--all", *arguments, "--format", "{{.Names}}"]).stdout.split()


def require_away(project: str, service: str) -> None:
    """RecoveryError PRC-713 while the server runs: it would go on writing into the folders that are exchanged."""
    running = containers_of(project, service, "status=running", "status=restarting", "status=paused")
    if running:
        raise RecoveryError(
            "PRC-713",
            f"exchange the data of service {service}",
            f"container {running[0]} still runs",
            "nothing was exchanged",
            f"docker rm --force {running[0]}",
        )


def ended(project: str, service: str) -> str:
    """Why the started server will never answer: its container ends again and again. "" while it may."""
    for name in containers_of(project, service):
        container = inspect_container(name) or {}
        state = container.get("State", {})
        if container.get("RestartCount", 0) > 1 or state.get("Status") in ("exited", "dead"):
            log = docker(["logs", "--tail", "20", name], check=False)
            said = last_line(log.stderr) or last_line(log.stdout)
            return f"container {name} ended with status {state.get('ExitCode')} ({said})"
    return ""


@dataclass(frozen=True)
class Service:
    """The Compose service, which may be taken away and started again."""

    compose: Compose
    name: str
    stop_grace_seconds: int
    start_timeout_seconds: int

    def take_away(self) -> None:
        """Stop its containers and remove them: a restart policy would start a stopped one with the engine."""
        names = containers_of(self.compose.project, self.name)
        if names:
            stop = ["stop", "--time", str(self.stop_grace_seconds), *names]
            docker(stop, check=False, timeout_seconds=self.stop_grace_seconds + 60)
            docker(["rm", "--force", *names], check=False)
        require_away(self.compose.project, self.name)

    def start(self, api: InfluxApi) -> None:
        """Start it and wait until it answers; RecoveryError PRC-704 where it does not."""
        self.compose.up([self.name])
        api.await_ready(self.start_timeout_seconds, lambda: ended(self.compose.project, self.name))


def service_of(given: Mapping[str, Any]) -> Service:
    """The service that a module's inputs name."""
    compose = compose_of(dict(given))
    return Service(compose, given["service"], given["stop_grace_seconds"], given["start_timeout_seconds"])
