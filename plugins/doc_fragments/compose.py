# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  compose:
    description: The Compose project that the service belongs to.
    type: dict
    required: true
    suboptions:
      project:
        description: Project name.
        type: str
        required: true
      directory:
        description: Folder that holds the Compose files.
        type: path
        required: true
      files:
        description: Names of the Compose files in that folder, in order.
        type: list
        elements: str
        required: true
      env_file:
        description: File with the variables of the Compose files.
        type: path
"""
