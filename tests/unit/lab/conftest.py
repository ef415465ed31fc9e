# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab is no package of ours: its folder is put on the path for its own tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "lab"))
