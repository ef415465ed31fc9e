# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host must have before its data may be touched: pure judgements over what was found there."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check

MINIMUM_COMPOSE = (2, 20)


def version_tuple(text: str) -> tuple[int, ...]:
    """The first dotted number in a version's text: "v2.26.1-4" is (2, 26, 1)."""
    match = re.search(r"\d+(?:\.\d+)+|\d+", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def judge_volume(component: str, volume: str, found: dict[str, str], environment_id: str) -> list[Check]:
    """The guard on a volume: it is gone, empty, ours, or a stranger without an id (which goes to quarantine).

    found: environment_id and entries (how many things lie in data/) as the volume has them.
    """
    owner = found.get("environment_id", "")
    if owner and owner != environment_id:
        return [check(f"volume {volume} belongs to this environment", component, environment_id, owner)]
    if not owner and int(found.get("entries", "0") or 0) > 0:
        expected = f"{environment_id}, or data that nobody marked (it goes to quarantine, it is not adopted)"
        return [check(f"volume {volume} belongs to this environment", component, expected, "unmarked data", ok=True)]
    return [check(f"volume {volume} belongs to this environment", component, environment_id, owner or "empty", ok=True)]


def judge_space(component: str, needed_bytes: int, free_bytes: int) -> Check:
    """Room for the restored data beside the old."""
    return check(
        "free disk space for the restore",
        component,
        f"at least {needed_bytes / 1e6:.0f} MB",
        f"{free_bytes / 1e6:.0f} MB",
        ok=free_bytes >= needed_bytes,
    )


def judge_version(component: str, wanted_major: str, text: str) -> Check:
    """The image's server is of the backup's major version: "postgres (PostgreSQL) 17.11" is 17."""
    found = version_tuple(text)
    wanted = version_tuple(wanted_major)
    return check(
        "server version of the image",
        component,
        f"{wanted_major} (the version the backup was taken from)",
        text.strip() or "none",
        ok=bool(wanted) and found[: len(wanted)] == wanted,
    )


def judge_clock(component: str, host_seconds: float, reference_seconds: float, tolerance_seconds: float) -> Check:
    """The host's clock agrees with the controller's."""
    return check(
        "clock",
        component,
        f"within {tolerance_seconds:.0f} s of the controller's",
        f"{abs(host_seconds - reference_seconds):.0f} s apart",
        ok=abs(host_seconds - reference_seconds) <= tolerance_seconds,
    )


def judge_secrets(component: str, secrets: dict[str, Any]) -> list[Check]:
    """Every current secret is at hand; their values are never shown."""
    return [
        check(f"secret {name}", component, "present", "present" if value else "empty", ok=bool(value))
        for name, value in sorted(secrets.items())
    ]


def judge_login(component: str, name: str, opens: bool | None) -> Check:
    """The current secret opens the server that still runs. A restore would set it, and lock the services out.

    opens: None where no server answered, so that nothing can be said; stop a server whose secret is lost.
    """
    return check(
        f"secret {name} opens the running server",
        component,
        "it does, or no server answers",
        {True: "it does", False: "refused", None: "no server answers"}[opens],
        ok=opens is not False,
    )
