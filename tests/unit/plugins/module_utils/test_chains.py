# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of backup sets, by example and by property."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _chains
from hypothesis import given
from hypothesis import strategies as st

COMPONENTS = ("postgresql", "redis", "influxdb", "configuration")


def set_id(number: int) -> str:
    return f"20261123T{number:06d}Z"


def is_set_id(text: str) -> bool:
    return len(text) == 16 and text.startswith("20261123T")


def made(steps: list[dict[str, bool]]) -> list[dict[str, Any]]:
    """A full set and an increment a step, each after the one before. step: component -> whether on its own chain."""
    sets: list[dict[str, Any]] = []
    for number, step in enumerate([dict.fromkeys(COMPONENTS, False), *steps]):
        own = set_id(number)
        parent = sets[-1] if sets else None
        taken = {
            name: ([*_chains.chain_of(parent, name), own] if parent and goes_on else [own])
            for name, goes_on in step.items()
        }
        inherited, chains = _chains.extended(parent, own, taken)
        one: dict[str, Any] = {
            "backup_set": own,
            "environment": "lab",
            "environment_id": "lab-1",
            "sequence": number + 1,
            "parent": parent["backup_set"] if parent else None,
            "components": {**inherited, **{name: {"version": "1", "made_in": own} for name in taken}},
            "artefacts": [{"component": name, "path": f"{name}/file"} for name in taken],
        }
        if parent:
            one["chains"] = chains
        sets.append(one)
    return sets


def looked(sets: list[dict[str, Any]], gone: str = "") -> Any:
    known = {one["backup_set"]: one for one in sets}
    return lambda one: "is missing" if one == gone else known.get(one, "is missing")


STEPS = st.lists(st.dictionaries(st.sampled_from(COMPONENTS), st.booleans(), min_size=1), max_size=6)


def test_a_full_set_needs_only_itself() -> None:
    (full,) = made([])
    assert _chains.chain_of(full, "redis") == [set_id(0)]
    assert _chains.sets_needed(full) == [set_id(0)]
    assert _chains.broken(full, looked([])) is None


def test_an_increment_inherits_what_it_did_not_take() -> None:
    sets = made([{"influxdb": True}, {"influxdb": True}])
    assert _chains.chain_of(sets[2], "influxdb") == [set_id(0), set_id(1), set_id(2)]
    assert _chains.chain_of(sets[2], "redis") == [set_id(0)]
    assert sets[2]["components"]["redis"]["made_in"] == set_id(0)
    assert _chains.sets_needed(sets[2], ["redis"]) == [set_id(0), set_id(2)]


@given(STEPS)
def test_what_was_built_keeps_the_schema_and_is_whole(steps: list[dict[str, bool]]) -> None:
    sets = made(steps)
    for one in sets:
        assert _chains.problems(one, is_set_id) == []
        assert _chains.broken(one, looked(sets)) is None
        needed = _chains.sets_needed(one)
        assert needed == sorted(set(needed)) and needed[-1] == one["backup_set"]
        for name in COMPONENTS:
            assert one["components"][name]["made_in"] == _chains.chain_of(one, name)[-1]
            assert set(_chains.chain_of(one, name)) <= set(needed)


@given(STEPS, st.data())
def test_any_set_that_is_gone_breaks_exactly_the_chains_that_name_it(
    steps: list[dict[str, bool]], data: st.DataObject
) -> None:
    sets = made(steps)
    last, gone = sets[-1], data.draw(st.sampled_from(sets))["backup_set"]
    for name in COMPONENTS:
        reason = _chains.broken(last, looked(sets, gone), [name])
        expected = gone in _chains.chain_of(last, name) and gone != last["backup_set"]
        assert (reason is not None) == expected
        assert reason is None or f"{gone} is missing" in reason


@given(
    st.sampled_from(["environment_id", "sequence", "chains", "components", "record"]),
)
def test_a_member_that_is_not_what_the_chain_says_breaks_it(what: str) -> None:
    sets = json.loads(json.dumps(made([{"influxdb": True}, {"influxdb": True}])))
    if what == "environment_id":
        sets[0]["environment_id"] = "drill-1"
    elif what == "sequence":
        sets[1]["sequence"] = 9
    elif what == "chains":
        sets[1]["chains"]["influxdb"] = [set_id(1)]
    elif what == "components":
        del sets[0]["components"]["influxdb"]
    else:
        sets[0]["components"]["redis"]["made_in"] = "another"
    assert str(_chains.broken(sets[2], looked(sets))).startswith("its chain is broken: 2026")


def test_the_schema_refuses_what_no_backup_writes() -> None:
    good = made([{"influxdb": True}])[1]
    for chains, parent, clause in (
        ({**good["chains"], "influxdb": []}, good["parent"], "no list"),
        ({**good["chains"], "influxdb": "20261123T000000Z"}, good["parent"], "no list"),
        ({**good["chains"], "influxdb": ["../../etc"]}, good["parent"], "no list"),
        ({**good["chains"], "influxdb": [set_id(0), set_id(0)]}, good["parent"], "twice"),
        ({**good["chains"], "influxdb": [set_id(1), set_id(0)]}, good["parent"], "after this one"),
        ({**good["chains"], "influxdb": [set_id(0)]}, good["parent"], "holds files of it"),
        ({"influxdb": [set_id(1)]}, good["parent"], "chains are given of influxdb"),
        (good["chains"], None, "parent is null"),
    ):
        found = _chains.problems({**good, "chains": chains, "parent": parent}, is_set_id)
        assert found and clause in " ".join(found), (chains, found)
