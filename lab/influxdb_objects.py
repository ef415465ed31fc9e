# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes what the lab's InfluxDB holds besides points: buckets, scoped tokens, a task and a dashboard.

Idempotent: looks first, makes what is missing, prints a line for each thing made.
"""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

SECRETS = Path(__file__).parent.parent / "secrets" / "lab"
URL = os.environ.get("INFLUXDB_URL", f"http://127.0.0.1:{os.environ.get('INFLUXDB_PORT', '8086')}")
ORGANISATION = "forex-trading"
RETENTION = {"type": "expire", "everySeconds": 90 * 86400, "shardGroupDurationSeconds": 86400}
BUCKETS = ("market-data", "analytics")
# Secret file -> (bucket, what may be done with it).
TOKENS = {
    "influxdb_market_data_token": {"market-data": ("read", "write")},
    "influxdb_analytics_token": {"market-data": ("read",), "analytics": ("read", "write")},
    "influxdb_heartbeat_token": {"market-data": ("read", "write"), "analytics": ("read", "write")},
}
TASK = """option task = {name: "tick-count", every: 1h}

from(bucket: "market-data")
    |> range(start: -task.every)
    |> filter(fn: (r) => r._measurement == "ticks" and r._field == "bid")
    |> count()
    |> map(fn: (r) => ({_time: now(), _measurement: "tick_count", _field: "ticks", _value: r._value, symbol: r.symbol}))
    |> to(bucket: "analytics")
"""
DASHBOARD = {"name": "Market overview", "description": "Bid and ask of every symbol"}


def secret(name: str) -> str:
    """A secret of the lab."""
    return (SECRETS / name).read_text()


def call(method: str, path: str, body: dict[str, Any] | bytes | None = None) -> dict[str, Any]:
    """One request to the API as operator, with JSON or lines of points; an HTTP error is raised."""
    request = urllib.request.Request(
        URL + "/api/v2" + path,
        data=json.dumps(body).encode() if isinstance(body, dict) else body,
        method=method,
        headers={"Authorization": f"Token {secret('influxdb_token')}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = response.read()
    return json.loads(answer) if answer else {}


def ensure_buckets(organisation: str) -> dict[str, str]:
    """The buckets with a day a shard group; answers their ids by name."""
    found = {bucket["name"]: bucket for bucket in call("GET", "/buckets?limit=100")["buckets"]}
    for name in BUCKETS:
        if name not in found:
            found[name] = call("POST", "/buckets", {"orgID": organisation, "name": name, "retentionRules": [RETENTION]})
            print(f"made bucket {name}")
        elif not any(rule.items() >= RETENTION.items() for rule in found[name]["retentionRules"]):
            call("PATCH", f"/buckets/{found[name]['id']}", {"retentionRules": [RETENTION]})
            print(f"set the retention of bucket {name}")
    return {name: found[name]["id"] for name in BUCKETS}


def ensure_tokens(organisation: str, buckets: dict[str, str]) -> None:
    """Tokens that reach their buckets only; the secret file is written in place, since containers mount it."""
    known = {authorization["token"] for authorization in call("GET", "/authorizations")["authorizations"]}
    for name, access in TOKENS.items():
        if secret(name) in known:
            continue
        permissions = [
            {"action": action, "resource": {"type": "buckets", "id": buckets[bucket], "orgID": organisation}}
            for bucket, actions in access.items()
            for action in actions
        ]
        # The client library looks the organisation up by name.
        permissions.append({"action": "read", "resource": {"type": "orgs", "id": organisation}})
        made = call("POST", "/authorizations", {"orgID": organisation, "description": name, "permissions": permissions})
        (SECRETS / name).write_text(made["token"])
        print(f"made token {name}")


def ensure_task(organisation: str) -> None:
    """A small task, so that a recovery can prove that tasks come back."""
    if not call("GET", "/tasks?name=tick-count")["tasks"]:
        call("POST", "/tasks", {"orgID": organisation, "flux": TASK})
        print("made task tick-count")


def ensure_dashboard(organisation: str) -> None:
    """A dashboard, for the same reason."""
    query = urllib.parse.urlencode({"orgID": organisation})
    if not any(board["name"] == DASHBOARD["name"] for board in call("GET", f"/dashboards?{query}")["dashboards"]):
        call("POST", "/dashboards", {"orgID": organisation, **DASHBOARD})
        print(f"made dashboard {DASHBOARD['name']}")


def main() -> None:
    """Make everything that is missing."""
    organisation = call("GET", "/orgs?" + urllib.parse.urlencode({"org": ORGANISATION}))["orgs"][0]["id"]
    buckets = ensure_buckets(organisation)
    ensure_tokens(organisation, buckets)
    ensure_task(organisation)
    ensure_dashboard(organisation)


if __name__ == "__main__":
    main()
