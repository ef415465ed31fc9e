# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgement over what was found, the figures, the streamed WAL that may go, and the checks, without a server."""

import copy
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import (
    figure_checks,
    figures_of,
    figures_query,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_live import require_archive_mode
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_recovery import complaint
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_scratch import initdb_options
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_stream import free_folder
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_verify import make, state_checks
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View, assess, parse_view
from ansible_collections.platform3.recovery.plugins.module_utils._psql import identifier, literal

FIXTURES = Path(__file__).parent / "fixtures" / "postgresql"
CONTENT: dict[str, Any] = json.loads((FIXTURES / "content.json").read_text())
LOOK = (FIXTURES / "view.txt").read_text()


@pytest.fixture(name="content")
def _content() -> dict[str, Any]:
    return copy.deepcopy(CONTENT)


def view(old: str = "", new: str = "") -> View:
    """What the look found, with something else in one place."""
    assert old in LOOK
    return parse_view(LOOK.replace(old, new), "platform3")


def test_what_the_look_printed_is_read() -> None:
    found = view()
    assert found.version == "17.11"
    assert found.settings["max_connections"] == 100
    assert found.manifest_sha256 == CONTENT["pgbackrest"]["manifest_sha256"]
    assert found.histories["17-1", 2] == found.histories["r1", 2] == "1\t0/F000000\tno recovery target specified"
    assert found.systems == {"initial": "7711260661046583316", "r1": "7711260661046583316"}
    assert len(found.stream) == 5
    assert "00000002.history" in found.archive["17-1"]


def test_the_recovery_follows_the_new_timeline_to_its_newest_segment(content: dict[str, Any]) -> None:
    plan = assess(view(), content).as_dict()
    assert (plan["timeline"], plan["segments"]) == (2, 6)
    assert plan["first_segment"] == "00000001000000000000000C"
    assert (plan["last_segment"], plan["last_segment_source"]) == ("000000020000000000000011", "archive")
    assert plan["recovery_point"] == "2026-11-23T07:28:27Z"
    assert plan["needed_bytes"] > content["pgbackrest"]["bytes"]


def test_the_timeline_is_left_to_postgresql_where_it_is_the_newest(content: dict[str, Any]) -> None:
    assert assess(view(), content).target_timeline is None
    # Timeline 2 left before the backup ended: another future.
    other = view("1\t0/F000000", "1\t0/A000000")
    assert assess(other, content).target_timeline == 1


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("PRC-502", "(PostgreSQL) 17.11", "(PostgreSQL) 18.1"),
        ("PRC-504", '"label":"20261123-072135F"', '"label":"20261123-072136F"'),
        ("PRC-505", '"system-id":7711260661046583316', '"system-id":7711260661046583317'),
        ("PRC-506", CONTENT["pgbackrest"]["manifest_sha256"], "0" * 64),
        ("PRC-506", CONTENT["pgbackrest"]["manifest_sha256"], "missing"),
        ("PRC-507", "max_connections 100", "max_connections 99"),
        ("PRC-508", "00000001000000000000000D-60b4", "00000001000000000000000D.gone-60b4"),
        ("PRC-508", "000000020000000000000010-", "000000020000000000000010.gone-"),
        ("PRC-508", '"size":69337', '"size":0'),
    ],
)  # fmt: skip
def test_what_cannot_be_recovered_is_refused(content: dict[str, Any], code: str, old: str, new: str) -> None:
    found = view(old, new)
    if "00000001000000000000000D" in old:
        found.stream[:] = [one for one in found.stream if not one.name.startswith("00000001000000000000000D")]
    with pytest.raises(RecoveryError) as refused:
        assess(found, content)
    assert refused.value.code == code
    assert refused.value.data == "nothing was changed"


def test_the_stream_stands_in_for_a_segment_that_the_archive_lost(content: dict[str, Any]) -> None:
    found = assess(view("00000001000000000000000D-60b4", "00000001000000000000000D.gone-60b4"), content)
    assert [one.segment for one in found.plan.only_streamed()] == ["00000001000000000000000D"]


def test_the_stream_of_another_database_does_not_count(content: dict[str, Any]) -> None:
    found = assess(view("7711260661046583316 r1", "7711260661046589999 r1"), content)
    assert found.folders == ("initial",)


def test_a_zeroed_stream_folder_does_not_count(content: dict[str, Any]) -> None:
    assert assess(view("7711260661046583316 r1", "0 r1"), content).folders == ("initial",)


TABLES = [{"table": "orders", "settled_column": "created_at", "sum_column": "quantity"}, {"table": "trading.accounts"}]
ROWS = [
    {"position": 0, "table": "orders", "settled_rows": 5, "settled_sum": "1.50", "total_rows": 7},
    {"position": 1, "table": "trading.accounts", "settled_rows": None, "settled_sum": None, "total_rows": 3},
]
FIGURES = figures_of(TABLES, ROWS, "2026-11-23T07:20:35Z")


def test_figures_are_asked_for_in_one_query() -> None:
    query = figures_query(TABLES, "2026-11-23T07:20:35Z")
    assert query.count("UNION ALL") == 1
    assert "\"created_at\" < '2026-11-23T07:20:35Z'::timestamptz" in query
    assert 'FROM "trading"."accounts"' in query


@pytest.mark.parametrize(
    ("row", "change", "bad"),
    [
        (0, {}, []),
        (0, {"total_rows": 9}, []),
        (0, {"settled_rows": 4}, ["orders: settled rows"]),
        (0, {"settled_sum": "1.51"}, ["orders: sum of quantity over settled rows"]),
        (0, {"total_rows": 6}, ["orders: rows"]),
        (1, {"total_rows": 2}, ["trading.accounts: rows"]),
    ],
)
def test_figures_are_compared(row: int, change: dict[str, Any], bad: list[str]) -> None:
    found = copy.deepcopy(ROWS)
    found[row].update(change)
    assert [one["name"] for one in figure_checks(FIGURES, found) if not one["ok"]] == bad


def test_names_and_texts_cannot_leave_their_quotes() -> None:
    assert literal("o'clock") == "'o''clock'"
    assert identifier('pub"lic.orders') == '"pub""lic"."orders"'
    with pytest.raises(ValueError, match="zero byte"):
        literal("a\0b")


def test_a_stream_folder_with_wal_of_a_timeline_that_was_left_is_not_gone_on_with() -> None:
    files = ["r-1/00000002.history", f"r-1/{2:08X}{0:08X}{5:08X}", f"r-1/{2:08X}{0:08X}{6:08X}.partial", "initial/x"]
    kept = {f"{0:08X}{number:08X}" for number in (5, 6, 7)}
    assert free_folder(files, {1, 2}, kept, "r-1", "r-1-7") == "r-1"
    assert free_folder(files, {1, 3}, kept, "r-1", "r-1-7") == "r-1-7"
    assert free_folder(files, {1, 3}, kept, "r-2", "r-2-7") == "r-2"


def test_a_stream_folder_is_left_where_the_server_has_its_newest_segment_no_more() -> None:
    files = [f"r-1/{2:08X}{0:08X}{6:08X}.partial"]
    assert free_folder(files, {1, 2, 3}, {f"{0:08X}{9:08X}"}, "r-1", "r-1-7") == "r-1-7"


def test_a_servers_complaint_is_its_last_telling_lines() -> None:
    log = ["LOG:  starting", "LOG:  invalid record length at 0/5", "LOG:  done", "FATAL:  could not restore file"]
    assert complaint(log) == "LOG:  invalid record length at 0/5 | FATAL:  could not restore file"
    assert complaint([]) == "it said nothing"


STATE = {
    "standby": False, "read_only": "off", "version": "17.12", "system_identifier": CONTENT["system_identifier"],
    "checksums": "on", "checksum_failures": 0, "collation_version": None, "actual_collation_version": None,
    "timeline": 2, "invalid_indexes": 0, "unproven_constraints": 0, **CONTENT["settings"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, []),
        ({"standby": True, "read_only": "on"}, ["out of recovery", "takes writes"]),
        ({"version": "18.0"}, ["major version"]),
        ({"system_identifier": "1"}, ["system identifier"]),
        ({"checksums": "off"}, ["data checksums"]),
        ({"checksum_failures": 1}, ["pages with a wrong checksum"]),
        ({"actual_collation_version": "2.41"}, ["collation of the image"]),
        ({"timeline": 1}, ["timeline"]),
        ({"max_connections": 99}, ["settings lower than when backed up"]),
    ],
)
def test_the_servers_state_is_compared(change: dict[str, Any], bad: list[str]) -> None:
    checks = state_checks({**STATE, **change}, CONTENT, CONTENT["system_identifier"], new_timeline=True)
    assert [one["name"] for one in checks if not one["ok"]] == bad


def test_a_loaded_dump_begins_at_timeline_one() -> None:
    checks = state_checks({**STATE, "timeline": 1}, CONTENT, CONTENT["system_identifier"], new_timeline=False)
    assert all(one["ok"] for one in checks)


@pytest.mark.parametrize(
    ("archiving", "mode", "words"),
    [
        (True, "on", None),
        (False, "off", None),
        (True, "off", "archive_mode is off"),
        (False, "on", "archive_mode is on"),
    ],
)
def test_a_server_archives_where_it_must_and_nowhere_else(archiving: bool, mode: str, words: str | None) -> None:
    session = mock.Mock()
    session.row.return_value = {"mode": mode}
    if words is None:
        require_archive_mode(session, archiving)
        session.row.assert_called_once()
    else:
        with pytest.raises(RecoveryError, match=f"PRC-519.*{words}"):
            require_archive_mode(session, archiving)


class Connection:
    """Answers each query with its own text, or with an error."""

    def execute(self, query: str) -> "Connection":
        if "corrupt" in query:
            raise RuntimeError(f"{query}\nCONTEXT: more")
        self.query = query
        return self

    def fetchall(self) -> list[dict[str, str]]:
        return [{"answer": self.query}]


def test_an_error_of_the_server_is_a_check_that_is_not_good() -> None:
    def works(rows: Any) -> list[dict[str, Any]]:
        return [{"name": rows("fine")[0]["answer"], "ok": True}]

    def breaks(rows: Any) -> list[dict[str, Any]]:
        return list(rows("corrupt index"))

    found = make([Connection(), Connection()], [("one", works), ("index orders_pkey", breaks), ("three", works)])
    assert [(one["name"], one["ok"]) for one in found] == [("fine", True), ("index orders_pkey", False), ("fine", True)]
    assert found[1]["found"] == "corrupt index"


def test_a_new_cluster_is_made_like_the_old(content: dict[str, Any]) -> None:
    assert "--data-checksums" in initdb_options(content["cluster"])
    assert "--lc-collate=C.UTF-8" in initdb_options(content["cluster"])
    content["cluster"]["checksums"] = False
    assert "--data-checksums" not in initdb_options(content["cluster"])
