# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The terminal as the tired operator needs it: phases, what was done, and each failure once, in its own words."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: runbook
type: stdout
short_description: A line a step, a headline a phase, failures in their own words
version_added: 0.1.0
description:
  - Names each play when it begins, and a task when it changed something or took over a second.
  - Messages are shown as plain lines. Of a failure its message is shown; with C(-v) all of its result, as the default
    callback does.
  - Commands in messages are shown with the inventory of this run, where that is not the one of C(ansible.cfg).
  - Nothing depends on it; any other stdout callback shows the same run with more words.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

QUIET_BELOW_SECONDS = 1.0
DEBUG = ("debug", "ansible.builtin.debug")
INCLUDES = ("include_role", "include_tasks", "ansible.builtin.include_role", "ansible.builtin.include_tasks")


class CallbackModule(Default):
    """Prints a line a step; with -v it is the default callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "platform3.recovery.runbook"

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}
        given, default = context.CLIARGS.get("inventory") or (), C.DEFAULT_HOST_LIST
        self._inventories: Sequence[str] = [] if list(given) == list(default) else [*given]

    def _line(self, text: str, color: str | None = None) -> None:
        self._display.display(f"{time.strftime('%H:%M:%S')}  {text}", color=color)

    @property
    def _wordy(self) -> bool:
        return bool(self._display.verbosity > 0)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A headline for the phase."""
        self._play = play
        if self._wordy:
            super().v2_playbook_on_play_start(play)
            return
        self._line(f"── {play.get_name().strip()} " + "─" * max(2, 86 - len(play.get_name())))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Name the tasks that are known to take long before they begin."""
        if self._wordy:
            super().v2_playbook_on_task_start(task, is_conditional)
            return
        self._task_type_cache[task._uuid] = "TASK"
        self._last_task_name = task.get_name().strip()
        if "announce" in task.tags:
            self._line(f"{_name(task)} ...")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Take the time; under the free strategy each host has its own."""
        self._begun[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Print what was said, and what changed something or took long. A step has printed its own line."""
        if self._wordy:
            super().v2_runner_on_ok(result)
            return
        task = result.task
        if task.action in DEBUG:
            said = result.result.get("msg", "")
            text = "\n".join(map(str, said)) if isinstance(said, list) else str(said)
            self._display.display(with_inventory(text, self._inventories))
        elif task.action not in INCLUDES and not result.result.get("journalled"):
            seconds = time.monotonic() - self._begun.get((result.host.get_name(), task._uuid), time.monotonic())
            if result.result.get("changed") or seconds >= QUIET_BELOW_SECONDS:
                self._line(f"{_name(task)} ({seconds:.1f} s)")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The failure in its own words, once."""
        if self._wordy:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        found = result.result
        if found.get("refused"):
            # The failure that it follows from has been shown already: one line will do.
            self._line(str(found.get("msg", "")).splitlines()[0][:160], color="yellow")
            return
        text = str(found.get("msg") or "no message")
        details = [str(found[key]).strip() for key in ("stderr", "module_stderr") if str(found.get(key) or "").strip()]
        self._line(f"FAILED on {result.host.get_name()}: {_name(result.task)}", color="red")
        self._display.display(with_inventory("\n".join([text, *details]), self._inventories), color="red")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Say nothing of what was not needed, but what check mode leaves out."""
        if self._wordy:
            super().v2_runner_on_skipped(result)
        elif str(result.result.get("msg", "")).startswith("check mode"):
            self._line(result.result["msg"])

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Say nothing: the task's own line follows."""
        if self._wordy:
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Say nothing of what was not needed."""
        if self._wordy:
            super().v2_runner_item_on_skipped(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Say nothing: the included tasks speak for themselves."""
        if self._wordy:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say nothing: a failure has been shown, a recovery has its card."""
        if self._wordy:
            super().v2_playbook_on_stats(stats)


def with_inventory(text: str, inventories: Sequence[str]) -> str:
    """A message whose commands name these inventories: modules, which word them, run on hosts that know of none.

    Without it a command that is copied at 3 a.m. would go to the platform of ansible.cfg.
    """
    shown = (
        os.path.relpath(one) if os.path.isabs(one) and one.startswith(f"{os.getcwd()}/") else one for one in inventories
    )
    options = "".join(f"-i {shlex.quote(one)} " for one in shown)
    return re.sub(r"\bansible-playbook (?=\S+\.yml\b)", lambda _match: f"ansible-playbook {options}", text)


def _name(task: Any) -> str:
    """The task's name without its role's prefix."""
    return str(task.get_name()).split(" : ")[-1].strip()
