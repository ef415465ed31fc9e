#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Read the backup store again, and condemn what is damaged
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Compares every file of every set with its signed manifest, runs C(pgbackrest verify) on every base backup that a set
    names, hashes the WAL archive, and looks for gaps in WAL and for broken chains.
  - What was read before and is the same file by size, times and inode is not read again.
  - A set that is as it was signed is marked as verified in the state folder; a damaged one is condemned there, so that
    no recovery takes it, and the module fails naming it. What cannot be read at the moment is named and not condemned.
  - It takes no lock, so that backups go on meanwhile.
extends_documentation_fragment:
  - platform3.recovery.compose
  - platform3.recovery.store
  - platform3.recovery.store.state
  - platform3.recovery.store.repository
options:
  backup_set:
    description:
      - V(latest) for all sets that are not condemned, or the id of one set.
      - One that is condemned and found sound is taken for recoveries again; that needs O(full=true).
    type: str
    default: latest
  full:
    description: Whether to read everything again.
    type: bool
    default: false
  signing_key:
    description: OpenSSH private key that signs what was found.
    type: str
    required: true
attributes:
  check_mode:
    description: Reads and judges, and keeps nothing of it.
    support: full
"""

EXAMPLES = r"""
- name: Read the backup store again
  platform3.recovery.backup_verify:
    store_path: /opt/platform3/backups
    state_path: /opt/platform3/recovery
    environment_id: lab-0123456789ab
    signing_key: "{{ backup_set_signing_key }}"
    trusted_signers: "{{ backup_set_trusted_signers }}"
    compose: "{{ recovery_compose }}"
    service: postgresql
    image: platform3/postgresql:17
    stanza: platform3
"""

RETURN = r"""
sound:
  description: Sets that are as they were signed.
  returned: success
  type: list
  elements: str
marked:
  description: Those of them that are newly marked as verified.
  returned: success
  type: list
  elements: str
bytes:
  description: How much was read.
  returned: success
  type: int
files:
  description: How many files were read (a base backup counts as one).
  returned: success
  type: int
known:
  description: How many files were verified before and needed no reading.
  returned: success
  type: int
seconds:
  description: How long it took.
  returned: success
  type: float
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _store_verify
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._module import run_module
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._repository import (
    STORE_ARGUMENTS,
    Repository,
    cannot_read,
    repository_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._selection import LATEST
from ansible_collections.platform3.recovery.plugins.module_utils._set_states import (
    VERIFICATION,
    SetState,
    append_states,
)
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso
from ansible_collections.platform3.recovery.plugins.module_utils._store_verify import Findings, Place
from ansible_collections.platform3.recovery.plugins.module_utils._store_view import Entry, read_store, unknown_set
from ansible_collections.platform3.recovery.plugins.module_utils._windows import gaps_of, reaches_of

SETTLE_SECONDS = 3.0


def asked_for(entries: list[Entry], wanted: str) -> list[Entry]:
    """The sets to read: all that are whole and not condemned, or the one that is named. PRC-330."""
    there = [one for one in entries if one.state != "incomplete"]
    if wanted == LATEST:
        return [one for one in there if one.state != "condemned"]
    named = [one for one in there if one.set_id == wanted]
    if not named:
        raise unknown_set(wanted, [one.set_id for one in there])
    return named


def new_states(given: dict[str, Any], asked: list[Entry], found: Findings) -> list[SetState]:
    """What is to be written down: damage always, soundness where that is news."""
    now = now_iso()
    said = []
    for one in asked:
        if one.set_id in found.damaged and one.state != "condemned":
            said.append(SetState(one.set_id, "condemned", now, VERIFICATION, found.damaged[one.set_id][0]))
        news = one.state == "complete" or (given["full"] and one.state in ("verified", "tested", "condemned"))
        if one.set_id in found.sound and news:
            said.append(SetState(one.set_id, "verified", now, VERIFICATION))
    return said


def lasting_gaps(repository: Repository, good: list[Entry]) -> list[dict[str, Any]]:
    """Gaps in WAL that are there twice: segments are archived side by side, a later one may come first."""
    found = gaps_of(reaches_of(repository.look(), good)[0])
    if not found:
        return []
    time.sleep(SETTLE_SECONDS)
    again = {one["segment"] for one in gaps_of(reaches_of(repository.look(), good)[0])}
    return [one for one in found if one["segment"] in again]


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, judge, write down, and fail where something is wrong."""
    given = module.params
    began = time.monotonic()
    arguments = (given["store_path"], given["state_path"], given["environment_id"], given["trusted_signers"])
    entries, _ignored = read_store(*arguments, keep=not module.check_mode)
    asked = asked_for(entries, given["backup_set"])
    repository = repository_of(given)
    repository.look()  # a repository that cannot be read at all proves nothing about the sets
    place = Place(given["store_path"], given["state_path"], given["full"], not module.check_mode, Progress(None))
    found = Findings()
    try:
        _store_verify.verify_sets(place, asked, found)
        _store_verify.verify_bases(place, repository, asked, found)
        _store_verify.verify_wal(place, repository, found)
    except OSError as error:
        raise cannot_read("verify the backup store", f"{error.filename}: {error.strerror}") from None
    said = new_states(given, asked, found)
    if not module.check_mode:
        append_states(given["state_path"], said, given["signing_key"])
    good = [one for one in entries if one.usable and not {one.set_id, *one.needs} & set(found.damaged)]
    gaps = lasting_gaps(repository, good)
    broken = [one for one in asked if one.state == "broken_chain"]
    lost = [one for one in entries if one.usable and one not in good and one.set_id not in found.damaged]
    wrong = _store_verify.failure(found, gaps, [*broken, *lost], good[0].set_id if good else None)
    if wrong:
        raise failed(wrong, found, bool(gaps), module.check_mode)
    return {
        "changed": bool(said),
        "sound": found.sound,
        "marked": [one.set for one in said],
        "bytes": found.bytes,
        "files": found.files,
        "known": found.known,
        "seconds": round(time.monotonic() - began, 3),
    }


def failed(wrong: str, found: Findings, gaps: bool, check_mode: bool) -> RecoveryError:
    """The end of a run that found something."""
    only_unread = not found.damaged and not gaps
    code = "PRC-332" if set(found.damaged) - {_store_verify.WAL} else "PRC-334" if only_unread else "PRC-333"
    data = {
        "PRC-332": "running data was not touched; recoveries pass the condemned sets over from now on",
        "PRC-333": "running data was not touched; PostgreSQL cannot be brought past such WAL, except from"
        " a base backup taken after it",
        "PRC-334": "running data was not touched; nothing was condemned for it",
    }[code]
    way = {
        "PRC-332": "take a full backup now (ansible-playbook backup.yml); keep the condemned sets for the inquiry",
        "PRC-333": "bring the segment back into the archive from another copy, or take a full backup now"
        " (ansible-playbook backup.yml)",
        "PRC-334": "mend what is named, then run playbooks/verify_backups.yml again",
    }[code]
    if check_mode:
        data = "check mode: nothing was written down, and no set was condemned"
    return RecoveryError(code, "verify the backup store", wrong, data, way)


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STORE_ARGUMENTS,
            "backup_set": {"type": "str", "default": LATEST},
            "full": {"type": "bool", "default": False},
            "signing_key": {"type": "str", "required": True, "no_log": True},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
