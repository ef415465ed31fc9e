# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Detached signatures with OpenSSH: `ssh-keygen -Y sign` and `-Y verify` (format: PROTOCOL.sshsig of OpenSSH).

How to check one by hand stands in docs/backup_manifest.md.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._memory_file import in_memory, path_of, run_tool, said

NAMESPACE = "platform3-backup"
TIMEOUT_SECONDS = 30

_IDENTITY = re.compile(r"[A-Za-z0-9._@-]+", re.ASCII)
# Type and base64, as in a .pub file; the comment is dropped. Certificates and security keys are not used here.
_PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?", re.ASCII
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]+")


def allowed_signers(trusted: Sequence[Mapping[str, str]]) -> str:
    """The text of an allowed_signers file from the inventory's list of {identity, public_key}.

    Each is bound to our namespace. PRC-221 where a line is no plain identity or public key, or none is given: a
    broken list must not turn into a wider one.
    """
    lines = []
    for signer in trusted:
        identity, key = signer["identity"], _PUBLIC_KEY.fullmatch(signer["public_key"].strip())
        if not _IDENTITY.fullmatch(identity) or key is None:
            raise _bad_signers(f"the entry of {identity!r} is no plain identity with one OpenSSH public key")
        lines.append(f'{identity} namespaces="{NAMESPACE}" {key[1]} {key[2]}\n')
    if not lines:
        raise _bad_signers("the list is empty")
    return "".join(lines)


def _bad_signers(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-221",
        "read the list of trusted signers",
        found,
        "nothing was changed",
        "set backup_set_trusted_signers in the inventory to [{identity: NAME, public_key: 'ssh-ed25519 AAAA…'}]",
    )


def sign(data: bytes, private_key: str) -> bytes:
    """The armoured signature of data. The key lies in memory only, never on a disk or a command line. PRC-220."""
    key = private_key.strip("\r\n").encode() + b"\n"
    with in_memory("signing-key", key) as key_file:
        done = _ssh_keygen(["-Y", "sign", "-q", "-f", path_of(key_file), "-n", NAMESPACE], data, [key_file])
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise RecoveryError(
            "PRC-220",
            "sign the backup manifest",
            f"ssh-keygen does not take the signing key ({_said(done)})",
            "running data was not touched; the backup set stays incomplete",
            "put an OpenSSH private key without a passphrase into backup_set_signing_key (ssh-keygen -t ed25519 -N '')",
        )
    return done.stdout


def signer_of(data: bytes, signature: bytes, signers: str) -> str:
    """The trusted identity that signed data; signers is the text made by allowed_signers.

    PRC-222 where the key is not trusted, PRC-223 where the data is not what was signed or the signature is broken.
    """
    with in_memory("signature", signature) as signature_file, in_memory("signers", signers.encode()) as signers_file:
        files = [signature_file, signers_file]
        tail = ["-s", path_of(signature_file)]
        found = _ssh_keygen(["-Y", "find-principals", "-f", path_of(signers_file), *tail], data, files)
        identities = found.stdout.decode().split()
        if found.returncode != 0 or not identities:
            whole = _ssh_keygen(["-Y", "check-novalidate", "-n", NAMESPACE, *tail], data, files)
            if whole.returncode != 0:
                raise _bad_signature(_said(whole))
            key = _FINGERPRINT.search(whole.stdout.decode(errors="replace"))
            raise RecoveryError(
                "PRC-222",
                "verify the signature of the backup manifest",
                f"it was signed by key {key[0] if key else 'unknown'}, which is not among the trusted signers",
                "nothing was changed",
                "find out who wrote this set; a new key belongs into backup_set_trusted_signers of the inventory",
            )
        identity = identities[0]
        argv = ["-Y", "verify", "-f", path_of(signers_file), "-I", identity, "-n", NAMESPACE, *tail]
        done = _ssh_keygen(argv, data, files)
        if done.returncode != 0:
            raise _bad_signature(_said(done))
    return identity


def _bad_signature(said: str) -> RecoveryError:
    return RecoveryError(
        "PRC-223",
        "verify the signature of the backup manifest",
        f"manifest and signature do not belong together ({said})",
        "nothing was changed",
        "the manifest was changed after it was signed: choose another set, and look at who could write to the store",
    )


def _ssh_keygen(
    arguments: Sequence[str], data: bytes, descriptors: Sequence[int]
) -> subprocess.CompletedProcess[bytes]:
    return run_tool(["ssh-keygen", *arguments], data, descriptors, TIMEOUT_SECONDS, _unusable)


def _unusable(found: str) -> RecoveryError:
    return RecoveryError(
        "PRC-224",
        "check a signature with ssh-keygen",
        f"ssh-keygen is {found} on this host",
        "nothing was changed",
        "install openssh-client (8.2 or newer) on the host in group backup_store",
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return said(done.stderr or done.stdout, done.returncode)
