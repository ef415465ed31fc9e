#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_catalog_info
short_description: List all backup sets, their states, and how far each component can be recovered
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Reads every set of the store with its signature, what is known of it (verified, tested, condemned) and its chain.
  - Computes the recovery window of each component. For PostgreSQL it reads repository and WAL stream in one read-only
    container, and names each gap.
  - Takes no lock and changes nothing. A set or repository that cannot be read is named, and does not end it.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  environment:
    description: Name of the environment, for the headline.
    type: str
    required: true
  redis_log_path:
    description: Folder of Redis' shipped log. Where it is not given or not there, Redis reaches as far as its sets.
    type: path
  second_copy:
    description: Whether there is a second copy off this machine. Its shipper's record is read in the state folder.
    type: bool
    default: false
  keys_elsewhere:
    description: Where what opens the second copy is kept off this machine, as C(name) (V(s3_key), V(age_identities)),
      C(place) and C(date) on which somebody last saw it there.
    type: list
    elements: dict
    default: []
  second_copy_seconds:
    description: How old the newest good pass of the second copy may be.
    type: float
    default: 60
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: List the backup sets
  platform3.recovery.backup_catalog_info:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
  register: __backup_set_catalog
"""

RETURN = r"""
catalog:
  description: All of it, as it is written to a file.
  returned: success
  type: dict
  contains:
    at:
      description: When this was read, by the store's clock.
      type: str
    environment:
      description: Name of the environment.
      type: str
    sets:
      description: All sets, newest first, incomplete ones too.
      type: list
      elements: dict
      contains:
        id:
          description: Id of the set.
          type: str
        kind:
          description: V(full) or V(increment); null where its manifest cannot be read.
          type: str
        parent:
          description: The set it was made after; null for a full one.
          type: str
        needs:
          description: Other sets that a recovery reads with it.
          type: list
          elements: str
        state:
          description: >-
            V(complete), V(verified) or V(tested), which a recovery may take; V(incomplete), V(condemned),
            V(broken_chain) or V(unusable), which it passes over.
          type: str
        reason:
          description: Why it is in that state, where there is something to say.
          type: str
        since:
          description: Since when.
          type: str
        by:
          description: Who or what found it.
          type: str
        started_at:
          description: When its backup was begun.
          type: str
        finished_at:
          description: When it was complete.
          type: str
        age_seconds:
          description: Seconds since it was begun.
          type: int
        components:
          description: What it brings back.
          type: list
          elements: str
        files:
          description: Number of its own files.
          type: int
        bytes:
          description: Their size.
          type: int
        base_backup:
          description: Label of the pgBackRest backup that it names.
          type: str
        base_backup_bytes:
          description: What that takes in the repository; 0 where it is an older set's.
          type: int
        signed_by:
          description: The trusted signer.
          type: str
    windows:
      description: >-
        By component: C(earliest) and C(latest) reachable point, whether all between are (C(continuous)), C(points),
        C(stretches) of continuous recovery between gaps, C(log_until) of Redis' shipped log; null where no usable set
        holds the component.
      type: dict
    gaps:
      description: WAL that is missing or cannot be used, each with C(segment), C(wrong), C(from), C(to).
      type: list
      elements: dict
    copies:
      description: >-
        The rule 3-2-1-1-0: C(copies), C(places), C(off_machine), C(immutable), C(errors), whether all of it C(holds),
        what is C(wrong), and it as a C(sentence).
      type: dict
    problems:
      description: What else is not as it should be.
      type: list
      elements: str
table:
  description: All of it as lines for a terminal.
  returned: success
  type: list
  elements: str
"""

import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import table
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import (
    KEYS_PATH,
    STATE_PATH,
    key_problems,
    parse_fingerprints,
    parse_state,
    status_32110,
)
from ansible_collections.platform3.recovery.plugins.module_utils._state import read_text
from ansible_collections.platform3.recovery.plugins.module_utils._store_reach import REACH_ARGUMENTS, reach_of_store
from ansible_collections.platform3.recovery.plugins.module_utils._times import to_iso

BAD = ("condemned", "broken_chain", "unusable")
PROVEN = ("verified", "tested")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, judge, lay out."""
    given = module.params
    now = datetime.datetime.now(datetime.timezone.utc)
    reach = reach_of_store(given)
    copied = parse_state(read_text(os.path.join(given["state_path"], STATE_PATH))) if given["second_copy"] else None
    bad = len(reach.gaps) + sum(one.state in BAD for one in reach.entries)
    proven = sum(one.state in PROVEN for one in reach.entries)
    if given["second_copy"]:
        kept = parse_fingerprints(read_text(os.path.join(given["state_path"], KEYS_PATH)))
        reach.problems.extend(key_problems(kept, given["keys_elsewhere"], now.timestamp()))
    catalog = {
        "at": to_iso(now.timestamp()),
        "environment": given["environment"],
        "sets": [one.as_dict(now) for one in reach.entries],
        "windows": reach.windows,
        "gaps": reach.gaps,
        "copies": status_32110(copied, now.timestamp(), given["second_copy_seconds"], bad, proven),
        "problems": reach.problems,
    }
    return {"changed": False, "catalog": catalog, "table": table(catalog, given["environment"])}


def main() -> None:
    """Entry point."""
    arguments = {**REACH_ARGUMENTS, "environment": {"type": "str", "required": True}}
    arguments |= {"second_copy": {"type": "bool", "default": False}}
    arguments |= {"second_copy_seconds": {"type": "float", "default": 60}}
    arguments |= {"keys_elsewhere": {"type": "list", "elements": "dict", "default": []}}
    run_module(arguments, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
