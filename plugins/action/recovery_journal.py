# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the failure of a task that is no step into the journal; see the module's documentation."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.platform3.recovery.plugins.action.step import StoreJournal
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence


class ActionModule(ActionBase):
    """Controller-side: one command through the store's connection."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset(("fence", "phase", "component", "name", "failure"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        given = self._task.args
        failure = given["failure"]
        if self._play_context.check_mode:
            # No journal to read it from later, so that the run has to fail here.
            text = f"Check mode: {given['component']} would fail in {given['phase']}, see above."
            return {"failed": True, "msg": text}
        if failure.get("journalled"):
            return {"changed": False, "journalled": False}
        try:
            # Named as a step is, so that a later run of the same step is seen to have mended it.
            prefix, bar, rest = str(given["name"]).partition(" | ")
            phase, name = (prefix.lower(), rest) if bar else (given["phase"], given["name"])
            fence = Fence(str(given["fence"]["recovery_id"]), int(given["fence"]["epoch"]))
            StoreJournal(self, task_vars or {}, fence).append(
                {
                    "recovery_id": fence.recovery_id,
                    "epoch": fence.epoch,
                    "event": "step_failed",
                    "phase": phase,
                    "component": given["component"],
                    "host": (task_vars or {}).get("inventory_hostname"),
                    "name": name,
                    "error": {"message": str(failure.get("msg", "no message"))[:2000]},
                }
            )
        except RecoveryError as error:
            return {"failed": True, "msg": error.sentence(), "error": error.as_dict()}
        return {"changed": False, "journalled": True}
