# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs of a run: which variables there are, their forms, and every way to get them wrong. Pure.

Argument specs do not see a misspelt name: Ansible takes it as one more variable, and the run goes on without what the
operator meant. So every name is compared with the union of what is known, and the nearest is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils import _input_forms as forms
from ansible_collections.platform3.recovery.plugins.module_utils._input_forms import COMPONENTS, STORED
from ansible_collections.platform3.recovery.plugins.module_utils._input_names import (
    FOREIGN_PREFIXES,
    INTERNAL,
    PREFIXES,
)
from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import (
    PARTS,
    names,
    numbers,
    part_mode,
    part_names,
    parts_of,
    server,
    table_mode,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")
INCREMENTAL = ("influxdb",)
# What each scenario brings back where recovery_components does not say.
ALL_COMPONENTS = ("postgresql", "redis", "influxdb", "app_services")
# Scenarios that begin an undertaking of their own; the others work on one that exists and need its id.
BEGINNING = ("full", "partial", "point_in_time", "drill", "backup")
# Scenarios that work on no recovery at all.
APART = (
    "restore_secrets",
    "schedule",
    "catalog",
    "verify_backups",
    "expire_backups",
    "condemn",
    "wal_stream",
    "exposure",
    "second_copy_keys",
    "find_moment",
    "restore_point",
    "recovery_window",
    "sandbox",
    "sandbox_look",
    "sandbox_drop",
)
PLAYBOOKS = {name: f"{name}_recovery.yml" for name in ("full", "partial", "point_in_time")}
PLAYBOOKS |= {"drill": "drill.yml", "backup": "backup.yml"}
# Inputs that name a place in PostgreSQL's WAL, each with its kind; and all that name a point in time.
WAL_TARGETS = {"recovery_target_lsn": "lsn", "recovery_target_xid": "xid"}
TARGETS = ("recovery_target_time", "recovery_point_name", *WAL_TARGETS)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the inputs. code: PRC-1nn; found: a sentence without full stop; next_step: what to do."""

    code: str
    found: str
    next_step: str


@dataclass(frozen=True)
class Input:
    """A variable an operator may give: its normaliser, and what it is where it is not given."""

    normalise: Callable[[object], Any]
    default: Any = None


INPUTS: dict[str, Input] = {
    "recovery_id": Input(forms.identifier),
    "incident_id": Input(forms.text),
    "incident_type": Input(forms.text),
    "incident_at": Input(forms.instant),
    "recovery_confirm": Input(forms.text),
    "recovery_replace_running": Input(forms.text),
    "recovery_backup_set": Input(forms.backup_set, "latest"),
    "recovery_components": Input(forms.components),
    "recovery_target_time": Input(forms.instant),
    "recovery_point_name": Input(forms.recovery_point_name),
    "recovery_into": Input(forms.into),
    "recovery_sandbox_postgresql_port": Input(forms.port, 15432),
    "recovery_sandbox_redis_port": Input(forms.port, 16379),
    "recovery_sandbox_influxdb_port": Input(forms.port, 18086),
    "postgresql_tables": Input(names),
    "postgresql_tables_mode": Input(table_mode),
    "postgresql_tables_source": Input(server),
    "redis_key_patterns": Input(names),
    "redis_key_databases": Input(numbers),
    "redis_key_mode": Input(part_mode),
    "influxdb_chosen_buckets": Input(names),
    "influxdb_chosen_start": Input(forms.instant),
    "influxdb_chosen_stop": Input(forms.instant),
    "influxdb_chosen_mode": Input(part_mode),
    "recovery_target_lsn": Input(forms.wal_position),
    "recovery_target_xid": Input(forms.transaction),
    "recovery_around": Input(forms.instant),
    "recovery_window_seconds": Input(forms.window, 600),
    "recovery_moments_file": Input(forms.text),
    "recovery_report_dir": Input(forms.text, "reports"),
    "recovery_window_file": Input(forms.text),
    "backup_catalog_file": Input(forms.text),
    "backup_set_reason": Input(forms.text),
    "backup_set_verify_full": Input(forms.truth, False),
    "backup_set_kind": Input(forms.backup_kind, "full"),
    "backup_set_components": Input(forms.stored_components),
    "rollback_discard": Input(forms.truth, False),
    "second_copy_at": Input(forms.instant),
}


def given(value: object) -> bool:
    """Whether a value is one: None and empty text (a survey's field that was left empty) are not."""
    return value is not None and not (isinstance(value, str) and not value.strip())


def normalise(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Every known input in its normal form (its default where it is not given), and what is wrong with them."""
    normal: dict[str, Any] = {}
    problems = []
    for name, known in INPUTS.items():
        value = values.get(name)
        normal[name] = known.default
        if given(value):
            try:
                normal[name] = known.normalise(value)
            except ValueError as error:
                found = f"{name} {error}" if not str(error).startswith(repr(value)) else f"{name}: {error}"
                problems.append(Problem("PRC-102", f"{found} (given: {str(value)[:80]!r})", f"correct {name}"))
    return normal, problems


def wal_target(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The place in PostgreSQL's WAL that is asked for, as kind and value; empty where none is."""
    return next(({"kind": kind, "value": inputs[name]} for name, kind in WAL_TARGETS.items() if inputs.get(name)), {})


# --- names -----------------------------------------------------------------------------------------------------------


def unknown_extra_variables(names: Iterable[str], known: Iterable[str]) -> list[Problem]:
    """Extra variables that are no input; what the plays set themselves may not be given either."""
    all_known = _ours(known)
    problems = []
    for name in sorted(set(names)):
        if name in all_known or name.startswith(FOREIGN_PREFIXES):
            continue
        if name in INTERNAL or name.startswith("__"):
            found = f"the extra variable {name!r} is set by the plays and cannot be given"
            problems.append(Problem("PRC-103", found, f"leave {name} out"))
        else:
            found = f"unknown extra variable {name!r}{forms.nearest_clause(name, all_known)}"
            problems.append(Problem("PRC-101", found, _correct(name, all_known)))
    return problems


def unknown_inventory_variables(names: Mapping[str, str], known: Iterable[str]) -> list[Problem]:
    """Inventory variables with our prefixes that are no input. names: variable -> where it stands (for people)."""
    all_known = _ours(known)
    problems = []
    for name, where in sorted(names.items()):
        if name.startswith(PREFIXES) and name not in all_known:
            found = f"unknown variable {name!r} in the inventory ({where}){forms.nearest_clause(name, all_known)}"
            problems.append(Problem("PRC-104", found, _correct(name, all_known)))
    return problems


def _ours(known: Iterable[str]) -> set[str]:
    """What may be given from outside; a role's own variables begin with two lines."""
    return {name for name in (*known, *INPUTS) if name not in INTERNAL and not name.startswith("__")}


def _correct(name: str, known: Iterable[str]) -> str:
    like = forms.nearest(name, known)
    return f"write {like} for {name}, or leave it out" if like else f"leave {name} out"


# --- groups, limits, confirmation ------------------------------------------------------------------------------------


def group_problems(groups: Mapping[str, Sequence[str]], needed: Sequence[str] = GROUPS) -> list[Problem]:
    """Each group that is needed exists and has exactly one host."""
    problems = []
    for name in needed:
        hosts = groups.get(name)
        if hosts is None:
            others = [one for one in groups if one not in needed]
            like = forms.nearest(name, others)
            found = f"the inventory has no group {name!r}" + (
                f"; it has {like!r}, is that a misspelling?" if like else ""
            )
            problems.append(Problem("PRC-110", found, f"name the group {name} in the inventory"))
        elif not hosts:
            found = f"the group {name!r} of the inventory has no host"
            problems.append(Problem("PRC-111", found, f"put the host of {name} into the group"))
        elif len(hosts) > 1:
            listed = ", ".join(sorted(hosts))
            found = f"the group {name!r} of the inventory has {len(hosts)} hosts ({listed}), it must have one"
            problems.append(Problem("PRC-112", found, f"leave exactly one host in the group {name}"))
    return problems


def shared_host_problems(groups: Mapping[str, Sequence[str]], needed: Sequence[str] = GROUPS) -> list[Problem]:
    """No inventory host stands for two components: it can have only one recovery_component."""
    homes: dict[str, list[str]] = {}
    for name in needed:
        for host in groups.get(name) or ():
            homes.setdefault(host, []).append(name)
    return [
        Problem(
            "PRC-113",
            f"the host {host!r} is in the groups {' and '.join(names)}",
            "give each group an inventory host of its own; they may have the same ansible_host",
        )
        for host, names in homes.items()
        if len(names) > 1
    ]


def limit_problems(limit: str | None, left: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[Problem]:
    """--limit leaves every host of the platform in. left: the hosts that the limit leaves."""
    if not limit:
        return []
    there = set(left)
    lost = [host for name in GROUPS for host in groups.get(name) or () if host not in there]
    if not lost:
        return []
    found = f"--limit {limit} leaves out {', '.join(dict.fromkeys(lost))}"
    return [Problem("PRC-114", found, "run without --limit; to bring back a part use partial_recovery.yml")]


def skipping_problems(tags: Sequence[str], skip_tags: Sequence[str], start_at_task: str | None) -> list[Problem]:
    """No option that skips tasks: guard, lock and proofs are tasks too."""
    used = []
    if set(tags) - {"all", "always", "untagged"} or (tags and "all" not in tags):
        used.append(f"--tags {','.join(tags)}")
    if skip_tags:
        used.append(f"--skip-tags {','.join(skip_tags)}")
    if start_at_task:
        used.append(f"--start-at-task '{start_at_task}'")
    return [
        Problem(
            "PRC-115",
            f"{option} would skip tasks, and with them checks that stand before a change of data",
            "run the playbook whole; an unfinished recovery goes on with -e recovery_id=...",
        )
        for option in used
    ]


def confirm_problems(environment: str, confirm: object) -> list[Problem]:
    """recovery_confirm repeats the environment's name."""
    way = f"to replace the data of environment {environment!r} give -e recovery_confirm={environment}"
    if not given(confirm):
        return [Problem("PRC-105", "recovery_confirm is missing", way)]
    if str(confirm).strip() != environment:
        found = (
            f"recovery_confirm is {str(confirm).strip()!r}, and the environment of this inventory is {environment!r}"
        )
        return [Problem("PRC-106", found, f"make sure that the inventory is the right one; {way}")]
    return []


def replace_running_problems(environment: str, value: object) -> list[Problem]:
    """recovery_replace_running, where given, repeats the environment's name."""
    if not given(value) or str(value).strip() == environment:
        return []
    found = f"recovery_replace_running is {str(value).strip()!r}, and the environment is {environment!r}"
    way = f"leave it out, or give -e recovery_replace_running={environment} to replace a platform that still serves"
    return [Problem("PRC-107", found, way)]


def scenario_problems(scenario: str, inputs: Mapping[str, Any]) -> list[Problem]:
    """What does not go together: inputs of another scenario, two targets at once, a missing id."""
    problems = []
    if scenario in ("full", "point_in_time", "sandbox") and inputs.get("recovery_components"):
        listed = ",".join(inputs["recovery_components"])
        kind = scenario.replace("_", "-")
        problems.append(
            Problem(
                "PRC-108",
                f"a {kind} recovery brings back every component, and recovery_components names {listed}",
                f"leave it out, or run: ansible-playbook partial_recovery.yml -e recovery_components={listed}",
            )
        )
    if scenario == "partial" and not (inputs.get("recovery_components") or inputs.get("recovery_id")):
        way = "give -e recovery_components=redis (or several, with commas), or run full_recovery.yml"
        problems.append(Problem("PRC-108", "a partial recovery needs recovery_components", way))
    targets = [name for name in TARGETS if inputs.get(name)]
    if targets and (scenario in ("full", "backup") or scenario == "partial" and not takes_target(inputs)):
        way = "leave it out, or run point_in_time_recovery.yml"
        found = f"{' and '.join(targets)} is given, and this brings back the newest point"
        problems.append(Problem("PRC-109", found, way))
    if scenario in ("point_in_time", "sandbox") and not (targets or inputs.get("recovery_id")):
        way = f"give -e recovery_target_time=2026-11-23T05:17:00+01:00, or one of {', '.join(TARGETS[1:])}"
        problems.append(Problem("PRC-109", "no point in time is given", way))
    if scenario in ("partial", "point_in_time", "recovery_window", "sandbox") and len(targets) > 1:
        # A name, and a place in the WAL, stand for an instant of their own.
        found = f"{' and '.join(targets)} are given, and each is a point in time"
        problems.append(Problem("PRC-109", found, "give one of them"))
    problems += sharing_problems(inputs)
    if scenario == "find_moment" and not inputs.get("recovery_around"):
        way = "give -e recovery_around=2026-11-23T05:17:00+01:00, about when the data was still there"
        problems.append(Problem("PRC-119", "recovery_around is missing: the time that is to be searched", way))
    problems += point_problems(scenario, inputs) + part_problems(scenario, inputs)
    if inputs.get("backup_set_components") and inputs.get("backup_set_kind") != "increment":
        listed = ",".join(inputs["backup_set_components"])
        found = f"backup_set_components names {listed}, and a full backup holds every component"
        way = f"leave it out, or give -e backup_set_kind=increment -e backup_set_components={listed}"
        problems.append(Problem("PRC-108", found, way))
    if scenario not in (*BEGINNING, *APART) and not inputs.get("recovery_id"):
        found = f"recovery_id is missing: {scenario.replace('_', ' ')} works on one that exists"
        problems.append(Problem("PRC-116", found, "give -e recovery_id=...; reports/ and the state folder name them"))
    return problems


def takes_target(inputs: Mapping[str, Any]) -> bool:
    """Whether a partial recovery can be to a point in time: one of chosen parts whose sources reach any instant.

    A whole datastore of an earlier instant would not fit the others; a dump is of the instant of its backup.
    """
    parts = parts_of(inputs)
    asked = [name for name in inputs.get("recovery_components") or () if name in STORED and name != "configuration"]
    from_dump = "postgresql" in parts and not inputs.get("postgresql_tables_source")
    in_wal = any(inputs.get(name) for name in WAL_TARGETS)
    return bool(parts) and all(name in parts for name in asked) and not (from_dump or in_wal)


def sharing_problems(inputs: Mapping[str, Any]) -> list[Problem]:
    """Only PostgreSQL knows its LSNs and transactions: the others are brought to the time of its commit there."""
    asked = inputs.get("recovery_components") or COMPONENTS
    stores = [name for name in STORED if name in asked and name != "configuration"]
    return [
        Problem(
            "PRC-121",
            f"{name} is a place in PostgreSQL's WAL, recovery_components leaves postgresql out,"
            f" and {' and '.join(stores) or 'nothing else that is asked for'} cannot be brought to it",
            "give the instant as recovery_target_time, which all datastores share, or add postgresql",
        )
        for name in WAL_TARGETS
        if inputs.get(name) and "postgresql" not in asked
    ]


def point_problems(scenario: str, inputs: Mapping[str, Any]) -> list[Problem]:
    """What restore_point.yml needs: a name, for the present moment."""
    if scenario != "restore_point":
        return []
    problems = []
    if not inputs.get("recovery_point_name"):
        way = "give -e recovery_point_name=before-release-7"
        problems.append(Problem("PRC-117", "recovery_point_name is missing: the point needs a name", way))
    past = [name for name in TARGETS if name != "recovery_point_name" and inputs.get(name)]
    if past:
        found = f"{' and '.join(past)} is given, and a restore point names the present moment"
        problems.append(Problem("PRC-118", found, "leave it out; an instant of the past needs no name to be reached"))
    return problems


def part_problems(scenario: str, inputs: Mapping[str, Any]) -> list[Problem]:
    """Parts of a datastore are chosen for a partial recovery of that datastore, and say which before they say how."""
    found = [name for name in part_names() if inputs.get(name)]
    if found and scenario != "partial":
        way = "leave it out, or run partial_recovery.yml"
        return [Problem("PRC-122", f"{', '.join(found)} chooses parts of a datastore, and this takes it whole", way)]
    problems = []
    asked = inputs.get("recovery_components")
    for component, (choosing, telling) in PARTS.items():
        given_here = [name for name in (*choosing, *telling) if inputs.get(name)]
        if given_here and asked and component not in asked:
            named = f"{given_here[0]} is given, and recovery_components leaves {component} out"
            way = f"give -e recovery_components={','.join([*asked, component])}, or leave {given_here[0]} out"
            problems.append(Problem("PRC-122", named, way))
        elif given_here and not any(inputs.get(name) for name in choosing) and not inputs.get("recovery_id"):
            # The whole datastore would be replaced by who wanted a part of it.
            named = f"{given_here[0]} says how chosen parts of {component} come back, and none are chosen"
            problems.append(Problem("PRC-122", named, f"choose them with -e {choosing[0]}=..., or leave it out"))
    return problems


def new_recovery_id(scenario: str, now_seconds: float) -> str:
    """The id of an undertaking that begins now: its UTC second and its scenario."""
    stamp = to_iso(now_seconds)[:19].replace("-", "").replace(":", "")
    return f"{stamp}Z-{scenario}"


def message(problems: Sequence[Problem], scenario: str) -> str:
    """All problems at once, as the operator reads them."""
    play = PLAYBOOKS.get(scenario, f"playbooks/{scenario}.yml")
    if len(problems) == 1:
        one = problems[0]
        lines = [f"[{one.code}] Could not start {play}: {_ended(one.found)}", "  Data: nothing was touched."]
        return "\n".join([*lines, f"  Next: {_ended(one.next_step)}"])
    lines = [f"[PRC-100] Could not start {play}: {len(problems)} of its inputs are wrong."]
    for one in problems:
        lines += [f"  [{one.code}] {_ended(one.found)}", f"    Next: {_ended(one.next_step)}"]
    return "\n".join([*lines, "  Data: nothing was touched."])


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else sentence + "."


def as_error(problems: Sequence[Problem], scenario: str) -> dict[str, Any]:
    """The problems as data, in the form of RecoveryError.as_dict; `codes` has the number of each."""
    one = problems[0] if len(problems) == 1 else None
    return {
        "code": one.code if one else "PRC-100",
        "attempted": f"start {PLAYBOOKS.get(scenario, scenario)}",
        "found": "; ".join(problem.found for problem in problems),
        "data": "nothing was touched",
        "next_step": "; ".join(dict.fromkeys(problem.next_step for problem in problems)),
        "codes": [problem.code for problem in problems],
    }
