# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests may run side by side: all on the one lab one after the other, and those of one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The machines are shared: how long an example takes says nothing of what is tested.
settings.register_profile("shared_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared_machine")

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def place_of(name: str) -> str:
    """What the tests of a file work on: the lab, where it says so by a mark, else what the file makes for itself."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return "lab" if "pytest.mark.lab" in text or "pytest.mark.molecule" in text else name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker at a time in each place. Its own groups by mark need a pytest whose node ids can be changed."""
    from xdist.scheduler import LoadScopeScheduling

    class ByPlace(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return place_of(nodeid.split("::", 1)[0])

    return ByPlace(config, log)
