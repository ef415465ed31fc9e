# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RTO, RPO and downtime of a recovery against their objectives; pure, from the history that the journal tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    DATASTORES,
    History,
    component_state,
    gateway_opened,
    latest_steps,
    trade_read_back,
    verifications,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

RTO_NAMES = ("complete_system", "postgresql", "redis", "influxdb", "app_services")
RPO_NAMES = ("trading_transactions", "market_data", "user_sessions", "configuration", "analytics_data")

# Which component holds a type of data, where recovery_objectives does not say it.
HELD_BY = {
    "trading_transactions": "postgresql",
    "market_data": "influxdb",
    "user_sessions": "redis",
    "configuration": "configuration",
    "analytics_data": "influxdb",
}

Objectives = Mapping[str, Any]


def rto_verdict(seconds: float | None, target: float | None, maximum: float | None) -> str:
    """met up to target, late up to maximum, missed beyond; not_measured without a figure or a target.

    Without a maximum, what is past the target is missed.
    """
    if seconds is None or target is None:
        return "not_measured"
    if seconds <= target:
        return "met"
    return "late" if maximum is not None and seconds <= maximum else "missed"


def rpo_verdict(seconds: float | None, target: float | None) -> str:
    """met up to target, missed beyond; not_measured without a figure or a target."""
    if seconds is None or target is None:
        return "not_measured"
    return "met" if seconds <= target else "missed"


def recovery_times(history: History, objectives: Objectives, components: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The report's `rto`: for the complete system and each component seconds, target, maximum and verdict.

    All run from the start of the first run. A datastore's ends with its last verify, once that proved it good;
    app_services' and complete_system's with the trade read back. What was not asked for is not measured. What has not
    come back has no seconds; it is missed as soon as its maximum has passed.
    """
    targets = _table(objectives, "rto")
    trade = trade_read_back(history)
    times: dict[str, dict[str, Any]] = {}
    for name in RTO_NAMES:
        target, maximum = (
            _seconds(targets, "rto", name, "target_seconds"),
            _seconds(targets, "rto", name, "maximum_seconds"),
        )
        ended = _verified_at(history, name) if name in DATASTORES else trade
        asked = name in components or (name == "complete_system" and "app_services" in components)
        seconds = round(ended, 3) if asked and ended is not None else None
        verdict = rto_verdict(seconds, target, maximum)
        limit = maximum if maximum is not None else target
        if asked and seconds is None and limit is not None and history.now > limit:
            verdict = "missed"
        times[name] = {"seconds": seconds, "target_seconds": target, "maximum_seconds": maximum, "verdict": verdict}
    return times


def _verified_at(history: History, component: str) -> float | None:
    if component_state(history, component) != "verified":
        return None
    return max(step.ended for step in verifications(history, component) if step.ended is not None)


def recovery_losses(history: History, objectives: Objectives, incident_at: str | None) -> dict[str, dict[str, Any]]:
    """The report's `rpo`: for each type of data the seconds lost at most, target, verdict and recovery point.

    seconds is incident_at less the recovery point of the component that holds the data, at least 0; null without an
    incident_at, or where nothing good came back. recovery_point is ISO 8601 UTC or null.
    """
    targets = _table(objectives, "rpo")
    losses: dict[str, dict[str, Any]] = {}
    for name in RPO_NAMES:
        target = _seconds(targets, "rpo", name, "target_seconds")
        component = str(_entry(targets, name).get("component") or HELD_BY[name])
        point = recovery_point(history, component)
        seconds = None
        if point is not None and incident_at:
            seconds = round(max(0.0, parse_iso(incident_at) - parse_iso(point)), 3)
        losses[name] = {
            "seconds": seconds,
            "target_seconds": target,
            "verdict": rpo_verdict(seconds, target),
            "recovery_point": point,
        }
    return losses


def recovery_point(history: History, component: str) -> str | None:
    """The point (ISO 8601 UTC) that a component was brought back to, None where none is known.

    It is `result.recovery_point` of the newest restore or verify step that ended well and told one. A component that
    failed afterwards has none.
    """
    if component_state(history, component) in ("failed", "unfinished"):
        return None
    for step in reversed(history.steps):
        if step.component == component and step.outcome == "ok" and step.phase in ("restore", "verify"):
            try:
                return to_iso(parse_iso(str(step.result.get("recovery_point"))))
            except ValueError:
                continue
    return None


def reached_point(history: History, component: str) -> str | None:
    """The latest instant (ISO 8601 UTC) up to which a component is proven to hold everything, None where none is known.

    Its restore tells where log or WAL were ended, its verification the newest heartbeat in the data. Each proves that
    nothing before it is missing, so the later of the two counts, as it was told: rounded to milliseconds it could lie
    behind the instant that was asked for. A loss is measured by recovery_point() instead.
    """
    if recovery_point(history, component) is None:
        return None
    told = [
        str(step.result["recovery_point"])
        for step in latest_steps(history)
        if step.component == component and step.outcome == "ok" and step.phase in ("restore", "verify")
        if _is_instant(step.result.get("recovery_point"))
    ]
    return max(told, key=parse_iso, default=None)


def _is_instant(value: object) -> bool:
    try:
        parse_iso(str(value))
    except ValueError:
        return False
    return True


def downtime_seconds(history: History, incident_at: str | None) -> float | None:
    """Seconds from the incident until customers were let in again; None while they are out, or without incident_at."""
    opened = gateway_opened(history)
    if opened is None or not incident_at:
        return None
    return round(max(0.0, history.started + opened - parse_iso(incident_at)), 3)


def check_objectives(objectives: object) -> None:
    """RecoveryError PRC-120 where recovery_objectives does not have its form."""
    if not isinstance(objectives, Mapping):
        raise _bad("rto", f"recovery_objectives is {type(objectives).__name__}, not a dictionary")
    for kind, names, fields in (
        ("rto", RTO_NAMES, ("target_seconds", "maximum_seconds")),
        ("rpo", RPO_NAMES, ("target_seconds",)),
    ):
        targets = _table(objectives, kind)
        for name in names:
            for field in fields:
                _seconds(targets, kind, name, field)


def _table(objectives: Objectives, kind: str) -> Mapping[str, Any]:
    found = objectives.get(kind) or {}
    if not isinstance(found, Mapping):
        raise _bad(kind, f"it is {type(found).__name__}, not a dictionary")
    known = RTO_NAMES if kind == "rto" else RPO_NAMES
    strange = sorted(set(found) - set(known))
    if strange:
        raise _bad(kind, f"it names {', '.join(strange)}, and knows only {', '.join(known)}")
    return found


def _entry(targets: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = targets.get(name) or {}
    return found if isinstance(found, Mapping) else {}


def _seconds(targets: Mapping[str, Any], kind: str, name: str, field: str) -> float | None:
    value = _entry(targets, name).get(field)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise _bad(f"{kind}.{name}.{field}", f"it is {value!r}, not a number of seconds")
    return int(seconds) if seconds == int(seconds) else seconds


def _bad(where: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-120",
        f"read recovery_objectives.{where}",
        found,
        "nothing was touched by this",
        "correct recovery_objectives in the inventory; inventories/lab shows its form",
    )
