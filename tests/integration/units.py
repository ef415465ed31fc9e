# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd itself says of rendered units, also where it does not run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path


def verified(units: Path, without: Collection[str] = ()) -> subprocess.CompletedProcess[str]:
    """The judgement of systemd-analyze; a template is judged as one that is named."""
    files = [str(path).replace("alarm@.", "alarm@x.") for path in sorted(units.glob("*")) if path.name not in without]
    argv = ["systemd-analyze", "verify", "--man=no", *files]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
