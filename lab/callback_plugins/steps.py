# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set-up's output: one line a step that did something, with the time; failures in full."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: steps
type: stdout
short_description: One line a step that changed something or took long
description:
  - Tasks tagged C(announce) are named when they start, all others when they changed something or took over a second.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

QUIET_BELOW_SECONDS = 1.0


class CallbackModule(Default):
    """Prints a line a step; everything about failures is the default callback's."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "steps"

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()

    def _line(self, text: str) -> None:
        self._display.display(f"{time.strftime('%H:%M:%S')}  {text}")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember the play, as the default callback does, without its header."""
        self._play = play

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Take the time; name the long tasks."""
        self._started = time.monotonic()
        self._task_type_cache[task._uuid] = "TASK"
        self._last_task_name = task.get_name().strip()
        if "announce" in task.tags:
            self._line(f"{_name(task)} ...")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Print the step when it changed something or took long."""
        seconds = time.monotonic() - self._started
        if result.task.action == "ansible.builtin.include_tasks":
            return
        if result.result.get("changed") or seconds >= QUIET_BELOW_SECONDS:
            self._line(f"{_name(result.task)} ({seconds:.1f} s)")
        if result.task.action in ("debug", "ansible.builtin.debug"):
            self._display.display(str(result.result.get("msg", "")))

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Say nothing about what was not needed."""

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Say nothing: the task's own line follows."""

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Say nothing about what was not needed."""

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Say nothing: the included tasks speak for themselves."""

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say nothing: a failure has been printed in full."""


def _name(task: Any) -> str:
    """The task's name without its role's prefix."""
    return str(task.get_name()).split(" : ")[-1].strip()
