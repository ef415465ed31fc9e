#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_verify_info
short_description: Compare a restored Redis with what its backup set says
description:
  - Keys of each database net of expiry, the append-only log on and well, a key written to disk, read and deleted, the
    current administrator's password and the default user off, the server's version.
  - The probe key is all it writes, and it is gone afterwards.
version_added: 0.1.0
author:
  - Platform3 team (@platform3)
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.redis
attributes:
  check_mode:
    description: Reads only.
    support: full
options:
  version:
    description: Version of the server that was backed up.
    type: str
    required: true
  recovery_point:
    description: Instant of the newest data restored (UTC).
    type: str
    required: true
  expected_keys:
    description: Keys to expect per database, in the form of the manifest's C(components.redis.keys).
    type: dict
    required: true
  exact:
    description:
      - Whether nothing has been written since the restore. Services that an earlier run of the recovery had started add
        keys; then more keys than expected are good, fewer are not.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: verify | Compare keys, durability and secrets of Redis
  platform3.recovery.redis_verify_info:
    fence: "{{ recovery_fence }}"
    user: forex_admin
    password: "{{ redis_password }}"
    version: "{{ recovery_set.manifest.components.redis.version }}"
    recovery_point: "{{ restored.recovery_point }}"
    expected_keys: "{{ restored.expected_keys }}"
"""

RETURN = r"""
checks:
  description: Each comparison with C(name), C(component), C(expected), C(found), C(ok).
  returned: always
  type: list
  elements: dict
heartbeat:
  description: The newest heartbeat that the recovered data holds, with C(number) and C(at); null where there is none.
  returned: success
  type: dict
warnings_found:
  description: What does not hinder this recovery but will cost data later.
  returned: success
  type: list
  elements: str
recovery_point:
  description: Instant of the newest data restored (UTC); that of the heartbeat, where there is one.
  returned: success
  type: str
"""

import uuid
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._heartbeats import REDIS_KEY, of_redis
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._redis_keys import COUNT_LUA, compare, parse_count
from ansible_collections.platform3.recovery.plugins.module_utils._redis_server import (
    SERVER_ARGUMENTS,
    Server,
    major,
    server_of,
    wait_until_serving,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **SERVER_ARGUMENTS,
    "version": {"type": "str", "required": True},
    "recovery_point": {"type": "str", "required": True},
    "expected_keys": {"type": "dict", "required": True, "no_log": False},
    "exact": {"type": "bool", "default": True},
}
SERVING_TIMEOUT_SECONDS = 10.0
# A count is one script inside the server: a hundred million keys take minutes, not seconds.
COUNT_TIMEOUT_SECONDS = 900.0
SYNC_MILLISECONDS = 5000


def state_checks(info: dict[str, Any], version: str) -> list[Check]:
    """Checks of the server's own report (INFO): role, durability, version of the backup against the server's."""
    found = str(info["redis_version"])
    return [
        check("role", "redis", "master", info["role"]),
        check("append-only log", "redis", "on", "on" if info["aof_enabled"] else "off"),
        check("last write of the log", "redis", "ok", info["aof_last_write_status"]),
        check("last rewrite of the log", "redis", "ok", info["aof_last_bgrewrite_status"]),
        check("last snapshot", "redis", "ok", info["rdb_last_bgsave_status"]),
        check("major version", "redis", major(version), major(found)),
    ]


def probe_checks(client: Any) -> list[Check]:
    """A key is written, reaches the disk, is read, and is gone once deleted."""
    key, value = f"platform3:recovery:probe:{uuid.uuid4().hex}", uuid.uuid4().hex
    written = client.set(key, value, ex=60)
    synced = client.execute_command("WAITAOF", 1, 0, SYNC_MILLISECONDS)
    read = client.get(key)
    client.delete(key)
    answer = "the value written" if written and read == value else str(read)
    return [
        check("a probe key is written and read", "redis", "the value written", answer),
        check("a probe key reaches the disk", "redis", 1, int(synced[0])),
        check("a probe key is deleted", "redis", 0, int(client.exists(key))),
    ]


def secret_checks(client: Any, server: Server) -> list[Check]:
    """The current secret opens the administrator's door, and without one there is no door."""
    import redis

    nobody = server.connect(5, anonymous=True)
    try:
        nobody.get("platform3:recovery:probe")
        answer = "admitted"
    except redis.exceptions.AuthenticationError:
        answer = "refused"
    finally:
        nobody.close()
    return [
        check("login with the current secret", "redis", server.user, str(client.acl_whoami())),
        check("login without a secret", "redis", "refused", answer),
    ]


def acl_warnings(client: Any) -> list[str]:
    """What the access rules will do to the append-only log at the next start.

    Redis 8 reads its log as the user `default`; a MULTI in it that this user may not run is dropped without an error
    (seen: 37 of 653 sessions gone after a restart). `off` alone keeps everybody out and does not do that.
    """
    rules: list[str] = next((line.split() for line in client.acl_list() if line.startswith("user default ")), [])
    if "+@all" in rules and "~*" in rules:
        return []
    return [
        "the user default may not run every command: at its next start Redis drops the transactions in its append-only "
        "log; write 'user default off resetpass ~* &* +@all' into the ACL file"
    ]


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    given = module.params
    server = server_of(given)
    wait_until_serving(server, SERVING_TIMEOUT_SECONDS)
    client = server.connect(COUNT_TIMEOUT_SECONDS)
    # Once services run, the newest heartbeat is theirs.
    heartbeat = of_redis(client.get(REDIS_KEY)) if given["exact"] else None
    at_ms, found = parse_count(client.eval(COUNT_LUA, 0))
    checks = compare(given["expected_keys"], found, at_ms, exact=given["exact"])
    checks += state_checks(client.info(), given["version"])
    checks += probe_checks(client)
    checks += secret_checks(client, server)
    warnings = acl_warnings(client)
    client.close()
    require(
        checks,
        "PRC-611",
        f"verify Redis at {server.host}:{server.port}",
        "the restored data is in place and not released to customers; the old data is in quarantine",
        "rollback.yml puts the old data back; another backup set is chosen with recovery_backup_set",
    )
    return {
        "changed": False,
        "checks": checks,
        "heartbeat": heartbeat,
        "recovery_point": heartbeat["at"] if heartbeat else given["recovery_point"],
        "warnings_found": warnings,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
