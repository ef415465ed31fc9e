# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays are barriers and tables of contents; what could quietly go around a guard stands nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.tree import ROOT, files, flat, load, tasks, yaml_files

SHIMS = ("full_recovery", "partial_recovery", "point_in_time_recovery", "backup", "drill")
PLAYBOOKS = yaml_files("playbooks")
# Without `roles`: with `tasks_from` it runs nothing and is green.
PLAY_KEYS = {"name", "hosts", "gather_facts", "strategy", "vars", "tasks"}
BLOCK_KEYS = {"name", "block", "rescue", "when", "vars"}
INCLUDE_KEYS = {"name", "ansible.builtin.include_role", "vars", "when"}
# A condition of a play may ask what is there, it may not compute.
PLAIN_CONDITION = re.compile(r"\w+ is (not )?defined|'\w+' (not )?in \w+(\.\w+)*|\w+(\.\w+)* (not )?in \w+(\.\w+)*")

# Under the free strategy these skip guards, run everywhere, or end green (design, decision 15).
FORBIDDEN_KEYS = {"ignore_errors", "ignore_unreachable", "any_errors_fatal", "run_once", "max_fail_percentage"}
# What removes data that nobody named. Spelt so that this file does not hold them itself.
FORBIDDEN_COMMANDS = (("volume", "prune"), ("system", "prune"), ("volumes_prune:", "true"))


def logic_of(play: dict[str, Any]) -> list[str]:
    """What a play holds beside include_role, blocks and plain conditions."""
    if "ansible.builtin.import_playbook" in play:
        return []
    found = [f"{play.get('name')}: {key}" for key in sorted(set(play) - PLAY_KEYS)]
    for task in flat(play.get("tasks")):
        allowed = BLOCK_KEYS if "block" in task else INCLUDE_KEYS
        found += [f"{play.get('name')} / {task.get('name')}: {key}" for key in sorted(set(task) - allowed)]
        conditions = task.get("when", [])
        for condition in conditions if isinstance(conditions, list) else [conditions]:
            if not PLAIN_CONDITION.fullmatch(str(condition)):
                found.append(f"{play.get('name')} / {task.get('name')}: when: {condition}")
    return found


def forbidden_keys(task: dict[str, Any]) -> set[str]:
    """Forbidden keywords of a task."""
    return FORBIDDEN_KEYS & set(task)


def test_only_the_five_shims_stand_at_the_root() -> None:
    found = {path.stem for path in ROOT.glob("*.yml")} - {"galaxy", "requirements", "execution-environment"}
    assert found <= set(SHIMS)
    assert {"full_recovery", "backup"} <= found


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.yml")), ids=lambda path: path.name)
def test_a_shim_is_three_lines(path: Path) -> None:
    if path.stem not in SHIMS:
        assert path.stem in ("galaxy", "requirements", "execution-environment")
        return
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) == 3
    assert load(path)[0]["ansible.builtin.import_playbook"] == f"playbooks/{path.stem}.yml"
    assert (ROOT / "playbooks" / path.name).is_file()


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_a_playbook_holds_no_logic(path: Path) -> None:
    assert [line for play in load(path) for line in logic_of(play)] == []


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_every_included_entry_point_exists(path: Path) -> None:
    for play in load(path):
        for task in flat(play.get("tasks")):
            include = task.get("ansible.builtin.include_role")
            if not include or "{{" in include["name"]:
                continue
            role = include["name"].removeprefix("platform3.recovery.")
            assert (ROOT / "roles" / role / "tasks" / f"{include.get('tasks_from', 'main')}.yml").is_file(), task


def test_what_skips_guards_is_used_nowhere() -> None:
    found = [f"{path.name}: {task.get('name')}: {key}" for path, task in tasks() for key in forbidden_keys(task)]
    for path in PLAYBOOKS:
        found += [f"{path.name}: {key}" for play in load(path) for key in FORBIDDEN_KEYS & set(play)]
    assert found == []


def test_nothing_removes_volumes_that_nobody_named() -> None:
    found = []
    for path in files():
        if path.is_symlink() or path.suffix in (".md", ".sum") or path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        for words in FORBIDDEN_COMMANDS:
            if re.search(r"\b" + r"[\s,\"']+".join(words) + r"\b", text):
                found.append(f"{path.relative_to(ROOT)}: {' '.join(words)}")
    assert found == []


def test_the_contracts_see_what_they_forbid() -> None:
    play: dict[str, Any] = {
        "name": "p",
        "hosts": "all",
        "serial": 1,
        "roles": ["x"],
        "tasks": [
            {"name": "a", "block": [{"name": "b", "ansible.builtin.command": "true", "ignore_errors": True}]},
            {"name": "c", "ansible.builtin.include_role": {"name": "x"}, "when": "a | int > 3"},
        ],
    }
    assert logic_of(play) == [
        "p: roles",
        "p: serial",
        "p / b: ansible.builtin.command",
        "p / b: ignore_errors",
        "p / c: when: a | int > 3",
    ]
    assert [forbidden_keys(task) for task in flat(play["tasks"])] == [set(), {"ignore_errors"}, set()]
