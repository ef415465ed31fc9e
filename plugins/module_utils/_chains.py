# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chains of backup sets: which sets a recovery must read for each component of a set. Pure.

An increment's manifest names for each component the ids of the sets to read, oldest first; the last is the one whose
own record `components.<name>` is, which is an older set for a component that this one did not back up. A manifest
without `chains` holds all of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Union

Manifest = Mapping[str, Any]
# A manifest that can be believed, or a clause that says why there is none ("is missing").
Looked = Union[Manifest, str]


def chain_of(manifest: Manifest, component: str) -> list[str]:
    """Ids of the sets to read for a component, oldest first."""
    chains = manifest.get("chains") or {}
    return list(chains.get(component) or [manifest["backup_set"]])


def sets_needed(manifest: Manifest, components: Iterable[str] = ()) -> list[str]:
    """Ids of all sets that a recovery of these components (all where none is named) reads, each once, oldest first.

    The set itself is always the last: its manifest is what leads to the others.
    """
    own = manifest["backup_set"]
    named = {one for name in (list(components) or manifest["components"]) for one in chain_of(manifest, name)}
    return [*sorted(named - {own}), own]


def extended(
    parent: Manifest | None, set_id: str, taken: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What a new set has of its parent: the inherited records by component, and the chains of all its components.

    taken: the components that were backed up, each with the chain that its backup gave ([] or [set_id]: it is whole).
    """
    chains = {name: list(chain) or [set_id] for name, chain in taken.items()}
    inherited = {name: record for name, record in (parent or {"components": {}})["components"].items()}
    inherited = {name: record for name, record in inherited.items() if name not in taken}
    if parent is not None:
        chains.update({name: chain_of(parent, name) for name in inherited})
    return inherited, chains


def problems(manifest: Manifest, is_set_id: Callable[[str], bool]) -> list[str]:
    """What is wrong with the field `chains` of a manifest whose other fields keep the schema, as clauses."""
    if "chains" not in manifest:
        return []
    chains, own = manifest["chains"], manifest["backup_set"]
    if set(chains) != set(manifest["components"]):
        return [f"chains are given of {_listed(chains)}, components are {_listed(manifest['components'])}"]
    found = []
    for name, chain in chains.items():
        if (
            not isinstance(chain, list)
            or not chain
            or not all(isinstance(one, str) and is_set_id(one) for one in chain)
        ):
            found.append(f"chains.{name} is no list of ids of backup sets")
        elif len(set(chain)) != len(chain):
            found.append(f"chains.{name} names a set twice")
        elif own in chain[:-1]:
            found.append(f"chains.{name} names sets after this one")
        elif manifest["parent"] is None and chain != [own]:
            found.append(f"chains.{name} names other sets, and parent is null")
    if not found:
        ours = {name for name, chain in chains.items() if chain[-1] == own}
        strangers = sorted({str(one["component"]) for one in manifest["artefacts"]} - ours)
        found = [f"chains.{name} ends in another set, and this one holds files of it" for name in strangers]
    return found


def broken(manifest: Manifest, look: Callable[[str], Looked], components: Iterable[str] = ()) -> str | None:
    """Why a set cannot be read along the chains of these components (all where none is named); None where it can.

    Each set named is there, of the same environment, older, and itself says that this is how its part is read; a
    record that was inherited is the one of the set it came from.
    """
    if "chains" not in manifest:
        return None
    own = manifest["backup_set"]
    for name in list(components) or manifest["components"]:
        chain = chain_of(manifest, name)
        for at, one in enumerate(chain):
            if one == own:
                continue
            reason = _unfit(manifest, look(one), name, chain[: at + 1], inherited=at == len(chain) - 1)
            if reason:
                return f"its chain is broken: {one} {reason}"
    return None


def _unfit(manifest: Manifest, member: Looked, component: str, chain: list[str], inherited: bool) -> str:
    if isinstance(member, str):
        return member
    if member["environment_id"] != manifest["environment_id"]:
        return f"belongs to environment {member['environment']}"
    if member["sequence"] >= manifest["sequence"]:
        return "is not older"
    if component not in member["components"] or chain_of(member, component) != chain:
        return f"gives another chain of {component}"
    if inherited and member["components"][component] != manifest["components"][component]:
        return f"records another {component}"
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
