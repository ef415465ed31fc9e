# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of services that are left alone: counted, with the longest time that one was not well."""

from __future__ import annotations

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
