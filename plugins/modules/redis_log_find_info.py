#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_log_find_info
short_description: Find when Redis was emptied, in its shipped log
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads the shipped append-only logs of all lives around a time, and lists FLUSHALL, FLUSHDB, SWAPDB and the seconds
    in which DEL and UNLINK took away many keys. Keys that expired are deleted so as well.
  - A recovery with C(at) of such an event as its target ends just before it.
  - Reads as a stream in one-shot containers, and only the files that hold something of that time. Of keys only what
    stands before the first colon is told, since the rest may be a secret.
extends_documentation_fragment: [platform3.recovery.span]
options:
  image:
    description: Image of the server.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  log_path:
    description: Folder of the store's shipped logs.
    type: path
    required: true
  many_keys:
    description: Deletions are listed where one second took away more keys of one database than this.
    type: int
    default: 100
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
"""

EXAMPLES = r"""
- name: find | Look for what emptied Redis
  platform3.recovery.redis_log_find_info:
    image: platform3/redis:8
    environment_id: lab-0123456789ab
    log_path: /opt/platform3/backups/aof
    around: "2026-11-23T14:30:00+00:00"
    window_seconds: 900
"""

RETURN = r"""
events:
  description: What was found, in order of time.
  returned: success
  type: list
  elements: dict
  contains:
    at:
      description: The second it was written in (UTC). As a target of a recovery it ends just before.
      type: str
    command:
      description: V(FLUSHALL), V(FLUSHDB), V(SWAPDB), or V(DEL or UNLINK) for all of one second together.
      type: str
    database:
      description: Number of the database; null for all of them, and where the log does not say.
      type: int
    keys:
      description: Keys that were named to be deleted; null for other commands.
      type: int
    commands:
      description: How many commands that were.
      type: int
    kinds:
      description: The most frequent kinds of the deleted keys, with their number.
      type: list
      elements: str
    arguments:
      description: What followed the command, such as the two databases of SWAPDB.
      type: list
      elements: str
    lives:
      description: Folders of the log that hold it; more than one where a recovery brought it along.
      type: list
      elements: str
searched:
  description: Which seconds of that time each life's log holds, as C(life), C(from) and C(to).
  returned: success
  type: list
  elements: dict
warnings_found:
  description: Files that could not be read to their end.
  returned: success
  type: list
  elements: str
"""

import math
import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_find import events, sought
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOG_MOUNT, look_without_volume
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target import Life, parse_lives, parts_of
from ansible_collections.platform3.recovery.plugins.module_utils._redis_target_look import LOOK_ALL, instant_of
from ansible_collections.platform3.recovery.plugins.module_utils._span import SPAN_ARGUMENTS, reach_of
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

ARGUMENTS: dict[str, dict[str, Any]] = {
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "log_path": {"type": "path", "required": True},
    **SPAN_ARGUMENTS,
    "many_keys": {"type": "int", "default": 100},
}


def span_of(given: dict[str, Any]) -> tuple[int, int]:
    """From when to when it is searched (whole seconds since 1970); PRC-624 where the inputs are none of that."""
    middle = instant_of(given["around"], "around")
    try:
        reach = reach_of(given)
    except ValueError as error:
        attempted = "read the module's window_seconds"
        raise RecoveryError("PRC-624", attempted, str(error), "nothing was changed", "correct it") from None
    return math.floor(middle) - reach, math.ceil(middle) + reach


def events_of_file(
    given: dict[str, Any], life: str, name: str, at: int | None, start: int, end: int
) -> Iterator[dict[str, Any]]:
    """The events of one increment, which begins in second at. Raises ValueError where it is damaged."""
    container = f"platform3-redis-find-{uuid.uuid4().hex[:12]}"
    argv = ["docker", "run", "--rm", "--name", container, "--pull", "never", "--network", "none", "--user", "0:0"]
    argv += ["--log-driver", "none", "--label", f"{ENVIRONMENT_LABEL}={given['environment_id']}"]
    argv += ["--volume", f"{given['log_path']}:{LOG_MOUNT}:ro", "--entrypoint", "cat", given["image"]]
    argv += ["--", f"{LOG_MOUNT}/{life}/{name}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None and reading.stderr is not None
        try:
            yield from events(sought(reading.stdout.read, at), start, end, given["many_keys"])
            ended = not reading.stdout.read(1)
        finally:
            # What lies behind the time that is searched is not read.
            reading.stdout.close()
            docker(["rm", "--force", container], check=False)
        said = reading.stderr.read().decode(errors="replace").strip()
    if ended and reading.returncode != 0:
        raise ValueError(said.splitlines()[-1] if said else f"it could not be read ({reading.returncode})")


def nothing_to_search(given: dict[str, Any], lives: list[Life]) -> RecoveryError:
    """The failure where no log holds anything of that time."""
    spans = [(parts[0].first, parts[-1].last) for life in lives if (parts := parts_of(life))]
    held = [f"{to_iso(first)} to {to_iso(last)}" for first, last in spans if first is not None and last is not None]
    return RecoveryError(
        "PRC-626",
        f"search the shipped logs of Redis {given['window_seconds']} s around {given['around']}",
        f"they hold {', '.join(held)}" if held else f"no log was shipped into {given['log_path']}",
        "nothing was changed",
        "search around a time that they hold, or widen window_seconds",
    )


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: look which files hold something of that time, read them."""
    given = module.params
    start, end = span_of(given)
    look = look_without_volume(given["image"], given["environment_id"], given["log_path"])
    lives = parse_lives(look(LOOK_ALL)) if os.path.isdir(given["log_path"]) else []
    found: dict[str, dict[str, Any]] = {}
    searched, warnings = [], []
    for life in lives:
        dated = [(one.name, one.first, one.last) for one in parts_of(life)]
        parts = [
            (name, first, last)
            for name, first, last in dated
            if first is not None and last is not None and last >= start and first <= end
        ]
        for name, first, _last in parts:
            try:
                for event in events_of_file(given, life.name, name, first, start, end):
                    same = found.setdefault(repr(event), {**event, "lives": []})
                    same["lives"] += [life.name] if life.name not in same["lives"] else []
            except ValueError as error:
                warnings.append(f"{life.name}/{name} was not searched to its end: {error}")
        if parts:
            held = {"from": to_iso(max(start, parts[0][1])), "to": to_iso(min(end, parts[-1][2]))}
            searched.append({"life": life.name, **held})
    if not searched:
        raise nothing_to_search(given, lives)
    return {
        "changed": False,
        "events": sorted(found.values(), key=lambda event: event["at"]),
        "searched": searched,
        "warnings_found": warnings,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
