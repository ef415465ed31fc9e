# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chosen tables brought back in a running server: compared beside, exchanged in one transaction, or put back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import LiveServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import POLL_SECONDS
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables import (
    NAMES_QUERY,
    SCRATCH,
    SWAP,
    UNTOUCHED,
    Done,
    Name,
    Table,
    kept_name,
    refused,
    require_known,
    shown_keys,
    table_of,
    tables_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_source import (
    APPLICATION,
    LONG_SECONDS,
    open_session,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_tables_sql import (
    QUARANTINE_SQL,
    REGISTRY,
    ForeignKey,
    Pair,
    altered_query,
    begin_sql,
    changed_query,
    counts_query,
    differences_sql,
    done_query,
    exchange_sql,
    foreign_key_of,
    foreign_keys_query,
    foreseen_query,
    forward_query,
    found_query,
    neighbours,
    put_back_differences_sql,
    put_back_sql,
    record_sql,
    sequences_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal

# Held by the session of a run for as long as it works: two would take each other's scratch.
ADVISORY_LOCK = 0x70335442
WAIT_SECONDS = 60.0
ROLLED_BACK = "the transaction was rolled back: no live table was changed"


@dataclass(frozen=True)
class Limits:
    """lock_seconds: how long a lock is waited for; statement_seconds: how long each statement under locks may take."""

    lock_seconds: int
    statement_seconds: int


@contextlib.contextmanager
def alone(server: LiveServer, is_look: bool) -> Iterator[Session]:
    """A session with the live database that no other run has at the same time; the scratch is gone before and after.

    What an earlier run left at work is ended, since the recovery's lock is ours; but not by a look (check mode), which
    has no lock: that is refused (PRC-597).
    """
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(open_session(server))
        _take_turn(session, ends_others=not is_look, wait_seconds=0.0 if is_look else WAIT_SECONDS)
        _remove_scratch(session)
        try:
            yield session
        except BaseException:
            # The session may have ended with its error: another one tidies up.
            session.__exit__(None, None, None)
            with contextlib.suppress(RecoveryError), open_session(server) as tidy:
                _take_turn(tidy, ends_others=not is_look, wait_seconds=WAIT_SECONDS)
                _remove_scratch(tidy)
            raise
        _remove_scratch(session)


def _take_turn(session: Session, ends_others: bool, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not session.row(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS is_ours")["is_ours"]:
        if time.monotonic() >= deadline:
            next_step = "wait until it has ended, then run the same command again"
            raise refused("PRC-597", "begin with chosen tables", "another run of it is at work", next_step)
        if ends_others:
            _end_others(session)
        time.sleep(POLL_SECONDS)
    if ends_others:
        _end_others(session)


def _end_others(session: Session) -> None:
    session.rows(
        "SELECT pg_terminate_backend(pid, 5000) AS ended FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        f" AND application_name = {literal(APPLICATION)}"
    )


def _remove_scratch(session: Session) -> None:
    session.execute(
        f"SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SCRATCH} CASCADE;\n"
        f"DROP DATABASE IF EXISTS {SCRATCH} WITH (FORCE);",
        timeout_seconds=LONG_SECONDS,
    )


def live_tables(session: Session, names: Sequence[Name]) -> dict[Name, Table]:
    """The live tables; RecoveryError PRC-590 where one is unknown."""
    found = {one.name: one for one in map(table_of, session.rows(tables_query(names)))}
    known = [Name(row["schema"], row["table"]) for row in session.rows(NAMES_QUERY)]
    require_known(names, found, known)
    return found


def foreign_keys(session: Session, names: Sequence[Name]) -> list[ForeignKey]:
    """Every foreign key of these tables, and to them."""
    return [foreign_key_of(row) for row in session.rows(foreign_keys_query(names))]


def done_before(session: Session, recovery_id: str) -> tuple[list[Done], list[dict[str, Any]]]:
    """What the quarantine says of a recovery, and the same as the module returns it."""
    if not session.row(f"SELECT to_regclass({literal(REGISTRY)}) IS NOT NULL AS is_there")["is_there"]:
        return [], []
    rows = session.rows(done_query(recovery_id))
    done = [Done(Name(row["schema"], row["table"]), row["kept_as"], row["mode"], row["state"]) for row in rows]
    told = [
        {**{key: row[key] for key in ("kept_as", "added", "removed", "changed")}, "table": one.name.text()}
        for row, one in zip(rows, done)
    ]
    return done, told


# --- foreign keys ---


def _dangling(session: Session, keys: Sequence[ForeignKey], queries: Sequence[str | None]) -> list[Check]:
    """A check of each foreign key that may be hurt: which rows have no parent."""
    checks = []
    for key, query in zip(keys, queries):
        if query is None:
            continue
        row = session.row(query, timeout_seconds=LONG_SECONDS)
        found = shown_keys(row["keys"], row["found"]) if row["found"] else 0
        shown = f"{row['found']} rows: {found}" if row["found"] else 0
        name = f"rows of {key.child.text()} without their parent in {key.parent.text()} ({key.name})"
        checks.append(check(name, COMPONENT, 0, shown))
    return checks


def _require_no_dangling(checks: list[Check], data: str) -> list[Check]:
    next_step = (
        "restore the tables that hold the missing rows too (postgresql_tables), merge instead of swap where rows were"
        " written since, or choose another source"
    )
    attempted = "restore the chosen tables without breaking a foreign key"
    return require(checks, "PRC-595", attempted, data, next_step) if checks else []


# --- looking beside ---


def foresee(session: Session, pairs: Sequence[Pair], mode: str) -> tuple[list[dict[str, Any]], list[Check]]:
    """What would change, and the checks of what would dangle; RecoveryError PRC-595. Nothing is locked or changed."""
    by_name = {pair.live.name: pair for pair in pairs}
    keys = foreign_keys(session, list(by_name))
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ;")
    told = []
    for pair in pairs:
        session.execute(differences_sql(pair), timeout_seconds=LONG_SECONDS)
        told.append(_told(session, pair, mode))
    checks = _dangling(session, keys, [foreseen_query(key, by_name, mode) for key in keys])
    session.execute("ROLLBACK;")
    return told, _require_no_dangling(checks, UNTOUCHED)


def _told(session: Session, pair: Pair, mode: str) -> dict[str, Any]:
    """How a table's rows differ, by what the mode makes of it."""
    counts = session.row(counts_query(pair), timeout_seconds=LONG_SECONDS)
    told = {"table": pair.live.name.text(), "added": counts["added"], "removed": 0, "changed": 0, "differing": 0}
    if mode == SWAP:
        return {**told, "removed": counts["removed"], "changed": counts["changed"], "differing_keys": []}
    keys = session.row(changed_query(pair), timeout_seconds=LONG_SECONDS)["keys"] if counts["changed"] else []
    return {**told, "differing": counts["changed"], "differing_keys": keys}


# --- the one transaction ---


@contextlib.contextmanager
def _transaction(
    session: Session, names: Sequence[Name], keys: Sequence[ForeignKey], limits: Limits
) -> Iterator[float]:
    """One transaction under locks, committed at the end; yields when it began to hold them.

    PRC-597 where a lock was not to be had, or a statement took too long under them; PRC-596 where the server refused.
    """
    others = neighbours(names, keys)
    try:
        session.execute(
            begin_sql(names, others, limits.lock_seconds, limits.statement_seconds), timeout_seconds=LONG_SECONDS
        )
        yield time.monotonic()
        session.execute("COMMIT;", timeout_seconds=LONG_SECONDS)
    except RecoveryError as error:
        if error.code != "PRC-517":
            raise
        attempted = f"change {', '.join(one.text() for one in names)} in one transaction"
        if any(one in error.found for one in ("lock timeout", "statement timeout", "deadlock detected")):
            next_step = (
                "see who holds locks (pg_stat_activity, pg_locks), and end that;"
                " a large table may need a longer postgresql_tables_statement_timeout_seconds"
            )
            raise refused("PRC-597", attempted, error.found, next_step, ROLLED_BACK) from None
        next_step = "merge or swap the tables that it names as well, or mend the row that is in the way"
        raise refused("PRC-596", attempted, error.found, next_step, ROLLED_BACK) from None


def locks_of(names: Sequence[Name], keys: Sequence[ForeignKey]) -> list[dict[str, str]]:
    """What stands still during the transaction; reading goes on everywhere."""
    own = [{"table": one.text(), "mode": "SHARE ROW EXCLUSIVE"} for one in sorted(names)]
    return own + [{"table": one.text(), "mode": "SHARE"} for one in neighbours(names, keys)]


def bring_in(
    session: Session,
    pairs: Sequence[Pair],
    mode: str,
    recovery_id: str,
    source: str,
    given: Mapping[tuple[Name, str], int],
    limits: Limits,
) -> dict[str, Any]:
    """Exchange or merge all tables at once, keep what was replaced, move sequences, compare, commit.

    given: the last numbers of the source's sequences. Returns tables, sequences, checks, locks and locked_seconds.
    """
    names = [pair.live.name for pair in pairs]
    keys = foreign_keys(session, names)
    tables = []
    with _transaction(session, names, keys, limits) as begun:
        session.execute(f"SET LOCAL client_min_messages = warning;{QUARANTINE_SQL}")
        for pair in pairs:
            session.execute(differences_sql(pair), timeout_seconds=LONG_SECONDS)
            told = {**_told(session, pair, mode), "kept_as": kept_name(recovery_id, pair.live.name)}
            session.execute(exchange_sql(pair, told["kept_as"], mode), timeout_seconds=LONG_SECONDS)
            session.execute(record_sql(recovery_id, pair.live.name, told["kept_as"], mode, source, told))
            tables.append(told)
        kept = {pair.live.name: one["kept_as"] for pair, one in zip(pairs, tables)}
        sequences = forward(session, kept, given)
        checks = [one for pair in pairs for one in _compared(session, pair, mode)]
        require(checks, "PRC-596", "find the source's rows in the live tables", ROLLED_BACK, "choose another source")
        checks += _require_no_dangling(_dangling(session, keys, [found_query(key) for key in keys]), ROLLED_BACK)
    seconds = round(time.monotonic() - begun, 3)
    _analyse(session, names)
    return {
        "tables": tables,
        "sequences": sequences,
        "checks": checks,
        "locks": locks_of(names, keys),
        "locked_seconds": seconds,
    }


def _compared(session: Session, pair: Pair, mode: str) -> list[Check]:
    """Compare the live table with the source once more, as it is about to be committed."""
    session.execute(differences_sql(pair), timeout_seconds=LONG_SECONDS)
    counts = session.row(counts_query(pair), timeout_seconds=LONG_SECONDS)
    name = pair.live.name.text()
    checks = [check(f"rows of the source that {name} lacks", COMPONENT, 0, counts["added"])]
    if mode == SWAP:
        checks.append(check(f"rows of {name} that the source lacks", COMPONENT, 0, counts["removed"]))
        checks.append(check(f"rows of {name} that differ from the source", COMPONENT, 0, counts["changed"]))
    return checks


def forward(session: Session, kept: Mapping[Name, str], given: Mapping[tuple[Name, str], int]) -> list[dict[str, Any]]:
    """Move the sequences of tables forward where a next number would be one that was given before.

    kept: what each table is called in the quarantine.
    """
    moved = []
    for row in session.rows(sequences_query(list(kept))):
        table, sequence = Name(row["schema"], row["table"]), Name(row["sequence_schema"], row["sequence"])
        last = given.get((table, row["column"]))
        query = forward_query(sequence, table, kept[table], row["column"], last)
        found = session.rows(query, timeout_seconds=LONG_SECONDS)
        moved += [{"sequence": sequence.text(), "before": one["before"], "after": one["after"]} for one in found]
    return moved


def _analyse(session: Session, names: Sequence[Name]) -> None:
    """Fresh statistics: the planner knows nothing of rows that came back a moment ago."""
    session.execute(f"ANALYZE {', '.join(one.sql() for one in names)};", timeout_seconds=LONG_SECONDS)


# --- putting back ---


def put_back(
    session: Session,
    tables: Mapping[Name, Table],
    done: Sequence[Done],
    recovery_id: str,
    limits: Limits,
    is_look: bool,
) -> dict[str, Any]:
    """Undo what a recovery brought in, and nothing that was written since; RecoveryError PRC-598 where both met.

    is_look: nothing is locked or changed.
    """
    pairs = [Pair(number, tables[one.name]) for number, one in enumerate(done)]
    names = [one.name for one in done]
    keys = foreign_keys(session, names)
    if is_look:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ;")
        for pair, one in zip(pairs, done):
            _require_unaltered(session, pair, one.kept_as)
        session.execute("ROLLBACK;")
        return {"checks": [], "locks": locks_of(names, keys), "locked_seconds": 0.0}
    with _transaction(session, names, keys, limits) as begun:
        session.execute("SET LOCAL client_min_messages = warning;")
        for pair, one in zip(pairs, done):
            _require_unaltered(session, pair, one.kept_as)
            session.execute(put_back_sql(pair, one.kept_as, recovery_id), timeout_seconds=LONG_SECONDS)
        checks = _require_no_dangling(_dangling(session, keys, [found_query(key) for key in keys]), ROLLED_BACK)
    seconds = round(time.monotonic() - begun, 3)
    _analyse(session, names)
    return {"checks": checks, "locks": locks_of(names, keys), "locked_seconds": seconds}


def _require_unaltered(session: Session, pair: Pair, kept_as: str) -> None:
    session.execute(put_back_differences_sql(pair, kept_as), timeout_seconds=LONG_SECONDS)
    row = session.row(altered_query(pair, kept_as), timeout_seconds=LONG_SECONDS)
    if row["found"]:
        found = f"{row['found']} rows were written since: {shown_keys(row['keys'], row['found'])}"
        next_step = f'look at them beside platform3_quarantine."{kept_as}" and decide row by row'
        raise refused("PRC-598", f"put back {pair.live.name.text()}", found, next_step, ROLLED_BACK)
