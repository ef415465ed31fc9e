# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of a Compose project as the engine holds them now."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._configuration import image_ids, services_of
from ansible_collections.platform3.recovery.plugins.module_utils._docker import Compose, docker


def images_here(compose: Compose) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(service -> its image as image_ids gives it, names of images that the engine does not hold)."""
    services = services_of(json.loads(docker(compose.argv(["config", "--format", "json"])).stdout))
    names = sorted(set(services.values()))
    # inspect prints those it finds and fails for the others.
    inspected = json.loads(docker(["image", "inspect", *names], check=False).stdout or "[]") if names else []
    here = image_ids(inspected, services)
    return here, sorted({name for service, name in services.items() if service not in here})
