#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore_point
short_description: Name the present moment of PostgreSQL, so that a recovery can end there
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes a restore point into the WAL (C(pg_create_restore_point)), ends the segment, and waits until the archive
    holds it. M(platform3.recovery.postgresql_restore) ends there with a target of kind C(name).
  - A name that is given twice is refused as a target, where both points lie behind one base backup.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.postgresql
options:
  stanza:
    description: Stanza of the repository.
    type: str
    required: true
  name:
    description: Name of the point, up to 63 letters (of ASCII), digits and C(._:+@-).
    type: str
    required: true
  at_second:
    description:
      - Whether to wait for the beginning of a second. Redis' log tells seconds only, and is brought to the beginning of
        one, so that a point within a second would leave it behind PostgreSQL.
    type: bool
    default: false
  timeout_seconds:
    description: How long the archive may take to hold it.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Sees whether a point could be set; sets none.
"""

EXAMPLES = r"""
- name: Backup | Name the moment before the upgrade
  platform3.recovery.postgresql_restore_point:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    database: forex_trading
    stanza: platform3
    name: before-upgrade-7
"""

RETURN = r"""
name:
  description: Its name.
  type: str
  returned: success
lsn:
  description: The position behind it.
  type: str
  returned: when it was set
at:
  description: Its time by the server's clock.
  type: str
  returned: when it was set
timeline:
  description: The timeline that it lies on.
  type: int
  returned: when it was set
segment:
  description: The segment that holds it, which the archive has.
  type: str
  returned: when it was set
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import POLL_SECONDS, iso_sql
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import parse_target
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "container": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "at_second": {"type": "bool", "default": False},
    "timeout_seconds": {"type": "int", "default": 60},
}

_STATE = """
SELECT pg_is_in_recovery() AS standby, current_setting('archive_mode') AS archive_mode,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier
"""
_TO_THE_NEXT_SECOND = "SELECT pg_sleep_until(date_trunc('second', clock_timestamp()) + interval '1 second')::text"
_WAITING = "SELECT count(*) AS waiting FROM pg_ls_archive_statusdir() WHERE name = {ready}"


def require_archiving_primary(state: dict[str, Any], given: dict[str, Any]) -> None:
    """RecoveryError PRC-560 where a restore point cannot be set, or would never be archived."""
    wrong = "it is in recovery" if state["standby"] else "archive_mode is off" if state["archive_mode"] == "off" else ""
    if wrong:
        raise RecoveryError(
            "PRC-560",
            f"set the restore point {given['name']} in {given['container']}",
            wrong,
            "no point was set",
            "finish its recovery, or turn archiving on, then set it again",
        )


def await_segment(server: LiveServer, session: Session, segment: str, system: str, given: dict[str, Any]) -> None:
    """See the segment with the point in the archive; RecoveryError PRC-561 where it does not get there."""
    deadline = time.monotonic() + given["timeout_seconds"]
    query = _WAITING.format(ready=literal(f"{segment}.ready"))
    while session.row(query)["waiting"] or not server.archived(system, segment):
        if time.monotonic() > deadline:
            raise RecoveryError(
                "PRC-561",
                f"archive the restore point {given['name']}",
                f"segment {segment} is not in the archive after {given['timeout_seconds']} s",
                "the point is set; until the archive or the stream has its segment, no recovery can end there",
                f"docker logs {given['container']} says why archive_command fails; it is archived once that is mended",
            )
        time.sleep(POLL_SECONDS)


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: the point, the end of its segment, the archive."""
    given = module.params
    name = parse_target({"kind": "name", "value": given["name"]}).value
    server = LiveServer(given["container"], given["database"], given["stanza"])
    server.require_alive([])
    diff = {"before": "", "after": f"restore point {name} of {given['container']}\n"}
    with server.session(timeout_seconds=30) as session:
        state = session.row(_STATE)
        require_archiving_primary(state, given)
        if module.check_mode:
            return {"changed": True, "diff": diff, "name": name}
        if given["at_second"]:
            session.row(_TO_THE_NEXT_SECOND)
        point = session.row(
            f"SELECT pg_create_restore_point({literal(name)})::text AS lsn,"
            f" {iso_sql('clock_timestamp()').replace('.MS', '.US')} AS at"
        )
        segment = session.row("SELECT pg_walfile_name(pg_switch_wal() - 1) AS name")["name"]
        holding = session.row(f"SELECT pg_walfile_name({literal(point['lsn'])}::pg_lsn - 1) AS name")["name"]
        await_segment(server, session, max(segment, holding), state["system_identifier"], given)
    return {
        "changed": True,
        "diff": diff,
        "name": name,
        "lsn": point["lsn"],
        "at": point["at"],
        "timeline": int(holding[:8], 16),
        "segment": holding,
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
