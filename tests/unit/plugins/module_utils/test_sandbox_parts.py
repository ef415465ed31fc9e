# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sandbox's service made of the platform's, its inputs, and the comparison of both."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible_collections.platform3.recovery.plugins.filter.sandbox_comparison import sandbox_comparison
from ansible_collections.platform3.recovery.plugins.filter.sandbox_hosts import sandbox_hosts
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._input_names import SANDBOX_OWN
from ansible_collections.platform3.recovery.plugins.module_utils._inputs import normalise, scenario_problems
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox import Place, compare, sandbox_file
from ansible_collections.platform3.recovery.plugins.module_utils._sandbox_inputs import sandbox_problems
from ansible_collections.platform3.recovery.plugins.modules import sandbox

ROOT = Path(__file__).parents[4]
LABELS = {"platform3.recovery.environment": "lab-1-sandbox", "platform3.recovery.sandbox": "influxdb"}
PLACE = Place("influxdb", "influxdb", "p3-sandbox", "lab-1", "lab-1-sandbox", published=8086, port=18086)
CONFIG: dict[str, Any] = {
    "name": "p3",
    "services": {
        "influxdb": {
            "image": "influxdb:2",
            "container_name": "forex-influxdb",
            "depends_on": {"redis": {"condition": "service_healthy"}},
            "environment": {"ENVIRONMENT_ID": "lab-1", "OTHER": "kept"},
            "labels": {"platform3.recovery.environment": "lab-1", "proxy.enable": "true"},
            "network_mode": "host",
            "networks": {"default": None},
            "ports": [
                {"mode": "ingress", "target": 9, "published": "9"},
                {"mode": "ingress", "host_ip": "0.0.0.0", "target": 8086, "published": "8086", "protocol": "tcp"},
            ],
            "restart": "always",
            "secrets": [{"source": "token", "target": "/run/secrets/token"}],
            "volumes": [
                {"type": "volume", "source": "data", "target": "/data", "volume": {}},
                {"type": "bind", "source": "/opt/backups", "target": "/repository"},
            ],
        },
        "gateway": {"image": "gateway"},
    },
    "secrets": {"token": {"file": "/s/token"}, "another": {"file": "/s/another"}},
    # Both of a kind that a copy would go on sharing with the platform: a fixed name, and a folder of the host.
    "volumes": {"data": {"name": "p3_data", "external": True, "driver_opts": {"device": "/srv/data"}}},
    "networks": {"default": {"name": "p3_default"}},
}


def test_the_sandbox_shares_nothing_that_could_be_written_to() -> None:
    made = sandbox_file(CONFIG, PLACE)
    service = made["services"]["influxdb"]
    assert (made["name"], list(made["services"])) == ("p3-sandbox", ["influxdb"])
    assert made["volumes"] == {"data": {"labels": LABELS}}
    assert service["volumes"] == [
        {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        {"type": "bind", "source": "/opt/backups", "target": "/repository", "read_only": True},
    ]
    assert made["secrets"] == {"token": {"file": "/s/token"}} and made["configs"] == {}
    assert "services" in CONFIG and CONFIG["services"]["influxdb"]["restart"] == "always"


def test_the_sandbox_is_an_environment_of_its_own_on_loopback_alone() -> None:
    made = sandbox_file(CONFIG, PLACE)
    service = made["services"]["influxdb"]
    assert service["labels"] == LABELS and service["container_name"] == "forex-influxdb-sandbox"
    assert service["ports"] == [
        {"mode": "ingress", "target": 8086, "protocol": "tcp", "host_ip": "127.0.0.1", "published": "18086"}
    ]
    assert service["environment"] == {"ENVIRONMENT_ID": "lab-1-sandbox", "OTHER": "kept", "INFLUXD_NO_TASKS": "true"}
    assert service["restart"] == "no" and not {"depends_on", "network_mode"} & set(service)
    network = made["networks"]["default"]
    assert network["name"] == "p3-sandbox_influxdb" and network["labels"] == LABELS
    assert network["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def test_a_service_without_the_platforms_port_is_refused() -> None:
    elsewhere = Place("influxdb", "influxdb", "p3-sandbox", "lab-1", "lab-1-sandbox", published=8087, port=18086)
    with pytest.raises(RecoveryError, match="PRC-432.*no port 8087"):
        sandbox_file(CONFIG, elsewhere)


def test_a_port_that_is_taken_is_refused_by_the_name_of_its_input() -> None:
    with mock.patch.object(sandbox, "docker", return_value=mock.Mock(stdout="")), socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = replace(PLACE, port=other.getsockname()[1])
        with pytest.raises(RecoveryError, match="(?s)PRC-431.*recovery_sandbox_influxdb_port") as refused:
            sandbox.require_room(place)
        assert str(place.port) in refused.value.found and refused.value.data == "nothing was changed"
        other.close()
        sandbox.require_room(place)


def test_a_sandbox_that_is_there_is_refused_and_dropped_by_its_labels_alone() -> None:
    asked: list[list[str]] = []

    def docker(arguments: list[str]) -> mock.Mock:
        asked.append(arguments)
        return mock.Mock(stdout="left\n" if arguments[:2] == ["volume", "ls"] else "")

    with mock.patch.object(sandbox, "docker", docker):
        with pytest.raises(RecoveryError, match="PRC-430.*volume left"):
            sandbox.require_room(PLACE)
        assert {tuple(one[:2]) for one in asked} == {("ps", "--all"), ("volume", "ls"), ("network", "ls")}
        asked.clear()
        module = mock.Mock(check_mode=False, params={"path": "/nowhere"})
        assert sandbox.absent(module, PLACE) == {"changed": True, "removed": ["volume left"]}
    assert [one for one in asked if "--format" not in one] == [["volume", "rm", "left"]]
    listings = [one for one in asked if "--format" in one]
    assert len(listings) == 4
    assert all("label=platform3.recovery.environment=lab-1-sandbox" in one for one in listings)


def test_what_is_only_on_one_side_is_compared_too() -> None:
    there = [{"what": "orders", "count": 8, "newest": "2026-11-23T05:17:00.000Z"}, {"what": "gone", "count": 3}]
    running = [{"what": "new", "count": 1}, {"what": "orders", "count": 10, "newest": "2026-11-23T05:18:00.000Z"}]
    found = {one["what"]: (one["running"], one["sandbox"]) for one in compare(running, there)}
    assert found == {"orders": (10, 8), "gone": (None, 3), "new": (1, None)}
    assert compare(None, there)[0]["running"] is None


RECORD = {
    "environment": "lab",
    "target_time": "2026-11-23T05:17:00.000Z",
    "point_name": "",
    "wal_target": {},
    "backup_set": "20261123T050000Z",
    "components": {"redis": {"reached": "2026-11-23T05:17:00Z", "address": "127.0.0.1:16379", "container": "r"}},
}
GROUPS = {name: [f"{name}-1"] for name in ("postgresql", "redis", "influxdb")}


def test_the_card_shows_both_and_how_to_take_the_sandbox_over() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "postgresql-1": {
            "__sandbox_figures_running": {"failed": True, "msg": "it is down"},
            "__sandbox_figures_there": {"figures": [{"what": "orders", "count": 8, "newest": None}]},
        },
        "redis-1": {
            "__sandbox_figures_running": {"figures": [{"what": "keys in db0", "count": 1200, "newest": None}]},
            "__sandbox_figures_there": {"figures": [{"what": "keys in db0", "count": 1000, "newest": None}]},
        },
        "influxdb-1": {"__sandbox_figures_there": {"failed": True, "error": {"found": "no answer"}}},
    }
    shown = sandbox_comparison(hosts, GROUPS, RECORD)
    rows = {" ".join(line.split()) for line in shown["table"]}
    assert {"orders - 8 -", "keys in db0 1,200 1,000 -200", "no answer"} <= rows
    assert shown["problems"] == ["influxdb: no answer"]
    command = (
        "ansible-playbook point_in_time_recovery.yml -e recovery_target_time=2026-11-23T05:17:00.000Z"
        " -e recovery_backup_set=20261123T050000Z -e recovery_confirm=lab -e recovery_replace_running=lab"
    )
    assert command in rows and shown["found"]["take_over"] == command


@pytest.mark.parametrize(
    ("asked", "target", "words"),
    [
        ({"point_name": "before-release"}, "recovery_point_name=before-release", "(restore point before-release)"),
        ({"wal_target": {"kind": "lsn", "value": "0/A"}}, "recovery_target_lsn=0/A", "(LSN 0/A)"),
        ({"wal_target": {"kind": "xid", "value": "771"}}, "recovery_target_xid=771", "(transaction 771)"),
    ],
)
def test_it_is_taken_over_by_what_was_asked_for_and_not_by_its_instant(
    asked: dict[str, Any], target: str, words: str
) -> None:
    shown = sandbox_comparison({f"{one}-1": {} for one in GROUPS}, GROUPS, {**RECORD, **asked})
    assert f"point_in_time_recovery.yml -e {target} -e" in shown["found"]["take_over"]
    assert "recovery_target_time" not in shown["found"]["take_over"]
    assert f"2026-11-23T05:17:00.000Z {words}, from backup set" in "\n".join(shown["table"])


def test_who_failed_or_said_nothing_has_not_come_through() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "postgresql-1": {"ready": True, "dropped": {"failed": True}},
        "redis-1": {"dropped": {"unreachable": True}},
        "influxdb-1": {"ready": True, "dropped": {"removed": []}},
    }
    assert list(sandbox_hosts(hosts, GROUPS, "ready")) == ["postgresql", "influxdb"]
    assert list(sandbox_hosts(hosts, GROUPS, "dropped")) == ["influxdb"]


# --- inputs ----------------------------------------------------------------------------------------------------------

TARGET = {"recovery_target_time": "2026-11-23T05:17:00Z"}


@pytest.mark.parametrize(
    ("scenario", "given", "extra", "code"),
    [
        ("sandbox", {"recovery_into": "sandbx", **TARGET}, [], "PRC-102"),
        ("sandbox", {"recovery_into": "sandbox"}, [], "PRC-109"),
        ("sandbox", {**TARGET, "recovery_point_name": "before-release"}, [], "PRC-109"),
        ("sandbox", {**TARGET, "recovery_components": "redis"}, [], "PRC-108"),
        # In an inventory, where the playbook cannot see it: the platform would be replaced.
        ("point_in_time", {"recovery_into": "sandbox", **TARGET}, [], "PRC-130"),
        ("full", {"recovery_into": "sandbox"}, [], "PRC-130"),
        ("sandbox", {**TARGET, "recovery_id": "r"}, [], "PRC-130"),
        ("sandbox", {**TARGET, "recovery_sandbox_redis_port": "15432"}, [], "PRC-131"),
        ("sandbox", {**TARGET, "recovery_sandbox_redis_port": "65536"}, [], "PRC-102"),
        ("sandbox", {**TARGET, "recovery_sandbox_redis_port": "redis"}, [], "PRC-102"),
        ("sandbox", TARGET, ["postgresql_compose", "recovery_target_time"], "PRC-132"),
    ],
)
def test_bad_input_of_a_sandbox_is_refused(scenario: str, given: dict[str, Any], extra: list[str], code: str) -> None:
    inputs, problems = normalise(given)
    problems += scenario_problems(scenario, inputs) + sandbox_problems(scenario, inputs, extra)
    assert [one.code for one in problems] == [code]


def test_good_input_of_a_sandbox_is_taken() -> None:
    inputs, problems = normalise({**TARGET, "recovery_into": " Sandbox ", "recovery_sandbox_redis_port": "7000"})
    assert problems + scenario_problems("sandbox", inputs) + sandbox_problems("sandbox", inputs, TARGET) == []
    assert (inputs["recovery_into"], inputs["recovery_sandbox_redis_port"]) == ("sandbox", 7000)


def test_what_the_sandbox_replaces_cannot_be_given_from_outside() -> None:
    [task] = yaml.safe_load((ROOT / "roles/sandbox/tasks/component.yml").read_text(encoding="utf-8"))
    assert set(task["vars"]) | {"recovery_state_path"} == SANDBOX_OWN
