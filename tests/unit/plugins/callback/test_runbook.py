# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that the terminal shows lead to the platform that the run was for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.platform3.recovery.plugins.callback.runbook import with_inventory

ROOT = Path(__file__).resolve().parents[4]
SAID = "Next: go on: ansible-playbook full_recovery.yml -e recovery_id=x (or ansible-playbook playbooks/abandon.yml)."


def test_every_command_names_the_inventory() -> None:
    assert with_inventory(SAID, ["inventories/live", "more hosts"]) == (
        "Next: go on: ansible-playbook -i inventories/live -i 'more hosts' full_recovery.yml -e recovery_id=x "
        "(or ansible-playbook -i inventories/live -i 'more hosts' playbooks/abandon.yml)."
    )


def test_one_below_the_working_folder_is_named_as_it_is_typed() -> None:
    assert f"-i {os.path.join('a', 'b')} full" in with_inventory(SAID, [os.path.join(os.getcwd(), "a", "b")])
    assert "-i /somewhere/else full" in with_inventory(SAID, ["/somewhere/else"])


def test_what_is_no_command_or_names_one_already_stays() -> None:
    for text in ("ansible-playbook is on PATH", "ansible-playbook -i other full_recovery.yml"):
        assert with_inventory(text, ["live"]) == text
    assert with_inventory(SAID, []) == SAID


@pytest.mark.parametrize("named", [True, False])
def test_only_one_that_is_not_configured_is_named(tmp_path: Path, named: bool) -> None:
    tasks = [{"name": "Say", "ansible.builtin.debug": {"msg": SAID}}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"here": None}}}))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "platform3.recovery.runbook",
        "ANSIBLE_INVENTORY": str(tmp_path / "hosts.yml"),
        "ANSIBLE_NOCOLOR": "1",
    }
    (tmp_path / "other.yml").symlink_to(tmp_path / "hosts.yml")
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "play.yml", *(["-i", "other.yml"] * named)]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert ("ansible-playbook -i other.yml full_recovery.yml" in done.stdout) is named, done.stdout
    assert (SAID in done.stdout) is not named, done.stdout
