# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of backup sets beside themselves: verified, tested, condemned. Signed lines in the state folder.

sets.jsonl holds one JSON object a line: {set, state, at, by, reason, signature}. Sets are immutable, so that what is
found out about them later stands here. The signature is over everything else, by the key that signs manifests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from ansible_collections.platform3.recovery.plugins.module_utils import _signing
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._known_signatures import KnownSignatures
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import set_instant
from ansible_collections.platform3.recovery.plugins.module_utils._state import exclusive, read_text, replace_text

FILE_NAME = "sets.jsonl"
STATES = ("verified", "tested", "condemned")
# Who condemns for damage in this store; a copy elsewhere may be sound.
VERIFICATION = "verify_backups"
# So that a signature of a line is none of a manifest, and the other way round.
_DOMAIN = b"platform3 state of a backup set\n"
_FIELDS = ("set", "state", "at", "by", "reason", "signature")


@dataclass(frozen=True)
class SetState:
    """One finding. set: id; state: one of STATES; at: ISO 8601 UTC; by: who or what found it; reason: one line."""

    set: str
    state: str
    at: str
    by: str
    reason: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _DOMAIN + json.dumps(asdict(self), sort_keys=True).encode()


@dataclass(frozen=True)
class Line:
    """A line as it was read: what it says, its signature, and its number in the file for messages."""

    said: SetState
    signature: str
    number: int


def signed_line(said: SetState, signing_key: str) -> str:
    """The finding as a line of the file, newline included. PRC-220 where the key cannot sign."""
    signature = _signing.sign(said.signed_bytes(), signing_key).decode()
    return json.dumps({**asdict(said), "signature": signature}, sort_keys=True) + "\n"


def parse_lines(text: str) -> tuple[list[Line], list[str]]:
    """The lines of the file, oldest first, and a clause on each that is none of ours; a torn last one is no line."""
    lines: list[Line] = []
    ignored: list[str] = []
    for number, raw in enumerate(text.split("\n")[:-1], start=1):
        try:
            record = json.loads(raw)
            fields = {name: record[name] for name in _FIELDS}
            good = all(isinstance(value, str) for value in fields.values()) and set(record) == set(_FIELDS)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good or fields["state"] not in STATES or set_instant(fields["set"]) is None:
            if raw.strip():
                ignored.append(f"line {number} is no state of a backup set")
            continue
        signature = fields.pop("signature")
        lines.append(Line(SetState(**fields), signature, number))
    return lines, ignored


def current(said: Iterable[SetState]) -> dict[str, SetState]:
    """What holds of each set, by its findings in the order of the file.

    A condemned set stays so until it is verified or tested again, which begins anew; tested is more than verified.
    """
    found: dict[str, SetState] = {}
    for one in said:
        known = found.get(one.set)
        if known is not None and known.state == "tested" and one.state == "verified":
            continue
        found[one.set] = one
    return found


def read_states(
    state_path: str, signed: KnownSignatures, sets: Iterable[str] | None = None
) -> tuple[dict[str, SetState], list[str]]:
    """What holds of each of these sets (all where None), and a clause on each line that was ignored.

    A line counts only where a trusted key signed it.
    """
    lines, ignored = parse_lines(read_text(os.path.join(state_path, FILE_NAME)))
    wanted = None if sets is None else frozenset(sets)
    asked = [one for one in lines if wanted is None or one.said.set in wanted]
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)) or 1) as pool:
        wrong = list(pool.map(lambda one: _signature_problem(one, signed), asked))
    ignored += [f"line {one.number} ({one.said.set}) {why}" for one, why in zip(asked, wrong) if why]
    return current(one.said for one, why in zip(asked, wrong) if not why), ignored


def state_of(lines: Iterable[Line], set_id: str, signers: str) -> SetState | None:
    """What holds of one set; only its own lines are looked at, so that a recovery need not wait for all."""
    signed = KnownSignatures(signers, {})
    asked = (one for one in lines if one.said.set == set_id)
    return current(one.said for one in asked if not _signature_problem(one, signed)).get(set_id)


def lines_of(state_path: str) -> list[Line]:
    """The lines of the state folder's file, their signatures not looked at."""
    return parse_lines(read_text(os.path.join(state_path, FILE_NAME)))[0]


def _signature_problem(line: Line, signed: KnownSignatures) -> str:
    try:
        signed.signer_of(line.said.signed_bytes(), line.signature.encode())
    except RecoveryError as error:
        if error.code == "PRC-224":  # no ssh-keygen here: that is not the line's fault
            raise
        return "is not signed by a trusted key" if error.code == "PRC-222" else "was changed after it was signed"
    return ""


def append_states(state_path: str, said: Sequence[SetState], signing_key: str) -> None:
    """Add findings to the file, signed, on the disk when this returns. PRC-220, PRC-331."""
    if not said:
        return
    text = "".join(signed_line(one, signing_key) for one in said)
    path = os.path.join(state_path, FILE_NAME)
    try:
        with exclusive(state_path), open(path, "ab+") as stream:
            if stream.tell() > 0:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    text = "\n" + text  # a line torn by a crash must not swallow this one
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _not_written(path, error) from None


def forget(state_path: str, gone: Iterable[str]) -> None:
    """Take the lines of sets that are there no more out of the file, so that it does not grow for ever. PRC-331."""
    path, removed = os.path.join(state_path, FILE_NAME), frozenset(gone)
    try:
        with exclusive(state_path):
            text = read_text(path)
            dropped = {one.number for one in parse_lines(text)[0] if one.said.set in removed}
            kept = [raw for number, raw in enumerate(text.split("\n"), start=1) if number not in dropped]
            if dropped:
                replace_text(path, "\n".join(kept))
    except OSError as error:
        raise _not_written(path, error) from None


def condemned_reason(known: SetState | None) -> str | None:
    """Why a set is passed over for its state, as a clause; None where it is not condemned."""
    if known is None or known.state != "condemned":
        return None
    return f"it was condemned at {known.at} by {known.by}" + (f": {known.reason}" if known.reason else "")


def _not_written(path: str, error: OSError) -> RecoveryError:
    return RecoveryError(
        "PRC-331",
        f"write what was found out about backup sets to {path}",
        str(error.strerror or error),
        "the backup sets themselves were not touched",
        "free the disk of the state folder or mend its rights, then run the same command again",
    )
