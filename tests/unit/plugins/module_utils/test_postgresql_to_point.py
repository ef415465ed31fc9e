# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server that was brought to a point in time is believed: where it paused, why, and where it forked."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_fork import await_point_again, fork_checks
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_point import PointPlan
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_scratch import ScratchServer
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_to_point import await_point, point_checks
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._psql import Session
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time

from tests.unit.plugins.module_utils.wal_world import SECOND, way, world_of

WORDS = "recovery stopping before commit of transaction 802, time 2026-11-23 17:34:00+00"
PAUSED = f"2026-11-23 17:46:20.310 UTC [19] LOG:  {WORDS}"


class Answers:
    """A session whose answers are known beforehand, the last one for good."""

    def __init__(self, *rows: dict[str, Any], history: str = "") -> None:
        self.rows = list(rows)
        self.history = history

    def row(self, query: str) -> dict[str, Any]:
        """The next answer."""
        return self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]

    def execute(self, sql: str) -> list[str]:
        """The history file."""
        return self.history.splitlines()


class Server:
    """A scratch server with something in its log."""

    def __init__(self, log: str = "") -> None:
        self.log = log

    def require_alive(self) -> None:
        """It is."""

    def said(self, pattern: str) -> str | None:
        """Its last line, where there is one."""
        return self.log or None

    def failure(self, code: str, attempted: str, found: str) -> RecoveryError:
        """What the real one would raise."""
        return RecoveryError(code, attempted, found, "", "")


def at(lsn: int, *, paused: bool = False, standby: bool = True) -> dict[str, Any]:
    """What the server says of itself."""
    return {"standby": standby, "lsn": lsn, "paused": paused, "waits": None}


def awaited(session: Answers, server: Server) -> tuple[int, str]:
    """Where it is found to have paused."""
    return await_point(cast(Session, session), cast(ScratchServer, server), 0, 100, Progress(None))


def test_a_pause_at_the_target_is_in_the_servers_words() -> None:
    lsn, words = awaited(Answers(at(40), at(100, paused=True)), Server(PAUSED))
    assert lsn == 100
    assert words == WORDS


@pytest.mark.parametrize(
    ("row", "log"), [(at(100, paused=True), ""), (at(100, standby=False), PAUSED), (at(100, standby=False), "")]
)
def test_a_server_that_did_not_pause_for_the_target_is_not_believed(row: dict[str, Any], log: str) -> None:
    with pytest.raises(RecoveryError) as refused:
        awaited(Answers(row), Server(log))
    assert refused.value.code == "PRC-557"


@pytest.mark.parametrize(
    ("reached", "last", "good"),
    [(0, "as in the WAL", True), (40, "as in the WAL", False), (0, "another", False), (0, None, False)],
)
def test_where_it_ended_is_compared_with_the_wal(reached: int, last: str | None, good: bool) -> None:
    world = world_of([("commit", SECOND), ("commit", SECOND)])
    plan = way(world, "time", show_time(world.at - 1))
    assert isinstance(plan, PointPlan)
    ended = {"at": "as in the WAL", "lsn": "0/1", "xid": 1}
    if good:
        assert all(one["ok"] for one in point_checks(plan, plan.stop.lsn + reached, ended, last))
        return
    with pytest.raises(RecoveryError) as refused:
        point_checks(plan, plan.stop.lsn + reached, ended, last)
    assert refused.value.code == "PRC-557"


FACTS = {"end_lsn": "0/64", "parent_timeline": 1}


def test_the_exchanged_server_must_pause_at_the_same_position() -> None:
    assert await_point_again(cast(Session, Answers(at(40), at(100, paused=True))), FACTS)
    # It paused nowhere, and its history says where it ended.
    assert not await_point_again(cast(Session, Answers(at(40), at(100, standby=False))), FACTS)
    for elsewhere in (at(96, paused=True), at(104, paused=True), at(104)):
        with pytest.raises(RecoveryError) as refused:
            await_point_again(cast(Session, Answers(elsewhere)), FACTS)
        assert refused.value.code == "PRC-558"


def test_the_new_timeline_must_begin_at_that_position() -> None:
    assert fork_checks(cast(Session, Answers(history="1\t0/64\tbefore transaction 802\n")), FACTS, 2)
    for other in ("1\t0/68\tx\n", "1\t0/64\tx\n\n2\t0/80\tx\n"):
        with pytest.raises(RecoveryError) as refused:
            fork_checks(cast(Session, Answers(history=other)), FACTS, 2)
        assert refused.value.code == "PRC-558"
