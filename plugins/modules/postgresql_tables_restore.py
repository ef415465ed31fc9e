#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_tables_restore
short_description: Bring chosen tables of PostgreSQL back in the running server
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - The rows come from the dump of a backup set, which is compared with its manifest and loaded into a scratch database
    of the same server, or from another running server, such as a sandbox that was brought to a point in time.
  - They are copied into a scratch schema of the live database and compared with the live rows. Rows that a foreign key
    would leave without their parent, of these tables or of any that refer to them, are refused with their keys before
    a live table is touched.
  - Then, in one transaction, rows are exchanged or merged, compared with the source, foreign keys are looked through
    once more, and sequences are moved forward, never back. The tables themselves stay, with all that refers to them.
  - During that transaction the chosen tables, and those that foreign keys tie to them, take no writes; all of them can
    be read. RV(locks) names them, RV(locked_seconds) says for how long. Triggers and cascades do not fire.
  - What was replaced, and what took its place, is kept in schema C(platform3_quarantine) under the recovery id, so that
    exactly this can be put back. C(platform3_quarantine.tables) lists it.
  - It may be run again with the same recovery id at any time. A run that was killed changed nothing or everything; what
    it left beside is removed.
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.postgresql
options:
  stanza:
    description: Stanza of the repository.
    type: str
    required: true
  tables:
    description: The tables, as C(table) or C(schema.table), spelt as in the catalogue. The default schema is C(public).
    type: list
    elements: str
    required: true
  state:
    description:
      - V(restored) brings the tables back.
      - V(put_back) undoes what V(restored) did under the same recovery id, and nothing that was written since. Rows
        that were altered since are refused with their keys.
      - V(released) frees what is kept of this recovery id for good; it cannot be put back afterwards.
    type: str
    choices: [restored, put_back, released]
    default: restored
  mode:
    description:
      - With V(swap), a table's rows become those of the source; what is not in the source goes into the quarantine.
      - With V(merge), only rows whose primary key is missing are added. Rows that differ are counted and listed, and
        stay as they are.
    type: str
    choices: [swap, merge]
    default: swap
  set_path:
    description: Folder of the backup set. Needed with O(artefact).
    type: path
  artefact:
    description: The dump, as the set's signed manifest lists it. Needed where rows are restored from it.
    type: dict
    suboptions:
      path:
        description: Path in the set.
        type: str
        required: true
      bytes:
        description: Its size.
        type: int
        required: true
      sha256:
        description: Its SHA-256.
        type: str
        required: true
  source_postgresql:
    description: Another running server to take the rows from, instead of a dump. It is only read, in one snapshot.
    type: dict
    suboptions:
      container:
        description: Name of its container on this host.
        type: str
        required: true
      database:
        description: Its database.
        type: str
        required: true
  lock_timeout_seconds:
    description: How long each lock is waited for, before everything is rolled back and PRC-597 says so.
    type: int
    default: 10
  statement_timeout_seconds:
    description: How long each statement may take while locks are held, before everything is rolled back.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says what would change. The rows are loaded and compared beside as ever, in a scratch database and
      schema that are removed again; no live table is locked or changed.
"""

EXAMPLES = r"""
- name: restore | Bring the executions back that were deleted
  platform3.recovery.postgresql_tables_restore:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    stanza: platform3
    database: forex_trading
    tables: [executions]
    set_path: "{{ recovery_set.components.postgresql.path }}"
    artefact: "{{ recovery_set.components.postgresql.artefacts | selectattr('kind', 'eq', 'dump') | first }}"

- name: restore | Add the orders that are missing, from a sandbox at a point in time
  platform3.recovery.postgresql_tables_restore:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    stanza: platform3
    database: forex_trading
    tables: [orders, executions]
    mode: merge
    source_postgresql:
      container: sandbox-forex-postgres
      database: forex_trading

- name: rollback | Undo that
  platform3.recovery.postgresql_tables_restore:
    fence: "{{ recovery_fence }}"
    container: forex-postgres
    stanza: platform3
    database: forex_trading
    tables: [orders, executions]
    state: put_back
"""

RETURN = r"""
tables:
  description:
    - Each table with C(added), C(removed) and C(changed) rows, and C(kept_as), its name in the quarantine.
    - With O(mode=merge), C(differing) rows that were left as they are, and C(differing_keys) of the first ten.
  returned: success
  type: list
  elements: dict
sequences:
  description: Sequences that were moved, each with C(sequence), C(before) and C(after).
  returned: success
  type: list
  elements: dict
locks:
  description: Tables that took no writes during the transaction, each with C(table) and C(mode).
  returned: success
  type: list
  elements: dict
locked_seconds:
  description: How long they took no writes.
  returned: success
  type: float
checks:
  description: What was compared before the commit.
  returned: always
  type: list
  elements: dict
bytes:
  description: Size of the tables in the source.
  returned: success
  type: int
quarantined:
  description: Whether something is kept in quarantine.
  returned: success
  type: bool
parts:
  description: Seconds of each part.
  returned: success
  type: dict
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import Clock
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables import (
    SCRATCH,
    Name,
    is_done,
    parse_names,
    refused,
    require_key,
    require_ordinary,
    require_restored,
    require_same_columns,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_restore import (
    Limits,
    alone,
    bring_in,
    done_before,
    foreign_keys,
    foresee,
    live_tables,
    locks_of,
    put_back,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_source import (
    COPIES,
    Snapshot,
    dump_of,
    load_dump,
    require_room,
    require_signed,
    stage,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_sql import Pair, release_sql
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session

ARGUMENTS: dict[str, dict[str, Any]] = {
    **STEP_ARGUMENTS,
    "container": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "tables": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["restored", "put_back", "released"], "default": "restored"},
    "mode": {"type": "str", "choices": ["swap", "merge"], "default": "swap"},
    "set_path": {"type": "path"},
    "artefact": {
        "type": "dict",
        "options": {
            "path": {"type": "str", "required": True},
            "bytes": {"type": "int", "required": True},
            "sha256": {"type": "str", "required": True},
        },
    },
    "source_postgresql": {
        "type": "dict",
        "options": {
            "container": {"type": "str", "required": True},
            "database": {"type": "str", "required": True},
        },
    },
    "lock_timeout_seconds": {"type": "int", "default": 10},
    "statement_timeout_seconds": {"type": "int", "default": 300},
}
NOTHING: dict[str, Any] = {
    "tables": [], "sequences": [], "locks": [], "locked_seconds": 0.0, "checks": [], "bytes": 0, "quarantined": True,
    "parts": {},
}  # fmt: skip


@contextlib.contextmanager
def source_of(
    given: dict[str, Any], server: LiveServer, session: Session, names: list[Name], progress: Progress, clock: Clock
) -> Iterator[tuple[Snapshot, str]]:
    """The source in one snapshot, and how the record calls it; of a dump, once it is verified and loaded."""
    if given["source_postgresql"]:
        other = given["source_postgresql"]
        source = LiveServer(other["container"], other["database"], server.stanza)
        source.require_alive([])
        called = f"{source.database} of {source.container}"
    elif not given["artefact"]:
        next_step = "choose a set with a dump (increments have none: recovery_backup_set=<id>)"
        raise refused("PRC-524", "restore chosen tables", "the backup set has no dump", next_step)
    else:
        dump = dump_of(given["set_path"], given["artefact"])
        require_signed(dump, progress)
        clock.lap("verify")
        load_dump(server, session, dump, names, progress)
        clock.lap("load")
        source, called = LiveServer(server.container, SCRATCH, server.stanza), given["artefact"]["path"]
    with Snapshot(source) as snapshot:
        yield snapshot, called


def restore(
    module: AnsibleModule, server: LiveServer, session: Session, names: list[Name], limits: Limits
) -> dict[str, Any]:
    """Beside, compared, and unless in check mode exchanged in one transaction."""
    given, recovery_id, mode = module.params, fence_of(module).recovery_id, module.params["mode"]
    progress, clock = Progress(given["progress_path"]), Clock()
    live = live_tables(session, names)
    require_ordinary(live.values())
    require_key(live.values(), mode)
    done, told = done_before(session, recovery_id)
    if not module.check_mode and is_done(done, names, mode, recovery_id):
        return {**NOTHING, "changed": False, "tables": told}
    pairs = [Pair(number, live[name]) for number, name in enumerate(names)]
    with source_of(given, server, session, names, progress, clock) as (source, called):
        held = source.tables(names)
        require_ordinary(held.values())
        for pair in pairs:
            require_same_columns(pair.live, held[pair.live.name])
        size = sum(one.bytes for one in held.values())
        require_room(server, COPIES * size)
        last = source.sequences(names)
        stage(server, session, source, pairs, progress)
    clock.lap("copy")
    progress.start("comparing with the live tables")
    foreseen, checks = foresee(session, pairs, mode)
    clock.lap("compare")
    result = {**NOTHING, "changed": any_change(foreseen), "bytes": size, "parts": clock.parts}
    if module.check_mode:
        locks = locks_of(names, foreign_keys(session, names))
        return {**result, "tables": foreseen, "checks": checks, "locks": locks, "quarantined": False}
    progress.start("exchanging the rows in one transaction")
    found = bring_in(session, pairs, mode, recovery_id, called, last, limits)
    clock.lap("exchange")
    changed = any_change(found["tables"]) or bool(found["sequences"])
    return {**result, **found, "changed": changed, "parts": clock.parts}


def any_change(tables: list[dict[str, Any]]) -> bool:
    """Whether a row is added, removed or changed."""
    return any(one[kind] for one in tables for kind in ("added", "removed", "changed"))


def undo(
    module: AnsibleModule, server: LiveServer, session: Session, names: list[Name], limits: Limits
) -> dict[str, Any]:
    """Put back what this recovery brought in."""
    recovery_id, clock = fence_of(module).recovery_id, Clock()
    live = live_tables(session, names)
    done, told = done_before(session, recovery_id)
    due = require_restored(done, names, recovery_id)
    asked = {name.text() for name in names}
    result = {**NOTHING, "changed": bool(due), "tables": [one for one in told if one["table"] in asked]}
    if not due:
        return result
    found = put_back(session, live, due, recovery_id, limits, module.check_mode)
    clock.lap("exchange")
    return {**result, **found, "parts": clock.parts}


def release(
    module: AnsibleModule, _server: LiveServer, session: Session, names: list[Name], _limits: Limits
) -> dict[str, Any]:
    """Drop what this recovery kept of the tables, whatever became of them since."""
    recovery_id = fence_of(module).recovery_id
    kept = [one for one in done_before(session, recovery_id)[0] if one.name in names]
    if kept and not module.check_mode:
        session.execute(release_sql(recovery_id, kept))
    return {**NOTHING, "changed": bool(kept), "quarantined": False}


ACTS = {"restored": restore, "put_back": undo, "released": release}


def diff_of(given: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """What becomes of the tables, a line each."""
    is_back = given["state"] == "put_back"
    lines = []
    for one in result["tables"] if result["changed"] else []:
        counts = [f"{one[kind]} rows {kind}" for kind in ("added", "removed", "changed")]
        counts += [f"{one['differing']} that differ left alone"] if one.get("differing") else []
        lines.append(f"{one['table']}: {'undone: ' if is_back else ''}{', '.join(counts)}\n")
    return {"before": "", "after": "".join(lines)}


def work(module: AnsibleModule) -> dict[str, Any]:
    """The module's work: alone with the live database, restore or undo."""
    given = module.params
    names = parse_names(given["tables"])
    server = LiveServer(given["container"], given["database"], given["stanza"])
    server.require_alive([])
    limits = Limits(given["lock_timeout_seconds"], given["statement_timeout_seconds"])
    with alone(server, module.check_mode) as session:
        result = ACTS[given["state"]](module, server, session, names, limits)
    return {**result, "diff": diff_of(given, result)}


def main() -> None:
    """Entry point."""
    run_module(
        ARGUMENTS,
        work,
        supports_check_mode=True,
        required_by={"artefact": "set_path"},
        mutually_exclusive=[("artefact", "source_postgresql")],
    )


if __name__ == "__main__":
    main()
