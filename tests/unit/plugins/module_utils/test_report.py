# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _report as reports
from ansible_collections.platform3.recovery.plugins.module_utils import _report_text as texts
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse, read_history
from ansible_collections.platform3.recovery.plugins.module_utils._report_html import page
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins import journal_samples as samples

SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
SAMPLES = {
    "full": (samples.full, "success"),
    "killed_and_resumed": (samples.killed_and_resumed, "success"),
    "one_component_failed": (samples.one_component_failed, "partial"),
}


def build(written: samples.Journal, **facts: Any) -> dict[str, Any]:
    text = written.text()
    told = {
        "recovery_id": samples.RECOVERY_ID,
        "objectives": samples.OBJECTIVES,
        "journal": {"sha256": "0" * 64, "bytes": len(text), "lines": text.count("\n")},
        "evidence": {"signed_by": "lab-backup"},
        **facts,
    }
    return reports.build(read_history(parse(text)), told)


def validate(report: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report)))


@pytest.mark.parametrize("name", SAMPLES)
def test_reports_of_the_samples_keep_to_the_schema(name: str) -> None:
    make, outcome = SAMPLES[name]
    report = build(make())
    validate(report)
    assert report["outcome"] == outcome
    assert report["backup_set"] == "20261123T050000Z" and report["incident_id"] == "INC-4711"


def test_the_schema_itself_is_one_and_refuses_what_is_missing() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    report = build(samples.full())
    for name in SCHEMA["required"]:
        less = copy.deepcopy(report)
        del less[name]
        with pytest.raises(jsonschema.ValidationError):
            validate(less)


def test_a_report_is_written_of_an_empty_journal_too() -> None:
    report = reports.build(read_history([]), {"recovery_id": "x"})
    validate(report)
    assert report["outcome"] == "failed"
    assert page(report) and texts.markdown(report) and texts.card(report)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12000), st.sampled_from(sorted(SAMPLES)))
def test_a_journal_cut_anywhere_gives_a_report_and_no_false_success(cut: int, name: str) -> None:
    make, _outcome = SAMPLES[name]
    whole = make().text()
    text = whole[:cut]
    report = reports.build(read_history(parse(text)), {"recovery_id": "x", "objectives": samples.OBJECTIVES})
    validate(report)
    assert page(report) and texts.markdown(report) and texts.card(report)
    if not any("Open the platform" in line and "step_finished" in line for line in text.splitlines()):
        assert report["outcome"] != "success"


# --- outcome ---------------------------------------------------------------------------------------------------------


def test_no_gateway_opened_is_no_success() -> None:
    written = samples.full()
    written.entries = [entry for entry in written.entries if not str(entry.get("name")).startswith("Open")]
    report = build(written)
    assert report["outcome"] == "partial"
    assert any("not opened" in issue["message"] for issue in report["issues"])


def test_no_trade_is_no_success() -> None:
    written = samples.full()
    for entry in written.entries:
        if entry.get("phase") == "validate" and "result" in entry:
            entry["result"]["checks"] = [samples.check("login", "app_services", 200, 200)]
    report = build(written)
    assert report["outcome"] == "partial"
    assert any("no trade" in issue["message"] for issue in report["issues"])
    assert report["rto"]["complete_system"]["seconds"] is None


def test_one_bad_check_in_a_step_that_ended_well_is_no_success() -> None:
    written = samples.full()
    for entry in written.entries:
        if entry.get("phase") == "assess" and entry.get("component") == "redis" and entry["event"] == "step_finished":
            entry["result"] = {"checks": [samples.check("clock", "redis", 0, 90)]}
    report = build(written)
    assert report["outcome"] == "partial"
    assert report["issues"][0]["severity"] == "error" and "clock" in report["issues"][0]["message"]


def test_nothing_verified_is_failed() -> None:
    written = samples.Journal()
    written.run_started(0.0)
    written.step(1.0, 2.0, "assess", "recovery", "Verify every byte", "step_failed", error={"message": "bit flip"})
    report = build(written)
    assert report["outcome"] == "failed"
    assert "bit flip" in report["issues"][0]["message"]


def test_what_a_later_run_got_past_is_a_resolved_warning() -> None:
    report = build(samples.killed_and_resumed())
    resolved = [issue for issue in report["issues"] if issue["resolved"]]
    assert [(issue["severity"], issue["component"]) for issue in resolved] == [("warning", "postgresql")]
    assert all(issue["severity"] != "error" for issue in report["issues"])


def test_checks_that_failed_in_a_run_that_was_mended_do_not_stand() -> None:
    written = samples.one_component_failed()
    written.run_started(100.0)
    samples.assess(written, 101.0)
    samples.isolate(written, 106.0)
    samples.restore(written, 108.0)
    samples.resume(written, 140.0)
    samples.validate(written, 150.0)
    report = build(written)
    assert report["outcome"] == "success"
    assert all(check["ok"] for check in report["checks"])


def test_a_note_that_is_an_error_is_no_success() -> None:
    written = samples.full()
    written.write(60.0, "note", component="postgresql", result={"severity": "error", "message": "slot is gone"})
    assert build(written)["outcome"] == "partial"


def test_a_partial_recovery_needs_what_was_asked_for_only() -> None:
    written = samples.Journal()
    written.run_started(0.0, components=["redis"], scenario="partial")
    samples.restore(written, only=("redis",))
    report = build(written)
    assert report["outcome"] == "success"
    assert report["rto"]["postgresql"]["verdict"] == "not_measured"


def test_the_reports_own_step_is_at_work_and_no_issue() -> None:
    written = samples.full()
    written.start(60.0, "report", "recovery", "Write the report")
    report = build(written)
    assert report["outcome"] == "success"
    assert report["steps"][-1]["outcome"] == "running"


def test_wrong_objectives_and_instants_are_issues_not_failures() -> None:
    report = build(samples.full(), objectives={"rto": {"redsi": {}}}, incident_at="yesterday")
    validate(report)
    messages = " ".join(issue["message"] for issue in report["issues"])
    assert "redsi" in messages and "yesterday" in messages
    assert report["incident_at"] is None


# --- what it holds ---------------------------------------------------------------------------------------------------


def test_datastores_overlap_in_the_phases() -> None:
    rows = {row["component"]: row for row in build(samples.full())["phases"] if row["name"] == "restore"}
    starts = [row["started_at"] for row in rows.values()]
    assert len(rows) == 3 and len(set(starts)) == 1
    assert build(samples.full())["timing"]["overlap_seconds"] > 10


def test_orchestration_is_told_beside_the_whole() -> None:
    timing = build(samples.full())["timing"]
    assert 0 < timing["checking_seconds"] < timing["orchestration_seconds"] < timing["first_trade_seconds"]
    assert timing["slowest_step"]["component"] == "postgresql"
    assert timing["work_seconds"]["copy"] == pytest.approx(18.2)


def test_parts_of_an_earlier_attempt_count_up_to_the_length_of_the_step() -> None:
    written = samples.Journal()
    written.run_started(0.0)
    written.step(0.0, 4.0, "restore", "redis", "Restore", result={"parts": {"copy": 6.0, "load": 2.0}})
    assert build(written)["timing"]["work_seconds"] == {"copy": 3.0, "load": 1.0}


def test_what_was_refused_twice_is_told_once() -> None:
    written = samples.one_component_failed()
    written.run_started(100.0)
    title = "Start the services by tier"
    written.step(101.0, 101.1, "resume", "app_services", title, "step_refused", error={"message": "still not"})
    refusals = [issue["message"] for issue in build(written)["issues"] if issue["message"].startswith("not run")]
    assert refusals == [f"not run: resume | {title} (still not)"]


def test_evidence_of_steps_and_of_the_journal_is_in_it() -> None:
    evidence = build(samples.full())["evidence"]
    assert evidence["signed_by"] == "lab-backup"
    assert evidence["recovery"]["artefacts"] == 58
    assert evidence["journal"]["bytes"] > 0


def test_sets_passed_over_are_warned_of() -> None:
    written = samples.full()
    passed = [{"id": "20261123T051000Z", "reason": "its signature is foreign"}]
    written.step(0.2, 0.3, "assess", "recovery", "Choose", result={"passed_over": passed})
    assert any("20261123T051000Z" in issue["message"] for issue in build(written)["issues"])


def test_a_failed_report_says_how_to_go_on() -> None:
    steps = build(samples.one_component_failed())["next_steps"]
    assert steps[0].endswith("recovery_backup_set=20261123T040000Z")
    assert f"full_recovery.yml -e recovery_id={samples.RECOVERY_ID} -e recovery_confirm=lab" in steps[-1]


# --- what it looks like ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_card_is_short_narrow_and_plain(name: str) -> None:
    make, _outcome = SAMPLES[name]
    lines = texts.card(build(make()), "/srv/reports/x/report.html")
    assert 10 <= len(lines) <= 20
    for line in lines:
        assert line.isascii()
        assert len(line) <= texts.CARD_WIDTH or "ansible-playbook" in line


def test_a_loss_is_said_to_be_that_at_most() -> None:
    report = build(samples.full())
    assert report["rpo"]["trading_transactions"]["seconds"] is not None
    shown = "\n".join(texts.card(report))
    assert shown.count(" lost ") == shown.count(" lost at most ") == 3
    assert "| data | lost at most |" in texts.markdown(report)


def test_a_point_in_time_loses_what_it_falls_short_of_its_target_and_customers_were_out_since_the_incident() -> None:
    whole = build(samples.full())
    point = whole["rpo"]["trading_transactions"]["recovery_point"]
    target = to_iso(parse_iso(point) + 0.25)
    report = build(samples.full(), target_time=target, wal_target={"kind": "xid", "value": "771"})
    assert report["evidence"]["point_in_time"]["asked_as"] == "transaction 771"
    assert report["rpo"]["trading_transactions"]["seconds"] == 0.25
    assert report["downtime_seconds"] == whole["downtime_seconds"] and report["incident_at"] == whole["incident_at"]
    assert "the instant asked for" in page(report) and "the instant asked for" not in page(whole)


@pytest.mark.parametrize(("heartbeat", "reached"), [(-46.0, -45.4), (-45.0, -45.0)])
def test_a_datastore_reached_the_later_of_what_restore_and_heartbeat_prove_and_lost_what_the_heartbeat_says(
    heartbeat: float, reached: float
) -> None:
    written = samples.full()
    for entry in written.entries:
        if entry.get("phase") == "verify" and entry.get("component") == "redis" and "result" in entry:
            entry["result"]["recovery_point"] = to_iso(samples.START + heartbeat)
    report = build(written, target_time=to_iso(samples.START - 44.5))
    told = report["evidence"]["point_in_time"]
    assert told["reached"]["redis"] == to_iso(samples.START + reached)
    assert report["rpo"]["user_sessions"]["recovery_point"] == to_iso(samples.START + heartbeat)
    assert told["skew_seconds"] == 4.4


def test_a_reached_instant_is_not_rounded_to_behind_the_one_that_was_asked_for() -> None:
    written, asked = samples.full(), f"{to_iso(samples.START - 40)[:-1]}719Z"
    for entry in written.entries:
        if entry.get("phase") == "restore" and entry.get("component") == "postgresql" and "result" in entry:
            entry["result"]["recovery_point"] = asked
    assert build(written, target_time=asked)["evidence"]["point_in_time"]["reached"]["postgresql"] == asked


def test_the_card_says_that_a_set_came_from_the_second_copy() -> None:
    report = build(samples.full())
    assert "second copy" not in "\n".join(texts.card(report))
    report["evidence"]["second_copy"] = {"place": "https://s3.example/platform3", "seconds": 9.1}
    assert any("fetched from the second copy" in line for line in texts.card(report))


def test_the_card_of_a_failure_names_the_error_and_the_command() -> None:
    text = "\n".join(texts.card(build(samples.one_component_failed())))
    assert "RECOVERY IS PARTIAL" in text and "PRC-620" in text
    assert f"ansible-playbook full_recovery.yml -e recovery_id={samples.RECOVERY_ID}" in text
    # What was not run for it is in the report: the card has room for causes.
    assert "not run" not in text and "not run: " in texts.markdown(build(samples.one_component_failed()))


def test_the_card_names_a_step_that_was_cut_off_beside_one_that_failed() -> None:
    written = samples.one_component_failed()
    written.start(38.0, "restore", "configuration", "Bring missing files back")
    lines = [line for line in texts.card(build(written)) if line.startswith("  error")]
    assert len(lines) == 2 and "PRC-620" in lines[0] and "Bring missing files back" in lines[1]


class Page(HTMLParser):
    """Counts that every element is closed and collects what it refers to."""

    VOID = ("meta", "rect", "line", "br", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_whole_and_needs_nothing_else(name: str) -> None:
    make, _outcome = SAMPLES[name]
    html = page(build(make()))
    parser = Page()
    parser.feed(html)
    assert parser.open == []
    assert not parser.names & {"script", "link", "img", "iframe"}
    assert parser.references == [] and "url(" not in html and "@import" not in html
    assert {"svg", "table"} <= parser.names


def test_nothing_from_the_journal_becomes_markup() -> None:
    written = samples.full()
    evil = "<script>alert('x')</script>|\n# x"
    for entry in written.entries:
        if "name" in entry and entry.get("phase") == "resume":
            entry["name"] = evil
    written.step(70.0, 71.0, "validate", evil, evil, "step_failed", error={"message": evil, "code": evil, "data": evil})
    report = build(written, incident_id=evil, evidence={evil: evil}, backup_set=evil)
    html = page(report)
    assert "<script" not in html and "alert(&#x27;x&#x27;)" in html
    assert "<script" not in texts.markdown(report)
    assert not any("\n" in line for line in texts.card(report))


def test_the_event_log_has_what_an_incident_file_needs() -> None:
    log = texts.markdown(build(samples.full()))
    for wanted in ("INC-4711", "| Type |", "Affected components", "Recovery started", "Recovery ended", "Downtime"):
        assert wanted in log
    for heading in ("Data loss", "Issues", "Lessons", "Next steps", "Course of events", "Evidence"):
        assert f"\n## {heading}\n" in log
    for row in re.findall(r"^\|.*\|$", log, flags=re.MULTILINE):
        assert row.count("|") - row.count("\\|") in (3, 5, 6)


def test_what_a_partial_recovery_did_not_touch_was_left_alone() -> None:
    rpo = {"trading_transactions": {"verdict": "not_measured"}, "user_sessions": {"verdict": "met"}}
    shown = {"scenario": "partial", "components": [{"name": "redis"}, {"name": "app_services"}]}
    assert texts.verdict(shown, "trading_transactions", rpo["trading_transactions"]) == "left alone"
    assert texts.verdict(shown, "user_sessions", rpo["user_sessions"]) == "met"
    assert texts.verdict(shown, "postgresql", {"verdict": "not_measured"}) == "left alone"
    assert texts.verdict({**shown, "scenario": "full"}, "postgresql", {"verdict": "not_measured"}) == "not measured"
