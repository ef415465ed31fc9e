# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work inside a datastore's volume: one-shot containers behind the fence, the exchange of data folders, quarantine.

A volume holds `data/` (live), `environment_id`, `epoch`, `restore-<recovery_id>/` (being restored),
`quarantine/<recovery_id>/` (the old data) and `swap-<recovery_id>` (how far the exchange got).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    ENVIRONMENT_LABEL,
    docker,
    last_line,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence

ROOT = "/var/lib/platform3"
DATA = f"{ROOT}/data"
COMPONENT_LABEL = "platform3.recovery.one_shot"
RECOVERY_LABEL = "platform3.recovery.recovery_id"
EPOCH_LABEL = "platform3.recovery.epoch"
FENCED_STATUS = 75
LIFETIME_SECONDS = 4 * 3600

# Holds the volume's lock for the container's life, so that one writer at a time is in a volume, and refuses a holder
# that has been outranked. Only then the epoch is raised. Dies by itself, so that a lost controller leaves nothing.
_GUARD = f"""
exec 9>{ROOT}/.one-shot.lock
flock --timeout 20 9 || {{ echo "another one-shot container still works in this volume" >&2; exit {FENCED_STATUS}; }}
known=$(cat {ROOT}/epoch 2>/dev/null || echo 0)
if [ "$known" -gt "$FENCE_EPOCH" ]; then
  echo "the volume is at epoch $known, this run holds $FENCE_EPOCH" >&2; exit {FENCED_STATUS}
fi
if [ "$known" -ne "$FENCE_EPOCH" ]; then
  printf %s "$FENCE_EPOCH" > {ROOT}/epoch.new && mv -f {ROOT}/epoch.new {ROOT}/epoch
fi
echo ready
exec sleep "$LIFETIME"
"""


@dataclass
class VolumeWorker:
    """A one-shot container with a volume mounted at ROOT, alone in it, behind the fence. A context manager.

    component: for its name and label; volume: the engine's name of the volume; image: the datastore's own image;
    environment_id: for the label; mounts: further `--mount`/`-v` values ("source:target:ro");
    network: an engine network, "none" by default; cpu_shares: its weight where processors are short (a container has
    1024).
    """

    component: str
    volume: str
    image: str
    environment_id: str
    fence: Fence
    mounts: Sequence[str] = ()
    network: str = "none"
    environment: dict[str, str] = field(default_factory=dict)
    shared_memory: str = "256m"
    cpu_shares: int = 1024

    @property
    def name(self) -> str:
        """The container's name; the epoch in it keeps an orphan's clean-up off its successor."""
        return f"platform3-one-shot-{self.volume}-{self.fence.epoch}"

    def __enter__(self) -> VolumeWorker:
        stop_orphans(self.component, self.environment_id, self.fence)
        arguments = ["run", "--detach", "--init", "--name", self.name, "--network", self.network]
        arguments += ["--label", f"{ENVIRONMENT_LABEL}={self.environment_id}"]
        arguments += ["--label", f"{COMPONENT_LABEL}={self.component}"]
        arguments += ["--label", f"{RECOVERY_LABEL}={self.fence.recovery_id}"]
        arguments += ["--label", f"{EPOCH_LABEL}={self.fence.epoch}"]
        arguments += ["--env", f"FENCE_EPOCH={self.fence.epoch}", "--env", f"LIFETIME={LIFETIME_SECONDS}"]
        for key, value in self.environment.items():
            arguments += ["--env", f"{key}={value}"]
        arguments += ["--shm-size", self.shared_memory, "--cpu-shares", str(self.cpu_shares)]
        arguments += ["--volume", f"{self.volume}:{ROOT}"]
        for mount in self.mounts:
            arguments += ["--volume", mount]
        try:
            docker([*arguments, self.image, "bash", "-uc", _GUARD])
        except RecoveryError as error:
            if "already in use" not in error.found:
                self.remove()  # made but not started; one of the same name and epoch that works is not ours to end
            raise
        try:
            self._await_ready()
        except BaseException:
            self.remove()
            raise
        return self

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            logs = docker(["logs", self.name], check=False)
            if "ready" in logs.stdout.split():
                return
            state = docker(["inspect", "--format", "{{.State.Running}}", self.name], check=False).stdout.strip()
            if state != "true":
                raise self._refused(last_line(logs.stderr) or "the one-shot container ended at once")
            time.sleep(0.05)
        raise self._refused("the one-shot container was not ready after 30 s")

    def _refused(self, found: str) -> RecoveryError:
        return RecoveryError(
            "PRC-402",
            f"work in volume {self.volume} as {self.fence.recovery_id}, epoch {self.fence.epoch}",
            found,
            "this run changed nothing in the volume",
            "see who holds the lock in the state folder: that run decides",
        )

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the container away; what it had written stays in the volume."""
        docker(["rm", "--force", self.name], check=False)

    def exec_argv(self, argv: Sequence[str], *, interactive: bool = False, detach: bool = False) -> list[str]:
        """The full command line (with docker) that runs argv in the container, for a caller that streams to it."""
        flags = (["--interactive"] if interactive else []) + (["--detach"] if detach else [])
        return ["docker", "exec", *flags, self.name, *argv]

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout_seconds: float = 3600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run argv in the container to its end."""
        full = self.exec_argv(argv, interactive=stdin is not None)
        return docker(full[1:], stdin=stdin, timeout_seconds=timeout_seconds, check=check)

    def bash(
        self, script: str, *arguments: str, timeout_seconds: float = 3600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a bash script (-eu) in the container; arguments are $1, $2 …"""
        return self.run(["bash", "-euc", script, "bash", *arguments], timeout_seconds=timeout_seconds, check=check)

    def swap_state(self) -> str:
        """How far the exchange of this recovery got: "", "restored", "swapping", "swapped" or "rolled_back"."""
        return self.bash(f'cut -d" " -f1 {ROOT}/swap-"$1" 2>/dev/null || true', self.fence.recovery_id).stdout.strip()

    def mark_restored(self) -> None:
        """Record that restore-<recovery_id>/ is whole and checked."""
        self.bash(_WRITE_STATE + "write_state restored", self.fence.recovery_id)

    def swap_in(self) -> None:
        """Exchange data/ with restore-<recovery_id>/, the old data goes to quarantine; once, however often called."""
        self.bash(_WRITE_STATE + _SWAP_IN, self.fence.recovery_id, self.environment_id)

    def roll_back(self) -> None:
        """Exchange data/ with the quarantined old data; the restored data is in quarantine afterwards."""
        self.bash(_WRITE_STATE + _ROLL_BACK, self.fence.recovery_id, self.environment_id)

    def release(self) -> None:
        """Delete what quarantine/<recovery_id>/ holds: it cannot be put back any more."""
        self.bash(_RELEASE, self.fence.recovery_id)


_WRITE_STATE = f"""
root={ROOT}; id=$1
write_state() {{
  printf %s "$*" > "$root/swap-$id.new"; sync "$root/swap-$id.new"; mv -f "$root/swap-$id.new" "$root/swap-$id"
}}
state=$(cat "$root/swap-$id" 2>/dev/null || true)
"""

# The inode of the folder that moves in is recorded first: after a crash it tells whether the exchange had happened.
_SWAP_IN = """
case "$state" in
  swapped*) exit 0;;
  swapping*) inode=${state#swapping };;
  restored*) inode=$(stat -c %i "$root/restore-$id"); write_state swapping "$inode";;
  *) echo "nothing was restored for $id" >&2; exit 1;;
esac
mkdir -p "$root/quarantine" "$root/data"
if [ "$(stat -c %i "$root/data")" != "$inode" ]; then
  mv -T --exchange "$root/restore-$id" "$root/data"
fi
if [ -d "$root/restore-$id" ]; then mv -T "$root/restore-$id" "$root/quarantine/$id"; fi
printf %s "$2" > "$root/environment_id.new"; mv -f "$root/environment_id.new" "$root/environment_id"
write_state swapped; sync -f "$root"
"""

_ROLL_BACK = """
case "$state" in
  rolled_back*) exit 0;;
  rolling_back*) inode=${state#rolling_back };;
  swapped*)
    [ -n "$(ls -A "$root/quarantine/$id" 2>/dev/null)" ] || { echo "the quarantine of $id holds no data" >&2; exit 1; }
    inode=$(stat -c %i "$root/quarantine/$id"); write_state rolling_back "$inode";;
  *) echo "$id did not exchange the data of this volume" >&2; exit 1;;
esac
if [ "$(stat -c %i "$root/data")" != "$inode" ]; then mv -T --exchange "$root/quarantine/$id" "$root/data"; fi
write_state rolled_back; sync -f "$root"
"""

_RELEASE = f"""
root={ROOT}
if [ -d "$root/quarantine/$1" ]; then mv -T "$root/quarantine/$1" "$root/quarantine/.released-$1"; fi
rm -rf "$root/quarantine/.released-$1" "$root/swap-$1"
"""


def stop_orphans(component: str, environment_id: str, fence: Fence) -> list[str]:
    """Take away one-shot containers of this component that an older epoch left at work, and prove them gone.

    A container of the same or a newer epoch is left: the volume's own lock and epoch decide between them. Returns the
    names that were stopped; raises RecoveryError PRC-403 where one stays.
    """
    filters = ["--filter", f"label={ENVIRONMENT_LABEL}={environment_id}"]
    filters += ["--filter", f"label={COMPONENT_LABEL}={component}"]
    listing = ["ps", "--all", *filters, "--format", '{{.Names}} {{.Label "' + EPOCH_LABEL + '"}}']
    older = _older_than(docker(listing).stdout, fence.epoch)
    if older:
        docker(["rm", "--force", *older], check=False)
        left = _older_than(docker(listing).stdout, fence.epoch)
        if left:
            raise RecoveryError(
                "PRC-403",
                f"stop the one-shot containers of an earlier run ({', '.join(left)})",
                "they are still there",
                "they may still be writing beside the live data; nothing was exchanged",
                f"docker rm --force {' '.join(left)}",
            )
    return older


def _older_than(listing: str, epoch: int) -> list[str]:
    """Names in lines of "name epoch" whose epoch is below the given one."""
    rows = [line.split() for line in listing.splitlines() if line.strip()]
    return [row[0] for row in rows if len(row) == 2 and row[1].isdigit() and int(row[1]) < epoch]
