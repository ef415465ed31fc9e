# SPDX-License-Identifier: GPL-3.0-or-later
"""The current operator token in older metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._bolt import NotBolt
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import (
    AUTHORISATIONS,
    TOKENS,
    fingerprint,
    set_token,
)


class Bolt:
    """Buckets in memory."""

    def __init__(self, token: str | None) -> None:
        record = {"id": "11adce950346f000", "status": "active", "permissions": [{"action": "read"}]}
        if token is not None:
            record["token"] = token
        self.buckets = {
            AUTHORISATIONS: {b"11adce950346f000": json.dumps(record).encode(), b"2": b"{}"},
            TOKENS: {(token or "").encode(): b"11adce950346f000", b"scoped": b"2"},
        }

    def bucket(self, name: str) -> dict[bytes, bytes]:
        """A copy."""
        return dict(self.buckets[name])

    def replace(self, buckets: dict[str, dict[bytes, bytes]]) -> None:
        """Take them."""
        self.buckets.update(buckets)


def give(bolt: Bolt, authorisation: str, token: str) -> bool:
    """set_token on a fake."""
    fake: Any = bolt
    return set_token(fake, authorisation, token)


def test_the_new_token_takes_the_old_ones_place() -> None:
    """Record and index change together; other tokens and fields stay."""
    bolt = Bolt("old")
    assert give(bolt, "11adce950346f000", "new")
    assert bolt.buckets[TOKENS] == {b"new": b"11adce950346f000", b"scoped": b"2"}
    record = json.loads(bolt.buckets[AUTHORISATIONS][b"11adce950346f000"])
    assert (record["token"], record["permissions"]) == ("new", [{"action": "read"}])
    assert bolt.buckets[AUTHORISATIONS][b"2"] == b"{}"


def test_a_token_that_is_known_changes_nothing() -> None:
    """It belongs to another authorisation."""
    bolt = Bolt("old")
    assert not give(bolt, "11adce950346f000", "scoped")
    assert b"old" in bolt.buckets[TOKENS]


def test_what_cannot_be_set_is_said() -> None:
    """No such authorisation, or tokens that are kept as hashes only."""
    with pytest.raises(NotBolt, match="no authorisation"):
        give(Bolt("old"), "", "new")
    with pytest.raises(NotBolt, match="no token"):
        give(Bolt(None), "11adce950346f000", "new")


def test_a_fingerprint_recognises_and_does_not_tell() -> None:
    """Another salt, another fingerprint."""
    assert fingerprint("token", "00" * 16) == fingerprint("token", "00" * 16)
    assert fingerprint("token", "00" * 16) != fingerprint("token", "01" * 16)
    assert "token" not in fingerprint("token", "00" * 16)
