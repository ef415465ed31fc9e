# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker command line, as argument lists: containers, volumes, Compose.

The engine's own client is used rather than the SDK: streams of gigabytes pass through it without being held, and a
host needs no Python package for it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

ENVIRONMENT_LABEL = "platform3.recovery.environment"
COMMAND_TIMEOUT_SECONDS = 120.0


def docker(
    arguments: Sequence[str],
    *,
    stdin: str | None = None,
    timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run `docker ARGUMENTS` to its end and return it, output as text.

    With check, a non-zero status raises RecoveryError PRC-401 with the last line of stderr; so does a timeout.
    """
    argv = ["docker", *arguments]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except FileNotFoundError:
        raise RecoveryError(
            "PRC-400",
            "run docker",
            "the docker command is not installed on this host",
            "nothing was changed",
            "install Docker Engine and the Compose plugin, then run the same command again",
        ) from None
    except subprocess.TimeoutExpired:
        raise command_failed(arguments, f"no end after {timeout_seconds:.0f} s") from None
    if check and done.returncode != 0:
        raise command_failed(arguments, last_line(done.stderr) or f"exit status {done.returncode}")
    return done


def command_failed(arguments: Sequence[str], found: str) -> RecoveryError:
    """The error of a docker command that did not end well."""
    shown = " ".join(arguments)
    return RecoveryError(
        "PRC-401",
        f"run docker {shown[:160]}",
        found,
        "what the step had done before stays as it is; running data was not deleted",
        "read the message, mend the cause (docker info, docker ps -a)",
    )


def last_line(text: str) -> str:
    """The last line of text that says something; the client's advice to ask for its help is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "--help'" not in line]
    return lines[-1] if lines else ""


def inspect_container(name: str) -> dict[str, Any] | None:
    """What the engine knows of a container, or None where there is none of that name."""
    done = docker(["container", "inspect", name], check=False)
    if done.returncode != 0:
        if "no such container" in done.stderr.lower():
            return None
        raise command_failed(["container", "inspect", name], last_line(done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


@dataclass(frozen=True)
class Compose:
    """A Compose project. directory: where the files lie; files: names in it; env_file: path of its variables."""

    project: str
    directory: str
    files: tuple[str, ...]
    env_file: str | None = None
    profiles: tuple[str, ...] = field(default=())

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """The arguments of docker for `compose ARGUMENTS` on this project."""
        argv = ["compose", "--project-name", self.project, "--project-directory", self.directory]
        for name in self.files:
            argv += ["--file", f"{self.directory}/{name}"]
        if self.env_file:
            argv += ["--env-file", self.env_file]
        for profile in self.profiles:
            argv += ["--profile", profile]
        return argv + list(arguments)

    def up(self, services: Sequence[str], *, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> None:
        """Start these services alone, without those they depend on, and do not wait for their health."""
        docker(
            self.argv(["up", "--detach", "--no-deps", "--no-build", "--pull", "never", *services]),
            timeout_seconds=timeout_seconds,
        )

    def create(self, services: Sequence[str]) -> None:
        """Make the volumes, the network and the containers of these services without starting them."""
        docker(self.argv(["up", "--no-start", "--no-deps", "--no-build", "--pull", "never", *services]))


# The inputs that name a Compose project; documented in doc_fragments/compose.py.
COMPOSE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "compose": {
        "type": "dict",
        "required": True,
        "options": {
            "project": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "env_file": {"type": "path"},
        },
    },
}


def compose_of(parameters: dict[str, Any]) -> Compose:
    """The Compose project that a module's `compose` input names."""
    given = parameters["compose"]
    return Compose(given["project"], given["directory"], tuple(given["files"]), given["env_file"])


def find_volume(project: str, key: str) -> str | None:
    """The name of the project's volume with this Compose key, found by label; None where it is gone."""
    names = docker(
        [
            "volume",
            "ls",
            "--quiet",
            "--filter",
            f"label=com.docker.compose.project={project}",
            "--filter",
            f"label=com.docker.compose.volume={key}",
        ]
    ).stdout.split()
    return names[0] if names else None
