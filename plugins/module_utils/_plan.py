# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan that is shown before anything is touched: a pure formatter."""

from __future__ import annotations

import datetime
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import shown_parts
from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES
from ansible_collections.platform3.recovery.plugins.module_utils._live import clock
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import named
from ansible_collections.platform3.recovery.plugins.module_utils._replay import replay_line
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._wal import SEGMENT_BYTES


def plan_lines(
    preflights: dict[str, dict[str, Any]],
    chosen: dict[str, Any],
    objectives: dict[str, Any],
    inputs: dict[str, Any],
    now_seconds: float | None = None,
) -> list[str]:
    """What will be replaced, each component's recovery point, the loss to expect and the deadline.

    preflights: result of preflight_info by component (PostgreSQL's with the segments to replay and the replay figures);
    chosen: the backup set (id, manifest); inputs: normalised, with what was fetched from the second copy (second_copy)
    and, where not all of them are brought back, the datastores that are (components), chosen parts of them (parts) and
    the services that stop (stopped);
    of a point in time the target (target_time) and what it was resolved from (point_name, wal_target);
    now_seconds: this instant in seconds since 1970 (the controller's clock where left out).
    """
    now = datetime.datetime.now(datetime.timezone.utc).timestamp() if now_seconds is None else now_seconds
    incident = parse_iso(inputs["incident_at"]) if inputs.get("incident_at") else now
    deadline = now + objectives["rto"]["complete_system"]["target_seconds"]
    fetched = inputs.get("second_copy") or {}
    lines = [
        f"Recovery {inputs.get('recovery_id')} from backup set {chosen.get('id')}",
        *_target(inputs),
        *([f"The local store had no usable set: {fetched_sentence(fetched)}"] if fetched else []),
        f"Deadline {to_iso(deadline)[11:19]} UTC ({clock(deadline - now)} from now)",
        f"{'component':<14}{'is now':<37}{'recovery point':<22}expected loss",
    ]
    components = chosen.get("manifest", {}).get("components", {})
    parts = shown_parts(inputs.get("parts") or {})
    for component in DATASTORES:
        if component not in inputs.get("components", DATASTORES):
            lines.append(f"{component:<14}is left as it is")
            continue
        found = preflights.get(component, {})
        if component in parts:
            lines.append(f"{component:<14}goes on serving; of it come back only {parts[component]}")
            continue
        point = found.get("recovery_point") or components.get(component, {}).get("recovery_point")
        loss = f"up to {clock(incident - parse_iso(point))} (mm:ss)" if point else "not known"
        shown = f"{point[:19]}Z" if point else "not known"
        lines.append(f"{component:<14}{_state(found):<37}{shown:<22}{loss}")
    postgresql = preflights.get("postgresql", {})
    if postgresql.get("segments"):
        target = objectives["rto"]["postgresql"]["target_seconds"]
        lines.append(replay_line(postgresql.get("replay") or {}, target, postgresql["segments"] * SEGMENT_BYTES))
    lines.append(f"{'app_services':<14}{_services(preflights.get('app_services', {}), inputs.get('stopped'))}")
    return lines


def _target(inputs: dict[str, Any]) -> list[str]:
    """The point in time that it goes to, and what that was resolved from."""
    if not inputs.get("target_time"):
        return []
    of = named(inputs.get("point_name") or "", inputs.get("wal_target"))
    return [f"To {inputs['target_time']}" + (f", the instant of {of}: PostgreSQL ends exactly there" if of else "")]


def _services(found: dict[str, Any], stopped: list[str] | None) -> str:
    """What becomes of the services. stopped: those that stop where the others go on serving, else None."""
    if stopped is None:
        return "SERVING, will be replaced" if found.get("serving") else "not serving"
    return f"{', '.join(stopped) or 'none'} will stop, all others go on serving"


def fetched_sentence(fetched: dict[str, Any]) -> str:
    """What was brought from the second copy."""
    reaches = f"; it reaches {fetched['reaches']}" if fetched.get("reaches") else ""
    return (
        f"{fetched['backup_set']} was fetched from the second copy {fetched['place']}"
        f" ({fetched['bytes'] / 1e6:.0f} MB in {fetched['seconds']:.0f} s{reaches})"
    )


def _state(found: dict[str, Any]) -> str:
    if not found:
        return "preflight failed, see above"
    state = found.get("volume_state", {})
    if not state.get("environment_id") and not int(state.get("entries") or 0):
        return "gone or empty"
    owner = "ours" if state.get("environment_id") else "unmarked"
    return f"data present ({owner}), to quarantine"
