# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redis at a point in time: which instants the shipped logs reach, and which of their generations serves one. Pure.

The log tells whole seconds. What is reached is the beginning of a second: all that was written before it is there, and
nothing that was written in it or after it. So a target with a fraction is reached within a second, and never passed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._redis_log import (
    Generation,
    ShippedLog,
    base_time,
    parse_manifest,
)
from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso

_INCREMENT = re.compile(r"(.+)\.(\d+)\.incr\.aof")


@dataclass(frozen=True)
class Increment:
    """An increment of the log in the store: its bytes; the second that its first line names (None where it begins with
    a command), and the last that it names at all (None where it names none)."""

    name: str
    bytes: int
    first: int | None
    last: int | None


@dataclass(frozen=True)
class Life:
    """What the store holds of one life of the data.

    began_at: when the recovery that began it had restored its data (seconds since 1970), None for the first life;
    restored_to: the instant which that brought the data back to. manifests: number -> text; bases: name -> first bytes.
    """

    name: str
    began_at: float | None
    restored_to: float | None
    manifests: Mapping[int, str]
    sizes: Mapping[str, int]
    increments: Mapping[str, Increment]
    bases: Mapping[str, bytes]


@dataclass(frozen=True)
class Reach:
    """The instants that one base and the increments after it can be taken to: whole seconds from earliest to latest.

    generation: with all increments that follow, also those that a newer base replaced. inherited: what this life has
    from the one before it, as its recovery restored it.
    """

    life: str
    number: int
    generation: Generation
    increments: tuple[Increment, ...]
    base_bytes: int
    base_at: int
    earliest: int
    latest: int
    began_at: float | None
    inherited: bool

    @property
    def where(self) -> str:
        """For people."""
        return f"the shipped log ({self.life}, generation {self.number})"

    def window(self) -> dict[str, Any]:
        """As data, for a module's result."""
        return {
            "life": self.life,
            "generation": self.number,
            "earliest": to_iso(self.earliest),
            "latest": to_iso(self.latest),
            "inherited": self.inherited,
        }

    def until(self, second: int) -> ShippedLog:
        """The part of it that may hold what was written before second: no increment that begins in it or later."""
        taken: list[Increment] = []
        for one in self.increments:
            if one.first is not None and one.first >= second:
                break
            taken.append(one)
        names = tuple(one.name for one in taken)
        lines = self.generation.lines[: 1 + len(names)]
        size = self.base_bytes + sum(one.bytes for one in taken)
        return ShippedLog(
            self.life, self.number, Generation(self.generation.base, names, lines), size, second, self.base_at, ()
        )


def parse_lives(listing: str) -> list[Life]:
    """What LOOK_ALL printed: "life NAME", then of that life "restored BEGAN TO", "manifest NUMBER LINE",
    "file NAME BYTES", "increment NAME FIRST LAST" (- for none) and "base NAME HEX"."""
    found: list[Life] = []
    for line in listing.splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split(" ")
        if kind == "life":
            found.append(Life(words[0], None, None, {}, {}, {}, {}))
            continue
        life = found[-1]
        if kind == "restored":
            found[-1] = replace(life, began_at=parse_iso(words[0]), restored_to=parse_iso(words[1]))
        elif kind == "manifest":
            number, _, text = rest.partition(" ")
            before = life.manifests.get(int(number), "")
            found[-1] = replace(life, manifests={**life.manifests, int(number): f"{before}{text}\n"})
        elif kind == "file":
            found[-1] = replace(life, sizes={**life.sizes, words[0]: int(words[1])})
        elif kind == "increment":
            first, last = (int(word) if word.isdigit() else None for word in words[1:3])
            one = Increment(words[0], life.sizes.get(words[0], 0), first, last)
            found[-1] = replace(life, increments={**life.increments, one.name: one})
        elif kind == "base":
            found[-1] = replace(life, bases={**life.bases, words[0]: bytes.fromhex("".join(words[1:]))})
    return found


def reaches_of(lives: Sequence[Life]) -> tuple[list[Reach], list[str]]:
    """What each generation of each life reaches, and a sentence on each that cannot be used at all."""
    reaches: list[Reach] = []
    problems: list[str] = []
    for life in lives:
        for number, text in sorted(life.manifests.items()):
            try:
                whole = _whole(life, number, text)
            except ValueError as error:
                problems.append(f"the shipped log ({life.name}, generation {number}) cannot be used: {error}")
                continue
            reaches += _by_origin(whole, life.restored_to)
    return reaches, problems


def _whole(life: Life, number: int, text: str) -> Reach:
    """A generation with all increments that follow it. Raises ValueError where it cannot be used."""
    own = parse_manifest(text)
    missing = [name for name in own.files if name not in life.sizes]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    base_at = base_time(life.bases.get(own.base, b""))
    if base_at is None:
        raise ValueError(f"its base {own.base} does not say when it was made")
    names, lines = list(own.increments), list(own.lines)
    # A base stands for the increments before it: without it they carry on, also where rewrites followed so quickly
    # that the shipper saw only the last of them.
    while names and (last := _INCREMENT.fullmatch(names[-1])):
        following = f"{last[1]}.{int(last[2]) + 1}.incr.aof"
        if following not in life.increments:
            break
        names.append(following)
        lines.append(f"file {following} seq {int(last[2]) + 1} type i")
    increments = tuple(life.increments[name] for name in names)
    # The clock that a base is dated by may be behind the log's by some milliseconds.
    seq = _seq(names[0]) if names else 0
    before = [one.last for one in life.increments.values() if _seq(one.name) < seq and one.last is not None]
    return Reach(
        life=life.name,
        number=number,
        generation=Generation(own.base, tuple(names), tuple(lines)),
        increments=increments,
        base_bytes=life.sizes[own.base],
        base_at=base_at,
        earliest=max([base_at, *before]) + 1,
        latest=max((one.last for one in increments if one.last is not None), default=base_at),
        began_at=life.began_at,
        inherited=False,
    )


def _seq(name: str) -> int:
    found = _INCREMENT.fullmatch(name)
    return int(found[2]) if found else 0


def _by_origin(whole: Reach, restored_to: float | None) -> list[Reach]:
    """The part that its life wrote itself, and the part that it has from the one before; what lies between was written
    by another life, or by none."""
    if whole.began_at is None or restored_to is None:
        parts = [whole]
    else:
        parts = [
            replace(whole, latest=min(whole.latest, math.floor(restored_to)), inherited=True),
            replace(whole, earliest=max(whole.earliest, math.floor(whole.began_at) + 1)),
        ]
    return [one for one in parts if one.earliest <= one.latest]


def candidates(reaches: Sequence[Reach], second: int) -> list[Reach]:
    """What can be taken to the beginning of second, the best first: of the life that the platform had then, the newest
    base. Others follow only where they hold the same data: older bases of that life, and what was inherited from it."""
    able = [one for one in reaches if one.earliest <= second <= one.latest]
    able.sort(key=lambda one: (not one.inherited, one.began_at or 0.0, one.base_at, one.number), reverse=True)
    return [one for one in able if one.life == able[0].life or one.inherited]


def nearest(reaches: Sequence[Reach], target: float) -> tuple[int | None, int | None]:
    """The reachable seconds next to an instant, at or before and after it; None where there is none on that side."""
    second = math.floor(target)
    before = max((min(one.latest, second) for one in reaches if one.earliest <= second), default=None)
    after = min((max(one.earliest, second + 1) for one in reaches if one.latest > second), default=None)
    return before, after


@dataclass(frozen=True)
class Part:
    """One increment of a life, and the seconds that its commands are of, as far as the log tells."""

    name: str
    first: int | None
    last: int | None


def parts_of(life: Life) -> list[Part]:
    """All increments of a life in order. One that begins with a command goes on in the last second before it, of an
    increment or of the base that it follows."""
    made = [at for at in map(base_time, life.bases.values()) if at is not None]
    parts: list[Part] = []
    at = min(made, default=None)
    for one in sorted(life.increments.values(), key=lambda increment: _seq(increment.name)):
        first = one.first if one.first is not None else at
        at = one.last if one.last is not None else first
        parts.append(Part(one.name, first, at))
    return parts
