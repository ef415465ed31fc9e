# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files for tools that want a path, for what may not lie on a disk: keys and other secrets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


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
