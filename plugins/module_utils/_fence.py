# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fence: who may change data now (recovery id and epoch, given by the lock)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fence:
    """recovery_id: the undertaking; epoch: raised by each takeover of the lock, so that a later holder outranks."""

    recovery_id: str
    epoch: int
