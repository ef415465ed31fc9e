#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_report
short_description: Write the report of a recovery from its journal
version_added: 0.1.0
description:
  - Reads the journal on the host that keeps the state, judges times, data loss and checks, and writes C(report.json),
    C(report.md) and C(report.html) beside it.
  - Returns the outcome and the card for the terminal. It never fails because the recovery did.
  - The fence is compared with the lock, so that a run that was outranked does not write over a newer one's report.
author: Platform3 (@platform3)
attributes:
  check_mode:
    description: Returns the report, where there is a journal, and writes nothing.
    support: full
options:
  fence:
    description: Recovery id and epoch as given by M(platform3.recovery.recovery_lock).
    type: dict
    required: true
    suboptions:
      recovery_id:
        description: Id of the recovery that holds the lock.
        type: str
        required: true
      epoch:
        description: Epoch of the lock when this run took it.
        type: int
        required: true
  state_path:
    description: Folder that holds the state of recoveries, a folder each.
    type: path
    required: true
  objectives:
    description: Targets in seconds, see M(platform3.recovery.recovery_objectives_info).
    type: dict
    default: {}
  incident_at:
    description: When the data was lost, ISO 8601 with an offset. What the journal's first run was told where left out.
    type: str
  components:
    description: What had to come back. What the journal's first run was told where left out.
    type: list
    elements: str
  set_path:
    description: Folder of the backup set; the digests of its manifest and signature become evidence.
    type: path
  evidence:
    description: Further evidence, names and values. Shown as it is.
    type: dict
    default: {}
  shown_path:
    description: Where people will find the report, for the card.
    type: str
"""

EXAMPLES = r"""
- name: report | Write the report
  platform3.recovery.recovery_report:
    fence: "{{ recovery_fence }}"
    state_path: "{{ recovery_state_path }}"
    objectives: "{{ recovery_objectives }}"
    incident_at: "{{ recovery_inputs.incident_at or omit }}"
    set_path: "{{ recovery_set.path | default(omit) }}"
    evidence:
      signed_by: "{{ recovery_set.signed_by | default('nobody') }}"
    shown_path: "{{ recovery_inputs.recovery_report_dir }}/{{ recovery_fence.recovery_id }}/report.html"
  register: __recovery_report
"""

RETURN = r"""
outcome:
  description: success, partial or failed; untouched in check mode, where there is no journal.
  type: str
  returned: success
card:
  description: Lines for the terminal, at most 100 characters wide.
  type: list
  elements: str
  returned: success
report:
  description: The report, see docs/report.md, without its C(steps).
  type: dict
  returned: success
path:
  description: Folder that holds the files.
  type: str
  returned: success
files:
  description: The files written, and those of the loss statement that lie beside them.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name in the folder.
      type: str
    bytes:
      description: Size.
      type: int
    sha256:
      description: Digest.
      type: str
"""

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._journal import damaged_lines, parse, read_history
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import clock, read_journal
from ansible_collections.platform3.recovery.plugins.module_utils._module import fence_of, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._report import build
from ansible_collections.platform3.recovery.plugins.module_utils._report_html import page
from ansible_collections.platform3.recovery.plugins.module_utils._report_text import card, markdown
from ansible_collections.platform3.recovery.plugins.module_utils._report_undone import files_of
from ansible_collections.platform3.recovery.plugins.module_utils._state import (
    exclusive,
    parse_lock,
    read_text,
    replace_text,
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, build, write."""
    given = module.params
    fence = fence_of(module)
    folder = os.path.join(given["state_path"], fence.recovery_id)
    if module.check_mode and not os.path.exists(os.path.join(folder, "journal.jsonl")):
        card_lines = ["Check mode: nothing was recovered, so there is no report."]
        return {"changed": True, "outcome": "untouched", "card": card_lines, "report": {}, "path": folder, "files": []}
    raw = read_journal(given["state_path"], fence.recovery_id)
    text = raw.decode("utf-8", "replace")
    facts = {
        "recovery_id": fence.recovery_id,
        "incident_at": given["incident_at"],
        "components": given["components"],
        "objectives": given["objectives"],
        "journal": {
            "path": os.path.join(folder, "journal.jsonl"),
            "sha256": hashlib.sha256(raw).hexdigest(),
            "bytes": len(raw),
            "lines": raw.count(b"\n"),
        },
        "damaged_lines": damaged_lines(text),
        "evidence": {**set_digests(given["set_path"]), **given["evidence"]},
    }
    report = build(read_history(parse(text), clock()), facts)
    contents = {
        "report.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "report.md": markdown(report),
        "report.html": page(report),
    }
    if not module.check_mode:
        with exclusive(given["state_path"]):
            compare_fence(given["state_path"], fence.recovery_id, fence.epoch)
            for name, content in contents.items():
                write(os.path.join(folder, name), content)
    return {
        "changed": True,
        "outcome": report["outcome"],
        "card": card(report, given["shown_path"] or os.path.join(folder, "report.html")),
        "report": {key: value for key, value in report.items() if key != "steps"},
        "path": folder,
        "files": [
            {
                "name": name,
                "bytes": len(content.encode()),
                "sha256": hashlib.sha256(content.encode()).hexdigest(),
            }
            for name, content in contents.items()
        ]
        # A file that did not get here is on record as a failure of the step that had to bring it.
        + [one for one in files_of(report["undone"]) if os.path.isfile(os.path.join(folder, one["name"]))],
    }


def set_digests(set_path: str | None) -> dict[str, Any]:
    """SHA-256 of a set's manifest and signature, by file name; a file that cannot be read is said so."""
    digests = {}
    for name in ("backup_manifest.json", "backup_manifest.json.sig") if set_path else ():
        try:
            with open(os.path.join(set_path or "", name), "rb") as stream:
                digests[f"{name} sha256"] = hashlib.sha256(stream.read()).hexdigest()
        except OSError as error:
            digests[f"{name} sha256"] = f"could not be read: {error.strerror}"
    return digests


def compare_fence(state_path: str, recovery_id: str, epoch: int) -> None:
    """RecoveryError PRC-901 where another run holds the lock by now."""
    held = parse_lock(read_text(os.path.join(state_path, "lock")))
    if held is None or (held.recovery_id, held.epoch) == (recovery_id, epoch):
        return
    raise RecoveryError(
        "PRC-901",
        f"write the report of {recovery_id}, epoch {epoch}",
        f"the lock is held by {held.recovery_id}, epoch {held.epoch}",
        "the run that holds the lock writes its own report; nothing was overwritten",
        "leave that run to its end",
    )


def write(path: str, content: str) -> None:
    """Replace a file in one step. RecoveryError PRC-902 where that is not possible."""
    try:
        replace_text(path, content)
    except OSError as error:
        raise RecoveryError(
            "PRC-902",
            f"write {path}",
            str(error.strerror),
            "the recovery itself is not touched by this, its journal is complete",
            "make room or mend the rights, then run the same command again with this recovery_id",
        ) from None


def main() -> None:
    """Entry point."""
    run_module(
        {
            "fence": {
                "type": "dict",
                "required": True,
                "options": {
                    "recovery_id": {"type": "str", "required": True},
                    "epoch": {"type": "int", "required": True},
                },
            },
            "state_path": {"type": "path", "required": True},
            "objectives": {"type": "dict", "default": {}},
            "incident_at": {"type": "str"},
            "components": {"type": "list", "elements": "str"},
            "set_path": {"type": "path"},
            "evidence": {"type": "dict", "default": {}},
            "shown_path": {"type": "str"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
