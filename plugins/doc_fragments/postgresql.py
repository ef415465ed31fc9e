# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The running server.
    DOCUMENTATION = r"""
options:
  container:
    description: Name of the server's container.
    type: str
    required: true
  database:
    description: The platform's database on the server, which the module connects to.
    type: str
    required: true
"""

    # One-shot containers of its image, on the backup store.
    ONE_SHOT = r"""
options:
  image:
    description: Image of the server, used for the one-shot containers too.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  backup_store_path:
    description: Folder of the backup store (C(pgbackrest), C(wal-stream), C(fence)).
    type: path
    required: true
"""

    # A point in time.
    TARGET = r"""
options:
  target:
    description:
      - The point in time to recover to; the end of the WAL where it is left out.
      - What lies at the target belongs to it (C(recovery_target_inclusive)). V(time) keeps every transaction that ended
        at or before it, up to the first in the WAL that ended later; V(xid) keeps that transaction, and all that were
        committed before it; V(name) ends at the restore point; V(lsn) keeps the record that begins at the position or
        next behind it, so with the position that C(pg_current_wal_lsn()) gave, one record more than was written then.
      - Positions count on the timeline that is followed, the newest one with those that it grew out of.
    type: dict
    suboptions:
      kind:
        description: What the value is.
        type: str
        choices: [time, lsn, xid, name]
        required: true
      value:
        description: An ISO 8601 time with offset, a position like V(16/B374D848), a number, or a restore point's name.
        type: str
        required: true
  sets:
    description:
      - Backup sets whose signatures were verified, besides the one of O(content). With O(target), of all of them the
        newest base backup that stopped before the target is used, and the figures of its set are what is compared.
    type: list
    elements: dict
    default: []
    suboptions:
      backup_set:
        description: Id of the set.
        type: str
        required: true
      content:
        description: The part C(components.postgresql) of its manifest.
        type: dict
        required: true
"""

    # What its WAL goes through.
    STREAM = r"""
options:
  stanza:
    description: Stanza of the repository.
    type: str
    required: true
  slot:
    description: Replication slot of the receiver.
    type: str
    default: platform3_stream
"""
