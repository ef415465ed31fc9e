# SPDX-License-Identifier: GPL-3.0-or-later
"""What every source file says, how long it may be, and what may stand in none."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.contracts.tree import ROOT, Vaulted, files, load, yaml_files

SOURCE_SUFFIXES = {".py", ".sh", ".yml", ".yaml", ".j2", ".sql", ".html", ".go", ".toml", ".conf", ".cfg"}
MAXIMUM_LINES = 500
# Well under the 1,500 that a test bed may have.
LAB_MAXIMUM_LINES = 1420
SECRET_NAME = re.compile(r"(password|passphrase|token|secret|private_key|signing_key)s?$")
# An address of a package source or container registry; spelt in parts, so that this file names none.
REGISTRY = re.compile(
    "|".join(
        [r"pypi\.(org|python)", r"files\.pythonhosted", r"galaxy\.ansible\.com", r"proxy\.golang", r"deb\.debian\.org"]
        + [r"security\.debian\.org", r"registry\.npmjs", r"index\.docker", r"docker\.io/", r"quay\.io", r"ghcr\.io"]
        + [r"https?://[\w.-]*(nexus|artifactory|mirror|goproxy)[\w.-]*", r"registry[\w-]*\.[a-z]+[:/]"]
    )
)
MACHINE_PATH = re.compile(r"/(work|root|home/[a-z]\w*|Users/\w+)/\w")


def sources() -> list[Path]:
    """The files that people write: no lists of pins, no licence, no picture."""
    generated = {"requirements.txt", "requirements-dev.txt", "LICENSE", "go.sum"}
    return [path for path in files() if path.name not in generated and not path.is_symlink()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def is_code(path: Path) -> bool:
    """Whether a file is a source by its suffix, or a script by its first line."""
    return path.suffix in SOURCE_SUFFIXES or text_of(path).startswith("#!")


def code_lines(path: Path) -> int:
    """Lines that are neither blank, nor comment, nor a docstring."""
    text = text_of(path)
    documented: set[int] = set()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                documented |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return sum(1 for number, line in lines if line and number not in documented and not line.startswith(("#", "--")))


def lab_code() -> dict[str, int]:
    """The platform of the lab, its seed and its traffic: code lines of each file."""
    names = {path.relative_to(ROOT).as_posix(): path for path in sources()}
    made = ("lab/images/", "lab/config/", "lab/callback_plugins/")
    return {
        name: code_lines(path) for name, path in names.items() if name.startswith("lab/") and not name.startswith(made)
    }


def literal_secrets(content: Any, where: str = "") -> Iterator[str]:
    """Names of secret variables whose value stands in the open: neither a template nor encrypted."""
    if isinstance(content, dict):
        for key, value in content.items():
            plain = isinstance(value, str) and not isinstance(value, Vaulted) and "{{" not in value and value != ""
            if SECRET_NAME.search(str(key)) and plain:
                yield f"{where}{key}"
            yield from literal_secrets(value, f"{where}{key}.")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from literal_secrets(value, f"{where}{number}.")


def unlicensed(text: str) -> bool:
    """Whether the head of a source does not name its licence."""
    return "SPDX-License-Identifier: GPL-3.0-or-later" not in "\n".join(text.splitlines()[:5])


def test_every_source_file_names_its_licence() -> None:
    missing = [path for path in sources() if is_code(path) and unlicensed(text_of(path))]
    assert not missing, "\n".join(path.relative_to(ROOT).as_posix() for path in missing)


def test_every_source_file_can_be_read_in_one_go() -> None:
    counted = {
        path.relative_to(ROOT).as_posix(): len(text_of(path).splitlines()) for path in sources() if is_code(path)
    }
    assert {name: lines for name, lines in counted.items() if lines > MAXIMUM_LINES} == {}


def test_the_lab_stays_a_small_test_bed() -> None:
    counted = lab_code()
    assert len(counted) > 10
    assert sum(counted.values()) < LAB_MAXIMUM_LINES, counted


def test_no_file_names_a_registry_or_a_path_of_this_machine() -> None:
    found = []
    for path in files():
        if path.is_symlink() or path == Path(__file__):
            continue
        text = text_of(path)
        for pattern in (REGISTRY, MACHINE_PATH):
            found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
        if f"{ROOT}/" in text:
            found.append(f"{path.relative_to(ROOT)}: {ROOT}")
    assert found == []


def test_no_secret_stands_in_a_vars_file_or_play() -> None:
    found = []
    for path in yaml_files("inventories", "roles", "playbooks", "molecule"):
        if path.parent.name in ("meta", "tasks"):
            continue
        found += [f"{path.relative_to(ROOT)}: {name}" for name in literal_secrets(load(path))]
    assert found == []


def test_no_secret_of_the_lab_stands_in_any_file() -> None:
    secrets = [
        path.read_text(encoding="utf-8").strip() for path in (ROOT / "secrets").glob("*/*") if path.suffix != ".pub"
    ]
    found = [
        str(path.relative_to(ROOT))
        for path in files()
        if not path.is_symlink() and any(len(secret) > 8 and secret in text_of(path) for secret in secrets)
    ]
    assert found == []


def test_what_is_made_on_a_machine_is_ignored_by_git() -> None:
    made = ["secrets/lab/postgresql_password", "reports/r-1/report.json", "build/x", "lab/run/environment_id"]
    told = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout.split() == made
    tracked = {path.relative_to(ROOT).parts[0] for path in files()}
    assert not tracked & {"secrets", "reports", ".venv", "build"}
    assert not [path for path in files() if path.is_relative_to(ROOT / "lab/run")]


def test_the_contracts_see_what_they_forbid(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('# c\n"""d\nd"""\n\nx = 1\ndef f():\n    """e"""\n    return x\n')
    assert code_lines(tmp_path / "a.py") == 3
    assert unlicensed("import os\n") and not unlicensed("# SPDX-License-Identifier: GPL-3.0-or-later\n")
    assert list(
        literal_secrets({"a_password": "x", "b_token": "{{ y }}", "c": [{"d_secret": "z"}], "e_key": Vaulted("s")})
    ) == [
        "a_password",
        "c.0.d_secret",
    ]
    assert REGISTRY.search("https://my-mirror.example.com/simple") and REGISTRY.search("registry.example:5000/x")
    assert not REGISTRY.search("https://example.com/docs") and not REGISTRY.search("a registry answers")
    assert MACHINE_PATH.search("/home/jane/x") and not MACHINE_PATH.search("/opt/platform3/backups")
