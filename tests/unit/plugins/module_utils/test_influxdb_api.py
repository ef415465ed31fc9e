# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what InfluxDB answers: multipart metadata and Flux results."""

from __future__ import annotations

import io

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _influxdb_api
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import (
    Figures,
    InfluxApi,
    Parts,
    PartsRefused,
    figures_of,
    flux_rows,
    parse_deletes,
)
from hypothesis import given
from hypothesis import strategies as st

BOUNDARY = "4e0b6a5a3f0c9d7e"


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def read(self, amount: int = -1) -> bytes:
        """At most step bytes."""
        return self._data.read(min(amount, self._step))


def body(parts: dict[str, bytes], closed: bool = True) -> bytes:
    """The body as Go's mime/multipart writes it."""
    data = b""
    for name, content in parts.items():
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="{name}"\r\nContent-Type: application/json\r\n\r\n'
        )
        data += (b"\r\n" if data else b"") + head.encode() + content
    return data + (f"\r\n--{BOUNDARY}--\r\n".encode() if closed else b"")


def parsed(data: bytes, step: int = 1 << 20) -> dict[str, bytes]:
    """Name and content of each part."""
    return {name: b"".join(chunks) for name, chunks in Parts(Trickle(data, step), BOUNDARY)}


@given(
    st.lists(
        st.one_of(st.binary(max_size=80), st.sampled_from([b"\r\n--", b"\r\n", f"--{BOUNDARY[:-1]}".encode()])),
        min_size=3,
        max_size=3,
    ),
    st.integers(1, 40),
)
def test_parts_come_back_as_they_were(contents: list[bytes], step: int) -> None:
    """Whatever they hold, empty ones too, and however the network cuts them."""
    parts = dict(zip(["kv", "sql", "buckets"], contents, strict=True))
    assert parsed(body(parts), step) == parts


def test_parts_that_nobody_reads_are_passed_over() -> None:
    """The next part begins where it must."""
    reader = Parts(Trickle(body({"kv": b"x" * 5000, "sql": b"y"}), 100), BOUNDARY)
    assert [name for name, _chunks in reader] == ["kv", "sql"]


@given(st.integers(0, 500))
def test_a_body_that_is_cut_off_is_refused(length: int) -> None:
    """A server that fails midway leaves the closing boundary out, or adds its error instead."""
    whole = body({"kv": b"x" * 100, "sql": b"y" * 50, "buckets": b"[]"})
    end = len(whole) - 4
    with pytest.raises(PartsRefused):
        parsed(whole[: min(length, end - 1)], 7)
    with pytest.raises(PartsRefused):
        parsed(body({"kv": b"x"}, closed=False) + b'{"code":"internal error"}')


def test_a_part_without_a_name_or_end_is_refused() -> None:
    """Headers are bounded."""
    with pytest.raises(PartsRefused, match="no name"):
        parsed(f"--{BOUNDARY}\r\nContent-Type: a/b\r\n\r\nx\r\n--{BOUNDARY}--".encode())
    with pytest.raises(PartsRefused, match="no end"):
        parsed(f"--{BOUNDARY}\r\n".encode() + b"x" * (1 << 20))


# Answer of 2.7.12 to the script of InfluxApi.figures (dialect: header, no annotations).
ANSWER = """,result,table,_measurement,_field,_value
,count,0,ticks,ask,2000000
,count,1,ticks,bid,2000000
,count,2,heartbeat,at,41

,result,table,_time,_measurement,_field
,newest,0,2026-11-23T07:17:14.005Z,ticks,ask
,newest,1,2026-11-23T07:17:14.005000001Z,ticks,bid

"""


def test_figures_are_read_from_a_flux_answer() -> None:
    """Values are summed; points are those of a measurement's most frequent field; the newest time wins."""
    assert figures_of(flux_rows(ANSWER.replace("\n", "\r\n"))) == Figures(2000041, 4000041, 1795418234005000001)
    assert figures_of(flux_rows("\r\n")) == Figures(0, 0, None)


def test_an_error_in_the_answer_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flux reports a failure of a running query as a row with status 200."""
    api = InfluxApi("http://127.0.0.1:1", "token")
    monkeypatch.setattr(api, "request", lambda *_given: None)
    monkeypatch.setattr(api, "read", lambda _answer: b"error,reference\r\nfailed to read shard,897\r\n")
    with pytest.raises(_influxdb_api.RecoveryError, match="failed to read shard"):
        api.query("organisation", "flux")


def test_listings_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """By offset or after the last id; a server that knows no paging ends it too."""
    everything = [{"id": f"{number:04}"} for number in range(250)]
    asked: list[str] = []

    def answer(path: str) -> dict[str, object]:
        asked.append(path)
        query = dict(part.split("=") for part in path.split("?")[1].split("&"))
        start = int(query["offset"]) if "offset" in query else int(query.get("after", -1)) + 1
        return {"things": everything[start : start + int(query["limit"])]}

    api = InfluxApi("http://127.0.0.1:1", "token")
    monkeypatch.setattr(api, "json", answer)
    assert api.ids("/things", "things") == [one["id"] for one in everything]
    assert api.ids("/things", "things", after=True) == [one["id"] for one in everything]
    assert len(asked) == 6
    monkeypatch.setattr(api, "json", lambda _path: {"things": everything[:100]})
    assert len(api.ids("/things", "things")) == 100


def test_no_server_is_a_clear_error() -> None:
    """With the address, without the token."""
    with pytest.raises(_influxdb_api.RecoveryError, match="PRC-703") as caught:
        InfluxApi("http://127.0.0.1:9", "very-secret").json("/health")
    assert "127.0.0.1:9" in str(caught.value)
    assert "very-secret" not in str(caught.value)


# As 2.7.12 gives it, shortened.
METRICS = """# TYPE http_api_requests_total counter
http_api_requests_total{method="POST",path="/api/v2/delete",response_code="204",status="2XX"} 2
http_api_requests_total{method="POST",path="/api/v2/delete",response_code="500",status="5XX"} 1
http_api_requests_total{method="POST",path="/api/v2/delete",response_code="400",status="4XX"} 9
http_api_requests_total{method="POST",path="/api/v2/write",response_code="204",status="2XX"} 5
influxdb_uptime_seconds{id="11ae5fe6b3043000"} 0.776752853
"""


def test_deletes_are_counted_but_for_the_refused() -> None:
    found = parse_deletes(METRICS, 1000.0)
    assert found is not None and (found.count, round(found.started, 3)) == (3, 999.223)
    busy = parse_deletes('influxdb_uptime_seconds{id="1"} 1.2345e+06\n', 2e6)
    assert busy is not None and (busy.count, busy.started) == (0, 765500.0)
    assert parse_deletes("", 1000.0) is None
