# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tasks of other hosts registered, for filters on the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def registered(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], group: str, *names: str
) -> dict[str, Any]:
    """What a group's host (its first) registered, under the first of these names that holds anything; else empty."""
    host = hostvars[groups[group][0]]
    return next((dict(found) for name in names if (found := host.get(name))), {})
