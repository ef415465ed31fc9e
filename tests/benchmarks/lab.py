# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as the benchmark uses it: refuse any other environment, back up, lose, recover, and leave it serving."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.platform3.recovery.plugins.module_utils._gateway import ORDERS, Gateway
from ansible_collections.platform3.recovery.plugins.module_utils._journal import Entry, parse
from ansible_collections.platform3.recovery.plugins.module_utils._journal_file import read_journal
from ansible_collections.platform3.recovery.plugins.module_utils._state import parse_lock, read_text
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso

from tests import module_runs
from tools.drill import lose_everything, utc_now

LABEL = "platform3.recovery.environment"
ELSEWHERE = "platform3.recovery.elsewhere"
BEGAN = time.monotonic()
ORDER = {"symbol": "EURUSD", "type": "market", "side": "buy", "quantity": 0.1, "is_test": True}


class Refused(Exception):
    """Why nothing is measured here."""


@dataclass(frozen=True)
class Recovery:
    """A recovery that succeeded: its report, loss to trade read back, and how many modules ran on hosts."""

    report: dict[str, Any]
    trade_seconds: float
    module_runs: int


def say(text: str) -> None:
    """One line of what happens, with the time since the start."""
    passed = int(time.monotonic() - BEGAN)
    print(f"[{passed // 60:02d}:{passed % 60:02d}] {text}", flush=True)


def output(*argv: str) -> str:
    """What a command prints; CalledProcessError where it fails."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


class Lab:
    """The checkout's own lab."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_path = root / "lab/run"
        self.id = read_text(str(self.run_path / "environment_id")).strip()
        facts = yaml.safe_load((root / "inventories/lab/group_vars/all/platform.yml").read_text(encoding="utf-8"))
        self.facts: dict[str, Any] = facts
        self.store, self.state = Path(facts["backup_store_path"]), Path(facts["recovery_state_path"])
        self.lost_at = 0.0
        self._lost: dict[str, str] = {}
        self._logs = 0

    def secret(self, name: str) -> str:
        """A secret of the lab."""
        return (self.root / "secrets/lab" / name).read_text(encoding="utf-8").strip()

    def compose(self, *arguments: str) -> list[str]:
        """The command line of Compose for the lab."""
        files = [f"--file={self.root}/lab/{name}" for name in self.facts["recovery_compose"]["files"]]
        return ["docker", "compose", "--env-file", f"{self.run_path}/compose.env", *files, *arguments]

    def sql(self, *commands: str) -> str:
        """What the database answers to its superuser, rows alone; CalledProcessError at the first that fails."""
        connect = ["--no-psqlrc", "--username=postgres", f"--dbname={self.facts['postgresql_database']}"]
        form = ["--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        psql = ["docker", "exec", self.facts["postgresql_container"], "psql", *connect, *form]
        return output(*psql, *(f"--command={one}" for one in commands))

    # Guard

    def require_ours(self) -> None:
        """Refuse unless everything that will be destroyed is this checkout's lab, and it serves."""
        if not re.fullmatch(r"lab-[0-9a-f]{12}", self.id):
            raise Refused("lab/run/environment_id names no lab: run `make lab` first")
        ids = {
            f"{path}/environment_id": read_text(f"{path}/environment_id").strip() for path in (self.store, self.state)
        }
        variables = dict(line.split("=", 1) for line in read_text(f"{self.run_path}/compose.env").split())
        ids["lab/run/compose.env"] = variables.get("PLATFORM3_ENVIRONMENT_ID", "")
        project = self.facts["recovery_compose"]["project"]
        listing = ["docker", "volume", "ls", "--filter", f"label=com.docker.compose.project={project}", "--format"]
        # What stands for another machine (the second copy's store) has the id under another label: it is not destroyed.
        for line in output(
            *listing, f'{{{{.Name}}}} {{{{.Label "{LABEL}"}}}}{{{{.Label "{ELSEWHERE}"}}}}'
        ).splitlines():
            name, _, found = line.partition(" ")
            ids[f"volume {name}"] = found
        foreign = [f"{where} ({found or 'no id'})" for where, found in ids.items() if found != self.id]
        if foreign:
            raise Refused(f"this is not the lab {self.id} of this checkout alone: {', '.join(foreign)}")
        held = parse_lock(read_text(f"{self.state}/lock"))
        if held:
            raise Refused(f"{held.kind} {held.recovery_id} holds the lock: let it end, or end it, before measuring")
        if not self.serves():
            raise Refused("the lab does not serve customers: recover it, or run `make lab`, before measuring")

    def serves(self) -> bool:
        """Whether customers are let in and a trade is placed and read back; it is undone."""
        gateway = Gateway(self.facts["platform_gateway_url"])
        traded = trade(gateway, self.secret("recovery_password"))
        if traded is not None:
            gateway.call("DELETE", f"{ORDERS}/{traded}")
        return traded is not None and gateway.admits_customers().status == 401

    # Acts

    def playbook(self, name: str, variables: dict[str, str], environment: dict[str, str]) -> Path:
        """Run a playbook, its words into a log; gives the list of its module runs. RuntimeError where it fails."""
        folder = self.run_path / "benchmark"
        folder.mkdir(exist_ok=True)
        self._logs += 1
        stem = f"{self._logs:02d}-{Path(name).name}"
        log, runs = folder / f"{stem}.log", folder / f"{stem}.jsonl"
        runs.unlink(missing_ok=True)
        extra = [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), name, *extra]
        with log.open("w", encoding="utf-8") as stream:
            status = subprocess.run(
                argv,
                cwd=self.root,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **module_runs.environment(runs), **environment},
                check=False,
            ).returncode
        if status != 0:
            raise RuntimeError(f"{name} ended with status {status}: see {log}")
        return runs

    def back_up(self, environment: dict[str, str] | None = None) -> Path:
        """A fresh backup set; gives its folder."""
        say("backup")
        self.playbook("backup.yml", {}, environment or {})
        return self.newest_set()

    def lose(self) -> None:
        """Every container killed, every volume deleted."""
        say("total loss")
        self._lost = {"incident_at": utc_now(), "incident_id": "BENCHMARK"}
        lose_everything()
        self.lost_at = time.time()

    def recover(self, environment: dict[str, str] | None = None) -> Recovery:
        """full_recovery.yml after lose()."""
        say("full_recovery.yml")
        runs = self.playbook("full_recovery.yml", self._lost, environment or {})
        report = json.loads((self.root / "reports/latest/report.json").read_text(encoding="utf-8"))
        if report["outcome"] != "success":
            raise RuntimeError(f"recovery {report['recovery_id']} ended as {report['outcome']}")
        traded_at = parse_iso(report["started_at"]) + report["timing"]["first_trade_seconds"]
        return Recovery(report, traded_at - self.lost_at, len(module_runs.read(runs)))

    def leave_serving(self) -> bool:
        """Recover the lab, twice if need be, unless it serves; whether it does now."""
        for _attempt in range(2):
            if self.serves():
                return True
            say("the lab does not serve: recovering it")
            held = parse_lock(read_text(f"{self.state}/lock"))
            unfinished = {"recovery_id": held.recovery_id} if held and held.kind == "recovery" else {}
            try:
                self.playbook("full_recovery.yml", unfinished, {})
            except RuntimeError as error:
                say(str(error))
        if self.serves():
            return True
        say("THE LAB DOES NOT SERVE. Bring it back with: .venv/bin/ansible-playbook full_recovery.yml")
        return False

    # Facts

    def newest_set(self) -> Path:
        """The folder of the newest complete backup set."""
        return max(path.parent for path in self.store.glob("*Z/backup_manifest.json"))

    def journal(self, run_id: str) -> list[Entry]:
        """The entries of a run's journal. RecoveryError where there is none."""
        return parse(read_journal(str(self.state), run_id).decode())

    @staticmethod
    def manifest(backup_set: Path) -> dict[str, Any]:
        """The manifest of a set."""
        read: dict[str, Any] = json.loads((backup_set / "backup_manifest.json").read_text(encoding="utf-8"))
        return read


def trade(gateway: Gateway, password: str) -> int | None:
    """Log in, place an order, read it back; its id, or None where one of them did not work."""
    if not gateway.token and gateway.log_in("recovery", password).status != 200:
        return None
    placed = gateway.call("POST", ORDERS, ORDER)
    order = placed.field("id") if placed.status == 201 else None
    read = gateway.call("GET", f"{ORDERS}/{order}") if order is not None else placed
    return int(order) if order is not None and read.status == 200 and read.field("id") == order else None
