#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_exposure_info
short_description: Measure what would be lost if the platform were lost now
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - For each type of data, the age of the newest point that could be brought back, against its target. By what the
    backup store really holds, WAL and the shipped log of Redis among it, never by what a server says of its backups.
  - Once for volumes that are gone, once for the whole machine.
  - It is no judge; what is past its target, and heartbeats that stopped, are in RV(problems).
extends_documentation_fragment:
  - platform3.recovery.store
  - platform3.recovery.compose
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  objectives:
    description: Targets by type of data (C(rpo)), and which component holds it.
    type: dict
    required: true
  redis_image:
    description: Image of Redis, for the one-shot container that reads its shipped log.
    type: str
    required: true
  redis_log_path:
    description: Folder of the shipped log; left out where none is shipped.
    type: path
  off_machine:
    description:
      - Whether the loss of the whole machine counts. With V(none) there is no copy elsewhere, and that is accepted; it
        is shown, and is no failure.
    type: str
    choices: [required, none]
    default: required
  textfile_path:
    description: File for the textfile collector of Prometheus' node exporter, written by rename.
    type: path
attributes:
  check_mode:
    description: Measures, and does not write O(textfile_path).
    support: full
"""

EXAMPLES = r"""
- name: Measure what would be lost now
  platform3.recovery.backup_exposure_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
    redis_image: platform3/redis:8
    redis_log_path: /opt/platform3/backups/aof
    objectives: "{{ recovery_objectives }}"
"""

RETURN = r"""
exposures:
  description: Each with C(loss) (volumes, machine), C(data), C(component), C(seconds), C(target_seconds), C(verdict),
    C(point).
  returned: success
  type: list
  elements: dict
problems:
  description: What is past its target, and what else is wrong; empty where all is well.
  returned: success
  type: list
  elements: str
table:
  description: All of it as lines for a terminal.
  returned: success
  type: list
  elements: str
"""

import glob
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _exposure as exposure
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import read_log
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import newest_log
from ansible_collections.platform3.recovery.plugins.module_utils._redis_log_look import LOOK, look_without_volume
from ansible_collections.platform3.recovery.plugins.module_utils._repository import STORE_ARGUMENTS, repository_of
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import read_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._windows import (
    points_window,
    postgresql_window,
    reaches_of,
)

# Journals of the newest backups: more than a day of them, where one is made each minute.
JOURNALS = 2000


def in_the_store(given: dict[str, Any], problems: list[str]) -> dict[str, str | None]:
    """The newest point of each component that the store brings back; what hinders is a problem more."""
    arguments = (given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"])
    entries, _ignored = read_store(*arguments)
    usable = [one for one in entries if one.usable]
    manifests = [one.read.manifest for one in usable if one.read.manifest is not None]
    points: dict[str, str | None] = {}
    for component in ("redis", "influxdb", "configuration"):
        window = points_window(component, manifests)
        points[component] = window["latest"] if window else None
    try:
        reaches, missing = reaches_of(repository_of(given).look(), usable)
        problems += missing
        window = postgresql_window(reaches)
        points["postgresql"] = window["latest"] if window else None
        problems += [
            f"WAL segment {segment} {wrong}" for reach in reaches[-1:] for segment, wrong in reach.gaps.items()
        ]
    except RecoveryError as error:
        points["postgresql"] = None
        problems.append(f"[{error.code}] the pgBackRest repository cannot be read: {error.found}")
    points["redis"] = exposure.newest(points["redis"], shipped_log(given, problems)) if points["redis"] else None
    if points["configuration"]:
        looked = exposure.configuration_looked_at(journals(given["state_path"]))
        points["configuration"] = exposure.newest(points["configuration"], looked)
    return points


def shipped_log(given: dict[str, Any], problems: list[str]) -> str | None:
    """How far the shipped log of Redis reaches; None where there is none that can be read."""
    path = given["redis_log_path"]
    if not path or not os.path.isdir(path):
        return None
    try:
        shipped = newest_log(look_without_volume(given["redis_image"], given["environment_id"], path)(LOOK))
    except (RecoveryError, ValueError) as error:
        problems.append(f"the shipped log of Redis cannot be read: {error}")
        return None
    return shipped.recovery_point if shipped and not shipped.missing else None


def journals(state_path: str) -> list[str]:
    """The journals of the newest backups."""
    texts = []
    for path in sorted(glob.glob(os.path.join(glob.escape(state_path), "backup-*", "journal.jsonl")))[-JOURNALS:]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return texts


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, compare, tell."""
    given = module.params
    problems: list[str] = []
    stored = in_the_store(given, problems)
    now = time.time()
    records = exposure.exposures(given["objectives"], {"volumes": stored, "machine": {}}, now)
    counted = exposure.LOSSES if given["off_machine"] == "required" else ("volumes",)
    problems += exposure.problems(records, counted)
    beat = exposure.heartbeat_problem(read_log(given["state_path"]), now)
    problems += [beat] if beat else []
    if given["textfile_path"] and not module.check_mode:
        text = exposure.textfile(records, problems, given["environment"], now)
        write_durable(f"{given['textfile_path']}.new", text.encode())
        os.replace(f"{given['textfile_path']}.new", given["textfile_path"])
    lines = exposure.table(records, problems, given["environment"], to_iso(now))
    return {"changed": False, "exposures": records, "problems": problems, "table": lines}


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STORE_ARGUMENTS,
            "environment": {"type": "str", "required": True},
            "objectives": {"type": "dict", "required": True},
            "redis_image": {"type": "str", "required": True},
            "redis_log_path": {"type": "path"},
            "off_machine": {"type": "str", "choices": ["required", "none"], "default": "required"},
            "textfile_path": {"type": "path"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
