#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: component_isolate
short_description: Take a component's containers away, so that nobody writes to its data
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Stops the containers of the given Compose services with a bounded grace and removes them. A container that is only
    stopped would be revived by its restart policy when the engine restarts.
  - Volumes are never removed. One-shot containers that an earlier run of the recovery left at work are removed too.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  component:
    description: Component that is isolated.
    type: str
    required: true
  services:
    description: Compose services to take away.
    type: list
    elements: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  grace_seconds:
    description: How long a container may take to stop before it is killed.
    type: int
    default: 10
attributes:
  check_mode:
    support: full
    description: Names the containers that would be removed.
"""

EXAMPLES = r"""
- name: isolate | Take Redis away
  platform3.recovery.component_isolate:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    component: redis
    services: [redis]
    environment_id: lab-0123456789ab
"""

RETURN = r"""
removed:
  description: Names of the containers that were removed.
  type: list
  elements: str
  returned: success
orphans:
  description: Names of one-shot containers of an earlier run that were removed.
  type: list
  elements: str
  returned: success
checks:
  description: That nothing of the component runs any more.
  type: list
  elements: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import check, require
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, docker
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._volume import stop_orphans


def containers_of(project: str, services: list[str]) -> list[str]:
    """Names of all containers, running or not, of these services."""
    listing = docker(
        [
            "ps",
            "--all",
            "--filter",
            f"label=com.docker.compose.project={project}",
            "--format",
            '{{.Names}} {{.Label "com.docker.compose.service"}}',
        ]
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return sorted(row[0] for row in rows if len(row) == 2 and row[1] in services)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Stop, remove, and see that they are gone."""
    given = module.params
    project = given["compose"]["project"]
    names = containers_of(project, given["services"])
    diff = {"before": "\n".join(names) + "\n", "after": "\n"}
    if module.check_mode:
        return {"changed": bool(names), "removed": names, "orphans": [], "checks": [], "diff": diff}
    orphans = stop_orphans(given["component"], given["environment_id"], fence_of(module))
    if names:
        # All of one call stop side by side; without their grace a database would have to replay what it could write.
        grace = given["grace_seconds"]
        docker(["stop", "--time", str(grace), *names], check=False, timeout_seconds=grace + 60)
        docker(["rm", "--force", *names], check=False)
    checks = require(
        [
            check(
                f"containers of {given['component']} are gone",
                given["component"],
                "none left",
                ", ".join(containers_of(project, given["services"])) or "none left",
            )
        ],
        "PRC-406",
        f"isolate {given['component']}",
        "a container may still be writing; no data was exchanged",
        "see what keeps the container there (docker ps -a)",
    )
    return {
        "changed": bool(names or orphans),
        "removed": names,
        "orphans": orphans,
        "checks": checks,
        "diff": diff,
    }


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "component": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "environment_id": {"type": "str", "required": True},
            "grace_seconds": {"type": "int", "default": 10},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
