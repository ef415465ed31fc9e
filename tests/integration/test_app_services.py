# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's services: closed and resumed, validated as a customer does, opened. No customer's data is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = "ansible_collections.platform3.recovery.plugins.modules"
GATEWAY = "http://127.0.0.1:3000"
CONTROL = ROOT / "lab/run/control"

pytestmark = [pytest.mark.integration, pytest.mark.lab]


def secret(name: str) -> str:
    """One of the lab's secrets."""
    return (ROOT / "secrets/lab" / name).read_text(encoding="utf-8")


def variables(path: str) -> dict[str, Any]:
    """A YAML file's variables, untemplated."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return loaded


def epoch() -> int:
    """The epoch that the gateway has now."""
    return int((CONTROL / "epoch").read_text(encoding="utf-8"))


def database() -> dict[str, Any]:
    """How the trading database is reached."""
    return {"database": "forex_trading", "user": "forex_admin", "password": secret("postgresql_password")}


def run(folder: Path, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A module's result, its input in a file as Ansible's own debugging takes it."""
    path = folder / f"{name}.json"
    fence = {"recovery_id": "app-services-test", "epoch": epoch()}
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"fence": fence, **given}}))
    path.chmod(0o600)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    done = subprocess.run(
        [sys.executable, "-m", f"{MODULES}.{name}", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stdout.strip(), done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def validation(**others: Any) -> dict[str, Any]:
    """The inputs of platform_validate_info, as the role gives them."""
    defaults = variables("roles/app_services/defaults/main.yml")
    given = {
        "project": "platform3-lab",
        "gateway_url": GATEWAY,
        "dashboard_url": "http://127.0.0.1:8080",
        "dashboard_title": "Platform3",
        "username": "recovery",
        "password": secret("recovery_password"),
        "postgresql": database(),
        "consistency_queries": defaults["app_services_consistency_queries"],
        "order_query": defaults["app_services_order_query"],
        "recent_orders_query": defaults["app_services_recent_orders_query"],
    }
    return given | others


def test_orders() -> tuple[int, int]:
    """Test orders in the database: all, and those still filled."""
    given = database()
    with psycopg.connect(
        host="127.0.0.1", dbname=given["database"], user=given["user"], password=given["password"]
    ) as connection:
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE status = 'filled') FROM orders WHERE is_test"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


test_orders.__test__ = False  # type: ignore[attr-defined]


def bad(result: dict[str, Any]) -> set[str]:
    """Names of the checks that failed."""
    return {one["name"] for one in result["checks"] if not one["ok"]}


def login_status(username: str) -> int:
    """The status of a login with a password that is none."""
    body = json.dumps({"username": username, "password": "none"}).encode()
    request = urllib.request.Request(f"{GATEWAY}/api/v1/auth/login", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def opened() -> Iterator[None]:
    """The platform is open again afterwards, whatever happened."""
    yield
    (CONTROL / "maintenance").unlink(missing_ok=True)
    time.sleep(1.1)


def test_a_platform_is_proven_and_no_test_order_stays(tmp_path: Path) -> None:
    before = test_orders()
    result = run(tmp_path, "platform_validate_info", validation())
    assert not result.get("failed"), result
    assert bad(result) == set() and len(result["checks"]) >= 25
    assert result["trade_read_back_at"].endswith("Z")
    assert result["parts"]["trade_read_back"] < result["parts"]["all"]
    assert {one["call"] for one in result["response_times"]} >= {"login", "place order", "read order", "undo order"}
    assert result["explain"]["indexes"] and result["explain"]["execution_milliseconds"] >= 0
    assert len(result["containers"]) >= 10 and all(one["cpu"].endswith("%") for one in result["containers"])
    assert test_orders() == (before[0] + 1, 0)


def test_everything_that_is_wrong_is_told_at_once_and_the_order_is_undone(tmp_path: Path) -> None:
    wrong = validation(
        dashboard_url="http://127.0.0.1:9",
        response_max_milliseconds=0.001,
        consistency_queries=[
            {"name": "a figure that differs", "query": "SELECT 1, 2"},
            {"name": "a query that is none", "query": "SELECT nothing FROM nowhere"},
            {"name": "a query that writes", "query": "DELETE FROM settings RETURNING 0, 0"},
        ],
        recent_orders_query="SELECT * FROM settings WHERE value IS NULL",
    )
    result = run(tmp_path, "platform_validate_info", wrong)
    assert result["failed"] and result["error"]["code"] == "PRC-805"
    assert bad(result) >= {
        "dashboard",
        "a figure that differs",
        "a query that is none",
        "a query that writes",
        "orders of the last hour are found by",
        "response time: place order",
    }
    assert test_orders()[1] == 0


def test_a_wrong_password_trades_nothing(tmp_path: Path) -> None:
    before = test_orders()
    result = run(tmp_path, "platform_validate_info", validation(password="wrong"))
    assert result["failed"] and "login" in bad(result)
    assert test_orders() == before


def test_customers_are_kept_out_until_the_platform_is_opened(tmp_path: Path, opened: None) -> None:
    lab = variables("inventories/lab/group_vars/all/platform.yml")
    compose = lab["recovery_compose"]
    resumed = run(
        tmp_path,
        "app_services_resume",
        {
            "compose": {
                "project": compose["project"],
                "directory": str(ROOT / "lab"),
                "files": compose["files"],
                "env_file": str(ROOT / "lab/run/compose.env"),
            },
            "tiers": lab["app_services_tiers"],
            "close_argv": ["touch", str(CONTROL / "maintenance")],
            "epoch_path": str(CONTROL / "epoch"),
            "gateway_url": GATEWAY,
            "health_urls": {"dashboard": "http://127.0.0.1:8080/health"},
        },
    )
    assert not resumed.get("failed"), resumed
    assert set(resumed["parts"]) == {"critical", "high", "medium"}
    assert login_status("trader00001") == 503 and login_status("recovery") == 401
    closed = run(tmp_path, "platform_validate_info", validation())
    assert not closed.get("failed"), closed

    given = {"open_argv": ["rm", "--force", str(CONTROL / "maintenance")], "gateway_url": GATEWAY}
    shut = run(tmp_path, "app_services_open", given | {"open_argv": ["true"], "timeout_seconds": 1})
    assert shut["failed"] and shut["error"]["code"] == "PRC-804"
    result = run(tmp_path, "app_services_open", given)
    assert not result.get("failed") and result["opened_at"].endswith("Z"), result
    assert login_status("trader00001") == 401


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    given = {"open_argv": ["false"], "gateway_url": GATEWAY}
    assert run(tmp_path, "app_services_open", given)["error"]["code"] == "PRC-803"
