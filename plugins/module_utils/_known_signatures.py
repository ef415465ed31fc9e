# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures that were found good before, so that a catalogue of a thousand sets need not ask ssh-keygen for each.

Only for looking and for keeping house: a recovery checks each signature that it relies on anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ansible_collections.platform3.recovery.plugins.module_utils import _signing

NAME = "signatures"


class KnownSignatures:
    """Checks signatures against signers (text made by _signing.allowed_signers). memory: digest -> who signed.

    `used` holds those that were found good now: what to remember for the next time. Safe to use from several threads.
    """

    def __init__(self, signers: str, memory: Mapping[str, object]) -> None:
        self._signers = signers
        self._memory = memory
        self.used: dict[str, object] = {}

    def signer_of(self, data: bytes, signature: bytes) -> str:
        """As _signing.signer_of; what was good for these signers before is good."""
        digest = hashlib.sha256(
            b"".join(hashlib.sha256(part).digest() for part in (data, signature, self._signers.encode()))
        ).hexdigest()
        known = self._memory.get(digest)
        signer = known if isinstance(known, str) else _signing.signer_of(data, signature, self._signers)
        self.used[digest] = signer
        return signer
