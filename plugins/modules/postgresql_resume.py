#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_resume
short_description: Let the WAL stream begin again after a recovery
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Names the recovery in the backup store's fence as the stream's folder, because in the old folder the receiver would
    wait for ever for the old timeline, starts the receiver and waits until it streams.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
options:
  receiver_service:
    description: Compose service of the WAL receiver.
    type: str
    required: true
  container:
    description: Name of the server's container.
    type: str
    required: true
  database:
    description: Any database of the server.
    type: str
    required: true
  stanza:
    description: Stanza of the repository.
    type: str
    required: true
  backup_store_path:
    description: Folder of the backup store (C(fence), C(wal-stream)).
    type: path
    required: true
  stream_name:
    description: Name of the stream's new folder; by default the recovery id.
    type: str
  timeout_seconds:
    description: How long the receiver may take to stream.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says which folder the stream would use; changes nothing.
"""

EXAMPLES = r"""
- name: resume | Let the WAL stream begin again
  platform3.recovery.postgresql_resume:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    receiver_service: wal-receiver
    container: forex-postgres
    database: forex_trading
    stanza: platform3
    backup_store_path: /opt/platform3/backups
"""

RETURN = r"""
checks:
  description: That the receiver streams and has what was written before.
  type: list
  elements: dict
  returned: success
stream_name:
  description: Name of the stream's folder.
  type: str
  returned: success
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    compose_of,
    docker,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    fence_of,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import (
    GO_ON,
    POLL_SECONDS,
    read_fence,
    write_fence,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    **COMPOSE_ARGUMENTS,
    "receiver_service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "stream_name": {"type": "str"},
    "timeout_seconds": {"type": "int", "default": 60},
}

_STREAMING = """
SELECT count(*) AS receivers FROM pg_stat_replication
WHERE application_name = 'pg_receivewal' AND state = 'streaming' AND flush_lsn >= '{lsn}'
"""


def await_streaming(session: Session, timeout_seconds: int) -> Check:
    """Wait until a receiver has on disk what was written before; PRC-526 where it does not get there."""
    lsn = session.row("SELECT pg_current_wal_flush_lsn() AS lsn")["lsn"]
    deadline = time.monotonic() + timeout_seconds
    while not session.row(_STREAMING.format(lsn=lsn))["receivers"]:
        if time.monotonic() > deadline:
            raise RecoveryError(
                "PRC-526",
                "let the WAL stream begin again",
                f"no receiver has WAL up to {lsn} after {timeout_seconds} s",
                "the database is complete and archives each segment, but a loss now costs up to archive_timeout",
                f"docker logs of the WAL receiver; {GO_ON}",
            )
        time.sleep(POLL_SECONDS)
    return check("the WAL stream is up to date", COMPONENT, f"at least {lsn}", f"at least {lsn}")


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: name the folder, start the receiver anew, see it stream."""
    given, store = module.params, module.params["backup_store_path"]
    compose = compose_of(given)
    wanted = given["stream_name"] or fence_of(module).recovery_id
    known = read_fence(store, "wal_stream") or "initial"
    result = {
        "changed": known != wanted,
        "diff": {"before": f"wal_stream: {known}\n", "after": f"wal_stream: {wanted}\n"},
        "stream_name": wanted,
    }
    if module.check_mode:
        return result
    if known != wanted:
        docker(compose.argv(["rm", "--stop", "--force", given["receiver_service"]]))
        write_fence(store, "wal_stream", wanted)
    compose.up([given["receiver_service"]])
    with LiveServer(given["container"], given["database"], given["stanza"]).session() as session:
        return {**result, "checks": [await_streaming(session, given["timeout_seconds"])]}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
