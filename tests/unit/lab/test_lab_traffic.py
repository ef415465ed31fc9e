# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of acknowledged orders, and the ticks that the seed makes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from seed import DAYS, Seed
from traffic import Ledger


def test_a_ledger_line_is_on_disk_before_add_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "run" / "ledger.jsonl", []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.read_text().count("\n")))
    ledger = Ledger(path)
    ledger.add(7)
    ledger.add(8)
    assert synced == [1, 2]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == [7, 8]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"]) for line in lines)


def test_a_ledger_goes_on_where_an_earlier_run_stopped(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.jsonl").add(1)
    Ledger(tmp_path / "ledger.jsonl").add(2)
    assert (tmp_path / "ledger.jsonl").read_text().count("\n") == 2


def test_seeded_ticks_cover_all_days_in_order_and_end_before_now() -> None:
    seed = Seed(0.002)
    ticks = [
        line for bucket, lines in seed.batches() if bucket == "market-data" for line in lines if "XAUUSD" not in line
    ]
    times = [int(line.rsplit(" ", 1)[1]) / 1000 for line in ticks]
    assert len(ticks) == pytest.approx(seed.ticks, rel=0.02)
    assert times == sorted(times)
    assert times[-1] <= seed.now.timestamp()
    assert times[-1] - times[0] > (DAYS - 0.1) * 86400
