# SPDX-License-Identifier: GPL-3.0-or-later
"""How many modules a playbook ran on hosts, counted by a callback plugin of the tests' own.

env={**os.environ, **module_runs.environment(log)}; then len(module_runs.read(log)).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).resolve().parent / "callback_plugins"


def environment(log: Path) -> dict[str, str]:
    """The variables that make ansible-playbook write its module runs to `log`."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
        "ANSIBLE_CALLBACKS_ENABLED": "module_runs",
        "PLATFORM3_MODULE_RUNS": str(log),
    }


def read(log: Path) -> list[dict[str, Any]]:
    """The runs in the order they ended: action, host, task, seconds."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
