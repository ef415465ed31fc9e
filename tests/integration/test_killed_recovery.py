# SPDX-License-Identifier: GPL-3.0-or-later
"""A full recovery that is killed: the next run with the same recovery_id goes on and ends the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import module_runs
from tests.integration.bad_input import BIN, LAB_INVENTORY, ROOT, complete_sets, environment_id, playbook
from tests.integration.descendants import kill_all, named
from tools import drill

pytestmark = [pytest.mark.integration, pytest.mark.lab]

STATE = Path("/opt/platform3/recovery")
ONE_SHOT = "label=platform3.recovery.one_shot"


def journal(recovery_id: str) -> list[dict[str, Any]]:
    """The journal's whole lines."""
    path = STATE / recovery_id / "journal.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def step_of(entry: dict[str, Any]) -> tuple[str, str, str]:
    """What makes it the same step."""
    return entry["phase"], entry["component"], entry["name"]


def one_shots(component: str = "") -> list[str]:
    """Names of the one-shot containers at work in the lab's volumes."""
    label = f"{ONE_SHOT}={component}" if component else ONE_SHOT
    environment = f"label=platform3.recovery.environment={environment_id()}"
    listing = ["docker", "ps", "--quiet", "--filter", label, "--filter", environment]
    return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module", autouse=True)
def backup() -> None:
    """A set to recover from."""
    if not complete_sets():
        made = playbook(LAB_INVENTORY, "backup.yml")
        assert made.status == 0, made.text[-4000:]


@contextlib.contextmanager
def run(recovery_id: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the full recovery, in a session of its own."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [BIN / "ansible-playbook", "full_recovery.yml", "-e", f"recovery_id={recovery_id}"],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_all(process.pid)
        with contextlib.suppress(ProcessLookupError):  # what outlived a killed controller in its session
            os.killpg(process.pid, signal.SIGKILL)
        for worker in named(recovery_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        process.wait(timeout=30)


@pytest.fixture
def lost() -> str:
    """Everything is lost; the id of the recovery that is to bring it back."""
    if (STATE / "lock").exists():  # a test before this one failed half-way
        left = json.loads((STATE / "lock").read_text(encoding="utf-8"))["recovery_id"]
        playbook(LAB_INVENTORY, "playbooks/abandon.yml", "-e", f"recovery_id={left}")
    with contextlib.suppress(SystemExit):  # nothing left to lose
        drill.lose_everything()
    return f"killed-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def begun(lost: str, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A full recovery from total loss, under way."""
    with run(lost, tmp_path / "first.log") as process:
        yield lost, process


def wait_for(process: subprocess.Popen[bytes], reached: Callable[[], bool], what: str) -> None:
    """Until the recovery is where it is to be killed; it must not have ended before."""
    deadline = time.monotonic() + 180
    while not reached():
        assert process.poll() is None, f"the recovery ended before {what}"
        assert time.monotonic() < deadline, f"never reached {what}"
        time.sleep(0.02)


def goes_on(recovery_id: str, runs: int, log: Path) -> None:
    """The next run ends well, as the same undertaking, and leaves nothing at work."""
    again = playbook(
        LAB_INVENTORY, "full_recovery.yml", "-e", f"recovery_id={recovery_id}", environment=module_runs.environment(log)
    )
    assert again.status == 0, again.text[-6000:]
    report = json.loads((STATE / recovery_id / "report.json").read_text(encoding="utf-8"))
    assert report["outcome"] == "success"
    started = [entry for entry in journal(recovery_id) if entry["event"] == "run_started"]
    assert [entry["run"] for entry in started] == list(range(1, runs + 1))
    assert len({entry["backup_set"] for entry in started}) == 1
    # The time in which nobody worked on it counts: the clock runs from the first run's start.
    first, last = started[0]["monotonic"], journal(recovery_id)[-1]["monotonic"]
    assert report["rto"]["complete_system"]["seconds"] > started[-1]["monotonic"] - first
    assert report["rto"]["complete_system"]["seconds"] <= last - first + 20
    assert one_shots() == []
    assert not (STATE / "lock").exists()


# Where the controller of each run dies: an entry of the journal, and how long after it.
MOMENTS = {
    "while isolating": (("isolate", "postgresql", "step_started"), 0.3),
    "while the base backup is copied": (("restore", "postgresql", "step_started"), 1.5),
    "between swap and verify": (("restore", "influxdb", "step_finished"), 0.0),
    "while services start": (("resume", "app_services", "step_started"), 1.0),
}


def happened(recovery_id: str, nth: int, moment: tuple[str, str, str]) -> bool:
    """Whether phase, component and event stand in what its nth run wrote."""
    entries = journal(recovery_id)
    begins = [number for number, entry in enumerate(entries) if entry["event"] == "run_started"]
    own = entries[begins[nth - 1] :] if len(begins) >= nth else []
    return moment in {(entry.get("phase"), entry.get("component"), entry["event"]) for entry in own}


def test_a_controller_that_is_killed_again_and_again(lost: str, tmp_path: Path) -> None:
    """Only the controllers are killed: their workers, modules and containers are orphans that go on working."""
    with contextlib.ExitStack() as runs:
        for number, (name, (moment, delay)) in enumerate(MOMENTS.items(), 1):
            process = runs.enter_context(run(lost, tmp_path / f"run{number}.log"))
            wait_for(process, partial(happened, lost, number, moment), name)
            time.sleep(delay)
            assert process.poll() is None, f"{name}: it ended before it could be killed"
            process.send_signal(signal.SIGKILL)
            assert process.wait(timeout=10) == -signal.SIGKILL
            assert "run_finished" not in {entry["event"] for entry in journal(lost)}
        log = tmp_path / "runs.jsonl"
        goes_on(lost, 1 + len(MOMENTS), log)
        assert len(module_runs.read(log)) <= 45


def test_a_killed_session_and_container(begun: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """As when the host dies: the controller, its workers and the container that is being restored end at once."""
    recovery_id, process = begun
    wait_for(process, lambda: bool(one_shots("postgresql")), "PostgreSQL's one-shot container")
    time.sleep(1)
    # Workers have sessions of their own: the controller's group is the controller alone.
    workers = kill_all(process.pid) - {process.pid}
    assert workers, "no worker was at work: the fault did not happen"
    process.wait(timeout=10)
    killed = one_shots()
    assert killed, "no container was at work: the fault did not happen"
    subprocess.run(["docker", "kill", *killed], check=True, stdout=subprocess.DEVNULL)
    goes_on(recovery_id, 2, tmp_path / "runs.jsonl")


def test_a_killed_container_fails_its_component_alone(
    begun: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    recovery_id, process = begun
    wait_for(process, lambda: bool(one_shots("postgresql")), "PostgreSQL's one-shot container")
    time.sleep(1)
    subprocess.run(["docker", "kill", *one_shots("postgresql")], check=True, stdout=subprocess.DEVNULL)
    assert process.wait(timeout=240) != 0
    report = json.loads((STATE / recovery_id / "report.json").read_text(encoding="utf-8"))
    assert report["outcome"] == "partial"
    assert any(issue["component"] == "postgresql" for issue in report["issues"])
    verdicts = {name: report["rto"][name]["verdict"] for name in ("postgresql", "redis", "influxdb")}
    assert verdicts == {"postgresql": "not_measured", "redis": "met", "influxdb": "met"}
    assert (STATE / "lock").exists(), "an unfinished recovery keeps its lock"
    other = playbook(LAB_INVENTORY, "full_recovery.yml")
    assert other.status != 0
    assert f"recovery_id={recovery_id}" in other.text, "a run without the id says how to go on"
    goes_on(recovery_id, 2, tmp_path / "runs.jsonl")


def test_a_stopped_recovery_ends_at_a_step_and_goes_on(
    begun: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    recovery_id, process = begun
    wait_for(process, lambda: bool(one_shots("postgresql")), "PostgreSQL's one-shot container")
    asked = playbook(LAB_INVENTORY, "playbooks/stop.yml", "-e", f"recovery_id={recovery_id}")
    assert asked.status == 0, asked.text
    assert process.wait(timeout=240) != 0
    entries = journal(recovery_id)
    ends = ("step_finished", "step_failed", "step_refused")
    begun_steps = {step_of(entry) for entry in entries if entry["event"] == "step_started"}
    cut_off = begun_steps - {step_of(entry) for entry in entries if entry["event"] in ends}
    assert not cut_off
    assert "resume" not in {phase for phase, _, _ in begun_steps}
    goes_on(recovery_id, 2, tmp_path / "runs.jsonl")


def test_an_abandoned_recovery_frees_the_lock_and_cannot_go_on(begun: tuple[str, subprocess.Popen[bytes]]) -> None:
    recovery_id, process = begun
    wait_for(process, lambda: bool(one_shots("postgresql")), "PostgreSQL's one-shot container")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    unconfirmed = playbook(
        LAB_INVENTORY, "playbooks/abandon.yml", "-e", f"recovery_id={recovery_id}", "-e", "recovery_confirm=other"
    )
    assert unconfirmed.status != 0
    assert (STATE / "lock").exists()
    done = playbook(LAB_INVENTORY, "playbooks/abandon.yml", "-e", f"recovery_id={recovery_id}")
    assert done.status == 0, done.text
    assert not (STATE / "lock").exists()
    again = playbook(LAB_INVENTORY, "full_recovery.yml", "-e", f"recovery_id={recovery_id}")
    assert again.status != 0
    assert "PRC-307" in again.text
    fresh = playbook(LAB_INVENTORY, "full_recovery.yml")
    assert fresh.status == 0, fresh.text[-6000:]
