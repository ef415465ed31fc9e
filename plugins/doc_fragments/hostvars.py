# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Filters over what the hosts' tasks registered.
    DOCUMENTATION = r"""
options:
  _input:
    description: The variables of all hosts (C(hostvars)), which hold what their tasks registered.
    type: dict
    required: true
  groups:
    description: The inventory's groups.
    type: dict
    required: true
"""
