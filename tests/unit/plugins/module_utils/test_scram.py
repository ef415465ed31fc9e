# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifiers against those that PostgreSQL 17 made of the same passwords."""

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._scram import is_verifier_of, verifier
from hypothesis import given
from hypothesis import strategies as st

# CREATE ROLE vector PASSWORD '...'; SELECT rolpassword FROM pg_authid. Plain, with characters that SASLprep maps, and
# with one that it forbids.
MADE_BY_POSTGRESQL = [
    (
        "pencil",
        "SCRAM-SHA-256$4096:n0RL8FzlJ7gZ/DCRDvbPjQ==$/tETuMgHaRn3Z/UBHLwljTrTxDpYL4dQXB6d+J84Mc8=:"
        "HKiSd7lSlUBuo/2s7NVcTpl8pDg/dgbMgpoLkg30bCw=",
    ),
    (
        "x\u00adp\u2168 \u00a0y",
        "SCRAM-SHA-256$4096:GVSA6LQhKKJoavNGd6ulrw==$LlIWD0kp4WfQhJSZyMg6DL4eRAXOt0mAXouPp0u9TDM=:"
        "BIgU/MDjYdDdRsEcZO8ux4flZaxFBHH4heAWPuOPM18=",
    ),
    (
        "bell\u0007\u00e9",
        "SCRAM-SHA-256$4096:c3RG9djontJSsAtCsAY/rQ==$dsNRltXKnXSE3U3WDDBh30U1O53bBTggA0mp/hw2+gE=:"
        "9wGzgJJuV9TXRRSwrD3jE0CinORBvupsugVTDYhyP8U=",
    ),
]


@pytest.mark.parametrize(("password", "known"), MADE_BY_POSTGRESQL)
def test_a_verifier_of_the_server_is_recognised(password: str, known: str) -> None:
    assert is_verifier_of(known, password)
    assert not is_verifier_of(known, password + "x")


@given(st.text(min_size=1, alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_verifier_is_of_its_password_and_does_not_hold_it(password: str) -> None:
    made = verifier(password, iterations=2)
    assert is_verifier_of(made, password)
    assert len(password) < 4 or password not in made


def test_each_verifier_has_a_salt_of_its_own() -> None:
    assert verifier("pencil") != verifier("pencil")


@pytest.mark.parametrize("known", [None, "", "md5abc", "pencil"])
def test_anything_else_is_no_verifier(known: str | None) -> None:
    assert not is_verifier_of(known, "pencil")
