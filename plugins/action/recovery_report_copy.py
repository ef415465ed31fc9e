# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings a report to the controller by one low-level command a file; see the module's documentation."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError


class ActionModule(ActionBase):
    """Reads on the task's host, writes on the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("recovery_id", "path", "files", "dest"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        recovery_id, path = str(given["recovery_id"]), str(given["path"])
        base = os.path.abspath(os.path.expanduser(str(given.get("dest") or "reports")))
        folder, latest = os.path.join(base, recovery_id), os.path.join(base, "latest")
        result.update(dest=folder, latest=latest)
        if self._play_context.check_mode or self._task.check_mode:
            return {**result, "changed": False}
        try:
            changed = False
            os.makedirs(folder, exist_ok=True)
            for one in given["files"]:
                name = os.path.basename(str(one["name"]))
                content = self._read(os.path.join(path, name), str(one["sha256"]))
                changed = (
                    write_atomically(os.path.join(folder, name), content, private=name.endswith(".csv")) or changed
                )
            changed = point_at(latest, recovery_id) or changed
        except RecoveryError as error:
            return {**result, "failed": True, "msg": error.sentence(), "error": error.as_dict()}
        except OSError as error:
            told = _not_copied(path, f"{error.filename or folder}: {error.strerror}")
            return {**result, "failed": True, "msg": told.sentence(), "error": told.as_dict()}
        return {**result, "changed": changed}

    def _read(self, path: str, sha256: str) -> bytes:
        """The bytes of a file on the host, which have this digest."""
        done = self._low_level_execute_command(f"base64 < {shlex.quote(path)}")
        if done.get("rc") != 0:
            raise _not_copied(path, str(done.get("stderr") or done.get("stdout") or "it could not be read").strip())
        content = base64.b64decode(str(done["stdout"]))
        if hashlib.sha256(content).hexdigest() != sha256:
            raise _not_copied(path, "its digest is not that of the report that was written")
        return content


def write_atomically(path: str, content: bytes, private: bool = False) -> bool:
    """Replace a file in one step; False where it held the same already. private: for its owner alone."""
    try:
        with open(path, "rb") as stream:
            if stream.read() == content:
                return False
    except FileNotFoundError:
        pass
    beside = f"{path}.{os.getpid()}.new"
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600 if private else 0o666)) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)
    return True


def point_at(link: str, target: str) -> bool:
    """Make link a symbolic link to target (a name beside it) in one step; False where it is already."""
    if os.path.islink(link) and os.readlink(link) == target:
        return False
    beside = f"{link}.{os.getpid()}.new"
    os.symlink(target, beside)
    try:
        os.replace(beside, link)
    except OSError:
        os.unlink(beside)
        raise
    return True


def _not_copied(path: str, found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-910",
        "bring the report to the controller",
        found,
        "the recovery is not touched by this; the original report is complete on the backup_store host",
        f"read it there ({path}), or give another -e recovery_report_dir=...",
    )
