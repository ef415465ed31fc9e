# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When recoveries and rollbacks put other data of InfluxDB in place, by their journals.

A set names the data it was taken from by the volume's epoch (`instance`). What a recovery undid is in sets from before
it only, so a set from after it is no source for an instant before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import COMPONENT, iso, nanoseconds
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import recoveries
from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text

# Steps that end with other data in its place, by phase.
_EXCHANGES = ("restore", "quarantine")
# A run that only deletes what is in quarantine raises the volume's epoch too.
_RELEASE = "release"
_BACKUPS = "backup-"


def lives_of(journal: str) -> dict[str, str]:
    """By instance (epoch of the volume): when this recovery put data in place, ISO 8601; "" where it exchanged nothing.

    A recovery of several runs put its data in place when the first of them that did so ended that step: later ones
    found it there. A rollback of it is another exchange.
    """
    entries = parse(journal)
    scenarios = {one["epoch"]: str(one.get("scenario")) for one in entries if one["event"] == "run_started"}
    lives: dict[str, str] = {epoch: "" for epoch in map(str, _of(scenarios, _RELEASE))}
    restored: str | None = None
    for one in entries:
        exchanged = one["event"] == "step_finished" and one.get("component") == COMPONENT
        if not exchanged or one.get("phase") not in _EXCHANGES or str(one.get("epoch")) in lives:
            continue
        at = iso(nanoseconds(str(one["at"])))
        if one["phase"] == "restore":
            restored = at = restored or at
        lives[str(one["epoch"])] = at
    return lives


def _of(scenarios: dict[object, str], wanted: str) -> Iterable[object]:
    return [epoch for epoch, scenario in scenarios.items() if scenario.startswith(wanted)]


def read_lives(state_path: str) -> dict[str, str]:
    """The lives of all recoveries that have a journal in the state folder; backups exchange nothing."""
    lives: dict[str, str] = {}
    for recovery_id in recoveries(state_path):
        if not recovery_id.startswith(_BACKUPS):
            lives.update(lives_of(read_text(os.path.join(state_path, recovery_id, "journal.jsonl"))))
    return lives
