# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the application services are, as their gateway and they themselves say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.platform3.recovery.plugins.module_utils._gateway import Answer, Gateway, verdict_of

# The inputs that say which services there are, and whom to ask about them.
# Documented in doc_fragments/services.py.
SERVICES_ARGUMENTS: dict[str, dict[str, Any]] = {
    "tiers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "tier": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "watched": {"type": "bool", "default": True},
        },
    },
    "gateway_url": {"type": "str", "required": True},
    "gateway_service": {"type": "str", "default": "gateway"},
    "health_urls": {"type": "dict", "default": {}},
}


class Watch:
    """Asks how services are: the gateway about all it knows, the others at their own addresses."""

    def __init__(self, gateway: Gateway, gateway_service: str, urls: dict[str, str]) -> None:
        self.gateway = gateway
        self.gateway_service = gateway_service
        self.urls = urls
        self.verdicts: dict[str, str] = {}

    def look(self, services: list[str]) -> None:
        """Ask about these services; `verdicts` holds what was said."""
        health: Answer | None = None
        if any(service not in self.urls for service in services):
            health = self.gateway.call("GET", "/health")
        for service in services:
            if service in self.urls:
                parts = urlsplit(self.urls[service])
                answer = Gateway(f"{parts.scheme}://{parts.netloc}").call("GET", parts.path or "/")
                self.verdicts[service] = "ok" if answer.status == 200 else answer.shown()
            else:
                self.verdicts[service] = verdict_of(service, self.gateway_service, health)

    def well(self, services: list[str]) -> bool:
        """Whether all of these were well when last asked about."""
        return all(self.verdicts.get(service) == "ok" for service in services)


def services_of(tiers: list[dict[str, Any]]) -> list[str]:
    """The services of these tiers, in their order."""
    return [service for tier in tiers for service in tier["services"]]


def watched_services(tiers: Sequence[dict[str, Any]]) -> list[str]:
    """The services without which the platform is not well."""
    return services_of([tier for tier in tiers if tier["watched"]])


def some_services(tiers: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The tiers with the wanted services alone; a tier of which none is wanted is left out."""
    kept = [{**tier, "services": [name for name in tier["services"] if name in wanted]} for tier in tiers]
    return [tier for tier in kept if tier["services"]]
