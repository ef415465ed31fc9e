# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the inputs of a sandbox, or with a sandbox among other inputs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._input_names import SANDBOX_OWN
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import Problem


def sandbox_problems(scenario: str, inputs: Mapping[str, Any], extra: Iterable[str]) -> list[Problem]:
    """What does not go with a sandbox, and a sandbox that is asked of a playbook which would replace the platform.

    extra: names of the extra variables.
    """
    problems = []
    if inputs.get("recovery_into") and scenario not in ("sandbox", "sandbox_look"):
        found = "recovery_into is given, and only point_in_time_recovery.yml takes it, as an extra variable"
        problems.append(Problem("PRC-130", found, "run point_in_time_recovery.yml -e recovery_into=sandbox -e ..."))
    if scenario != "sandbox":
        return problems
    if inputs.get("recovery_id"):
        found = "recovery_id is given, and a sandbox does not go on"
        problems.append(Problem("PRC-130", found, "leave it out; what is left of a sandbox goes by sandbox_drop.yml"))
    ports = [inputs.get(f"recovery_sandbox_{name}_port") for name in ("postgresql", "redis", "influxdb")]
    if len(set(ports)) < len(ports):
        found = f"the ports of the sandbox are {', '.join(map(str, ports))}, and each datastore needs its own"
        problems.append(Problem("PRC-131", found, "give three that differ"))
    for name in sorted(SANDBOX_OWN.intersection(extra)):
        found = f"the extra variable {name!r} would stand above what the sandbox has in its place"
        problems.append(Problem("PRC-132", found, f"leave {name} out, or write it into the inventory"))
    return problems
