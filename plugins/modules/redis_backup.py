#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_backup
short_description: Write a proven snapshot of Redis into a backup set
description:
  - Makes a snapshot in the background (BGSAVE), streams it into the backup set while its hash is computed, and proves
    the stored file by C(redis-check-rdb) and by loading it in a scratch server without a network.
  - That server counts the keys of each database and when they expire, so that a later restore can be compared net of
    expiry.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.redis
attributes:
  check_mode:
    description: Writes nothing.
    support: full
options:
  container:
    description: Container of the live server.
    type: str
    required: true
  image:
    description: Image that proves the snapshot.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  set_path:
    description: Folder of the backup set that is being written.
    type: path
    required: true
  set_id:
    description: Id of the backup set; it goes into the file's name.
    type: str
    required: true
  save_timeout_seconds:
    description: How long the background save may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: backup | Write the snapshot of Redis
  platform3.recovery.redis_backup:
    fence: "{{ recovery_fence }}"
    container: forex-redis
    image: platform3/redis:8
    environment_id: "{{ recovery_environment_id }}"
    user: forex_admin
    password: "{{ redis_password }}"
    set_path: "{{ backup_set.path }}"
    set_id: "{{ backup_set.id }}"
"""

RETURN = r"""
artefacts:
  description: The one file written, as the manifest records it.
  returned: success
  type: list
  elements: dict
content:
  description: Version, recovery point, keys per database with their expiry, and settings of the server.
  returned: success
  type: dict
parts:
  description: Seconds of each part.
  returned: success
  type: dict
"""

import os
import time
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_backup import Saved, fetch, prove, read_settings
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import coarsen
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import SERVER_ARGUMENTS, save, server_of

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **SERVER_ARGUMENTS,
    "container": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "set_path": {"type": "path", "required": True},
    "set_id": {"type": "str", "required": True},
    "save_timeout_seconds": {"type": "int", "default": 600},
}


def iso(at_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 UTC."""
    at = datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "artefacts": [], "content": {}, "parts": {}}
    progress = Progress(given["progress_path"])
    relative = f"redis/redis_{given['set_id']}.rdb"
    path = os.path.join(given["set_path"], relative)
    os.makedirs(os.path.dirname(path), exist_ok=True)

    began = time.monotonic()
    client = server_of(given).connect()
    version, settings = str(client.info("server")["redis_version"]), read_settings(client)
    progress.start("save a snapshot", unit="keys")
    saved_at_ms = save(client, given["save_timeout_seconds"], lambda done, _total: progress.at(done))
    client.close()
    saved = time.monotonic()
    written = fetch(given["container"], settings, path, progress)
    fetched = time.monotonic()
    progress.start("load the snapshot in a scratch server")
    counted_at_ms, keys = prove(
        Saved(path, saved_at_ms, version, settings), given["image"], given["environment_id"], given["fence"]
    )
    return {
        "changed": True,
        "artefacts": [
            {
                "path": relative,
                "bytes": written.bytes,
                "sha256": written.sha256,
                "component": "redis",
                "kind": "rdb",
                "source_version": version,
            }
        ],
        "content": {
            "version": version,
            "recovery_point": iso(saved_at_ms),
            "counted_at": iso(counted_at_ms),
            "keys": coarsen(keys),
            "settings": settings,
        },
        "parts": {
            "save": round(saved - began, 3),
            "copy": round(fetched - saved, 3),
            "prove": round(time.monotonic() - fetched, 3),
        },
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
