# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.modules.influxdb_recompute import compute, scripts_of

WANTED = [
    {"bucket": name, "source_bucket": "ticks", "interval_seconds": 60, "from": f"{name}-1", "to": f"{name}-2"}
    for name in ("candles", "sums")
]
CANDLES = {"bucket": "candles", "from": "candles-1", "to": "candles-2"}


def test_a_script_hears_the_times_and_what_has_none_is_named() -> None:
    aggregates = [
        {"bucket": "candles", "flux": "range(start: %(from)s, stop: %(to)s) // 100 %"},
        {"bucket": "sums", "flux": ""},
        {"bucket": "other", "flux": "never run"},
    ]
    scripts, left = scripts_of(WANTED, aggregates)
    assert scripts == [(CANDLES, "range(start: candles-1, stop: candles-2) // 100 %")]
    assert left == ["sums"]
    assert scripts_of([], aggregates) == ([], [])


class Server:
    """Answers two rows, or fails."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def query(self, organisation_id: str, script: str) -> list[dict[str, Any]]:
        if self.fails:
            raise RecoveryError("PRC-705", "ask", f"{organisation_id}: no such function in {script}", "none", "none")
        return [{"_value": 1}, {"_value": 2}]


def test_what_was_written_is_counted_and_a_script_that_fails_is_named() -> None:
    assert compute(Server(False), "o-1", CANDLES, "text") == {**CANDLES, "values": 2}  # type: ignore[arg-type]
    with pytest.raises(RecoveryError) as raised:
        compute(Server(True), "o-1", CANDLES, "text")  # type: ignore[arg-type]
    assert raised.value.code == "PRC-714" and "no such function" in raised.value.found
