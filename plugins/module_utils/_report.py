# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a recovery: built once as a dictionary (docs/report.schema.json), everything shown is made from that.

Pure. What people see is made in _report_text.py (card, event log) and _report_html.py (page).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._barrier import touched
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import ALL_COMPONENTS
from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    DATASTORES,
    History,
    Step,
    checking_seconds,
    component_state,
    gateway_opened,
    latest_steps,
    orchestration_seconds,
    overcome,
    overlap_seconds,
    parts_of,
    slowest_step,
    told_at_start,
    trade_read_back,
)
from ansible_collections.platform3.recovery.plugins.module_utils._objectives import (
    HELD_BY,
    downtime_seconds,
    reached_point,
    recovery_losses,
    recovery_point,
    recovery_times,
)
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import named
from ansible_collections.platform3.recovery.plugins.module_utils._report_advice import next_steps
from ansible_collections.platform3.recovery.plugins.module_utils._report_parts import parts_brought_back
from ansible_collections.platform3.recovery.plugins.module_utils._report_undone import undone_of
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, span, to_iso

SCHEMA_VERSION = 1
# How the issue of steps begins that were refused.
NOT_RUN = "not run: "
SCENARIOS = {
    "full": ("full recovery", "full_recovery.yml"),
    "partial": ("partial recovery", "partial_recovery.yml"),
    "point_in_time": ("point-in-time recovery", "point_in_time_recovery.yml"),
    "drill": ("drill", "drill.yml"),
}
LABELS = {
    "complete_system": "Complete system",
    "postgresql": "PostgreSQL",
    "redis": "Redis",
    "influxdb": "InfluxDB",
    "configuration": "Configuration",
    "app_services": "Application services",
    "recovery": "Recovery",
    "backup_set": "Backup set",
    "trading_transactions": "Trading transactions",
    "market_data": "Market data",
    "user_sessions": "User sessions",
    "analytics_data": "Analytics data",
}

Report = dict[str, Any]
Issue = dict[str, Any]


def label(name: str) -> str:
    """A component's or data type's name for people."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


def build(history: History, facts: Mapping[str, Any]) -> Report:
    """The report of a recovery as a dictionary of plain data.

    facts: recovery_id, objectives, evidence (a dictionary, shown as it is), journal ({sha256, bytes, lines} of what was
    read), damaged_lines; and, where they are to differ from what the first run was told, environment, scenario,
    components (asked for), incident_id, incident_type, incident_at and backup_set (id).
    Nothing in facts or journal makes it fail: a report is always written.
    """
    issues: list[Issue] = []
    facts = {**told_at_start(history), **{name: value for name, value in facts.items() if value not in (None, "", [])}}
    scenario = facts.get("scenario")
    components = list(facts.get("components") or ALL_COMPONENTS)
    incident_at = _instant(facts.get("incident_at"), issues)
    # What a point in time undoes is wanted: what each datastore falls short of it is lost.
    measured_from = _instant(facts.get("target_time"), issues) or incident_at
    objectives = facts.get("objectives") or {}
    try:
        rto = recovery_times(history, objectives, components)
        rpo = recovery_losses(history, objectives, measured_from)
    except RecoveryError as error:
        issues.append(_issue("error", error.found, component="recovery", error=error.as_dict()))
        rto, rpo = recovery_times(history, {}, components), recovery_losses(history, {}, measured_from)
    checks = collect_checks(history)
    states = _states(history, components)
    issues += collect_issues(history, components, states, rto, rpo, list(facts.get("damaged_lines") or []))
    trade, opened = trade_read_back(history), gateway_opened(history)
    result = outcome(states, checks, issues)
    report: Report = {
        "schema_version": SCHEMA_VERSION,
        "recovery_id": str(facts.get("recovery_id") or ""),
        "incident_id": facts.get("incident_id") or None,
        "incident_type": facts.get("incident_type") or None,
        "environment": str(facts.get("environment") or ""),
        "scenario": scenario if scenario in SCENARIOS else "full",
        "outcome": result,
        "incident_at": incident_at,
        "started_at": history.instant(0.0),
        "finished_at": history.instant(history.now),
        "downtime_seconds": downtime_seconds(history, incident_at),
        "backup_set": facts.get("backup_set") or None,
        "rto": rto,
        "rpo": rpo,
        "phases": collect_phases(history),
        "checks": checks,
        "issues": issues,
        "components": [_component(history, name, state) for name, state in states.items()],
        "timing": _timing(history, trade, opened),
        "runs": _runs(history),
        "steps": [_step(history, step) for step in history.steps],
        "measurements": _measurements(history),
        "undone": undone_of(history, scenario),
        "evidence": _evidence(history, facts),
        "next_steps": [],
        "lessons": [],
    }
    play = SCENARIOS[report["scenario"]][1]
    begun = touched(history.entries, len(history.runs)) is not None
    report["next_steps"] = next_steps(report, facts, play, begun)
    report["lessons"] = _lessons(report)
    return report


def _states(history: History, components: Sequence[str]) -> dict[str, str]:
    """How far each component asked for came. Configuration that no step is about has no state."""
    states = {}
    for name in components:
        if name == "app_services":
            done = trade_read_back(history) is not None and gateway_opened(history) is not None
            states[name] = "open" if done else "closed"
        elif name != "configuration" or component_state(history, name) != "not_started":
            states[name] = component_state(history, name)
    return states


def _measurements(history: History) -> dict[str, Any]:
    """What validate recorded for later: response times, a query plan, what the containers take. The newest counts."""
    found: dict[str, Any] = {}
    for step in latest_steps(history):
        for name in ("response_times", "explain", "containers"):
            if step.result.get(name):
                found[name] = step.result[name]
    return found


def _evidence(history: History, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Evidence that was handed over, that of the journal, and what the steps themselves gave, by component."""
    evidence: dict[str, Any] = dict(facts.get("evidence") or {})
    for step in latest_steps(history):
        if step.outcome == "ok" and isinstance(step.result.get("evidence"), Mapping):
            evidence.setdefault(step.component, {}).update(step.result["evidence"])
    parts = parts_brought_back(history)
    if parts:
        evidence["chosen_parts"] = parts
    if facts.get("target_time"):
        of = named(str(facts.get("point_name") or ""), facts.get("wal_target"))
        evidence["point_in_time"] = _point_in_time(history, str(facts["target_time"]), of)
    return {**evidence, "journal": facts.get("journal") or {}}


def _point_in_time(history: History, asked: str, of: str) -> dict[str, Any]:
    """The instant that was asked for, the one that each datastore reached, and how far these are apart.

    of: the restore point, LSN or transaction that was asked for, of which that is the instant; else "".
    """
    reached = {name: reached_point(history, name) for name in DATASTORES}
    instants = [parse_iso(point) for point in reached.values() if point]
    apart = round(max(instants) - min(instants), 3) if len(instants) > 1 else None
    found = {name: point for name, point in reached.items() if point}
    return {"asked": asked, **({"asked_as": of} if of else {}), "reached": found, "skew_seconds": apart}


def outcome(states: Mapping[str, str], checks: Sequence[Mapping[str, Any]], issues: Sequence[Issue]) -> str:
    """success, partial or failed.

    success: every component asked for is verified, application services are open to customers after a trade was read
    back, every check is good and no issue is an error. partial: at least one datastore is verified. Else failed.
    """
    proven = bool(states) and all(state in ("verified", "open", "unchanged") for state in states.values())
    clean = all(check["ok"] for check in checks) and all(issue["severity"] != "error" for issue in issues)
    if proven and clean:
        return "success"
    back = [name for name, state in states.items() if name in DATASTORES and state == "verified"]
    return "partial" if back else "failed"


def _instant(value: object, issues: list[Issue]) -> str | None:
    if not value:
        return None
    try:
        return to_iso(parse_iso(str(value)))
    except ValueError as error:
        issues.append(_issue("warning", f"incident_at could not be read: {error}", component="recovery"))
        return None


def collect_checks(history: History) -> list[dict[str, Any]]:
    """The checks that stand: of each step those of the newest run it occurred in."""
    found = []
    for step in latest_steps(history):
        for one in step.checks:
            found.append(
                {
                    "name": str(one["name"]),
                    "component": str(one.get("component") or step.component),
                    "expected": one.get("expected"),
                    "found": one.get("found"),
                    "ok": one.get("ok") is True,
                    "phase": step.phase,
                }
            )
    return found


def collect_phases(history: History) -> list[dict[str, Any]]:
    """One row a run, phase and component: from its first start to its last known end."""
    rows: dict[tuple[int, str, str], list[Step]] = {}
    for step in history.steps:
        rows.setdefault((step.run, step.phase, step.component), []).append(step)
    phases = []
    for (run, phase, component), steps in rows.items():
        started = min(step.started for step in steps)
        ended = max(step.started if step.ended is None else step.ended for step in steps)
        bad = [step.outcome for step in steps if step.outcome != "ok" and not _still_reporting(history, step)]
        phases.append(
            {
                "name": phase,
                "component": component,
                "started_at": history.instant(started),
                "seconds": round(ended - started, 3),
                "offset_seconds": round(started, 3),
                "run": run,
                "outcome": bad[0] if bad else "ok",
            }
        )
    return sorted(phases, key=lambda row: (row["run"], row["offset_seconds"]))


def _still_reporting(history: History, step: Step) -> bool:
    """The report is written while its own step is at work: that one has no end yet."""
    return step.phase == "report" and step.outcome == "unfinished" and step.run == max(1, len(history.runs))


def collect_issues(
    history: History,
    components: Sequence[str],
    states: Mapping[str, str],
    rto: Mapping[str, Mapping[str, Any]],
    rpo: Mapping[str, Mapping[str, Any]],
    damaged: Sequence[int],
) -> list[Issue]:
    """What went wrong or is worth knowing, errors first. What a later run got past is a warning, marked resolved."""
    issues: list[Issue] = []
    refused: dict[str, list[Step]] = {}
    for step in latest_steps(history):
        if step.outcome == "refused":
            refused.setdefault(step.component, []).append(step)
    for step in history.steps:
        if step.outcome not in ("ok", "refused") and not _still_reporting(history, step):
            issues.append(_step_issue(history, step))
    for component, steps in refused.items():
        left = [step for step in steps if not overcome(history, step)]
        if left:
            names = ", ".join(f"{step.phase} | {step.name}" for step in left)
            message = f"{NOT_RUN}{names} ({left[0].says})"
            issues.append(_issue("error", message, component=component, phase=left[0].phase, error=left[0].error))
    for step in latest_steps(history):
        for check in step.checks:
            if check.get("ok") is not True and step.outcome == "ok":
                found = f"{check['name']}: expected {check.get('expected')}, found {check.get('found')}"
                issues.append(_issue("error", found, component=str(check.get("component")), phase=step.phase))
    blamed = {issue["component"] for issue in issues if issue["severity"] == "error"}
    for name, state in states.items():
        if state not in ("verified", "unchanged", "open", "closed") and name not in blamed:
            issues.append(_issue("error", f"{label(name)} is not verified ({state.replace('_', ' ')})", component=name))
    if "app_services" in components:
        if trade_read_back(history) is None:
            issues.append(_issue("error", "no trade was read back through the gateway", component="app_services"))
        elif gateway_opened(history) is None:
            issues.append(_issue("error", "the gateway was not opened to customers", component="app_services"))
    issues += _objective_issues(rto, rpo)
    for step in latest_steps(history):
        issues += _warnings_of(history, step)
    if damaged:
        lines = ", ".join(str(number) for number in damaged[:10])
        issues.append(_issue("warning", f"unreadable lines in the journal: {lines}", component="recovery"))
    if history.ignored:
        message = f"{history.ignored} journal entries of an outranked run are kept and do not count"
        issues.append(_issue("info", message, component="recovery"))
    issues += [_note(entry) for entry in history.entries if entry["event"] == "note"]
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(issues, key=lambda issue: order[issue["severity"]])


def _issue(
    severity: str,
    message: str,
    *,
    component: str,
    phase: str | None = None,
    at: str | None = None,
    resolved: bool = False,
    error: Mapping[str, Any] | None = None,
) -> Issue:
    told = error or {}
    return {
        "severity": severity,
        "component": component,
        "phase": phase,
        "message": message,
        "code": told.get("code"),
        "data": told.get("data"),
        "next_step": told.get("next_step"),
        "at": at,
        "resolved": resolved,
    }


def _step_issue(history: History, step: Step) -> Issue:
    mended = overcome(history, step)
    message = f"{step.name}: {step.says}"
    at = history.instant(step.started if step.ended is None else step.ended)
    severity = "warning" if mended else "error"
    return _issue(
        severity, message, component=step.component, phase=step.phase, at=at, resolved=mended, error=step.error
    )


def _warnings_of(history: History, step: Step) -> list[Issue]:
    """What a step that ended well warned of, and newer backup sets that were passed over."""
    at = history.instant(step.started)
    warnings = step.result.get("warnings_found")
    found = [
        _issue("warning", str(one), component=step.component, phase=step.phase, at=at)
        for one in (warnings if isinstance(warnings, list) else [])
    ]
    passed = step.result.get("passed_over")
    for one in passed if isinstance(passed, list) else []:
        if isinstance(one, Mapping):
            message = f"the newer backup set {one.get('id')} was passed over: {one.get('reason')}"
            found.append(_issue("warning", message, component="backup_set", phase=step.phase, at=at))
    return found


def _note(entry: Mapping[str, Any]) -> Issue:
    told = entry.get("result")
    result: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    severity = str(result.get("severity"))
    message = str(result.get("message") or entry.get("name") or "")
    return _issue(
        severity if severity in ("error", "warning", "info") else "info",
        message,
        component=str(entry.get("component") or "recovery"),
        phase=entry.get("phase") or None,
        at=entry.get("at"),
    )


def _objective_issues(rto: Mapping[str, Mapping[str, Any]], rpo: Mapping[str, Mapping[str, Any]]) -> list[Issue]:
    issues = []
    for name, time in rto.items():
        if time["verdict"] in ("late", "missed"):
            took = "is not back" if time["seconds"] is None else f"took {span(time['seconds'])}"
            limits = f"target {span(time['target_seconds'])}, maximum {span(time['maximum_seconds'])}"
            message = f"recovery time of {label(name)} {time['verdict']}: {took} ({limits})"
            issues.append(_issue("warning", message, component=name))
    for name, loss in rpo.items():
        if loss["verdict"] == "missed":
            message = (
                f"data loss of {label(name)} up to {span(loss['seconds'])}, allowed {span(loss['target_seconds'])}"
            )
            issues.append(_issue("warning", message, component=HELD_BY[name]))
    return issues


def _component(history: History, name: str, state: str) -> dict[str, Any]:
    own = [step for step in latest_steps(history) if step.component == name and step.outcome == "ok"]
    moved = sum(_whole(step.result.get("bytes")) for step in own if step.phase == "restore")
    return {
        "name": name,
        "state": state,
        "recovery_point": recovery_point(history, name),
        "bytes": moved or None,
        "quarantined": any(step.result.get("quarantined") is True for step in own),
    }


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _runs(history: History) -> list[dict[str, Any]]:
    """Each run's start and epoch; the first began before it had the lock, at offset 0."""
    offsets = [0.0, *history.later_runs]
    return [
        {
            "started_at": history.instant(offset),
            "offset_seconds": round(offset, 3),
            "epoch": run.get("epoch"),
            "holder": run.get("holder"),
        }
        for run, offset in zip(history.runs, offsets)
    ]


def _timing(history: History, trade: float | None, opened: float | None) -> dict[str, Any]:
    until = trade if trade is not None else history.now
    slowest = slowest_step(history)
    work: dict[str, float] = {}
    for step in history.steps:
        parts = parts_of(step)
        # A module that goes on after a crash tells the parts of its first attempt too: they count up to its length.
        share = min(1.0, (step.seconds or 0.0) / sum(parts.values())) if parts else 0.0
        for part, seconds in parts.items():
            work[part] = round(work.get(part, 0.0) + seconds * share, 3)
    restores = [
        (step.started, step.ended)
        for step in history.steps
        if step.component in DATASTORES and step.phase in ("restore", "verify") and step.ended is not None
    ]
    return {
        "wall_seconds": round(history.now, 3),
        "first_trade_seconds": None if trade is None else round(trade, 3),
        "opened_seconds": None if opened is None else round(opened, 3),
        "orchestration_seconds": round(orchestration_seconds(history, until), 3),
        "checking_seconds": round(checking_seconds(history, until), 3),
        "overlap_seconds": round(overlap_seconds(restores), 3),
        "work_seconds": work,
        "slowest_step": None if slowest is None else _step(history, slowest),
    }


def _step(history: History, step: Step) -> dict[str, Any]:
    return {
        "run": step.run,
        "phase": step.phase,
        "component": step.component,
        "host": step.host,
        "name": step.name,
        "started_at": history.instant(step.started),
        "offset_seconds": round(step.started, 3),
        "seconds": None if step.seconds is None else round(step.seconds, 3),
        "outcome": "running" if _still_reporting(history, step) else step.outcome,
        "changed": step.changed,
        "parts": {name: round(seconds, 3) for name, seconds in parts_of(step).items()},
    }


def _lessons(report: Report) -> list[str]:
    """What the figures alone suggest; people add theirs to report.md."""
    lessons = []
    timing = report["timing"]
    slowest = timing["slowest_step"]
    if slowest and timing["wall_seconds"]:
        share = 100 * slowest["seconds"] / timing["wall_seconds"]
        lessons.append(
            f"The slowest step was {slowest['phase']} of {label(slowest['component'])}, '{slowest['name']}': "
            f"{span(slowest['seconds'])}, {share:.0f} % of the time."
        )
    if len(report["runs"]) > 1:
        lessons.append(f"It took {len(report['runs'])} runs; the time between them is part of every figure.")
    there = {component["name"] for component in report["components"]}
    losses = [(name, loss["verdict"]) for name, loss in report["rpo"].items() if HELD_BY[name] in there]
    unmeasured = [label(name) for name, verdict in losses if verdict == "not_measured"]
    if unmeasured:
        lessons.append(f"Data loss was not measured for: {', '.join(unmeasured)}.")
    return lessons
