#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Prove that a host can take the recovery, and that its volume is this environment's
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Looks at the engine, Compose, images, the volume's owner, disk space, port, secrets, server version and clock.
  - Nothing is changed. It fails when one of its checks is not good, with all of them in RV(checks).
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  component:
    description: Component that the host serves.
    type: str
    required: true
  services:
    description: Compose services of the component.
    type: list
    elements: str
    required: true
  image:
    description: Image of the component's containers.
    type: str
    required: true
  volume:
    description: Compose key of the component's volume; left out where it has none.
    type: str
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  needed_bytes:
    description: Room that the restored data needs beside the old.
    type: int
    default: 0
  port:
    description: Port on loopback that the component will take; it must be free or the component's own.
    type: int
  secrets:
    description: Current secrets by name, to see that they are at hand.
    type: dict
    default: {}
  login:
    description:
      - How the datastore is entered with the current secret (host, port, user, password, database or url).
      - Where it still answers, the secret is tried; where nothing answers, it cannot be.
    type: dict
    default: {}
  version_argv:
    description: Command in the image that prints the server's version.
    type: list
    elements: str
    default: []
  version_wanted:
    description: Version that the answer must begin with, such as V(17).
    type: str
  reference_seconds:
    description: The controller's clock, seconds since 1970.
    type: float
  clock_tolerance_seconds:
    description: How far the clocks may be apart.
    type: float
    default: 30
  serving_url:
    description: Address of the gateway's login; a platform that still judges logins is not replaced.
    type: str
  serving_username:
    description: User of the serving probe.
    type: str
  serving_password:
    description: Password of the serving probe.
    type: str
  replace_running:
    description: Name of the environment, typed by whoever wants to replace a platform that still serves.
    type: str
    default: ""
  environment:
    description: Name of the environment, compared with O(replace_running).
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Reads only.
"""

EXAMPLES = r"""
- name: assess | Check engine, image, volume, disk, port and secrets
  platform3.recovery.preflight_info:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    component: redis
    services: [redis]
    image: platform3/redis:8
    volume: redis-data
    environment_id: lab-0123456789ab
    needed_bytes: 100000000
    port: 6379
"""

RETURN = r"""
checks:
  description: Everything that was compared.
  type: list
  elements: dict
  returned: always
volume_state:
  description: What the volume holds now (environment_id, epoch, entries), or empty where it is gone.
  type: dict
  returned: success
serving:
  description: Whether the platform still judged logins.
  type: bool
  returned: success
"""

import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    docker,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._login import OPENS
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._preflight import (
    MINIMUM_COMPOSE,
    judge_clock,
    judge_login,
    judge_secrets,
    judge_space,
    judge_version,
    judge_volume,
    version_tuple,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT

# One container tells all of it: a container costs half a second, a line in it nothing.
LOOK = f"""
echo "environment_id=$(cat {ROOT}/environment_id 2>/dev/null)"
echo "epoch=$(cat {ROOT}/epoch 2>/dev/null)"
echo "entries=$(ls -A {ROOT}/data 2>/dev/null | wc -l)"
echo "free_bytes=$(df --output=avail -B1 {ROOT} | tail -n 1 | tr -d ' ')"
echo "version=$("$@" 2>&1 | head -n 1)"
"""


def engine_checks(component: str, given: dict[str, Any]) -> list[Check]:
    """Engine and Compose answer; RecoveryError PRC-404 where the engine does not, as nothing else can be asked."""
    answer = docker(["version", "--format", "{{.Server.Version}}"], check=False, timeout_seconds=10)
    if answer.returncode != 0:
        raise RecoveryError(
            "PRC-404",
            f"reach the container engine for {component}",
            answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else "no answer",
            "nothing was changed",
            "start Docker Engine on this host (systemctl start docker), then run the same command again",
        )
    compose = docker(["compose", "version", "--short"], check=False, timeout_seconds=10).stdout.strip()
    found = version_tuple(compose)
    wanted = ".".join(str(part) for part in MINIMUM_COMPOSE)
    config = docker(compose_of(given).argv(["config", "--services"]), check=False)
    missing = sorted(set(given["services"]) - set(config.stdout.split()))
    return [
        check("container engine answers", component, "a version", answer.stdout.strip(), ok=True),
        check("Compose version", component, f"at least {wanted}", compose or "none", ok=found >= MINIMUM_COMPOSE),
        check("services in the Compose files", component, "all", f"missing: {missing}" if missing else "all"),
    ]


def port_check(component: str, given: dict[str, Any]) -> list[Check]:
    """The port is free, or held by this component's own running container."""
    if given["port"] is None:
        return []
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", given["port"])) == 0
    running = docker(
        compose_of(given).argv(["ps", "--quiet", "--status", "running", *given["services"]]), check=False
    ).stdout.split()
    found = "ours" if running else "taken by another process" if taken else "free"
    return [check(f"port {given['port']}", component, "free or ours", found, ok=bool(running) or not taken)]


def still_serves(url: str, username: str, password: str) -> bool:
    """Whether the gateway judges logins now. One that refuses this user's still serves its customers."""
    body = json.dumps({"username": username, "password": password}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status < 500)
    except urllib.error.HTTPError as refused:
        return refused.code < 500
    except (urllib.error.URLError, OSError, ValueError):
        return False


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, then judge all of it at once."""
    given = module.params
    component = given["component"]
    checks = engine_checks(component, given)
    image = docker(["image", "inspect", "--format", "{{.Id}}", given["image"]], check=False)
    present = image.returncode == 0
    checks.append(check(f"image {given['image']}", component, "present", "present" if present else "missing"))
    state: dict[str, str] = {}
    volume = find_volume(given["compose"]["project"], given["volume"]) if given["volume"] else None
    if present and (given["volume"] or given["version_argv"]):
        mount = ["--volume", f"{volume}:{ROOT}:ro"] if volume else []
        asked = docker(
            ["run", "--rm", "--network", "none", "--entrypoint", "bash", *mount, given["image"], "-uc", LOOK, "bash"]
            + (given["version_argv"] or ["true"])
        )
        state = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
        checks.append(judge_space(component, given["needed_bytes"], int(state.get("free_bytes") or 0)))
        if given["version_wanted"]:
            checks.append(judge_version(component, given["version_wanted"], state.get("version", "")))
        if volume:
            checks += judge_volume(component, volume, state, given["environment_id"])
    checks += port_check(component, given)
    checks += judge_secrets(component, given["secrets"])
    if given["login"].get("password"):
        name = next(iter(given["secrets"]))
        checks.append(judge_login(component, name, OPENS[component](given["login"])))
    if given["reference_seconds"] is not None:
        checks.append(judge_clock(component, time.time(), given["reference_seconds"], given["clock_tolerance_seconds"]))
    serving = False
    if given["serving_url"]:
        serving = still_serves(given["serving_url"], given["serving_username"], given["serving_password"])
        allowed = given["replace_running"] == given["environment"] != ""
        checks.append(
            check(
                "platform may be replaced",
                component,
                f"it does not serve, or recovery_replace_running={given['environment']}",
                "it still judges logins" if serving else "it does not serve",
                ok=allowed or not serving,
            )
        )
    require(
        checks,
        "PRC-405",
        f"find {component} ready for recovery",
        "nothing was changed",
        "mend what is named, then run the same command again",
    )
    return {"changed": False, "checks": checks, "volume_state": state, "serving": serving}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "component": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "image": {"type": "str", "required": True},
            "volume": {"type": "str"},
            "environment_id": {"type": "str", "required": True},
            "needed_bytes": {"type": "int", "default": 0},
            "port": {"type": "int"},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "login": {"type": "dict", "default": {}, "no_log": True},
            "version_argv": {"type": "list", "elements": "str", "default": []},
            "version_wanted": {"type": "str"},
            "reference_seconds": {"type": "float"},
            "clock_tolerance_seconds": {"type": "float", "default": 30},
            "serving_url": {"type": "str"},
            "serving_username": {"type": "str"},
            "serving_password": {"type": "str", "no_log": True},
            "replace_running": {"type": "str", "default": ""},
            "environment": {"type": "str", "default": ""},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
