# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trading database, as those look at it who change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The input that names it.
DATABASE_ARGUMENT: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "host": {"type": "str", "default": "127.0.0.1"},
        "port": {"type": "int", "default": 5432},
        "database": {"type": "str", "required": True},
        "user": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
    },
}
STATEMENT_SECONDS = 60


def connect(database: Mapping[str, Any], **options: Any) -> Any:
    """A read-only connection, its statements bounded; options go to psycopg. Raises psycopg.Error."""
    import psycopg

    return psycopg.connect(
        host=database["host"],
        port=database["port"],
        dbname=database["database"],
        user=database["user"],
        password=database["password"],
        connect_timeout=5,
        options=f"-c statement_timeout={STATEMENT_SECONDS}s -c default_transaction_read_only=on",
        autocommit=True,
        **options,
    )
