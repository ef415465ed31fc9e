# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The loss statement: what a recovery to a point in time undid, as CSV files and for the report.

A listing is {"kind", "count", "sum", "first", "file", "says"}: first, at most FIRST_ROWS rows; file, its name, bytes
and sha256. Where nothing could be listed, count and file are null and says tells why: it is never an empty list.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError

COLUMNS = ("kind", "id", "at", "account", "amount", "details")
FIRST_ROWS = 20
Listing = dict[str, Any]

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: what might be one gets an apostrophe. Numbers stay numbers."""
    risky = cell[:1] in ("\t", "\r", "\n") or cell.lstrip()[:1] in (
        "=",
        "+",
        "-",
        "@",
        "\uff1d",
        "\uff0b",
        "\uff0d",
        "\uff20",
    )
    return f"'{cell}" if risky and not _NUMBER.fullmatch(cell) else cell


def require_kinds(wanted: Sequence[dict[str, Any]], setting: str) -> None:
    """RecoveryError PRC-102 where a kind is no plain word, which its file is named by, or stands there twice."""
    kinds = [str(one["kind"]) for one in wanted]
    bad = [kind for kind in kinds if not _KIND.fullmatch(kind) or kinds.count(kind) > 1]
    if bad:
        raise RecoveryError(
            "PRC-102",
            f"read {setting}",
            f"kinds must be lower-case words, each once: {', '.join(sorted(set(bad)))}",
            "nothing was changed by this statement",
            f"correct {setting} in the inventory",
        )


def file_name(kind: str) -> str:
    """Name of a kind's CSV file."""
    return f"undone_{kind}.csv"


class _Digest:
    """Counts and hashes what is written through it. For csv.writer."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb")
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, text: str) -> int:
        """Write text as UTF-8."""
        raw = text.encode("utf-8", "backslashreplace")
        self._sha256.update(raw)
        self.bytes += len(raw)
        return self._stream.write(raw)

    def close(self, keep: bool) -> str:
        """Close it, on disk where it is kept; gives the digest."""
        if keep:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._stream.close()
        return self._sha256.hexdigest()


def write_listing(folder: str, kind: str, rows: Iterable[Sequence[str]]) -> Listing:
    """Write the rows (id, at, account, amount, details), one at a time, to the kind's file; nothing stays of a failure.

    The file is readable by its owner alone. Whatever rows raises is passed on.
    """
    os.makedirs(folder, mode=0o750, exist_ok=True)
    path = os.path.join(folder, file_name(kind))
    forget_listing(folder, kind)
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    output = _Digest(descriptor)
    first: list[dict[str, str]] = []
    count, total = 0, Decimal(0)
    amounts = False
    try:
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            whole = [kind, *row]
            writer.writerow([guarded(cell) for cell in whole])
            amount = _amount(whole[COLUMNS.index("amount")])
            if amount is not None:
                amounts, total = True, total + amount
            if count < FIRST_ROWS:
                first.append(dict(zip(COLUMNS, whole)))
            count += 1
    except BaseException:
        output.close(keep=False)
        os.unlink(beside)
        raise
    sha256 = output.close(keep=True)
    os.replace(beside, path)
    return {
        "kind": kind,
        "count": count,
        "sum": f"{total:f}" if amounts else None,
        "first": first,
        "file": {"name": file_name(kind), "bytes": output.bytes, "sha256": sha256},
        "says": "",
    }


def _amount(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None


def forget_listing(folder: str, kind: str) -> None:
    """Take away the file that an earlier run wrote: it must not be taken for this statement's."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, file_name(kind)))


def unlisted(folder: str, kind: str, error: RecoveryError) -> Listing:
    """The listing of a kind that could not be listed, with the reason."""
    forget_listing(folder, kind)
    says = f"{error.code}: could not {error.attempted}: {error.found}"
    return {"kind": kind, "count": None, "sum": None, "first": [], "file": None, "says": says}


def warnings_of(listings: Iterable[Listing]) -> list[str]:
    """What the report must warn of: each kind of which it is not known what was undone."""
    return [f"it is not known which {one['kind']} were undone: {one['says']}" for one in listings if one["says"]]
