# SPDX-License-Identifier: GPL-3.0-or-later
"""Who took data away stands with what was taken, and is never given to somebody else's transaction."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._moments import AUDIT, moments_of

from tests.unit.plugins.module_utils.test_moments import DROPPED, result

WHO: dict[str, Any] = {
    "at": "2026-11-23T14:30:05.700000Z",
    "actor": "jane",
    "action": "sql.drop",
    "object": "table public.orders",
    "rows": None,
    "xid": 741,
    "source": "psql 10.0.0.7",
}
DELETED = {**WHO, "action": "sql.delete", "object": "public.positions", "rows": 12, "xid": 812}


def told(audit: dict[str, Any], *events: dict[str, Any]) -> dict[str, Any]:
    """The moments of a platform where the WAL tells these events."""
    empty = {name: result() for name in ("redis", "influxdb", "recovery")}
    return moments_of({"postgresql": result(*events, gaps=[]), **empty, AUDIT: audit})


def test_who_it_was_stands_below_what_the_wal_tells() -> None:
    found = told(result(WHO), DROPPED)
    assert [(one["component"], one["by"], one["audit"]) for one in found["events"]] == [
        ("postgresql", ["jane from psql 10.0.0.7"], [WHO])
    ]
    heading, row, below = found["table"]
    assert row.endswith("2026-11-23T14:30:05.788Z")
    assert below.strip() == "by jane from psql 10.0.0.7" and below.index("by ") == heading.index("what")


def test_what_else_the_transaction_did_is_named_with_it() -> None:
    others = [{**WHO, "object": f"table public.t{number}"} for number in range(4)]
    found = told(result(WHO, *others), DROPPED)
    assert len(found["events"]) == 1
    assert found["table"][2].strip() == (
        "by jane from psql 10.0.0.7: sql.drop table public.orders, sql.drop table public.t0,"
        " sql.drop table public.t1 and 2 more"
    )


def test_what_the_wal_does_not_tell_stands_alone_without_a_target() -> None:
    found = told(result(DELETED), DROPPED)
    assert [(one["component"], one["target"]) for one in found["events"]] == [
        (AUDIT, None),
        ("postgresql", "2026-11-23T14:30:05.788Z"),
    ]
    assert found["events"][0]["what"] == "sql.delete public.positions by jane from psql 10.0.0.7, transaction 812"
    # On one line it would be too long to read.
    _heading, row, below, *_wal = found["table"]
    assert " ".join(row.split()[1:]) == "audit log sql.delete public.positions, transaction 812 12 rows -"
    assert below.strip() == "by jane from psql 10.0.0.7"
    assert max(map(len, found["table"])) <= 150


@pytest.mark.parametrize(
    ("audit", "wal"),
    [
        pytest.param(
            {}, {"abandoned_timeline": 1, "before": None}, id="a number that was given again after a recovery"
        ),
        pytest.param({"at": "2026-11-23T14:30:06.000000Z"}, {}, id="done after that commit"),
        pytest.param({"xid": None}, {}, id="a log without transactions"),
    ],
)
def test_nobody_is_named_for_the_transaction_of_another(audit: dict[str, Any], wal: dict[str, Any]) -> None:
    found = told(result({**WHO, **audit}), {**DROPPED, **wal})
    assert sorted(one["component"] for one in found["events"]) == [AUDIT, "postgresql"]
    assert not [one for one in found["events"] if "by" in one and one["component"] != AUDIT]


def test_a_long_name_of_a_program_does_not_break_the_table() -> None:
    found = told(result({**DELETED, "source": "x" * 500}))
    assert found["events"][0]["what"].count("x") == 57 and found["events"][0]["found"]["source"] == "x" * 500


@pytest.mark.parametrize(
    ("audit", "note"),
    [
        ({"skipped": True}, "postgresql_audit_query is empty"),
        ({"unreachable": True, "msg": "ssh"}, "host of PostgreSQL is unreachable; a sandbox of a point after"),
        (
            {"events": [], "searched": [], "warnings_found": ["the server does not answer (gone)"]},
            "the server does not answer (gone); a sandbox of a point after the mistake holds it",
        ),
    ],
)
def test_that_there_is_no_audit_log_to_ask_is_a_note(audit: dict[str, Any], note: str) -> None:
    found = told(audit, DROPPED)
    assert found["problems"] == [] and len(found["events"]) == 1
    assert found["notes"][0].startswith("the audit log was not searched: ") and note in found["notes"][0]


def test_more_than_is_listed_is_a_note_and_a_query_that_fails_a_problem() -> None:
    more = {**result(WHO), "warnings_found": ["it tells of more than 1"]}
    assert told(more)["notes"] == ["audit log: it tells of more than 1"]
    found = told({"msg": "[PRC-567] Could not search.", "error": {}}, DROPPED)
    assert found["problems"] == ["the audit log was not searched: [PRC-567] Could not search."]
    assert found["table"][-1] == found["problems"][0]
