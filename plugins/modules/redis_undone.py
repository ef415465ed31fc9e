#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_undone
short_description: List the keys that a recovery to a point in time undid
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Loads the quarantined data of Redis in a scratch server without a network, and lists the keys that the recovered
    server does not hold, into a CSV file for each kind. Nothing is written to the quarantine.
  - A key is told as the SHA-256 of what follows the fixed beginning of its pattern, so that no session's token stands
    in a file; of its values only the named fields are.
  - Keys that expired meanwhile are not listed, nor are those that were deleted before the platform was isolated. What
    customers ended themselves since the platform serves again is.
  - The scratch server takes as much memory as the old data did.
  - It does not fail where nothing can be listed (no old data, damage, a server that does not answer); that is said
    then, and no file is left for what is not known.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
  - platform3.recovery.redis
options:
  volume:
    description: Compose key of the volume.
    type: str
    required: true
  image:
    description: Image of the service.
    type: str
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  content:
    description: The manifest's component C(redis), for the names of the log's files.
    type: dict
    required: true
  dest:
    description: Folder on this host for the files C(undone_KIND.csv); made where it is missing.
    type: path
    required: true
  wanted:
    description: What to list.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: What the keys are, a lower-case word in the plural; names the file.
        type: str
        required: true
      db:
        description: Number of the database.
        type: int
        required: true
      pattern:
        description: Pattern of the keys, as in the command SCAN.
        type: str
        required: true
      account:
        description: Field of the hash with the account.
        type: str
      details:
        description: Further fields of the hash; never one with a secret.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    support: full
    description: Lists nothing and writes nothing.
"""

EXAMPLES = r"""
- name: report | List the sessions that were undone
  platform3.recovery.redis_undone:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    volume: redis-data
    image: platform3/redis:8
    environment_id: "{{ recovery_environment_id }}"
    user: forex_admin
    password: "{{ redis_password }}"
    content: "{{ recovery_set.components.redis.content }}"
    dest: /opt/platform3/recovery/rec-20261123T143500Z-ab12
    wanted:
      - {kind: sessions, db: 0, pattern: "session:*", account: account_id, details: [user_id, expires_at]}
"""

RETURN = r"""
undone:
  description: A listing for each kind.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: What was listed.
      type: str
    count:
      description: How many were undone; null where it is not known.
      type: int
    sum:
      description: Always null, a key has no amount.
      type: str
    first:
      description: The first rows, at most 20.
      type: list
    file:
      description: Name, bytes and sha256 of the file; null where there is none.
      type: dict
    says:
      description: Why it is not known; empty where it is.
      type: str
warnings_found:
  description: Each kind of which it is not known what was undone, with the reason.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    find_volume,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import SERVER_ARGUMENTS, server_of
from ansible_collections.platform3.recovery.plugins.module_utils._redis_undone import cannot_list, list_undone
from ansible_collections.platform3.recovery.plugins.module_utils._undone import require_kinds, unlisted, warnings_of
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

# Customers are in while this runs: it stands back where processors are short.
CPU_SHARES = 128

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    **SERVER_ARGUMENTS,
    "volume": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "content": {"type": "dict", "required": True},
    "dest": {"type": "path", "required": True},
    "wanted": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kind": {"type": "str", "required": True},
            "db": {"type": "int", "required": True},
            "pattern": {"type": "str", "required": True},
            "account": {"type": "str"},
            "details": {"type": "list", "elements": "str", "default": []},
        },
    },
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Load the quarantine and compare."""
    given = module.params
    require_kinds(given["wanted"], "redis_undone")
    if module.check_mode:
        return {"changed": False, "undone": [], "warnings_found": []}
    try:
        volume = find_volume(compose_of(given).project, given["volume"])
        if volume is None:
            raise cannot_list("PRC-640", "keys", f"there is no volume {given['volume']}")
        with VolumeWorker(
            "redis", volume, given["image"], given["environment_id"], fence_of(module), cpu_shares=CPU_SHARES
        ) as worker:
            listings = list_undone(given, server_of(given), worker)
    except RecoveryError as error:
        listings = [unlisted(given["dest"], one["kind"], error) for one in given["wanted"]]
    return {"changed": True, "undone": listings, "warnings_found": warnings_of(listings)}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
