# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of services that are left alone: counted, with the longest time that one was not well."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.platform3.recovery.plugins.module_utils._validation import probe_warnings
from ansible_collections.platform3.recovery.plugins.module_utils._watch import some_services, watched_services
from ansible_collections.platform3.recovery.plugins.modules.platform_probe import probe

TIERS = [
    {"tier": "critical", "services": ["trading-service", "gateway"], "watched": True},
    {"tier": "sidecars", "services": ["heartbeat"], "watched": False},
]


def probed(verdicts: list[dict[str, str]]) -> dict[str, dict[str, object]]:
    """What is found where each round, a second after the other, gives these verdicts."""
    now = [100.0]
    rounds = list(verdicts)

    def sleep(_seconds: float) -> None:
        now[0] += 1.0

    return probe(["gateway"], lambda: rounds.pop(0), lambda: bool(rounds), 1.0, lambda: now[0], sleep)


def test_a_service_that_is_always_well_is_said_to_be() -> None:
    found = probed([{"gateway": "ok"}] * 5)
    assert found == {"gateway": {"asked": 5, "well": 5, "longest_seconds": 0.0, "last": "ok"}}
    assert probe_warnings(found) == []


def test_the_longest_time_runs_from_the_last_good_answer() -> None:
    away, well = {"gateway": "the gateway does not answer"}, {"gateway": "ok"}
    found = probed([well, away, away, well, away, well])
    assert found["gateway"] == {"asked": 6, "well": 3, "longest_seconds": 2.0, "last": "ok"}
    assert probe_warnings(found) == ["gateway was left alone and was not well in 3 of 6 probes, for up to 2.0 s"]


def test_probes_that_were_killed_are_not_taken_for_good_ones() -> None:
    unheard = {"asked": 0, "well": 0, "longest_seconds": 0.0, "last": "its probes were killed"}
    assert probe_warnings({"gateway": unheard}) == [
        "gateway was left alone, and nobody knows whether it was well: its probes were killed"
    ]


def test_a_service_nobody_knows_is_not_well() -> None:
    assert probed([{}])["gateway"]["last"] == "unknown"


def test_tiers_are_narrowed_to_the_services_that_are_wanted() -> None:
    assert some_services(TIERS, ["heartbeat"]) == [TIERS[1]]
    assert some_services(TIERS, ["gateway"]) == [{"tier": "critical", "services": ["gateway"], "watched": True}]
    assert watched_services(TIERS) == ["trading-service", "gateway"]


def run(state: str) -> dict[str, Any]:
    """The module's result, at a gateway that nobody opens."""
    module = importlib.import_module("ansible_collections.platform3.recovery.plugins.modules.platform_probe")
    given = {"tiers": TIERS, "stopped": ["trading-service"], "gateway_url": "http://127.0.0.1:9", "recovery_id": "r-1"}
    printed = io.StringIO()
    with (
        patch_module_args({**given, "state": state}),
        contextlib.redirect_stdout(printed),
        pytest.raises(SystemExit),
    ):
        module.main()
    result: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
    return result


def test_from_the_start_to_the_end_they_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("started")["probes"] == {}
    [gateway] = run("ended")["probes"].values()
    assert gateway["asked"] >= 1 and gateway["well"] == 0 and gateway["last"] == "the gateway does not answer"
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_asked_is_told_at_the_end_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = run("ended")
    assert found["probes"]["gateway"]["asked"] == 0 and not found.get("failed")
    assert "nobody knows whether it was well" in probe_warnings(found["probes"])[0]


def test_probes_that_cannot_be_begun_stop_the_recovery_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "away"))
    refused = run("started")
    assert refused["failed"] and refused["error"]["code"] == "PRC-807" and "nothing was changed" in refused["msg"]
