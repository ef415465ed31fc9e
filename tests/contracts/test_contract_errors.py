# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error code that an operator can meet is explained in docs/errors.md, and no other."""

from __future__ import annotations

import re

from tests.contracts.tree import ROOT, files

CODE = re.compile(r"PRC-\d{3}")
ROW = re.compile(r"^\| (PRC-\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)

# How an unfinished recovery goes on, in one literal or over several.
GOES_ON = re.compile(
    r'(?:\b(?:then|and|or)|;) go on\b|\bgo on with(?: |"\s+f?")(?:(?:the same|this|the recovery_id|recovery_id)\b|-e )'
)


def raised() -> set[str]:
    """Codes that stand in the collection's code."""
    folders = ("plugins", "roles", "playbooks")
    found: set[str] = set()
    for path in files():
        if path.relative_to(ROOT).parts[0] in folders and not path.is_symlink():
            found |= set(CODE.findall(path.read_bytes().decode("utf-8", errors="replace")))
    return found


def explained() -> list[str]:
    """Codes that have a row in the reference."""
    return [row[0] for row in ROW.findall((ROOT / "docs/errors.md").read_text(encoding="utf-8"))]


def test_every_code_is_explained() -> None:
    assert raised() - set(explained()) == set()


def test_no_code_is_explained_that_nothing_raises() -> None:
    assert set(explained()) - raised() == set()


def test_a_code_is_explained_once() -> None:
    listed = explained()
    assert len(listed) > 20
    assert listed == sorted(set(listed))


def test_no_error_says_how_the_recovery_goes_on() -> None:
    """The card does, which knows whether it was begun: one that touched nothing starts again."""
    plugins = [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "plugins"]
    saying = {path.name for path in plugins if GOES_ON.search(path.read_text(encoding="utf-8"))}
    assert saying == {"_report_advice.py"}
