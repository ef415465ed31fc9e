# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifest of a backup set: what it looks like, how it is built, and what is refused on reading.

The schema is described in docs/backup_manifest.md. A manifest comes from the store, which is not trusted: everything
is checked against an allow-list before any path in it is used.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils import _chains
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

SCHEMA_VERSION = 1
WRITTEN_BY = "platform3.recovery 0.1.0"
COMPONENTS = ("postgresql", "redis", "influxdb", "configuration")

MANIFEST_NAME = "backup_manifest.json"
SIGNATURE_NAME = "backup_manifest.json.sig"
INCOMPLETE_SUFFIX = ".incomplete"
# Lies in a set while it is being written; says whose it is.
MARKER_NAME = ".backup_started.json"

# Files larger than this carry a digest for each part, so that one huge file is verified by all processors.
CHUNK_BYTES = 64 << 20
LARGE_BYTES = 2 * CHUNK_BYTES

MAXIMUM_MANIFEST_BYTES = 64 << 20
MAXIMUM_PATH_CHARACTERS = 1024

Manifest = dict[str, Any]
Artefact = dict[str, Any]

_SET_ID = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._+=@-]{1,255}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)

# Field: (types, required). bool is an int in Python and never wanted here, see _is.
_FIELDS: dict[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "backup_set": (str,),
    "environment": (str,),
    "environment_id": (str,),
    "sequence": (int,),
    "parent": (str, type(None)),
    "started_at": (str,),
    "finished_at": (str,),
    "written_by": (str,),
    "components": (dict,),
    "artefacts": (list,),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {"chains": (dict,)}
_ARTEFACT_FIELDS: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "bytes": (int,),
    "sha256": (str,),
    "component": (str,),
    "kind": (str,),
    "source_version": (str,),
}
_ARTEFACT_OPTIONAL: dict[str, tuple[type, ...]] = {"expected": (dict,), "chunk_bytes": (int,), "chunks": (list,)}


def set_id_of(at: datetime.datetime) -> str:
    """The id of a backup set begun at this instant (with a zone): its UTC second, 20261123T051700Z."""
    return at.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def set_instant(set_id: str) -> datetime.datetime | None:
    """The instant that a set's id names, or None where the text is no such id."""
    if not _SET_ID.fullmatch(set_id):
        return None
    try:
        return datetime.datetime.strptime(set_id, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


def verification_name(set_id: str) -> str:
    """Name of the set's checksum list for sha256sum."""
    return f"verification_{set_id}.txt"


def path_problem(path: str, component: str) -> str | None:
    """Why path may not stand in a set as a file of component; None where it may.

    Allowed: component/…, relative, plain characters, no `.` or `..` segment. Links are found on the disk, by
    _verification.
    """
    if len(path) > MAXIMUM_PATH_CHARACTERS:
        return "is longer than 1024 characters"
    if path.startswith("/"):
        return "is absolute"
    segments = path.split("/")
    if ".." in segments:
        return "leads out of the set with .."
    if any(segment in ("", ".") for segment in segments):
        return "has an empty or . segment"
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        return "holds characters outside A-Z a-z 0-9 . _ + = @ -"
    if len(segments) < 2 or segments[0] != component:
        return f"does not lie in the folder of its component, {component}/"
    return None


def problems(manifest: Any) -> list[str]:
    """Everything that is wrong with a manifest, as clauses; empty where it keeps the schema."""
    if not isinstance(manifest, dict):
        return ["is not a JSON object"]
    if manifest.get("schema_version") != SCHEMA_VERSION:
        return [f"has schema_version {manifest.get('schema_version')!r}; this release reads {SCHEMA_VERSION}"]
    found = _field_problems(manifest, _FIELDS, _OPTIONAL, "")
    if found:
        return found
    if set_instant(manifest["backup_set"]) is None:
        found.append(f"backup_set {manifest['backup_set']!r} is no UTC second such as 20261123T051700Z")
    if manifest["parent"] is not None and set_instant(manifest["parent"]) is None:
        found.append(f"parent {manifest['parent']!r} is no id of a backup set")
    found += [f"{name} is empty" for name in ("environment", "environment_id") if not manifest[name]]
    if manifest["sequence"] < 1:
        found.append(f"sequence {manifest['sequence']} is below 1")
    for name in ("started_at", "finished_at"):
        if not _INSTANT.fullmatch(manifest[name]):
            found.append(f"{name} {manifest[name]!r} is no ISO 8601 time in UTC with Z")
    found += _component_problems(manifest["components"])
    found += _artefacts_problems(manifest["artefacts"], manifest["components"])
    return found or _chains.problems(manifest, lambda one: set_instant(one) is not None)


def _is(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _field_problems(
    record: Mapping[str, Any],
    required: Mapping[str, tuple[type, ...]],
    optional: Mapping[str, tuple[type, ...]],
    where: str,
) -> list[str]:
    """What is missing, unknown or of a wrong type among the fields of a record."""
    known = {**required, **optional}
    found = [f"{where}{name} is missing" for name in required if name not in record]
    found += [f"{where}{name} is not a known field" for name in record if name not in known]
    for name, types in known.items():
        if name in record and not _is(record[name], types):
            found.append(f"{where}{name} is of type {type(record[name]).__name__}")
    return found


def _component_problems(components: Mapping[str, Any]) -> list[str]:
    found = [] if components else ["components is empty"]
    for name, content in components.items():
        if name not in COMPONENTS:
            found.append(f"components holds {name!r}; known are {', '.join(COMPONENTS)}")
        elif not isinstance(content, dict):
            found.append(f"components.{name} is of type {type(content).__name__}")
        elif not isinstance(content.get("version"), str):
            found.append(f"components.{name}.version is missing")
    return found


def _artefacts_problems(artefacts: list[Any], components: Mapping[str, Any]) -> list[str]:
    found = []
    seen: set[str] = set()
    for number, artefact in enumerate(artefacts):
        where = f"artefacts[{number}]."
        if not isinstance(artefact, dict):
            found.append(f"artefacts[{number}] is of type {type(artefact).__name__}")
            continue
        wrong = _field_problems(artefact, _ARTEFACT_FIELDS, _ARTEFACT_OPTIONAL, where)
        if wrong:
            found += wrong
            continue
        path = artefact["path"]
        if artefact["component"] not in components:
            found.append(f"{where}component {artefact['component']!r} is not among the components")
        bad = path_problem(path, artefact["component"])
        if bad:
            found.append(f"{where}path {path[:200]!r} {bad}")
        if path in seen:
            found.append(f"{where}path {path!r} stands there twice")
        seen.add(path)
        if artefact["bytes"] < 0:
            found.append(f"{where}bytes is below 0")
        if not _SHA256.fullmatch(artefact["sha256"]):
            found.append(f"{where}sha256 is no SHA-256 in lower-case hexadecimal")
        found += [f"{where}{problem}" for problem in _chunk_problems(artefact)]
    # A file cannot be a folder too.
    folders = {path[:end] for path in seen for end, letter in enumerate(path) if letter == "/"}
    found += [f"artefact path {path!r} is a file and a folder" for path in sorted(seen & folders)]
    return found


def _chunk_problems(artefact: Artefact) -> list[str]:
    size, chunks = artefact.get("chunk_bytes"), artefact.get("chunks")
    if size is None and chunks is None:
        return []
    if size is None or chunks is None:
        return ["chunk_bytes and chunks come together"]
    if size < 1 << 20:
        return ["chunk_bytes is below 1 MiB"]
    if len(chunks) != -(-artefact["bytes"] // size):
        return [f"chunks holds {len(chunks)} digests for {artefact['bytes']} bytes in parts of {size}"]
    if not all(isinstance(one, str) and _SHA256.fullmatch(one) for one in chunks):
        return ["chunks holds something else than SHA-256 in lower-case hexadecimal"]
    return []


def refused(set_id: str, found: str) -> RecoveryError:
    """The error of a manifest that cannot be used."""
    return RecoveryError(
        "PRC-210",
        f"use the manifest of backup set {set_id}",
        found,
        "nothing was changed",
        "choose another set with -e recovery_backup_set=ID, and look at who could write to the backup store",
    )


def build(
    *,
    set_id: str,
    environment: str,
    environment_id: str,
    sequence: int,
    started_at: str,
    finished_at: str,
    components: Mapping[str, Mapping[str, Any]],
    artefacts: Iterable[Mapping[str, Any]],
    parent: str | None = None,
    chains: Mapping[str, list[str]] | None = None,
) -> Manifest:
    """A manifest that keeps the schema; PRC-210 where the parts given do not. Artefacts are sorted by path.

    chains: see _chains; a set that holds all of itself has none.
    """
    manifest: Manifest = {
        "schema_version": SCHEMA_VERSION,
        "backup_set": set_id,
        "environment": environment,
        "environment_id": environment_id,
        "sequence": sequence,
        "parent": parent,
        "started_at": started_at,
        "finished_at": finished_at,
        "written_by": WRITTEN_BY,
        "components": {name: dict(content) for name, content in components.items()},
        "artefacts": sorted((dict(one) for one in artefacts), key=lambda one: str(one.get("path"))),
    }
    if chains is not None:
        manifest["chains"] = {name: list(chain) for name, chain in chains.items()}
    wrong = problems(manifest)
    if wrong:
        raise refused(set_id, _joined(wrong))
    return manifest


def render(manifest: Manifest) -> bytes:
    """The manifest as it lies in the set: JSON that a person can read, keys sorted, one newline at the end."""
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def parse(raw: bytes, set_id: str) -> Manifest:
    """The manifest of the set in folder set_id from its bytes; PRC-210 for anything that does not keep the schema."""
    if len(raw) > MAXIMUM_MANIFEST_BYTES:
        raise refused(set_id, f"{MANIFEST_NAME} has {len(raw)} bytes, more than any real one")
    try:
        manifest = json.loads(raw.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refused(set_id, f"{MANIFEST_NAME} is no JSON of ours ({error})") from None
    wrong = problems(manifest)
    if not wrong and manifest["backup_set"] != set_id:
        wrong = [f"says it is set {manifest['backup_set']}, but lies in folder {set_id}"]
    if wrong:
        raise refused(set_id, f"{MANIFEST_NAME}: {_joined(wrong)}")
    parsed: Manifest = manifest
    return parsed


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands there twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _joined(wrong: list[str]) -> str:
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return "; ".join(wrong[:5]) + more


def verification_text(manifest: Manifest, manifest_sha256: str) -> str:
    """The lines of verification_<ts>.txt, as `sha256sum --check` reads them from inside the set folder.

    The manifest is among them; the list itself proves nothing, the signature does.
    """
    lines = [f"{one['sha256']}  {one['path']}\n" for one in manifest["artefacts"]]
    return "".join([*lines, f"{manifest_sha256}  {MANIFEST_NAME}\n"])


def needed_artefacts(
    manifest: Manifest, components: Iterable[str] = (), left_out_kinds: Iterable[str] = ()
) -> list[Artefact]:
    """The artefacts of these components (all where none is named) whose kind is not left out."""
    wanted, without = set(components), set(left_out_kinds)
    return [
        one
        for one in manifest["artefacts"]
        if (not wanted or one["component"] in wanted) and one["kind"] not in without
    ]


def root_files(set_id: str) -> set[str]:
    """Names of the files that lie in a complete set beside the artefacts."""
    return {MANIFEST_NAME, SIGNATURE_NAME, verification_name(set_id)}
