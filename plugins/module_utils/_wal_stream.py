# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The WAL stream, judged: its mode, its slot, when it did not hold what it should, and what the archive lacks. Pure.

What is wanted stands in the server's own settings, where the watchdog beside it reads it: `platform3.wal_stream` (mode,
what to do when the receiver is lost, after how many seconds) and `platform3.wal_stream_degraded` (since when commits
have not waited, though they should).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Segment,
    WalFile,
    parse_segment,
)

# By this name the server knows whom it waits for; the receiver connects with it.
APPLICATION = "platform3_stream"
MODE_SETTING = "platform3.wal_stream"
DEGRADED_SETTING = "platform3.wal_stream_degraded"
MODES = ("async", "sync")
WHEN_LOST = ("wait", "degrade")
RECORDS = "wal-stream/degraded.jsonl"
AGAIN = "ansible-playbook playbooks/wal_stream.yml"
# Below this the slot is about to be lost: two segments are written in a second under load.
LITTLE_LEFT_BYTES = 8 * SEGMENT_BYTES


@dataclass(frozen=True)
class Mode:
    """How commits and the stream belong together. kind: async or sync; when_lost: wait or degrade, after seconds."""

    kind: str
    when_lost: str
    lost_after_seconds: int

    def text(self) -> str:
        """As the setting has it."""
        return f"{self.kind} {self.when_lost} {self.lost_after_seconds}"


def parse_mode(text: str) -> Mode:
    """The mode by its setting; async where nothing is set. ValueError for anything else."""
    if not text.strip():
        return Mode("async", "degrade", 10)
    kind, when_lost, seconds = text.split()
    if kind not in MODES or when_lost not in WHEN_LOST:
        raise ValueError(f"not a mode of the WAL stream: {text!r}")
    return Mode(kind, when_lost, int(seconds))


def settings_sql(mode: Mode) -> str:
    """Statements that make the mode the server's, both settings at once. To sync only once the receiver streams."""
    names = APPLICATION if mode.kind == "sync" else ""
    return (
        f"ALTER SYSTEM SET synchronous_standby_names = '{names}';"
        f"ALTER SYSTEM SET {MODE_SETTING} = '{mode.text()}';"
        "SELECT pg_reload_conf();"
    )


# For a server that was restored or put back: nobody waits for a receiver that is not there yet. (Servers before 17 take
# no setting of ours, and have none to reset.)
RESET_SQL = f"""ALTER SYSTEM SET synchronous_standby_names = '';
SELECT format('ALTER SYSTEM RESET %s', name) FROM (VALUES ('{MODE_SETTING}'), ('{DEGRADED_SETTING}')) AS ours(name)
WHERE current_setting(name, true) IS NOT NULL \\gexec
SELECT pg_reload_conf();"""

LOOK_SQL = f"""
SELECT coalesce(current_setting('{MODE_SETTING}', true), '') AS mode,
  current_setting('synchronous_standby_names') <> '' AS waits,
  coalesce(current_setting('{DEGRADED_SETTING}', true), '') AS degraded_since,
  pg_is_in_recovery() AS standby,
  CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS segment,
  CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END AS lsn,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
  extract(epoch FROM clock_timestamp())::float8::text AS now
"""


def slot_sql(slot: str) -> str:
    """The slot and the receiver on it: one row, or none without a slot. slot: an SQL literal."""
    return f"""
SELECT s.slot_name, s.active, s.wal_status, s.safe_wal_size, (s.restart_lsn - '0/0')::bigint AS restart_lsn,
  coalesce(r.state, '') AS state, coalesce(r.sync_state, '') AS sync_state,
  coalesce(r.application_name, '') AS application_name, (r.flush_lsn - '0/0')::bigint AS flush_lsn,
  extract(epoch FROM r.flush_lag)::float8::text AS flush_lag
FROM pg_replication_slots AS s LEFT JOIN pg_stat_replication AS r ON r.pid = s.active_pid
WHERE s.slot_name = {slot}"""


def slot_is_usable(row: Mapping[str, Any] | None) -> bool:
    """Whether a receiver can go on with the slot; a new one (no WAL reserved yet) can."""
    return row is not None and row["wal_status"] != "lost"


def _problem(code: str, found: str, data: str, next_step: str) -> RecoveryError:
    return RecoveryError(code, "keep the WAL stream", found, data, next_step)


def stream_problems(
    slot: str, row: Mapping[str, Any] | None, server: Mapping[str, Any], seconds: float
) -> list[RecoveryError]:
    """What is wrong with the stream, by the server. row: from slot_sql; server: from LOOK_SQL.

    seconds: for how long the receiver may not have confirmed what was written.
    """
    open_loss = "what is written from now on is kept by the archive alone: a loss costs up to archive_timeout"
    if row is None:
        return [
            _problem("PRC-570", f"there is no replication slot {slot}", open_loss, f"{AGAIN} makes slot and folder")
        ]
    if not slot_is_usable(row):
        found = f"slot {slot} is lost: the receiver stayed away until its WAL passed max_slot_wal_keep_size"
        way = f"{AGAIN} makes slot and folder anew; the archive has what the stream misses"
        return [_problem("PRC-571", found, open_loss, way)]
    problems = []
    left = row["safe_wal_size"]
    if row["wal_status"] == "unreserved" or (left is not None and left < LITTLE_LEFT_BYTES):
        found = f"slot {slot} is about to be lost: {max(left or 0, 0) >> 20} MiB of WAL are left to it"
        way = "docker logs of the receiver say why it does not keep up; mend that, or raise max_slot_wal_keep_size"
        problems.append(_problem("PRC-572", found, "nothing is lost yet", way))
    if row["state"] != "streaming":
        found = "no receiver streams" if not row["state"] else f"the receiver is at {row['state']}"
        way = f"docker logs of the receiver say why; {AGAIN} starts it"
        problems.append(_problem("PRC-573", found, open_loss, way))
    elif float(row["flush_lag"] or 0) > seconds:
        found = f"the receiver is {float(row['flush_lag']):.0f} s behind"
        problems.append(_problem("PRC-573", found, open_loss, "see the disk of the backup store"))
    if parse_mode(server["mode"]).kind == "sync" and not server["waits"]:
        found = f"commits have not waited for the receiver since {server['degraded_since'] or 'an unknown time'}"
        way = "they will again by themselves once the receiver has caught up; docker logs of the server name the reason"
        problems.append(_problem("PRC-574", found, "acknowledged orders since then may be lost with the machine", way))
    return problems


def degraded_intervals(text: str) -> list[dict[str, Any]]:
    """When commits did not wait, though they should, by the watchdog's records: from, to (None: still), reason.

    A line that cannot be read (torn by a full disk) is left out; an interval counts by its beginning, once.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        try:
            one = json.loads(line)
            key, end, reason = str(one["from"]), one["to"], str(one["reason"])
        except (ValueError, KeyError, TypeError):
            continue
        known = found.setdefault(key, {"from": key, "to": None, "mode": "async", "reason": reason})
        known["to"] = known["to"] or end
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class ArchiveState:
    """What the repository holds of a timeline. newest: the last segment without a gap before it (None: nothing there);
    missing: the first one that is not there although a later one is; end_lsn: where newest ends."""

    newest: WalFile | None
    missing: str | None
    end_lsn: int


def archive_state(
    archive: Mapping[str, WalFile], first: str, timeline: int, segment_bytes: int = SEGMENT_BYTES
) -> ArchiveState:
    """How far the archive goes without a gap, on one timeline. first: segment from which it is looked at."""
    begin = parse_segment(first, segment_bytes)
    held = {
        segment.number: one
        for segment, one in ((parse_segment(name, segment_bytes), one) for name, one in archive.items())
        if segment.timeline == timeline and segment.number >= begin.number
    }
    if not held:
        return ArchiveState(None, None, begin.number * segment_bytes)
    # A later timeline begins in some later segment; the one before it is not missing.
    number = begin.number if begin.timeline == timeline else min(held)
    begun = number
    while number in held:
        number += 1
    missing = Segment(timeline, number).name(segment_bytes) if number <= max(held) else None
    return ArchiveState(held.get(number - 1) if number > begun else None, missing, number * segment_bytes)


def lags(lsn: int, now: float, end_lsn: int, written_at: float | None) -> tuple[int, float | None]:
    """What a copy that ends at end_lsn, last written to at written_at, lacks of a server at lsn: bytes and seconds.

    Seconds: since when it may lack something; 0 where it lacks nothing, None where it holds nothing at all.
    """
    lag = max(0, lsn - end_lsn)
    if lag == 0:
        return 0, 0.0
    return lag, None if written_at is None else max(0.0, round(now - written_at, 3))


def removable(
    paths: Iterable[str], archived: Mapping[str, object], before: str, off_machine: Mapping[str, object] | None = None
) -> list[str]:
    """Streamed segments ("folder/name") that nothing needs: whole, from before a segment, in the archive, and off the
    machine where there is a second copy (off_machine: what that one holds; None without one).

    Of each folder the newest whole segment stays, because pg_receivewal goes on behind it.
    """
    start = parse_segment(before)
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.partition("/")
        if len(name) == 24:
            by_folder.setdefault(folder, []).append(name)
    return [
        f"{folder}/{name}"
        for folder, names in sorted(by_folder.items())
        for name in sorted(names)[:-1]
        if name in archived
        and (off_machine is None or name in off_machine)
        and parse_segment(name).timeline <= start.timeline
        and parse_segment(name).number < start.number
    ]


def archive_problems(archive: Mapping[str, Any], seconds: float) -> list[RecoveryError]:
    """What is wrong with the archive: a gap, or that it lacks what is older than so many seconds."""
    loss = "the stream may hold it; without the stream it would be lost with the machine"
    way = "docker logs of the server say why archive_command fails (store full, fenced, not mounted)"
    if archive["missing"]:
        found = f"segment {archive['missing']} is not in the archive, later ones are"
        return [RecoveryError("PRC-579", "find all WAL in the archive", found, loss, way)]
    lag = archive["lag_seconds"]
    if lag is not None and lag > seconds or archive["lag_bytes"] and lag is None:
        since = f"for {lag:.0f} s" if lag is not None else "at all"
        found = f"nothing was archived {since}, {archive['lag_bytes'] >> 20} MiB of WAL wait"
        return [RecoveryError("PRC-580", "archive WAL in time", found, loss, way)]
    return []


def status_lines(found: Mapping[str, Any], target_seconds: int) -> list[str]:
    """What postgresql_wal_stream_info found, for people."""
    mode, slot, stream, archive = found.get("mode"), found.get("slot"), found["stream"], found["archive"]
    lines = []
    if mode:
        waits = "commits wait for the receiver" if mode["waits"] else "commits do not wait"
        lines.append(f"mode     {mode['kind']} ({waits}; when lost: {mode['when_lost']})")
    if slot:
        left = "" if slot["safe_wal_size"] is None else f", {slot['safe_wal_size'] >> 20} MiB until it is lost"
        lines.append(
            f"slot     {slot['slot_name']} {slot['wal_status'] or 'new'}{left}; {slot['state'] or 'no receiver'}"
        )
    for name, one in (("stream", stream), ("archive", archive)):
        lines.append(f"{name:<9}{one['newest'] or 'nothing'} of {one['written_at'] or 'never'}, {_lag(one)}")
    bound = found["bound"]
    if bound["bound_bytes"] is None:
        lines.append("replay   its speed is not measured yet: no recovery has replayed enough WAL to tell")
    else:
        every = bound["interval_seconds"]
        often = f"a base backup at least every {every // 60} min" if every is not None else "WAL a second is not known"
        lines.append(f"replay   {bound['bound_bytes'] >> 20} MiB of WAL within {target_seconds} s of RTO: {often}")
    lines += [f"async    from {one['from']} to {one['to'] or 'now'}: {one['reason']}" for one in found["degraded"][-3:]]
    return lines


def _lag(one: Mapping[str, Any]) -> str:
    if one["lag_bytes"] is None:
        return "how far behind is not known"
    if one["lag_bytes"] == 0:
        return "lacks nothing"
    seconds = "" if one["lag_seconds"] is None else f" of {one['lag_seconds']:.0f} s"
    return f"lacks {one['lag_bytes']} bytes{seconds}"
