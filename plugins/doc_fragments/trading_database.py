# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The trading database, which the module reads.
    DOCUMENTATION = r"""
options:
  postgresql:
    description: The trading database.
    type: dict
    required: true
    suboptions:
      host:
        description: Where it listens.
        type: str
        default: 127.0.0.1
      port:
        description: Port of the server.
        type: int
        default: 5432
      database:
        description: Name of the database.
        type: str
        required: true
      user:
        description: Who logs in.
        type: str
        required: true
      password:
        description: The password of that user.
        type: str
        required: true
"""
