# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The schedule: a list of jobs from the inventory, checked, as command lines for systemd's units. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._input_forms import nearest_clause

# Field: (type, what it is where it is not given; None: it is needed).
_FIELDS: dict[str, tuple[type, Any]] = {
    "name": (str, None),
    "playbook": (str, None),
    "extra_vars": (dict, {}),
    "on_calendar": (str, None),
    "randomized_delay_seconds": (int, 0),
    "timeout_seconds": (int, None),
}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_PLAYBOOK = re.compile(r"[a-z0-9_]+\.yml", re.ASCII)
_CALENDAR = re.compile(r"[A-Za-z0-9*:,./~ _+-]+", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_@:./=+,-]+", re.ASCII)


@dataclass(frozen=True)
class Runner:
    """What every job is run with. command: path of ansible-playbook; arguments: its options, for each job alike."""

    command: str
    playbooks: str
    inventories: tuple[str, ...]
    arguments: tuple[str, ...]


def jobs_of(given: Sequence[Mapping[str, Any]], runner: Runner, there: Iterable[str]) -> list[dict[str, Any]]:
    """Every job with all its fields and its command line (argv); PRC-360 for a malformed one, PRC-361 without playbook.

    there: names of the playbooks that exist.
    """
    jobs = [_whole(one, number) for number, one in enumerate(given)]
    names = [job["name"] for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _malformed(f"two jobs are named {twice[0]!r}")
    known = sorted(there)
    for job in jobs:
        if job["playbook"] not in known:
            raise RecoveryError(
                "PRC-361",
                f"schedule the job {job['name']}",
                f"{runner.playbooks} holds no {job['playbook']!r}{nearest_clause(job['playbook'], known)}",
                "no unit was installed or changed",
                "correct playbook in schedule_jobs of the inventory",
            )
        job["argv"] = argv_of(job, runner)
    return jobs


def _whole(given: Mapping[str, Any], number: int) -> dict[str, Any]:
    where = f"schedule_jobs[{number}]"
    if not isinstance(given, Mapping):
        raise _malformed(f"{where} is no mapping")
    for name in given:
        if name not in _FIELDS:
            raise _malformed(f"{where}.{name} is not a known field{nearest_clause(str(name), _FIELDS)}")
    job: dict[str, Any] = {}
    for name, (kind, default) in _FIELDS.items():
        value = given.get(name, default)
        if value is None:
            raise _malformed(f"{where}.{name} is missing")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _malformed(f"{where}.{name} is of type {type(value).__name__}, not {kind.__name__}")
        job[name] = value
    for name, form in (("name", _NAME), ("playbook", _PLAYBOOK), ("on_calendar", _CALENDAR)):
        if not form.fullmatch(job[name]):
            raise _malformed(f"{where}.{name} {job[name]!r} has not the form {form.pattern}")
    if job["randomized_delay_seconds"] < 0 or job["timeout_seconds"] < 1:
        raise _malformed(f"{where} has a negative delay, or a timeout below 1 s")
    return job


def _malformed(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-360",
        "read the schedule",
        found,
        "no unit was installed or changed",
        "correct schedule_jobs in the inventory",
    )


def argv_of(job: Mapping[str, Any], runner: Runner) -> list[str]:
    """The command line of a job."""
    argv = [runner.command]
    for one in runner.inventories:
        argv += ["--inventory", one]
    argv += [*runner.arguments, f"{runner.playbooks}/{job['playbook']}"]
    if job["extra_vars"]:
        argv += ["--extra-vars", json.dumps(job["extra_vars"], sort_keys=True)]
    return argv


def exec_line(argv: Sequence[str]) -> str:
    """A command line for ExecStart, every argument as it is (systemd.service(5), quoting; systemd.unit(5), specifiers).

    PRC-360 for a control character: a unit's line ends at a newline.
    """
    if not argv or any(not one.isprintable() for one in argv):
        raise _malformed("a command line is empty, or holds a character that cannot be printed")
    return " ".join(_quoted(one, first=number == 0) for number, one in enumerate(argv))


def _quoted(text: str, first: bool) -> str:
    shown = text.replace("%", "%%")
    # In the path of the command itself a dollar stands for itself.
    shown = shown if first else shown.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return shown
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
