# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Which time is searched for what took data away.
    DOCUMENTATION = r"""
options:
  around:
    description: The middle of the time that is searched (ISO 8601 with an offset from UTC).
    type: str
    required: true
  window_seconds:
    description: How far before and after it is searched, at most a day.
    type: int
    default: 600
"""
