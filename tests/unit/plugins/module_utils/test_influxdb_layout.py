# SPDX-License-Identifier: GPL-3.0-or-later
"""Which shard belongs where, and what of a set is restored."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._archive import ArchiveRefused
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    Shard,
    bucket_contents,
    checked_shards,
    iso,
    nanoseconds,
    organisation_id,
    recorded_shard,
    restore_plan,
    shard_record,
    shards_of,
)
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000_000
DAY = 86400 * SECOND
MARKET, TASKS = "5bbaf279110971d7", "ef42c4ad9aba3588"
# As GET /api/v2/backup/metadata of InfluxDB 2.7.12 answers, shortened.
MANIFEST: list[dict[str, Any]] = [
    {
        "organizationID": "b2bc6b1815c1db08",
        "organizationName": "forex-trading",
        "bucketID": MARKET,
        "bucketName": "market-data",
        "defaultRetentionPolicy": "autogen",
        "retentionPolicies": [
            {
                "name": "autogen",
                "replicaN": 1,
                "duration": 7776000 * SECOND,
                "shardGroupDuration": DAY,
                "shardGroups": [
                    {
                        "id": 1,
                        "startTime": "2026-11-22T00:00:00Z",
                        "endTime": "2026-11-23T00:00:00Z",
                        "shards": [{"id": 1, "shardOwners": []}],
                    },
                    {
                        "id": 2,
                        "startTime": "2026-11-21T00:00:00Z",
                        "endTime": "2026-11-22T00:00:00Z",
                        "deletedAt": "2026-11-23T06:00:00.25Z",
                        "shards": [{"id": 2, "shardOwners": []}],
                    },
                    {
                        "id": 3,
                        "startTime": "2026-11-23T00:00:00Z",
                        "endTime": "2026-11-24T00:00:00Z",
                        "shards": [{"id": 3, "shardOwners": []}],
                    },
                ],
                "subscriptions": [],
            }
        ],
    },
    {
        "organizationID": "b2bc6b1815c1db08",
        "organizationName": "forex-trading",
        "bucketID": TASKS,
        "bucketName": "_tasks",
        "defaultRetentionPolicy": "autogen",
        "retentionPolicies": [{"name": "autogen", "duration": 259200 * SECOND, "shardGroups": None}],
    },
]
NOW = nanoseconds("2026-11-23T08:00:00Z")


def content() -> dict[str, Any]:
    """A set's component with shard 1 and the planned shard 3, which has no files."""
    shards = shards_of(MANIFEST)
    records = [
        shard_record(shards[0], settled_ns=shards[0].ends_ns, points=5, values=15, newest_ns=NOW, present=True),
        shard_record(shards[1], settled_ns=NOW, points=0, values=0, newest_ns=None, present=False),
    ]
    return {"buckets": bucket_contents(MANIFEST, records), "shards": records}


def artefacts() -> list[dict[str, Any]]:
    """The files of that set, and one of another component."""
    paths = ["influxdb/influxd.bolt", "influxdb/influxd.sqlite", "influxdb/buckets.json", "influxdb/shards/1.tar"]
    made = [{"path": path, "bytes": 10, "sha256": "0" * 64, "component": "influxdb"} for path in paths]
    return [*made, {"path": "redis/a.rdb", "bytes": 1, "sha256": "1" * 64, "component": "redis"}]


@given(st.integers(-(2**60), 2**62))
def test_times_keep_every_nanosecond(time_ns: int) -> None:
    """There and back."""
    assert nanoseconds(iso(time_ns)) == time_ns


@pytest.mark.parametrize("text", ["2026-11-23T08:00:00", "2026-11-23T08:00:00+01:00", "2026-11-23 08:00:00Z", ""])
def test_a_time_without_utc_is_refused(text: str) -> None:
    """No time of ours is naive."""
    with pytest.raises(ValueError, match="not a time"):
        nanoseconds(text)


def test_live_shards_are_named_with_their_place() -> None:
    """Deleted groups are left out; buckets without shards are no error."""
    shards = shards_of(MANIFEST)
    assert [shard.id for shard in shards] == [1, 3]
    assert shards[0].folder == f"engine/data/{MARKET}/autogen/1"
    assert shards[0].place(f"{MARKET}/autogen/1/000000001-000000002.tsm") == (
        f"engine/data/{MARKET}/autogen/1/000000001-000000002.tsm"
    )


@pytest.mark.parametrize("member", [f"{MARKET}/autogen/11/a.tsm", f"{TASKS}/autogen/1/a.tsm", "a.tsm", "influxd.bolt"])
def test_a_member_of_another_shard_is_refused(member: str) -> None:
    """An archive only reaches its own shard's folder."""
    with pytest.raises(ArchiveRefused, match="does not belong"):
        shards_of(MANIFEST)[0].place(member)


def test_buckets_are_summed_from_their_shards() -> None:
    """Figures, newest time, retention, organisation."""
    market, tasks = content()["buckets"]
    assert (market["name"], market["points"], market["values"], market["shards"]) == ("market-data", 5, 15, 2)
    assert (market["newest_at"], market["retention_seconds"]) == (iso(NOW), 7776000)
    assert (tasks["name"], tasks["points"], tasks["newest_at"]) == ("_tasks", 0, None)


def test_a_record_gives_its_shard_again() -> None:
    """Nothing of the shard is lost in the manifest."""
    assert [recorded_shard(record) for record in content()["shards"]] == shards_of(MANIFEST)


@pytest.mark.parametrize(
    "change", [{"id": "../1"}, {"id": 0}, {"bucket_id": "../../../etc/cron"}, {"policy": ".."}, {"policy": "a/b"}]
)
def test_a_record_with_an_impossible_name_is_refused(change: dict[str, Any]) -> None:
    """Names from a manifest become paths."""
    with pytest.raises(RecoveryError, match="PRC-702"):
        recorded_shard({**content()["shards"][0], **change})


def test_the_plan_names_every_file_that_is_read() -> None:
    """Metadata and shards; nothing for a shard without files."""
    plan = restore_plan(content(), artefacts(), NOW)
    sources = (plan.bolt, plan.sqlite, *plan.shards[0].archives)
    assert [source.path for source in sources] == [
        "influxdb/influxd.bolt",
        "influxdb/influxd.sqlite",
        "influxdb/shards/1.tar",
    ]
    assert (plan.bytes, plan.expired) == (30, ())


def chained() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content of an increment whose shard 1 lies in two sets, and the older one."""
    made = content()
    made["shards"][0] |= {"archives": ["20261123T051700Z", "own"], "files": [["a.tsm", 7, 0]]}
    path = "/backups/20261123T051700Z"
    return made, [{"id": "20261123T051700Z", "path": path, "artefacts": artefacts()}]


def test_the_plan_of_an_increment_reads_older_sets_newest_first() -> None:
    """And knows what has to be there in the end."""
    made, older = chained()
    plan = restore_plan(made, artefacts(), NOW, older)
    assert [one.folder for one in plan.shards[0].archives] == ["", "/backups/20261123T051700Z"]
    assert (plan.shards[0].files, plan.bytes) == ({"a.tsm": 7}, 40)


def test_an_archive_that_no_set_of_the_chain_holds_is_refused() -> None:
    """A member is missing, or has not the shard."""
    made, older = chained()
    older[0]["artefacts"] = artefacts()[:3]
    with pytest.raises(RecoveryError, match="PRC-701"):
        restore_plan(made, artefacts(), NOW, older)
    with pytest.raises(RecoveryError, match="set 20261123T051700Z too, which is not given"):
        restore_plan(made, artefacts(), NOW)


def test_expired_shards_are_neither_restored_nor_expected() -> None:
    """Past the retention of the whole shard, and not a moment before."""
    end = nanoseconds("2026-11-23T00:00:00Z") + 7776000 * SECOND
    assert restore_plan(content(), artefacts(), end - 1).expired == ()
    assert restore_plan(content(), artefacts(), end).expired == (1,)
    assert [shard.id for shard, _record in checked_shards(content(), end - 1)] == [1, 3]
    assert [shard.id for shard, _record in checked_shards(content(), end)] == [3]
    assert not Shard(1, MARKET, "autogen", 0, DAY).expired(NOW)


@pytest.mark.parametrize("missing", ["influxdb/influxd.bolt", "influxdb/influxd.sqlite", "influxdb/shards/1.tar"])
def test_a_missing_file_is_an_error(missing: str) -> None:
    """Never a warning."""
    with pytest.raises(RecoveryError, match=missing):
        restore_plan(content(), [one for one in artefacts() if one["path"] != missing], NOW)


def test_a_file_without_a_shard_is_an_error() -> None:
    """An archive that no bucket claims would be lost silently."""
    stranger = {**artefacts()[3], "path": "influxdb/shards/9.tar"}
    with pytest.raises(RecoveryError, match="belongs to no shard"):
        restore_plan(content(), [*artefacts(), stranger], NOW)


def test_a_set_without_a_shard_is_an_error() -> None:
    """Restoring nothing must not end well."""
    empty = content()
    empty["shards"] = []
    with pytest.raises(RecoveryError, match="not one shard"):
        restore_plan(empty, artefacts()[:3], NOW)


def test_a_shard_that_names_another_file_is_an_error() -> None:
    """The path of an archive follows from its shard."""
    other = copy.deepcopy(content())
    other["shards"][0]["artefact"] = "influxdb/../postgresql/dump"
    with pytest.raises(RecoveryError, match="names"):
        restore_plan(other, artefacts(), NOW)


def test_an_organisation_is_found_by_name() -> None:
    """And its absence says which there are."""
    assert organisation_id(content(), "forex-trading") == "b2bc6b1815c1db08"
    with pytest.raises(RecoveryError, match="it holds forex-trading"):
        organisation_id(content(), "another")
