# SPDX-License-Identifier: GPL-3.0-or-later
"""The counter of module runs, in a playbook of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import module_runs

PLAY = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - block:
        - name: One
          ansible.builtin.ping:
        - name: Skipped
          ansible.builtin.ping:
          when: false
        - name: Each of two
          ansible.builtin.ping: {data: "{{ item }}"}
          loop: [a, b]
        - ansible.builtin.set_fact: {x: 1}
        - ansible.builtin.debug: {msg: x}
        - ansible.builtin.assert: {that: [x == 1]}
        - name: Three attempts
          ansible.builtin.command: "false"
          retries: 2
          delay: 0
          until: false
      rescue:
        - ansible.builtin.include_tasks: more.yml
"""


def test_only_modules_that_were_sent_to_a_host_are_counted(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "more.yml").write_text("- name: More\n  ansible.builtin.ping:\n")
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    log = tmp_path / "runs.jsonl"
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), **module_runs.environment(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    runs = module_runs.read(log)
    assert [run["task"] for run in runs] == ["One", "Each of two", "Each of two", *["Three attempts"] * 3, "More"]
    assert {run["action"] for run in runs} == {"ping", "command"}
    assert all(run["host"] == "localhost" and run["seconds"] >= 0 for run in runs)


def test_no_run_is_no_line(tmp_path: Path) -> None:
    assert module_runs.read(tmp_path / "none") == []
