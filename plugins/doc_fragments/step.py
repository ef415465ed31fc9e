# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  fence:
    description:
      - Recovery id and epoch as given by M(platform3.recovery.recovery_lock).
      - It is compared with the lock before the module acts, and with the epoch kept in the volume when data is changed.
    type: dict
    required: true
    suboptions:
      recovery_id:
        description: Id of the recovery or backup that holds the lock.
        type: str
        required: true
      epoch:
        description: Epoch of the lock when this run took it.
        type: int
        required: true
  progress_path:
    description: File for progress figures. Set by the action plugin, not by a task.
    type: path
"""
