# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far everything in the store reaches: its sets, the WAL after them, and the shipped log of Redis."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import COMPONENTS
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import ShippedLog, newest_log
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOOK, look_without_volume
from ansible_collections.platform3.recovery.plugins.module_utils._repository import STORE_ARGUMENTS, repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry, read_store
from ansible_collections.platform3.recovery.plugins.module_utils._windows import (
    Window,
    gaps_of,
    points_window,
    postgresql_window,
    reaches_of,
    with_log,
)

REACH_ARGUMENTS: dict[str, dict[str, Any]] = {**STORE_ARGUMENTS, "redis_log_path": {"type": "path"}}


@dataclass(frozen=True)
class StoreReach:
    """entries: every set; windows: by component, None where nothing can be brought back; gaps: in WAL.

    problems: what could not be read or is missing, as sentences.
    """

    entries: list[Entry]
    windows: Mapping[str, Window | None]
    gaps: list[dict[str, Any]]
    problems: list[str]


def reach_of_store(given: Mapping[str, Any]) -> StoreReach:
    """Read the store. given: the values of REACH_ARGUMENTS."""
    arguments = (given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"])
    entries, ignored = read_store(*arguments)
    problems = [f"sets.jsonl in the state folder: {one}; it was ignored" for one in ignored]
    usable = [one for one in entries if one.usable]
    reaches, missing = reaches_of(_repository(given, problems), usable)
    problems += missing
    manifests = [one.read.manifest for one in usable if one.read.manifest is not None]
    windows = {name: points_window(name, manifests) for name in COMPONENTS}
    windows["postgresql"] = postgresql_window(reaches)
    windows["redis"] = with_log(windows["redis"], _shipped_log(given, problems))
    return StoreReach(entries, windows, gaps_of(reaches), problems)


def _repository(given: Mapping[str, Any], problems: list[str]) -> View | None:
    """The repository and the stream; None, and one more problem, where they cannot be read."""
    try:
        return repository_of(dict(given)).look()
    except RecoveryError as error:
        problems.append(f"[{error.code}] the pgBackRest repository cannot be read: {error.found}")
        return None


def _shipped_log(given: Mapping[str, Any], problems: list[str]) -> ShippedLog | None:
    """Redis' shipped log; None where there is none, and one more problem where it cannot be read."""
    path = given["redis_log_path"]
    if not path or not os.path.isdir(path):
        return None
    try:
        shipped = newest_log(look_without_volume(given["image"], given["environment_id"], path)(LOOK))
    except (RecoveryError, ValueError) as error:
        found = error.found if isinstance(error, RecoveryError) else str(error)
        problems.append(f"Redis' shipped log cannot be read: {found}")
        return None
    if shipped is not None and shipped.missing:
        problems.append(f"Redis' shipped log ({shipped.life}) lacks {', '.join(shipped.missing)}")
    return shipped
