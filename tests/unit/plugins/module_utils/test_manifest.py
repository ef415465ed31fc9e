# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: a round trip keeps it, and nothing outside the schema or the set's folder gets through."""

from __future__ import annotations

import copy
import json
import posixpath
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _manifest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from hypothesis import given
from hypothesis import strategies as st

SET_ID = "20261123T051700Z"
SHA = "a" * 64


def artefact(path: str = "redis/redis_1.rdb", **changes: Any) -> dict[str, Any]:
    return {
        "path": path,
        "bytes": 10,
        "sha256": SHA,
        "component": path.split("/")[0],
        "kind": "rdb",
        "source_version": "8.0.2",
        **changes,
    }


def manifest(*artefacts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "set_id": SET_ID,
        "environment": "lab",
        "environment_id": "lab-0123456789ab",
        "sequence": 1,
        "started_at": "2026-11-23T05:17:00.123Z",
        "finished_at": "2026-11-23T05:17:30Z",
        "components": {"redis": {"version": "8.0.2"}},
        "artefacts": artefacts or [artefact()],
        **changes,
    }
    return _manifest.build(**parts)


def refused(raw: bytes, set_id: str = SET_ID) -> str:
    with pytest.raises(RecoveryError) as caught:
        _manifest.parse(raw, set_id)
    assert caught.value.code == "PRC-210"
    return caught.value.found


def edited(**changes: Any) -> bytes:
    return json.dumps({**manifest(), **changes}).encode()


segments = st.text("abcXYZ019._+=@-", min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def artefacts_of(draw: st.DrawFn, component: str) -> dict[str, Any]:
    path = "/".join([component, *draw(st.lists(segments, min_size=1, max_size=3))])
    return artefact(
        path,
        bytes=draw(st.integers(0, 2**50)),
        sha256=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
        expected=draw(st.dictionaries(st.text(max_size=8), json_values, max_size=3)),
    )


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    components = draw(st.sets(st.sampled_from(_manifest.COMPONENTS), min_size=1))
    content = {
        name: {**draw(st.dictionaries(st.text(max_size=8), json_values, max_size=4)), "version": "1"}
        for name in components
    }
    listed: dict[str, dict[str, Any]] = {}
    for name in sorted(components):
        for one in draw(st.lists(artefacts_of(name), max_size=4)):
            taken = [path for path in listed if (path + "/").startswith(one["path"] + "/")]
            inside = [path for path in listed if (one["path"] + "/").startswith(path + "/")]
            if not taken and not inside:
                listed[one["path"]] = one
    return manifest(
        *listed.values(),
        components=content,
        sequence=draw(st.integers(1, 10**6)),
        artefacts=list(listed.values()),
        parent=draw(st.none() | st.just("20261122T051700Z")),
    )


@given(manifests())
def test_what_is_written_reads_back_the_same(made: dict[str, Any]) -> None:
    assert _manifest.parse(_manifest.render(made), SET_ID) == made


@given(manifests())
def test_writing_is_the_same_each_time(made: dict[str, Any]) -> None:
    again = _manifest.parse(_manifest.render(made), SET_ID)
    assert _manifest.render(again) == _manifest.render(made)


@given(st.text(max_size=60), st.sampled_from(_manifest.COMPONENTS))
def test_a_path_that_passes_stays_in_its_components_folder(path: str, component: str) -> None:
    if _manifest.path_problem(path, component) is None:
        whole = posixpath.normpath(posixpath.join("/set", path))
        assert whole == f"/set/{path}"
        assert whole.startswith(f"/set/{component}/")
        assert "\\" not in path and "\n" not in path


@given(st.lists(segments | st.sampled_from(["..", "."]), min_size=1, max_size=5))
def test_paths_with_dots_never_pass(parts: list[str]) -> None:
    wrong = _manifest.path_problem("/".join(["redis", *parts]), "redis")
    assert (wrong is not None) == any(part in ("..", ".") for part in parts)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../../etc/passwd", "leads out of the set with .."),
        ("redis/../../etc/passwd", "leads out of the set with .."),
        ("/etc/passwd", "is absolute"),
        ("redis//dump", "has an empty or . segment"),
        ("redis/./dump", "has an empty or . segment"),
        ("redis/", "has an empty or . segment"),
        ("", "has an empty or . segment"),
        ("redis", "does not lie in the folder of its component"),
        ("influxdb/x", "does not lie in the folder of its component"),
        ("pgbackrest/x", "does not lie in the folder of its component"),
        ("redis/a b", "holds characters outside"),
        ("redis/a\nb", "holds characters outside"),
        ("redis/a\\b", "holds characters outside"),
        ("redis/\u0661", "holds characters outside"),
        ("redis/" + "a/" * 600 + "a", "is longer than 1024 characters"),
    ],
)
def test_a_path_out_of_the_set_is_refused(path: str, says: str) -> None:
    assert says in refused(edited(artefacts=[artefact(path, component="redis")]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 2}, "has schema_version 2; this release reads 1"),
        ({"sequence": True}, "sequence is of type bool"),
        ({"sequence": 0}, "sequence 0 is below 1"),
        ({"environment_id": ""}, "environment_id is empty"),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"started_at": "2026-11-23 05:17"}, "no ISO 8601 time in UTC"),
        ({"started_at": "2026-11-23T05:17:00+01:00"}, "no ISO 8601 time in UTC"),
        ({"parent": "yesterday"}, "no id of a backup set"),
        ({"components": {}}, "components is empty"),
        ({"components": {"mongodb": {"version": "1"}}}, "components holds 'mongodb'"),
        ({"components": {"redis": {}}}, "components.redis.version is missing"),
        ({"artefacts": [artefact(), artefact()]}, "stands there twice"),
        ({"artefacts": [artefact("redis/a"), artefact("redis/a/b")]}, "is a file and a folder"),
        ({"artefacts": [artefact("influxdb/x")]}, "is not among the components"),
        ({"artefacts": [artefact(bytes=-1)]}, "bytes is below 0"),
        ({"artefacts": [artefact(bytes=1.5)]}, "bytes is of type float"),
        ({"artefacts": [artefact(sha256="A" * 64)]}, "no SHA-256"),
        ({"artefacts": [artefact(mode="0777")]}, "mode is not a known field"),
        ({"artefacts": ["redis/x"]}, "artefacts[0] is of type str"),
        ({"artefacts": [artefact(chunks=[SHA])]}, "come together"),
        ({"artefacts": [artefact(chunks=[SHA, SHA], chunk_bytes=1 << 20)]}, "holds 2 digests for 10 bytes"),
        ({"artefacts": [artefact(chunks=[1], chunk_bytes=1 << 20)]}, "something else than SHA-256"),
        ({"artefacts": [artefact(chunks=[SHA] * 10, chunk_bytes=1)]}, "below 1 MiB"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(changes: dict[str, Any], says: str) -> None:
    assert says in refused(edited(**changes))


@pytest.mark.parametrize("field", sorted(set(manifest()) - {"schema_version"}))
def test_a_missing_field_is_named(field: str) -> None:
    made = manifest()
    del made[field]
    assert f"{field} is missing" in refused(json.dumps(made).encode())


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000],
    ids=["empty", "torn", "list", "null", "no UTF-8", "NaN", "a key twice", "too deep"],
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    refused(raw)


@given(manifests(), st.data())
def test_a_damaged_byte_never_raises_anything_else(made: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(_manifest.render(made))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        _manifest.parse(bytes(raw), SET_ID)
    except RecoveryError as error:
        assert error.code == "PRC-210"


def test_a_set_under_another_name_is_refused() -> None:
    raw = _manifest.render(manifest())
    assert "but lies in folder 20261124T000000Z" in refused(raw, "20261124T000000Z")


def test_building_refuses_what_reading_would() -> None:
    with pytest.raises(RecoveryError, match="leads out of the set"):
        manifest(artefact("redis/../x"))


def test_building_does_not_change_what_it_was_given() -> None:
    given_artefacts = [artefact("redis/b"), artefact("redis/a")]
    before = copy.deepcopy(given_artefacts)
    made = manifest(*given_artefacts)
    assert given_artefacts == before
    assert [one["path"] for one in made["artefacts"]] == ["redis/a", "redis/b"]


def test_the_checksum_list_is_what_sha256sum_reads() -> None:
    assert _manifest.verification_text(manifest(), "b" * 64) == (
        f"{SHA}  redis/redis_1.rdb\n{'b' * 64}  backup_manifest.json\n"
    )


def test_needed_artefacts_are_those_of_the_components_without_the_kinds_left_out() -> None:
    both = {"redis": {"version": "8"}, "postgresql": {"version": "17"}}
    dump, rdb = artefact("postgresql/x.custom", kind="dump"), artefact()
    made = manifest(dump, rdb, components=both)
    assert _manifest.needed_artefacts(made) == [dump, rdb]
    assert _manifest.needed_artefacts(made, ["redis"]) == [rdb]
    assert _manifest.needed_artefacts(made, ["postgresql", "redis"], ["dump"]) == [rdb]


@pytest.mark.parametrize(
    ("text", "good"),
    [(SET_ID, True), ("20261323T051700Z", False), ("latest", False), (SET_ID + "\n", False), ("20261123T0517Z", False)],
)
def test_a_sets_id_is_a_utc_second(text: str, good: bool) -> None:
    assert (_manifest.set_instant(text) is not None) == good


def test_id_and_instant_are_each_others_inverse() -> None:
    instant = _manifest.set_instant(SET_ID)
    assert instant is not None and _manifest.set_id_of(instant) == SET_ID
