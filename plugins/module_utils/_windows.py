# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery window of each component: between which instants it can be brought back to, and what lies between. Pure.

PostgreSQL is continuous from the end of a base backup as far as the WAL after it is whole; the others have the points
of their sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._chains import chain_of
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import iso
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View, wal_after
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import ShippedLog, is_newer
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry
from ansible_collections.platform3.recovery.plugins.module_utils._wal import parse_segment

Window = dict[str, Any]


@dataclass(frozen=True)
class Reach:
    """How far WAL carries on from one base backup. gaps: segment -> what is wrong with it; latest: before the first."""

    label: str
    earliest: str
    latest: str
    gaps: Mapping[str, str]


def reach_of(view: View, label: str) -> Reach | None:
    """The reach of a base backup; None where the repository does not hold it, or holds it damaged."""
    backup = next((one for one in view.backups if one.label == label and not one.damaged), None)
    if backup is None:
        return None
    plan, _stream = wal_after(view, backup)
    gaps = {problem.partition(" ")[0]: problem.partition(" ")[2] for problem in plan.problems}
    first = min((parse_segment(name).number for name in gaps), default=None)
    before = [one for one in plan.files if first is None or parse_segment(one.segment).number < first]
    newest = iso(before[-1].written_at) if before else ""
    return Reach(label, backup.finished_at, max(backup.finished_at, newest), gaps)


def reaches_of(view: View | None, usable: Iterable[Entry]) -> tuple[list[Reach], list[str]]:
    """The reach of each base backup that usable sets name, and a sentence on each that is not to be had."""
    names: dict[str, str] = {}
    for one in usable:
        if one.base_label is not None:
            names.setdefault(one.base_label, one.set_id)
    if view is None:
        return [], []
    found = {label: reach_of(view, label) for label in names}
    missing = [
        f"base backup {label} of set {names[label]} is not in the pgBackRest repository, or is damaged there"
        for label, reach in found.items()
        if reach is None
    ]
    return [reach for reach in found.values() if reach is not None], missing


def gaps_of(reaches: Sequence[Reach]) -> list[dict[str, Any]]:
    """Each gap once: its segment, what is wrong, and the time that cannot be reached because of it.

    to: where the next base backup after it begins; None where there is none, so that it lasts until one is taken.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(reaches, key=lambda reach: reach.earliest):
        for segment, wrong in one.gaps.items():
            gap = found.setdefault(segment, {"segment": segment, "wrong": wrong, "from": one.latest, "to": None})
            gap["from"] = max(gap["from"], one.latest)
    for segment, gap in found.items():
        after = [one.earliest for one in reaches if segment not in one.gaps and one.earliest >= gap["from"]]
        gap["to"] = min(after, default=None)
    return [found[segment] for segment in sorted(found)]


def postgresql_window(reaches: Sequence[Reach]) -> Window | None:
    """From the oldest base backup to the newest WAL, and the stretches between gaps; None without a base backup."""
    if not reaches:
        return None
    stretches: list[dict[str, str]] = []
    for one in sorted(reaches, key=lambda reach: reach.earliest):
        if stretches and one.earliest <= stretches[-1]["to"]:
            stretches[-1]["to"] = max(stretches[-1]["to"], one.latest)
        else:
            stretches.append({"from": one.earliest, "to": one.latest})
    return {
        "earliest": stretches[0]["from"],
        "latest": stretches[-1]["to"],
        "continuous": True,
        "points": len(reaches),
        "stretches": stretches,
    }


def points_window(component: str, manifests: Iterable[Manifest]) -> Window | None:
    """The points of a component that sets hold; an inherited one counts once. None where no set holds it."""
    points: dict[str, str] = {}
    for manifest in manifests:
        content = manifest["components"].get(component)
        if content is not None:
            holder = chain_of(manifest, component)[-1]
            points[holder] = str(content.get("recovery_point") or manifest["started_at"])
    if not points:
        return None
    return {
        "earliest": min(points.values()),
        "latest": max(points.values()),
        "continuous": False,
        "points": len(points),
        "stretches": [],
    }


def with_log(window: Window | None, shipped: ShippedLog | None) -> Window | None:
    """Redis' window with the newest point of its shipped log, where that is whole and reaches further."""
    if window is None or shipped is None or shipped.missing or shipped.recovery_point is None:
        return window
    if not is_newer(shipped, window["latest"]):
        return window
    return {**window, "latest": shipped.recovery_point, "log_until": shipped.recovery_point}
