#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: second_copy_fetch
short_description: Fetch a backup set, and what it is read with, from the second copy into the backup store
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - For a store that is lost, or whose sets cannot be used. Chooses a set as M(platform3.recovery.backup_manifest_info)
    does, among those of the second copy, and fetches the sets that it builds on, its base backup with those it needs,
    WAL from its beginning, the WAL stream with its partial segment, and the newest shipped log of Redis.
  - A store that is gone is made; what lies in one stays as it is. All is fetched beside first, and moved into its place
    when it is whole, the sets last; an interrupted fetch goes on.
  - Only signatures are checked here; a recovery verifies the bytes afterwards. A set that was condemned in the state
    folder is not taken, but where M(platform3.recovery.backup_verify) condemned it for damage in this store and
    O(signing_key) is given. It is then fetched again with its base backup, its bytes are compared with its manifest,
    what differs here is moved to C(.damaged) in the store, and the set is marked as verified. One that is no better
    in the copy is refused (PRC-391).
extends_documentation_fragment:
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.second_copy
options:
  environment:
    description: Name of the environment that the set must be of.
    type: str
    required: true
  what:
    description: A V(set); or only the records of V(restore_points), by which a set can be chosen. These are not checked
      here, M(platform3.recovery.restore_point_info) does.
    type: str
    choices: [set, restore_points]
    default: set
  backup_set:
    description: V(latest) or the id of a set.
    type: str
    default: latest
  components:
    description: Components that are needed from the set.
    type: list
    elements: str
    choices: [postgresql, redis, influxdb, configuration]
    default: [postgresql, redis, influxdb, configuration]
  not_after:
    description:
      - The target of a point-in-time recovery (ISO 8601), by which the set must have been finished; empty for none.
      - The sets from there to the first one beyond it come too, since InfluxDB is brought back from that, and every
        generation of Redis' log.
    type: str
    default: ""
  at:
    description: Instant (ISO 8601) as of which the second copy is read, by the versions that its bucket keeps. Where
      it is left out, the newest.
    type: str
  signing_key:
    description: Private key (OpenSSH) by which it is written down that a set which was damaged here is sound again.
      Without one, such a set is not taken.
    type: str
attributes:
  check_mode:
    description: Chooses the set and says which, and fetches nothing. Of restore points it looks for none.
    support: full
"""

EXAMPLES = r"""
- name: Fetch the newest set from the second copy
  platform3.recovery.second_copy_fetch:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment: lab
    environment_id: lab-0123456789ab
    trusted_signers: "{{ backup_set_trusted_signers }}"
    url: https://s3.example.com
    bucket: platform3
    image: platform3/second-copy:1
    access_key: "{{ second_copy_access_key }}"
    secret_key: "{{ second_copy_secret_key }}"
    password: "{{ second_copy_password }}"
    salt: "{{ second_copy_salt }}"
"""

RETURN = r"""
fetched:
  description: What was brought, small enough for a journal; empty where restore points were.
  returned: success
  type: dict
  contains:
    backup_set:
      description: The set.
      type: str
    place:
      description: Where from, with the instant where one was asked for.
      type: str
    reaches:
      description: Until when it holds what grows (WAL stream, Redis' log); null where it holds none.
      type: str
    mended:
      description: Sets that were condemned for damage in this store, and are sound in it again.
      type: list
      elements: str
    files:
      description: Number of files that are new in the store.
      type: int
    bytes:
      description: Their size.
      type: int
    seconds:
      description: How long it took.
      type: float
"""

import os
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import COMPONENTS
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy_fetch import (
    STAGE,
    Fetch,
    alone,
    prepare,
)
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy_place import PLACE_ARGUMENTS, Place
from ansible_collections.platform3.recovery.plugins.module_utils._selection import Wanted
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SETS_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso


def work(module: AnsibleModule) -> dict[str, Any]:
    """Choose, fetch, tell."""
    given = module.params
    began = time.monotonic()
    place = Place(given, given["environment_id"], given["at"])
    target = parse_iso(given["not_after"]) if given["not_after"] else None
    wanted = Wanted(given["backup_set"], given["environment"], given["environment_id"], given["components"], {}, target)
    index = None
    with alone(given["state_path"]), tempfile.TemporaryDirectory() as scratch:
        stage = scratch if module.check_mode else os.path.join(given["store_path"], STAGE)
        prepare(stage, given["at"])
        with place.opened(stage) as opened:
            folders = (given["store_path"], given["state_path"])
            signing_key = given["signing_key"] or ""
            fetch = Fetch(opened, *folders, given["trusted_signers"], wanted, Progress(None), signing_key)
            if given["what"] == "restore_points":
                found = [] if module.check_mode else fetch.bring_points()
                return {"changed": bool(found), "fetched": {}}
            set_id, signed = fetch.choose()
            if not module.check_mode:
                index = fetch.bring(set_id, signed)
    return {
        "changed": True,
        "fetched": {
            "backup_set": set_id,
            "place": place.shown,
            "reaches": index.at if index else None,
            "mended": fetch.mended,
            "files": fetch.files,
            "bytes": fetch.bytes,
            "seconds": round(time.monotonic() - began, 3),
        },
    }


def main() -> None:
    """Entry point."""
    run_module(
        {
            **SETS_ARGUMENTS,
            **PLACE_ARGUMENTS,
            "environment": {"type": "str", "required": True},
            "what": {"type": "str", "choices": ["set", "restore_points"], "default": "set"},
            "backup_set": {"type": "str", "default": "latest"},
            "components": {
                "type": "list",
                "elements": "str",
                "choices": list(COMPONENTS),
                "default": list(COMPONENTS),
            },
            "not_after": {"type": "str", "default": ""},
            "at": {"type": "str"},
            "signing_key": {"type": "str", "no_log": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
