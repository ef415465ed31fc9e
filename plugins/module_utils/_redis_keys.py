# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys per database, net of expiry: what must still be there at a later time, exactly where time allows.

A count is {"0": {"persistent": 12, "volatile_fields": 0, "bucket_minutes": 1, "expiring": [[29849112, 40], ...]}}:
database -> keys without a time to live, how many of them hold fields with one, and the others by the bucket of
bucket_minutes minutes (since 1970) in which they expire.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check

Count = dict[str, dict[str, Any]]
MINUTE_MILLISECONDS = 60_000
# What a manifest holds of each database at most: a day's sessions by the minute.
MAXIMUM_BUCKETS = 1500

# Runs inside the server, so that a count is of one instant and no key travels. Gives at_ms and databases as JSON.
_LUA_HEAD = """
local now = redis.call('TIME')
local answer = {at_ms = now[1] * 1000 + math.floor(now[2] / 1000), databases = {}}
local function note(entry, key)
  local expiry = redis.call('PEXPIRETIME', key)
  if expiry == -1 then entry.persistent = entry.persistent + 1
  elseif expiry >= 0 then
    local minute = string.format('%d', math.floor(expiry / 60000))
    entry.minutes[minute] = (entry.minutes[minute] or 0) + 1
  end
end
local function entry_of(db)
  local entry = answer.databases[db]
  if not entry then
    entry = {persistent = 0, volatile_fields = 0, minutes = {}}
    answer.databases[db] = entry
  end
  return entry
end
"""

COUNT_LUA = (
    _LUA_HEAD
    + """
for db, figures in string.gmatch(redis.call('INFO', 'keyspace'), 'db(%d+):([^\\r\\n]*)') do
  redis.call('SELECT', db)
  local entry = entry_of(db)
  entry.volatile_fields = tonumber(string.match(figures, 'subexpiry=(%d+)') or 0)
  local cursor = '0'
  repeat
    local page = redis.call('SCAN', cursor, 'COUNT', 1000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do note(entry, key) end
  until cursor == '0'
end
return cjson.encode(answer)
"""
)

# ARGV: database, pattern, cursor. Drops the next 5,000 keys or so and counts them in the same form; `cursor` is where
# the next round goes on, "0" at the end: a scan from the start each time would be quadratic. They go by one command:
# two in a script would stand in the log as a transaction, which a server whose user `default` may do nothing leaves
# out when it loads. A page that does not fit into the command (8,000 words) is read again by the next round; a key
# that a scan repeats, as it may, counts once.
DROP_LUA = (
    _LUA_HEAD
    + """
redis.call('SELECT', ARGV[1])
local entry, cursor, keys, seen = entry_of(ARGV[1]), ARGV[3], {}, {}
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000, 'MATCH', ARGV[2])
  if #keys > 0 and #keys + #page[2] > 7000 then break end
  for _, key in ipairs(page[2]) do
    if #keys < 7000 and not seen[key] then
      seen[key] = true
      keys[#keys + 1] = key
    end
  end
  if #page[2] <= 7000 then cursor = page[1] end
until cursor == '0' or #keys >= 5000
for _, key in ipairs(keys) do note(entry, key) end
if #keys > 0 then redis.call('UNLINK', unpack(keys)) end
answer.cursor = cursor
return cjson.encode(answer)
"""
)


def parse_count(text: str) -> tuple[int, Count]:
    """The answer of COUNT_LUA or DROP_LUA: the server's time in milliseconds since 1970, and the count by the minute.

    Raises ValueError where text is not such an answer (a server's error message, for one).
    """
    answer = json.loads(text)
    count: Count = {}
    # Lua knows one kind of table: an empty one comes as a list or as an object.
    for database, entry in sorted(dict(answer["databases"] or {}).items(), key=lambda item: int(item[0])):
        minutes = dict(entry["minutes"] or {})
        count[database] = {
            "persistent": int(entry["persistent"]),
            "volatile_fields": int(entry["volatile_fields"]),
            "bucket_minutes": 1,
            "expiring": sorted([int(minute), int(keys)] for minute, keys in minutes.items()),
        }
    return int(answer["at_ms"]), without_empty(count)


def add(one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> Count:
    """Both counts (by the minute) together."""
    both: Count = {name: dict(entry) for name, entry in one.items()}
    for database, entry in other.items():
        had = both.get(database, {"persistent": 0, "volatile_fields": 0, "expiring": []})
        both[database] = {
            "persistent": had["persistent"] + entry["persistent"],
            "volatile_fields": had["volatile_fields"] + entry["volatile_fields"],
            "bucket_minutes": 1,
            "expiring": [list(row) for row in regroup([*had["expiring"], *entry["expiring"]], 1, 1).items()],
        }
    return both


def without_empty(count: Mapping[str, Mapping[str, Any]]) -> Count:
    """The databases that hold a key at all."""
    return {name: dict(entry) for name, entry in count.items() if total(entry) > 0}


def total(entry: Mapping[str, Any]) -> int:
    """Keys of one database when it was counted."""
    return int(entry["persistent"]) + sum(int(keys) for _bucket, keys in entry["expiring"])


def regroup(expiring: Sequence[Sequence[int]], from_minutes: int, to_minutes: int) -> dict[int, int]:
    """Expiring keys by bucket of to_minutes, a multiple of from_minutes, in order."""
    grouped: dict[int, int] = {}
    for bucket, keys in expiring:
        wider = bucket * from_minutes // to_minutes
        grouped[wider] = grouped.get(wider, 0) + keys
    return {bucket: grouped[bucket] for bucket in sorted(grouped)}


def coarsen(count: Mapping[str, Mapping[str, Any]], buckets: int = MAXIMUM_BUCKETS) -> Count:
    """The same count in no more than so many buckets a database: their width is doubled until they fit."""
    coarse: Count = {}
    for database, entry in count.items():
        width, expiring = entry["bucket_minutes"], entry["expiring"]
        while len(expiring) > buckets:
            expiring = [list(row) for row in regroup(expiring, width, width * 2).items()]
            width *= 2
        coarse[database] = {**entry, "bucket_minutes": width, "expiring": expiring}
    return coarse


def subtract(count: Mapping[str, Mapping[str, Any]], dropped: Mapping[str, Mapping[str, Any]]) -> Count:
    """The count without the keys that were dropped on purpose (these counted by the minute); never below nothing."""
    left: Count = {}
    for database, entry in count.items():
        gone = dropped.get(database, {"persistent": 0, "expiring": []})
        gone_by_bucket = regroup(gone["expiring"], 1, entry["bucket_minutes"])
        expiring = [[bucket, max(0, keys - gone_by_bucket.get(bucket, 0))] for bucket, keys in entry["expiring"]]
        left[database] = {
            **entry,
            "persistent": max(0, entry["persistent"] - gone["persistent"]),
            "expiring": [row for row in expiring if row[1]],
        }
    return without_empty(left)


def bounds(entry: Mapping[str, Any], at_ms: int) -> tuple[int, int]:
    """Least and most keys of one database that may be alive at at_ms (milliseconds since 1970, the server's clock).

    They differ by the keys that expire in the very bucket of at_ms, and by those whose fields may all have expired.
    """
    width = int(entry["bucket_minutes"]) * MINUTE_MILLISECONDS
    persistent = int(entry["persistent"])
    least = max(0, persistent - int(entry.get("volatile_fields", 0)))
    most = persistent
    for bucket, keys in entry["expiring"]:
        if bucket * width > at_ms:
            least += keys
        if (bucket + 1) * width - 1 > at_ms:
            most += keys
    return least, most


def compare(
    expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]], at_ms: int, exact: bool = True
) -> list[Check]:
    """Checks of a count made at at_ms (by the minute) against an earlier one: each database's total net of expiry,
    and its keys bucket by bucket. A database that should hold nothing is a check too.

    exact: nothing was written since. Otherwise more keys are good, fewer are not, and single buckets are not compared,
    as a session that is used moves to a later one."""
    checks = []
    for database in sorted({*expected, *found}, key=int):
        nothing: dict[str, Any] = {"persistent": 0, "volatile_fields": 0, "bucket_minutes": 1, "expiring": []}
        wanted, got = expected.get(database, nothing), found.get(database, nothing)
        least, most = bounds(wanted, at_ms)
        number = total(got)
        if not exact:
            bound = f"at least {least} (services have written since)"
            checks.append(check(f"keys in database {database}", "redis", bound, number, ok=number >= least))
            continue
        shown: Any = least if least == most else f"{least} to {most}"
        checks.append(check(f"keys in database {database}", "redis", shown, number, ok=least <= number <= most))
        checks.append(
            check(
                f"times to live in database {database}",
                "redis",
                "as backed up",
                _difference(wanted, got, at_ms) or "as backed up",
            )
        )
    return checks


def _difference(wanted: Mapping[str, Any], got: Mapping[str, Any], at_ms: int) -> str:
    """The first difference that time does not explain, as a sentence; "" where there is none."""
    least = wanted["persistent"] - wanted.get("volatile_fields", 0)
    if not least <= got["persistent"] <= wanted["persistent"]:
        return f"{got['persistent']} keys without a time to live instead of {wanted['persistent']}"
    width = wanted["bucket_minutes"]
    wanted_by_bucket: dict[int, int] = dict(wanted["expiring"])
    got_by_bucket = regroup(got["expiring"], 1, width)
    for bucket in sorted({*wanted_by_bucket, *got_by_bucket}):
        most, number = wanted_by_bucket.get(bucket, 0), got_by_bucket.get(bucket, 0)
        starts_at, ends_at = bucket * width * MINUTE_MILLISECONDS, (bucket + 1) * width * MINUTE_MILLISECONDS
        if ends_at - 1 <= at_ms:
            most = 0
        if number > most or (starts_at > at_ms and number < most):
            return f"{number} keys that expire in minute {bucket * width} instead of {most}"
    return ""
