# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folders of streamed WAL, and the timeline that a server and its receiver go on with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import STREAM_MOUNT
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import (
    LiveServer,
    await_archived,
    current_timeline,
)
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session, literal
from ansible_collections.platform3.recovery.plugins.module_utils._volume import DATA, VolumeWorker
from ansible_collections.platform3.recovery.plugins.module_utils._wal import parse_history


@dataclass(frozen=True)
class Stream:
    """The store's folder of streams, worked on as its owner, in a container of the server's image."""

    image: str
    environment_id: str
    store: str

    def _run(self, argv: Iterable[str], stdin: str | None = None) -> str:
        arguments = ["run", "--rm", "--pull", "never", "--interactive", "--network", "none", "--workdir", STREAM_MOUNT]
        arguments += ["--label", f"{ENVIRONMENT_LABEL}={self.environment_id}"]
        arguments += ["--volume", f"{self.store}/wal-stream:{STREAM_MOUNT}", self.image]
        return docker([*arguments, *argv], stdin=stdin).stdout

    def files(self) -> list[str]:
        """Every file as "folder/name"."""
        return self._run(["find", ".", "-mindepth", "2", "-maxdepth", "2", "-type", "f", "-printf", "%P\\n"]).split()

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files given as "folder/name"."""
        self._run(["xargs", "rm", "-f", "--"], stdin="\n".join(paths))


def ancestors(session: Session, timeline: int) -> set[int]:
    """The timelines that a server's WAL went through, its own among them."""
    if timeline == 1:
        return {1}
    path = literal(f"pg_wal/{timeline:08X}.history")
    text = "\n".join(session.execute(f"SELECT pg_read_file({path});"))
    return {timeline, *(parent for parent, _ in parse_history(text))}


def segments_of(session: Session) -> set[str]:
    """Numbers of the WAL segments that a server still has: their names without the timeline."""
    names = session.execute("SELECT name FROM pg_ls_waldir();")
    return {name[8:24] for name in names if re.fullmatch("[0-9A-F]{24}", name)}


def free_folder(files: Iterable[str], timelines: set[int], kept: set[str], wanted: str, other: str) -> str:
    """The stream folder to go on in: the wanted one, or the other where a receiver could not go on in that.

    It goes on behind the folder's newest segment, and waits for ever where the server does not know that one's timeline
    or, restored anew since, does not have that segment any more. kept: segments_of the server.
    """
    names = [name for folder, _, name in (path.partition("/") for path in files) if folder == wanted]
    segments = sorted(name[:24] for name in names if re.match("[0-9A-F]{24}", name))
    if not segments:
        return wanted
    known = all(int(name[:8], 16) in timelines for name in segments)
    return wanted if known and segments[-1][8:] in kept else other


def newest_archived_timeline(server: LiveServer, system_identifier: str) -> int:
    """The highest timeline whose history the archive holds for a database; 1 where there is none."""
    names = server.archived(system_identifier, "[0-9A-F]+[.]history$")
    return max((int(name[:8], 16) for name in names), default=1)


def system_identifier_of(session: Session) -> str:
    """The identifier of the database that answers."""
    return str(session.row("SELECT system_identifier::text AS id FROM pg_control_system()")["id"])


def is_left_behind(server: LiveServer, session: Session) -> bool:
    """Whether the archive knows a later timeline than the server writes: its data was put back after a recovery.

    The next recovery would take the other timeline for the newest, and lose what is written from now on.
    """
    return newest_archived_timeline(server, system_identifier_of(session)) > current_timeline(session)


def ask_for_new_timeline(worker: VolumeWorker, stanza: str) -> None:
    """Let the stopped server start as a standby of its own archive, to be promoted to a timeline of its own."""
    worker.bash(_STANDBY, DATA, f"restore_command = 'pgbackrest --stanza={stanza} archive-get %f \"%p\"'")


# With `current` it does not follow the timeline that was left; restore_command lets it see which numbers are taken.
_STANDBY = """
printf "%s\\nrecovery_target_timeline = 'current'\\n" "$2" >> "$1/postgresql.auto.conf"
touch "$1/standby.signal"; sync "$1/postgresql.auto.conf" "$1"
"""


def await_new_timeline(server: LiveServer, session: Session) -> int:
    """Promote the server that was started as a standby, take the settings for it away, and see its history archived."""
    session.execute("SELECT pg_promote(true, 120);")
    for name in ("restore_command", "recovery_target_timeline"):
        session.execute(f"ALTER SYSTEM RESET {name};")
    session.execute("SELECT pg_reload_conf();")
    await_archived(server, session, system_identifier_of(session))
    return current_timeline(session)
