# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role can be called wrongly only once: its inputs are declared, with the defaults it really has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contracts.tree import COMPONENT_ROLES, ROLES, ROOT, load

PHASES = ("preflight", "backup", "isolate", "restore", "verify", "resume")


def specs_of(role: Path) -> dict[str, dict[str, Any]]:
    path = role / "meta/argument_specs.yml"
    return load(path)["argument_specs"] if path.exists() else {}


def defaults_of(role: Path) -> dict[str, Any]:
    path = role / "defaults/main.yml"
    return (load(path) or {}) if path.exists() else {}


def undeclared_entry_points(role: Path) -> set[str]:
    """Task files that can be called from outside and say nothing about their inputs.

    A file that is included only by its own role is no entry point; its name is then named in one of the role's tasks.
    """
    stems = {path.stem for path in (role / "tasks").glob("*.yml")}
    texts = [path.read_text(encoding="utf-8") for path in (role / "tasks").glob("*.yml")]
    inner = {
        stem
        for stem in stems
        if any(f"{verb}: {stem}.yml" in text for verb in ("include_tasks", "import_tasks", "file") for text in texts)
    }
    return stems - inner - set(specs_of(role))


def default_differences(role: Path) -> list[str]:
    """Where defaults and argument specs disagree: keys on one side only, or two values for one key.

    A default that is a template, a list or a dict may stand in defaults/main.yml alone, with its option in the spec.
    """
    defaults = {name: value for name, value in defaults_of(role).items() if not name.startswith("__")}
    found = []
    options: set[str] = set()
    declared: dict[str, Any] = {}
    for spec in specs_of(role).values():
        for name, option in (spec.get("options") or {}).items():
            options.add(name)
            if option.get("required") and name in defaults:
                found.append(f"{name}: required in an argument spec, though it has a default")
            if "default" in option and declared.setdefault(name, option["default"]) != option["default"]:
                found.append(f"{name}: two entry points name different defaults")
    found += [f"{name}: in defaults, in no argument spec" for name in sorted(set(defaults) - options)]
    found += [f"{name}: has a default in the argument spec only" for name in sorted(set(declared) - set(defaults))]
    for name in sorted(set(defaults) & options):
        value = defaults[name]
        computed = isinstance(value, (list, dict)) or "{{" in str(value)
        if name not in declared and not computed:
            found.append(f"{name}: its default is missing in the argument spec")
        elif name in declared and declared[name] != value:
            found.append(f"{name}: {value!r} in defaults, {declared[name]!r} in the argument spec")
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_declares_its_inputs(role: str) -> None:
    assert undeclared_entry_points(ROOT / "roles" / role) == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_input_is_declared_for_an_entry_point_that_is_not_there(role: str) -> None:
    stems = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(specs_of(ROOT / "roles" / role)) - stems == set()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_hold_the_same(role: str) -> None:
    assert default_differences(ROOT / "roles" / role) == []


@pytest.mark.parametrize("role", COMPONENT_ROLES)
def test_a_component_has_the_same_entry_points_as_the_others(role: str) -> None:
    stems = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    # The services hold no data of their own; they prove the platform and open it.
    wanted = {"preflight", "isolate", "resume", "validate", "open"} if role == "app_services" else set(PHASES)
    assert wanted - stems == set()


@pytest.mark.parametrize("role", ["recovery", "sandbox"])
def test_a_role_of_entry_points_has_no_main(role: str) -> None:
    assert not (ROOT / "roles" / role / "tasks/main.yml").exists(), "an entry point must be named"


def test_the_contract_sees_a_difference(tmp_path: Path) -> None:
    for folder in ("tasks", "defaults", "meta"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks/backup.yml").write_text("- name: backup | Go on\n  ansible.builtin.include_tasks: part.yml\n")
    (tmp_path / "tasks/part.yml").write_text("- ansible.builtin.debug:\n")
    (tmp_path / "tasks/restore.yml").write_text("[]\n")
    (tmp_path / "defaults/main.yml").write_text("redis_jobs: 2\nredis_size: 1\nredis_f: x\n")
    (tmp_path / "meta/argument_specs.yml").write_text(
        "argument_specs: {backup: {options: {redis_jobs: {default: 3}, redis_more: {default: 1}, redis_f: {}}}}\n"
    )
    assert undeclared_entry_points(tmp_path) == {"restore"}
    assert default_differences(tmp_path) == [
        "redis_size: in defaults, in no argument spec",
        "redis_more: has a default in the argument spec only",
        "redis_f: its default is missing in the argument spec",
        "redis_jobs: 2 in defaults, 3 in the argument spec",
    ]
