# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where what a recovery touches in a server that serves is kept aside: quarantine/<recovery_id>/ of the server's own
volume, as safe as the data itself, released with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.platform3.recovery.plugins.module_utils._docker import docker, last_line
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._volume import ROOT, VolumeWorker

# $1 the folder; stdin goes to $1/$2, which is there whole or not at all.
_WRITE = """
umask 077; mkdir -p "$1"; cat > "$1/$2.new"; sync "$1/$2.new"; mv -f "$1/$2.new" "$1/$2"; sync "$1"
"""


def folder_of(worker: VolumeWorker) -> str:
    """This recovery's quarantine."""
    return f"{ROOT}/quarantine/{worker.fence.recovery_id}"


def read_state(worker: VolumeWorker, name: str) -> dict[str, Any]:
    """What this recovery noted in a file; empty where it noted nothing."""
    text = worker.bash('cat "$1" 2>/dev/null || true', f"{folder_of(worker)}/{name}").stdout
    return dict(json.loads(text)) if text.strip() else {}


def look_at_state(volume: str, image: str, recovery_id: str, name: str) -> dict[str, Any]:
    """As read_state, of a volume that is only looked into: by who may not write there, or has no lock."""
    path = f"{ROOT}/quarantine/{recovery_id}/{name}"
    argv = ["run", "--rm", "--network", "none", "--entrypoint", "bash", "--volume", f"{volume}:{ROOT}:ro", image]
    text = docker([*argv, "-uc", 'cat "$1" 2>/dev/null || true', "bash", path]).stdout
    return dict(json.loads(text)) if text.strip() else {}


def write_state(worker: VolumeWorker, name: str, state: Mapping[str, Any]) -> None:
    """Note how far this recovery is."""
    worker.run(["bash", "-euc", _WRITE, "bash", folder_of(worker), name], stdin=json.dumps(state))


def write_file(
    worker: VolumeWorker, name: str, chunks: Iterable[bytes], refused: Callable[[str], RecoveryError]
) -> int:
    """Write all chunks to the end, on disk; gives the bytes. The file is there whole or not at all.

    refused: the error, from what was found, where it cannot be written.
    """
    argv = worker.exec_argv(["bash", "-euc", _WRITE, "bash", folder_of(worker), name], interactive=True)
    size = 0
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as writing:
        assert writing.stdin is not None and writing.stderr is not None
        try:
            for chunk in chunks:
                size += writing.stdin.write(chunk)
            writing.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            # Its end would make the half file a whole one.
            writing.kill()
            worker.bash('rm -f "$1"', f"{folder_of(worker)}/{name}.new", check=False)
            raise
        said = last_line(writing.stderr.read().decode(errors="replace"))
    if writing.returncode != 0:
        raise refused(said or f"the writing ended with status {writing.returncode}")
    return size
