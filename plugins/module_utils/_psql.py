# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A psql that stays open inside a container: questions at 50 ms cost no process each, and nothing stands in argv."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError


def literal(value: str) -> str:
    """A string as an SQL literal (standard_conforming_strings is on)."""
    if "\x00" in value:
        raise ValueError("a text with a zero byte is not an SQL literal")
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier; "schema.table" keeps its dot."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def psql_argv(database: str, socket_directory: str) -> list[str]:
    """psql as the superuser of the container's own operating system user, over the socket, reading from stdin.

    What it commits never waits for the WAL receiver: a recovery works while there is none.
    """
    conninfo = f"dbname={database} options='-c synchronous_commit=local'"
    return [
        "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1",
        f"--host={socket_directory}", "--username=postgres", f"--dbname={conninfo}",
    ]  # fmt: skip


def patient_psql_argv(database: str, socket_directory: str) -> list[str]:
    """The same, after waiting up to two seconds inside the container for the server; status 2 where it stays away."""
    ready = 'for try in {1..40}; do pg_isready --quiet --host="$1" && shift && exec "$@"; sleep 0.05; done; exit 2'
    return ["bash", "-c", ready, "bash", socket_directory, *psql_argv(database, socket_directory)]


class Session:
    """One psql in one container. exec_argv: the full command line (docker exec --interactive ... psql ...).

    A context manager. Any error of the server ends it: it raises RecoveryError PRC-517 with the server's last words.
    """

    def __init__(self, exec_argv: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            exec_argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def execute(self, sql: str, timeout_seconds: float = 120.0) -> list[str]:
        """Run statements (each ended by a semicolon) and return the lines they print."""
        marker = uuid.uuid4().hex
        timer = threading.Timer(timeout_seconds, self._process.kill)
        timer.start()
        lines: list[str] = []
        try:
            assert self._process.stdin and self._process.stdout
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{sql}\n\\echo {marker}\n")
                self._process.stdin.flush()
            for line in self._process.stdout:
                if line.rstrip("\n") == marker:
                    return lines
                lines.append(line.rstrip("\n"))
        finally:
            timer.cancel()
        raise self._ended(sql)

    def rows(self, query: str, timeout_seconds: float = 120.0) -> list[dict[str, Any]]:
        """The rows of one query, numbers with a decimal point as text so that nothing is rounded."""
        text = self.execute(
            f"SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM ({query}) AS t;", timeout_seconds=timeout_seconds
        )
        found: list[dict[str, Any]] = json.loads("".join(text), parse_float=str)
        return found

    def row(self, query: str, timeout_seconds: float = 120.0) -> dict[str, Any]:
        """The one row of a query."""
        return self.rows(query, timeout_seconds)[0]

    def _ended(self, sql: str) -> RecoveryError:
        self._process.wait()
        self._errors.seek(0)
        said = [line for line in self._errors.read().splitlines() if "ERROR" in line or "FATAL" in line]
        found = said[-1] if said else last_line("\n".join(said)) or f"psql ended with status {self._process.returncode}"
        return RecoveryError(
            "PRC-517",
            f"ask PostgreSQL ({sql.split(chr(10))[0][:80]})",
            found,
            "nothing was changed by this statement",
            "read the server's log (docker logs of its container)",
        )
