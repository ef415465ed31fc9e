#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""run_unit.py UNITS LOGS NAME: run a service of the schedule as systemd would, where no init system runs.

UNITS is the folder of the rendered units (schedule_install: false), LOGS stands for /var/log. The command lines,
environment, folder, timeout and OnFailure are those of the unit; resource limits and hardening are systemd's own.
The exit status is that of the job.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

# What a manager gives to every service.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMED_OUT = 124
_ESCAPES = {"\\\\": "\\", '\\"': '"', "$$": "$"}


def read(path: Path) -> dict[str, list[str]]:
    """A unit's settings, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith(("#", ";")):
            found.setdefault(name, []).append(value)
    return found


def specified(text: str, unit: str, logs: Path) -> str:
    """The text with systemd's specifiers put in (systemd.unit(5)), as far as the schedule uses them."""
    stem = unit.rpartition(".")[0]
    values = {"%": "%", "n": unit, "N": stem, "i": stem.partition("@")[2], "L": str(logs)}
    return re.sub("%(.)", lambda found: values[found[1]], text)


def words(line: str) -> list[str]:
    """The arguments of an ExecStart line (systemd.service(5))."""
    found = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line):
        found.append(re.sub(r"\\[\\\"]|\$\$", lambda one: _ESCAPES[one.group()], quoted or plain))
    return found


def run(units: Path, logs: Path, unit: str, surroundings: dict[str, str]) -> int:
    """Run a unit to its end, and what its failure calls for; returns its exit status."""
    template = re.sub("@.*\\.", "@.", unit, count=1)
    settings = read(units / template)
    folder = logs / settings["LogsDirectory"][0]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": PATH, "HOME": os.environ["HOME"], "LOGS_DIRECTORY": str(folder), **surroundings}
    for line in settings.get("Environment", []):
        environment |= dict(one.split("=", 1) for one in specified(line, unit, logs).split())
    result, status = "success", 0
    for line in settings.get("ExecStartPre", []) + settings["ExecStart"]:
        try:
            status = subprocess.run(
                [specified(one, unit, logs) for one in words(line)],
                cwd=settings.get("WorkingDirectory", ["/"])[0],
                env=environment,
                timeout=float(settings["TimeoutStartSec"][0]),
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            result, status = "timeout", TIMED_OUT
        if status != 0:
            result = "exit-code" if result == "success" else result
            break
    for other in settings.get("OnFailure", []) if status != 0 else []:
        told = {"MONITOR_UNIT": unit, "MONITOR_SERVICE_RESULT": result, "MONITOR_EXIT_STATUS": str(status)}
        run(units, logs, specified(other, unit, logs), told)
    return status


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("units", type=Path)
    parser.add_argument("logs", type=Path)
    parser.add_argument("unit")
    given = parser.parse_args()
    sys.exit(run(given.units, given.logs, given.unit, {}))


if __name__ == "__main__":
    main()
