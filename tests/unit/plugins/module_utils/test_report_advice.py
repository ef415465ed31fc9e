# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says is to be done: one way on, and of what touched nothing that is to start again."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _report as reports
from ansible_collections.platform3.recovery.plugins.module_utils import _report_text as texts
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse, read_history
from ansible_collections.platform3.recovery.plugins.module_utils._report_html import page

from tests.unit.plugins import journal_samples as samples

TITLE = "Check engine, image, volume, disk, ports and secrets"
START_AGAIN = "nothing was touched; mend the cause, then start it again"


def refused(way: str, **told: Any) -> samples.Journal:
    """A preflight found something; configuration's missing files are put back by then, the rest was refused."""
    written = samples.Journal()
    written.run_started(0.0, elapsed=2.1, **told)
    written.step(0.1, 0.3, "restore", "configuration", "Bring missing files back", changed=True)
    error = {"code": "PRC-420", "found": "the password is wrong", "data": "nothing was changed", "next_step": way}
    written.step(0.4, 1.7, "assess", "postgresql", TITLE, "step_failed", error=error)
    message = "assess of postgresql failed"
    written.step(2.0, 2.1, "isolate", "postgresql", "Isolate", "step_refused", error={"message": message})
    return written


def build(written: samples.Journal) -> dict[str, Any]:
    return reports.build(read_history(parse(written.text())), {"recovery_id": samples.RECOVERY_ID})


def test_a_recovery_that_touched_nothing_names_what_to_change_and_starts_again() -> None:
    report = build(refused("make room (docker system df)"))
    assert report["outcome"] == "failed"
    assert report["next_steps"] == [
        "make room (docker system df)",
        f"{START_AGAIN}: ansible-playbook full_recovery.yml -e recovery_confirm=lab",
    ]
    lines = texts.card(report)
    first = next(number for number, line in enumerate(lines) if line.startswith("  next"))
    shown = "\n".join(lines[first:])
    for way_on in ("recovery_id", "abandon", "rollback", "go on"):
        assert way_on not in shown
    assert shown.count("start it again") == shown.count("ansible-playbook") == 1
    assert "the same recovery" not in texts.markdown(report) and "the same recovery" not in page(report)


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ({}, "full_recovery.yml -e recovery_confirm=lab"),
        (
            {"scenario": "point_in_time", "target_time": "2026-11-23T05:10:00.000Z"},
            "point_in_time_recovery.yml -e recovery_confirm=lab -e recovery_target_time=2026-11-23T05:10:00.000Z",
        ),
        (
            {"scenario": "point_in_time", "target_time": "2026-11-23T05:10:00.000Z", "point_name": "before-7.1"},
            "point_in_time_recovery.yml -e recovery_confirm=lab -e recovery_point_name=before-7.1",
        ),
        (
            {"scenario": "point_in_time", "point_name": "", "wal_target": {"kind": "lsn", "value": "16/B374D848"}},
            "point_in_time_recovery.yml -e recovery_confirm=lab -e recovery_target_lsn=16/B374D848",
        ),
    ],
)
def test_it_starts_again_to_the_same_goal(told: dict[str, Any], command: str) -> None:
    assert build(refused("correct it", **told))["next_steps"] == [
        "correct it",
        f"{START_AGAIN}: ansible-playbook {command}",
    ]


def test_a_partial_one_starts_again_as_it_was_typed() -> None:
    told = {"scenario": "partial", "components": ["redis", "configuration", "app_services"]}
    assert build(refused("correct it", **told))["next_steps"] == ["correct it", f"{START_AGAIN} by the same command"]


def test_the_same_error_behind_the_first_change_goes_on() -> None:
    written = refused("make room")
    written.step(3.0, 3.1, "isolate", "redis", "Take redis away", changed=True)
    steps = build(written)["next_steps"]
    assert steps[0] == "make room"
    assert steps[-1].startswith("mend the cause, then go on with the same recovery: ")
    assert steps[-1].endswith(f"-e recovery_id={samples.RECOVERY_ID} -e recovery_confirm=lab")
