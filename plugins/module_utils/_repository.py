# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pgBackRest repository, worked on by one-shot containers on the store's host: read, verified, expired.

Formats: what `verify --output=text --verbose` prints, as in its command reference (2.55). It exits 0 on damage too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import (
    COMPOSE_ARGUMENTS,
    ENVIRONMENT_LABEL,
    compose_of,
    docker,
)
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import last_error
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    REPOSITORY_MOUNT,
    View,
    look,
    look_without_volume,
    one_shot_mounts,
)
from ansible_collections.platform3.recovery.plugins.module_utils._signed_sets import SETS_ARGUMENTS

# The inputs of what works on the whole store; documented in doc_fragments/store.py.
STORE_ARGUMENTS: dict[str, dict[str, Any]] = {
    **COMPOSE_ARGUMENTS,
    **SETS_ARGUMENTS,
    "service": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "stanza": {"type": "str", "required": True},
}

# Reading every byte of a large base backup takes its time.
TIMEOUT_SECONDS = 12 * 3600.0
_QUIET = ("--log-level-stderr=off", "--log-level-file=off")
_BAD_FILE = re.compile(r"INFO: ((?:invalid|file missing|missing|unable|size).*)")
_SEGMENT_FILE = re.compile(r"[0-9A-F]{24}-([0-9a-f]{40})(?:\.(\w+))?")
_DECOMPRESS = {"": "cat", "lz4": "lz4 -dc", "gz": "gzip -dc", "zst": "zstd -dc", "bz2": "bzip2 -dc"}
# $1 stanza, $2 decompression; paths on stdin, one a line. Prints `sha1 path`, or `- path` where it cannot be read.
_HASH = r"""
set -o pipefail
sum() {
  digest=$(pgbackrest --log-level-console=off --log-level-stderr=error --log-level-file=off --stanza="$1" \
    repo-get "archive/$1/$3" | $2 | sha1sum) || digest=-
  printf '%s %s\n' "${digest%% *}" "$3"
}
export -f sum
xargs -d '\n' -n 1 -P "$(nproc)" bash -c 'sum "$0" "$1" "$2"' "$1" "$2"
"""


@dataclass(frozen=True)
class Repository:
    """Where it is and with what it is read. mounts: of the Compose service, all read-only."""

    image: str
    mounts: tuple[str, ...]
    environment_id: str
    stanza: str

    def look(self, run_bash: Callable[..., Any] | None = None) -> View:
        """Everything that it holds, and the WAL stream beside it. run_bash: in a container that is there already."""
        if run_bash is not None:
            return look(run_bash, self.stanza, "none")
        return look_without_volume(self.image, self.mounts, self.environment_id, self.stanza, "none")

    def verify_base(self, label: str) -> str | None:
        """Read a base backup and its own WAL; what is wrong with it, None where nothing is. PRC-334."""
        argv = ["pgbackrest", f"--stanza={self.stanza}", f"--set={label}", "--output=text", "--verbose"]
        done = self._run([*argv, "--log-level-console=info", *_QUIET, "verify"])
        if done.returncode != 0:
            raise cannot_read(f"verify base backup {label}", last_error(done.stdout + done.stderr))
        return parse_verify(done.stdout)

    def damaged_wal(self, paths: Sequence[str]) -> dict[str, str]:
        """Which of these files of the archive (`17-1/.../<segment>-<sha1>.lz4`) are not what their names say, and why.

        A file is hashed as PostgreSQL wrote it, decrypted and unpacked. PRC-334 where the archive cannot be read.
        """
        found = {}
        by_suffix: dict[str, list[str]] = {}
        for path in paths:
            match = _SEGMENT_FILE.fullmatch(os.path.basename(path))
            if match:
                by_suffix.setdefault(match[2] or "", []).append(path)
        for suffix, listed in by_suffix.items():
            unpack = _DECOMPRESS.get(suffix)
            if unpack is None:
                raise cannot_read("verify the WAL archive", f"files end in .{suffix}, which is not known here")
            script = ["bash", "-euc", _HASH, "bash", self.stanza, unpack]
            done = self._run(script, stdin="".join(f"{one}\n" for one in listed))
            sums = {line[line.index(" ") + 1 :]: line[: line.index(" ")] for line in done.stdout.splitlines()}
            if done.returncode != 0 or set(sums) != set(listed):
                raise cannot_read("verify the WAL archive", last_error(done.stderr or done.stdout))
            found.update({path: _sum_problem(path, digest) for path, digest in sums.items()})
        return {path: wrong for path, wrong in found.items() if wrong}

    def expire(self, labels: Sequence[str], fulls_left: int) -> None:
        """Remove base backups in this order, then the WAL from before the oldest full one that is left. PRC-335."""
        shared = ["pgbackrest", f"--stanza={self.stanza}", "--log-level-console=warn", *_QUIET]
        keep = f"--repo1-retention-full={fulls_left}"
        for arguments in (*([f"--set={label}"] for label in labels), [keep]):
            done = self._run([*shared, *arguments, "expire"], writing=True)
            if done.returncode != 0:
                raise RecoveryError(
                    "PRC-335",
                    f"expire in the pgBackRest repository ({' '.join(arguments)})",
                    last_error(done.stdout + done.stderr),
                    "backup sets that stay are whole; base backups that no set names any more are still there",
                    "mend what is named, then run playbooks/expire_backups.yml again: it goes on",
                )

    def _run(
        self, command: Sequence[str], stdin: str | None = None, writing: bool = False
    ) -> subprocess.CompletedProcess[str]:
        argv = ["run", "--rm", "--pull", "never", "--network", "none"]
        argv += ["--label", f"{ENVIRONMENT_LABEL}={self.environment_id}"]
        argv += ["--interactive"] if stdin is not None else []
        for mount in self.mounts:
            writable = writing and mount.split(":")[1] == REPOSITORY_MOUNT
            argv += ["--volume", mount.removesuffix(":ro") if writable else mount]
        return docker([*argv, self.image, *command], stdin=stdin, timeout_seconds=TIMEOUT_SECONDS, check=False)


def repository_of(parameters: dict[str, Any]) -> Repository:
    """The repository that a module's inputs name."""
    mounts = one_shot_mounts(compose_of(parameters), parameters["service"], parameters["store_path"])
    return Repository(parameters["image"], tuple(mounts), parameters["environment_id"], parameters["stanza"])


def parse_verify(text: str) -> str | None:
    """What `verify` of one base backup found wrong, None where it says that all is well."""
    bad = sorted({match[1] for match in _BAD_FILE.finditer(text)})
    if not bad and re.search(r"^status: ok$", text, re.MULTILINE) and "status: valid" in text:
        return None
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    if bad:
        return "; ".join(bad[:3]) + more
    said = [line.strip() for line in text.splitlines() if "not valid" in line or "status" in line or "invalid" in line]
    return said[-1] if said else "pgbackrest verify said nothing"


def _sum_problem(path: str, digest: str) -> str:
    match = _SEGMENT_FILE.fullmatch(os.path.basename(path))
    assert match is not None  # only such files are hashed
    if digest == "-":
        return "cannot be unpacked"
    return "" if digest == match[1] else f"has sha1 {digest[:12]}... instead of {match[1][:12]}..."


def cannot_read(attempted: str, found: str) -> RecoveryError:
    """Something could not be read: that proves nothing about the backup."""
    return RecoveryError(
        "PRC-334",
        attempted,
        found,
        "nothing was changed; no set was condemned for it",
        "mend the cause (is the store mounted? is the image there?), then run the same command again",
    )
