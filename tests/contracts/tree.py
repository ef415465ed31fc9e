# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout as data: its files, plays, tasks and modules, for the contracts to look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "platform3.recovery"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
COMPONENT_ROLES = ("postgresql", "redis", "influxdb", "configuration", "app_services")

Task = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Ansible's YAML: `!vault` and `!unsafe` are read as marks."""


_Loader.add_constructor("!vault", lambda loader, node: Vaulted(loader.construct_scalar(node)))
_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


class Vaulted(str):
    """A value that is encrypted in the file."""


def load(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 a SafeLoader


@cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked, or would be if it were added now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    found = tuple(ROOT / name for name in sorted(set(listed)) if name and (ROOT / name).is_file())
    assert len(found) > 100, "git lists hardly any file: run the tests in a checkout"
    return found


def yaml_files(*folders: str) -> list[Path]:
    """The YAML files below these folders of the checkout."""
    return [
        path
        for path in files()
        if path.suffix in (".yml", ".yaml") and path.relative_to(ROOT).parts[0] in folders and not path.is_symlink()
    ]


def flat(tasks: list[Task] | None) -> Iterator[Task]:
    """The tasks of a list, those inside of blocks too, blocks included."""
    for task in tasks or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flat(task.get(part))


def task_files() -> list[Path]:
    """The task files of all roles."""
    return [path for path in yaml_files("roles") if path.parent.name == "tasks"]


def tasks() -> list[tuple[Path, Task]]:
    """Every task of every role and playbook with the file it stands in."""
    found = [(path, task) for path in task_files() for task in flat(load(path))]
    for path in yaml_files("playbooks"):
        for play in load(path) or []:
            for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                found += [(path, task) for task in flat(play.get(part))]
    assert len(found) > 50, "hardly any task was found"
    return found


def module_names() -> list[str]:
    """The modules of the collection."""
    return sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")


def routed() -> dict[str, str]:
    """Modules that run behind an action plugin, by meta/runtime.yml."""
    modules = load(ROOT / "meta/runtime.yml")["plugin_routing"]["modules"]
    return {name: rule["action_plugin"] for name, rule in modules.items()}


def tool(name: str) -> str:
    """Path of a command of the virtual environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


@cache
def documentation() -> dict[str, dict[str, Any]]:
    """What ansible-doc says of each module, doc fragments merged."""
    names = [f"{COLLECTION}.{name}" for name in module_names()]
    answer = subprocess.run(
        [tool("ansible-doc"), "--json", "--type", "module", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return {name.rsplit(".", 1)[-1]: value for name, value in json.loads(answer.stdout).items()}
