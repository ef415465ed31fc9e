# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking the store how far each datastore reaches, and what a target would take: with the judgement of the restores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_target as influxdb_target
from ansible_collections.platform3.recovery.plugins.module_utils import _recovery_window as window
from ansible_collections.platform3.recovery.plugins.module_utils._chains import chain_of
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lives import read_lives
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest, needed_artefacts
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import Ways
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    nothing_leads_to,
    parse_target,
)
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import Stretch
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import look_without_volume
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import (
    choose_for_target,
    look_at_all,
    would_reach,
)
from ansible_collections.platform3.recovery.plugins.module_utils._repository import repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._selection import LATEST, Found, Wanted, choose
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry
from ansible_collections.platform3.recovery.plugins.module_utils._times import (
    parse_iso,
    parse_microseconds,
    parse_nanoseconds,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import one_shot

# What a recovery to a point in time brings back; a set must hold all of it.
NEEDED = (*window.DATASTORES, "configuration")


@dataclass(frozen=True)
class Asked:
    """A target. at: ISO 8601; name, wal: the restore point, or the place in PostgreSQL's WAL (kind, value), whose
    instant that is; both empty where a time was given. Of a place in the WAL only PostgreSQL knows the instant: ""."""

    at: str
    name: str = ""
    wal: Mapping[str, str] = field(default_factory=dict)

    def of_postgresql(self) -> dict[str, str]:
        """As postgresql_restore takes it."""
        if self.wal:
            return dict(self.wal)
        return {"kind": "name", "value": self.name} if self.name else {"kind": "time", "value": self.at}

    def skew(self, reached: str) -> float:
        """How far before the target that is, in seconds."""
        if not self.at:
            return 0.0
        return (parse_microseconds(self.at) - parse_microseconds(reached)) / window.SECOND


@dataclass
class Looked:
    """What was found of a datastore. window: as data; stretches: what it reaches; answer: what a target would take."""

    window: dict[str, Any] | None = None
    stretches: list[Stretch] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def refusal(error: RecoveryError) -> dict[str, Any]:
    """The answer of a datastore that cannot be brought to a target: in the words in which a recovery says it."""
    return {"reachable": False, "error": error.as_dict()}


def reached(asked: Asked, at: str, **more: Any) -> dict[str, Any]:
    """The answer of one that can."""
    return {"reachable": True, "error": None, "reached_at": at, "skew_seconds": asked.skew(at), **more}


def manifests_of(entries: Sequence[Entry]) -> list[Manifest]:
    """Manifests of the sets that a recovery may take, oldest first."""
    return [one.read.manifest for one in reversed(entries) if one.usable and one.read.manifest is not None]


def set_for(entries: Sequence[Entry], given: Mapping[str, Any], asked: Asked) -> Manifest:
    """The set that a recovery to the target would begin with. PRC-200, PRC-203."""

    def found(entry: Entry) -> Found:
        read = entry.read
        return Found(entry.set_id, lambda: (read.manifest, "" if read.manifest else entry.reason or entry.state))

    def wrong(one: Found) -> str | None:
        return next((e.reason or e.state for e in entries if e.set_id == one.set_id and not e.usable), None)

    complete = [found(one) for one in entries if one.state != "incomplete"]
    names = given["environment"], given["environment_id"]
    chosen, _passed = choose(complete, Wanted(LATEST, *names, NEEDED, {}, parse_iso(asked.at)), wrong)
    assert chosen.manifest is not None  # what cannot be read is not chosen
    return chosen.manifest


def look_at_postgresql(given: Mapping[str, Any], manifests: Sequence[Manifest], asked: Asked | None) -> Looked:
    """How far WAL carries on from the base backups, and the way to a target."""
    contents: dict[str | None, Mapping[str, Any]] = {
        one["backup_set"]: one["components"]["postgresql"]
        for one in manifests
        if (one["components"].get("postgresql") or {}).get("pgbackrest")
    }
    looked = Looked()
    if not contents:
        looked.problems.append("no usable set names a base backup of PostgreSQL")
        if asked is not None and not asked.at:
            looked.answer = refusal(nothing_leads_to(parse_target(asked.of_postgresql())))
        return looked
    contents[None] = contents[max(name for name in contents if name is not None)]
    try:
        repository = repository_of(dict(given))
        with one_shot(repository.image, repository.mounts, repository.environment_id) as run_bash:
            ways = Ways(repository.look(run_bash), contents, run_bash)
            looked.window = ways.window()
            looked.stretches = window.of_postgresql(looked.window)
            if asked is not None:
                looked.answer = _answer_of_postgresql(ways, asked, given["replay"])
    except RecoveryError as error:
        looked.problems.append(f"[{error.code}] PostgreSQL: {error.found}")
        looked.answer = looked.answer or refusal(error)
    return looked


def _answer_of_postgresql(ways: Ways, asked: Asked, figures: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plan = ways.plan(parse_target(asked.of_postgresql())).as_dict()
    except RecoveryError as error:
        return refusal(error)
    names = ("backup_set", "timeline", "first_segment", "last_segment", "segments", "replay_bytes", "stop_lsn")
    more = {"base_backup": plan["label"], **{name: plan[name] for name in (*names, "last_commit")}}
    more["seconds"] = window.replay_seconds(plan["replay_bytes"], figures)
    return reached(asked, plan["recovery_point"], **more)


def resolved(asked: Asked | None, postgresql: Looked) -> Asked | None:
    """The target with its instant, by what PostgreSQL answered; its refusal where it cannot be brought there."""
    if asked is None or asked.at or postgresql.answer is None:
        return asked
    if not postgresql.answer["reachable"]:
        raise RecoveryError(**postgresql.answer["error"])
    return replace(asked, at=postgresql.answer["reached_at"])


def look_at_redis(
    given: Mapping[str, Any],
    manifests: Sequence[Manifest],
    asked: Asked | None,
    start: Manifest | RecoveryError | None,
    run: Callable[[str], str] | None = None,
) -> Looked:
    """What the shipped logs reach, and what a target would be reached from. start: the set that it would begin with,
    or why there is none; run: as of look_at_all, by default in a one-shot container."""
    path = given["redis_log_path"]
    look = run or look_without_volume(given["image"], given["environment_id"], path)
    log = {name: given[f"redis_{name}"] for name in ("restore_from", "log")} | {"log_path": path}
    snapshots = [at for one in manifests if (at := (one["components"].get("redis") or {}).get("recovery_point"))]
    looked = Looked()
    try:
        reaches, problems = ([], []) if log["restore_from"] == "snapshot" else look_at_all(log, look)
        logs = [one.window() for one in reaches]
        looked.stretches = window.of_redis(logs, snapshots, round(time.time() * window.SECOND))
        looked.problems += [f"Redis: {one}" for one in problems]
        points = {"earliest": min(snapshots, default=None), "latest": max(snapshots, default=None)}
        looked.window = {"logs": logs, "snapshots": {**points, "points": len(snapshots)}}
    except (RecoveryError, ValueError) as error:
        looked.problems.append(f"Redis' shipped log cannot be read: {getattr(error, 'found', error)}")
    if asked is None or start is None:
        return looked
    if isinstance(start, RecoveryError):
        looked.answer = refusal(start)
        return looked
    snapshot_at = start["components"]["redis"]["recovery_point"]
    try:
        choice = choose_for_target({**log, "target_time": asked.at}, snapshot_at, look)
        at = would_reach(choice, snapshot_at)["reached_point"]
    except RecoveryError as error:
        looked.answer = refusal(error)
        return looked
    taken = choice.logs[0].window() if choice.logs else None
    more = {"source": "log" if taken else "snapshot", "log": taken, "reason": choice.reason}
    looked.answer = reached(asked, at, backup_set=start["backup_set"], **more)
    return looked


def look_at_influxdb(given: Mapping[str, Any], manifests: Sequence[Manifest], asked: Asked | None) -> Looked:
    """Between which captures every point can be brought back, and what a target would take and lose."""
    known = {one["backup_set"]: one for one in manifests if COMPONENT in one["components"]}
    captures = influxdb_target.captures_of(known.values())
    lives = read_lives(given["state_path"])
    bounds = influxdb_target.window_of(captures)
    deletes = [one.as_dict() for one in influxdb_target.deletes_in(captures, lives)]
    looked = Looked({**bounds, "deletes": deletes} if bounds else None, window.of_influxdb(bounds))
    if asked is None:
        return looked
    target = parse_nanoseconds(asked.at)
    try:
        choices = influxdb_target.choose(target, captures, time.time_ns(), given["influxdb_prefer"], lives)
    except RecoveryError as error:
        looked.answer = refusal(error)
        return looked
    chosen = choices.chosen.as_dict()
    chain = chain_of(known[chosen["backup_set"]], COMPONENT)
    sizes = [file["bytes"] for one in chain if one in known for file in needed_artefacts(known[one], [COMPONENT])]
    more = {name: chosen[name] for name in ("backup_set", "captured_at", "points_removed", "lost", "created")}
    other = choices.other.as_dict() if choices.other else None
    looked.answer = reached(asked, chosen["reached_at"], **more, chain=chain, bytes=sum(sizes), other=other)
    return looked


def stretches_of_sets(manifests: Sequence[Manifest]) -> list[Stretch]:
    """The instants for which there is a set to begin with."""
    finished = [one["finished_at"] for one in manifests if set(NEEDED) <= set(one["components"])]
    return window.of_sets(finished, round(time.time() * window.SECOND))


def start_of(
    entries: Sequence[Entry], given: Mapping[str, Any], asked: Asked | None
) -> Manifest | RecoveryError | None:
    """The set that a recovery to the target would begin with, or why none may be taken; None without a target."""
    if asked is None:
        return None
    try:
        return set_for(entries, given, asked)
    except RecoveryError as error:
        return error
