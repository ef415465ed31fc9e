# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chosen keys from a server that holds the source's data into the live one: what is there is kept first, then each key
that was kept is replaced, added or removed. Nothing else is touched, whatever is written meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._redis_kept import (
    ROUND_BYTES,
    Kept,
    add_kinds,
    by_database,
    empty_counts,
    rounds,
    told_kinds,
)

if TYPE_CHECKING:
    import redis

    Connect = Callable[[int], redis.Redis]

SCAN_KEYS = 1000
# A command on one very big value takes a while.
TIMEOUT_SECONDS = 300.0
# So many keys of a database are looked at to say what kinds there are.
TOLD_OF_KEYS = 100_000
SYNC_MILLISECONDS = 10_000


@dataclass(frozen=True)
class Chosen:
    """Which keys: glob patterns as of SCAN, in which databases. replace: whether keys that are there are replaced, and
    those that the source has not removed; else only missing ones are added."""

    patterns: tuple[str, ...]
    databases: tuple[int, ...]
    replace: bool


def databases_of(client: redis.Redis) -> set[int]:
    """Numbers of the databases that hold a key."""
    return {int(name[2:]) for name in client.info("keyspace") if name[:2] == "db" and name[2:].isdigit()}


def pages(client: redis.Redis, pattern: str) -> Iterator[list[bytes]]:
    """The keys of a client's database that match, a page at a time."""
    cursor = 0
    while True:
        cursor, found = client.scan(cursor, match=pattern, count=SCAN_KEYS)
        if found:
            # A scan may repeat a key.
            yield list(dict.fromkeys(found))
        if not cursor:
            return


def answers(pipeline: Any) -> list[Any]:
    """What the pipeline's commands gave; raises the first one's error bare, as the client's own names the key."""
    told = list(pipeline.execute(raise_on_error=False))
    for one in told:
        if isinstance(one, Exception):
            raise one
    return told


def present(client: redis.Redis, keys: Sequence[bytes]) -> list[bool]:
    """Of each key, whether it is there."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.exists(key)
    return [bool(one) for one in answers(pipeline)]


def dumped(client: redis.Redis, keys: Sequence[bytes]) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Key, expiry (ms since 1970, 0: never) and DUMP of those that are there, in rounds of bounded size."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key)
    sizes = zip(keys, answers(pipeline))
    known = [(key, size) for key, size in sizes if size is not None]
    for some in rounds(known, lambda one: int(one[1])):
        pipeline = client.pipeline(transaction=False)
        for key, _size in some:
            pipeline.execute_command("PEXPIRETIME", key)
            pipeline.dump(key)
        told = answers(pipeline)
        found = zip((key for key, _size in some), told[::2], told[1::2])
        yield [(key, max(0, int(at)), dump) for key, at, dump in found if dump is not None and at != -2]


def require_matches(chosen: Chosen, source: Connect) -> None:
    """RecoveryError PRC-648 where a pattern matches no key of the source; names the kinds of keys it has."""
    for pattern in chosen.patterns:
        if not any(next(pages(source(db), pattern), None) for db in chosen.databases):
            kinds: dict[int, Counter[str]] = {}
            for db in sorted(databases_of(source(0))):
                kinds[db] = Counter()
                for page in pages(source(db), "*"):
                    add_kinds(kinds[db], page)
                    if sum(kinds[db].values()) >= TOLD_OF_KEYS:
                        break
            where = ", ".join(str(db) for db in chosen.databases) or "none"
            raise RecoveryError(
                "PRC-648",
                f"bring back the keys that match {pattern} (databases {where})",
                f"the source holds none that is alive; it holds {told_kinds(kinds)}",
                "the live keys were not touched",
                "name a pattern that matches (redis_key_patterns), or a source at which the keys were there "
                "(recovery_backup_set, recovery_target_time)",
            )


def plan(chosen: Chosen, live: Connect, source: Connect) -> dict[str, dict[str, int]]:
    """What would be done of each database, counted without touching a key."""
    counts = {}
    for db in chosen.databases:
        one = empty_counts()
        for pattern in chosen.patterns:
            for page in pages(source(db), pattern):
                there = sum(present(live(db), page))
                one["added"] += len(page) - there
                one["restored"] += len(page) if chosen.replace else len(page) - there
                one["left"] += 0 if chosen.replace else there
            for page in pages(live(db), pattern) if chosen.replace else ():
                one["removed"] += len(page) - sum(present(source(db), page))
        counts[str(db)] = one
    return counts


def keep(chosen: Chosen, live: Connect, source: Connect, progress: Progress) -> Iterator[Kept]:
    """All keys that will be touched, as they are: those of the live server where they are replaced, then the names of
    those that it lacks."""
    progress.start("keep the live keys aside", unit="keys")
    for db in chosen.databases:
        for pattern in chosen.patterns:
            for page in pages(live(db), pattern) if chosen.replace else ():
                for some in dumped(live(db), page):
                    yield from (Kept(db, key, at, dump) for key, at, dump in some)
                    progress.advance(len(some))
            for page in pages(source(db), pattern):
                absent = [key for key, there in zip(page, present(live(db), page)) if not there]
                yield from (Kept(db, key, 0, None) for key in absent)
                progress.advance(len(absent))


def bring(kept: Iterable[Kept], chosen: Chosen, live: Connect, source: Connect, progress: Progress) -> dict[str, Any]:
    """Give each kept key what the source has of it; counts of each database. Done twice it comes to the same.

    kept: without their values. Raises RecoveryError PRC-651 where the live server refuses one.
    """
    progress.start("bring the keys back", unit="keys")
    counts = {str(db): empty_counts() for db in chosen.databases}
    for some in by_database(kept):
        db = some[0].db
        one = counts.setdefault(str(db), empty_counts())
        was_there = {item.key: item.was_there for item in some}
        found: set[bytes] = set()
        for dumps in dumped(source(db), list(was_there)):
            pipeline = live(db).pipeline(transaction=False)
            for key, at, dump in dumps:
                found.add(key)
                pipeline.restore(key, at, dump, replace=chosen.replace, absttl=True)
            for (key, _at, _dump), refused in zip(dumps, refusals(pipeline)):
                one["left" if refused else "restored"] += 1
                one["added"] += 0 if refused or was_there[key] else 1
        # What is not in the source was never there, or its time to live has ended since.
        missing = [key for key in was_there if key not in found]
        one["expired"] += sum(not was_there[key] for key in missing)
        gone = [key for key in missing if was_there[key]]
        if gone and chosen.replace:
            one["removed"] += live(db).unlink(*gone)
        progress.advance(len(some))
    return counts


def put_back(kept: Iterable[Kept], live: Connect, progress: Progress) -> dict[str, Any]:
    """Give each kept key what it had, and remove those that were not there; counts of each database."""
    progress.start("put the keys back as they were", unit="keys")
    counts: dict[str, dict[str, int]] = {}
    for some in by_database(kept, size=ROUND_BYTES):
        one = counts.setdefault(str(some[0].db), empty_counts())
        client = live(some[0].db)
        pipeline = client.pipeline(transaction=False)
        held = [item for item in some if item.dump is not None]
        for item in held:
            pipeline.restore(item.key, item.at, item.dump, replace=True, absttl=True)
        one["restored"] += len(held) - sum(refusals(pipeline))
        absent = [item.key for item in some if item.dump is None]
        one["removed"] += client.unlink(*absent) if absent else 0
        progress.advance(len(some))
    return counts


def refusals(pipeline: Any) -> list[bool]:
    """Of each RESTORE that the pipeline holds, whether the key was there and was left. Runs them.

    Raises RecoveryError PRC-651 where one failed otherwise.
    """
    refused = []
    for answer in pipeline.execute(raise_on_error=False):
        busy = isinstance(answer, Exception) and "already exists" in str(answer)
        if isinstance(answer, Exception) and not busy:
            raise not_written(str(answer))
        refused.append(busy)
    return refused


def not_written(found: str) -> RecoveryError:
    """The live server did not take a key."""
    return RecoveryError(
        "PRC-651",
        "write the chosen keys into the live Redis",
        found,
        "some of the chosen keys are brought back, the others are as they were; all that are touched are kept aside",
        "mend the cause (memory, rights of the user, the log's disk), or have redis_keys_put_back put "
        "them back as they were",
    )


def synced(client: redis.Redis) -> bool:
    """Whether all that was written until now is in the append-only log on disk."""
    return int(client.execute_command("WAITAOF", 1, 0, SYNC_MILLISECONDS)[0]) >= 1
