# SPDX-License-Identifier: GPL-3.0-or-later
"""sets.jsonl: what is known of sets survives torn lines and foreign hands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _set_states
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import KnownSignatures
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import SetState, current, parse_lines
from ansible_collections.platform3.recovery.plugins.module_utils._signing import allowed_signers, sign

FIRST, SECOND = "20261121T051700Z", "20261122T051700Z"


def said(set_id: str, state: str, at: str = "2026-11-23T05:17:00.000Z") -> SetState:
    return SetState(set_id, state, at, "somebody", "because" if state == "condemned" else "")


def read(folder: Path, signers: str) -> tuple[dict[str, SetState], list[str]]:
    return _set_states.read_states(str(folder), KnownSignatures(signers, {}))


def make_key(path: Path) -> tuple[str, str]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    public = path.with_suffix(".pub").read_text()
    return path.read_text(), allowed_signers([{"identity": "lab-backup", "public_key": public}])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_key(tmp_path_factory.mktemp("ours") / "key")


def test_what_is_written_is_read_again(tmp_path: Path, ours: tuple[str, str]) -> None:
    key, signers = ours
    _set_states.append_states(str(tmp_path), [said(FIRST, "verified"), said(SECOND, "condemned")], key)
    found, ignored = read(tmp_path, signers)
    assert found == {FIRST: said(FIRST, "verified"), SECOND: said(SECOND, "condemned")} and ignored == []
    assert _set_states.state_of(_set_states.lines_of(str(tmp_path)), SECOND, signers) == found[SECOND]
    reason = _set_states.condemned_reason(found[SECOND])
    assert reason == "it was condemned at 2026-11-23T05:17:00.000Z by somebody: because"
    assert _set_states.condemned_reason(found[FIRST]) is None


def test_a_torn_last_line_is_passed_over_and_swallows_no_other(tmp_path: Path, ours: tuple[str, str]) -> None:
    key, signers = ours
    path = tmp_path / "sets.jsonl"
    _set_states.append_states(str(tmp_path), [said(FIRST, "verified")], key)
    with path.open("a") as stream:
        stream.write(path.read_text()[:40])
    assert read(tmp_path, signers) == ({FIRST: said(FIRST, "verified")}, [])
    _set_states.append_states(str(tmp_path), [said(SECOND, "tested")], key)
    found, ignored = read(tmp_path, signers)
    assert set(found) == {FIRST, SECOND} and ignored == ["line 2 is no state of a backup set"]


def test_a_line_that_we_did_not_sign_is_ignored_and_named(tmp_path: Path, ours: tuple[str, str]) -> None:
    key, signers = ours
    foreign, _ = make_key(tmp_path / "foreign")
    _set_states.append_states(str(tmp_path), [said(FIRST, "tested")], key)
    _set_states.append_states(str(tmp_path), [said(FIRST, "condemned")], foreign)
    path = tmp_path / "sets.jsonl"
    changed = json.loads(path.read_text().splitlines()[0])
    changed["set"] = SECOND
    with path.open("a") as stream:
        stream.write(json.dumps(changed) + "\n")
    found, ignored = read(tmp_path, signers)
    assert found == {FIRST: said(FIRST, "tested")}
    assert ignored == [
        f"line 2 ({FIRST}) is not signed by a trusted key",
        f"line 3 ({SECOND}) was changed after it was signed",
    ]


@pytest.mark.parametrize(
    "line",
    ["", "{}", "[]", "null", "x", '{"set": 1}', json.dumps(dict.fromkeys(("set", "state", "at", "by", "reason"), "x"))],
)
def test_what_is_no_line_of_ours_changes_nothing(line: str) -> None:
    lines, ignored = parse_lines(f"{line}\n")
    assert lines == [] and len(ignored) == (1 if line else 0)


def test_the_last_word_counts_and_tested_is_more_than_verified() -> None:
    def after(*states: str) -> str:
        return current(said(FIRST, state) for state in states)[FIRST].state

    assert after("verified", "tested") == "tested"
    assert after("tested", "verified") == "tested"
    assert after("tested", "condemned") == "condemned"
    assert after("condemned", "verified") == "verified"
    assert after("tested", "condemned", "verified") == "verified", "what was proven before counts no more"


def test_lines_of_sets_that_are_gone_are_forgotten(tmp_path: Path, ours: tuple[str, str]) -> None:
    key, signers = ours
    _set_states.append_states(str(tmp_path), [said(FIRST, "verified"), said(SECOND, "verified")], key)
    _set_states.append_states(str(tmp_path), [said(FIRST, "tested")], key)
    _set_states.forget(str(tmp_path), [FIRST])
    assert set(read(tmp_path, signers)[0]) == {SECOND}
    _set_states.append_states(str(tmp_path), [said(FIRST, "verified")], key)
    assert set(read(tmp_path, signers)[0]) == {FIRST, SECOND}


def test_a_state_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, ours: tuple[str, str]) -> None:
    (tmp_path / "sets.jsonl").mkdir()
    with pytest.raises(RecoveryError) as caught:
        _set_states.append_states(str(tmp_path), [said(FIRST, "verified")], ours[0])
    assert caught.value.code == "PRC-331"


def test_a_signature_that_was_good_before_is_good_for_the_same_bytes_and_signers_only(
    tmp_path: Path, ours: tuple[str, str]
) -> None:
    key, signers = ours
    _foreign, others = make_key(tmp_path / "foreign")
    signature = sign(b"data", key)
    first = KnownSignatures(signers, {})
    assert first.signer_of(b"data", signature) == "lab-backup"
    (digest,) = first.used
    assert KnownSignatures(signers, {digest: "remembered"}).signer_of(b"data", signature) == "remembered"
    for one, data in ((signers, b"other"), (others, b"data")):
        with pytest.raises(RecoveryError):
            KnownSignatures(one, {digest: "remembered"}).signer_of(data, signature)
