# SPDX-License-Identifier: GPL-3.0-or-later
"""Exposure: the age of what could be brought back, against its target; and what of it is said."""

from __future__ import annotations

import json
import math
import re

from ansible_collections.platform3.recovery.plugins.module_utils._exposure import (
    configuration_looked_at,
    exposures,
    heartbeat_problem,
    newest,
    problems,
    table,
    textfile,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from hypothesis import given
from hypothesis import strategies as st

NOW = parse_iso("2026-11-23T05:17:00Z")
OBJECTIVES = {"rpo": {"trading_transactions": {"target_seconds": 60}, "market_data": {"target_seconds": 300}}}
COMPONENTS = ("postgresql", "redis", "influxdb", "configuration")


def ages(**seconds: float | None) -> dict[str, str | None]:
    return {name: None if value is None else to_iso(NOW - value) for name, value in seconds.items()}


@given(
    age=st.floats(min_value=-5, max_value=1e7),
    target=st.integers(min_value=0, max_value=10**7),
)
def test_a_verdict_follows_from_age_and_target(age: float, target: int) -> None:
    objectives = {"rpo": {"trading_transactions": {"target_seconds": target}}}
    point = to_iso(NOW - age)
    found = exposures(objectives, {"volumes": {"postgresql": point}, "machine": {}}, NOW)
    here, away = [one for one in found if one["data"] == "trading_transactions"]
    assert here["seconds"] == round(max(0.0, NOW - parse_iso(point)), 3)
    assert here["verdict"] == ("met" if here["seconds"] <= target else "missed")
    assert (away["seconds"], away["verdict"]) == (None, "missed")


def test_what_has_no_target_is_not_measured_and_no_problem() -> None:
    found = exposures(OBJECTIVES, {"volumes": ages(postgresql=1, influxdb=2), "machine": {}}, NOW)
    assert [one["verdict"] for one in found if one["data"] == "user_sessions"] == ["not_measured"] * 2
    assert problems(found, ["volumes"]) == []


def test_each_loss_that_counts_is_told() -> None:
    found = exposures(OBJECTIVES, {"volumes": ages(postgresql=61, influxdb=None), "machine": {}}, NOW)
    told = problems(found, ["volumes"])
    assert len(told) == 2
    assert "trading_transactions, volumes gone: 01:01 would be lost" in told[0]
    assert "nothing could be brought back" in told[1]
    assert len(problems(found, ["volumes", "machine"])) == 4
    shown = "\n".join(table(found, told, "lab", to_iso(NOW)))
    assert "TOO MUCH" in shown and "ALL" in shown and "if the machine were gone" in shown


def test_the_textfile_can_be_read_by_prometheus() -> None:
    found = exposures(OBJECTIVES, {"volumes": ages(postgresql=1.5), "machine": {}}, NOW)
    text = textfile(found, ["one"], 'a "lab"', NOW)
    samples = re.findall(r'^(\w+)\{environment="a \\"lab\\""[^}]*\} (\S+)$', text, re.MULTILINE)
    assert len(samples) == len([line for line in text.splitlines() if not line.startswith("#")])
    assert ("platform3_exposure_seconds", "1.5") in samples and ("platform3_exposure_problems", "1") in samples
    assert math.isinf(max(float(value) for _name, value in samples))
    assert text.endswith("\n")


def test_the_newest_of_several() -> None:
    assert newest(None, None) is None
    assert newest("2026-11-23T05:00:00Z", None, "2026-11-23T07:00:00+03:00") == "2026-11-23T05:00:00Z"


def journal(*entries: dict[str, str]) -> str:
    return "\n".join(json.dumps(one) for one in entries) + "\n"


def test_configuration_counts_as_looked_at_by_a_backup_that_ended_well() -> None:
    looked = {"event": "step_finished", "component": "configuration", "at": "2026-11-23T05:00:00.000Z"}
    ended = {"event": "run_finished", "outcome": "success", "at": "2026-11-23T05:00:01.000Z"}
    assert configuration_looked_at([journal(looked, ended)]) == looked["at"]
    assert configuration_looked_at([journal(looked), journal({**ended, "outcome": "untouched"}, looked), "{"]) is None


def beat(seconds_ago: float, **taken: object) -> dict[str, object]:
    return {"number": 1, "at": to_iso(NOW - seconds_ago), **taken}


def test_heartbeats_that_stopped_are_a_problem() -> None:
    every = {"postgresql": "0/1", "redis": True, "influxdb": True}
    assert heartbeat_problem([beat(1, **every)], NOW) is None
    assert "no heartbeat was ever logged" in str(heartbeat_problem([], NOW))
    assert "was logged 01:40 ago" in str(heartbeat_problem([beat(100, **every)], NOW))
    assert "no heartbeat is taken by redis" in str(heartbeat_problem([beat(1, **{**every, "redis": None})], NOW))
    assert heartbeat_problem([beat(2, **every), beat(1, **{**every, "redis": None})], NOW) is None
