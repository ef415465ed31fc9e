# SPDX-License-Identifier: GPL-3.0-or-later
"""A module's documentation is its argument spec; what changes data is a step, fenced, with a name to journal."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.contracts.tree import COLLECTION, ROOT, documentation, module_names, routed, tasks

MODULES = module_names()
# Their code is an action plugin on the controller; the module file is their documentation.
CONTROLLER_SIDE = [name for name in MODULES if (ROOT / "plugins/action" / f"{name}.py").exists()]
SENT = [name for name in MODULES if name not in CONTROLLER_SIDE]
# They take a fence to compare it with the lock, and are what a step stands on or what tells of the steps.
NO_STEPS = ("recovery_lock", "recovery_report")
PHASES = (
    "assess",
    "isolate",
    "restore",
    "verify",
    "resume",
    "validate",
    "report",
    "backup",
    "rollback",
    "release",
    "quarantine",
)
# ansible-lint wants a capital where the phase is not the file's name.
STEP_NAME = re.compile(rf"(?:(?i:{'|'.join(PHASES)})|\{{\{{ recovery_phase \}}\}}) \| [A-Z].+")
TASK_NAME = re.compile(r"(?:[a-z_]+|\{\{ recovery_phase \}\}) \| [A-Z].+|[A-Z].+")
COMPARED = ("type", "required", "default", "choices", "elements", "aliases")
NEUTRAL: dict[str, Any] = {"type": "str", "required": False, "default": None, "choices": None, "elements": None}


class _Captured(Exception):
    """Leaves a module's main with what it gave to AnsibleModule."""


def _capture(*_: Any, **keywords: Any) -> None:
    raise _Captured(keywords)


def declaration(name: str) -> dict[str, Any]:
    """What the module's main gives to AnsibleModule: argument_spec, supports_check_mode and the rest."""
    base = f"ansible_collections.{COLLECTION}.plugins"
    shared = importlib.import_module(f"{base}.module_utils._module")
    module = importlib.import_module(f"{base}.modules.{name}")
    with (
        mock.patch.object(shared, "AnsibleModule", _capture),
        mock.patch.object(module, "AnsibleModule", _capture),
        pytest.raises(_Captured) as left,
    ):
        module.main()
    return dict(left.value.args[0])


def differences(documented: dict[str, Any], declared: dict[str, Any], where: str = "") -> list[str]:
    """Where options of a documentation and of an argument spec differ."""
    found = [f"{where}{name}: not documented" for name in sorted(set(declared) - set(documented))]
    found += [f"{where}{name}: documented, but no option" for name in sorted(set(documented) - set(declared))]
    for name in sorted(set(documented) & set(declared)):
        said, done = documented[name], declared[name]
        for key in COMPARED:
            left, right = (side.get(key) or NEUTRAL.get(key) for side in (said, done))
            if (list(left) if isinstance(left, (list, tuple)) else left) != (
                list(right) if isinstance(right, (list, tuple)) else right
            ):
                found.append(f"{where}{name}: {key} is documented as {left!r}, declared as {right!r}")
        found += differences(said.get("suboptions") or {}, done.get("options") or {}, f"{where}{name}.")
    return found


@pytest.mark.parametrize("name", SENT)
def test_documentation_is_the_argument_spec(name: str) -> None:
    assert differences(documentation()[name]["doc"].get("options") or {}, declaration(name)["argument_spec"]) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_documents_examples_and_return_values(name: str) -> None:
    whole = documentation()[name]
    assert f"{COLLECTION}.{name}:" in (whole["examples"] or ""), "its examples do not call it"
    assert whole["return"], "it returns nothing that is documented"


@pytest.mark.parametrize("name", SENT)
def test_a_module_says_what_it_does_in_check_mode(name: str) -> None:
    said = (documentation()[name]["doc"].get("attributes") or {}).get("check_mode", {})
    assert said.get("support") in ("full", "none")
    assert bool(declaration(name).get("supports_check_mode")) == (said["support"] == "full")


def loud(spec: dict[str, Any], where: str = "") -> list[str]:
    """Options, those inside of others too, that look like secrets and do not say whether they may be logged."""
    found = []
    for option, rule in spec.items():
        secret = re.search(r"password|passphrase|token|secret|signing_key", option)
        # Names of files, buckets and other public things may hold the word.
        if secret and rule.get("type", "str") in ("str", "dict", "list") and rule.get("no_log") is None:
            found.append(f"{where}{option}")
        found += loud(rule.get("options") or {}, f"{where}{option}.")
    return found


@pytest.mark.parametrize("name", SENT)
def test_a_secret_is_never_logged(name: str) -> None:
    found = loud(declaration(name)["argument_spec"])
    assert found == [], "say no_log: true, or no_log: false where it is no secret"


@pytest.mark.parametrize("name", sorted(routed()))
def test_every_routed_module_exists_and_takes_the_fence(name: str) -> None:
    assert routed()[name] == f"{COLLECTION}.step"
    assert name in MODULES
    assert "fence" in declaration(name)["argument_spec"]
    assert "progress_path" in declaration(name)["argument_spec"]


@pytest.mark.parametrize("name", SENT)
def test_every_module_that_takes_the_fence_is_routed(name: str) -> None:
    if "fence" in declaration(name)["argument_spec"] and name not in NO_STEPS:
        assert name in routed()


@pytest.mark.parametrize("name", CONTROLLER_SIDE)
def test_a_controller_side_module_documents_what_its_action_takes(name: str) -> None:
    action = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.action.{name}").ActionModule
    assert set(documentation()[name]["doc"].get("options") or {}) == set(action._VALID_ARGS)


@pytest.mark.parametrize("name", [name for name in SENT if name.endswith("_info")])
def test_a_module_that_says_it_only_reads_runs_in_check_mode(name: str) -> None:
    assert declaration(name).get("supports_check_mode"), "an _info module changes nothing: check mode is free"


def named_wrongly(name: str | None, stepped: bool) -> bool:
    """Whether a task's name does not read as `phase | What is done` (a step) or begins with a small letter."""
    return not (STEP_NAME if stepped else TASK_NAME).fullmatch(name or "")


def test_tasks_are_named_as_the_journal_wants_them() -> None:
    wrong = []
    for path, task in tasks():
        used = [key.removeprefix(f"{COLLECTION}.") for key in task]
        stepped = any(key in routed() and f"{COLLECTION}.{key}" in task for key in used)
        if named_wrongly(task.get("name"), stepped):
            wrong.append(f"{path.relative_to(ROOT)}: {task.get('name')}")
    assert wrong == []


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_code_for_the_hosts_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    if path.parent.name not in ("modules", "module_utils") or not tree.body:
        return
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert any(alias.name == "annotations" for node in imported for alias in node.names)
    # Clients cost 0.3 to 1 s each: imported where they are used, not at the top.
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {
            "psycopg",
            "redis",
            "influxdb_client",
            "requests",
            "docker",
        }


def test_the_contracts_see_what_they_forbid() -> None:
    documented = {"a": {"type": "str"}, "b": {"type": "int", "default": 1}, "gone": {"type": "str"}}
    declared = {"a": {}, "b": {"type": "int", "default": 2}, "new": {"type": "dict", "options": {"x": {}}}}
    assert differences(documented, declared) == [
        "new: not documented",
        "gone: documented, but no option",
        "b: default is documented as 1, declared as 2",
    ]
    assert loud({"a_token": {}, "b": {"options": {"password": {}, "secret": {"no_log": True}}}}) == [
        "a_token",
        "b.password",
    ]
    assert named_wrongly("restore the data", stepped=True)
    assert named_wrongly("rebuild | Do it", stepped=True)
    assert named_wrongly("restore | do it", stepped=True)
    assert not named_wrongly("restore | Do it", stepped=True)
    assert named_wrongly(None, stepped=False)
