# SPDX-License-Identifier: GPL-3.0-or-later
"""The second copy, really: shipped to S3 all the time, fetched back, and what an attacker or a fault can do to it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._age import unseal
from ansible_collections.platform3.recovery.plugins.module_utils._second_copy import fingerprints

from tests.integration.process_watch import watched_processes
from tests.integration.scratch import until
from tests.integration.second_copy_stage import KEYS, SEGMENTS, Stage, docker
from tests.integration.secrets_stage import pair
from tests.unit.plugins.modules.set_stage import ENVIRONMENT, FIRST, SECOND, run


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A store with one set, and an S3 store; gone afterwards, whatever happened."""
    made = Stage(tmp_path)
    try:
        made.serve()
        made.make(FIRST)
        yield made
    finally:
        made.clean()


def instant() -> str:
    """Now, so that what is written before and after differs in its second."""
    time.sleep(1.1)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    return at


def test_what_was_shipped_comes_back_byte_for_byte(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    stage.add(stage.log, b"*1\r\n$4\r\nPING\r\n" * 100_000)
    partial = stage.store / stage.partial
    content = partial.read_bytes()
    partial.write_bytes(content[:2_500_000] + b"more" * 300_000 + content[3_700_000:])
    stage.make(SECOND)
    stage.await_shipped()
    result = stage.fetch()
    assert not result.get("failed"), result
    assert result["fetched"]["backup_set"] == SECOND and result["fetched"]["reaches"]
    # WAL from before the base backup, the older set with its base, and the older generation of the log stay there.
    left = stage.differences()
    assert set(left.values()) == {"here"}
    assert {path.split("/")[0] for path in left} == {FIRST, "pgbackrest", "wal-stream", "aof"}
    assert not [path for path in left if SECOND in path or any(name in path for name in (*SEGMENTS[1:], ".history"))]
    assert [path for path in left if path.startswith("aof")] == [
        "aof/initial/1.manifest",
        "aof/initial/appendonly.aof.1.base.rdb",
        "aof/initial/appendonly.aof.1.incr.aof",
    ]
    assert stage.record["lock"] == "COMPLIANCE 1 days"
    assert stage.record["stream"]["segments"] == [f"wal-stream/initial/{name}" for name in SEGMENTS[:3]]


def test_a_fetch_that_was_cut_in_the_middle_of_a_file_goes_on(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    beside = stage.folder / "other/.second_copy"
    first, segment = (f"wal-stream/initial/{name}" for name in SEGMENTS[1:3])
    cut = {
        "at": b"",
        # Its signature was not there yet.
        f"manifests/{FIRST}/backup_manifest.json": (stage.store / FIRST / "backup_manifest.json").read_bytes(),
        f"data/{first}": (stage.store / first).read_bytes(),
        # zstd removes what it unpacks when it is done.
        f"data/{segment}": (stage.store / segment).read_bytes()[:1_000_000],
        f"data/{segment}.zst": b"packed",
        # Another set was wanted then.
        f"data/{SECOND}/backup_manifest.json": b"{}",
    }
    for path, content in cut.items():
        (beside / path).parent.mkdir(parents=True, exist_ok=True)
        (beside / path).write_bytes(content)
    result = stage.fetch()
    assert not result.get("failed"), result["error"]
    assert set(stage.differences().values()) == {"here"}


def test_no_process_shows_a_key_while_it_is_shipped_and_fetched(stage: Stage) -> None:
    canaries = {name: value.encode() for name, value in KEYS.items()}
    shown = {f"{name} in {where}" for name in ("access_key", "secret_key") for where in ("cmdline", "environ")}
    with watched_processes(canaries) as seen, stage.careless_container():  # as nothing of the product may be called
        until(lambda: seen == shown, 60, "the keys are seen")
    with watched_processes(canaries) as seen:
        stage.ship()
        stage.await_shipped()
        assert not stage.fetch().get("failed")
    assert stage.record["lock"] == "COMPLIANCE 1 days"
    assert seen == set()


def test_a_recovery_whose_store_is_lost_fetches_by_itself_and_says_so(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    looked = stage.assess("recovered", "--check")
    assert looked.returncode == 2 and f"would fetch {FIRST}" in looked.stdout, looked.stdout
    assert "PRC-204" in looked.stdout and not (stage.folder / "recovered").exists()
    done = stage.assess()
    assert done.returncode == 0, done.stdout
    journal = next((stage.folder / "recovered-state").glob("*-full/journal.jsonl")).read_text()
    assert '"second_copy":{' in journal.replace(" ", "") and stage.url in journal


def test_a_store_whose_only_set_is_damaged_recovers_from_the_copy_and_the_set_counts_again(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    store = stage.condemn(FIRST)
    base = store / f"pgbackrest/backup/platform3/{FIRST[:8]}-{FIRST[9:15]}F/pg_data/0"
    artefact = store / FIRST / f"redis/data_{FIRST}"
    sound = {path: path.read_bytes() for path in (base, artefact)}
    for path in sound:
        path.chmod(0o644)
        path.write_bytes(b"?" + sound[path][1:])
    assert stage.fetch()["error"]["code"] == "PRC-392"  # without the key by which it is said that it is sound
    done = stage.assess("other", backup_set_signing_key=stage.sets.key)
    assert done.returncode == 0, done.stdout
    assert {path: path.read_bytes() for path in sound} == sound
    for path in sound:
        assert (store / ".damaged" / path.relative_to(store)).read_bytes()[:1] == b"?"
    assert not (store / FIRST / "backup_manifest.json").stat().st_mode & 0o222
    journal = next((stage.folder / "other-state").glob("*-full/journal.jsonl")).read_text()
    assert f'"mended":["{FIRST}"]' in journal.replace(" ", "")
    again = stage.sets.look(store_path=str(store), state_path=str(stage.folder / "other-state"))
    assert again["set"]["id"] == FIRST


def test_for_a_target_comes_what_each_datastore_reaches_it_with(stage: Stage) -> None:
    target = instant()
    beyond, further = "20991121T051700Z", "20991122T051700Z"
    for one in (SECOND, beyond, further):
        stage.make(one)
    stage.name("before-release-8", target)
    stage.ship()
    stage.await_shipped()
    result = stage.fetch(not_after=target)
    assert not result.get("failed"), result["error"]
    assert result["fetched"]["backup_set"] == FIRST
    # PostgreSQL goes on from the first, InfluxDB takes the first beyond the target, Redis may need any generation.
    left = stage.differences()
    tops = {path.split("/")[0] for path in left}
    assert further in tops and not tops & {FIRST, SECOND, beyond, "aof", "restore_points"}
    bases = [f"{one[:8]}-{one[9:15]}F/" for one in (FIRST, SECOND, beyond)]
    assert not [path for path in left if any(base in path for base in bases)]
    # So it does where the target is a name: its record comes first, and says which set is needed.
    named = {"scenario": "point_in_time", "recovery_point_name": "before-release-8"}
    looked = stage.assess("recovered", "--check", **named)
    assert looked.returncode == 2 and "would fetch the restore points" in looked.stdout, looked.stdout
    assert not (stage.folder / "recovered").exists()
    done = stage.assess("recovered", **named)
    assert done.returncode == 0, done.stdout
    journal = next((stage.folder / "recovered-state").glob("*-point_in_time/journal.jsonl")).read_text()
    begun = json.loads(journal.splitlines()[0])
    assert (begun["target_time"], begun["point_name"]) == (target, "before-release-8")
    assert begun["backup_set"] == begun["second_copy"]["backup_set"] == FIRST
    # And for a look beside a platform that runs on without its store.
    given = ("-e", "recovery_into=sandbox", "-e", "recovery_point_name=before-release-8")
    compose = {"project": stage.id, "directory": "/nowhere", "files": ["compose.yaml"]}
    looked = stage.assess("looked", *given, role="sandbox", recovery_compose=compose)
    assert looked.returncode == 0, looked.stdout
    journal = (stage.folder / "looked-state/sandbox/sandbox/journal.jsonl").read_text()
    begun = json.loads(journal.splitlines()[0])
    assert (begun["scenario"], begun["target_time"]) == ("sandbox", target)
    assert begun["backup_set"] == begun["second_copy"]["backup_set"] == FIRST
    refused = stage.fetch("third", not_after="2026-01-01T00:00:00Z")
    assert refused["error"]["code"] == "PRC-392" and "after 2026-01-01T00:00:00" in refused["error"]["found"]


def test_a_set_that_is_no_better_in_the_copy_or_was_condemned_by_a_person_is_refused(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    store = stage.condemn(FIRST)
    refused = stage.fetch(signing_key=stage.sets.key)
    assert refused["error"]["code"] == "PRC-391" and "what was condemned here" in refused["error"]["found"]
    assert not (store / ".damaged").exists()
    stage.condemn(FIRST, by="an operator", name="third")
    refused = stage.fetch("third", signing_key=stage.sets.key)
    assert refused["error"]["code"] == "PRC-392" and "an operator" in refused["error"]["found"]


def test_what_an_attacker_deletes_and_overwrites_comes_back_as_of_before(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    docker("rm", "--force", f"{stage.id}-copy")
    before = instant()
    # Whoever has the key overwrites, deletes, and tries to delete for good.
    base = "s3:copy/store/aof/initial/appendonly.aof.2.base.rdb.bin"
    wrong = stage.rclone("copyto", base, "s3:copy/store/growing.zst.bin")
    assert wrong.returncode == 0, wrong.stderr
    assert stage.fetch()["error"]["code"] == "PRC-391"
    gone = stage.rclone("backend", "cleanup-hidden", "s3:copy")
    assert gone.returncode != 0 and "object lock" in gone.stderr
    assert stage.rclone("delete", "s3:copy/store", "--include", f"/{FIRST}/**").returncode == 0
    refused = stage.fetch("third", backup_set=FIRST)
    assert refused["error"]["code"] == "PRC-392" and "second_copy_at" in refused["msg"]
    result = stage.fetch(at=before)
    assert not result.get("failed"), result["error"]["found"]
    assert before in result["fetched"]["place"]
    assert set(stage.differences().values()) <= {"here"}


def test_a_copy_that_lacks_something_is_refused_and_named(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    docker("rm", "--force", f"{stage.id}-copy")
    before = instant()
    assert stage.rclone("deletefile", f"s3:copy/store/{FIRST}/redis/data_{FIRST}.bin").returncode == 0
    result = stage.fetch()
    assert result["error"]["code"] == "PRC-391" and f"{FIRST}/redis/data_{FIRST}" in result["error"]["found"]
    assert "second_copy_at" in result["error"]["next_step"]
    assert not (stage.folder / "other" / FIRST).exists()
    result = stage.fetch(at=before)
    assert not result.get("failed"), result["error"]["found"]


def test_the_keys_lie_beside_the_copy_and_each_identity_opens_them_alone(stage: Stage) -> None:
    pairs = [pair(), pair()]
    keys = {"signing_key": "a key\n", "second_copy_salt": "a salt"}
    given = {"state_path": str(stage.state), "environment_id": ENVIRONMENT["environment_id"], "keys": keys}
    given |= {"recipients": [recipient for _identity, recipient in pairs], **stage.place}
    result = run("second_copy_keys", given)
    assert result.get("changed") and result["fingerprints"] == fingerprints(keys), result
    bundle = ["docker", "exec", f"{stage.id}-s3", "cat", "/s3/objects/copy/keys/bundle.age"]
    sealed = subprocess.run(bundle, capture_output=True, check=True).stdout
    assert [json.loads(unseal(sealed, identity)) for identity, _recipient in pairs] == [keys, keys]
    assert run("second_copy_keys", given)["changed"] is False
    refused = run("second_copy_keys", {**given, "keys": {**keys, "second_copy_salt": "new"}, "secret_key": "another"})
    assert refused["error"]["code"] == "PRC-390"
    # What is not there is not remembered as kept.
    assert run("second_copy_keys", given)["changed"] is False


def test_s3_that_does_not_answer_refuses_or_is_slow_fails_the_pass_and_the_next_catches_up(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    # It answers, and never ends: as slow as can be.
    docker("pause", f"{stage.id}-s3")
    stage.add(stage.log, b"*1\r\n$4\r\nPING\r\n" * 1000)
    assert "too long" in stage.await_failed("stream")
    good = stage.record["stream"]["good_started_at"]
    assert stage.record["stream"]["started_at"] > good
    docker("unpause", f"{stage.id}-s3")
    stage.await_shipped()
    docker("kill", f"{stage.id}-s3")
    assert stage.await_failed("stream") and stage.await_failed("store")
    docker("start", f"{stage.id}-s3")
    stage.await_shipped()
    for path, key in ((stage.secrets / "second_copy_secret_key", KEYS["secret_key"]),):
        path.write_text("another key")
        assert "SignatureDoesNotMatch" in stage.await_failed("stream")
        path.write_text(key)
    stage.await_shipped()
    result = stage.fetch(secret_key="another key")
    assert result["error"]["code"] == "PRC-390" and "another key" not in str(result)
    assert not stage.fetch().get("failed")
    assert not [path for path in stage.differences() if path.startswith("aof/initial/appendonly.aof.2")]


def test_a_pass_killed_in_the_middle_leaves_a_copy_that_can_be_used(stage: Stage) -> None:
    stage.ship()
    stage.await_shipped()
    infos = (stage.store / "pgbackrest/backup/platform3/backup.info").read_bytes()
    stage.make(SECOND, files=100)
    # Its data is there in part, its .info and its set are not.
    stage.wait_for(
        lambda: f"{SECOND[:8]}-" in stage.rclone("lsf", "-R", "s3:copy/store/pgbackrest/backup").stdout, "part"
    )
    docker("kill", f"{stage.id}-copy")
    there = stage.rclone("lsf", "--dirs-only", "s3:copy/store").stdout.split()
    assert f"{SECOND}/" not in there, "the pass was not killed in the middle"
    result = stage.fetch()
    assert not result.get("failed") and result["fetched"]["backup_set"] == FIRST, result
    assert (stage.folder / "other/pgbackrest/backup/platform3/backup.info").read_bytes() == infos
    stage.ship()
    stage.await_shipped()
    assert stage.fetch("third")["fetched"]["backup_set"] == SECOND
