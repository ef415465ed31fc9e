# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of its own with chosen shards of a set, restored by files into a volume that goes away with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import Plan
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_place import Placement, origin_of
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_scratch import ScratchServer
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_token import current_bolt
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker, stop_orphans

COMPONENT, SCRATCH_LABEL = "influxdb-buckets", "platform3.recovery.influxdb_buckets"


@contextmanager
def source_server(given: Mapping[str, Any], plan: Plan, fence: Fence) -> Iterator[InfluxApi]:
    """The scratch server's API. given: the module's inputs. Nothing of it is left; every byte read was compared."""
    remove_left(given["environment_id"], fence)
    volume = f"{given['compose']['project']}_influxdb-buckets-{fence.recovery_id}"
    labels = ["--label", f"{ENVIRONMENT_LABEL}={given['environment_id']}", "--label", f"{SCRATCH_LABEL}=yes"]
    docker(["volume", "create", *labels, volume])
    try:
        with (
            tempfile.TemporaryDirectory(prefix="platform3-buckets-") as folder,
            VolumeWorker(COMPONENT, volume, given["image"], given["environment_id"], fence) as worker,
        ):
            os.chmod(folder, 0o700)
            placement = Placement(
                worker,
                plan,
                given["set_path"],
                origin_of(given["artefacts"], given["older"]),
                Progress(given["progress_path"]),
                streams=given["streams"],
                bolt_path=current_bolt(
                    given["set_path"], plan.bolt, given["content"]["operator_token"], given["token"], folder
                ),
            )
            placement.restore()
            server = ScratchServer(worker, placement.folder, given["start_timeout_seconds"])
            with server, closing(server.api(given["token"])) as api:
                yield api
    finally:
        docker(["volume", "rm", "--force", volume], check=False)


def remove_left(environment_id: str, fence: Fence) -> None:
    """Take away what a run that was killed had left; what another one works with stays."""
    stop_orphans(COMPONENT, environment_id, fence)
    filters = ["--filter", f"label={ENVIRONMENT_LABEL}={environment_id}", "--filter", f"label={SCRATCH_LABEL}=yes"]
    for name in docker(["volume", "ls", "--quiet", *filters]).stdout.split():
        docker(["volume", "rm", name], check=False)
