# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a report says is to be done now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def next_steps(report: Mapping[str, Any], told: Mapping[str, Any], play: str, begun: bool) -> list[str]:
    """What to do now, in order: the ways on that unresolved errors name, then the command that goes on.

    told: what the first run was told; play: the scenario's playbook; begun: whether a step that may change data was.
    """
    errors = [issue for issue in report["issues"] if issue["severity"] == "error"]
    ways = list(dict.fromkeys(issue["next_step"] for issue in errors if issue["next_step"]))
    if report["outcome"] == "success":
        return ways + _after_success(report)
    if not begun:
        return _start_again(ways, told, play, report["environment"])
    goes_on = f"mend the cause, then go on with the same recovery: ansible-playbook {play} {_identity(report)}"
    return [*ways, goes_on]


def _identity(report: Mapping[str, Any]) -> str:
    return f"-e recovery_id={report['recovery_id']} -e recovery_confirm={report['environment']}"


def _after_success(report: Mapping[str, Any]) -> list[str]:
    advice = []
    if report["scenario"] == "point_in_time":
        advice += ["see that the full backup that follows is complete: sets of what was undone are refused"]
    if any(component["quarantined"] for component in report["components"]):
        advice += [
            "the data from before is in quarantine; once nobody needs it, free its space: "
            f"ansible-playbook playbooks/release_quarantine.yml {_identity(report)}",
        ]
    return advice


def _start_again(ways: list[str], told: Mapping[str, Any], play: str, environment: str) -> list[str]:
    """What to change, then the one way on of a recovery that touched nothing: a new one."""
    last = "nothing was touched; mend the cause, then start it again"
    if told.get("scenario") == "partial":
        # The journal has what was made of recovery_components and the choice of parts, not how that was typed.
        return [*ways, f"{last} by the same command"]
    goal = {"recovery_confirm": environment, **_goal(told)}
    return [
        *ways,
        f"{last}: ansible-playbook {play} {' '.join(f'-e {name}={given}' for name, given in goal.items())}",
    ]


def _goal(told: Mapping[str, Any]) -> dict[str, str]:
    """The input that says to when the platform is brought back, as it is typed; a full recovery has none."""
    wal = told.get("wal_target")
    if wal:
        return {f"recovery_target_{wal['kind']}": str(wal["value"])}
    if told.get("point_name"):
        return {"recovery_point_name": str(told["point_name"])}
    return {"recovery_target_time": str(told["target_time"])} if told.get("target_time") else {}
