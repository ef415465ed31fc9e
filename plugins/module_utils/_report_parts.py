# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report says of chosen parts of a datastore (tables, keys) that came back in the server that serves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._inputs_parts import shown_parts
from ansible_collections.platform3.recovery.plugins.module_utils._journal import History, latest_steps, told_at_start

NOTHING_YET = "not brought back"


def parts_brought_back(history: History) -> dict[str, str]:
    """By datastore what was chosen and what became of it; empty where whole datastores were recovered."""
    came = {
        step.component: _came(step.result)
        for step in latest_steps(history)
        if step.phase == "restore" and step.outcome == "ok"
    }
    chosen = shown_parts(told_at_start(history).get("parts") or {})
    return {component: f"{what}: {came.get(component) or NOTHING_YET}" for component, what in chosen.items()}


def _came(result: Mapping[str, Any]) -> str:
    """`executions: 12 rows added, 0 removed, 3 changed`, or the same of keys or points."""
    tables = [
        f"{one.get('table')}: {one.get('added')} rows added, {one.get('removed')} removed, {one.get('changed')} changed"
        for one in result.get("tables") or []
    ]
    databases = [
        f"database {number}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
        for number, counts in (result.get("databases") or {}).items()
    ]
    told = result.get("buckets")
    buckets = [
        f"{one['range']}: {one['restored']} values {'came by files' if one.get('by') == 'files' else 'written'}"
        f"{', the bucket made anew' if one['made'] else ''}"
        for one in (told.values() if isinstance(told, Mapping) else ())
    ]
    return "; ".join(tables + databases + buckets)
