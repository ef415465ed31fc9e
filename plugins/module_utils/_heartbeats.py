# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Heartbeats: a marker with one number and time, written to every datastore each second, and logged outside of them.

The writer stamps the time before it writes. So everything that was written before a marker's time is there wherever
the marker is, and the instant of a loss less the newest marker's time is never less than what was lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

# In the state folder.
FOLDER, LOG_NAME = "heartbeats", "heartbeats.jsonl"
# How much of the log's end is read: some minutes of markers.
TAIL_BYTES = 64 * 1024
# A marker is due each second (sidecars/heartbeat.py).
INTERVAL_SECONDS = 1.0
STORES = ("postgresql", "redis", "influxdb")

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

    Each: number, at, for each datastore whether it acknowledged the marker (PostgreSQL: at which LSN), and in seconds
    how long after at the last of them had answered.
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
    times = [str(one["at"]) for one in entries if any(one.get(store) for store in STORES)]
    return max(times, key=parse_iso) if times else None


def incident(entries: Sequence[Mapping[str, Any]], backup_set: str | None, began: float) -> str | None:
    """The latest instant at which the platform can have been lost, by its heartbeats; None where they do not tell.

    began: when its recovery began, in seconds since 1970: it was lost before. backup_set: the id of a set of it, the
    UTC second in which it was begun. Heartbeats that stopped before the platform was backed up for the last time say
    nothing of its loss: the loss would seem smaller than it is.
    """
    last = last_acknowledged(entries)
    if last is None:
        return None
    taken = parse_iso(last)
    if backup_set:
        begun = f"{backup_set[:4]}-{backup_set[4:6]}-{backup_set[6:11]}:{backup_set[11:13]}:{backup_set[13:]}"
        if taken < parse_iso(begun):
            return None
    return to_iso(max(taken, min(_silent_since(entries, taken), began)))


def _silent_since(entries: Sequence[Mapping[str, Any]], taken: float) -> float:
    """When a datastore that was alive would have taken the marker after the one that was taken last.

    That is when all had been asked for the next one in vain. Where the writer was lost with them, it is when the next
    one would have been logged: begun at most INTERVAL_SECONDS after all had answered the last, and answered as late as
    the slowest before it.
    """
    later = [one for one in entries if parse_iso(str(one["at"])) > taken]
    if later:
        first = min(later, key=lambda one: parse_iso(str(one["at"])))
        return parse_iso(str(first["at"])) + _answered_after(first)
    last = max(entries, key=lambda one: parse_iso(str(one["at"])))
    return taken + _answered_after(last) + INTERVAL_SECONDS + max(map(_answered_after, entries))


def _answered_after(entry: Mapping[str, Any]) -> float:
    found = entry.get("seconds")
    return float(found) if isinstance(found, (int, float)) and 0 <= found < float("inf") else 0.0


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
