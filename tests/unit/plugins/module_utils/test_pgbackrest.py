# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest's output read, and the restore_command it hands to PostgreSQL, run by bash with a stand-in pgbackrest."""

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import (
    archive_ids,
    find_backup,
    last_error,
    parse_info,
    parse_label,
    parse_listing,
    parse_newest_system,
    parse_progress,
    restore_argv,
    restore_script,
)

VIEW = (Path(__file__).parent / "fixtures" / "postgresql" / "view.txt").read_text()
INFO = VIEW.split("\x1einfo\n")[1].split("\n")[0]
SEGMENT = "00000001000000000000000F"
SEGMENT_BYTES = 4096


def test_the_backups_are_read() -> None:
    first, second = parse_info(INFO, "platform3")
    assert (second.label, second.timeline, second.archive_id) == ("20261123-072135F", 1, "17-1")
    assert (second.wal_start, second.lsn_stop) == ("00000001000000000000000C", "0/C000158")
    assert second.system_identifier == "7711260661046583316"
    assert (second.started_at, second.finished_at) == ("2026-11-23T07:21:35Z", "2026-11-23T07:21:41Z")
    assert (second.bytes, second.repository_bytes, second.damaged) == (99992891, 32877699, False)
    assert first.label < second.label


def test_an_unknown_stanza_is_refused() -> None:
    nothing = (
        '[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"nope","status":{"message":"missing stanza path"}}]'
    )
    with pytest.raises(RecoveryError, match="PRC-503.*\n.*\n.*pgbackrest --stanza=nope info"):
        parse_info(nothing, "nope")


def test_the_newest_database_of_a_stanza_is_known() -> None:
    assert parse_newest_system(INFO, "platform3") == "7711260661046583316"
    assert parse_newest_system(INFO, "other") is None


def test_only_the_archive_of_the_database_itself_counts() -> None:
    upgraded = json.loads(INFO)
    upgraded[0]["db"].append({"id": 2, "repo-key": 1, "system-id": 77, "version": "17"})
    text = json.dumps(upgraded)
    assert archive_ids(text, "platform3", "7711260661046583316") == ["17-1"]
    assert archive_ids(text, "platform3", "77") == ["17-2"]
    assert archive_ids(text, "platform3", "78") == []
    assert parse_newest_system(text, "platform3") == "77"


def test_an_unknown_or_damaged_backup_is_refused() -> None:
    backups = parse_info(INFO, "platform3")
    assert find_backup(backups, "20261123-071003F") is backups[0]
    with pytest.raises(RecoveryError, match="it is not there; newest: 20261123-071003F, 20261123-072135F"):
        find_backup(backups, "20261101-000000F")
    damaged = json.loads(INFO)
    damaged[0]["backup"][0]["error"] = True
    with pytest.raises(RecoveryError, match="marked it as damaged"):
        find_backup(parse_info(json.dumps(damaged), "platform3"), "20261123-071003F")


def test_a_listing_gives_files_only() -> None:
    text = '{".":{"type":"path"},"17-1/00000002.history":{"type":"file","size":41,"time":1795418545}}'
    assert parse_listing(text) == {"17-1/00000002.history": (41, 1795418545.0)}
    assert parse_listing("") == {}


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("P01 DETAIL: backup file /var/lib/platform3/data/base/16388/16430 (20.1MB, 20.09%) checksum 4a6f", 20.09),
        ("P02 DETAIL: restore file /var/lib/platform3/restore-r1/base/16388/16422 (8KB, 100.00%)", 100.0),
        ("P00   INFO: new backup label = 20261123-071003F", None),
    ],
)
def test_progress_is_read_from_the_detail_lines(line: str, percent: float | None) -> None:
    assert parse_progress(line) == percent


def test_the_label_and_the_error_are_read_from_what_was_printed() -> None:
    said = "2026-11-23 07:10:05.575 P00   INFO: new backup label = 20261123-071003F\n"
    assert parse_label(said) == "20261123-071003F"
    said = "P00  ERROR: [068]: archive_command must contain pgbackrest\nP00   INFO: backup command end: aborted\n"
    assert parse_label(said) is None
    assert last_error(said) == "[068]: archive_command must contain pgbackrest"
    assert last_error("") == "it said nothing"


def test_a_timeline_is_named_only_where_it_is_not_the_newest() -> None:
    assert not [one for one in restore_argv("platform3", "L", "/f", 2, None) if "timeline" in one]
    assert "--target-timeline=3" in restore_argv("platform3", "L", "/f", 2, 3)


@pytest.fixture(name="restore")
def _restore(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs the script on an archive that answers with a status; gives the script's status and what was restored."""
    stream, tools = tmp_path / "stream", tmp_path / "bin"
    for folder in (stream / "new", stream / "old dir", tools):
        folder.mkdir(parents=True)
    script = tmp_path / "restore"
    text = restore_script("platform3", ["new", "old dir", "gone"], SEGMENT_BYTES, "/spool")
    script.write_text(text.replace("/wal-stream", str(stream)))

    def run(status: int, wanted: str = SEGMENT, at_once: int | None = None) -> tuple[int, bytes | None]:
        """status: of what is fetched ahead; at_once: of what is fetched at once, the same where it is left out."""
        fake = tools / "pgbackrest"
        at_once = status if at_once is None else at_once
        fake.write_text(
            "#!/bin/bash\nfor last; do :; done\n"
            f'case "$*" in *--no-archive-async*) status={at_once} ;; *) status={status} ;; esac\n'
            '[ "$status" -ne 0 ] || printf archive >"$last"\nexit "$status"\n'
        )
        fake.chmod(0o755)
        target = tmp_path / "RECOVERYXLOG"
        target.unlink(missing_ok=True)
        path = {"PATH": f"{tools}:/usr/bin:/bin"}
        done = subprocess.run(["bash", script, wanted, target], env=path, cwd=tmp_path, check=False, timeout=30)
        return done.returncode, target.read_bytes() if target.exists() else None

    run.stream = stream  # type: ignore[attr-defined]
    return run


def test_the_archive_goes_before_the_stream(restore) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "new" / SEGMENT).write_bytes(b"s" * SEGMENT_BYTES)
    assert restore(0) == (0, b"archive")


def test_what_neither_has_is_the_end_of_wal(restore) -> None:  # type: ignore[no-untyped-def]
    assert restore(1) == (1, None)


def test_a_whole_segment_of_any_stream_goes_before_a_partial_one(restore) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "new" / f"{SEGMENT}.partial").write_bytes(b"p" * 10)
    (restore.stream / "old dir" / SEGMENT).write_bytes(b"s" * SEGMENT_BYTES)
    assert restore(1) == (0, b"s" * SEGMENT_BYTES)


def test_a_partial_segment_is_filled_up_with_zeros(restore) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "old dir" / f"{SEGMENT}.partial").write_bytes(b"p" * 10)
    assert restore(1) == (0, b"p" * 10 + b"\0" * (SEGMENT_BYTES - 10))


def test_a_history_file_comes_from_the_stream_too(restore) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "new" / "00000002.history").write_bytes(b"1\t0/F000000\tx\n")
    assert restore(1, "00000002.history") == (0, b"1\t0/F000000\tx\n")


@pytest.mark.parametrize("status", [2, 29, 41, 103, 126, 127, 130, 137, 255])
def test_any_other_answer_of_the_archive_ends_the_recovery(restore, status: int) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "new" / SEGMENT).write_bytes(b"s" * SEGMENT_BYTES)
    assert restore(status)[0] == 126


@pytest.mark.parametrize(("at_once", "given"), [(0, (0, b"archive")), (1, (0, b"s" * SEGMENT_BYTES))])
def test_what_is_not_fetched_ahead_is_fetched_at_once(restore, at_once: int, given: tuple[int, bytes]) -> None:  # type: ignore[no-untyped-def]
    """82: the process that fetches ahead had ended without a word, in one recovery of thirteen."""
    (restore.stream / "new" / SEGMENT).write_bytes(b"s" * SEGMENT_BYTES)
    assert restore(82, at_once=at_once) == given


def test_a_truncated_streamed_segment_ends_the_recovery(restore) -> None:  # type: ignore[no-untyped-def]
    (restore.stream / "new" / SEGMENT).write_bytes(b"s" * 100)
    assert restore(1) == (126, None)


def test_a_server_that_has_its_segments_asks_the_archive_for_histories_only(restore) -> None:  # type: ignore[no-untyped-def]
    script = restore.stream.parent / "restore"
    script.write_text(restore_script("platform3", [], SEGMENT_BYTES))
    assert restore(0) == (1, None)
    assert restore(0, "00000002.history") == (0, b"archive")
    assert restore(1, "00000002.history") == (1, None)
    assert restore(103, "00000002.history")[0] == 126
