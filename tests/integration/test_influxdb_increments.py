# SPDX-License-Identifier: GPL-3.0-or-later
"""InfluxDB, increment after increment: writes, deletes, compaction, buckets that come and go; the chain is restored."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import Bucket, settle
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_increment import list_container
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, nanoseconds, restore_plan
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Placement, origin_of
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

from tests.integration.influxdb_stage import DAY, IMAGE, SECOND, Platform, Taken, Writer, iso_of, seed
from tests.integration.scratch import docker

pytestmark = pytest.mark.integration

HISTORY_POINTS = 200_000
TICKS_A_MINUTE = 6000
LISTED = ["market-data", "analytics"]


class Chain:
    """Sets of one server, each made after the one before, and what the server held at each."""

    def __init__(self, platform: Platform, facts: dict[str, Any], folder: Path) -> None:
        self.platform, self.facts, self.folder = platform, facts, folder
        self.taken: list[Taken] = []
        self.results: list[dict[str, Any]] = []
        self.seconds: list[float] = []

    def parent(self) -> dict[str, Any]:
        """What backup_manifest hands on of the newest set."""
        last = self.results[-1]
        return {"chain": last["chain"], "content": json.loads(json.dumps(last["content"]))}

    def take(self, folder: Path | None = None, **more: Any) -> dict[str, Any]:
        """A backup into a folder beside the chain (or the next of the chain)."""
        own = folder or self.folder / f"20261123T05{len(self.taken):02d}00Z"
        return self.platform.backup(own, **{"settle_seconds": 5, "buckets": ["market-data"], **more})

    def next(self, **more: Any) -> dict[str, Any]:
        """The next set of the chain."""
        began = time.monotonic()
        result = self.take(**more, **({"parent": self.parent()} if self.results else {}))
        self.seconds.append(time.monotonic() - began)
        name = f"20261123T05{len(self.taken):02d}00Z"
        self.taken.append(Taken(self.folder / name, result, self.facts))
        self.results.append(result)
        return result

    def older(self, number: int) -> list[dict[str, Any]]:
        """The sets that one of the chain builds on, as backup_manifest_info names them."""
        named = self.results[number]["chain"][:-1]
        return [
            {"id": one.folder.name, "path": str(one.folder), "artefacts": one.artefacts}
            for one in self.taken
            if one.folder.name in named
        ]

    def write(self, count: int, symbol: str, begin_ns: int, step_ns: int, bucket: str = "market-data") -> None:
        """Points with values that do not compress."""
        api, chance = self.platform.api, random.Random(symbol)
        for first in range(0, count, 10_000):
            lines = (
                f"ticks,symbol={symbol} bid={chance.random()},ask={chance.random()} {begin_ns + number * step_ns}"
                for number in range(first, min(count, first + 10_000))
            )
            api.write(self.facts["organisation"], self.facts["buckets"][bucket], "\n".join(lines))

    def flush(self, since_ns: int) -> None:
        """Have the server write out what it holds in memory, as a backup does; while it compacts, it is asked again."""
        bucket = Bucket(self.platform.api, self.facts["organisation"], self.facts["buckets"]["market-data"])
        settle(bucket, since_ns, time.time_ns())

    def names(self) -> set[str]:
        """Names of all TSM files and tombstones, with their shard's prefix."""
        files = list_container(self.platform.id).files
        return {f"{prefix}/{name}" for prefix, own in files.items() for name in own}

    def await_rest(self) -> None:
        """Until the server has compacted what it had to: no file has come or gone for three seconds."""
        deadline, seen, since = time.monotonic() + 60, self.names(), time.monotonic()
        while time.monotonic() - since < 3:
            assert time.monotonic() < deadline, "the server compacts without end"
            time.sleep(0.2)
            if (now := self.names()) != seen:
                seen, since = now, time.monotonic()


def compacted(chain: Chain, begin_ns: int) -> None:
    """Write and flush until the server has rewritten files of the chain into one, and they are gone."""
    before, number = chain.names(), 0
    deadline = time.monotonic() + 60
    while not before - chain.names():
        assert time.monotonic() < deadline, "the server compacted nothing"
        chain.write(50, "NZDUSD", begin_ns + number * SECOND // 10, SECOND // 500)
        chain.flush(begin_ns)
        number += 1
        time.sleep(0.1)
    assert [one for one in chain.names() - before if "-000000001." not in one]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Full; a minute of ticks; deletes; a compaction; a new bucket, one deleted and made again; nothing."""
    platform = Platform(tmp_path_factory.mktemp("source") / "platform", secrets.token_hex(24))
    try:
        platform.start()
        made = Chain(platform, seed(platform), tmp_path_factory.mktemp("sets"))
        now = time.time_ns()
        # In yesterday's shard at any time of day: in today's, a compaction would join it with what is new.
        yesterday = (now // DAY - 1) * DAY
        made.write(HISTORY_POINTS, "EURGBP", yesterday, DAY // HISTORY_POINTS // 2)
        made.next(buckets=LISTED)
        made.write(TICKS_A_MINUTE, "USDCHF", now - 60 * SECOND, 60 * SECOND // TICKS_A_MINUTE)
        made.next(buckets=LISTED)
        organisation, buckets = made.facts["organisation"], made.facts["buckets"]
        whole = iso_of(now - 2 * DAY), iso_of(now + DAY)
        platform.api.delete(organisation, buckets["market-data"], *whole, 'symbol="USDCHF"')
        platform.api.delete(
            organisation, buckets["market-data"], whole[0], iso_of(yesterday + DAY // 4), 'symbol="EURGBP"'
        )
        made.next(buckets=LISTED)
        compacted(made, now - 40 * SECOND)
        made.next(buckets=LISTED)
        rules = [{"type": "expire", "everySeconds": 90 * 86400, "shardGroupDurationSeconds": 86400}]
        platform.api.json(f"/api/v2/buckets/{buckets['analytics']}", "DELETE")
        for name in ("analytics", "orders"):
            given = {"orgID": organisation, "name": name, "retentionRules": rules}
            buckets[name] = platform.api.json("/api/v2/buckets", "POST", given)["id"]
            made.write(100, "AUDUSD", now - 30 * SECOND, SECOND // 10, name)
        made.next(buckets=["analytics", "orders"])
        made.await_rest()
        made.next()
        yield made
    finally:
        platform.clean()


@pytest.fixture
def target(tmp_path: Path, chain: Chain) -> Iterator[Platform]:
    """Another environment, of which nothing exists yet; its operator token is the same."""
    platform = Platform(tmp_path / "target", chain.platform.token)
    try:
        yield platform
    finally:
        platform.clean()


def test_a_minute_of_ticks_moves_a_small_fraction(chain: Chain) -> None:
    full, minute = chain.results[0], chain.results[1]
    shards = sum(one["bytes"] for one in minute["artefacts"] if one["kind"] == "shard")
    print(f"\nfull {full['bytes']} bytes; a minute of {TICKS_A_MINUTE} ticks {minute['bytes']}, shards {shards}")
    print(f"module runs: {[round(one, 2) for one in chain.seconds]} s, {minute['parts']}, {minute['shards']}")
    assert full["bytes"] > 2 << 20 and minute["bytes"] < full["bytes"] / 4
    assert minute["shards"]["full"] == 0 and minute["shards"]["unchanged"] >= 3
    assert minute["chain"] == [one.folder.name for one in chain.taken[:2]]


def test_each_increment_holds_what_it_must(chain: Chain) -> None:
    deletes, compaction, buckets, nothing = chain.results[2:]
    kinds = {name.rsplit(".", 1)[1] for one in deletes["content"]["shards"] for name, _size, _at in one["files"]}
    assert kinds == {"tsm", "tombstone"}
    assert compaction["shards"]["increment"] >= 1 and buckets["shards"]["full"] >= 2
    assert nothing["shards"]["full"] == nothing["shards"]["increment"] == 0
    assert [one["path"] for one in nothing["artefacts"] if one["kind"] == "shard"] == []
    dropped = {str(one["id"]) for one in chain.results[3]["content"]["shards"]}
    assert dropped - {str(one["id"]) for one in buckets["content"]["shards"]}, "the deleted bucket's shards are gone"


def test_the_whole_chain_is_restored_exactly(chain: Chain, target: Platform) -> None:
    last = chain.taken[-1]
    result = target.restore(last, older=chain.older(-1))
    assert "failed" not in result, result
    verified = target.verify(last, buckets=["market-data", "analytics", "orders"], probe_bucket="orders")
    assert "failed" not in verified, verified
    assert target.count('|> filter(fn: (r) => r.symbol == "USDCHF")') == 0
    for symbol in ("EURGBP", "NZDUSD", "USDJPY", "GBPUSD"):
        flux = f'|> filter(fn: (r) => r.symbol == "{symbol}")'
        assert target.count(flux) == chain.platform.count(flux), symbol
    assert (target.count("", "orders"), target.count("", "analytics")) == (200, 200)
    again = chain.platform.backup(chain.folder / "again", settle_seconds=5, buckets=["market-data"])
    assert again["whole_because"] == "" and again["chain"] == ["again"]


def test_what_is_unpacked_is_the_newest_list_and_nothing_else(chain: Chain, target: Platform) -> None:
    """Looked at before the server starts, which may compact it."""
    last, older = chain.taken[-1], chain.older(-1)
    target.compose("up", "--no-start")
    plan = restore_plan(last.content, last.artefacts, time.time_ns(), older)
    with VolumeWorker("influxdb", target.volume, IMAGE, target.id, Fence("recovery-1", 2)) as worker:
        Placement(worker, plan, str(last.folder), origin_of(last.artefacts, older), Progress(None)).restore()
    found = target.in_volume("cd restore-recovery-1/engine/data; find * -type f -printf '%s %p\\n'").splitlines()
    expected = {
        f"{size} {shard['bucket_id']}/{shard['policy']}/{shard['id']}/{name}"
        for shard in last.content["shards"]
        for name, size, _at in shard["files"]
    }
    assert set(found) == expected
    held = {one["path"] for taken in chain.taken for one in taken.artefacts if one["kind"] == "shard"}
    assert len(held) > 4 and any(len(shard["archives"]) > 2 for shard in last.content["shards"])


def test_an_earlier_point_of_the_chain_is_restored_too(chain: Chain, target: Platform) -> None:
    """The set before the deletes."""
    result = target.restore(chain.taken[1], older=chain.older(1))
    assert "failed" not in result, result
    assert target.count('|> filter(fn: (r) => r.symbol == "USDCHF")') == 2 * TICKS_A_MINUTE
    verified = target.verify(chain.taken[1])
    assert "failed" not in verified, verified


def test_a_member_that_is_missing_is_refused_before_anything_is_touched(chain: Chain, target: Platform) -> None:
    result = target.restore(chain.taken[-1], older=chain.older(-1)[1:])
    assert (result.get("failed"), result["error"]["code"]) == (True, "PRC-701")
    assert docker("volume", "ls", "--quiet", "--filter", f"name={target.volume}") == ""


@pytest.mark.parametrize(("damage", "code"), [("size", "PRC-751"), ("name", "PRC-751"), ("bytes", "PRC-707")])
def test_what_the_chain_does_not_hold_is_never_exchanged(
    chain: Chain, target: Platform, tmp_path: Path, damage: str, code: str
) -> None:
    """A listed file has another size, or is in no archive; a member's bytes are others."""
    damaged = chain.taken[-1].copy(tmp_path / chain.taken[-1].folder.name)
    older = json.loads(json.dumps(chain.older(-1)))
    if damage == "bytes":
        copy = chain.taken[0].copy(tmp_path / "first")
        path = copy.folder / copy.largest()["path"]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        older[0]["path"] = str(copy.folder)
    else:
        record = max(damaged.content["shards"], key=lambda one: int(one["values"]))
        record["files"][0][1 if damage == "size" else 0] = 7 if damage == "size" else "000000099-000000001.tsm"
    result = target.restore(damaged, older=older)
    assert (result.get("failed"), result["error"]["code"]) == (True, code)
    assert not {"data", "swap-recovery-1", "quarantine"} & set(target.in_volume("ls").split())


def test_a_clock_that_was_ahead_takes_whole_what_the_archive_would_lack(chain: Chain, tmp_path: Path) -> None:
    """The parent's server time lies an hour in the future: `since` gives nothing, which is seen."""
    now = time.time_ns()
    chain.write(10, "USDCAD", now, 1)
    parent = chain.parent()
    parent["content"]["server_at"] = iso(now + 3600 * SECOND)
    result = chain.take(tmp_path / "set", parent=parent)
    assert "failed" not in result, result
    # Another shard, which the server has just compacted, is changed too and then as whole.
    whole = [one for one in result["content"]["shards"] if one.get("archives") == ["set"]]
    assert (result["shards"]["increment"], result["shards"]["full"]) == (0, len(whole))
    assert any(nanoseconds(one["starts_at"]) <= now < nanoseconds(one["ends_at"]) for one in whole), whole


def test_a_shard_written_to_meanwhile_still_makes_an_increment(chain: Chain, tmp_path: Path) -> None:
    with Writer(chain.platform, chain.facts):
        time.sleep(1)
        result = chain.take(tmp_path / "set", parent=chain.parent())
    assert "failed" not in result, result
    assert result["shards"]["increment"] >= 1 and result["chain"][:-1] == chain.results[-1]["chain"]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"chain_max_increments": 3}, "of at most 3"),
        ({"chain_max_age_seconds": 1}, "at most 1 are allowed"),
        ({"container": "no-such-container"}, "cannot be listed"),
        ({"instance": "7"}, "another instance"),
        ({"version": "2.6.0"}, "written by version 2.6.0"),
    ],
)
def test_past_a_bound_or_elsewhere_all_is_taken_whole(
    chain: Chain, tmp_path: Path, inputs: dict[str, Any], says: str
) -> None:
    parent = chain.parent()
    parent["content"].update({key: value for key, value in inputs.items() if key in ("instance", "version")})
    given = {key: value for key, value in inputs.items() if key not in ("instance", "version")}
    if "container" in given:
        given["container"] = None
    result = chain.take(tmp_path / "set", parent=parent, **given)
    assert "failed" not in result, result
    assert says in result["whole_because"]
    assert (result["chain"], result["shards"]["increment"], result["shards"]["unchanged"]) == (["set"], 0, 0)
