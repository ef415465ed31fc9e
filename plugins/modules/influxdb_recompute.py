#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_recompute
short_description: Compute figures over intervals again that a point-in-time recovery removed
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - M(platform3.recovery.influxdb_restore) removes the candles of the interval that its target lies in, since they may
    have been computed from points after it. This runs the Flux script that computes them from the points that are left.
  - Computing twice is the same as once, as long as the script writes the same series and times.
  - Figures without a script are left to whoever computes them; RV(left) names them.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.aggregates
options:
  url:
    description: Address of the server.
    type: str
    required: true
  token:
    description: The current operator token.
    type: str
    required: true
  organisation:
    description: Organisation that the scripts run in.
    type: str
    required: true
  recompute:
    description: What to compute again, as M(platform3.recovery.influxdb_restore) returned it.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would be computed.
"""

EXAMPLES = r"""
- name: resume | Compute the candles again that the target cut
  platform3.recovery.influxdb_recompute:
    fence: "{{ recovery_fence }}"
    url: http://127.0.0.1:8086
    token: "{{ influxdb_token }}"
    organisation: forex-trading
    recompute: "{{ __influxdb_restore.recompute }}"
    aggregates: "{{ influxdb_aggregates }}"
"""

RETURN = r"""
evidence:
  description: Under C(recomputed), for each script that ran, C(bucket), C(from), C(to) and how many C(values) it wrote.
  returned: success
  type: dict
left:
  description: Buckets whose figures nobody computed again here.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_target import AGGREGATE_OPTIONS
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "organisation": {"type": "str", "required": True},
    "recompute": {"type": "list", "elements": "dict", "default": []},
    "aggregates": {"type": "list", "elements": "dict", "default": [], "options": AGGREGATE_OPTIONS},
}


def scripts_of(
    wanted: Sequence[Mapping[str, Any]], aggregates: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[dict[str, str], str]], list[str]]:
    """What is computed (bucket, from, to) with its script, and the buckets that have none."""
    texts = {str(one["bucket"]): str(one["flux"]) for one in aggregates}
    scripts, left = [], []
    for one in wanted:
        told = {name: str(one[name]) for name in ("bucket", "from", "to")}
        text = texts.get(told["bucket"], "")
        if text:
            scripts.append((told, text.replace("%(from)s", told["from"]).replace("%(to)s", told["to"])))
        else:
            left.append(told["bucket"])
    return scripts, left


def compute(api: InfluxApi, organisation_id: str, told: Mapping[str, str], script: str) -> dict[str, Any]:
    """Run a script; gives what was computed and how many values were written. RecoveryError PRC-714."""
    try:
        rows = api.query(organisation_id, script)
    except RecoveryError as error:
        raise RecoveryError(
            "PRC-714",
            f"compute the figures of bucket {told['bucket']} from {told['from']} to {told['to']} again",
            error.found,
            "the points are as they were at the target; figures of the interval that it lies in are missing",
            "correct flux in influxdb_aggregates, or leave it out",
        ) from None
    return {**told, "values": len(rows)}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    scripts, left = scripts_of(given["recompute"], given["aggregates"])
    if module.check_mode or not scripts:
        return {"changed": bool(scripts), "left": left, "evidence": {"recomputed": [told for told, _ in scripts]}}
    api = InfluxApi(given["url"], given["token"])
    try:
        organisation_id = str(api.json(f"/api/v2/orgs?org={given['organisation']}")["orgs"][0]["id"])
        done = [compute(api, organisation_id, told, script) for told, script in scripts]
    finally:
        api.close()
    return {"changed": True, "left": left, "evidence": {"recomputed": done}}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
