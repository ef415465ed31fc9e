# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tools that are handed secrets: run so that nobody is asked, with files that never lie on a disk."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError


@contextlib.contextmanager
def in_memory(name: str, content: bytes) -> Iterator[int]:
    """A file that exists only as a descriptor, readable by its owner alone (ssh-keygen insists on that)."""
    descriptor = os.memfd_create(name)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int) -> str:
    """The path by which a program that inherits the descriptor opens the file."""
    return f"/proc/self/fd/{descriptor}"


def run_tool(
    argv: Sequence[str],
    data: bytes,
    descriptors: Sequence[int],
    timeout_seconds: int,
    unusable: Callable[[str], RecoveryError],
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with data on stdin, the descriptors open in it, and none of our environment but the PATH.

    It has no terminal, so where it would ask a passphrase it fails or hangs. unusable makes the error out of what
    became of it where it could not run to its end: "not installed", or "hanging for N s".
    """
    try:
        return subprocess.run(
            argv,
            input=data,
            capture_output=True,
            pass_fds=descriptors,
            timeout=timeout_seconds,
            check=False,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        found = "not installed" if isinstance(error, FileNotFoundError) else f"hanging for {timeout_seconds} s"
        raise unusable(found) from None


def said(output: bytes, status: int) -> str:
    """The cause in what a tool printed: its first line, or the exit status where there is none."""
    lines = output.decode(errors="replace").strip().splitlines()
    # The path of our descriptor says nothing to anybody.
    return re.sub(r"/proc/self/fd/\d+", "the file", lines[0]) if lines else f"exit status {status}"
