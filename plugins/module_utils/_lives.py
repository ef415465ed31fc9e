# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lives of the data: a recovery begins a folder of its own for streamed WAL and one for Redis' log. Which may go.

A folder goes once all that it holds is older than anything that a set which stays can be carried on with: for Redis its
data in the oldest of them, for PostgreSQL the first WAL of the oldest base backup. The decision is pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.platform3.recovery.plugins.module_utils._chains import chain_of
from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Manifest, set_instant
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import View
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._wal import parse_segment

STREAM, LOG = "wal-stream", "aof"
_MOUNT = "/lives"
_LINE = re.compile(r"(wal-stream|aof) ([A-Za-z0-9._-]+) (-?\d+) (\d+) (\d+)(?:\.\d+)?")

# Of each folder: kind, name, epoch (-1 without), bytes, and when its newest content was written.
_LOOK = rf"""
shopt -s nullglob
cd {_MOUNT}
for life in */*/; do
  life=${{life%/}}; epoch=-1
  [ ! -e "$life/epoch" ] || epoch=$(head -n 1 "$life/epoch")
  printf '%s %s %s %s %s\n' "${{life%%/*}}" "${{life#*/}}" "$epoch" "$(du -sb -- "$life" | cut -f1)" \
    "$(find "$life" -printf '%T@\n' | sort -n | tail -n 1)"
done
"""
# $1 kind, then names
_REMOVE = f"""
cd {_MOUNT}/"$1"; shift
rm -rf -- "$@"; sync .
"""


@dataclass(frozen=True)
class Life:
    """A folder of the store that one life of the data was shipped into.

    newest_at: when its newest content was written (seconds since 1970, whole); epoch: of the volume it came from, -1
    where it tells none. Of a stream: system, the database's identifier, and last_segment, its highest WAL number,
    None where it holds no WAL.
    """

    kind: str
    name: str
    newest_at: int
    bytes: int
    epoch: int = -1
    system: str | None = None
    last_segment: int | None = None

    @property
    def path(self) -> str:
        """Against the store, for people."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Needs:
    """What the sets that stay can be carried on with.

    redis_at: instant of the oldest Redis data among them, None where that cannot be told. wal: of each database's
    oldest base backup that stays, number of its first WAL segment and when it was begun; empty where that cannot be
    told. stream: the folder that WAL is streamed into now.
    """

    redis_at: float | None
    wal: Mapping[str, tuple[int, float]]
    stream: str


@dataclass(frozen=True)
class LifeVerdict:
    """Whether a folder stays, and why (or why not)."""

    life: Life
    stays: bool
    reason: str


def decide_lives(lives: Iterable[Life], needs: Needs) -> list[LifeVerdict]:
    """What becomes of each folder, by kind and the oldest content first."""
    ordered = sorted(lives, key=lambda one: (one.kind, one.newest_at, one.name))
    logs = [one for one in ordered if one.kind == LOG]
    streams = [one for one in ordered if one.kind == STREAM]
    newest = {max(logs, key=lambda one: (one.epoch, one.newest_at)).path} if logs else set()
    newest |= {one.path for one in streams if one.name == needs.stream} | {one.path for one in streams[-1:]}
    found = []
    for one in ordered:
        if one.path in newest:
            found.append(LifeVerdict(one, True, "the newest"))
            continue
        judge = _judge_log if one.kind == LOG else _judge_stream
        found.append(judge(one, needs))
    return found


def _judge_log(one: Life, needs: Needs) -> LifeVerdict:
    if needs.redis_at is None:
        return LifeVerdict(one, True, "it cannot be told what the sets that stay need of it")
    ends, oldest = to_iso(one.newest_at), to_iso(needs.redis_at)
    if one.newest_at >= int(needs.redis_at):
        return LifeVerdict(one, True, f"it ends at {ends}, and sets from {oldest} on stay")
    return LifeVerdict(one, False, f"it ends at {ends}, before the oldest set that stays ({oldest})")


def _judge_stream(one: Life, needs: Needs) -> LifeVerdict:
    if not needs.wal:
        return LifeVerdict(one, True, "it cannot be told what the base backups that stay need of it")
    # WAL of another database is not counted against ours: its time decides, against the oldest base backup of all.
    number, begun = needs.wal.get(one.system or "", (None, min(at for _number, at in needs.wal.values())))
    ends, oldest = to_iso(one.newest_at), to_iso(begun)
    newer = number is not None and one.last_segment is not None and one.last_segment >= number
    if newer or one.newest_at >= int(begun):
        return LifeVerdict(one, True, f"it ends at {ends}, and base backups from {oldest} on stay")
    return LifeVerdict(one, False, f"it ends at {ends}, before the oldest base backup that stays ({oldest})")


def needs_of(manifests: Sequence[Manifest | None], bases: Iterable[Backup], stream: str) -> Needs:
    """manifests: of the sets that stay, None for one that cannot be read; bases: the base backups that stay."""
    points = [_redis_at(one) for one in manifests if one is not None and "redis" in one["components"]]
    wal: dict[str, tuple[int, float]] = {}
    for base in bases:
        first, begun = parse_segment(base.wal_start).number, parse_iso(base.started_at)
        number, at = wal.get(base.system_identifier, (first, begun))
        wal[base.system_identifier] = (min(first, number), min(begun, at))
    return Needs(None if None in manifests else min(points, default=None), wal, stream)


def _redis_at(manifest: Manifest) -> float:
    """Instant of a set's Redis data; where the record tells none, when the set that made it was begun."""
    point = manifest["components"]["redis"].get("recovery_point")
    if point:
        return parse_iso(str(point))
    begun = set_instant(chain_of(manifest, "redis")[-1])
    assert begun is not None  # a manifest names only sets
    return begun.timestamp()


def parse_lives(listing: str, view: View) -> list[Life]:
    """The folders that _LOOK named, with what the view says of the streams' WAL. Others are nobody's, and stay."""
    last: dict[str, int] = {}
    for one in view.stream:
        if re.match("[0-9A-F]{24}", one.name):
            number = parse_segment(one.name[:24]).number
            last[one.folder] = max(number, last.get(one.folder, number))
    found = []
    for match in map(_LINE.fullmatch, listing.splitlines()):
        if match is None:
            continue
        kind, name = match[1], match[2]
        system, segment = (view.systems.get(name), last.get(name)) if kind == STREAM else (None, None)
        found.append(Life(kind, name, int(match[5]), int(match[4]), int(match[3]), system, segment))
    return found


@dataclass(frozen=True)
class Lives:
    """The folders on the store's host, worked on as root of a container: each belongs to its datastore's user."""

    image: str
    environment_id: str
    store: str
    log_path: str | None

    def look(self, view: View) -> list[Life]:
        """All of them."""
        return parse_lives(self._run(":ro", _LOOK), view)

    def remove(self, kind: str, names: Sequence[str]) -> None:
        """Remove folders of one kind."""
        self._run("", _REMOVE, kind, *names)

    def _run(self, access: str, script: str, *arguments: str) -> str:
        argv = ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0"]
        argv += ["--label", f"{ENVIRONMENT_LABEL}={self.environment_id}"]
        for kind, path in ((STREAM, f"{self.store}/{STREAM}"), (LOG, self.log_path)):
            if path and os.path.isdir(path):
                argv += ["--volume", f"{path}:{_MOUNT}/{kind}{access}"]
        return docker([*argv, self.image, "bash", "-euc", script, "bash", *arguments]).stdout
