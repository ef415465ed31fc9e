# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the platform's own audit log says of a time: the inventory's query, bounded, and its rows as events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._psql import literal
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import show_time

# What the query gives, each by its name.
COLUMNS = ("at", "actor", "action", "object", "rows", "xid", "source")
# The WAL knows the lower half of a transaction's id, pg_current_xact_id() counts on.
_XID_MASK = 0xFFFFFFFF


def bounded(query: str, start: int, end: int, limit: int) -> str:
    """The query with its times (microseconds since 1970), in a select that has no more rows than one above the limit.

    Those nearest to the middle come first, so that what is left out is what was least asked for. Only the two names are
    put in: another per cent sign stays as it is.
    """
    first, last, middle = (f"timestamptz {literal(show_time(at))}" for at in (start, end, (start + end) // 2))
    inner = query.strip().rstrip(";").replace("%(from)s", first).replace("%(until)s", last)
    # The query's end stands on a line of its own: it may end with a comment.
    return (
        f"SELECT to_char(q.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at, q.actor::text AS actor,"
        f" q.action::text AS action, q.object::text AS object, q.rows::bigint AS rows, q.xid::text AS xid,"
        f" q.source::text AS source FROM (\n{inner}\n) AS q WHERE q.at BETWEEN {first} AND {last}"
        f" ORDER BY abs(extract(epoch FROM q.at - {middle})), q.at LIMIT {limit + 1}"
    )


def events_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as events, in order of time."""
    events = [
        {
            "at": row["at"],
            "actor": _said(row["actor"]) or "somebody",
            "action": _said(row["action"]) or "something",
            "object": _said(row["object"]),
            "rows": row["rows"],
            "xid": int(row["xid"]) & _XID_MASK if (row["xid"] or "").isdigit() else None,
            "source": _said(row["source"]) or None,
        }
        for row in rows
    ]
    return sorted(events, key=lambda one: str(one["at"]))


def _said(text: str | None) -> str:
    """A text of somebody else's for one line: whoever took data away names their program themselves."""
    return " ".join("".join(one if one.isprintable() else " " for one in text or "").split())
