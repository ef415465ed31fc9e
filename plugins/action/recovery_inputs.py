# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks and normalises every input on the controller, before any host is touched; see the module's documentation."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path
from ansible_collections.platform3.recovery.plugins.module_utils import _input_forms, _input_names, _inputs
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import Problem
from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import parts_of
from ansible_collections.platform3.recovery.plugins.module_utils._objectives import check_objectives
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox_inputs import sandbox_problems

ROLES = Path(os.path.abspath(__file__)).parents[2] / "roles"
# A process that is older than this did something else before, such as another playbook of the same command.
STARTUP_SECONDS = 15.0


class ActionModule(ActionBase):
    """Controller-side only: no module, no connection."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("scenario", "environment", "confirm", "groups"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables: dict[str, Any] = task_vars or {}
        started = command_started_at()
        scenario = str(self._task.args.get("scenario", "full"))
        environment = str(self._task.args.get("environment") or "")
        confirm = _input_forms.truth(self._task.args.get("confirm", True))
        needed = list(self._task.args.get("groups") or _inputs.GROUPS)

        inputs, problems = _inputs.normalise(self._values(variables))
        problems += self._name_problems(variables)
        groups = variables.get("groups") or {}
        problems += _inputs.group_problems(groups, needed) + _inputs.shared_host_problems(groups, needed)
        problems += self._option_problems(variables, groups)
        if confirm:
            problems += _inputs.confirm_problems(environment, inputs["recovery_confirm"])
        problems += _inputs.replace_running_problems(environment, inputs["recovery_replace_running"])
        problems += _inputs.scenario_problems(scenario, inputs)
        problems += sandbox_problems(scenario, inputs, load_extra_vars(self._loader))
        problems += self._objective_problems(variables)
        if problems:
            text = _inputs.message(problems, scenario)
            return {**result, "failed": True, "msg": text, "error": _inputs.as_error(problems, scenario)}

        if inputs["recovery_id"] is None:
            inputs["recovery_id"] = _inputs.new_recovery_id(scenario, time.time())
        inputs["recovery_wal_target"] = _inputs.wal_target(inputs)
        if inputs["backup_set_components"] is None:
            whole = inputs["backup_set_kind"] == "full"
            inputs["backup_set_components"] = list(_input_forms.STORED if whole else _inputs.INCREMENTAL)
        inputs["recovery_parts"] = parts_of(inputs)
        inputs["recovery_report_dir"] = os.path.abspath(os.path.expanduser(inputs["recovery_report_dir"]))
        hosts = {name: groups[name][0] for name in needed}
        return {**result, "changed": False, "inputs": inputs, "hosts": hosts, "started_epoch": started}

    def _values(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs that are given, with their templates resolved. What a role has by default nobody gave."""
        role = getattr(self._task, "_role", None)
        defaults = role.get_default_vars() if role else {}
        values = {name: self._templar.template(variables[name]) for name in _inputs.INPUTS if name in variables}
        return {
            name: value
            for name, value in values.items()
            if name not in defaults or value != self._templar.template(defaults[name])
        }

    def _name_problems(self, variables: Mapping[str, Any]) -> list[Problem]:
        known = known_variables(ROLES)
        extra = set(load_extra_vars(self._loader))
        inventory = {name: where for name, where in self._inventory_variables(variables).items() if name not in extra}
        return _inputs.unknown_extra_variables(extra, known) + _inputs.unknown_inventory_variables(inventory, known)

    def _inventory_variables(self, variables: Mapping[str, Any]) -> dict[str, str]:
        """Every variable that the inventory sets, in its files, group_vars and host_vars, and for what it is set.

        hostvars will not do: they also hold facts, registered results and what plays and roles set.
        """
        inventory = variables["hostvars"]._inventory
        found: dict[str, str] = {}
        folders = {str(variables[name]) for name in ("playbook_dir",) if variables.get(name)}
        entities = [("group", name, group) for name, group in inventory.groups.items()]
        entities += [("host", name, host) for name, host in inventory.hosts.items()]
        for kind, name, entity in entities:
            names: set[str] = set(entity.vars)
            for stage in ("inventory", "task"):
                names |= set(get_vars_from_inventory_sources(self._loader, inventory._sources, [entity], stage))
                for folder in folders:
                    names |= set(get_vars_from_path(self._loader, folder, [entity], stage))
            for one in names:
                found.setdefault(str(one), f"{kind} {name}")
        return found

    @staticmethod
    def _option_problems(variables: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[Problem]:
        options = context.CLIARGS
        inventory = variables["hostvars"]._inventory
        left = [host.name for host in inventory.get_hosts(ignore_restrictions=True)]
        return _inputs.limit_problems(variables.get("ansible_limit"), left, groups) + _inputs.skipping_problems(
            list(options.get("tags") or ()), list(options.get("skip_tags") or ()), options.get("start_at_task")
        )

    def _objective_problems(self, variables: Mapping[str, Any]) -> list[Problem]:
        if "recovery_objectives" not in variables:
            return []
        try:
            check_objectives(self._templar.template(variables["recovery_objectives"]))
        except RecoveryError as error:
            return [Problem(error.code, f"{error.attempted}: {error.found}", error.next_step)]
        return []


def known_variables(roles: Path) -> set[str]:
    """The union of the inputs: argument specs and defaults of all roles, and the tables in _inputs.py."""
    known = set(_input_names.INVENTORY_VARIABLES) | set(_inputs.INPUTS)
    for path in roles.glob("*/meta/argument_specs.yml"):
        specs = _read_yaml(path).get("argument_specs") or {}
        for spec in specs.values():
            known |= set(spec.get("options") or {})
    for path in roles.glob("*/defaults/main.yml"):
        known |= set(_read_yaml(path))
    return known


def _read_yaml(path: Path) -> dict[str, Any]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 a safe loader
    return found if isinstance(found, dict) else {}


def command_started_at() -> float:
    """When the command of this run was started, in seconds since 1970.

    This code runs in a worker; its parent is the command. Where that is older than STARTUP_SECONDS it did other things
    first, and now is taken, as where the system does not tell.
    """
    now = time.time()
    try:
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        fields = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        age = uptime - float(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return now
    return now - age if 0 <= age <= STARTUP_SECONDS else now
