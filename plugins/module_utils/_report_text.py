# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as text: the card for the terminal and the event log in Markdown. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import DATASTORES
from ansible_collections.platform3.recovery.plugins.module_utils._objectives import HELD_BY
from ansible_collections.platform3.recovery.plugins.module_utils._report import NOT_RUN, SCENARIOS, Report, label
from ansible_collections.platform3.recovery.plugins.module_utils._report_undone import (
    NOT_MADE,
    amount_rows,
    card_value,
    first_rows_note,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import short, span

CARD_WIDTH = 100
HEADLINES = {"success": "RECOVERY SUCCEEDED", "partial": "RECOVERY IS PARTIAL", "failed": "RECOVERY FAILED"}


def card(report: Report, shown_path: str = "") -> list[str]:
    """The end of the run on the terminal: about a dozen lines of CARD_WIDTH characters, plain ASCII.

    Only a command or a path may be longer: they are there to be copied.
    """
    name, _play = SCENARIOS.get(report["scenario"], (report["scenario"], ""))
    incident = f", incident {report['incident_id']}" if report["incident_id"] else ""
    asked = {one["name"]: one for one in report["components"]}
    lines = [f"== {HEADLINES[report['outcome']]} ==".ljust(CARD_WIDTH, "=")]
    lines += _row("recovery", f"{report['recovery_id']}, {name} of {report['environment']}{incident}")
    fetched = ", fetched from the second copy" if report["evidence"].get("second_copy") else ""
    lines += _row("backup set", f"{report['backup_set'] or 'none'}{fetched}; {_downtime(report)}")
    for key in ("complete_system", *DATASTORES, "app_services"):
        if key in asked or (key == "complete_system" and "app_services" in asked):
            time = report["rto"][key]
            took = f"{span(time['seconds'])} of {span(time['target_seconds'])}, {_verdict(time)}"
            lines += _row(label(key).lower(), f"{took:<26}{_beside(report, key, asked.get(key))}")
    for key, what in (report["evidence"].get("chosen_parts") or {}).items():
        lines += _row(f"only of {label(key)}", what)
    slowest = report["timing"]["slowest_step"]
    slow = f"; slowest: {slowest['phase']} {slowest['component']} {span(slowest['seconds'])}" if slowest else ""
    lines += _row("checks", f"{check_count(report)}{slow}")
    if report["undone"] is not None:
        lines += _to_copy("undone", card_value(report["undone"], shown_path))
    errors = [one for one in report["issues"] if one["severity"] == "error"]
    # What was not run for another step's sake is in the report; a code tells a reason of its own, such as a fence.
    causes = [one for one in errors if one["code"] or not one["message"].startswith(NOT_RUN)]
    for issue in (causes or errors)[:2]:
        lines += _row("error", f"{issue['code'] + ' ' if issue['code'] else ''}{issue['message']}")
    for advice in dict.fromkeys(report["next_steps"][:1] + report["next_steps"][-1:]):
        lines += _to_copy("next", advice)
    if shown_path:
        lines += _to_copy("report", shown_path)
    lines.append("=" * CARD_WIDTH)
    return lines


def _row(name: str, value: str) -> list[str]:
    """One line, or two where it is longer; what does not fit into two is cut."""
    plain = _line(value).encode("ascii", "replace").decode() if "  " not in value else value.rstrip()
    wrapped = textwrap.wrap(plain, CARD_WIDTH - 23, max_lines=2, placeholder=" ...", drop_whitespace=True) or ["-"]
    return [f"  {name if number == 0 else '':<21}{line}" for number, line in enumerate(wrapped)]


def _to_copy(name: str, value: str) -> list[str]:
    """A line that must not be cut; its command goes on a line of its own."""
    head, mark, command = value.partition("ansible-playbook ")
    if not mark:
        return [f"  {name:<21}{value}"]
    return (_row(name, head) if head else [f"  {name}"]) + [f"    {mark}{command}"]


def _verdict(row: Mapping[str, Any]) -> str:
    return str(row["verdict"]).replace("_", " ")


def verdict(report: Report, name: str, row: Mapping[str, Any]) -> str:
    """The verdict on a component or type of data, in words; what a partial recovery did not touch was left alone."""
    there = {one["name"] for one in report["components"]}
    untouched = name != "complete_system" and HELD_BY.get(name, name) not in there
    return "left alone" if report["scenario"] == "partial" and untouched else _verdict(row)


def _downtime(report: Report) -> str:
    if report["downtime_seconds"] is not None:
        without = "some services were away" if report["scenario"] == "partial" else "customers were out"
        return f"{without} for {span(report['downtime_seconds'])}"
    return "customers are in" if report["timing"]["opened_seconds"] is not None else "customers are not in"


def _beside(report: Report, name: str, component: Mapping[str, Any] | None) -> str:
    """What stands behind a component's time on the card: its state and the data lost."""
    if component is None:
        timing = report["timing"]
        return (
            f"orchestration {span(timing['orchestration_seconds'])}, of it checking {span(timing['checking_seconds'])}"
        )
    losses = [
        (loss, key) for key, loss in report["rpo"].items() if HELD_BY[key] == name and loss["seconds"] is not None
    ]
    lost = ""
    if losses:
        worst = max((loss for loss, _key in losses), key=lambda loss: loss["seconds"] / (loss["target_seconds"] or 1))
        lost = f", lost at most {span(worst['seconds'])} of {span(worst['target_seconds'])}, {_verdict(worst)}"
    return str(component["state"]).replace("_", " ") + lost


def check_count(report: Report) -> str:
    """`20 of 20 good`."""
    good = sum(1 for check in report["checks"] if check["ok"])
    return f"{good} of {len(report['checks'])} good"


def markdown(report: Report) -> str:
    """The report as a recovery event log in Markdown."""
    name, _play = SCENARIOS.get(report["scenario"], (report["scenario"], ""))
    affected = ", ".join(label(one["name"]) for one in report["components"]) or "none"
    facts = [
        ("Incident", report["incident_id"] or "not given"),
        ("Type", report["incident_type"] or name),
        ("Recovery", report["recovery_id"]),
        ("Environment", report["environment"]),
        ("Affected components", affected),
        *((f"Only of {label(key)}", what) for key, what in (report["evidence"].get("chosen_parts") or {}).items()),
        ("Incident at", short(report["incident_at"]) if report["incident_at"] else "not known"),
        ("Recovery started", short(report["started_at"])),
        ("Recovery ended", short(report["finished_at"])),
        ("Downtime", _downtime(report)),
        ("Data loss", _worst_loss(report)),
        ("Backup set", report["backup_set"] or "none"),
        ("Outcome", f"**{report['outcome']}**"),
    ]
    lines = [f"# Recovery event log: {_cell(report['recovery_id'])}", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in facts]
    lines += [
        "",
        "## Recovery time",
        "",
        "| component | time | target | maximum | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, time in report["rto"].items():
        limits = f"{span(time['target_seconds'])} | {span(time['maximum_seconds'])}"
        lines.append(f"| {label(key)} | {span(time['seconds'])} | {limits} | {verdict(report, key, time)} |")
    lines += [
        "",
        "## Data loss",
        "",
        "| data | lost at most | allowed | recovery point | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, loss in report["rpo"].items():
        amount = f"{span(loss['seconds'])} | {span(loss['target_seconds'])} | {short(loss['recovery_point'])}"
        lines.append(f"| {label(key)} | {amount} | {verdict(report, key, loss)} |")
    if report["undone"] is not None:
        lines += _undone(report["undone"])
    lines += [
        "",
        "## Course of events",
        "",
        "| at | phase | component | took | ended |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in report["phases"]:
        what = f"{short(row['started_at'])} | {_cell(row['name'])} | {_cell(label(row['component']))}"
        lines.append(f"| {what} | {span(row['seconds'])} | {row['outcome']} |")
    lines += ["", "## Checks", "", f"{check_count(report)}.", ""]
    bad = [check for check in report["checks"] if not check["ok"]]
    if bad:
        lines += ["| check | component | expected | found |", "| --- | --- | --- | --- |"]
        for check in bad:
            figures = f"{_cell(check['expected'])} | {_cell(check['found'])}"
            lines.append(f"| {_cell(check['name'])} | {_cell(label(check['component']))} | {figures} |")
        lines.append("")
    if report["measurements"]:
        lines += ["## Measured", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in flat_rows(report["measurements"])] + [""]
    lines += ["## Issues", ""]
    for issue in report["issues"]:
        mended = " (resolved by a later run)" if issue["resolved"] else ""
        code = f"{issue['code']} " if issue["code"] else ""
        lines.append(
            f"- **{issue['severity']}**{mended} {_text(label(issue['component']))}: {_text(code + issue['message'])}"
        )
    if not report["issues"]:
        lines.append("None.")
    lines += ["", "## Next steps", ""]
    lines += [f"- {_text(one)}" for one in report["next_steps"]] or ["None."]
    lines += ["", "## Lessons", ""]
    lines += [f"- {_text(one)}" for one in report["lessons"]]
    lines += ["- (to be added by the people who were there)", "", "## Evidence", "", "| | |", "| --- | --- |"]
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in flat_rows(report["evidence"])]
    return "\n".join(lines) + "\n"


def _undone(listings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The loss statement: a row a kind, then the first rows of each."""
    lines = ["", "## Undone by the cut", ""]
    if not listings:
        return [*lines, NOT_MADE]
    lines += ["| what | undone | amount | file |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in amount_rows(listings)]
    for one in listings:
        if one["first"]:
            names = list(one["first"][0])[1:]
            lines += ["", f"### {_cell(one['kind']).capitalize()}", "", f"| {' | '.join(names)} |"]
            lines += [f"| {' | '.join('---' for _ in names)} |"]
            lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in one["first"]]
            lines += ["", first_rows_note(one)] if first_rows_note(one) else []
    return lines


def _worst_loss(report: Report) -> str:
    told = [(loss["seconds"], key) for key, loss in report["rpo"].items() if loss["seconds"] is not None]
    if not told:
        return "not measured"
    seconds, key = max(told)
    return f"at most {span(seconds)} ({label(key).lower()})"


def flat_rows(nested: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A nested dictionary as pairs of name and value for a table; nested names are joined, empty values left out."""
    rows: list[tuple[str, str]] = []

    def flatten(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                flatten(f"{prefix} {key}".strip(), inner)
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            for number, one in enumerate(value, start=1):
                named = isinstance(one, Mapping) and (one.get("name") or one.get("call"))
                flatten(f"{prefix} {named or number}", {k: v for k, v in one.items() if v != named} if named else one)
        elif value not in (None, "", []):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((prefix.replace("_", " "), shown))

    flatten("", nested)
    return rows


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _text(value: object) -> str:
    return _line(value).replace("<", "&lt;")


def _cell(value: object) -> str:
    return _text(value).replace("\\", "\\\\").replace("|", "\\|")
