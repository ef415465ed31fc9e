# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs as a run of ansible-playbook meets them: extra variables, inventories, options. No host is contacted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
GROUPS = ("postgresql", "redis", "influxdb", "app_services", "backup_store")
PLAY = """
- name: Assess
  hosts: "{{ lookup('platform3.recovery.whole_run', 'backup_store') }}"
  gather_facts: false
  tasks:
    - name: assess | Check and normalise every input
      platform3.recovery.recovery_inputs:
        scenario: %s
        environment: "{{ recovery_environment }}"
        confirm: true
      register: __recovery_inputs
    - name: assess | Show them
      ansible.builtin.copy:
        content: "{{ __recovery_inputs | to_json }}"
        dest: "{{ playbook_dir }}/inputs.json"
      connection: local
      vars:
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


class Run:
    """A folder with an inventory and a play; call it with options of ansible-playbook."""

    def __init__(self, folder: Path, scenario: str = "full") -> None:
        self.folder = folder
        self.groups: dict[str, list[str]] = {name: [f"host-{name}"] for name in GROUPS}
        # An address that nothing answers at: contacting a host would fail the test.
        self.variables: dict[str, Any] = {"recovery_environment": "test", "ansible_host": "192.0.2.1"}
        self.play = PLAY % scenario

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        children = {name: {"hosts": dict.fromkeys(hosts)} for name, hosts in self.groups.items()}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
        (self.folder / "group_vars").mkdir(exist_ok=True)
        (self.folder / "group_vars" / "all.yml").write_text(yaml.safe_dump(self.variables))
        (self.folder / "play.yml").write_text(self.play)
        program = Path(sys.executable).with_name("ansible-playbook")
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
        environment["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
        argv = [str(program), "-i", "hosts.yml", "play.yml", *options]
        return subprocess.run(argv, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def inputs(self, *options: str) -> dict[str, Any]:
        done = self(*options)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads((self.folder / "inputs.json").read_text())
        return found

    def refusal(self, *options: str) -> str:
        done = self(*options)
        assert done.returncode != 0, done.stdout
        assert not (self.folder / "inputs.json").exists()
        text = done.stdout + done.stderr
        assert "Data: nothing was touched." in text, text
        return text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


CONFIRMED = ("-e", "recovery_confirm=test")


def test_good_inputs_come_back_normalised(run: Run) -> None:
    extra = {"recovery_confirm": "test", "incident_at": "2026-11-23T06:00:00+01:00", "recovery_id": "", "awx_job_id": 7}
    found = run.inputs("-e", json.dumps(extra))
    assert found["inputs"]["incident_at"] == "2026-11-23T05:00:00.000Z"
    assert found["inputs"]["recovery_id"].endswith("Z-full")
    assert found["inputs"]["recovery_report_dir"] == str(run.folder / "reports")
    assert found["hosts"]["redis"] == "host-redis"


def test_components_that_nobody_named_are_not_made_up(tmp_path: Path) -> None:
    """A recovery that goes on by its id alone brings back what it began with; all of them would be another one."""
    run = Run(tmp_path, "partial")
    assert run.inputs("-e", "recovery_id=r-1", *CONFIRMED)["inputs"]["recovery_components"] is None
    assert run.inputs("-e", "recovery_components=redis", *CONFIRMED)["inputs"]["recovery_components"] == ["redis"]


def test_the_start_is_that_of_the_command(run: Run) -> None:
    begun = float(subprocess.run(["date", "+%s.%N"], capture_output=True, text=True, check=True).stdout)
    assert -0.1 <= run.inputs(*CONFIRMED)["started_epoch"] - begun < 1.5


def test_inputs_of_the_inventory_are_templated(run: Run) -> None:
    run.variables["recovery_confirm"] = "{{ recovery_environment }}"
    assert run.inputs()["inputs"]["recovery_confirm"] == "test"


def test_everything_wrong_is_said_at_once(run: Run) -> None:
    run.variables["redis_prot"] = 6379
    text = run.refusal("-e", "recovry_id=x", "-e", "recovery_components=redsi", "-e", "incident_at=2026-11-23T05:17:00")
    for wanted in (
        "PRC-100",
        "'redis_prot'",
        "'recovry_id', did you mean 'recovery_id'",
        "'redsi'",
        "no offset",
        "PRC-105",
    ):
        assert wanted in text


def test_extra_variables_in_a_file_are_seen(run: Run) -> None:
    (run.folder / "extra.yml").write_text("recovery_confrim: test\n")
    assert "did you mean 'recovery_confirm'" in run.refusal("-e", "@extra.yml", *CONFIRMED)


def test_variables_of_hosts_and_their_files_are_seen(run: Run) -> None:
    (run.folder / "host_vars").mkdir()
    (run.folder / "host_vars" / "host-influxdb.yml").write_text("influxdb_orgnisation: x\n")
    assert "'influxdb_orgnisation' in the inventory (host host-influxdb)" in run.refusal(*CONFIRMED)


def test_the_fence_cannot_be_given(run: Run) -> None:
    fence = json.dumps({"recovery_fence": {"recovery_id": "x", "epoch": 99}})
    assert "PRC-103" in run.refusal("-e", fence, *CONFIRMED)


def test_missing_and_wrong_confirmation(run: Run) -> None:
    assert "PRC-105" in run.refusal()
    assert "PRC-106" in run.refusal("-e", "recovery_confirm=production")


def test_a_full_recovery_of_one_component_names_the_partial_one(run: Run) -> None:
    assert "partial_recovery.yml -e recovery_components=redis" in run.refusal(
        "-e", "recovery_components=redis", *CONFIRMED
    )


@pytest.mark.parametrize("name", ["redis", "backup_store"])
@pytest.mark.parametrize(("hosts", "code"), [(None, "PRC-110"), ([], "PRC-111"), (["one", "two"], "PRC-112")])
def test_misspelt_empty_and_two_host_groups(run: Run, name: str, hosts: list[str] | None, code: str) -> None:
    home = run.groups.pop(name)
    run.groups[name if hosts is not None else f"{name[:-1]}"] = home if hosts is None else hosts
    text = run.refusal(*CONFIRMED)
    assert code in text and f"'{name}'" in text


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "host-redis"),
        ("--limit", "all:!host-redis"),
        ("--tags", "restore"),
        ("--skip-tags", "always"),
        ("--start-at-task", "assess | Show them"),
        ("--start-at-task", "nonsense"),
    ],
)
def test_options_that_go_around_the_guard_end_the_run(run: Run, options: tuple[str, str]) -> None:
    text = run.refusal(*CONFIRMED, *options)
    assert "PRC-114" in text or "PRC-115" in text


@pytest.mark.parametrize("options", [("--limit", "all"), ("--list-tasks", "--tags", "x"), ("--syntax-check",)])
def test_options_that_skip_nothing_are_let_through(run: Run, options: tuple[str, ...]) -> None:
    done = run(*CONFIRMED, *options)
    assert done.returncode == 0, done.stderr


class AnyTag(yaml.SafeLoader):
    """Reads `!vault` and whatever else Ansible knows as nothing: only names are looked at."""


AnyTag.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def test_our_inventories_have_known_variables_only() -> None:
    from ansible_collections.platform3.recovery.plugins.action.recovery_inputs import ROLES, known_variables
    from ansible_collections.platform3.recovery.plugins.module_utils._inputs import unknown_inventory_variables

    names = {}
    for path in sorted((ROOT / "inventories").glob("*/group_vars/**/*.yml")):
        for name in yaml.load(path.read_text(), Loader=AnyTag) or {}:
            names[name] = str(path.relative_to(ROOT))
    assert unknown_inventory_variables(names, known_variables(ROLES)) == []


def test_what_a_role_has_by_default_nobody_gave(run: Run) -> None:
    play = yaml.safe_load(run.play)[0]
    for folder, content in (
        ("tasks", play["tasks"]),
        ("defaults", {"postgresql_tables": [], "postgresql_tables_source": {}, "postgresql_tables_mode": "swap"}),
    ):
        (run.folder / "roles/own" / folder).mkdir(parents=True)
        (run.folder / "roles/own" / folder / "main.yml").write_text(yaml.safe_dump(content))
    tasks = [{"name": "Ask", "ansible.builtin.include_role": {"name": "own"}}]
    run.play = yaml.safe_dump([{**play, "tasks": tasks}])
    assert run.inputs("-e", "recovery_confirm=test")["inputs"]["postgresql_tables"] is None
    (run.folder / "inputs.json").unlink()
    text = run.refusal("-e", "recovery_confirm=test", "-e", "postgresql_tables=orders")
    assert "PRC-122" in text and "postgresql_tables" in text
