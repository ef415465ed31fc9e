# SPDX-License-Identifier: GPL-3.0-or-later
"""What scratch environments share: their id, docker, modules that run as Ansible runs them, waiting, and going away."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL

PROJECT_LABEL = "com.docker.compose.project"
ROOT = Path(__file__).resolve().parents[2]
MODULES = "ansible_collections.platform3.recovery.plugins.modules"
# So long a module may take before it counts as one that hangs.
MODULE_SECONDS = 180


def new_id() -> str:
    """The id of an environment that no other has."""
    return f"test-{secrets.token_hex(6)}"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- docker ---


def docker(*arguments: str, check: bool = True) -> str:
    """stdout of a docker command; nothing of one that may fail and did (exec writes what is wrong to stdout too)."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip() if done.returncode == 0 else ""


def logs(container: str) -> str:
    """What a container said, to either of its outputs."""
    done = subprocess.run(
        ["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def remove_platform(environment_id: str) -> None:
    """An environment that is a Compose project of the same name goes away: containers, volumes, network.

    By the engine's own commands, a second quicker than Compose.
    """
    # One-shot containers have the environment's label alone, volumes and networks of the lab's file the project's.
    everything = {"container": ENVIRONMENT_LABEL, "volume": PROJECT_LABEL, "network": PROJECT_LABEL}
    for kind, label in everything.items():
        wanted = ("--filter", f"label={label}={environment_id}")
        # One that goes away by itself meanwhile is no failure.
        until(partial(_removed, kind, wanted), 30, f"no {kind} of {environment_id} left")


def _removed(kind: str, wanted: tuple[str, ...]) -> bool:
    of_all, also = (["--all"], ["--force", "--volumes"]) if kind == "container" else ([], [])
    names = docker(kind, "ls", "--quiet", *of_all, *wanted).split()
    if names:
        docker(kind, "rm", *also, *names, check=False)
    return not names


# --- modules ---


def start_module(
    folder: Path, name: str, arguments: dict[str, Any], output: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """A module at work, its input in a file of the folder. output: where stdout and stderr go."""
    given = folder / f"{name}-{secrets.token_hex(4)}.json"
    given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    argv = [sys.executable, "-m", f"{MODULES}.{name}", str(given)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    return subprocess.Popen(argv, stdout=output, stderr=output, text=True, env=environment)


def run_module(folder: Path, name: str, arguments: dict[str, Any], unsaid: Iterable[str]) -> dict[str, Any]:
    """A module's result. unsaid: secrets that it must not print."""
    with start_module(folder, name, arguments, subprocess.PIPE) as module:
        try:
            out, error = module.communicate(timeout=MODULE_SECONDS)
        except subprocess.TimeoutExpired:
            module.kill()
            raise
    assert out.strip(), error
    assert not [one for one in unsaid if one in out + error], "a secret stands in the output"
    result: dict[str, Any] = json.loads(out)
    return result


# --- waiting ---


def until(ready: Callable[[], Any], seconds: float, what: str, container: str = "") -> Any:
    """What ready gives once it is true. container: whose log is shown where that takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s\n{logs(container) if container else ''}")
        time.sleep(0.05)
    return found
