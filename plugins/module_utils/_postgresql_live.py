# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The restored PostgreSQL in its own container: started, promoted, its secrets set, its timeline in the archive."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker, inspect_container
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import (
    RESTORE_SCRIPT,
    archive_ids,
    parse_listing,
    parse_newest_system,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import COMPONENT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_fork import (
    TARGET_SETTINGS,
    await_point_again,
    fork_checks,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import (
    POLL_SECONDS,
    WHERE,
    Clock,
    await_session,
    complaint,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import (
    Session,
    identifier,
    literal,
    patient_psql_argv,
)
from ansible_collections.platform3.recovery.plugins.module_utils._scram import is_verifier_of, verifier
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA
from ansible_collections.platform3.recovery.plugins.module_utils._wal import format_lsn, parse_lsn

SOCKET_OF_SERVER = "/var/run/postgresql"
IN_PLACE = "the restored data is in place, the old data in quarantine"


@dataclass(frozen=True)
class LiveServer:
    """The server in its own container, spoken to over its socket. database: where questions go."""

    container: str
    database: str
    stanza: str

    def exec_argv(self, argv: Sequence[str], *, interactive: bool = False) -> list[str]:
        """The command line, with docker, that runs argv beside the server."""
        return ["docker", "exec", *(["--interactive"] if interactive else []), self.container, *argv]

    def session(self, timeout_seconds: float = 600.0) -> Session:
        """Connect once the server answers; PRC-518 with its last words where the container ends or restarts."""
        argv = self.exec_argv(patient_psql_argv(self.database, SOCKET_OF_SERVER), interactive=True)
        restarts: list[int] = []
        return await_session(argv, lambda: self.require_alive(restarts), timeout_seconds)

    def require_alive(self, restarts: list[int]) -> None:
        """RecoveryError PRC-518 where the container does not run, or restarted since the first call with this list."""
        found = inspect_container(self.container)
        restarts.append(found["RestartCount"] if found else 0)
        if found and found["State"]["Running"] and restarts[-1] == restarts[0]:
            return
        logs = docker(["logs", "--tail", "40", self.container], check=False)
        said = complaint([*logs.stdout.splitlines(), *logs.stderr.splitlines()])
        raise RecoveryError(
            "PRC-518",
            f"start {self.container}",
            f"the container {'ended and restarted' if found else 'is gone'}; {said}",
            "the restored data is in place, the old data in quarantine",
            f"mend the cause, which docker logs {self.container} names",
        )

    def run(self, argv: Sequence[str]) -> str:
        """Run argv beside the server to its end and return what it printed."""
        return docker(self.exec_argv(argv)[1:]).stdout

    def pgbackrest(self, *arguments: str) -> str:
        """Run a pgBackRest command beside the server and return what it printed."""
        quiet = ["--log-level-console=off", "--log-level-stderr=error", "--log-level-file=off"]
        return self.run(["pgbackrest", *quiet, *arguments])

    def archived(self, system_identifier: str, pattern: str) -> list[str]:
        """Base names of what the archive holds of a database, as far as pattern matches behind a slash."""
        argv = ["bash", "-euc", _LIST_ARCHIVE, "bash", self.stanza, f"/{pattern}"]
        info, _, listing = self.run(argv).partition("\x1e")
        own = tuple(f"{folder}/" for folder in archive_ids(info, self.stanza, system_identifier))
        return [path.rpartition("/")[2] for path in parse_listing(listing) if path.startswith(own)]


_LIST_ARCHIVE = """
quiet=(--log-level-console=off --log-level-stderr=error --log-level-file=off)
pgbackrest "${quiet[@]}" "--stanza=$1" --output=json info; printf '\\036'
pgbackrest "${quiet[@]}" repo-ls --recurse --output=json "--filter=$2" "archive/$1"
"""


def serve(server: LiveServer, facts: Mapping[str, Any], given: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Make the started server a primary that customers' data may be written to, as often as called.

    facts: what was restored (save_facts); given: the inputs of postgresql_restore. Returns checks, timeline and
    passwords_set.
    """
    with server.session() as session:
        clock.lap("start")
        require_database(session, facts["system_identifier"])
        checks = []
        if facts["method"] == "physical":
            promote(session, facts, given["archiving"])
            end_recovery_settings(session, facts)
        if facts.get("target"):
            checks += fork_checks(session, facts, current_timeline(session))
        clock.lap("promote")
        passwords_set = set_passwords(session, given["role_passwords"])
        checks.append(write_probe(session, given["write_probe"], given["owner"]))
        if given["archiving"]:
            if facts["method"] == "logical":
                follow_system(server, facts["system_identifier"], is_new=True)
            checks += await_archived(server, session, facts["system_identifier"])
        timeline = current_timeline(session)
        clock.lap("archive")
    return {"checks": checks, "timeline": timeline, "passwords_set": passwords_set}


def require_database(session: Session, system_identifier: str) -> None:
    """RecoveryError PRC-525 where another database answers than the one that was restored."""
    found = session.row("SELECT system_identifier::text AS id FROM pg_control_system()")["id"]
    if found != system_identifier:
        raise RecoveryError(
            "PRC-525",
            "find the restored database behind the server",
            f"database {found} answers, {system_identifier} was restored",
            IN_PLACE,
            "see which volume the container mounts (docker inspect)",
        )


def follow_system(server: LiveServer, system_identifier: str, is_new: bool) -> None:
    """Make the stanza where there is none, and let it go on with another database only where that is_new on purpose.

    RecoveryError PRC-533 otherwise: a server that is empty by mistake must not take the repository over.
    """
    newest = parse_newest_system(server.pgbackrest(f"--stanza={server.stanza}", "--output=json", "info"), server.stanza)
    if newest is None:
        server.pgbackrest(f"--stanza={server.stanza}", "stanza-create")
    elif newest != system_identifier and is_new:
        server.pgbackrest(f"--stanza={server.stanza}", "stanza-upgrade")
    elif newest != system_identifier:
        raise RecoveryError(
            "PRC-533",
            f"back up into stanza {server.stanza}",
            f"it belongs to database {newest}, database {system_identifier} answers",
            "the repository and earlier backup sets are untouched",
            "see whether the right volume and the right backup store are mounted; if the database is meant to be new:"
            f" docker exec {server.container} pgbackrest --stanza={server.stanza} stanza-upgrade",
        )


def current_timeline(session: Session) -> int:
    """The timeline that is written now (the one in pg_control lags until the next checkpoint)."""
    return int(str(session.row("SELECT pg_walfile_name(pg_current_wal_lsn()) AS name")["name"])[:8], 16)


def promote(session: Session, facts: Mapping[str, Any], archiving: bool) -> bool:
    """Take the server out of recovery once it has replayed as far as beside; returns whether that had to be done."""
    require_archive_mode(session, archiving)
    if not session.row("SELECT pg_is_in_recovery() AS standby")["standby"]:
        return False
    if facts.get("target"):
        if not await_point_again(session, facts):
            return False
    else:
        await_end_again(session, parse_lsn(facts["end_lsn"]))
    if not session.row("SELECT pg_promote(true, 120) AS done")["done"]:
        raise _not_promoted("it was still in recovery after 120 s")
    return True


def await_end_again(session: Session, wanted: int) -> None:
    """Wait until the exchanged server has replayed as far as beside; PRC-519 where it does not."""
    deadline = time.monotonic() + 900
    while int(session.row(WHERE)["lsn"]) < wanted:
        if time.monotonic() > deadline:
            raise _not_promoted(f"it has not replayed to {format_lsn(wanted)} again")
        time.sleep(POLL_SECONDS)


def require_archive_mode(session: Session, archiving: bool) -> None:
    """RecoveryError PRC-519 where a server that must archive does not: the next recovery would miss its timeline.

    Nor may one archive that must not: its timeline would lie among those of the platform that lives.
    """
    found = session.row("SELECT current_setting('archive_mode') AS mode")["mode"]
    if archiving and found == "off":
        raise _not_promoted("archive_mode is off, so the new timeline would never reach the archive")
    if not archiving and found != "off":
        raise _not_promoted(f"archive_mode is {found}, and its timeline would lie in the archive of the platform")


def _not_promoted(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-519",
        "promote the restored server",
        found,
        "the restored data is in place and read-only, the old data in quarantine",
        "mend the cause, which docker logs of the PostgreSQL container names",
    )


def end_recovery_settings(session: Session, facts: Mapping[str, Any]) -> None:
    """Take away what only the recovery needed: its restore_command, its target, its script and labels."""
    target = TARGET_SETTINGS if facts.get("target") else ()
    for name in ("restore_command", "recovery_target_timeline", *target):
        session.execute(f"ALTER SYSTEM RESET {name};")
    leftovers = " ".join(f"{DATA}/{name}" for name in (RESTORE_SCRIPT, "backup_label.old", "tablespace_map.old"))
    session.execute(f"SELECT pg_reload_conf();\n\\! rm -f {leftovers}")


def set_passwords(session: Session, passwords: Mapping[str, str]) -> list[str]:
    """Give roles their current passwords where the restored ones differ; returns the roles that were changed."""
    rows = session.rows("SELECT rolname, rolpassword FROM pg_authid")
    known = {row["rolname"]: row["rolpassword"] for row in rows}
    missing = sorted(set(passwords) - set(known))
    if missing:
        raise RecoveryError(
            "PRC-520",
            f"set the passwords of {', '.join(sorted(passwords))}",
            f"there is no role {', '.join(missing)} in the restored database",
            "the restored data is in place, the old data in quarantine",
            "check postgresql_owner and postgresql_replication_role against the backup set",
        )
    changed = [role for role, password in passwords.items() if not is_verifier_of(known[role], password)]
    session.execute("SET log_statement = 'none'; SET log_min_duration_statement = -1;")
    for role in changed:
        session.execute(f"ALTER ROLE {identifier(role)} PASSWORD\n{literal(verifier(passwords[role]))};")
    return changed


def write_probe(session: Session, statement: str, role: str) -> Check:
    """Commit a real write as the owner of the data."""
    session.execute(f"SET ROLE {identifier(role)}; BEGIN; {statement}; COMMIT; RESET ROLE;")
    return check("a write is committed", COMPONENT, True, True)


def archive_checks(server: LiveServer, system_identifier: str, timeline: int) -> list[Check]:
    """Whether the archive holds a timeline's history and a segment: else the next recovery would take another one."""
    names = server.archived(system_identifier, f"{timeline:08X}")
    checks = [
        check(
            f"a WAL segment of timeline {timeline} is in the archive",
            COMPONENT,
            True,
            any(re.match(r"[0-9A-F]{24}-", name) for name in names),
        )
    ]
    if timeline > 1:
        found = any(name.endswith(".history") for name in names)
        checks.append(check(f"history of timeline {timeline} is in the archive", COMPONENT, True, found))
    return checks


_ARCHIVED = """
SELECT count(*) AS waiting FROM pg_ls_archive_statusdir()
WHERE name LIKE '%.ready' AND (name = '{history}.ready' OR name <= '{segment}.ready')
"""


def await_archived(
    server: LiveServer, session: Session, system_identifier: str, timeout_seconds: float = 60.0
) -> list[Check]:
    """See the current timeline in the archive, by ending a segment; PRC-521 where it does not get there."""
    timeline = current_timeline(session)
    deadline = time.monotonic() + timeout_seconds
    # The segment that held the commit before; the server's own word that it is archived is only the moment to look.
    segment = session.row("SELECT pg_walfile_name(pg_switch_wal() - 1) AS name")["name"]
    query = _ARCHIVED.format(history=f"{timeline:08X}.history", segment=segment)
    while True:
        if not session.row(query)["waiting"]:
            checks = archive_checks(server, system_identifier, timeline)
            if all(one["ok"] for one in checks):
                return checks
        if time.monotonic() > deadline:
            raise _not_archived(session, timeline)
        time.sleep(POLL_SECONDS)


def _not_archived(session: Session, timeline: int) -> RecoveryError:
    state = session.row("SELECT failed_count, last_failed_wal FROM pg_stat_archiver")
    return RecoveryError(
        "PRC-521",
        f"archive the new timeline {timeline}",
        f"it is not in the repository; {state['failed_count']} attempts failed, the last on {state['last_failed_wal']}",
        "the restored database is in place and complete, but a second loss now could not be recovered to this point",
        "docker logs of the server say why archive_command fails (the fence refuses an older epoch)",
    )
