# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encryption with age (format: age-encryption.org/v1), by the reference program.

The program, not a library: it is a package of every distribution, and what an operator decrypts with by hand.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._memory_file import in_memory, path_of, run_tool, said

MINIMUM_RECIPIENTS = 2
TIMEOUT_SECONDS = 60

# What age itself makes and takes without a plugin or a further file.
_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}|ssh-ed25519 [A-Za-z0-9+/]+={0,2}", re.ASCII)
_IDENTITY = re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}|-----BEGIN OPENSSH PRIVATE KEY-----", re.ASCII)


def require_recipients(given: Sequence[str]) -> list[str]:
    """The recipients as age takes them, each once; PRC-350 where one is malformed or fewer than two are left.

    A comment behind an SSH key is dropped: it would make two of one.
    """
    found = [" ".join(one.split()[:2]) for one in given]
    odd = [one for one in found if not _RECIPIENT.fullmatch(one)]
    distinct = list(dict.fromkeys(found))
    if odd:
        raise _refused(f"{odd[0][:80]!r} is no recipient of age")
    if len(distinct) < MINIMUM_RECIPIENTS:
        raise _refused(f"configuration_age_recipients names {len(distinct)}, and {MINIMUM_RECIPIENTS} are needed")
    return distinct


def _refused(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-350",
        "encrypt the secrets of the configuration",
        found,
        "running data was not touched; no secret was written, and the backup set stays incomplete",
        "make a key for each of two people or places with age-keygen, keep them off this platform, and name both public"
        " keys (age1...) in configuration_age_recipients: with one, its loss is the loss of all secrets",
    )


def seal(clear: bytes, recipients: Sequence[str]) -> bytes:
    """clear, encrypted so that each of the recipients can open it alone. PRC-350, PRC-351, PRC-352."""
    arguments = [part for one in require_recipients(recipients) for part in ("--recipient", one)]
    done = _age(["--encrypt", *arguments], clear, ())
    if done.returncode != 0 or not done.stdout.startswith(b"age-encryption.org/v1\n"):
        raise RecoveryError(
            "PRC-352",
            "encrypt the secrets of the configuration",
            f"age refuses ({_said(done)})",
            "running data was not touched; no secret was written, and the backup set stays incomplete",
            "correct configuration_age_recipients, then run the backup again",
        )
    return done.stdout


def unseal(sealed: bytes, identity: str) -> bytes:
    """What was encrypted, with the text of an identity file, which is never written. PRC-351, PRC-353, PRC-354."""
    if not _IDENTITY.search(identity):
        raise RecoveryError(
            "PRC-354",
            "read the identity that opens the secrets",
            "the file of configuration_age_identity is missing, or holds no identity of age in clear",
            "nothing was written",
            "name a file with AGE-SECRET-KEY-1...; open one with a passphrase first: age -d key.age > /dev/shm/key",
        )
    with in_memory("identity", identity.strip().encode() + b"\n") as descriptor:
        done = _age(["--decrypt", "--identity", path_of(descriptor)], sealed, [descriptor])
    if done.returncode != 0:
        raise RecoveryError(
            "PRC-353",
            "decrypt the secrets of the backup set",
            f"age refuses ({_said(done)})",
            "nothing was written",
            "use the identity of one of the recipients that the set's manifest names"
            " (components.configuration.secrets.recipients; age-keygen -y shows the recipient of an identity)",
        )
    return done.stdout


def _age(arguments: Sequence[str], data: bytes, descriptors: Sequence[int]) -> subprocess.CompletedProcess[bytes]:
    return run_tool(["age", *arguments], data, descriptors, TIMEOUT_SECONDS, _unusable)


def _unusable(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-351",
        "run age",
        f"age is {found} on this host",
        "nothing was written",
        "install the package age on the host in group app_services",
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return said(done.stderr, done.returncode).replace("age: error: ", "").rstrip(".")
