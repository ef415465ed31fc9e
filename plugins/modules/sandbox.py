#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox
short_description: Describe the sandbox of a datastore to Compose, or drop it
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes a Compose file for a second server beside the running one, for a point in time to be restored into. It is the
    platform's own service in another project and under another environment's id, with volumes of its own, folders of
    the host mounted to be read only, one port on loopback, and a network without a way out. InfluxDB runs no tasks.
  - Refuses a port that is taken, and a sandbox that is there already.
  - With O(state=absent) removes the containers, volumes and networks that carry the labels of this datastore's sandbox,
    and nothing else.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  state:
    description: Whether it is to be described or dropped.
    type: str
    choices: [present, absent]
    default: present
  component:
    description: The datastore.
    type: str
    choices: [postgresql, redis, influxdb]
    required: true
  service:
    description: Its service in O(compose), the running platform's.
    type: str
    required: true
  project:
    description: Compose project of the sandbox.
    type: str
    required: true
  platform_id:
    description: Id of the running platform's environment.
    type: str
    required: true
  environment_id:
    description: Id of the sandbox, an environment of its own.
    type: str
    required: true
  published:
    description: Port that the running platform publishes.
    type: int
    required: true
  port:
    description: Port of the sandbox, on loopback.
    type: int
    required: true
  path:
    description: Folder for the Compose file.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Looks at port and Compose file, and says what would be removed.
"""

EXAMPLES = r"""
- name: assess | Describe the sandbox of Redis
  platform3.recovery.sandbox:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    component: redis
    service: redis
    project: platform3-sandbox
    platform_id: production-0123456789ab
    environment_id: production-0123456789ab-sandbox
    published: 6379
    port: 16379
    path: /opt/platform3/recovery/sandbox
  register: __sandbox_described
"""

RETURN = r"""
compose:
  description: The sandbox's Compose project, as the other modules take it.
  type: dict
  returned: O(state=present)
container:
  description: Name of its container.
  type: str
  returned: O(state=present)
removed:
  description: What was removed, or would be in check mode, as kind and name.
  type: list
  elements: str
  returned: O(state=absent)
"""

import json
import os
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    ENVIRONMENT_LABEL,
    compose_of,
    docker,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox import (
    LOOPBACK,
    SANDBOX_LABEL,
    Place,
    sandbox_file,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import COMPONENT_LABEL

# In the order in which they let go of each other: a listing, then what removes what it names.
KINDS = (
    ("container", ["ps", "--all", "--format", "{{.Names}}"], ["rm", "--force"]),
    ("volume", ["volume", "ls", "--format", "{{.Name}}"], ["volume", "rm"]),
    ("network", ["network", "ls", "--format", "{{.Name}}"], ["network", "rm"]),
)


def objects_of(place: Place, listing: list[str], label: str = SANDBOX_LABEL) -> list[str]:
    """Names of what carries the id of the sandbox and, under this label, its component."""
    filters = [f"label={ENVIRONMENT_LABEL}={place.environment_id}", f"label={label}={place.component}"]
    return docker([*listing, *(part for one in filters for part in ("--filter", one))]).stdout.split()


def require_room(place: Place) -> None:
    """RecoveryError PRC-430 where a sandbox is there, PRC-431 where something else listens at its port."""
    there = [f"{kind} {name}" for kind, listing, _removal in KINDS for name in objects_of(place, listing)]
    if there:
        raise RecoveryError(
            "PRC-430",
            f"make the sandbox of {place.component}",
            f"there is one already ({', '.join(there)})",
            "nothing was changed",
            "drop it first: ansible-playbook playbooks/sandbox_drop.yml",
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, place.port))
        except OSError as error:
            raise RecoveryError(
                "PRC-431",
                f"make the sandbox of {place.component}",
                f"its port {place.port} cannot be had ({error.strerror})",
                "nothing was changed",
                f"name a free one: -e recovery_sandbox_{place.component}_port=...",
            ) from None


def present(module: AnsibleModule, place: Place) -> dict[str, Any]:
    """Describe the sandbox to Compose."""
    given = module.params
    require_room(place)
    config = json.loads(docker(compose_of(given).argv(["config", "--format", "json"])).stdout)
    made = sandbox_file(config, place)
    name = f"{place.component}.json"
    if not module.check_mode:
        # It may hold a secret that the service has in its environment.
        os.umask(0o077)
        os.makedirs(given["path"], exist_ok=True)
        with open(os.path.join(given["path"], name), "w", encoding="utf-8") as stream:
            json.dump(made, stream, indent=1)
    return {
        "changed": True,
        "compose": {"project": place.project, "directory": given["path"], "files": [name]},
        "container": made["services"][place.service]["container_name"],
    }


def absent(module: AnsibleModule, place: Place) -> dict[str, Any]:
    """Remove what carries its labels, and its Compose file."""
    removed = []
    for kind, listing, removal in KINDS:
        names = objects_of(place, listing)
        if kind == "container":
            # One-shot containers that a killed run left at work in its volume.
            names += objects_of(place, listing, COMPONENT_LABEL)
        removed += [f"{kind} {name}" for name in names]
        if names and not module.check_mode:
            docker([*removal, *names])
    path = os.path.join(module.params["path"], f"{place.component}.json")
    if os.path.exists(path):
        removed.append(f"file {path}")
        if not module.check_mode:
            os.unlink(path)
    return {"changed": bool(removed), "removed": removed}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    names = ("component", "service", "project", "platform_id", "environment_id", "published", "port")
    place = Place(**{name: given[name] for name in names})
    return present(module, place) if given["state"] == "present" else absent(module, place)


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "component": {"type": "str", "choices": ["postgresql", "redis", "influxdb"], "required": True},
            **{name: {"type": "str", "required": True} for name in ("service", "project", "platform_id")},
            "environment_id": {"type": "str", "required": True},
            "published": {"type": "int", "required": True},
            "port": {"type": "int", "required": True},
            "path": {"type": "path", "required": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
