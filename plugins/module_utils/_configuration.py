# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's configuration: which files it is, where each lies in a set, and what may not be in a set.

A file's place on a host always comes from the inventory. A manifest only says which files there were.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check
from ansible_collections.platform3.recovery.plugins.module_utils._docker import Compose
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import Artefact, path_problem
from ansible_collections.platform3.recovery.plugins.module_utils._sealed import SHORTEST_SECRET, Secret

COMPONENT = "configuration"
# Version of this layout, as the component's version in the manifest.
LAYOUT_VERSION = "1"
IMAGES_PATH = f"{COMPONENT}/images.json"
INVENTORY_PATH = f"{COMPONENT}/inventory.json"
# A configuration file is small; something larger stands in the folder by mistake.
MAXIMUM_FILE_BYTES = 64 << 20

_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY", re.IGNORECASE)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_LEFT_OUT = "# left out of the backup, a secret: "

KEPT = "differs from the set; the host's own is kept"
SAME = "as in the set"
MISSING = "missing"


@dataclass(frozen=True)
class Source:
    """A file of the configuration. path: on the host; target: in a set; kind: compose, environment or file."""

    path: str
    target: str
    kind: str


@dataclass(frozen=True)
class Layout:
    """Where the configuration lies on a host: the Compose project, and further files and folders (absolute)."""

    compose: Compose
    paths: tuple[str, ...]

    def place_of(self, target: str) -> str | None:
        """The host's path for a file of a set; None where this inventory has no place for it."""
        head, _slash, rest = target.partition("/")
        kind, _slash, rest = rest.partition("/")
        if head != COMPONENT or path_problem(target, COMPONENT):
            return None
        if kind == "compose" and rest in self.compose.files:
            return os.path.join(self.compose.directory, rest)
        env_file = self.compose.env_file
        if kind == "environment" and env_file and rest == os.path.basename(env_file):
            return env_file
        if kind == "files":
            name, _slash, inside = rest.partition("/")
            for path in self.paths:
                if os.path.basename(path.rstrip("/")) == name:
                    return os.path.join(path, inside) if inside else path
        return None

    def sources(self) -> list[Source]:
        """Every file of the configuration on this host; PRC-240 where one that is named is not there."""
        found = [
            Source(os.path.join(self.compose.directory, name), f"{COMPONENT}/compose/{name}", "compose")
            for name in self.compose.files
        ]
        env_file = self.compose.env_file
        if env_file:
            found.append(Source(env_file, f"{COMPONENT}/environment/{os.path.basename(env_file)}", "environment"))
        for path in self.paths:
            found += _files_of(path)
        for one in found:
            if not os.path.isfile(one.path):
                raise unusable(one.path, "there is no such file")
            problem = path_problem(one.target, COMPONENT)
            if problem:
                raise unusable(one.path, f"its name in the set, {one.target!r}, {problem}")
        targets = [one.target for one in found]
        twice = sorted({target for target in targets if targets.count(target) > 1})
        if twice:
            raise unusable(twice[0], "two files or folders of this name would lie in one place of the set")
        return found


def _files_of(path: str) -> list[Source]:
    name = os.path.basename(path.rstrip("/"))
    if not os.path.isdir(path):
        return [Source(path, f"{COMPONENT}/files/{name}", "file")]
    found = []
    for folder, _folders, names in os.walk(path):
        for one in names:
            inside = os.path.relpath(os.path.join(folder, one), path)
            found.append(Source(os.path.join(path, inside), f"{COMPONENT}/files/{name}/{inside}", "file"))
    return sorted(found, key=lambda source: source.target)


def unusable(path: str, found: str) -> RecoveryError:
    """The error of a configuration file that cannot go into a set."""
    return RecoveryError(
        "PRC-240",
        f"back up the configuration file {path}",
        found,
        "running data was not touched; the backup set stays incomplete",
        "correct recovery_compose or configuration_paths in the inventory, or the file, then run the backup again",
    )


def content_of(source: Source) -> tuple[bytes, list[str]]:
    """What of a file goes into a set, and the names of the variables that were left out as secrets (env files)."""
    with open(source.path, "rb") as stream:
        raw = stream.read(MAXIMUM_FILE_BYTES + 1)
    if len(raw) > MAXIMUM_FILE_BYTES:
        raise unusable(source.path, f"it is larger than {MAXIMUM_FILE_BYTES >> 20} MiB")
    return without_secrets(raw) if source.kind == "environment" else (raw, [])


def mode_of(path: str) -> str:
    """Permissions of a file as octal text, such as 0644."""
    return f"{stat.S_IMODE(os.stat(path).st_mode) & 0o777:04o}"


def mode_from(artefact: Artefact) -> int:
    """Permissions that a file of the set had; those of its owner alone where the set does not say."""
    said = str((artefact.get("expected") or {}).get("mode", ""))
    return int(said, 8) if re.fullmatch("0[0-7]{3}", said) else 0o600


def without_secrets(env_file: bytes) -> tuple[bytes, list[str]]:
    """An env file with each line of a secret's name replaced by a comment, and those names. Safe to repeat."""
    kept, names = [], []
    for line in env_file.decode(errors="surrogateescape").splitlines(keepends=True):
        name, sign, _value = line.partition("=")
        bare = re.sub(r"^\s*export\s+", "", name).strip()
        if sign and not name.lstrip().startswith("#") and _SECRET_NAME.search(bare):
            kept.append(f"{_LEFT_OUT}{bare}\n")
            names.append(bare)
        else:
            kept.append(line)
    return "".join(kept).encode(errors="surrogateescape"), names


def require_no_secret(path: str, content: bytes, secrets: Iterable[str]) -> None:
    """PRC-241 where a file that goes into a set holds a secret of the inventory, or a private key, in clear."""
    held = _PRIVATE_KEY.search(content) or any(
        secret.encode(errors="surrogateescape") in content for secret in secrets if len(secret) >= SHORTEST_SECRET
    )
    if held:
        raise RecoveryError(
            "PRC-241",
            f"back up the configuration file {path}",
            "it holds a secret in clear (a password or token of the inventory, or a private key)",
            "running data was not touched; the backup set stays incomplete, and the secret is in no set",
            "move the secret into a file of its own outside the configuration (Compose secrets), and rotate it",
        )


def digest_of(
    key: str | None, files: Mapping[str, tuple[str, bytes, str]], secrets: Sequence[Secret], recipients: Sequence[str]
) -> str | None:
    """Keyed digest (HMAC-SHA-256) of a configuration, the same while nothing changes; None without a key.

    files: target -> (kind, content, mode). It is keyed for the secrets' sake: a plain digest of a short one gives it
    away.
    """
    if not key:
        return None
    whole = {
        "version": LAYOUT_VERSION,
        "files": {target: [kind, _sha256(content), mode] for target, (kind, content, mode) in files.items()},
        "secrets": {one.name: [_sha256(one.content), one.mode] for one in secrets},
        "recipients": sorted(recipients),
    }
    return hmac.new(key.encode(), json.dumps(whole, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def image_ids(inspected: Iterable[Mapping[str, Any]], services: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Image of each service: its name, id (content digest) and, where a registry gave them, repository digests.

    inspected: `docker image inspect`; services: service -> image name. Services without an image here are left out.
    """
    by_name: dict[str, Mapping[str, Any]] = {}
    for image in inspected:
        for name in (image["Id"], *(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())):
            by_name[name] = image
    found: dict[str, dict[str, Any]] = {}
    for service, name in sorted(services.items()):
        here = by_name.get(name) or by_name.get(f"{name}:latest")
        if here is not None:
            found[service] = {
                "image": name,
                "id": here["Id"],
                "created": here.get("Created"),
                "repository_digests": sorted(here.get("RepoDigests") or ()),
            }
    return found


def services_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Service -> image name, from `docker compose config --format json`."""
    project = config.get("name", "")
    return {
        name: service.get("image") or f"{project}-{name}" for name, service in (config.get("services") or {}).items()
    }


@dataclass(frozen=True)
class Difference:
    """A file of the set against the host's. path: on the host; state: SAME, KEPT or MISSING."""

    artefact: Artefact
    path: str
    state: str


def compare_files(layout: Layout, artefacts: Sequence[Artefact]) -> list[Difference]:
    """Each configuration file of the set against the host's, as far as this inventory has a place for it."""
    found = []
    for one in artefacts:
        path = layout.place_of(one["path"]) if one["component"] == COMPONENT else None
        if path is not None:
            found.append(Difference(one, path, _state(path, one)))
    return found


def _state(path: str, artefact: Artefact) -> str:
    try:
        content, _names = content_of(Source(path, artefact["path"], artefact["kind"]))
    except FileNotFoundError:
        return MISSING
    return SAME if hashlib.sha256(content).hexdigest() == artefact["sha256"] else KEPT


def file_checks(differences: Iterable[Difference], missing_allowed: bool = False) -> list[Check]:
    """Every file of the set is there, or will be brought back where one may be missing.

    One that differs was changed since the backup: it stays, and is named.
    """
    expected = "present, or brought back from the set" if missing_allowed else "present"
    return [
        check(
            f"configuration file {one.path}", COMPONENT, expected, one.state, ok=missing_allowed or one.state != MISSING
        )
        for one in differences
    ]


def image_checks(expected: Mapping[str, Mapping[str, Any]], here: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Every service has its image here. Another id than in the set (rebuilt or updated since) is named."""
    checks = []
    for service, image in sorted(expected.items()):
        found = here.get(service)
        if found is None:
            shown = MISSING
        elif found["id"] == image["id"]:
            shown = SAME
        else:
            shown = f"another than in the set ({found['image']} {found['id'][:19]})"
        checks.append(check(f"image of {service}", COMPONENT, "present", shown, ok=found is not None))
    return checks
