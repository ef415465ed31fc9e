# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which backup sets stay and which go, with the reason of each. Pure.

A set stays for the policy's sake, for its proof, because somebody works with it, or because one that stays is read
along with it. A bad one (condemned, or of a broken chain) goes after some days. Where no good set is left, nothing
goes: the bad ones may be all there is.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Name of the period: what two sets of one period have in common, in UTC.
PERIODS = {"hourly": "%Y-%m-%d %H h", "daily": "%Y-%m-%d", "weekly": "%G week %V", "monthly": "%Y-%m", "yearly": "%Y"}


@dataclass(frozen=True)
class Policy:
    """How much is kept: the newest sets, and the newest of each of the newest hours, days, weeks, months and years.

    min_tested: so many of the newest tested sets stay in any case; bad_days: how long a bad one is kept.
    """

    last: int = 1
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    min_tested: int = 1
    bad_days: float = 0.0


@dataclass(frozen=True)
class Kept:
    """One set of the store as retention sees it.

    at: its time, with a zone; needs: sets that are read along with it, and its parent; bad: why it cannot be used
    though it is ours (condemned, chain broken), since bad_since; held: why only a person may decide on it (not signed
    by a key we trust, not of this environment). With neither it is good. in_use: what is made from it, so that it stays
    whatever the policy says, and though it may be bad.
    """

    set_id: str
    at: datetime.datetime
    needs: tuple[str, ...] = ()
    tested: bool = False
    bad: str = ""
    bad_since: datetime.datetime | None = None
    held: str = ""
    in_use: str = ""

    @property
    def good(self) -> bool:
        """Whether a recovery may take it."""
        return not self.bad and not self.held


@dataclass(frozen=True)
class Verdict:
    """Whether a set stays, and why (or why not)."""

    set_id: str
    stays: bool
    reason: str


@dataclass
class _Reasons:
    """Reasons to stay, by set, in the order in which they were found."""

    by_set: dict[str, list[str]] = field(default_factory=dict)

    def add(self, set_id: str, reason: str) -> None:
        """One more reason."""
        self.by_set.setdefault(set_id, []).append(reason)


def decide(sets: Iterable[Kept], policy: Policy, now: datetime.datetime) -> list[Verdict]:
    """What becomes of each set, newest first."""
    ordered = sorted(sets, key=lambda one: (one.at, one.set_id), reverse=True)
    eligible = [one for one in ordered if one.good]
    if not eligible:
        return [Verdict(one.set_id, True, "no good set is left, so that nothing goes") for one in ordered]
    reasons = _Reasons()
    for one in ordered:
        if one.in_use:
            reasons.add(one.set_id, one.in_use)
        if one.held:
            reasons.add(one.set_id, one.held)
        elif one.bad and (now - (one.bad_since or one.at)).total_seconds() < policy.bad_days * 86400:
            reasons.add(one.set_id, f"kept for {policy.bad_days:g} days though {one.bad}")
    for number, one in enumerate(eligible[: max(policy.last, 1)], start=1):
        reasons.add(one.set_id, "the newest" if number == 1 else f"last {number}")
    for period, form in PERIODS.items():
        for name, one in _newest_of_each(eligible, form, getattr(policy, period)):
            reasons.add(one.set_id, f"{period} {name}")
    for one in [one for one in eligible if one.tested][: policy.min_tested]:
        reasons.add(one.set_id, "among the newest that were tested")
    _with_their_chains(ordered, reasons)
    return [_verdict(one, reasons.by_set.get(one.set_id, [])) for one in ordered]


def _newest_of_each(eligible: Sequence[Kept], form: str, count: int) -> list[tuple[str, Kept]]:
    """The newest set of each of the newest `count` periods that have one."""
    found: dict[str, Kept] = {}
    for one in eligible:  # newest first
        found.setdefault(one.at.astimezone(datetime.timezone.utc).strftime(form), one)
    return list(found.items())[: max(count, 0)]


def _with_their_chains(ordered: Sequence[Kept], reasons: _Reasons) -> None:
    """What a set that stays is read with stays too, and what that is read with."""
    known = {one.set_id: one for one in ordered}
    waiting = list(reasons.by_set)
    while waiting:
        set_id = waiting.pop(0)
        for needed in known[set_id].needs:
            if needed in known and needed != set_id:
                if needed not in reasons.by_set:
                    waiting.append(needed)
                if not any(reason.startswith("needed by") for reason in reasons.by_set.get(needed, [])):
                    reasons.add(needed, f"needed by {set_id}")


def _verdict(one: Kept, reasons: Sequence[str]) -> Verdict:
    if reasons:
        return Verdict(one.set_id, True, ", ".join(reasons))
    return Verdict(one.set_id, False, one.bad or "no rule keeps it")


def bases_to_expire(labels: Sequence[str], kept: Iterable[str], gone: Iterable[str]) -> list[str]:
    """Which of the repository's base backups go, newest first, so that none goes before one that is built on it.

    labels: all there are, oldest first; kept and gone: those that sets name that stay and go. One that no set names
    goes once it is older than every kept one. One that a kept one of the same full backup may build on stays.
    """
    kept_labels = frozenset(kept) & frozenset(labels)
    if not kept_labels:
        return []
    oldest = min(kept_labels, key=labels.index)
    wanted = frozenset(gone) | frozenset(labels[: labels.index(oldest)])
    built_on = {one for one in labels for other in kept_labels if _may_build_on(other, one)}
    return [one for one in reversed(labels) if one in wanted and one not in kept_labels | built_on]


def _may_build_on(label: str, other: str) -> bool:
    """Whether a base backup may need another: both are of one full backup, and the other is not newer."""
    return _full_of(label) == _full_of(other) and other <= label


def _full_of(label: str) -> str:
    """The full backup of a label such as 20261123-071003F_20261123-081003I."""
    return label.partition("_")[0]


def counted(verdicts: Iterable[Verdict]) -> Mapping[str, int]:
    """How many stay and go."""
    listed = list(verdicts)
    staying = sum(one.stays for one in listed)
    return {"stay": staying, "go": len(listed) - staying}
