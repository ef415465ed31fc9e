# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A scratch InfluxDB on a restored folder beside the live data, inside the one-shot container.

It has no network but the container's own loopback, so nobody else can write to it, and it runs no tasks. Requests reach
it through `docker exec`, byte for byte: a token stands neither in an argument nor in an environment.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import BOLT_FILE, SQLITE_FILE
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

PORT = 8086
# Deletes and counts of a whole bucket take their time.
REQUEST_SECONDS = 3600.0
_PID, _LOG = "/tmp/influxd.pid", "/tmp/influxd.log"
# What the server works with: all else of the image's settings would lead to other folders.
_START = f"""
cd "$1"
for name in $(compgen -e INFLUXD_ || true); do unset "$name"; done
exec > {_LOG} 2>&1
echo $$ > {_PID}
exec influxd run --bolt-path="$1/{BOLT_FILE}" --sqlite-path="$1/{SQLITE_FILE}" --engine-path="$1/engine" \\
  --http-bind-address=127.0.0.1:{PORT} --no-tasks --reporting-disabled --ui-disabled --log-level=warn
"""
# Until it listens; status 3 where it has ended, 4 where the time is over.
_AWAIT = f"""
deadline=$((SECONDS + $1))
until (exec 3<>/dev/tcp/127.0.0.1/{PORT}) 2>/dev/null; do
  [ ! -e {_PID} ] || kill -0 "$(cat {_PID})" 2>/dev/null || exit 3
  [ "$SECONDS" -lt "$deadline" ] || exit 4
  sleep 0.05
done
"""
# influxd writes its last data on an interrupt only.
_STOP = f"""
[ -e {_PID} ] || exit 0
pid=$(cat {_PID}); kill -INT "$pid" 2>/dev/null || true
deadline=$((SECONDS + $1))
while kill -0 "$pid" 2>/dev/null; do [ "$SECONDS" -lt "$deadline" ] || exit 4; sleep 0.05; done
rm -f {_PID}
"""
# Bytes in both directions until either side ends.
_TUNNEL = f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; exec 4<&0; cat <&4 >&3 & cat <&3 & wait -n; kill $(jobs -p) 2>/dev/null"


class ScratchServer:
    """influxd on a folder of the worker's volume. A context manager, which may be entered again after it was left.

    RecoveryError PRC-762 where it does not start, or does not end in time.
    """

    def __init__(self, worker: VolumeWorker, folder: str, start_timeout_seconds: int) -> None:
        self._worker = worker
        self._folder = folder
        self._timeout_seconds = start_timeout_seconds

    def __enter__(self) -> ScratchServer:
        start = ["bash", "-euc", _START, "bash", self._folder]
        docker(self._worker.exec_argv(start, detach=True)[1:])
        ended = self._worker.bash(_AWAIT, str(self._timeout_seconds), check=False).returncode
        if ended:
            log = self._worker.bash(f"tail -n 20 {_LOG}", check=False)
            found = "it ended" if ended == 3 else f"it does not answer after {self._timeout_seconds} s"
            raise self._failed("start", f"{found} ({last_line(log.stdout) or last_line(log.stderr)})")
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        # Behind an error the container goes away with it, and what it had written is not used.
        if kind is None and self._worker.bash(_STOP, str(self._timeout_seconds), check=False).returncode:
            raise self._failed("stop", f"it still runs after {self._timeout_seconds} s")

    def _failed(self, verb: str, found: str) -> RecoveryError:
        return RecoveryError(
            "PRC-762",
            f"{verb} a scratch InfluxDB on the restored data",
            found,
            "the live data was not touched; what had been restored beside it is not used",
            "mend what is named (docker system df, memory of the host)",
        )

    def api(self, token: str) -> InfluxApi:
        """The server through the tunnel."""
        return ScratchApi(self._worker, token)


class ScratchApi(InfluxApi):
    """The scratch server, reached through `docker exec`."""

    def __init__(self, worker: VolumeWorker, token: str) -> None:
        super().__init__(f"http://127.0.0.1:{PORT}", token, REQUEST_SECONDS)
        self._worker = worker
        self._its_token = token

    def another(self, token: str | None = None) -> InfluxApi:
        """The same server through a tunnel of its own."""
        return ScratchApi(self._worker, self._its_token if token is None else token)

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = _Tunnel(self._worker)
        return self._connection


class _Tunnel(http.client.HTTPConnection):
    """A connection whose bytes pass through a process in the one-shot container."""

    def __init__(self, worker: VolumeWorker) -> None:
        super().__init__("127.0.0.1", PORT, timeout=REQUEST_SECONDS)
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Start the process and take its two ends as the socket."""
        own, its = socket.socketpair()
        with its:
            argv = self._worker.exec_argv(["bash", "-uc", _TUNNEL], interactive=True)
            self._process = subprocess.Popen(argv, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL)
        own.settimeout(REQUEST_SECONDS)
        self.sock = own

    def close(self) -> None:
        """End the process with the connection."""
        super().close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def keep_record(worker: VolumeWorker, path: str, record: object) -> None:
    """Write a record into the volume, as a file that moves with the data it is about."""
    worker.run(["bash", "-euc", 'cat > "$1"', "bash", path], stdin=json.dumps(record))


def kept_record(worker: VolumeWorker, path: str) -> Any:
    """The record in a file of the volume."""
    return json.loads(worker.bash('cat "$1"', path).stdout)
