# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs that choose parts of a datastore: these come back in the server that serves, all else stays. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# By datastore: what chooses parts of it, and what says how they come back.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "postgresql": (("postgresql_tables",), ("postgresql_tables_mode", "postgresql_tables_source")),
    "redis": (("redis_key_patterns", "redis_key_databases"), ("redis_key_mode",)),
    "influxdb": (
        ("influxdb_chosen_buckets",),
        ("influxdb_chosen_start", "influxdb_chosen_stop", "influxdb_chosen_mode"),
    ),
}


def names(value: object) -> list[str]:
    """A list, or names parted by commas, each once and in their order."""
    given = value if isinstance(value, (list, tuple)) else str(value).split(",")
    found = [str(one).strip() for one in given if str(one).strip()]
    if not found:
        raise ValueError("names nothing")
    return list(dict.fromkeys(found))


def numbers(value: object) -> list[int]:
    """As names(), of whole numbers from 0 on."""
    found = names([value] if isinstance(value, int) and not isinstance(value, bool) else value)
    wrong = [one for one in found if not re.fullmatch(r"\d{1,9}", one)]
    if wrong:
        raise ValueError(f"must hold whole numbers, and {wrong[0]!r} is none")
    return [int(one) for one in found]


def table_mode(value: object) -> str:
    """`swap` or `merge`."""
    return _one_of(value, ("swap", "merge"))


def part_mode(value: object) -> str:
    """`replace` or `merge`."""
    return _one_of(value, ("replace", "merge"))


def server(value: object) -> dict[str, str]:
    """A running server to take rows from: its container and its database."""
    if not isinstance(value, Mapping) or set(value) != {"container", "database"} or not all(value.values()):
        raise ValueError("must be a dictionary of container and database")
    return {name: str(value[name]) for name in ("container", "database")}


def _one_of(value: object, known: tuple[str, ...]) -> str:
    word = str(value).strip().lower()
    if word not in known:
        raise ValueError(f"must be {' or '.join(known)}")
    return word


def parts_of(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The datastores of which only parts come back, each with what was given about it."""
    return {
        component: {name: inputs[name] for name in (*choosing, *telling) if inputs.get(name)}
        for component, (choosing, telling) in PARTS.items()
        if any(inputs.get(name) for name in choosing)
    }


def part_names() -> list[str]:
    """Every input that is about parts."""
    return [name for choosing, telling in PARTS.values() for name in (*choosing, *telling)]


def shown_parts(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By datastore what was chosen, in a line for people: `session:*, database 0 (merge)`."""
    return {component: _shown(given) for component, given in parts.items()}


def _shown(given: Mapping[str, Any]) -> str:
    lists = {name: ", ".join(map(str, value)) for name, value in given.items() if isinstance(value, list)}
    if "redis_key_databases" in lists:
        lists["redis_key_databases"] = f"database {lists['redis_key_databases']}"
    times = {name.rpartition("_")[2]: value for name, value in given.items() if name.endswith(("_start", "_stop"))}
    if times:
        lists["range"] = f"{times.get('start', 'the beginning')} to {times.get('stop', 'the end of the set')}"
    mode = next((value for name, value in given.items() if name.endswith("_mode")), "")
    return ", ".join(lists.values()) + (f" ({mode})" if mode else "")
