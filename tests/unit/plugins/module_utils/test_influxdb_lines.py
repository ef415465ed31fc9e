# SPDX-License-Identifier: GPL-3.0-or-later
"""Points as line protocol: every type of value, every sign that must be escaped, and streams compared."""

from __future__ import annotations

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_lines import (
    batches,
    hashed,
    lines_of,
    points_query,
)

ANSWER = """#group,false,false,false,false,true,true,true
#datatype,string,long,dateTime:RFC3339,double,string,string,string
#default,_result,,,,,,
,result,table,_time,_value,_field,_measurement,symbol
,_result,0,2026-11-23T05:17:00.000000001Z,1.0825,bid,ticks,EURUSD
,_result,0,2026-11-23T05:17:01Z,1,bid,ticks,

#datatype,string,long,dateTime:RFC3339,long,string,string,string,string
,result,table,_time,_value,_field,_measurement,desk,symbol
,_result,1,2026-11-23T05:17:00Z,-3,volume,ticks,"a b=c,d",EURUSD

#datatype,string,long,dateTime:RFC3339,string,string,string
,result,table,_time,_value,_field,_measurement
,_result,2,2026-11-23T05:17:00Z,"say ""no"", \\ twice",the note,my notes

#datatype,string,long,dateTime:RFC3339,boolean,string,string
,result,table,_time,_value,_field,_measurement
,_result,3,2026-11-23T05:17:00Z,true,open,"m,1"

#datatype,string,long,dateTime:RFC3339,unsignedLong,string,string
,result,table,_time,_value,_field,_measurement
,_result,4,2026-11-23T05:17:00Z,18446744073709551615,seen,m
"""
SECOND = 1763875020_000000000 + 365 * 86400 * 1_000_000_000


def test_every_type_and_every_sign() -> None:
    assert list(lines_of(ANSWER.splitlines())) == [
        f"ticks,symbol=EURUSD bid=1.0825 {SECOND + 1}",
        f"ticks bid=1 {SECOND + 1_000_000_000}",
        f"ticks,desk=a\\ b\\=c\\,d,symbol=EURUSD volume=-3i {SECOND}",
        f'my\\ notes the\\ note="say \\"no\\", \\\\ twice" {SECOND}',
        f"m\\,1 open=true {SECOND}",
        f"m seen=18446744073709551615u {SECOND}",
    ]


def test_an_error_in_the_answer_is_no_empty_answer() -> None:
    with pytest.raises(ValueError, match="runtime error"):
        list(lines_of(["#datatype,string,string", ",error,reference", ",runtime error,897"]))
    with pytest.raises(ValueError, match="types"):
        list(lines_of([",result,table,_time,_value", ",_result,0,2026-11-23T05:17:00Z,1"]))
    with pytest.raises(ValueError, match="duration"):
        list(lines_of(["#datatype,string,long,dateTime:RFC3339,duration,string,string", *ANSWER.splitlines()[-2:]]))


def test_lines_are_told_apart() -> None:
    assert hashed("a x=1 1") == hashed("a x=1 1") != hashed("a x=1 2")
    assert 0 <= hashed("a x=1 1") < 2**64


def test_batches_hold_every_line_once() -> None:
    lines = [f"m x={number} {number}" for number in range(100)]
    texts = list(batches(lines, 60))
    assert "\n".join(texts).split("\n") == lines and all(len(one) <= 60 for one in texts) and len(texts) > 10
    assert list(batches([], 60)) == [] and list(batches(["x" * 100], 60)) == ["x" * 100]


def test_a_range_ends_before_its_stop() -> None:
    assert 'stop: time(v: "2026-11-23T05:17:00Z")' in points_query("b", 0, SECOND)
