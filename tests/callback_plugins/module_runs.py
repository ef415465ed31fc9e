# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a line for every module that a playbook ran on a host: see tests/module_runs.py, which switches it on."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: module_runs
type: aggregate
short_description: Which modules ran, where and how long
description:
  - Appends a JSON line for each result of a module that was sent to a host to the file named by the environment
    variable C(PLATFORM3_MODULE_RUNS). Each item of a loop and each attempt of a retry is a run of its own.
  - Not counted is what works on the controller alone, and what was skipped.
"""

# Actions that send no module to a host: their work is done within ansible-playbook.
CONTROLLER_ONLY = {
    *("include_role", "include_tasks", "import_role", "import_tasks", "include_vars", "meta", "debug", "fail"),
    *("assert", "set_fact", "add_host", "group_by", "pause", "validate_argument_spec"),
    *("recovery_inputs", "recovery_journal", "recovery_report_copy"),
}


class CallbackModule(CallbackBase):
    """Appends to a file; prints nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_runs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Take the time."""
        self._begun[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count it, unless it is a loop, whose items were counted."""
        if not result.task.loop:
            self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A failure ran too."""
        self.v2_runner_on_ok(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """One item of a loop."""
        self._count(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """One item of a loop."""
        self._count(result)

    def v2_runner_retry(self, result: Any) -> None:
        """An attempt that will be repeated."""
        self._count(result)

    def _count(self, result: Any) -> None:
        action = str(result.task.action).rsplit(".", 1)[-1]
        if action in CONTROLLER_ONLY or result.result.get("skipped"):
            return
        host = result.host.get_name()
        begun = self._begun.get((host, result.task._uuid), time.monotonic())
        run = {
            "action": action,
            "host": host,
            "task": result.task.get_name().strip(),
            "seconds": round(time.monotonic() - begun, 3),
        }
        with open(os.environ["PLATFORM3_MODULE_RUNS"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(run) + "\n")
