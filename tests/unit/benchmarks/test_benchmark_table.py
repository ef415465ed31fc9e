# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark computes and shows, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._journal import read_history

from tests.benchmarks import backup
from tests.benchmarks.lab import Recovery
from tests.benchmarks.memory import Watch, module_of, peak_bytes
from tests.benchmarks.old_influxdb import compress, endpoint, restore
from tests.benchmarks.old_procedure import figures, moving_seconds
from tests.benchmarks.recovery import figures as recovery_figures
from tests.benchmarks.table import Figure, Result, section, shown, terminal, with_section
from tests.benchmarks.verification import SCRATCH_ID, scratch_set, timed
from tests.unit.plugins.journal_samples import Journal

RESULT = Result(
    "recovery", ["2 cores"], [Figure("to first trade", 61.34, goal=90), Figure("module runs", 46, "", goal=45)]
)


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("x", 90, goal=90), "met"),
        (Figure("x", 90.1, goal=90), "MISSED"),
        (Figure("x", 1.6, "x", 1.6, at_least=True), "met"),
        (Figure("x", 1.59, "x", 1.6, at_least=True), "MISSED"),
        (Figure("x", 1, "x", 8, at_least=True, applies=False), "another size"),
        (Figure("x", 1), ""),
    ],
)
def test_a_figure_is_judged_by_its_goal(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict


def test_values_carry_their_unit() -> None:
    assert [shown(61.34, "s"), shown(9.876, "s"), shown(45, ""), shown(2.04, "x"), shown(1.444, "GB/s")] == [
        "61.3 s",
        "9.88 s",
        "45",
        "2.0 x",
        "1.44 GB/s",
    ]


def test_the_terminal_shows_one_aligned_table() -> None:
    lines = terminal([RESULT, Result("memory", [], [Figure("redis_restore", 41.2, "MB", 200)])]).splitlines()
    assert lines[0].split() == ["measurement", "what", "measured", "goal"]
    assert lines[2] == "recovery     to first trade  61.3 s    at most 90.0 s    met"
    assert lines[3].endswith("MISSED")
    assert len({line.index("at most") for line in lines[2:]}) == 1


def test_a_result_replaces_its_own_section_only() -> None:
    parts = "<!-- {0}: written by make benchmark -->\nold {0}\n<!-- {0}: end -->\n"
    document = "# Head\n" + parts.format("recovery") + "between\n" + parts.format("memory") + "end\n"
    written = with_section(document, RESULT)
    assert "old recovery" not in written and "old memory" in written and "| to first trade | 61.3 s |" in written
    assert written.startswith("# Head\n") and "between\n" in written and written.endswith("end\n")
    assert with_section(written, RESULT) == written
    with pytest.raises(ValueError, match="no place for other"):
        with_section(document, Result("other"))


def test_a_section_says_on_what_it_was_measured() -> None:
    assert section(RESULT).splitlines()[:4] == [
        "- 2 cores",
        "",
        "| what | measured | goal |  |",
        "| --- | ---: | ---: | --- |",
    ]


def test_the_document_has_a_place_for_every_measurement() -> None:
    document = (Path(__file__).resolve().parents[3] / "docs/benchmarks.md").read_text(encoding="utf-8")
    for name in ("recovery", "old_procedure", "verification", "memory"):
        with_section(document, Result(name))


def report(trade: float, orchestration: float) -> dict[str, Any]:
    times = {
        name: {"seconds": trade} for name in ("complete_system", "postgresql", "redis", "influxdb", "app_services")
    }
    return {
        "rto": times,
        "timing": {"orchestration_seconds": orchestration, "checking_seconds": 3.0, "overlap_seconds": 9.0},
        "steps": [
            {"phase": "restore", "component": "postgresql", "parts": {"copy": 6.0, "replay": 2.0, "compare": 9.0}},
            {"phase": "restore", "component": "influxdb", "parts": {"copy": 1.0, "start": 5.0}},
            {"phase": "restore", "component": "configuration", "parts": {}},
            {"phase": "verify", "component": "postgresql", "parts": {"copy": 70.0}},
        ],
    }


def test_recovery_shows_medians_of_its_runs() -> None:
    done = [Recovery(report(t, o), t + 2, n) for t, o, n in ((50.0, 20.0, 41), (80.0, 30.0, 41), (60.0, 22.0, 42))]
    found = {figure.what: figure.value for figure in recovery_figures(done)}
    assert found["total loss to first trade read back"] == 62.0
    assert found["orchestration"] == 22.0
    assert found["module runs"] == 41


def test_moving_counts_what_restores_move() -> None:
    assert moving_seconds(report(1, 1)["steps"]) == {"postgresql": 8.0, "influxdb": 1.0}


def test_ratios_compare_like_with_like() -> None:
    old = {
        "docker compose down, volumes removed": 3.0,
        "sha256sum --check": 4.0,
        "pg_restore": 72.0,
        "RDB copied in and loaded": 3.0,
        "InfluxDB shards one by one": 5.0,
    }
    found = {figure.what: figure for figure in figures(old, 100.0, Recovery(report(45, 20), 50.0, 41), 6.0, True)}
    assert found["old / new to first trade"].value == 2.0
    assert found["old / new moving the data"].value == 10.0  # 80 / the longest of those at once
    assert found["pg_restore / base backup alone"].value == 12.0
    assert found["old / new to first trade"].verdict == "MISSED"
    small = figures(old, 100.0, Recovery(report(45, 20), 50.0, 41), 6.0, False)
    assert {figure.verdict for figure in small if figure.goal} == {"another size"}


def test_a_module_is_known_by_its_process_alone() -> None:
    path = "/root/.ansible/tmp/ansible-tmp-1/AnsiballZ_redis_restore.py"
    assert module_of(f"/venv/bin/python\0{path}\0".encode()) == "redis_restore"
    assert module_of(f"/bin/sh\0-c\0/venv/bin/python {path} && sleep 0\0".encode()) is None
    assert module_of(b"") is None


def test_peaks_are_the_highest_seen(tmp_path: Path) -> None:
    for pid, peak in (("11", 30), ("12", 50), ("13", 40)):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(b"python\0/tmp/AnsiballZ_x.py\0")
        (tmp_path / pid / "status").write_text(f"Name:\tpython\nVmPeak:\t900 kB\nVmHWM:\t   {peak} kB\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "14").mkdir()
    watch = Watch()
    watch.look(tmp_path)
    assert watch.peaks == {"x": 50 * 1024}
    assert peak_bytes("Name:\tgone\n") == 0


def test_influxdb_files_go_metadata_first_and_shards_by_number(tmp_path: Path) -> None:
    (tmp_path / "influxdb/shards").mkdir(parents=True)
    for name in ("influxd.sqlite", "influxd.bolt", "shards/10.tar", "shards/9.tar"):
        (tmp_path / "influxdb" / name).write_bytes(b"x" * 100)
    files = compress(tmp_path, tmp_path)
    assert [endpoint(path).removeprefix("/api/v2/restore/") for path in files] == ["kv", "sql", "shards/9", "shards/10"]
    assert all(path.read_bytes()[:2] == b"\x1f\x8b" for path in files)
    with pytest.raises(OSError):
        restore("http://127.0.0.1:9", "token", files)


def test_verification_reads_the_same_files_in_three_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = scratch_set(tmp_path, {"postgresql/a.custom": 2, "influxdb/shards/1.tar": 1})
    result = timed(tmp_path, manifest, "a small set")
    assert manifest["backup_set"] == SCRATCH_ID and "2 files, 3 MiB" in result.about[0]
    assert all(figure.value > 0 for figure in result.figures) and len(result.figures) == 5
    (tmp_path / "postgresql/a.custom").write_bytes(b"\0" * (2 << 20))
    with pytest.raises(Exception, match="is damaged"):
        timed(tmp_path, manifest, "a damaged set")


def test_a_backup_is_measured_by_the_longest_good_step_of_each_component() -> None:
    journal = Journal()
    journal.run_started(0.0, elapsed=2.0, scenario="backup")
    journal.step(0.5, 1.0, "backup", "influxdb", "Look", result={"parts": {"copy": 0.1}, "bytes": 1})
    journal.step(1.0, 9.0, "backup", "influxdb", "Copy", "step_failed", result={"parts": {"copy": 7.0}, "bytes": 2})
    journal.step(9.0, 12.0, "backup", "influxdb", "Copy", result={"parts": {"copy": 2.5, "hash": 0.2}, "bytes": 3})
    journal.start(10.0, "backup", "redis", "Copy")
    history = read_history(journal.in_order())
    found = backup.longest_steps(history)
    assert {name: (one.name, one.seconds, one.result["bytes"]) for name, one in found.items()} == {
        "influxdb": ("Copy", pytest.approx(3.0), 3)
    }
    assert backup.copy_seconds(found["influxdb"]) == 2.5
    assert backup.run_seconds(history) == pytest.approx(12.0)
