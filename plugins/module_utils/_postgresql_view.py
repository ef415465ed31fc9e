# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a recovery of PostgreSQL stands on: the repository, the stream and the image, read in one go and judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, Compose, docker
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import (
    STREAM_MOUNT,
    Backup,
    find_backup,
    iso,
    parse_info,
    parse_listing,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_figures import SETTINGS_THAT_MATTER
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    StreamFile,
    WalPlan,
    archived_segments,
    choose_chain,
    parse_lsn,
    parse_segment,
    plan_wal,
    streamed_segments,
)

CONFIGURATION = "/etc/platform3/postgresql.conf"
REPOSITORY_MOUNT = "/var/lib/pgbackrest"
_MARK = "\x1e"


def one_shot_mounts(compose: Compose, service: str, store: str) -> list[str]:
    """The bind mounts of the Compose service, all read-only, and the WAL stream of the store: for one-shot containers.

    So that a one-shot container reads the very repository and configuration that the server will run with.
    """
    text = docker(compose.argv(["config", "--format", "json"])).stdout
    mounts = json.loads(text)["services"][service].get("volumes", [])
    binds = [f"{one['source']}:{one['target']}:ro" for one in mounts if one["type"] == "bind"]
    return [*binds, f"{store}/wal-stream:{STREAM_MOUNT}:ro"]


# Everything that has to be known of store and image, as one command: sections, each begun by a line with its name.
# $1 stanza, $2 label of the base backup
_LOOK = (
    r"""
set -o pipefail
section() { printf '\n\036%s\n' "$1"; }
quiet=(--log-level-console=off --log-level-stderr=error --log-level-file=off)
section version; postgres --version
section settings
for name in SETTINGS; do
  printf '%s %s\n' "$name" "$(postgres -C "$name" -D /tmp -c config_file=CONFIGURATION 2>/dev/null)"
done
section info; pgbackrest "${quiet[@]}" "--stanza=$1" --output=json info
section manifest
sum=$(pgbackrest "${quiet[@]}" repo-get "backup/$1/$2/backup.manifest" 2>/dev/null | sha256sum) || sum=missing
echo "${sum%% *}"
section archive; pgbackrest "${quiet[@]}" repo-ls --recurse --output=json "archive/$1"
section histories
while read -r path; do
  printf '\035%s\n' "$path"; pgbackrest "${quiet[@]}" repo-get "archive/$1/$path"
done < <(pgbackrest "${quiet[@]}" repo-ls --recurse --filter='[.]history$' "archive/$1")
cd STREAM
for path in */*.history; do if [ -f "$path" ]; then printf '\n\035%s\n' "$path"; cat "$path"; fi; done
section stream; find . -mindepth 2 -maxdepth 2 -type f -printf '%s %T@ %P\n'
section systems
for folder in */; do
  for path in "$folder"*; do
    case "$path" in *.history) continue;; esac
    if [ -s "$path" ]; then printf '%s %s\n' "$(od -An -tu8 -j24 -N8 "$path" | tr -d ' ')" "${folder%/}"; break; fi
  done
done
""".replace("SETTINGS", " ".join(SETTINGS_THAT_MATTER))
    .replace("CONFIGURATION", CONFIGURATION)
    .replace("STREAM", STREAM_MOUNT)
)


@dataclass(frozen=True)
class View:
    """What was found.

    archive: base names -> (bytes, time) by archive id; histories: text by (archive id or stream folder, timeline);
    systems: the system identifier of each stream folder's WAL.
    """

    version: str
    settings: dict[str, int]
    backups: list[Backup]
    manifest_sha256: str
    archive: dict[str, dict[str, tuple[int, float]]]
    histories: dict[tuple[str, int], str]
    stream: list[StreamFile]
    systems: dict[str, str] = field(default_factory=dict)


def look(run_bash: Callable[..., Any], stanza: str, label: str) -> View:
    """Read store and image. run_bash(script, *arguments) runs in a one-shot container; what it printed is .stdout."""
    return parse_view(run_bash(_LOOK, stanza, label).stdout, stanza)


def look_without_volume(image: str, mounts: Sequence[str], environment: str, stanza: str, label: str) -> View:
    """The same where there is no volume to work in: in a container of its own, which goes away by itself."""

    def run_bash(script: str, *arguments: str) -> Any:
        argv = [
            "run",
            "--rm",
            "--pull",
            "never",
            "--network",
            "none",
            "--label",
            f"{ENVIRONMENT_LABEL}={environment}",
        ]
        for mount in mounts:
            argv += ["--volume", mount]
        return docker([*argv, image, "bash", "-euc", script, "bash", *arguments])

    return look(run_bash, stanza, label)


def parse_view(text: str, stanza: str) -> View:
    """Read the sections that the look printed."""
    sections: dict[str, str] = {}
    for part in text.split(_MARK)[1:]:
        name, _, body = part.partition("\n")
        sections[name] = body.strip("\n")
    archive: dict[str, dict[str, tuple[int, float]]] = {}
    for path, entry in parse_listing(sections["archive"]).items():
        archive_id, _, rest = path.partition("/")
        archive.setdefault(archive_id, {})[rest.rpartition("/")[2]] = entry
    stream = []
    for line in sections["stream"].splitlines():
        size, written_at, path = line.split(" ", 2)
        folder, _, name = path.partition("/")
        stream.append(StreamFile(folder, name, int(size), float(written_at)))
    pairs = [line.split(" ", 1) for line in sections["systems"].splitlines() if " " in line]
    settings = [line.split() for line in sections["settings"].splitlines()]
    return View(
        version=sections["version"].split()[2],
        settings={one[0]: int(one[1]) for one in settings if len(one) == 2},
        backups=parse_info(sections["info"], stanza),
        manifest_sha256=sections["manifest"].strip(),
        archive=archive,
        histories=_histories(sections["histories"]),
        stream=stream,
        systems={folder: system for system, folder in pairs},
    )


def _histories(text: str) -> dict[tuple[str, int], str]:
    found = {}
    for part in text.split("\x1d")[1:]:
        path, _, body = part.partition("\n")
        folder, _, name = path.partition("/")
        found[folder, int(name[:8], 16)] = body.strip()
    return found


@dataclass(frozen=True)
class Assessment:
    """A base backup that can be restored, the WAL that follows it, and the stream folders of the same database."""

    backup: Backup
    plan: WalPlan
    folders: tuple[str, ...]
    newest_timeline: int

    @property
    def target_timeline(self) -> int | None:
        """The timeline to name in the recovery: None where it is the newest anyway, which PostgreSQL finds itself."""
        return None if self.newest_timeline <= self.plan.timeline else self.plan.timeline

    @property
    def recovery_point(self) -> str:
        """About where replay will end: when the last WAL was written, never before the backup's end."""
        newest = self.plan.newest
        return max(self.backup.finished_at, iso(newest.written_at) if newest else "")

    def as_dict(self) -> dict[str, Any]:
        """For a module's result."""
        newest = self.plan.newest
        return {
            "label": self.backup.label,
            "timeline": self.plan.timeline,
            "abandoned": self.target_timeline is not None,
            "first_segment": self.plan.files[0].segment if self.plan.files else None,
            "last_segment": newest.segment if newest else None,
            "last_segment_source": newest.source if newest else None,
            "segments": len(self.plan.files),
            "only_streamed": [one.segment for one in self.plan.only_streamed()],
            "recovery_point": self.recovery_point,
            "needed_bytes": needed_bytes(self.backup.bytes, len(self.plan.files)),
        }


def needed_bytes(cluster_bytes: int, segments: int) -> int:
    """Disk space that a restore beside the old data takes: the cluster, the WAL it may hold at once, and a tenth."""
    return int((cluster_bytes + min(segments, 160) * SEGMENT_BYTES) * 1.1)


def assess(view: View, content: Mapping[str, Any]) -> Assessment:
    """Whether this backup set's PostgreSQL part can be restored from what was found; content: its part of the manifest.

    RecoveryError: as require_base, and PRC-508 WAL missing.
    """
    return _assess_wal(view, require_base(view, content))


def require_base(view: View, content: Mapping[str, Any]) -> Backup:
    """The set's base backup, where it can be restored from what was found.

    RecoveryError: PRC-502 other major version, 504 no such backup, 505 other database, 506 other bytes than were
    signed, 507 a setting too low for replay.
    """
    known = content["pgbackrest"]
    _require_version(view.version, content["version"])
    backup = find_backup(view.backups, known["label"])
    if backup.system_identifier != str(content["system_identifier"]):
        raise _refusal(
            "PRC-505",
            f"use base backup {backup.label}",
            f"it is of database {backup.system_identifier}, the backup set is of {content['system_identifier']}",
            "check backup_store_path: the repository belongs to another database",
        )
    for label in backup.depends_on:
        find_backup(view.backups, label)
    if view.manifest_sha256 != known["manifest_sha256"]:
        raise _refusal(
            "PRC-506",
            f"verify base backup {backup.label}",
            f"its backup.manifest has sha256 {view.manifest_sha256}, the signed set says {known['manifest_sha256']}",
            "choose another backup set: recovery_backup_set=<id>",
        )
    _require_settings(view.settings, content.get("settings", {}))
    return backup


def require_dump(content: Mapping[str, Any]) -> dict[str, Any]:
    """The set's dump as its content describes it; RecoveryError PRC-524 where it has none."""
    dump = content.get("dump")
    if not dump:
        raise _refusal(
            "PRC-524",
            "restore the dump of the backup set",
            "the set has none (none was due: postgresql_dump)",
            "use postgresql_restore_method=physical, or a set with a dump",
        )
    return dict(dump)


def _require_version(image: str, wanted: str) -> None:
    if image.split(".")[0] != wanted.split(".")[0]:
        raise _refusal(
            "PRC-502",
            f"restore a backup of PostgreSQL {wanted}",
            f"the image holds PostgreSQL {image}; the files of one major version do not run on another",
            f"use the image of major version {wanted.split('.')[0]}, or postgresql_restore_method=logical",
        )


def _require_settings(configured: Mapping[str, int], recorded: Mapping[str, Any]) -> None:
    low = [
        f"{name} = {configured[name]} (backed up: {recorded[name]})"
        for name in SETTINGS_THAT_MATTER
        if name in configured and name in recorded and configured[name] < int(recorded[name])
    ]
    if low:
        raise _refusal(
            "PRC-507",
            "replay WAL with the configured settings",
            f"replay stops where they are lower than on the lost server: {', '.join(low)}",
            "raise them in postgresql.conf of the Compose project (or restore the configuration first)",
        )


def wal_after(view: View, backup: Backup) -> tuple[WalPlan, list[StreamFile]]:
    """What replay would read after a base backup, gaps named in it, and the stream's files of the same database."""
    stream = own_stream(view, backup)
    histories = own_histories(view, backup)
    stop = parse_lsn(backup.lsn_stop)
    start = parse_segment(backup.wal_start)
    plan = plan_wal(
        start,
        stop,
        choose_chain(start.timeline, stop, histories),
        archived_segments(view.archive.get(backup.archive_id, {})),
        streamed_segments(stream),
    )
    return plan, stream


def own_stream(view: View, backup: Backup) -> list[StreamFile]:
    """The stream's files of a base backup's database."""
    own = {folder for folder, system in view.systems.items() if system == backup.system_identifier}
    return [one for one in view.stream if one.folder in own]


def own_histories(view: View, backup: Backup) -> dict[int, str]:
    """The history files of a base backup's database, by timeline."""
    own = {folder for folder, system in view.systems.items() if system == backup.system_identifier}
    return {
        timeline: text
        for (place, timeline), text in view.histories.items()
        if place == backup.archive_id or place in own
    }


def _assess_wal(view: View, backup: Backup) -> Assessment:
    plan, stream = wal_after(view, backup)
    if plan.problems:
        shown = ", ".join(plan.problems[:5])
        more = f", and {len(plan.problems) - 5} more" if len(plan.problems) > 5 else ""
        raise _refusal(
            "PRC-508",
            f"replay WAL after base backup {backup.label}",
            f"there is a gap before the newest WAL: {shown}{more}",
            "bring the segment back into the archive or the stream folder, or recover an earlier point with"
            " point_in_time_recovery.yml",
        )
    return Assessment(backup, plan, folders_of(stream), max(own_histories(view, backup), default=1))


def folders_of(stream: Sequence[StreamFile]) -> tuple[str, ...]:
    """The folders of streamed files, the one that was written to last first."""
    newest: dict[str, float] = {}
    for one in stream:
        newest[one.folder] = max(one.written_at, newest.get(one.folder, 0.0))
    return tuple(sorted(newest, key=lambda folder: -newest[folder]))


def _refusal(code: str, attempted: str, found: str, next_step: str) -> RecoveryError:
    return RecoveryError(code, attempted, found, "nothing was changed", next_step)


def restore_folder(recovery_id: str) -> str:
    """Where in the volume a recovery restores to, before the exchange."""
    return f"{ROOT}/restore-{recovery_id}"
