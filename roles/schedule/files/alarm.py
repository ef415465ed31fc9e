#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alarm.py --environment NAME --alarms FILE UNIT: put the failure of a scheduled job on record.

A line to the journal (stdout), and one to FILE as JSON. What the job said last is in $LOGS_DIRECTORY, how it ended in
the variables that systemd gives to an OnFailure= unit ($MONITOR_*, systemd.exec(5); none before systemd 251).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
from pathlib import Path

CODE = re.compile(r"\[PRC-\d{3}\] .*")
# What ansible puts before a line in its log.
PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \S+ p=\d+ u=\S+ n=\S+ \w+\| ?")
MOST = 5


def said(text: str) -> list[str]:
    """The errors with a code in a job's log, each once; without any, its last lines."""
    lines = [PREFIX.sub("", line).strip() for line in text.splitlines()]
    codes = [found.group() for found in map(CODE.search, lines) if found]
    return list(dict.fromkeys(codes))[:MOST] or [line for line in lines if line][-MOST:]


def record(environment: str, unit: str, surroundings: dict[str, str]) -> dict[str, object]:
    """The alarm as data."""
    log = Path(surroundings.get("LOGS_DIRECTORY", "/nonexistent")) / f"{unit.removesuffix('.service')}.log"
    return {
        "at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "environment": environment,
        "unit": unit,
        "result": surroundings.get("MONITOR_SERVICE_RESULT", "unknown"),
        "exit_status": surroundings.get("MONITOR_EXIT_STATUS", "unknown"),
        "said": said(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else [],
    }


def main() -> None:
    """Write both lines; the journal's first, for the disk may be what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", required=True)
    parser.add_argument("--alarms", required=True, type=Path)
    parser.add_argument("unit")
    given = parser.parse_args()
    alarm = record(given.environment, given.unit, dict(os.environ))
    # <2> is the priority "critical" (sd-daemon(3)).
    print(f"<2>ALARM {alarm['unit']} failed ({alarm['result']}, {alarm['exit_status']}): {' / '.join(alarm['said'])}")
    given.alarms.parent.mkdir(parents=True, exist_ok=True)
    with given.alarms.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(alarm, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


if __name__ == "__main__":
    main()
