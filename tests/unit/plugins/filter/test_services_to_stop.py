# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services stop while components are brought back."""

from __future__ import annotations

from ansible_collections.platform3.recovery.plugins.filter.services_to_stop import services_to_stop

TIERS = [
    {"tier": "critical", "services": ["trading-service", "gateway"]},
    {"tier": "medium", "services": ["analytics-service"]},
    {"tier": "sidecars", "services": ["heartbeat"], "watched": False},
]
EVERY = ["trading-service", "gateway", "analytics-service", "heartbeat"]
DEPENDENTS = {"postgresql": ["heartbeat", "trading-service"], "redis": [], "influxdb": ["analytics-service"]}


def test_only_what_depends_on_a_datastore_stops_in_the_order_in_which_it_comes_back() -> None:
    assert services_to_stop(TIERS, DEPENDENTS, ["postgresql"]) == ["trading-service", "heartbeat"]
    assert services_to_stop(TIERS, DEPENDENTS, ["redis"]) == []
    assert services_to_stop(TIERS, DEPENDENTS, ["influxdb", "postgresql"]) == [
        "trading-service",
        "analytics-service",
        "heartbeat",
    ]


def test_all_stop_where_the_services_themselves_are_brought_back_or_nothing_is_known() -> None:
    assert services_to_stop(TIERS, DEPENDENTS, ["redis", "app_services"]) == EVERY
    assert services_to_stop(TIERS, {"redis": []}, ["influxdb"]) == EVERY
    assert services_to_stop(TIERS, {}, ["redis"]) == EVERY


def test_none_stops_for_configuration_alone() -> None:
    assert services_to_stop(TIERS, {}, ["configuration"]) == []
