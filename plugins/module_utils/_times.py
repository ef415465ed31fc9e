# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instants and spans: ISO 8601 in UTC outwards, seconds inwards."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Date, time and a mandatory offset. The zone of a naive time is anybody's guess (pgbackrest#2452, barman#945).
_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[T ](?P<clock>\d{2}:\d{2}(?::\d{2})?)(?P<fraction>[.,]\d{1,9})?\s?"
    r"(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?"
)

# The same with the name of a zone, such as Europe/Berlin or CET.
_ZONED = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)\s?\[?([A-Za-z][A-Za-z_+-]*(?:/[A-Za-z0-9_+-]+)*)\]?"
)


def parse_iso(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 instant. ValueError says what is wrong, a missing offset among it.

    A float holds the microsecond up to the year 2106 only, and no nanosecond: see parse_microseconds.
    """
    return parse_nanoseconds(text) / 1_000_000_000


def parse_microseconds(text: str) -> int:
    """The same in microseconds since 1970, exactly; of a finer fraction the nearest one. ValueError as parse_iso."""
    return (parse_nanoseconds(text) + 500) // 1000


def parse_nanoseconds(text: str) -> int:
    """The same in nanoseconds since 1970, exactly. ValueError as parse_iso."""
    found = _ISO.fullmatch(text.strip())
    if not found:
        meant = _of_a_zone(text.strip())
        if meant:
            raise ValueError(f"{text!r} names a zone instead of an offset from UTC; {meant}")
        raise ValueError(f"{text!r} is not a date and time as in 2026-11-23T05:17:00+01:00")
    offset = found["offset"]
    if not offset:
        raise ValueError(f"{text!r} has no offset from UTC; write for example {text.strip()}Z or {text.strip()}+01:00")
    clock = found["clock"] if found["clock"].count(":") == 2 else found["clock"] + ":00"
    digits = "+0000" if offset in "Zz" else (offset.replace(":", "") + "00")[:5]
    try:
        whole = datetime.strptime(f"{found['date']}T{clock}{digits}", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise ValueError(f"{text!r} is no possible date and time ({error})") from None
    if not 1970 <= whole.year <= 2999:
        raise ValueError(f"{text!r} is not of this age")
    fraction = found["fraction"][1:] if found["fraction"] else ""
    return (whole - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _of_a_zone(text: str) -> str | None:
    """What a local time of a named zone can mean, since it occurs twice or never where clocks are changed; None where
    the text is no such time or the zone is not known here."""
    from zoneinfo import ZoneInfo

    found = _ZONED.fullmatch(text)
    if not found:
        return None
    try:
        zone, naive = ZoneInfo(found[3]), datetime.fromisoformat(f"{found[1]}T{found[2]}")
    except (KeyError, ValueError, OSError):
        return None
    first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return f"that is {first.isoformat()}"
    if first.astimezone(timezone.utc).astimezone(zone).replace(tzinfo=None) != naive:
        return f"there is no such time in {found[3]}: its clocks were put forward then"
    return f"it was that time twice, as clocks were put back: {first.isoformat()} or {second.isoformat()}"


def to_iso(seconds: float) -> str:
    """An instant given in seconds since 1970 as ISO 8601 UTC with milliseconds and `Z`."""
    rounded = round(seconds * 1000)
    whole = datetime.fromtimestamp(rounded // 1000, tz=timezone.utc)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rounded % 1000:03d}Z"


def short(instant: str | None, *, date: bool = True) -> str:
    """An ISO instant for people: `2026-11-23 05:17:00Z`, without the date `05:17:00Z`; `-` for none."""
    if not instant:
        return "-"
    try:
        shown = to_iso(parse_iso(instant))
    except ValueError:
        return instant
    return (shown[:10] + " " if date else "") + shown[11:19] + "Z"


def span(seconds: float | None) -> str:
    """A duration for people: `0.4 s` below ten seconds, then `01:28`, `1:02:03`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
