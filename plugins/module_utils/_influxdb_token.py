# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operator token that is valid now, in metadata that may hold an older one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._archive import damaged
from ansible_collections.platform3.recovery.plugins.module_utils._bolt import BoltFile, NotBolt
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._hashing import HashingWriter
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import Source

# influxdb, authorization/storage.go: id -> JSON, and token -> id.
AUTHORISATIONS = "authorizationsv1"
TOKENS = "authorizationindexv1"
FINGERPRINT_ITERATIONS = 200_000
_CHUNK_BYTES = 1 << 20


def fingerprint(token: str, salt: str) -> str:
    """What can be kept of a token to recognise it: PBKDF2 (salt in hex), so that a weak one is not found by trying."""
    return hashlib.pbkdf2_hmac("sha256", token.encode(), bytes.fromhex(salt), FINGERPRINT_ITERATIONS).hex()


def current_bolt(set_path: str, source: Source, known: Mapping[str, Any], token: str, folder: str) -> str | None:
    """Path of a copy of the set's bolt file that accepts the current token; None where the set's own does.

    known: the set's components.influxdb.operator_token. The copy is made in folder (which nobody else can read) and
    compared with the manifest. The older token stops to be valid. RecoveryError PRC-708 where it cannot be done.
    """
    if fingerprint(token, str(known["salt"])) == known["fingerprint"]:
        return None
    path = os.path.join(folder, "influxd.bolt")
    with open(os.path.join(set_path, source.path), "rb") as original, HashingWriter(path) as copy:
        while chunk := original.read(_CHUNK_BYTES):
            copy.write(chunk)
    if (copy.bytes, copy.sha256) != (source.bytes, source.sha256):
        raise damaged("PRC-707", source.path, "it is not the file that the manifest names")
    try:
        return path if set_token(BoltFile(path), str(known["authorisation"] or ""), token) else None
    except NotBolt as error:
        raise RecoveryError(
            "PRC-708",
            "set the current operator token in the metadata of the backup set",
            f"the backup knows another token, and {error}",
            "the live data was not touched",
            "put the operator token of the time of the backup into the secrets",
        ) from error


def set_token(bolt: BoltFile, authorisation: str, token: str) -> bool:
    """Give the authorisation (its id) this token; False where the file knows the token already."""
    tokens = bolt.bucket(TOKENS)
    if token.encode() in tokens:
        return False
    authorisations = bolt.bucket(AUTHORISATIONS)
    key = authorisation.encode()
    if key not in authorisations:
        raise NotBolt(f"it holds no authorisation {authorisation or 'of the operator'}")
    record = json.loads(authorisations[key])
    if "token" not in record:
        raise NotBolt("its authorisations keep no token in a form that is understood")
    tokens.pop(str(record["token"]).encode(), None)
    tokens[token.encode()] = key
    record["token"] = token
    authorisations[key] = json.dumps(record, separators=(",", ":")).encode()
    bolt.replace({AUTHORISATIONS: authorisations, TOKENS: tokens})
    return True
