# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The forms of single inputs: each takes a value as it is typed and gives its normal form. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from ansible_collections.platform3.recovery.plugins.module_utils._times import parse_iso, to_iso
from ansible_collections.platform3.recovery.plugins.module_utils._wal import format_lsn, parse_lsn, parse_xid

COMPONENTS = ("postgresql", "redis", "influxdb", "configuration", "app_services")
# What a backup set holds, and what an increment backs up where backup_set_components does not say.
STORED = ("postgresql", "redis", "influxdb", "configuration")
KINDS = ("full", "increment")
DAY_SECONDS = 86400
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SET = re.compile(r"latest|\d{8}T\d{6}Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_TRUE = frozenset(("yes", "true", "on", "1", "y", "t"))
_FALSE = frozenset(("no", "false", "off", "0", "n", "f"))

# A normaliser takes the value as given (never empty) and returns the normal form, or raises ValueError with a clause.


def identifier(value: object) -> str:
    """A recovery_id: 1 to 64 of letters, digits, `.`, `_`, `-`, not beginning with a sign. It names a folder."""
    text = str(value).strip()
    if not _ID.fullmatch(text):
        raise ValueError("may hold letters, digits, '.', '_' and '-', at most 64, and begins with a letter or digit")
    return text


def text(value: object) -> str:
    """One line of text."""
    if isinstance(value, (dict, list)):
        raise ValueError("must be text")
    shown = str(value).strip()
    if "\n" in shown or len(shown) > 500:
        raise ValueError("must be one line of at most 500 characters")
    return shown


def instant(value: object) -> str:
    """A time with its offset from UTC, given back as ISO 8601 UTC with `Z`."""
    return to_iso(parse_iso(str(value)))


def backup_set(value: object) -> str:
    """`latest` or the id of a set."""
    shown = str(value).strip()
    if not _SET.fullmatch(shown):
        raise ValueError("must be 'latest' or the id of a backup set, such as 20261123T051700Z")
    return shown


def recovery_point_name(value: object) -> str:
    """The name of a restore point, at most 63 characters as PostgreSQL takes it."""
    shown = str(value).strip()
    if not _NAME.fullmatch(shown):
        raise ValueError("may hold letters, digits and '_.-', at most 63, and names a file")
    return shown


def wal_position(value: object) -> str:
    """A position in PostgreSQL's WAL, as the server writes it."""
    try:
        return format_lsn(parse_lsn(str(value).strip()))
    except ValueError:
        raise ValueError("must be a position such as 16/B374D848, as pg_current_wal_lsn() gives it") from None


def transaction(value: object) -> str:
    """The id of a transaction of PostgreSQL, with its epoch or without."""
    try:
        parse_xid(str(value).strip())
    except ValueError:
        raise ValueError("must be a number from 3 on, as pg_current_xact_id() gives it") from None
    return str(value).strip()


def truth(value: object) -> bool:
    """A yes or no; AWX surveys have no booleans and send words."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("must be yes or no")


def components(value: object, known: Sequence[str] = COMPONENTS) -> list[str]:
    """A list, or names parted by commas or spaces, in the platform's order, each once."""
    names = value if isinstance(value, (list, tuple)) else re.split(r"[,\s]+", str(value).strip(" ,[]"))
    asked = [str(name).strip().strip("'\"").lower() for name in names if str(name).strip()]
    unknown = [name for name in asked if name not in known]
    if unknown:
        told = [f"unknown component {name!r}{nearest_clause(name, known)}" for name in dict.fromkeys(unknown)]
        raise ValueError(f"names {'; '.join(told)} (there are {', '.join(known)})")
    if not asked:
        raise ValueError("names no component")
    return [name for name in known if name in asked]


def stored_components(value: object) -> list[str]:
    """As components(), of those that a backup set holds."""
    return components(value, STORED)


def backup_kind(value: object) -> str:
    """`full` or `increment`."""
    kind = str(value).strip().lower()
    if kind not in KINDS:
        raise ValueError(f"must be {' or '.join(KINDS)}{nearest_clause(kind, KINDS)}")
    return kind


def window(value: object) -> int:
    """Seconds that are searched before and after a time: 1 to a day."""
    shown = str(value).strip()
    if isinstance(value, bool) or not shown.isdecimal() or not 1 <= int(shown) <= DAY_SECONDS:
        raise ValueError(f"must be a number of seconds from 1 to {DAY_SECONDS}")
    return int(shown)


def into(value: object) -> str:
    """Where else than into the platform a point is restored: `sandbox`."""
    place = str(value).strip().lower()
    if place != "sandbox":
        raise ValueError(f"must be sandbox{nearest_clause(place, ['sandbox'])}")
    return place


def port(value: object) -> int:
    """The number of a TCP port."""
    shown = str(value).strip()
    if isinstance(value, bool) or not shown.isdecimal() or not 1 <= int(shown) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(shown)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, None where none is."""
    # The usual shared beginning would make everything alike: 0.6 of the rest decides too.
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_clause(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?` or nothing."""
    like = nearest(name, known)
    return f", did you mean {like!r}?" if like else ""
