# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The running server.
    DOCUMENTATION = r"""
options:
  host:
    description: Where the server listens.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    default: 6379
  user:
    description: Administrator of Redis.
    type: str
    required: true
  password:
    description: The administrator's current password.
    type: str
    required: true
"""

    # The snapshot of a backup set.
    SNAPSHOT = r"""
options:
  set_path:
    description: Folder of the backup set.
    type: path
    required: true
  artefact:
    description: The manifest's record of the RDB.
    type: dict
    required: true
    suboptions:
      path:
        description: Path in the backup set.
        type: str
        required: true
      bytes:
        description: Size of the file.
        type: int
        required: true
      sha256:
        description: Hash of the file.
        type: str
        required: true
  content:
    description: The manifest's component C(redis), as RV(platform3.recovery.redis_backup#module:content).
    type: dict
    required: true
"""

    # The shipped log, and how far back it or the snapshot is taken.
    LOG = r"""
options:
  log_path:
    description: Folder of the store's shipped logs; none are looked for where it is left out.
    type: path
  target_time:
    description: Instant to go back to (ISO 8601 with an offset from UTC). Left out or empty, it is the newest.
    type: str
  restore_from:
    description: The newest of snapshot and log, or the V(snapshot) alone.
    type: str
    choices: [newest, snapshot]
    default: newest
  log:
    description:
      - Whether a log that cannot be used ends the restore (V(required)), or the snapshot is taken instead and a warning
        says what that loses (V(preferred)).
    type: str
    choices: [required, preferred]
    default: preferred
"""
