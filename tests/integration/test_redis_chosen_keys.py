# SPDX-License-Identifier: GPL-3.0-or-later
"""Chosen keys of Redis, really: out of a backup set or a point in time into a server that serves, and back again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.redis_stage import PERSISTENT, SESSIONS, Platform, seed
from tests.integration.scratch import docker, start_module, until

# A session's id is a secret, as its values are.
SECRET_ID, SECRET_VALUE = secrets.token_hex(12), secrets.token_hex(12)
KEPT = "/var/lib/platform3/quarantine"
FIELD_SECONDS = 5000
# Longer than a backup takes.
SHORT_SECONDS = 20


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A serving, seeded Redis; gone afterwards, whatever happened."""
    made = Platform(tmp_path)
    try:
        made.start()
        seed(made)
        yield made
    finally:
        made.clean()
        for volume in scratch_volumes(made):
            docker("volume", "rm", volume, check=False)


def scratch_volumes(platform: Platform) -> list[str]:
    """What a run of keys would have left."""
    return docker("volume", "ls", "--quiet", "--filter", f"name={platform.id}_redis-keys").split()


def keys_input(platform: Platform, backup: dict[str, Any], epoch: int, **changes: Any) -> dict[str, Any]:
    """The inputs of redis_keys_restore."""
    given = platform.restore_input(backup, epoch)
    for name in ("service", "cache_patterns"):
        del given[name]
    return {**given, "patterns": ["session:*"], **changes}


def bring(platform: Platform, backup: dict[str, Any], epoch: int = 2, **changes: Any) -> dict[str, Any]:
    """The result of redis_keys_restore, in which no secret stands."""
    result = platform.run("redis_keys_restore", keys_input(platform, backup, epoch, **changes))
    assert SECRET_ID not in str(result) and SECRET_VALUE not in str(result), "a session stands in the result"
    return result


def put_back(platform: Platform, epoch: int = 9, recovery_id: str = "r1") -> dict[str, Any]:
    """The result of redis_keys_put_back."""
    given = platform.restore_input({"artefacts": [{"path": "", "bytes": 0, "sha256": ""}], "content": {}}, epoch)
    wanted = ("fence", "compose", "volume", "image", "environment_id", "port", "user", "password")
    given["fence"]["recovery_id"] = recovery_id
    return platform.run("redis_keys_put_back", {name: given[name] for name in wanted})


def contents(platform: Platform, db: int = 0, pattern: str = "*") -> dict[bytes, tuple[int, bytes]]:
    """Of each key its expiry and its dump."""
    with redis.Redis(port=platform.port, username="forex_admin", password=platform.password, db=db) as client:
        found = {}
        for key in client.scan_iter(match=pattern, count=1000):
            found[key] = (client.execute_command("PEXPIRETIME", key), client.dump(key))
        return found


def test_only_sessions_come_back_and_what_else_changed_stays_as_it_is(platform: Platform) -> None:
    client = platform.client()
    client.hset(f"session:{SECRET_ID}", mapping={"token": SECRET_VALUE})
    client.set("session:short", "1", ex=SHORT_SECONDS)
    backup = platform.backup()
    before = contents(platform, pattern="session:*")
    # The backup holds it: it was alive after it.
    del before[b"session:short"]
    # The mistake: half of the sessions are gone, one is changed, one is new; other keys went on.
    client.delete(*[f"session:{n}" for n in range(0, SESSIONS, 2)])
    client.hset("session:1", "username", "somebody else")
    client.persist("session:3")
    client.set("session:new", "1", ex=900)
    client.set("setting:1", "changed since")
    client.delete("setting:2")
    platform.client(1).set("price:0:newer", "1")
    others = {db: contents(platform, db) for db in (0, 1)}
    live = contents(platform, pattern="session:*")
    live.pop(b"session:short", None)
    until(lambda: not client.exists("session:short"), SHORT_SECONDS + 10, "end of the short session")

    shown = bring(platform, backup, _ansible_check_mode=True)
    assert not shown.get("failed"), shown
    counts = {"restored": SESSIONS + 1, "added": SESSIONS // 2, "removed": 1, "left": 0, "expired": 0}
    assert shown["changed"] and shown["databases"]["0"] == counts and contents(platform, pattern="session:*") == live
    result = bring(platform, backup)
    assert not result.get("failed"), result
    assert result["changed"] and result["databases"]["0"] == counts, result["databases"]
    assert result["databases"]["1"]["restored"] == 0 and result["source"] == "snapshot"
    assert result["recovery_point"] == backup["content"]["recovery_point"]
    after = contents(platform, pattern="session:*")
    assert {key: at for key, (at, _dump) in after.items()} == {key: at for key, (at, _dump) in before.items()}
    assert platform.client().hgetall("session:1") == {"user_id": "1", "username": "trader1"}
    for db in (0, 1):
        changed = contents(platform, db)
        assert {key: value for key, value in changed.items() if not key.startswith(b"session:")} == {
            key: value for key, value in others[db].items() if not key.startswith(b"session:")
        }
    assert scratch_volumes(platform) == []
    assert docker("ps", "--all", "--quiet", "--filter", f"name=platform3-one-shot-{platform.id}") == ""

    # The same recovery again is done; another choice under its id is refused.
    client.set("session:after", "1")
    again = bring(platform, backup, epoch=3)
    assert not again["changed"] and again["databases"] == result["databases"] and client.exists("session:after")
    other = bring(platform, backup, epoch=4, mode="merge")
    assert other["failed"] and other["error"]["code"] == "PRC-649", other
    # Back as it was, but for what came after it and is no matter of this recovery.
    undone = put_back(platform, epoch=5)
    assert not undone.get("failed"), undone
    client.delete("session:after")
    assert contents(platform, pattern="session:*").keys() == live.keys()
    assert client.hget("session:1", "username") == "somebody else" and client.ttl("session:3") == -1
    assert not put_back(platform, epoch=6)["changed"]
    refused = bring(platform, backup, epoch=7)
    assert refused["failed"] and refused["error"]["code"] == "PRC-649", refused
    assert put_back(platform, epoch=8, recovery_id="r2")["error"]["code"] == "PRC-655"
    # All of it outlives a crash.
    held = contents(platform, pattern="session:*")
    docker("kill", platform.id)
    docker("start", platform.id)
    assert platform.client().ping() and contents(platform, pattern="session:*").keys() == held.keys()


def test_all_types_and_big_values_come_back_whole_by_merge_which_touches_none_that_is_there(
    platform: Platform,
) -> None:
    client = platform.client()
    big = secrets.token_hex(5_000_000)
    pipeline = client.pipeline(transaction=False)
    pipeline.set("all:string", "1")
    pipeline.set("all:big", big, ex=7000)
    pipeline.hset("all:hash", mapping={"a": "1", "b": "2"})
    pipeline.execute_command("HEXPIRE", "all:hash", FIELD_SECONDS, "FIELDS", 1, "a")
    pipeline.rpush("all:list", *range(5000))
    pipeline.sadd("all:set", *range(50_000))
    pipeline.zadd("all:zset", {str(n): n / 3 for n in range(5000)})
    pipeline.xadd("all:stream", {"a": "1"}, id="5-1")
    pipeline.xgroup_create("all:stream", "readers", id="0")
    pipeline.execute()
    platform.client(1).set("all:elsewhere", "1", ex=600)
    expected = contents(platform, pattern="all:*")
    backup = platform.backup()
    client.delete(*expected)
    platform.client(1).delete("all:elsewhere")
    client.set("all:string", "somebody's")
    result = bring(platform, backup, patterns=["all:*"], mode="merge")
    assert not result.get("failed"), result
    assert result["databases"]["0"] == {"restored": 6, "added": 6, "removed": 0, "left": 0, "expired": 0}, result
    assert result["databases"]["1"]["added"] == 1
    found = contents(platform, pattern="all:*")
    assert client.get("all:string") == "somebody's"
    assert {key: at for key, (at, _dump) in found.items()} == {key: at for key, (at, _dump) in expected.items()}
    assert client.get("all:big") == big and client.lrange("all:list", 0, -1) == [str(n) for n in range(5000)]
    assert client.hgetall("all:hash") == {"a": "1", "b": "2"} and client.scard("all:set") == 50_000
    ttl, none = client.execute_command("HTTL", "all:hash", "FIELDS", 2, "a", "b")
    assert FIELD_SECONDS - 200 < ttl <= FIELD_SECONDS and none == -1
    assert client.zrange("all:zset", 0, -1, withscores=True)[4] == ("4", 4 / 3)
    assert client.xrange("all:stream") == [("5-1", {"a": "1"})]
    assert client.xinfo_groups("all:stream")[0]["name"] == "readers"
    assert client.dbsize() == SESSIONS + PERSISTENT + 7
    # Undone, what was added is gone and what was there is still there.
    undone = put_back(platform)
    assert undone["databases"]["0"] == {"restored": 0, "added": 0, "removed": 6, "left": 0, "expired": 0}, undone
    assert list(contents(platform, pattern="all:*")) == [b"all:string"]


def test_what_cannot_be_is_refused_and_no_key_is_touched(platform: Platform) -> None:
    client = platform.client()
    client.set(SECRET_ID, SECRET_VALUE)
    backup = platform.backup()
    client.delete("session:1")
    held = contents(platform)
    for changes, code, named in [
        ({"patterns": ["sesion:*"]}, "PRC-648", f"database 0: setting:* ({PERSISTENT}), session:* ({SESSIONS})"),
        ({"patterns": ["session:*", "nothing:*"]}, "PRC-648", "nothing:*"),
        ({"databases": [1]}, "PRC-648", "price:*"),
        ({"patterns": []}, "PRC-646", "neither"),
        ({"databases": [16]}, "PRC-646", "from 0 to 15"),
        ({"target_time": "2026-11-23T14:30:00"}, "PRC-624", "offset"),
        ({"volume": "other"}, "PRC-647", "volume other"),
        ({"password": "wrong"}, "PRC-647", ""),
    ]:
        refused = bring(platform, backup, **changes)
        assert refused["failed"] and refused["error"]["code"] == code and named in refused["msg"], refused
    # A user without the rights: the name of no key is told.
    client.acl_setuser("reader", enabled=True, passwords=[f"+{platform.password}"], keys=["*"], commands=["+@read"])
    refused = bring(platform, backup, user="reader")
    assert refused["failed"] and refused["error"]["code"] == "PRC-647" and "session:0" not in str(refused), refused
    assert contents(platform) == held and scratch_volumes(platform) == []
    assert platform.in_volume(f"ls -A {KEPT}/r1 2>/dev/null || true") == ""
    docker("kill", platform.id)
    refused = bring(platform, backup)
    assert refused["failed"] and refused["error"]["code"] == "PRC-647", refused


def test_a_killed_run_is_gone_on_with_and_comes_to_the_same(platform: Platform) -> None:
    client = platform.client()
    backup = platform.backup()
    before = contents(platform)
    client.delete(*[f"session:{n}" for n in range(0, SESSIONS, 2)])
    client.set("setting:7", "changed since")
    client.set("setting:more", "1")
    live = contents(platform)
    # Writes wait while the server is paused, so that it is killed with keys kept and none brought back.
    client.execute_command("CLIENT", "PAUSE", 120_000, "WRITE")
    module = start_module(platform.folder, "redis_keys_restore", keys_input(platform, backup, 2, patterns=["*"]))
    kept = f"{KEPT}/r1/keys.json"
    until(lambda: docker("exec", platform.id, "cat", kept, check=False), 60, "keys that are kept aside")
    module.kill()
    module.wait()
    assert scratch_volumes(platform) != []
    client.execute_command("CLIENT", "UNPAUSE")
    result = bring(platform, backup, epoch=3, patterns=["*"])
    assert not result.get("failed"), result
    after = contents(platform)
    assert {key: at for key, (at, _dump) in after.items()} == {key: at for key, (at, _dump) in before.items()}
    assert client.get("setting:7") == "v" * 40 and not client.exists("setting:more")
    assert scratch_volumes(platform) == []
    assert not put_back(platform, epoch=4).get("failed")
    undone = contents(platform)
    assert {key: at for key, (at, _dump) in undone.items()} == {key: at for key, (at, _dump) in live.items()}
    assert client.get("setting:7") == "changed since"


def test_kept_keys_that_are_damaged_are_not_put_back_as_if_they_were_whole(platform: Platform) -> None:
    backup = platform.backup()
    platform.client().hset("session:1", "username", "changed")
    assert not bring(platform, backup).get("failed")
    file = f"{KEPT}/r1/keys.kept"
    size = int(docker("exec", platform.id, "stat", "-c", "%s", file))
    docker("exec", platform.id, "truncate", "-s", str(size // 2), file)
    refused = put_back(platform)
    assert refused["failed"] and refused["error"]["code"] == "PRC-652", refused
    docker("exec", platform.id, "rm", file)
    refused = put_back(platform, epoch=10)
    assert refused["failed"] and refused["error"]["code"] == "PRC-652", refused


def test_sessions_come_back_from_the_second_before_they_were_deleted(platform: Platform) -> None:
    client = platform.client()
    backup = platform.backup()
    platform.ship()
    client.hset("session:logged:in:later", "user_id", "7")
    client.expire("session:logged:in:later", 3600)
    time.sleep(1.05 - time.time() % 1)
    target = time.time()
    time.sleep(1.05 - time.time() % 1)
    client.delete(*[f"session:{n}" for n in range(SESSIONS)], "session:logged:in:later")
    client.set("setting:new", "1")
    time.sleep(1.05 - time.time() % 1)
    client.set("setting:newer", "1")
    platform.await_shipped()
    given = {"log_path": str(platform.store / "aof"), "mode": "merge"}
    # The newest of the log holds none any more.
    refused = bring(platform, backup, **given)
    assert refused["failed"] and refused["error"]["code"] == "PRC-648", refused
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(target)) + f".{int(target % 1 * 1000):03d}+00:00"
    result = bring(platform, backup, epoch=3, target_time=stamp, **given)
    assert not result.get("failed"), result
    assert result["source"] == "log" and 0 <= result["reached"]["skew_seconds"] < 1, result
    assert result["databases"]["0"]["added"] == SESSIONS + 1
    assert 3500 < client.ttl("session:logged:in:later") <= 3600 and client.exists("setting:newer")
    # The log that is shipped goes on with it, under the epoch that the recovery raised.
    (platform.store / "fence/epoch").write_text("3")
    platform.await_shipped()
    assert client.dbsize() == SESSIONS + PERSISTENT + 3
