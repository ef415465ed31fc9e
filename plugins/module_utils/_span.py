# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time that a module searches for what took data away. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DAY_SECONDS = 86400
# Documented in doc_fragments/span.py.
SPAN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "around": {"type": "str", "required": True},
    "window_seconds": {"type": "int", "default": 600},
}


def reach_of(given: Mapping[str, Any]) -> int:
    """How many seconds before and after given["around"] are searched. ValueError says what is wrong."""
    seconds = int(given["window_seconds"])
    if not 1 <= seconds <= DAY_SECONDS:
        raise ValueError(f"window_seconds is {seconds}, and may be 1 to {DAY_SECONDS}")
    return seconds
