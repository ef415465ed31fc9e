# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures, with the real ssh-keygen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _memory_file, _signing
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

DATA = b'{"backup_set": "20261123T051700Z"}\n'


def make_key(folder: Path, name: str, *options: str) -> tuple[str, str]:
    """(private, public) text of a new key."""
    path = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name} of the lab", *options, "-f", str(path)]
    subprocess.run(argv, check=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder, name) for name in ("ours", "other", "foreign")}


def signers(keys: dict[str, tuple[str, str]], *names: str) -> str:
    return _signing.allowed_signers([{"identity": name, "public_key": keys[name][1]} for name in names])


def code_of(*arguments: Any) -> RecoveryError:
    with pytest.raises(RecoveryError) as caught:
        _signing.signer_of(*arguments)
    return caught.value


def test_the_signer_is_named(keys: dict[str, tuple[str, str]]) -> None:
    for name in ("ours", "other"):
        signature = _signing.sign(DATA, keys[name][0])
        assert _signing.signer_of(DATA, signature, signers(keys, "ours", "other")) == name


def test_a_key_without_its_last_newline_still_signs(keys: dict[str, tuple[str, str]]) -> None:
    signature = _signing.sign(DATA, keys["ours"][0].rstrip("\n"))
    assert _signing.signer_of(DATA, signature, signers(keys, "ours")) == "ours"


def test_openssh_alone_can_check_it(keys: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "sig").write_bytes(_signing.sign(DATA, keys["ours"][0]))
    (tmp_path / "allowed").write_text("anybody " + keys["ours"][1])
    argv = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "anybody", "-n", "platform3-backup", "-s", "sig"]
    subprocess.run(argv, cwd=tmp_path, input=DATA, check=True)


def test_a_foreign_key_is_named_by_its_fingerprint(keys: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    error = code_of(DATA, _signing.sign(DATA, keys["foreign"][0]), signers(keys, "ours", "other"))
    (tmp_path / "key.pub").write_text(keys["foreign"][1])
    shown = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True)
    assert error.code == "PRC-222"
    assert shown.stdout.split()[1] in error.found


def test_changed_data_is_refused(keys: dict[str, tuple[str, str]]) -> None:
    signature = _signing.sign(DATA, keys["ours"][0])
    assert code_of(DATA + b" ", signature, signers(keys, "ours")).code == "PRC-223"
    assert code_of(DATA + b" ", signature, signers(keys, "other")).code == "PRC-223"


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"]
)
def test_a_broken_signature_is_refused(keys: dict[str, tuple[str, str]], broken: bytes) -> None:
    assert code_of(DATA, broken, signers(keys, "ours")).code == "PRC-223"


def test_a_signature_for_another_purpose_is_refused(keys: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(keys["ours"][0])
    key.chmod(0o600)
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", "git"]
    signature = subprocess.run(argv, input=DATA, capture_output=True, check=True).stdout
    assert code_of(DATA, signature, signers(keys, "ours")).code == "PRC-223"


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_key_does_not_sign(key: str) -> None:
    with pytest.raises(RecoveryError) as caught:
        _signing.sign(DATA, key)
    assert caught.value.code == "PRC-220"


def test_a_key_with_a_passphrase_is_refused_and_nothing_asks_for_it(tmp_path: Path) -> None:
    private, _public = make_key(tmp_path, "locked", "-N", "secret words")
    with pytest.raises(RecoveryError) as caught:
        _signing.sign(DATA, private)
    assert caught.value.code == "PRC-220"


def test_the_key_appears_in_no_error_and_on_no_command_line(
    keys: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = subprocess.run

    def spy(argv: list[str], **options: Any) -> Any:
        seen.append((argv, options["env"]))
        return real(argv, **options)

    monkeypatch.setattr(_memory_file.subprocess, "run", spy)
    _signing.sign(DATA, keys["ours"][0])
    secret = keys["ours"][0].splitlines()[2]
    assert seen and secret not in repr(seen)
    broken = keys["ours"][0].replace(secret, secret[::-1])
    with pytest.raises(RecoveryError) as caught:
        _signing.sign(DATA, broken)
    assert secret[::-1] not in caught.value.sentence()


def test_no_descriptor_is_left_open(keys: dict[str, tuple[str, str]]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    signature = _signing.sign(DATA, keys["ours"][0])
    _signing.signer_of(DATA, signature, signers(keys, "ours"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "trusted",
    [
        [],
        [{"identity": "lab backup", "public_key": "ssh-ed25519 AAAA"}],
        [{"identity": "*", "public_key": "ssh-ed25519 AAAA"}],
        [{"identity": "lab", "public_key": ""}],
        [{"identity": "lab", "public_key": "ssh-ed25519 AAAA\n* ssh-ed25519 BBBB"}],
        [{"identity": "lab", "public_key": "cert-authority ssh-ed25519 AAAA"}],
    ],
    ids=["none", "blank in a name", "anybody", "no key", "two lines", "options"],
)
def test_a_list_of_signers_is_never_wider_than_it_looks(trusted: list[dict[str, str]]) -> None:
    with pytest.raises(RecoveryError) as caught:
        _signing.allowed_signers(trusted)
    assert caught.value.code == "PRC-221"


def test_signers_are_bound_to_backups(keys: dict[str, tuple[str, str]]) -> None:
    line = signers(keys, "ours")
    assert line.startswith('ours namespaces="platform3-backup" ssh-ed25519 ') and "of the lab" not in line


def test_without_ssh_keygen_it_says_what_to_install(
    keys: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecoveryError) as caught:
        _signing.sign(DATA, keys["ours"][0])
    assert caught.value.code == "PRC-224" and "openssh-client" in caught.value.next_step
