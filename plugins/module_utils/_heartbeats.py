# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Heartbeats: a marker with one number and time, written to every datastore each second, and logged outside of them.

The writer stamps the time before it writes. So everything that was written before a marker's time is there wherever
the marker is, and the instant of a loss less the newest marker's time is never less than what was lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

# In the state folder.
FOLDER, LOG_NAME = "heartbeats", "heartbeats.jsonl"
# How much of the log's end is read: some minutes of markers.
TAIL_BYTES = 64 * 1024

POSTGRESQL_TABLE = "platform3_recovery.heartbeat"
REDIS_KEY = "platform3:heartbeat"
INFLUXDB_MEASUREMENT = "platform3_heartbeat"

Marker = dict[str, Any]


def marker(number: object, at: object) -> Marker | None:
    """{number, at}, at in ISO 8601 UTC; None where either is none."""
    try:
        return {"number": int(str(number)), "at": to_iso(parse_iso(str(at)))}
    except ValueError:
        return None


def of_postgresql(rows: Iterable[Mapping[str, Any]]) -> Marker | None:
    """The marker in the rows of the table: {number, at}."""
    found = [marker(row["number"], row["at"]) for row in rows]
    return found[0] if found else None


def of_redis(value: str | None) -> Marker | None:
    """The marker in the key's value: "<number> <ISO time>"."""
    number, _, at = (value or "").partition(" ")
    return marker(number, at)


def of_buckets(newest: Mapping[str, Marker | None]) -> Marker | None:
    """The oldest of the buckets' newest markers, as shards are backed up one after the other; None where one lacks."""
    found = [one for one in newest.values() if one]
    return min(found, key=lambda one: parse_iso(one["at"])) if found and len(found) == len(newest) else None


def parse_log(text: str) -> list[dict[str, Any]]:
    """The whole lines of the log, oldest first; what is torn or no marker is passed over.

    Each: number, at, and for each datastore whether it acknowledged the marker (PostgreSQL: at which LSN).
    """
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and marker(entry.get("number"), entry.get("at")):
            found.append(entry)
    return found


def last_acknowledged(entries: Iterable[Mapping[str, Any]]) -> str | None:
    """When the platform was last seen to take a marker in any of its datastores (ISO 8601 UTC)."""
    times = [str(one["at"]) for one in entries if any(one.get(store) for store in ("postgresql", "redis", "influxdb"))]
    return max(times, key=parse_iso) if times else None


def incident(entries: Iterable[Mapping[str, Any]], backup_set: str | None) -> str | None:
    """When the platform was lost, by its last acknowledged heartbeat; None where that cannot be.

    backup_set: the id of a set of it, the UTC second in which it was begun. Heartbeats that stopped before the platform
    was backed up for the last time say nothing of its loss: the loss would seem smaller than it is.
    """
    last = last_acknowledged(entries)
    if last is None or not backup_set:
        return last
    begun = f"{backup_set[:4]}-{backup_set[4:6]}-{backup_set[6:11]}:{backup_set[11:13]}:{backup_set[13:]}"
    return last if parse_iso(last) >= parse_iso(begun) else None


def read_log(state_path: str) -> list[dict[str, Any]]:
    """The newest entries of the log in the state folder, those that were rotated away before it too."""
    text = ""
    for name in (f"{LOG_NAME}.1", LOG_NAME):
        try:
            with open(os.path.join(state_path, FOLDER, name), "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
                text += stream.read().decode("utf-8", "replace") + "\n"
        except FileNotFoundError:
            continue
    return parse_log(text)
