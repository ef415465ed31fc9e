#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_backup
short_description: Back up PostgreSQL with pgBackRest and pg_dump, and write down what a recovery must find
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Takes a base backup into the pgBackRest repository and, beside it, a dump in the custom format and the roles
    (without passwords) into the backup set.
  - Counts and sums the settled rows of the critical tables, which are exact under live traffic.
  - Drops streamed WAL from before this backup, but only what the archive holds.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.postgresql
  - platform3.recovery.postgresql.one_shot
options:
  set_path:
    description: Folder of the backup set that is being written.
    type: path
    required: true
  set_id:
    description: Id of the backup set.
    type: str
    required: true
  stanza:
    description: Stanza of the repository; it is made where there is none.
    type: str
    required: true
  critical_tables:
    description: Tables whose figures are written down.
    type: list
    elements: dict
    required: true
    suboptions:
      table:
        description: Name of the table, with its schema where that is not C(public).
        type: str
        required: true
      settled_column:
        description: Column with the time after which a row never changes; left out for a table without one.
        type: str
      sum_column:
        description: Exact numeric column that is summed over the settled rows.
        type: str
  type:
    description:
      - A full base backup, what changed since the last full one (V(diff)), or since the last of any kind (V(incr)).
      - Where there is none to build on, pgBackRest takes a full one. The manifest says which it was, and what it needs.
    type: str
    choices: [full, diff, incr]
    default: full
  dump:
    description: Whether a dump is due.
    type: str
    choices: [always, never]
    default: always
  dump_compression:
    description: Compression of the dump, as C(pg_dump --compress).
    type: str
    default: zstd:1
  processes:
    description: Processes that back up at once.
    type: int
    default: 2
  off_machine_segments:
    description: Streamed WAL segments that a second copy holds. No other is removed from the stream; left out where
      there is no second copy.
    type: list
    elements: str
attributes:
  check_mode:
    support: full
    description: Says what would be backed up; writes nothing.
"""

EXAMPLES = r"""
- name: backup | Take a base backup and a dump
  platform3.recovery.postgresql_backup:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    image: platform3/postgresql:17
    environment_id: lab-0123456789ab
    backup_store_path: /opt/platform3/backups
    set_path: "{{ backup_set.path }}"
    set_id: "{{ backup_set.id }}"
    stanza: platform3
    database: forex_trading
    critical_tables:
      - {table: orders, settled_column: created_at, sum_column: quantity}
"""

RETURN = r"""
artefacts:
  description: Files written into the backup set, each with path, bytes, sha256, component, kind and source_version.
  type: list
  elements: dict
  returned: success
content:
  description: What belongs into the manifest as C(components.postgresql).
  type: dict
  returned: success
recovery_point:
  description: When the base backup was consistent.
  type: str
  returned: success
bytes:
  description: Size of the cluster.
  type: int
  returned: success
parts:
  description: Seconds of each part; backup and dump run side by side.
  type: dict
  returned: success
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._module import (
    STEP_ARGUMENTS,
    run_module,
)
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup, parse_listing
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_backup import (
    base_backup,
    database_facts,
    dump_argv,
    globals_argv,
    manifest_sha256,
    relfilenodes,
    require_room,
    run_dump,
    settle_timeline,
    tables_map,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import (
    COMPONENT,
    CRITICAL_TABLES_ARGUMENT,
    figures_of,
    figures_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer, follow_system
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import Clock
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_stream import Stream
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._wal import archived_segments
from ansible_collections.platform3.recovery.plugins.module_utils._wal_stream import removable

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "container": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "environment_id": {"type": "str", "required": True},
    "backup_store_path": {"type": "path", "required": True},
    "set_path": {"type": "path", "required": True},
    "set_id": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "critical_tables": CRITICAL_TABLES_ARGUMENT,
    "off_machine_segments": {"type": "list", "elements": "str"},
    "type": {"type": "str", "choices": ["full", "diff", "incr"], "default": "full"},
    "dump": {"type": "str", "choices": ["always", "never"], "default": "always"},
    "dump_compression": {"type": "str", "default": "zstd:1"},
    "processes": {"type": "int", "default": 2},
}


def write_dumps(given: dict[str, Any], server: LiveServer, version: str, clock: Clock) -> dict[str, dict[str, Any]]:
    """The roles and, when due, the dump, as records of the set; by kind."""
    wanted = {"globals": (f"globals_{given['set_id']}.sql", globals_argv())}
    if given["dump"] == "always":
        argv = dump_argv(given["database"], given["dump_compression"])
        wanted["dump"] = (f"{given['database']}_{given['set_id']}.custom", argv)
    os.makedirs(f"{given['set_path']}/{COMPONENT}", exist_ok=True)
    records = {}
    for kind, (name, argv) in wanted.items():
        path = f"{COMPONENT}/{name}"
        size, sha256 = run_dump(server, argv, f"{given['set_path']}/{path}")
        records[kind] = {
            "path": path,
            "bytes": size,
            "sha256": sha256,
            "component": COMPONENT,
            "kind": kind,
            "source_version": version,
        }
        clock.lap(kind)
    return records


def content_of(
    given: dict[str, Any], facts: dict[str, Any], backup: Backup, sha256: str, records: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What the manifest says of PostgreSQL."""
    dump = records.get("dump")
    return {
        "version": facts["version"],
        "recovery_point": backup.finished_at,
        "system_identifier": facts["system_identifier"],
        "timeline": backup.timeline,
        "database": given["database"],
        "pgbackrest": {
            "stanza": given["stanza"],
            "label": backup.label,
            "type": backup.kind,
            "depends_on": list(backup.depends_on),
            "manifest_sha256": sha256,
            "archive_id": backup.archive_id,
            "wal_start": backup.wal_start,
            "wal_stop": backup.wal_stop,
            "lsn_start": backup.lsn_start,
            "lsn_stop": backup.lsn_stop,
            "started_at": backup.started_at,
            "finished_at": backup.finished_at,
            "bytes": backup.bytes,
            "repository_bytes": backup.repository_bytes,
        },
        "settings": facts["settings"],
        "cluster": {name: facts[name] for name in ("encoding", "collate", "ctype", "provider", "checksums")},
        "collation_version": facts["collation_version"],
        "relfilenodes": facts["relfilenodes"],
        "tables": facts["tables"],
        "figures": facts["figures"],
        "globals": {"path": records["globals"]["path"]},
        "dump": dump and {"path": dump["path"], "bytes": dump["bytes"], "started_at": facts["dump_started_at"]},
    }


def tidy_stream(given: dict[str, Any], server: LiveServer, backup: Backup) -> list[str]:
    """Remove streamed segments from before this backup that the archive and the second copy hold; returns them."""
    away = given["off_machine_segments"]
    stream = Stream(given["image"], given["environment_id"], given["backup_store_path"])
    listing = parse_listing(
        server.pgbackrest("repo-ls", "--recurse", "--output=json", f"archive/{given['stanza']}/{backup.archive_id}")
    )
    names = {path.rpartition("/")[2]: entry for path, entry in listing.items()}
    leftovers = removable(
        stream.files(), archived_segments(names), backup.wal_start, None if away is None else dict.fromkeys(away)
    )
    if leftovers:
        stream.remove(leftovers)
    return leftovers


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: figures first, then backup and dump side by side."""
    given = module.params
    server = LiveServer(given["container"], given["database"], given["stanza"])
    server.require_alive([])
    diff = {"before": "", "after": f"{given['type']} backup of {given['container']}, dump {given['dump']}\n"}
    if module.check_mode:
        return {"changed": True, "diff": diff, "artefacts": [], "content": {}}

    require_room(f"{given['backup_store_path']}/pgbackrest")
    clock, dump_clock = Clock(), Clock()
    tables = given["critical_tables"]
    with server.session(timeout_seconds=30) as session:
        facts = database_facts(session)
        rows = session.rows(figures_query(tables, facts["settled_before"]), timeout_seconds=1800)
        facts["figures"] = figures_of(tables, rows, facts["settled_before"])
        facts["relfilenodes"] = relfilenodes(session, [one["table"] for one in tables])
        facts["tables"] = tables_map(session)
        row = session.row(
            "SELECT sum(pg_database_size(oid))::bigint AS bytes,"
            """ to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at FROM pg_database"""
        )
        facts["dump_started_at"] = row["at"]
        settle_timeline(session)
    follow_system(server, facts["system_identifier"], is_new=False)
    clock.lap("figures")
    with ThreadPoolExecutor(max_workers=1) as pool:
        dumping = pool.submit(write_dumps, given, server, facts["version"], dump_clock)
        progress = Progress(given["progress_path"])
        backup = base_backup(server, given["processes"], given["type"], int(row["bytes"]), progress)
        clock.lap("backup")
        records = dumping.result()
    content = content_of(given, facts, backup, manifest_sha256(server, backup.label), records)
    tidied = tidy_stream(given, server, backup)
    return {
        "changed": True,
        "diff": diff,
        "artefacts": list(records.values()),
        "content": content,
        "recovery_point": backup.finished_at,
        "bytes": backup.bytes,
        "parts": {**clock.parts, **dump_clock.parts},
        "tidied": len(tidied),
    }


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, supports_check_mode=True)


if __name__ == "__main__":
    main()
