# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The barrier before a step: what the journal must hold before a phase may begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import (
    DATASTORES,
    blocking_failure,
    read_history,
)

# Which phase must have ended well, for every component of the recovery, before this one may begin. Presence is asked
# for, not absence of failure: a host that was lost before it could write anything has no failure on record.
_NEEDS_OF_ALL = {"isolate": "assess", "restore": "isolate", "resume": "verify", "validate": "resume"}


def barrier(entries: Sequence[dict[str, Any]], phase: str, component: str) -> str | None:
    """Why this step may not begin, or None. entries: the journal, this step's own start last.

    What works on a recovery that exists, such as a rollback, names no components and has no phases of it to wait for;
    every host answers in its assess phase, and then it stops at its own first failure.
    """
    runs = read_history(entries).runs
    if runs and runs[-1].get("kind") == "recovery" and not runs[-1].get("components"):
        return None if phase == "assess" else own_failure(entries, phase)
    if component == "configuration" and phase == "restore":
        # Its missing files are put back first, as the preflights read them, and beside what else is looked at.
        return blocking_failure(entries, "assess", component)
    return blocking_failure(entries, phase, component) or missing_proof(entries, phase, component)


def own_failure(entries: Sequence[dict[str, Any]], phase: str) -> str | None:
    """What failed in the newest run, whatever the component; None where nothing did.

    Half of the data put back is no platform to start services on. A step of another phase that has no end has failed.
    """
    history = read_history(entries)
    for step in history.steps:
        lost = step.outcome == "unfinished" and step.phase != phase
        if step.run == len(history.runs) and (step.outcome == "failed" or lost):
            return f"{step.phase} of {step.component} on {step.host} failed at '{step.name}': {step.says}"
    return None


def missing_proof(entries: Sequence[dict[str, Any]], phase: str, component: str) -> str | None:
    """The components that have not ended the phase before this one in this run; None where all have.

    A backup has none; configuration is part of assess alone.
    """
    history = read_history(entries)
    components = history.runs[-1].get("components") if history.runs else None
    if not components:
        return None
    done = {
        (step.phase, step.component) for step in history.steps if step.run == len(history.runs) and step.outcome == "ok"
    }
    if phase == "verify":
        needed = {("restore", component)} if component in DATASTORES else set()
    elif phase in _NEEDS_OF_ALL:
        # Nobody is isolated for a sandbox.
        beside = phase == "restore" and history.runs[-1].get("scenario") == "sandbox"
        before = "assess" if beside else _NEEDS_OF_ALL[phase]
        hosts = [name for name in components if name in DATASTORES or name == "app_services"]
        if before == "isolate":  # a server of which only parts come back goes on serving
            hosts = [name for name in hosts if name not in (history.runs[0].get("parts") or {})]
        needed = {(before, name) for name in hosts if before in ("assess", "isolate") or name in _WORKS_IN[before]}
        if before == "assess":
            needed.add(("assess", "recovery"))  # every needed byte of the set was verified
    else:
        needed = set()
    missing = sorted(f"{name}: {before} has not ended" for before, name in needed - done)
    return "; ".join(missing) or None


_WORKS_IN = {"verify": DATASTORES, "resume": ("app_services",)}


def touched(entries: Sequence[dict[str, Any]], runs: int) -> str | None:
    """The scenario of the newest run that began a step which may change data; None where none did.

    Of the newest so many runs: those since the lock was taken. A rollback works on a recovery that has ended before.
    Configuration is only ever added where it is missing, so that it leaves nothing half done.
    """
    history = read_history(entries)
    found = [
        step.run
        for step in history.steps
        if step.run > len(history.runs) - runs
        and step.phase not in ("assess", "report")
        and step.component != "configuration"
        and step.outcome != "refused"
    ]
    return str(history.runs[max(found) - 1].get("scenario") or "full") if found else None


def resumed(entries: Sequence[dict[str, Any]]) -> bool:
    """Whether services were started on the restored data, in any run of this recovery: they write from then on."""
    return any(
        step.phase == "resume" and step.component == "app_services" and step.outcome != "refused"
        for step in read_history(entries).steps
    )
