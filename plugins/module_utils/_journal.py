# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a recovery's journal says: which entries count, the steps, who may go on, and where the time went.

All of it is pure. The journal's form, one JSON object a line, is described in docs/report.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

Entry = dict[str, Any]
Interval = tuple[float, float]

PHASES = ("assess", "isolate", "restore", "verify", "resume", "validate", "report")
DATASTORES = ("postgresql", "redis", "influxdb")
COMPONENTS = (*DATASTORES, "configuration", "app_services")

# Parts of a step (result.parts) that are work on data or the start of a server. All others (waiting, comparing,
# stopping, exchanging folders) are orchestration: what remains when nothing is copied, hashed, replayed or started.
WORK_PARTS = ("copy", "hash", "load", "replay", "rewrite", "initialise", "start", "promote")

_OUTCOMES = {"step_finished": "ok", "step_failed": "failed", "step_refused": "refused"}


def parse(text: str) -> list[Entry]:
    """The entries of a journal's text, in order; lines that cannot be read are left out (see damaged_lines)."""
    return _read(text)[0]


def damaged_lines(text: str) -> list[int]:
    """Numbers (from 1) of unreadable lines. The last line, torn by a crash while it was appended, is not one."""
    return _read(text)[1]


def _read(text: str) -> tuple[list[Entry], list[int]]:
    entries: list[Entry] = []
    damaged: list[int] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _entry_of(line)
        if entry is not None:
            entries.append(entry)
        elif number < len(lines):
            damaged.append(number)
        # A torn line has no end of its own: the next run's first entry may stand right behind it.
        torn_at = line.rfind('{"at":')
        if entry is None and torn_at > 0:
            behind = _entry_of(line[torn_at:])
            if behind is not None:
                entries.append(behind)
    return entries, damaged


def _entry_of(line: str) -> Entry | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def counting(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that count: none of an older epoch that stands after a run with a newer one has started."""
    newest = 0
    kept: list[Entry] = []
    for entry in entries:
        epoch = _whole(entry.get("epoch"))
        if epoch < newest:
            continue
        if entry["event"] == "run_started":
            newest = epoch
        kept.append(entry)
    return kept


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


@dataclass(frozen=True)
class Step:
    """One step of one run. started and ended are seconds since the first run began, ended None where no end is known.

    outcome: ok, failed, refused, or unfinished (a start without an end: a lost host, a killed controller, or a step
    that is still at work). run counts the runs from 1. order is the place of the start in the journal.
    """

    run: int
    phase: str
    component: str
    host: str
    name: str
    started: float
    ended: float | None
    outcome: str
    order: int
    changed: bool
    result: dict[str, Any]
    error: dict[str, Any] | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same step in another run."""
        return (self.phase, self.component, self.host, self.name)

    @property
    def seconds(self) -> float | None:
        """How long it took, None where its end is not known."""
        return None if self.ended is None else max(0.0, self.ended - self.started)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The checks it made."""
        found = self.result.get("checks")
        return [one for one in found if isinstance(one, dict) and "name" in one] if isinstance(found, list) else []

    @property
    def says(self) -> str:
        """Why it did not end well, as the journal has it; empty when it did."""
        if self.outcome == "ok":
            return ""
        if self.outcome == "unfinished":
            return "it began and no end is recorded (host lost, or the run was killed)"
        error = self.error or {}
        return str(error.get("found") or error.get("message") or self.result.get("msg") or "no reason is recorded")


@dataclass(frozen=True)
class History:
    """A journal, read. started: wall clock of the first run's start in seconds since 1970; now: the end of what is
    known, in seconds since that start; runs: the run_started entries that count; later_runs: when those after the first
    began, in seconds since that start; ignored: how many entries do not count."""

    started: float
    now: float
    runs: list[Entry]
    later_runs: list[float]
    steps: list[Step]
    entries: list[Entry]
    ignored: int

    def instant(self, seconds: float) -> str:
        """The wall-clock time (ISO 8601 UTC) of a moment given in seconds since the first run began."""
        return to_iso(self.started + seconds)

    @property
    def components(self) -> list[str]:
        """The components that have steps, in the order of the platform, others behind."""
        seen = {step.component for step in self.steps}
        return [name for name in COMPONENTS if name in seen] + sorted(seen - set(COMPONENTS))


def told_at_start(history: History) -> dict[str, Any]:
    """What the first run was told: components, backup_set, incident_id, incident_at, environment, scenario …"""
    return dict(history.runs[0]) if history.runs else {}


class _Timeline:
    """Places entries on one axis: seconds since the first run began.

    Within one boot of the store's host the monotonic clock decides, so that a stepped wall clock changes nothing;
    between boots the wall clock does, and never backwards.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._bases: dict[str, float] = {}
        self._origin = 0.0
        latest = 0.0
        for index, entry in enumerate(entries):
            if index == 0:
                self._origin = _wall(entry)
            boot = self._boot(entry)
            if boot is None:
                continue
            if boot not in self._bases:
                self._bases[boot] = max(latest, _wall(entry) - self._origin) - float(entry["monotonic"])
            latest = max(latest, self.at(entry))

    @staticmethod
    def _boot(entry: Entry) -> str | None:
        has_clock = isinstance(entry.get("monotonic"), (int, float))
        return str(entry["boot_id"]) if has_clock and entry.get("boot_id") else None

    def at(self, entry: Entry) -> float:
        boot = self._boot(entry)
        if boot is not None and boot in self._bases:
            return max(0.0, self._bases[boot] + float(entry["monotonic"]))
        return max(0.0, _wall(entry) - self._origin)


def _wall(entry: Entry) -> float:
    try:
        return parse_iso(str(entry.get("at", "")))
    except ValueError:
        return 0.0


def read_history(entries: Sequence[Entry], now: Entry | None = None) -> History:
    """The history that these entries tell. now: the clock at reading (`at`, `monotonic`, `boot_id`), else the last
    entry's.

    The first run began when its run_started entry was written, less `result.elapsed_seconds` of that entry (how long it
    had been under way before it got the lock and with it the right to write).
    """
    kept = counting(entries)
    first = next((index for index, entry in enumerate(kept) if entry["event"] == "run_started"), 0)
    ordered = kept[first:] + ([now] if now else [])
    timeline = _Timeline(ordered)
    before = _number(_result(kept[first]).get("elapsed_seconds")) if kept else 0.0
    placed = [max(0.0, timeline.at(entry) + before) for entry in ordered]
    started = (_wall(ordered[0]) if ordered else 0.0) - before
    count = len(ordered) - (1 if now else 0)
    return History(
        started=started,
        now=max(placed, default=0.0),
        runs=[entry for entry in kept if entry["event"] == "run_started"],
        later_runs=[at for entry, at in zip(ordered, placed) if entry.get("event") == "run_started"][1:],
        steps=_pair(ordered[:count], placed[:count]),
        entries=kept,
        ignored=len(entries) - len(kept),
    )


def _result(entry: Entry) -> dict[str, Any]:
    found = entry.get("result")
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if good else 0.0  # type: ignore[arg-type]


def _pair(entries: Sequence[Entry], placed: Sequence[float]) -> list[Step]:
    """Steps from starts and ends. An end belongs to the newest open start of the same step in the same run."""
    steps: list[Step] = []
    open_at: dict[tuple[str, ...], list[int]] = {}
    run = 0
    for order, (entry, at) in enumerate(zip(entries, placed)):
        event = entry["event"]
        if event == "run_started":
            run += 1
            open_at = {}
        if event != "step_started" and event not in _OUTCOMES:
            continue
        key = tuple(str(entry.get(name) or "") for name in ("phase", "component", "host", "name"))
        begun = open_at.get(key)
        if event == "step_started":
            open_at.setdefault(key, []).append(len(steps))
            steps.append(_step(entry, run, at, None, "unfinished", order))
        elif begun:
            index = begun.pop()
            start = steps[index]
            steps[index] = _step(entry, run, start.started, at, _OUTCOMES[event], start.order)
        else:
            steps.append(_step(entry, run, at, at, _OUTCOMES[event], order))
    return steps


def _step(entry: Entry, run: int, started: float, ended: float | None, outcome: str, order: int) -> Step:
    error = entry.get("error")
    return Step(
        run=max(run, 1),
        phase=str(entry.get("phase") or ""),
        component=str(entry.get("component") or ""),
        host=str(entry.get("host") or ""),
        name=str(entry.get("name") or ""),
        started=started,
        ended=ended,
        outcome=outcome,
        order=order,
        changed=bool(entry.get("changed")),
        result=_result(entry),
        error=error if isinstance(error, dict) else None,
    )


# --- who may go on ---------------------------------------------------------------------------------------------------


def blocking_failure(entries: Sequence[Entry], phase: str, component: str) -> str | None:
    """Why a step of this phase and component must not run now, or None. The barrier between the phases.

    Only the newest run's failures block; what an earlier run failed at is what this one is there to mend.
    - report is never blocked.
    - A failure in assess or isolate blocks every later phase of every component. So does one in resume, and within
      resume and validate any failure blocks what follows: nobody is let in to a platform that half works.
    - A component's own failure blocks its later steps. The others go on.
    - resume and validate need each datastore verified that this recovery brings back (all where the run names none).
    - The manifest of a backup set (phase backup, component backup_set) is not written over a failed component.
    A step of an earlier phase that began and has no end is a failure: phases are separate plays, so nothing of an
    earlier phase can still be at work.
    """
    if phase == "report":
        return None
    history = read_history(entries)
    rank = _rank(phase)
    current = [step for step in history.steps if step.run == len(history.runs)] if history.runs else history.steps
    for step in current:
        earlier = _rank(step.phase) < rank
        same = step.phase == phase
        if step.outcome == "ok" or not (earlier or same) or (same and step.outcome == "unfinished"):
            continue
        everyone = (earlier and step.phase in ("assess", "isolate", "resume")) or (
            same and phase in ("resume", "validate")
        )
        if everyone or step.component == component or (phase == "backup" and component == "backup_set"):
            return f"{step.phase} of {step.component} {_ending(step)} at '{step.name}': {step.says}"
    if phase in ("resume", "validate"):
        asked = told_at_start(history).get("components") or DATASTORES
        unproven = [name for name in DATASTORES if name in asked and component_state(history, name) != "verified"]
        if unproven:
            return f"not verified: {', '.join(unproven)}; services start only on data that was"
    return None


def _rank(phase: str) -> int:
    return PHASES.index(phase) if phase in PHASES else 0


def _ending(step: Step) -> str:
    return {"failed": "failed", "refused": "was refused", "unfinished": "did not end"}[step.outcome]


def component_state(history: History, component: str) -> str:
    """How far a component came: verified, failed, unfinished, incomplete, unchanged or not_started.

    The newest run in which it was worked on decides. Verified means: nothing of it went wrong in that run, and verify
    made at least one check after its last isolate or restore, all of them good. Incomplete is a component without
    failure and without proof, which is no success. One that was only looked at in assess is unchanged.
    """
    every = [step for step in history.steps if step.component == component]
    own = [step for step in every if step.phase in ("isolate", "restore", "verify")]
    if not own:
        looked_at = bool(every) and component not in DATASTORES and all(step.outcome == "ok" for step in every)
        return "unchanged" if looked_at else "not_started"
    newest = [step for step in own if step.run == own[-1].run]
    if any(step.outcome in ("failed", "refused") for step in newest):
        return "failed"
    if any(step.outcome == "unfinished" for step in newest):
        return "unfinished"
    proofs = [check for step in verifications(history, component) for check in step.checks]
    return "verified" if proofs and all(check.get("ok") is True for check in proofs) else "incomplete"


def verifications(history: History, component: str) -> list[Step]:
    """The component's verify steps behind its last isolate or restore; configuration's restore compares by itself."""
    own = [step for step in history.steps if step.component == component]
    changed_at = max((step.order for step in own if step.phase in ("isolate", "restore")), default=-1)
    if component == "configuration":
        return [step for step in own if step.order >= changed_at]
    return [step for step in own if step.phase == "verify" and step.order > changed_at]


def latest_steps(history: History) -> list[Step]:
    """The steps of the newest run each of them occurred in: what stands, once later runs have mended the earlier."""
    newest: dict[tuple[str, str, str, str], int] = {}
    for step in history.steps:
        newest[step.key] = max(step.run, newest.get(step.key, 0))
    return [step for step in history.steps if step.run == newest[step.key]]


def overcome(history: History, step: Step) -> bool:
    """Whether a later run got past this step: the same step ended well there, or a later one of its component did."""
    return any(
        later.run > step.run
        and later.outcome == "ok"
        and later.component == step.component
        and (later.key == step.key or _rank(later.phase) > _rank(step.phase))
        for later in history.steps
    )


def trade_read_back(history: History) -> float | None:
    """When the trade placed through the gateway was read back, in seconds since the start; None if it never was.

    It is a good check of the phase validate that has "read back" in its name, made after the last change of any data.
    The step's end is taken, or `result.trade_read_back_at` (ISO) where that lies within the step. The last one counts.
    """
    for step in reversed(_after_last_change(history)):
        if (
            step.phase == "validate"
            and step.ended is not None
            and any("read back" in str(check["name"]).lower() and check.get("ok") is True for check in step.checks)
        ):
            try:
                at = parse_iso(str(step.result.get("trade_read_back_at"))) - history.started
            except ValueError:
                return step.ended
            return min(max(at, step.started), step.ended)
    return None


def gateway_opened(history: History) -> float | None:
    """When customers were let in again, in seconds since the start; None if they were not.

    It is a good step of the phase validate whose name begins with "Open", after the last change of any data.
    """
    for step in reversed(_after_last_change(history)):
        if step.phase in ("validate", "resume") and step.name.lower().startswith("open ") and step.outcome == "ok":
            return step.ended
    return None


def _after_last_change(history: History) -> list[Step]:
    changed_at = max((step.order for step in history.steps if step.phase in ("isolate", "restore")), default=-1)
    return [step for step in history.steps if step.order > changed_at]


# --- where the time went ---------------------------------------------------------------------------------------------


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of intervals, as disjoint ones in order; empty and reversed ones vanish."""
    merged: list[Interval] = []
    for start, end in sorted(one for one in intervals if one[1] > one[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def union_seconds(intervals: Iterable[Interval]) -> float:
    """The time that at least one interval covers."""
    return sum(end - start for start, end in merge(intervals))


def overlap_seconds(intervals: Iterable[Interval]) -> float:
    """The time that was saved by doing things at once: the sum of the intervals less their union."""
    listed = [one for one in intervals if one[1] > one[0]]
    return max(0.0, sum(end - start for start, end in listed) - union_seconds(listed))


def parts_of(step: Step) -> dict[str, float]:
    """Seconds of each part of a step's work, as its module reported them; what is no number is left out.

    verify and validate only look. resume reports after how many seconds each tier was well: the last of them is how
    long starting took. The verification of a set reports its reading beside the parts.
    """
    told = step.result.get("parts")
    parts = {str(name): _number(value) for name, value in told.items()} if isinstance(told, dict) else {}
    if step.phase in ("verify", "validate"):
        parts = {}
    elif step.phase == "resume" and parts:
        parts = {"start": max(parts.values())}
    verified = step.result.get("verified")
    if isinstance(verified, dict):
        parts["hash"] = _number(verified.get("seconds"))
    return {name: seconds for name, seconds in parts.items() if seconds}


def work_interval(step: Step) -> Interval:
    """When a step was at work on data: the last N seconds before its end, N the sum of its working parts.

    N is at most the step's own length (parts may have run at once). It is put at the end, since a module's transfer and
    start come first; the error is at most what one module takes to start.
    """
    if step.ended is None:
        return (step.started, step.started)
    worked = sum(seconds for name, seconds in parts_of(step).items() if name.startswith(WORK_PARTS))
    return (step.ended - min(worked, step.ended - step.started), step.ended)


def orchestration_seconds(history: History, until: float) -> float:
    """Wall time from the start to `until` in which no step was copying, hashing, replaying or starting anything.

    It is that time less the union of the steps' work intervals (see work_interval), so work that ran at once counts
    once, a step that reports no parts counts as orchestration in full, and so does dead time between two runs.
    """
    busy = union_seconds((max(0.0, start), min(until, end)) for start, end in map(work_interval, history.steps))
    return max(0.0, until - busy)


def checking_seconds(history: History, until: float) -> float:
    """The part of the orchestration until then in which verify or validate were comparing what had come back."""
    work = [(max(0.0, start), min(until, end)) for start, end in map(work_interval, history.steps)]
    looks = [
        (step.started, min(until, step.ended))
        for step in history.steps
        if step.phase in ("verify", "validate") and step.ended is not None
    ]
    return max(0.0, union_seconds(work + looks) - union_seconds(work))


def slowest_step(history: History) -> Step | None:
    """The step that took longest, None where none has ended."""
    ended = [step for step in history.steps if step.seconds is not None]
    return max(ended, key=lambda step: step.seconds or 0.0, default=None)
