# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill of the lab: live traffic, a backup, total loss, full recovery, and what the ledger says of it.

Run by `make drill` once the lab is up. Ends with status 0 only if the recovery was a success and every order that the
gateway had acknowledged before the recovery point is there again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LEDGER = ROOT / "lab/run/ledger.jsonl"
TRAFFIC_SECONDS = float(os.environ.get("DRILL_TRAFFIC_SECONDS", "10"))
STARTED = time.monotonic()


def say(text: str) -> None:
    """One line of what happens, with the time since the start."""
    passed = int(time.monotonic() - STARTED)
    print(f"[{passed // 60:02d}:{passed % 60:02d}] {text}", flush=True)


def utc_now() -> str:
    """This instant, ISO 8601 UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def playbook(name: str, **variables: str) -> int:
    """Run a playbook of the checkout; returns its exit status."""
    extra = [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]
    return subprocess.run([BIN / "ansible-playbook", name, *extra], cwd=ROOT, check=False).returncode


@contextlib.contextmanager
def traffic(orders_a_second: float = 50) -> Iterator[None]:
    """Customers trading while the block runs."""
    with open(ROOT / "lab/run/traffic.log", "w", encoding="utf-8") as log:
        argv = [sys.executable, ROOT / "lab/traffic.py", f"--rate={orders_a_second}"]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


def lose_everything() -> None:
    """Kill the platform's containers and delete its volumes, found by the environment's own label."""
    environment_id = (ROOT / "lab/run/environment_id").read_text(encoding="utf-8").strip()
    label = f"label=platform3.recovery.environment={environment_id}"
    for listing, removal in (
        (["ps", "--all", "--quiet"], ["rm", "--force"]),
        (["volume", "ls", "--quiet"], ["volume", "rm"]),
    ):
        found = subprocess.run(["docker", *listing, "--filter", label], capture_output=True, text=True, check=True)
        names = found.stdout.split()
        if not names:
            sys.exit(f"drill: nothing to lose: docker {' '.join(listing)} found nothing with {label}")
        subprocess.run(["docker", *removal, *names], check=True, stdout=subprocess.DEVNULL)


def acknowledged(until: str) -> dict[int, str]:
    """Orders in the ledger that the gateway acknowledged up to an instant: id to time."""
    rows = [json.loads(line) for line in LEDGER.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return {row["id"]: row["at"] for row in rows if row["at"] <= until}


def lost(orders: dict[int, str], until: str) -> dict[int, str]:
    """Those of the orders that the recovered database does not hold from before the incident."""
    import psycopg

    password = (ROOT / "secrets/lab/postgresql_password").read_text(encoding="utf-8")
    with psycopg.connect(host="127.0.0.1", dbname="forex_trading", user="forex_admin", password=password) as connection:
        found = connection.execute(
            "SELECT order_id FROM orders WHERE order_id = ANY(%s) AND created_at <= %s", (list(orders), until)
        ).fetchall()
    held = {row[0] for row in found}
    return {order: at for order, at in orders.items() if order not in held}


def main() -> int:
    """The drill, step by step."""
    LEDGER.unlink(missing_ok=True)
    with traffic():
        say(f"traffic runs ({TRAFFIC_SECONDS:.0f} s before and after the backup)")
        time.sleep(TRAFFIC_SECONDS)
        say("backup")
        if playbook("backup.yml") != 0:
            say("the backup failed: no disaster without one")
            return 1
        time.sleep(TRAFFIC_SECONDS)
        say("disaster: every container killed, every volume deleted")
        incident_at = utc_now()
        lose_everything()
        say("full recovery")
        status = playbook("full_recovery.yml", incident_at=incident_at, incident_id="DRILL")
    orders = acknowledged(incident_at)
    report = json.loads((ROOT / "reports/latest/report.json").read_text(encoding="utf-8"))
    point = report["rpo"]["trading_transactions"]["recovery_point"] or ""
    missing = lost(orders, incident_at)
    unexplained = {order: at for order, at in missing.items() if at <= point}
    say(
        f"ledger: {len(orders)} orders acknowledged before the incident, {len(missing)} lost, "
        f"{len(unexplained)} of them older than the recovery point {point}"
    )
    if not orders:
        say("no order was acknowledged: this drill proves nothing")
        return 1
    say(f"outcome: {report['outcome']}; report: {(ROOT / 'reports/latest/report.md').resolve()}")
    return status or (1 if unexplained or report["outcome"] != "success" else 0)


if __name__ == "__main__":
    sys.exit(main())
