# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks: what was expected against what was found. A figure that is not compared proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

Check = dict[str, Any]


class ChecksFailed(RecoveryError):
    """At least one check found something else than expected; `checks` holds all of them, good ones too."""

    def __init__(self, checks: list[Check], code: str, attempted: str, data: str, next_step: str) -> None:
        self.checks = checks
        bad = [one for one in checks if not one["ok"]]
        found = "; ".join(f"{one['name']}: expected {one['expected']}, found {one['found']}" for one in bad[:5])
        if len(bad) > 5:
            found += f"; and {len(bad) - 5} more"
        super().__init__(code, attempted, found, data, next_step)


def check(name: str, component: str, expected: Any, found: Any, ok: bool | None = None) -> Check:
    """One comparison. ok defaults to equality; say it where the expectation is a bound ("at least 5")."""
    return {
        "name": name,
        "component": component,
        "expected": expected,
        "found": found,
        "ok": expected == found if ok is None else ok,
    }


def require(checks: Iterable[Check], code: str, attempted: str, data: str, next_step: str) -> list[Check]:
    """The checks, all of them good; ChecksFailed otherwise, and also where there is none to judge by."""
    listed = list(checks)
    if not listed:
        listed = [check("checks made", "recovery", "at least one", "none", ok=False)]
    if not all(one["ok"] for one in listed):
        raise ChecksFailed(listed, code, attempted, data, next_step)
    return listed
