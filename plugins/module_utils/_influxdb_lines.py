# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The points of a time range as line protocol, a line each field. Pure.

They are read through the server and not from its files (`influxd inspect export-lp`): only the server knows which of
two values of one instant is the later, and what was deleted. The answer's annotations tell each value's type.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator

from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import iso, nanoseconds

# Columns of an answer that are no tags.
OWN_COLUMNS = frozenset(("", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"))
_ESCAPED = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_ESCAPED_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ "})
_ESCAPED_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})


def points_query(bucket_id: str, starts_ns: int, stops_ns: int) -> str:
    """A script that gives every value of a bucket from starts_ns on and before stops_ns."""
    return (
        f'from(bucketID: "{bucket_id}") |> range(start: time(v: "{iso(starts_ns)}"), stop: time(v: "{iso(stops_ns)}"))'
        ' |> drop(columns: ["_start", "_stop"])'
    )


def lines_of(text: Iterable[str]) -> Iterator[str]:
    """The line protocol of an answer in CSV with the annotation `datatype`, without line ends.

    ValueError where the server told an error instead, or the answer has no such annotation.
    """
    types: list[str] = []
    header: list[str] | None = None
    for cells in csv.reader(text):
        if not any(cells):
            header = None
        elif cells[0] == "#datatype":
            types, header = cells, None
        elif cells[0].startswith("#"):
            continue
        elif header is None:
            header = cells
            if "error" in header:
                continue
            if len(types) != len(header):
                raise ValueError("the answer does not tell the types of its values")
            place = {name: number for number, name in enumerate(header)}
            tags = sorted(name for name in header if name not in OWN_COLUMNS)
        elif "error" in header:
            raise ValueError(cells[header.index("error")])
        else:
            shown = [f",{_escaped(one)}={_escaped(cells[place[one]])}" for one in tags if cells[place[one]]]
            value = _value(cells[place["_value"]], types[place["_value"]])
            measurement = cells[place["_measurement"]].translate(_ESCAPED_MEASUREMENT)
            at = nanoseconds(cells[place["_time"]])
            yield f"{measurement}{''.join(shown)} {_escaped(cells[place['_field']])}={value} {at}"


def _escaped(name: str) -> str:
    """A tag's key or value, or a field's key. A backslash at its end would take the next sign with it."""
    return name.translate(_ESCAPED)


def _value(shown: str, kind: str) -> str:
    if kind == "long":
        return f"{shown}i"
    if kind == "unsignedLong":
        return f"{shown}u"
    if kind == "string":
        return f'"{shown.translate(_ESCAPED_TEXT)}"'
    if kind in ("double", "boolean"):
        return shown
    raise ValueError(f"a value is of type {kind}, which no point can have")


def hashed(line: str) -> int:
    """64 bits of a line, by which two streams are compared without holding either."""
    return int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "big")


def batches(lines: Iterable[str], most_bytes: int) -> Iterator[str]:
    """Lines in texts of at most so many characters, or of one line."""
    held: list[str] = []
    size = 0
    for line in lines:
        if held and size + len(line) >= most_bytes:
            yield "\n".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line) + 1
    if held:
        yield "\n".join(held)
