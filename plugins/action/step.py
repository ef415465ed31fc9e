# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands behind every module that changes data or takes long (plugin_routing in meta/runtime.yml).

It shows the fence to the lock, asks the barriers, journals start and end, prints a live line, and runs the module.
The step's names come from the task: `- name: restore | Restore the base backup` in role postgresql is phase restore,
component postgresql.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display
from ansible_collections.platform3.recovery.plugins.module_utils._barrier import barrier
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._journal import parse, read_history
from ansible_collections.platform3.recovery.plugins.module_utils._live import finished_line, progress_line, would_lines
from ansible_collections.platform3.recovery.plugins.module_utils._state import (
    FENCED_STATUS,
    STOPPED_STATUS,
    append_command,
)

display = Display()

STOPPED = "PRC-304"
POLL_SECONDS = 1.0
LINE_SECONDS = 5.0
# What of a module's result the journal keeps: what the report and the objectives are computed from. Never inputs.
JOURNALLED = (
    "checks",
    "parts",
    "bytes",
    "recovery_point",
    "replayed_bytes",
    "quarantined",
    "trade_read_back_at",
    "response_times",
    "explain",
    "containers",
    "verified",
    "passed_over",
    "set_id",
    "evidence",
    "warnings_found",
    "undone",
    "tables",
    "sequences",
    "locked_seconds",
    "databases",
    "buckets",
)
# In check mode these phases have nothing to look at: what they would judge was not made.
NOT_IN_CHECK_MODE = ("verify", "resume", "validate")


class ActionModule(ActionBase):
    """Runs the module of its task as one step of a recovery or backup."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables: dict[str, Any] = task_vars or {}
        if "fence" not in self._task.args and self._task.action.endswith("_info"):
            return dict(self._execute_module(task_vars=variables))  # looked at before there is a recovery: no step yet
        phase, name = self._names()
        component = self._task._role.get_name().rsplit(".", 1)[-1] if self._task._role else "recovery"
        if variables.get("ansible_check_mode"):
            return self._in_check_mode(phase, component, name, variables)
        if self._task.check_mode:
            phase = "assess"  # a task that only looks in a run that acts: proof beforehand that it can be done
        try:
            fence = self._fence()
            journal = StoreJournal(self, variables, fence)
            entry = {
                "recovery_id": fence.recovery_id,
                "epoch": fence.epoch,
                "phase": phase,
                "component": component,
                "host": variables.get("inventory_hostname"),
                "name": name,
            }
            entries = parse(journal.append({**entry, "event": "step_started"}, starting=True))
            reason = barrier(entries, phase, component)
            if reason:
                journal.append({**entry, "event": "step_refused", "error": {"message": reason}})
                return {
                    "failed": True,
                    "msg": f"{component}: {phase} was not begun: {reason}",
                    "journalled": True,
                    "refused": True,
                }
        except RecoveryError as error:
            # Nothing was begun, so that there is no failure to put on record; a stop is what somebody asked for.
            refused = error.code == STOPPED
            return {
                "failed": True,
                "msg": error.sentence(),
                "error": error.as_dict(),
                "journalled": True,
                "refused": refused,
            }
        clock = _Clock(entries, variables)
        begun = time.monotonic()
        try:
            with self._live(phase, component, clock, variables) as progress_path:
                result = self._execute_module(
                    module_name=self._task.action,
                    module_args={**self._task.args, "progress_path": progress_path},
                    task_vars=variables,
                )
        except AnsibleConnectionFailure as lost:
            journal.append({**entry, "event": "step_failed", "error": {"message": f"host lost: {lost}"}})
            raise
        failed = bool(result.get("failed"))
        kept = {key: result[key] for key in JOURNALLED if key in result}
        ended: dict[str, Any] = {**entry, "event": "step_failed" if failed else "step_finished", "result": kept}
        ended["changed"] = bool(result.get("changed"))
        if failed:
            ended["error"] = result.get("error") or {"message": str(result.get("msg", ""))[:2000]}
        try:
            journal.append(ended)
        except RecoveryError as error:
            # Outranked while the module ran: what it did is judged by the run that holds the lock now.
            return {"failed": True, "msg": error.sentence(), "error": error.as_dict()}
        seconds = time.monotonic() - begun
        display.display(finished_line(clock.elapsed(), clock.deadline, phase, component, name, seconds, failed))
        return {**result, "journalled": True}

    def _names(self) -> tuple[str, str]:
        phase, bar, name = (self._task.name or "").partition(" | ")
        if not bar:
            raise AnsibleActionFail(
                f"The task {self._task.name!r} runs {self._task.action}, which is a step of a recovery: its name must "
                "be 'PHASE | What is done', so that journal and report can name it."
            )
        return phase.lower(), name

    def _fence(self) -> Fence:
        shown = self._task.args.get("fence")
        if not isinstance(shown, dict) or not shown.get("recovery_id") or not shown.get("epoch"):
            raise RecoveryError(
                "PRC-301",
                f"begin '{self._task.name}'",
                "no fence was shown: guard and lock were not passed (are --tags, --skip-tags, --start-at-task or "
                "--limit in use?)",
                "nothing was changed",
                "run the playbook whole; to go on with an unfinished recovery give -e recovery_id=...",
            )
        return Fence(str(shown["recovery_id"]), int(shown["epoch"]))

    def _in_check_mode(self, phase: str, component: str, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        if phase in NOT_IN_CHECK_MODE:
            return {"skipped": True, "changed": False, "msg": f"check mode: {phase} {component} ({name}) is not run"}
        result = self._execute_module(module_name=self._task.action, task_vars=variables)
        for line in would_lines(phase, component, name, result):
            display.display(line)
        return {**result, "journalled": True}

    @contextlib.contextmanager
    def _live(self, phase: str, component: str, clock: _Clock, variables: dict[str, Any]) -> Iterator[str]:
        """Hand out a progress file and print its figures while the module works."""
        path = f"/tmp/.platform3-progress-{uuid.uuid4().hex}"  # noqa: S108 the name cannot be guessed
        ended = threading.Event()

        def watch() -> None:
            begun = printed = time.monotonic()
            percent = 0.0
            while not ended.wait(POLL_SECONDS):
                read = self._low_level_execute_command(f"cat {path} 2>/dev/null || true", sudoable=False)
                try:
                    figures = json.loads(read.get("stdout", "") or "{}")
                except ValueError:
                    continue
                now = time.monotonic()
                share = 100.0 * figures.get("done", 0) / figures["total"] if figures.get("total") else percent
                if now - printed < LINE_SECONDS and share - percent < 25.0:
                    continue
                display.display(progress_line(clock.elapsed(), clock.deadline, phase, component, figures, now - begun))
                printed, percent = now, share

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield path
        finally:
            ended.set()
            watcher.join(timeout=10)
            self._low_level_execute_command(f"rm -f {path} {path}.new", sudoable=False)


class _Clock:
    """The recovery's own time: seconds since its first run began, and its deadline."""

    def __init__(self, entries: list[dict[str, Any]], variables: dict[str, Any]) -> None:
        self._begun_ago = read_history(entries).now
        self._since = time.monotonic()
        objectives = variables.get("recovery_objectives") or {}
        target = objectives.get("rto", {}).get("complete_system", {}).get("target_seconds")
        is_backup = any(entry.get("kind") == "backup" for entry in entries if entry["event"] == "run_started")
        self.deadline = float(target) if target and not is_backup else None

    def elapsed(self) -> float:
        """Seconds since the first run of this recovery_id began."""
        return self._begun_ago + time.monotonic() - self._since


class StoreJournal:
    """The journal on the host in group backup_store, written through a connection of its own."""

    def __init__(self, action: ActionBase, variables: dict[str, Any], fence: Fence) -> None:
        self._action = action
        self._fence = fence
        stores = variables["groups"].get("backup_store", [])
        if len(stores) != 1:
            raise RecoveryError(
                "PRC-302",
                "find the journal",
                f"the group backup_store has {len(stores)} hosts, it must have one",
                "nothing was changed",
                "put exactly one host into the group backup_store of the inventory",
            )
        store = variables["hostvars"][stores[0]]
        self._state_path = str(store["recovery_state_path"])
        context = action._play_context.copy()
        context.remote_addr = store.get("ansible_host", stores[0])
        kind = store.get("ansible_connection", "ssh")
        self._connection = connection_loader.get(kind, context, task_uuid=action._task._uuid)
        # Only these of its variables: a task that failed there is one too, and may name what its role alone defines.
        names = C.config.get_plugin_vars("connection", self._connection._load_name)
        self._connection.set_options(var_options={name: store[name] for name in names if name in store})

    def append(self, entry: dict[str, Any], *, starting: bool = False) -> str:
        """Append one entry; returns the journal's text where a step starts. Raises RecoveryError when outranked."""
        command = append_command(self._state_path, self._fence, starting=starting)
        self._connection.cwd = None
        body = json.dumps(entry)[1:].encode() + b"\n"
        status, out, err = self._connection.exec_command(
            f"/bin/sh -c {shlex.quote(command)}", in_data=body, sudoable=False
        )
        text = out.decode(errors="replace") if isinstance(out, bytes) else out
        if status == 0:
            return str(text)
        doing = "begin" if starting else "journal"
        what = f"{doing} '{entry['phase']} {entry['component']}: {entry['name']}' under epoch {self._fence.epoch}"
        if status == FENCED_STATUS:
            raise RecoveryError(
                "PRC-303",
                what,
                f"another run holds the lock now ({text.strip() or 'nobody holds it'})",
                "this step was not begun; the run that holds the lock decides",
                "wait until that run has ended",
            )
        if status == STOPPED_STATUS:
            raise RecoveryError(
                STOPPED,
                what,
                "stop.yml asked this recovery to end at the next step",
                "every finished step is kept; nothing is half done",
                "ask whoever ran stop.yml what for",
            )
        message = err.decode(errors="replace") if isinstance(err, bytes) else str(err)
        raise RecoveryError(
            "PRC-305",
            what,
            message.strip() or f"exit status {status}",
            "the step was not begun",
            f"see that {self._state_path} on the backup_store host can be written to (disk full? rights?)",
        )
