# SPDX-License-Identifier: GPL-3.0-or-later
"""Chosen parts of a datastore as inputs: their forms, what they go with, and how they are told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _inputs as inputs
from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import (
    PARTS,
    names,
    numbers,
    parts_of,
    server,
    shown_parts,
)

TARGET = "2026-11-23T05:17:00Z"
SANDBOX = {"container": "sandbox-postgres", "database": "forex_trading"}


def problems(scenario: str = "partial", **given: Any) -> list[tuple[str, str]]:
    normal, wrong = inputs.normalise(given)
    return [(one.code, one.found) for one in [*wrong, *inputs.scenario_problems(scenario, normal)]]


@pytest.mark.parametrize("value", ["orders,executions", " orders , executions,", ["orders", "executions", "orders"]])
def test_names_are_parted_by_commas(value: object) -> None:
    assert names(value) == ["orders", "executions"]


@pytest.mark.parametrize(("value", "found"), [(0, [0]), ("0, 1", [0, 1]), ([1, "2"], [1, 2])])
def test_databases_are_numbers(value: object, found: list[int]) -> None:
    assert numbers(value) == found


@pytest.mark.parametrize("value", ["-1", "one", True, 1.5, [None]])
def test_what_is_no_number_of_a_database_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        numbers(value)


@pytest.mark.parametrize("value", ["x", {}, {"container": "c"}, {"container": "c", "database": ""}])
def test_a_server_is_a_container_and_a_database(value: object) -> None:
    with pytest.raises(ValueError, match="container and database"):
        server(value)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"redis_key_mode": "swap"}, "PRC-102"),
        ({"postgresql_tables_mode": "replace"}, "PRC-102"),
        ({"postgresql_tables": ","}, "PRC-102"),
        ({"redis_key_databases": "first"}, "PRC-102"),
    ],
)
def test_a_wrong_form_is_refused(given: dict[str, str], code: str) -> None:
    assert problems(recovery_components="redis,postgresql", **given)[0][0] == code


@pytest.mark.parametrize("scenario", ["full", "point_in_time", "drill", "backup", "rollback"])
@pytest.mark.parametrize("name", [one for choosing, telling in PARTS.values() for one in (*choosing, *telling)])
def test_parts_are_chosen_for_a_partial_recovery_only(scenario: str, name: str) -> None:
    values = {"postgresql_tables_source": SANDBOX, "postgresql_tables_mode": "swap", "redis_key_mode": "merge"}
    values |= {"influxdb_chosen_start": TARGET, "influxdb_chosen_stop": TARGET, "influxdb_chosen_mode": "replace"}
    found = dict(problems(scenario, **{name: values.get(name, "1")}))
    assert name in found["PRC-122"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"recovery_components": "influxdb", "redis_key_patterns": "a*"}, "leaves redis out"),
        ({"recovery_components": "redis", "redis_key_mode": "merge"}, "none are chosen"),
        ({"recovery_components": "postgresql", "postgresql_tables_source": SANDBOX}, "none are chosen"),
    ],
)
def test_a_choice_belongs_to_its_datastore_and_says_which_before_how(given: dict[str, Any], words: str) -> None:
    [(code, found)] = problems(**given)
    assert code == "PRC-122" and words in found


def test_a_recovery_that_goes_on_need_not_choose_again() -> None:
    assert problems(recovery_id="r", redis_key_mode="merge") == []


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"recovery_components": "redis", "redis_key_patterns": "a*"}, False),
        ({"recovery_components": "redis,app_services", "redis_key_databases": "0"}, False),
        ({"recovery_components": "redis"}, True),
        ({"recovery_components": "redis,influxdb", "redis_key_patterns": "a*"}, True),
        ({"recovery_components": "redis,influxdb", "redis_key_patterns": "a*", "influxdb_chosen_buckets": "b"}, False),
        ({"recovery_components": "postgresql", "postgresql_tables": "orders"}, True),
        (
            {"recovery_components": "postgresql", "postgresql_tables": "o", "postgresql_tables_source": SANDBOX},
            False,
        ),
    ],
)
def test_only_parts_whose_source_reaches_it_come_back_from_a_point_in_time(
    given: dict[str, Any], refused: bool
) -> None:
    assert ("PRC-109" in dict(problems(recovery_target_time=TARGET, **given))) is refused


def test_parts_are_told_by_datastore() -> None:
    normal, _ = inputs.normalise({"redis_key_databases": "0,1", "redis_key_mode": "merge", "postgresql_tables": "a,b"})
    found = parts_of(normal)
    assert found == {
        "postgresql": {"postgresql_tables": ["a", "b"]},
        "redis": {"redis_key_databases": [0, 1], "redis_key_mode": "merge"},
    }
    assert shown_parts(found) == {"postgresql": "a, b", "redis": "database 0, 1 (merge)"}
    assert parts_of(inputs.normalise({"redis_key_mode": "merge"})[0]) == {}
    points = {"influxdb_chosen_buckets": "market-data", "influxdb_chosen_start": TARGET}
    shown = shown_parts(parts_of(inputs.normalise(points)[0]))["influxdb"]
    assert shown == "market-data, 2026-11-23T05:17:00.000Z to the end of the set"
