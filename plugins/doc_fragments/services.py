# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The application services, and where they say how they are.
    DOCUMENTATION = r"""
options:
  tiers:
    description: Services by tier, in the order in which they come back.
    type: list
    elements: dict
    required: true
    suboptions:
      tier:
        description: Name of the tier.
        type: str
        required: true
      services:
        description: Compose services of the tier.
        type: list
        elements: str
        required: true
      watched:
        description: Whether the platform is well only with it. Sidecars are started, and neither waited for nor asked.
        type: bool
        default: true
  gateway_url:
    description: Address of the gateway.
    type: str
    required: true
  gateway_service:
    description: Compose service of the gateway.
    type: str
    default: gateway
  health_urls:
    description: Own addresses of services that the gateway's health does not name, by service; 200 is well.
    type: dict
    default: {}
"""
