# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before age is run; that it encrypts and decrypts is shown in tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _age
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

OPERATOR = "age1dp2d679cxgasqdr6u0wxcn8nxerq50jmrj33vstss37nxp5la3estxwekc"
SAFE = "age1dj49jaf0ufqvcrcfskvm5urhv7yt7594w0c9jv82lrfmed50wyaqpcxlvj"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJH8Hx+mZc5WZ8qmqz0j3Gm6dF0Fz4s6C1gq6r0pJb2t"


def code_of(call: Callable[..., Any], *arguments: object) -> str:
    with pytest.raises(RecoveryError) as caught:
        call(*arguments)
    return caught.value.code


def test_two_recipients_are_enough_and_each_counts_once() -> None:
    assert _age.require_recipients([OPERATOR, f"{SSH} someone", f" {OPERATOR}\n"]) == [OPERATOR, SSH]


@pytest.mark.parametrize(
    "recipients",
    [
        [],
        [OPERATOR],
        [OPERATOR, OPERATOR],
        [OPERATOR, f" {OPERATOR}\n"],
        [OPERATOR, "age1nonsense"],
        [OPERATOR, "age1REPLACE_WITH_THE_PUBLIC_KEY_IN_THE_SAFE"],
        [OPERATOR, "--output=/tmp/x"],
        [OPERATOR, SAFE.upper()],
        [f"{SSH} a", f"{SSH} b"],
    ],
)
def test_fewer_than_two_recipients_are_refused(recipients: list[str]) -> None:
    assert code_of(_age.seal, b"secret", recipients) == "PRC-350"


@pytest.mark.parametrize("identity", ["", "nothing", OPERATOR, "-----BEGIN AGE ENCRYPTED FILE-----"])
def test_what_is_no_identity_is_said_to_be_none(identity: str) -> None:
    assert code_of(_age.unseal, b"sealed", identity) == "PRC-354"


def test_without_the_program_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert code_of(_age.seal, b"secret", [OPERATOR, SAFE]) == "PRC-351"
