# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as one page: no script, nothing loaded from elsewhere, made to be read, printed and filed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import COMPONENTS
from ansible_collections.platform3.recovery.plugins.module_utils._report import SCENARIOS, Report, label
from ansible_collections.platform3.recovery.plugins.module_utils._report_text import check_count, flat_rows, verdict
from ansible_collections.platform3.recovery.plugins.module_utils._report_timeline import timeline
from ansible_collections.platform3.recovery.plugins.module_utils._report_undone import (
    NOT_MADE,
    amount_rows,
    first_rows_note,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import short, span

_HEADLINES = {
    "success": (
        "✓",
        "Recovered and proven",
        "All that was asked for is verified, a trade was read back, customers are in.",
    ),
    "partial": ("!", "Partly recovered", "At least one datastore is verified; the platform as a whole is not proven."),
    "failed": ("✕", "Not recovered", "No datastore is verified. “Next steps” lists what to do."),
}
_KINDS = {"met": "good", "late": "warn", "missed": "bad", "error": "bad", "warning": "warn", "ok": "good"}
_ENDS = {**_KINDS, "failed": "bad", "refused": "bad", "unfinished": "bad"}

_STYLE = """
:root{--ink:#17212b;--soft:#5a6875;--line:#d9e0e6;--paper:#fff;--wash:#f4f6f8;
--good:#0b6e4f;--good-wash:#e3f4ec;--warn:#8a5a00;--warn-wash:#fdf1d8;--bad:#a3202b;--bad-wash:#fbe5e6;
--assess:#7d8b99;--isolate:#b0671d;--restore:#1f66b0;--verify:#2c8f83;--resume:#7a58b5;--validate:#4b8a2f;
--report:#a7b1ba;--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);font:15px/1.5 var(--sans);
-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:1060px;margin:0 auto;background:var(--paper);padding:40px 48px 56px;border:1px solid var(--line);
border-top:0}
h1{font-size:27px;line-height:1.2;margin:0 0 2px;letter-spacing:-.01em}
h2{font-size:17px;margin:40px 0 10px;padding-bottom:6px;border-bottom:2px solid var(--ink)}
h3{font-size:14px;margin:18px 0 2px}
p{margin:0 0 10px}.soft{color:var(--soft)}.note{color:var(--soft);font-size:13px;margin-top:8px}
.kicker{font-size:12px;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin-bottom:18px;
display:flex;justify-content:space-between;gap:16px}
.banner{display:flex;gap:18px;align-items:center;padding:20px 24px;border-radius:6px;border-left:8px solid}
.banner .mark{font-size:34px;font-weight:700;line-height:1;width:36px;text-align:center}
.banner p{margin:0}
.success{background:var(--good-wash);border-color:var(--good)}.success .mark,.success h1{color:var(--good)}
.partial{background:var(--warn-wash);border-color:var(--warn)}.partial .mark,.partial h1{color:var(--warn)}
.failed{background:var(--bad-wash);border-color:var(--bad)}.failed .mark,.failed h1{color:var(--bad)}
.figures{display:grid;grid-template-columns:repeat(4,1fr);border:1px solid var(--line);border-radius:6px;
margin:20px 0 0}
.figures div{padding:14px 18px;border-left:1px solid var(--line)}.figures div:first-child{border-left:0}
.figures b{display:block;font-size:25px;line-height:1.25;font-variant-numeric:tabular-nums}
.figures span{font-size:13px;color:var(--soft);display:block}
dl{display:grid;grid-template-columns:150px 1fr 150px 1fr;gap:6px 18px;margin:22px 0 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}dd.wide{grid-column:2/-1}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--soft);font-size:12.5px;border-bottom:1px solid var(--ink);
padding:6px 14px 6px 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:7px 14px 7px 0;vertical-align:top;overflow-wrap:anywhere}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-right:18px}
.name{white-space:nowrap}.half{width:22%}.bar{width:30%}
tr.total td{font-weight:600}
.tag{display:inline-block;padding:1px 9px;border-radius:10px;font-size:12.5px;font-weight:600;white-space:nowrap}
.tag.good{background:var(--good-wash);color:var(--good)}.tag.warn{background:var(--warn-wash);color:var(--warn)}
.tag.bad{background:var(--bad-wash);color:var(--bad)}.tag.none{background:var(--wash);color:var(--soft)}
code{font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;
white-space:pre-wrap}
ol,ul{margin:0;padding-left:20px}li{margin:0 0 6px}
svg{display:block;width:100%;height:auto;margin:4px 0 8px}svg.gauge{height:18px;margin:0}
svg text{font:12px var(--sans);fill:var(--ink)}svg .soft{fill:var(--soft)}svg .mark{fill:var(--good);font-weight:600}
svg .in{fill:#fff}svg .bad{fill:var(--bad)}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft)}
.key i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
footer{margin-top:44px;padding-top:12px;border-top:1px solid var(--line);font-size:12.5px;color:var(--soft)}
@media screen and (max-width:760px){main{padding:20px 16px}.figures{grid-template-columns:1fr 1fr}
.figures div{border-top:1px solid var(--line)}dl{grid-template-columns:120px 1fr}}
@page{size:A4;margin:14mm 12mm}
@media print{body{background:#fff;font-size:11.5px}main{border:0;padding:0;max-width:none}
h2{break-after:avoid;margin-top:24px}tr,li,.banner,.figures,svg{break-inside:avoid}
table.few{break-inside:avoid}
thead{display:table-header-group}table,dl{font-size:11px}.tag,th,.note{font-size:10px}
.figures b{font-size:19px}code{font-size:10px}}
"""


def page(report: Report) -> str:
    """The whole page."""
    title = f"Recovery {report['recovery_id']}: {report['outcome']}"
    sections = [
        ("Recovery time", _rto(report)),
        ("Data loss", _rpo(report)),
        ("Undone by the cut", _undone(report["undone"])),
        ("Course of the recovery", timeline(report)),
        ("Issues", _issues(report)),
        ("Next steps", _list(report["next_steps"], "ol")),
        ("Checks", _checks(report)),
        ("Where the time went", _timing(report)),
        ("Measured", _measured(report)),
        ("Lessons", _list(report["lessons"], "ul")),
        ("Evidence", _evidence(report)),
        ("All steps", _steps(report)),
        ("All checks", _all_checks(report)),
    ]
    body = "".join(f"<section><h2>{title}</h2>\n{content}</section>\n" for title, content in sections if content)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{_head(report)}{body}"
        f"<footer>Made from the journal of {escape(report['recovery_id'])} by platform3.recovery, "
        f"report schema {report['schema_version']}. All times are UTC. The same figures are in report.json.</footer>\n"
        "</main></body></html>\n"
    )


# --- pieces. A cell is (class, html) or html; text is escaped where a cell is made ------------------------------------


def _table(headers: Sequence[Any], rows: Sequence[Sequence[Any]], total: int = -1) -> str:
    """A table; the row with number total is set in bold. No headers: a table of names and values."""

    def cells(name: str, row: Sequence[Any]) -> str:
        pairs = [one if isinstance(one, tuple) else ("", one) for one in row]
        return "".join(f'<{name} class="{kind}">{html}</{name}>' for kind, html in pairs)

    head = f"<thead><tr>{cells('th', headers)}</tr></thead>" if headers else ""
    body = "".join(
        f"<tr{' class=total' if number == total else ''}>{cells('td', row)}</tr>\n" for number, row in enumerate(rows)
    )
    return f"<table{' class=few' if len(rows) < 9 else ''}>{head}<tbody>\n{body}</tbody></table>\n"


def _tag(text: str, kind: str | None = None) -> str:
    return f'<span class="tag {kind or _ENDS.get(text, "none")}">{escape(text.replace("_", " "))}</span>'


def _list(items: Sequence[str], name: str) -> str:
    return f"<{name}>{''.join(f'<li>{_with_command(item)}</li>' for item in items)}</{name}>\n" if items else ""


def _with_command(text: str) -> str:
    """Text with the command to copy, if there is one, in its own type."""
    before, mark, command = text.partition("ansible-playbook ")
    return f"{escape(before)}<code>{escape(mark + command)}</code>" if mark else escape(text)


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>\n'


def _names_and_values(nested: Mapping[str, Any]) -> str:
    rows = [(("name", escape(name)), f"<code>{escape(value)}</code>") for name, value in flat_rows(nested)]
    return _table((), rows) if rows else ""


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return escape(str(value))


# --- sections --------------------------------------------------------------------------------------------------------


def _head(report: Report) -> str:
    mark, headline, meaning = _HEADLINES[report["outcome"]]
    scenario = SCENARIOS[report["scenario"]][0]
    facts = [
        ("Recovery", report["recovery_id"]),
        ("Incident", report["incident_id"] or "not given"),
        ("Environment", report["environment"]),
        ("Type", report["incident_type"] or scenario),
        ("Incident at", short(report["incident_at"]) if report["incident_at"] else "not known"),
        ("Backup set", report["backup_set"] or "none"),
        ("Started", short(report["started_at"])),
        ("Ended", short(report["finished_at"])),
    ]
    pairs = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    only = "".join(
        f'<dt>Only of {escape(label(name))}</dt><dd class="wide">{escape(what)}</dd>'
        for name, what in (report["evidence"].get("chosen_parts") or {}).items()
    )
    affected = ", ".join(label(one["name"]) for one in report["components"]) or "none"
    figures = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(text)}</span></div>" for value, text in _figures(report)
    )
    kicker = f"{scenario} · {report['environment']}"
    return (
        f'<div class="kicker"><span>Platform3 recovery report</span><span>{escape(kicker)}</span></div>\n'
        f'<div class="banner {report["outcome"]}"><div class="mark">{mark}</div>'
        f"<div><h1>{headline}</h1><p>{meaning}</p></div></div>\n"
        f'<div class="figures">{figures}</div>\n'
        f'<dl>{pairs}<dt>Components</dt><dd class="wide">{escape(affected)}</dd>{only}</dl>\n'
    )


def _figures(report: Report) -> list[tuple[str, str]]:
    """The four figures to be seen first, each with what it is."""
    timing = report["timing"]
    target = span(report["rto"]["complete_system"]["target_seconds"])
    trade, down = timing["first_trade_seconds"], report["downtime_seconds"]
    losses = [loss["seconds"] for loss in report["rpo"].values() if loss["seconds"] is not None]
    partial = report["scenario"] == "partial"
    out = "customers are not in" if timing["opened_seconds"] is None else "downtime not measured"
    return [
        (span(trade), "no trade was read back" if trade is None else f"to the first trade, target {target}"),
        (span(down), out if down is None else f"downtime {'of some services' if partial else 'for customers'}"),
        (span(max(losses, default=None)), "data loss at most" if losses else "data loss not measured"),
        (check_count(report).replace(" of ", "/").replace(" good", ""), "checks good"),
    ]


def _rto(report: Report) -> str:
    headers = ["Component", ("number", "Time"), ("number", "Target"), ("number", "Maximum")]
    headers += [("bar", "Time against target and maximum"), "Verdict"]
    rows = [
        (
            escape(label(name)),
            ("number", span(time["seconds"])),
            ("number", span(time["target_seconds"])),
            ("number", span(time["maximum_seconds"])),
            _gauge(time),
            _tag(verdict(report, name, time)),
        )
        for name, time in report["rto"].items()
    ]
    return _table(headers, rows, total=list(report["rto"]).index("complete_system")) + _note(
        "From the start of the first run: a datastore’s to the end of its last verification, the others’ to the "
        "trade read back through the gateway."
    )


def _gauge(time: Mapping[str, Any]) -> str:
    """A bar of the time, with ticks at target and maximum; the maximum is at 92 % of the width."""
    limit = time["maximum_seconds"] or time["target_seconds"]
    if not limit or time["seconds"] is None:
        return ""
    scale = 92.0 / limit
    width = min(100.0, max(0.8, time["seconds"] * scale))
    colour = {"met": "--good", "late": "--warn", "missed": "--bad"}.get(time["verdict"], "--report")
    ticks = "".join(
        f'<rect x="{value * scale:.2f}%" y="1" width="1.5" height="16" fill="var(--ink)"/>'
        for value in (time["target_seconds"], time["maximum_seconds"])
        if value
    )
    return (
        '<svg class="gauge" height="18" role="img"><rect y="5" width="100%" height="8" rx="2" fill="var(--wash)"/>'
        f'<rect y="5" width="{width:.2f}%" height="8" rx="2" fill="var({colour})"/>{ticks}</svg>'
    )


def _rpo(report: Report) -> str:
    rows = [
        (
            escape(label(name)),
            ("number", span(loss["seconds"])),
            ("number", span(loss["target_seconds"])),
            ("name", escape(short(loss["recovery_point"]))),
            _tag(verdict(report, name, loss)),
        )
        for name, loss in report["rpo"].items()
    ]
    note = "The time of the incident is not known, so the loss could not be measured."
    point = report["evidence"].get("point_in_time")
    if point:
        asked = ", ".join([short(point["asked"]), *([f"of {point['asked_as']}"] if "asked_as" in point else [])])
        note = f"Lost is what lies between the recovery point and the instant asked for ({escape(asked)})."
    elif report["incident_at"]:
        at = escape(short(report["incident_at"]))
        note = f"Lost is at most what was written between the recovery point and the incident ({at} at the latest)."
    return _table(
        ["Data", ("number", "Lost at most"), ("number", "Allowed"), "Recovery point", "Verdict"], rows
    ) + _note(note)


def _undone(listings: Sequence[Mapping[str, Any]] | None) -> str:
    """The loss statement of a recovery to a point in time: a row a kind, then the first rows of each."""
    if listings is None:
        return ""
    if not listings:
        return f"<p>{NOT_MADE}</p>\n"
    rows = [
        (escape(kind), ("number", escape(count)), ("number", escape(total)), f"<code>{escape(where)}</code>")
        for kind, count, total, where in amount_rows(listings)
    ]
    text = _table(["What", ("number", "Undone"), ("number", "Amount"), "File, or why it is not known"], rows)
    for one in listings:
        if one["first"]:
            names = list(one["first"][0])[1:]
            shown = [[_listed(name, str(row[name])) for name in names] for row in one["first"]]
            text += f"<h3>{escape(str(one['kind']).capitalize())}</h3>"
            text += _table([escape(name.capitalize()) for name in names], shown)
            text += _note(first_rows_note(one)) if first_rows_note(one) else ""
    return text + _note(
        "What was committed behind the point and is not in the recovered data, from the data in quarantine. "
        "Market data is not listed."
    )


def _listed(name: str, value: str) -> str | tuple[str, str]:
    """A cell of the loss statement: times and numbers stay on one line, a digest or details may not have the room."""
    if name == "details" or len(value) > 30:
        return escape(value)
    return ("number" if name == "amount" else "name", escape(value))


def _issues(report: Report) -> str:
    rows = []
    for issue in report["issues"]:
        what = f"<code>{escape(str(issue['code']))}</code> " if issue["code"] else ""
        what += escape(issue["message"])
        if issue["data"]:
            what += f'<br><span class="soft">Data: {escape(str(issue["data"]))}.</span>'
        tag = _tag("resolved", "good") if issue["resolved"] else _tag(issue["severity"])
        where = " / ".join(part for part in (issue["phase"], label(issue["component"])) if part)
        rows.append((("name", tag), ("name", escape(where)), what))
    return _table(["", "Where", "What"], rows) if rows else "<p>None.</p>"


def _checks(report: Report) -> str:
    """How many checks of each component are good, and each one that is not."""
    if not report["checks"]:
        return "<p>None was made: nothing is proven.</p>"
    names = sorted({check["component"] for check in report["checks"]}, key=_place)
    rows = []
    for name in names:
        own = [check["ok"] for check in report["checks"] if check["component"] == name]
        tag = _tag("good", "good") if all(own) else _tag("not good", "bad")
        rows.append((escape(label(name)), ("number", str(sum(own))), ("number", str(len(own))), tag))
    bad = [check for check in report["checks"] if not check["ok"]]
    summary = _table(["Component", ("number", "Good"), ("number", "Made"), ""], rows)
    return summary + (_check_table(bad) if bad else _note("Every check with its figures is listed at the end."))


def _all_checks(report: Report) -> str:
    return _check_table(sorted(report["checks"], key=lambda check: _place(check["component"])))


def _place(component: str) -> int:
    return COMPONENTS.index(component) if component in COMPONENTS else len(COMPONENTS)


def _check_table(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            ("name", _tag("good", "good") if check["ok"] else _tag("not good", "bad")),
            ("name", escape(label(check["component"]))),
            escape(check["name"]),
            _value(check["expected"]),
            _value(check["found"]),
        )
        for check in checks
    ]
    headers = ["", "Component", "Check", ("half", "Expected"), ("half", "Found")]
    return _table(headers, rows) if rows else ""


def _timing(report: Report) -> str:
    timing = report["timing"]
    trade = timing["first_trade_seconds"]
    until = "to the end of the run" if trade is None else "to the first trade"
    rows = [
        ("From the start of the first run to the first trade", trade),
        ("From the start of the first run to customers let in", timing["opened_seconds"]),
        (f"Orchestration, {until}: nothing copied, hashed, replayed or started", timing["orchestration_seconds"]),
        ("of it verify and validate comparing what came back", timing["checking_seconds"]),
        ("Saved by restoring and verifying datastores at once", timing["overlap_seconds"]),
    ]
    slowest = timing["slowest_step"]
    if slowest:
        text = f"Slowest step: {slowest['phase']} of {label(slowest['component'])}, {slowest['name']}"
        rows.append((text, slowest["seconds"]))
    table = [(escape(name), ("number", span(seconds))) for name, seconds in rows]
    parts = sorted(timing["work_seconds"].items(), key=lambda part: -part[1])
    listed = ", ".join(f"{name.replace('_', ' ')} {span(seconds)}" for name, seconds in parts)
    return _table((), table) + (_note(f"Parts of all steps together: {escape(listed)}.") if listed else "")


def _measured(report: Report) -> str:
    """Lists of rows as tables of their own, the rest as names and values."""
    measured = report["measurements"]
    rest, tables = {}, ""
    for name, value in measured.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            columns = list(value[0])
            rows = [[_value(one.get(column)) for column in columns] for one in value]
            headers = [escape(str(column).replace("_", " ").capitalize()) for column in columns]
            tables += f"<h3>{escape(name.replace('_', ' ').capitalize())}</h3>{_table(headers, rows)}"
        else:
            rest[name] = value
    return tables + _names_and_values(rest)


def _evidence(report: Report) -> str:
    journal = report["evidence"].get("journal") or {}
    note = ""
    if journal.get("bytes"):
        command = f"head -c {journal['bytes']} journal.jsonl | sha256sum"
        note = f"The journal goes on after this page; its part up to here is checked by <code>{command}</code>"
    return _names_and_values(report["evidence"]) + (_note(note) if note else "")


def _steps(report: Report) -> str:
    headers = [("number", "At"), "Phase", "Component", "Step", ("number", "Took"), "Ended"]
    rows = [
        (
            ("number", span(step["offset_seconds"])),
            escape(step["phase"]),
            ("name", escape(label(step["component"]))),
            escape(step["name"]),
            ("number", span(step["seconds"])),
            _tag(step["outcome"]),
        )
        for step in report["steps"]
    ]
    return _table(headers, rows) if rows else ""
