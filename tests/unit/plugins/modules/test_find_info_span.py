# SPDX-License-Identifier: GPL-3.0-or-later
"""The time that is searched for what took data away: the same limits for every datastore."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._span import DAY_SECONDS, SPAN_ARGUMENTS
from ansible_collections.platform3.recovery.plugins.modules import (
    influxdb_delete_find_info,
    postgresql_audit_find_info,
    postgresql_wal_find_info,
    redis_log_find_info,
)

MORE = {"many_rows": 1, "limit": 1, "timeout_seconds": 1, "query": "SELECT 1"}
MODULES = {
    influxdb_delete_find_info: "PRC-765",
    postgresql_audit_find_info: "PRC-563",
    postgresql_wal_find_info: "PRC-563",
    redis_log_find_info: "PRC-624",
}


@pytest.mark.parametrize(("module", "code"), MODULES.items())
@pytest.mark.parametrize(
    ("around", "window_seconds", "named"),
    [
        ("2026-11-23T05:17:00", 600, "no offset"),
        ("2026-11-23T05:17:00Z", 0, "window_seconds is 0"),
        ("2026-11-23T05:17:00Z", DAY_SECONDS + 1, f"may be 1 to {DAY_SECONDS}"),
    ],
)
def test_a_time_that_cannot_be_searched_is_refused(
    module: Any, code: str, around: str, window_seconds: int, named: str
) -> None:
    with pytest.raises(RecoveryError) as refused:
        module.span_of({**MORE, "around": around, "window_seconds": window_seconds})
    assert refused.value.code == code and named in refused.value.found
    assert module.span_of({**MORE, "around": "2026-11-23T05:17:00Z", "window_seconds": DAY_SECONDS})
    assert {**module.ARGUMENTS, **SPAN_ARGUMENTS} == module.ARGUMENTS


def test_redis_is_searched_in_whole_seconds_around() -> None:
    asked = {"around": "2026-11-23T05:17:00.5Z", "window_seconds": 600}
    assert redis_log_find_info.span_of(asked) == (1795411020 - 600, 1795411021 + 600)
