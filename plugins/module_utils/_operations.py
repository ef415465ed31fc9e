# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this collection itself did to data and backups around a time, by its journals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

# These take nothing away.
HARMLESS = frozenset(("backup", "restore_point", "wal_stream"))


def operations_of(journals: Mapping[str, str], begin: float, end: float) -> list[dict[str, Any]]:
    """The runs that were at work between two instants (seconds since 1970), in order of time. journals: text by id.

    A run without a recorded end may have been at work until the next one of the same journal began.
    """
    found = [one for recovery_id, text in journals.items() for one in _runs(recovery_id, text)]
    inside = [one for one in found if parse_iso(one["at"]) <= end and _ended(one, end) >= begin]
    return sorted(inside, key=lambda one: str(one["at"]))


def _runs(recovery_id: str, text: str) -> list[dict[str, Any]]:
    entries = parse(text)
    starts = [one for one in entries if one["event"] == "run_started"]
    ends = {one.get("epoch"): one for one in entries if one["event"] == "run_finished"}
    found = []
    for start, following in zip(starts, [*starts[1:], None]):
        if start.get("scenario") in HARMLESS:
            continue
        ended = ends.get(start.get("epoch"))
        found.append(
            {
                "id": recovery_id,
                "scenario": str(start.get("scenario")),
                "by": str(start.get("holder")),
                "at": str(start["at"]),
                "until": str(ended["at"]) if ended else None,
                "outcome": str(ended["outcome"]) if ended else None,
                "next_run_at": str(following["at"]) if following else None,
            }
        )
    return found


def _ended(one: Mapping[str, Any], unknown: float) -> float:
    known = one["until"] or one["next_run_at"]
    return parse_iso(known) if known else unknown
