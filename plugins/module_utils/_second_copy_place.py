# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The second copy of the backup store, as it is read: by rclone, in a container of the shipper's image."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL, docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

# By which a script says that what it read is not what was written.
DAMAGED = 65
TIMEOUT_SECONDS = 6 * 3600.0
NOTHING_CHANGED = "nothing was changed; what was fetched so far lies beside the store's sets, and the next run goes on"

# The place and its keys; documented in doc_fragments/second_copy.py.
PLACE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "bucket": {"type": "str", "required": True},
    "region": {"type": "str", "default": "us-east-1"},
    "image": {"type": "str", "required": True},
    "access_key": {"type": "str", "required": True, "no_log": True},
    "secret_key": {"type": "str", "required": True, "no_log": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "salt": {"type": "str", "required": True, "no_log": True},
}

_SETTINGS = {
    "CONFIG": "/dev/shm/rclone.conf",
    "RETRIES": "3",
    "LOW_LEVEL_RETRIES": "3",
    "CONTIMEOUT": "10s",
    "TIMEOUT": "60s",
}
# stdin: password and salt, then the rest of the configuration, whose last section they belong to. It lies in the
# container's memory, so that neither a command line nor an environment shows the keys.
_CONFIGURE = """
umask 077
IFS= read -r password; IFS= read -r salt
cat > "$RCLONE_CONFIG"
password=$(rclone --config=/dev/null obscure - <<<"$password")
salt=$(rclone --config=/dev/null obscure - <<<"$salt")
printf '%s\n' "password = $password" "password2 = $salt" >> "$RCLONE_CONFIG"
"""
_NO_FOLDER = "grep -q 'directory not found' /tmp/said || { cat /tmp/said >&2; exit 1; }"


@dataclass(frozen=True)
class Place:
    """The second copy as it is now, or as it was at an instant (at: ISO 8601). given: the values of PLACE_ARGUMENTS.

    container: where rclone runs, with the folder stage at /stage; one for a whole fetch, as each costs half a second.
    """

    given: Mapping[str, Any]
    environment_id: str
    at: str | None
    stage: str = ""
    container: str = ""

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.given['url']}/{self.given['bucket']}" + (f" as of {self.at}" if self.at else "")

    @contextlib.contextmanager
    def opened(self, stage: str) -> Iterator[Place]:
        """The place with a container that reaches it; gone afterwards. PRC-390."""
        settings = {**_SETTINGS, **({"S3_VERSION_AT": self.at} if self.at else {})}
        argv = ["run", "--detach", "--rm", "--pull", "never", "--network", "host", "--volume", f"{stage}:/stage"]
        argv += ["--label", f"{ENVIRONMENT_LABEL}={self.environment_id}"]
        argv += [part for name, value in settings.items() for part in ("--env", f"RCLONE_{name}={value}")]
        try:
            container = docker([*argv, self.given["image"], "sleep", f"{TIMEOUT_SECONDS:.0f}"]).stdout.strip()
        except RecoveryError as error:
            raise self.unreachable(error.found) from None
        try:
            place = dataclasses.replace(self, stage=stage, container=container)
            place.run(_CONFIGURE, lines=self._configuration())
            yield place
        finally:
            docker(["rm", "--force", container], check=False)

    def _configuration(self) -> list[str]:
        """What _CONFIGURE reads."""
        given = self.given
        return [
            given["password"],
            given["salt"],
            "[s3]",
            "type = s3",
            "provider = Other",
            "no_check_bucket = true",
            f"endpoint = {given['url']}",
            f"region = {given['region']}",
            f"access_key_id = {given['access_key']}",
            f"secret_access_key = {given['secret_key']}",
            "[copy]",
            "type = crypt",
            f"remote = s3:{given['bucket']}/store",
            "filename_encryption = off",
            "directory_name_encryption = false",
        ]

    def run(self, script: str, arguments: Sequence[str] = (), lines: Iterable[str] = ()) -> str:
        """stdout of a bash script in which `copy:` is the second copy, `s3:` the store it lies on. PRC-390, PRC-391."""
        argv = ["docker", "exec", "--interactive", self.container, "bash", "-euc", script, "bash", *arguments]
        stdin = "".join(f"{one}\n" for one in lines)
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise self.unreachable(type(error).__name__) from None
        if done.returncode == DAMAGED:
            raise self.incomplete(last_line(done.stderr))
        if done.returncode != 0:
            raise self.unreachable(last_line(done.stderr) or f"exit status {done.returncode}")
        return done.stdout

    def incomplete(self, found: str) -> RecoveryError:
        """Something that the set needs is not there."""
        return RecoveryError(
            "PRC-391",
            f"fetch a whole set from the second copy {self.shown}",
            found,
            NOTHING_CHANGED,
            "if it was deleted or overwritten there, its versions are kept: read it as it was before that with"
            " -e second_copy_at=<instant>, such as 2026-11-23T05:00:00Z; or take an older set with"
            " -e recovery_backup_set=<id>",
        )

    def unreachable(self, found: str) -> RecoveryError:
        """It does not answer, or not to these keys."""
        return RecoveryError(
            "PRC-390",
            f"read the second copy {self.shown}",
            found,
            NOTHING_CHANGED,
            "see that second_copy_url is reached from this host, that second_copy_access_key and second_copy_secret_key"
            " are the bucket's, and that the image of second_copy_image is there; then run the same command again",
        )

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder."""
        # A folder that is not there is an empty one: S3 knows none.
        script = f'rclone lsf --dirs-only "copy:$1" 2>/tmp/said || {_NO_FOLDER}'
        return [one.rstrip("/") for one in self.run(script, [path]).splitlines()]

    def files(self, paths: Iterable[str], depth: str = "-R") -> list[str]:
        """Every file below these folders, as paths in the store; depth "": only those right in them."""
        script = f"""
while IFS= read -r path; do
  rclone lsf --files-only {depth} "copy:$path" 2>/tmp/said </dev/null | sed "s|^|$path/|" || {_NO_FOLDER}
done
"""
        return self.run(f"set -o pipefail\n{script}", (), paths).splitlines()

    def copy(self, paths: Sequence[str], folder: str, unpack: bool = False) -> None:
        """Copy files into a folder, in their paths; unpack: those that end in .zst. One that is not there is left out.

        What lies there with the same size and time is not read again.
        """
        if not paths:
            return
        script = 'rclone copy copy: "/stage/$1" --files-from-raw=- --transfers=8\n'
        if unpack:
            script += f"""find "/stage/$1" -name '*.zst' -exec zstd -d -q -f --rm {{}} + || exit {DAMAGED}\n"""
        self.run(script, [os.path.relpath(folder, self.stage)], paths)
