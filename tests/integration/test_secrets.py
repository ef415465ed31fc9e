# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret reaches a log, an argument list, an environment, the journal, the report or a backup set in clear."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.bad_input import BIN, ROOT, STORE, complete_sets
from tests.integration.process_watch import watched_processes
from tests.integration.scratch import until

pytestmark = [pytest.mark.integration, pytest.mark.lab]

STATE = Path("/opt/platform3/recovery")
SECRETS = ROOT / "secrets/lab"
# InfluxDB's own files hold its tokens and cannot be without them: they are readable by their owner alone.
KEEPS_TOKENS = ("influxd.bolt", "influxd.sqlite")


def canaries() -> dict[str, bytes]:
    """Every secret of the lab by name; of the signing key a line of its middle."""
    found = {}
    for path in SECRETS.iterdir():
        if path.is_file() and path.suffix != ".pub":
            text = path.read_bytes()
            found[path.name] = text.splitlines()[2] if b"PRIVATE KEY" in text else text.strip()
    assert len(found) > 5
    return found


def leaks(text: bytes) -> list[str]:
    """Names of the secrets that stand in a text."""
    return [name for name, value in canaries().items() if value in text]


def run(*arguments: str) -> bytes:
    """What a playbook prints at its wordiest, with the default callback."""
    done = subprocess.run(
        [BIN / "ansible-playbook", *arguments, "-vvvvv"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:].decode(errors="replace")
    return done.stdout


def test_the_hunt_finds_a_canary() -> None:
    value = canaries()["redis_password"].decode()
    assert leaks(f"a log with {value} in it".encode()) == ["redis_password"]
    with watched_processes(canaries()) as seen, subprocess.Popen(["sleep", "60"], env={"CANARY": value}) as shows:
        until(lambda: "redis_password in environ" in seen, 60, "the canary is seen")
        shows.kill()


def test_a_backup_shows_no_secret() -> None:
    with watched_processes(canaries()) as seen:
        assert leaks(run("backup.yml")) == []
    assert seen == set()
    newest = complete_sets()[-1]
    in_clear = {
        str(path.relative_to(STORE)): leaks(path.read_bytes())
        for path in newest.rglob("*")
        if path.is_file() and path.name not in KEEPS_TOKENS and leaks(path.read_bytes())
    }
    assert in_clear == {}
    tokens = [path for path in newest.rglob("*") if path.name in KEEPS_TOKENS]
    assert tokens and all(path.stat().st_mode & 0o077 == 0 for path in tokens)


def test_a_recovery_shows_no_secret() -> None:
    with watched_processes(canaries()) as seen:
        assert leaks(run("full_recovery.yml")) == []
    assert seen == set()
    written = [path for path in STATE.rglob("*") if path.is_file()]
    assert written
    assert [str(path) for path in written if leaks(path.read_bytes())] == []
