# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs of a run: which variables there are, their forms, and every way to get them wrong. Pure.

Argument specs do not see a misspelt name: Ansible takes it as one more variable, and the run goes on without what the
operator meant. So every name is compared with the union of what is known, and the nearest is named.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._input_names import (
    FOREIGN_PREFIXES,
    INTERNAL,
    PREFIXES,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")
COMPONENTS = ("postgresql", "redis", "influxdb", "configuration", "app_services")
# What a backup set holds, and what an increment backs up where backup_set_components does not say.
STORED = ("postgresql", "redis", "influxdb", "configuration")
INCREMENTAL = ("influxdb",)
KINDS = ("full", "increment")
DAY_SECONDS = 86400
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

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SET = re.compile(r"latest|\d{8}T\d{6}Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_TRUE = frozenset(("yes", "true", "on", "1", "y", "t"))
_FALSE = frozenset(("no", "false", "off", "0", "n", "f"))


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the inputs. code: PRC-1nn; found: a sentence without full stop; next_step: what to do."""

    code: str
    found: str
    next_step: str


# --- forms -----------------------------------------------------------------------------------------------------------
# A normaliser takes the value as given (never empty) and returns the normal form, or raises ValueError with a clause.


def identifier(value: object) -> str:
    """A recovery_id: 1 to 64 of letters, digits, `.`, `_`, `-`, not beginning with a sign. It names a folder."""
    text = str(value).strip()
    if not _ID.fullmatch(text):
        raise ValueError("may hold letters, digits, '.', '_' and '-', at most 64, and begins with a letter or digit")
    return text


def text(value: object) -> str:
    """One line of text."""
    if isinstance(value, (dict, list)):
        raise ValueError("must be text")
    shown = str(value).strip()
    if "\n" in shown or len(shown) > 500:
        raise ValueError("must be one line of at most 500 characters")
    return shown


def instant(value: object) -> str:
    """A time with its offset from UTC, given back as ISO 8601 UTC with `Z`."""
    return to_iso(parse_iso(str(value)))


def backup_set(value: object) -> str:
    """`latest` or the id of a set."""
    shown = str(value).strip()
    if not _SET.fullmatch(shown):
        raise ValueError("must be 'latest' or the id of a backup set, such as 20261123T051700Z")
    return shown


def recovery_point_name(value: object) -> str:
    """The name of a restore point, at most 63 characters as PostgreSQL takes it."""
    shown = str(value).strip()
    if not _NAME.fullmatch(shown):
        raise ValueError("may hold letters, digits and '_.-', at most 63, and names a file")
    return shown


def truth(value: object) -> bool:
    """A yes or no; AWX surveys have no booleans and send words."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("must be yes or no")


def components(value: object, known: Sequence[str] = COMPONENTS) -> list[str]:
    """A list, or names parted by commas or spaces, in the platform's order, each once."""
    names = value if isinstance(value, (list, tuple)) else re.split(r"[,\s]+", str(value).strip(" ,[]"))
    asked = [str(name).strip().strip("'\"").lower() for name in names if str(name).strip()]
    unknown = [name for name in asked if name not in known]
    if unknown:
        told = [f"unknown component {name!r}{nearest_clause(name, known)}" for name in dict.fromkeys(unknown)]
        raise ValueError(f"names {'; '.join(told)}. There are {', '.join(known)}")
    if not asked:
        raise ValueError("names no component")
    return [name for name in known if name in asked]


def stored_components(value: object) -> list[str]:
    """As components(), of those that a backup set holds."""
    return components(value, STORED)


def backup_kind(value: object) -> str:
    """`full` or `increment`."""
    kind = str(value).strip().lower()
    if kind not in KINDS:
        raise ValueError(f"must be {' or '.join(KINDS)}{nearest_clause(kind, KINDS)}")
    return kind


def window(value: object) -> int:
    """Seconds that are searched before and after a time: 1 to a day."""
    shown = str(value).strip()
    if isinstance(value, bool) or not shown.isdecimal() or not 1 <= int(shown) <= DAY_SECONDS:
        raise ValueError(f"must be a number of seconds from 1 to {DAY_SECONDS}")
    return int(shown)


def into(value: object) -> str:
    """Where else than into the platform a point is restored: `sandbox`."""
    place = str(value).strip().lower()
    if place != "sandbox":
        raise ValueError(f"must be sandbox{nearest_clause(place, ['sandbox'])}")
    return place


def port(value: object) -> int:
    """The number of a TCP port."""
    shown = str(value).strip()
    if isinstance(value, bool) or not shown.isdecimal() or not 1 <= int(shown) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(shown)


@dataclass(frozen=True)
class Input:
    """A variable an operator may give: its normaliser, and what it is where it is not given."""

    normalise: Callable[[object], Any]
    default: Any = None


INPUTS: dict[str, Input] = {
    "recovery_id": Input(identifier),
    "incident_id": Input(text),
    "incident_type": Input(text),
    "incident_at": Input(instant),
    "recovery_confirm": Input(text),
    "recovery_replace_running": Input(text),
    "recovery_backup_set": Input(backup_set, "latest"),
    "recovery_components": Input(components),
    "recovery_target_time": Input(instant),
    "recovery_point_name": Input(recovery_point_name),
    "recovery_into": Input(into),
    "recovery_sandbox_postgresql_port": Input(port, 15432),
    "recovery_sandbox_redis_port": Input(port, 16379),
    "recovery_sandbox_influxdb_port": Input(port, 18086),
    "recovery_around": Input(instant),
    "recovery_window_seconds": Input(window, 600),
    "recovery_moments_file": Input(text),
    "recovery_report_dir": Input(text, "reports"),
    "recovery_window_file": Input(text),
    "backup_catalog_file": Input(text),
    "backup_set_reason": Input(text),
    "backup_set_verify_full": Input(truth, False),
    "backup_set_kind": Input(backup_kind, "full"),
    "backup_set_components": Input(stored_components),
    "rollback_discard": Input(truth, False),
    "second_copy_at": Input(instant),
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


# --- names -----------------------------------------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, None where none is."""
    # The usual shared beginning would make everything alike: 0.6 of the rest decides too.
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_clause(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?` or nothing."""
    like = nearest(name, known)
    return f", did you mean {like!r}?" if like else ""


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
            found = f"unknown extra variable {name!r}{nearest_clause(name, all_known)}"
            problems.append(Problem("PRC-101", found, _correct(name, all_known)))
    return problems


def unknown_inventory_variables(names: Mapping[str, str], known: Iterable[str]) -> list[Problem]:
    """Inventory variables with our prefixes that are no input. names: variable -> where it stands (for people)."""
    all_known = _ours(known)
    problems = []
    for name, where in sorted(names.items()):
        if name.startswith(PREFIXES) and name not in all_known:
            found = f"unknown variable {name!r} in the inventory ({where}){nearest_clause(name, all_known)}"
            problems.append(Problem("PRC-104", found, _correct(name, all_known)))
    return problems


def _ours(known: Iterable[str]) -> set[str]:
    """What may be given from outside; a role's own variables begin with two lines."""
    return {name for name in (*known, *INPUTS) if name not in INTERNAL and not name.startswith("__")}


def _correct(name: str, known: Iterable[str]) -> str:
    like = nearest(name, known)
    return f"write {like} for {name}, or leave it out" if like else f"leave {name} out"


# --- groups, limits, confirmation ------------------------------------------------------------------------------------


def group_problems(groups: Mapping[str, Sequence[str]], needed: Sequence[str] = GROUPS) -> list[Problem]:
    """Each group that is needed exists and has exactly one host."""
    problems = []
    for name in needed:
        hosts = groups.get(name)
        if hosts is None:
            others = [one for one in groups if one not in needed]
            like = nearest(name, others)
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
    targets = [name for name in ("recovery_target_time", "recovery_point_name") if inputs.get(name)]
    if targets and scenario in ("full", "partial", "backup"):
        way = "leave it out, or run point_in_time_recovery.yml"
        found = f"{' and '.join(targets)} is given, and this brings back the newest point"
        problems.append(Problem("PRC-109", found, way))
    if scenario in ("point_in_time", "sandbox") and not (targets or inputs.get("recovery_id")):
        way = "give -e recovery_target_time=2026-11-23T05:17:00+01:00, or -e recovery_point_name=..."
        problems.append(Problem("PRC-109", "no point in time is given", way))
    if scenario in ("point_in_time", "recovery_window", "sandbox") and len(targets) > 1:
        # A name stands for an instant of its own.
        found = f"{' and '.join(targets)} are given, and each is a point in time"
        problems.append(Problem("PRC-109", found, "give one of them"))
    if scenario == "find_moment" and not inputs.get("recovery_around"):
        way = "give -e recovery_around=2026-11-23T05:17:00+01:00, about when the data was still there"
        problems.append(Problem("PRC-119", "recovery_around is missing: the time that is to be searched", way))
    problems += point_problems(scenario, inputs)
    if inputs.get("backup_set_components") and inputs.get("backup_set_kind") != "increment":
        listed = ",".join(inputs["backup_set_components"])
        found = f"backup_set_components names {listed}, and a full backup holds every component"
        way = f"leave it out, or give -e backup_set_kind=increment -e backup_set_components={listed}"
        problems.append(Problem("PRC-108", found, way))
    if scenario not in (*BEGINNING, *APART) and not inputs.get("recovery_id"):
        found = f"recovery_id is missing: {scenario.replace('_', ' ')} works on one that exists"
        problems.append(Problem("PRC-116", found, "give -e recovery_id=...; reports/ and the state folder name them"))
    return problems


def point_problems(scenario: str, inputs: Mapping[str, Any]) -> list[Problem]:
    """What restore_point.yml needs: a name, for the present moment."""
    if scenario != "restore_point":
        return []
    problems = []
    if not inputs.get("recovery_point_name"):
        way = "give -e recovery_point_name=before-release-7"
        problems.append(Problem("PRC-117", "recovery_point_name is missing: the point needs a name", way))
    if inputs.get("recovery_target_time"):
        found = "recovery_target_time is given, and a restore point names the present moment"
        problems.append(Problem("PRC-118", found, "leave it out; an instant of the past needs no name to be reached"))
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
