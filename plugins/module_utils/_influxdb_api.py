# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP interface of InfluxDB 2, as far as backup, restore and verification need it.

Plain http.client: a shard of gigabytes passes through in chunks of one MiB, and without gzip (http.client asks for
"identity"), because TSM is compressed already.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Protocol
from urllib.parse import urlencode, urlsplit

from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import (
    NANOSECONDS,
    Shard,
    iso,
    nanoseconds,
)

CHUNK_BYTES = 1 << 20
PART_HEADER_BYTES = 16 << 10
POLL_SECONDS = 0.05
GIVEN_UP_SECONDS = 2.0


class NotFound(RecoveryError):
    """The server knows no such thing (HTTP 404)."""


class Unauthorised(RecoveryError):
    """The server does not accept the token (HTTP 401)."""


class ServerFailed(RecoveryError):
    """The server could not do it just now (HTTP 5xx), such as "snapshots disabled" while it deletes points."""


class Writable(Protocol):
    """What takes bytes."""

    def write(self, chunk: bytes) -> object:
        """Take the whole chunk."""


class _Source(Protocol):
    def read(self, amount: int) -> bytes: ...


class PartsRefused(ValueError):
    """A multipart body that is cut off or not what it must be."""


class Parts:
    """The parts of a multipart body (RFC 2046), read as a stream: `for name, chunks in Parts(...)`.

    name is the one in Content-Disposition. Each part's chunks are read, or skipped, before the next part comes.
    Raises PartsRefused unless the body ends with the closing boundary: a server that fails midway leaves it out.
    """

    def __init__(self, source: _Source, boundary: str) -> None:
        self._source = source
        self._mark = b"\r\n--" + boundary.encode("ascii")
        self._buffer = b"\r\n"
        self._in_part = True

    def __iter__(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for _preamble in self._chunks():
            pass
        while True:
            self._fill(2)
            if self._buffer[:2] == b"--":
                return
            name = self._headers()
            self._in_part = True
            yield name, self._chunks()
            for _unread in self._chunks():
                pass

    def _fill(self, amount: int) -> None:
        while len(self._buffer) < amount:
            more = self._source.read(CHUNK_BYTES)
            if not more:
                raise PartsRefused("it ends before its closing boundary")
            self._buffer += more

    def _headers(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > PART_HEADER_BYTES:
                raise PartsRefused("the header of a part has no end")
            self._fill(len(self._buffer) + 1)
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        # An empty part has its boundary right after the header's end.
        self._buffer = b"\r\n" + self._buffer if self._buffer.startswith(self._mark[2:]) else self._buffer
        found = re.search(rb'(?im)^content-disposition:.*?\bname="([a-z]+)"', head)
        if not found:
            raise PartsRefused("a part has no name")
        return found[1].decode()

    def _chunks(self) -> Iterator[bytes]:
        while self._in_part:
            at = self._buffer.find(self._mark)
            if at >= 0:
                chunk, self._buffer = self._buffer[:at], self._buffer[at + len(self._mark) :]
                self._in_part = False
            else:
                # What could be the beginning of a boundary stays.
                keep = len(self._mark) - 1
                chunk, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                if not chunk:
                    self._fill(len(self._buffer) + 1)
            if chunk:
                yield chunk


def flux_rows(text: str) -> list[dict[str, str]]:
    """Rows of a Flux answer in CSV without annotations; each table may have a header of its own."""
    rows: list[dict[str, str]] = []
    header: list[str] | None = None
    for cells in csv.reader(io.StringIO(text)):
        if not any(cells):
            header = None
        elif header is None:
            header = cells
        else:
            rows.append(dict(zip(header, cells)))
    return rows


@dataclass(frozen=True)
class Figures:
    """What a time range of a bucket holds.

    values: field values. points: of each measurement the values of its most frequent field, which is the number of
    points where every point has that field. newest_ns: time of the newest, None where there is none.
    """

    points: int = 0
    values: int = 0
    newest_ns: int | None = None


@dataclass(frozen=True)
class Deletes:
    """How many deletes of points a server was asked for since it started, and when that was (seconds since 1970)."""

    count: int
    started: float


def parse_deletes(text: str, now: float) -> Deletes | None:
    """The deletes in a server's metrics (Prometheus' text form) that were read now; None where its start is not there.

    Refused ones (4XX) changed nothing; one that failed otherwise may have.
    """
    uptime = re.search(r"^influxdb_uptime_seconds(?:\{[^}]*\})? ([0-9.e+]+)$", text, re.MULTILINE)
    if uptime is None:
        return None
    asked = re.findall(
        r'^http_api_requests_total\{([^}]*path="/api/v2/delete"[^}]*)\} ([0-9.e+]+)$', text, re.MULTILINE
    )
    count = sum(int(float(number)) for labels, number in asked if 'status="4XX"' not in labels)
    return Deletes(count, now - float(uptime[1]))


class InfluxApi:
    """One server and one token. Not for several threads: each takes its own (`another()`)."""

    def __init__(self, url: str, token: str, timeout_seconds: float = 300.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None

    def another(self, token: str | None = None) -> InfluxApi:
        """The same server through a connection of its own, and with another token if one is given."""
        return InfluxApi(self.url, self._token if token is None else token, self._timeout_seconds)

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.url)
            if parts.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    parts.netloc, timeout=self._timeout_seconds, context=ssl.create_default_context()
                )
            else:
                self._connection = http.client.HTTPConnection(parts.netloc, timeout=self._timeout_seconds)
        return self._connection

    def close(self) -> None:
        """Give the connection back; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer, unread; RecoveryError for a status of 300 or more."""
        headers = {"Authorization": f"Token {self._token}", "Content-Type": content_type}
        if path.startswith("/api/v2/query"):
            headers["Accept"] = "application/csv"
        connection = self._open()
        fresh = connection.sock is None
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
        except (http.client.BadStatusLine, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if fresh:
                raise self._failed(method, path, str(error) or type(error).__name__) from error
            # The server had closed an idle connection: once more on a new one.
            return self.request(method, path, body, content_type)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._failed(method, path, str(error) or type(error).__name__) from error
        if answer.status >= 300:
            text = answer.read(4096).decode("utf-8", "replace").strip()
            self.close()
            raise self._failed(method, path, f"status {answer.status} {text[:300]}", answer.status)
        return answer

    def _failed(self, method: str, path: str, found: str, status: int = 0) -> RecoveryError:
        kind = {401: Unauthorised, 404: NotFound}.get(status, ServerFailed if status >= 500 else RecoveryError)
        next_step = "see the log of the InfluxDB container, mend the cause and run the same command again"
        if kind is Unauthorised:
            next_step = "compare the operator token in the secrets with the one that the server knows"
        return kind(
            "PRC-703",
            f"ask InfluxDB at {self.url} ({method} {path.split('?')[0]})",
            found,
            "this request changed nothing that was there before",
            next_step,
        )

    def read(self, answer: http.client.HTTPResponse) -> bytes:
        """The whole of a small answer."""
        try:
            return answer.read()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._failed("GET", "", f"the answer was cut off ({error})") from error

    def json(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """The answer as data; None for an empty one."""
        data = None if body is None else json.dumps(body).encode()
        text = self.read(self.request(method, path, data))
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise self._failed(method, path, f"the answer is not JSON: {text[:80]!r}") from error

    def stream(self, path: str, target: Writable, advance: Callable[[int], object] = lambda _amount: None) -> None:
        """Write the body of GET path to target; RecoveryError where it is cut off."""
        answer = self.request("GET", path)
        try:
            while chunk := answer.read(CHUNK_BYTES):
                target.write(chunk)
                advance(len(chunk))
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._failed("GET", path, f"the answer was cut off ({error})") from error

    def metadata(self, targets: Mapping[str, Writable]) -> None:
        """Write the parts of /api/v2/backup/metadata: kv (bolt), sql (sqlite), buckets (JSON); all must be there."""
        path = "/api/v2/backup/metadata"
        answer = self.request("GET", path)
        boundary = answer.headers.get_boundary() or ""
        seen = []
        try:
            for name, chunks in Parts(answer, boundary):
                seen.append(name)
                for chunk in chunks:
                    if name in targets:
                        targets[name].write(chunk)
            answer.read()
        except (PartsRefused, http.client.HTTPException, OSError) as error:
            self.close()
            raise self._failed("GET", path, f"the answer was cut off ({error})") from error
        if sorted(seen) != sorted(targets):
            raise self._failed("GET", path, f"parts {', '.join(sorted(targets))} were expected, {seen} came")

    def version(self) -> str:
        """The server's version, such as v2.7.12."""
        answer = self.request("GET", "/health")
        self.read(answer)
        return answer.headers.get("X-Influxdb-Version") or "unknown"

    def server_time(self) -> str:
        """The server's clock, ISO 8601 in UTC, whole seconds."""
        answer = self.request("GET", "/health")
        self.read(answer)
        at = parsedate_to_datetime(answer.headers["Date"])
        return iso(int(at.timestamp()) * NANOSECONDS)

    def deletes(self) -> Deletes | None:
        """The deletes of points that the server was asked for since it started; None where it shows no metrics."""
        try:
            text = self.read(self.request("GET", "/metrics"))
        except RecoveryError:  # turned off, or kept from this token: a backup does without
            return None
        return parse_deletes(text.decode("utf-8", "replace"), time.time())

    def query(self, organisation_id: str, flux: str) -> list[dict[str, str]]:
        """Rows of a Flux script's results."""
        body = json.dumps({"query": flux, "dialect": {"annotations": [], "header": True}}).encode()
        path = "/api/v2/query?" + urlencode({"orgID": organisation_id})
        rows = flux_rows(self.read(self.request("POST", path, body)).decode())
        if rows and "error" in rows[0]:
            raise self._failed("POST", path, rows[0]["error"])
        return rows

    def figures(self, organisation_id: str, shard: Shard, settled_ns: int) -> Figures:
        """Points and values of the shard's time range before settled_ns, and its newest point, in one script.

        count and last are done by the storage engine (a row a measurement and field leaves it): 0.2 s were measured
        for six million values.
        """
        starts_at, ends_at = iso(shard.starts_ns), iso(shard.ends_ns)
        script = "\n".join(
            f'from(bucketID: "{shard.bucket_id}") |> range(start: time(v: "{starts_at}"), stop: time(v: "{stop}"))'
            f' |> group(columns: ["_measurement", "_field"]) |> {step} |> yield(name: "{name}")'
            for name, step, stop in (
                ("count", "count()", iso(settled_ns)),
                ("newest", 'last() |> keep(columns: ["_measurement", "_field", "_time"])', ends_at),
            )
            if starts_at != stop
        )
        return figures_of(self.query(organisation_id, script))

    def ids(self, path: str, key: str, page: int = 100, after: bool = False) -> list[str]:
        """Ids of everything that a listing names, page by page (by offset, or after the last id), sorted."""
        found: list[str] = []
        while True:
            place = {"after": found[-1]} if after and found else {} if after else {"offset": len(found)}
            part = self.json(f"{path}?" + urlencode({"limit": page, **place}))[key]
            new = [str(one["id"]) for one in part if str(one["id"]) not in found]
            found += new
            if len(part) < page or not new:
                return sorted(found)

    def inventory(self) -> dict[str, list[str]]:
        """Ids of all that the metadata holds, by kind."""
        return {
            "organisations": self.ids("/api/v2/orgs", "orgs"),
            "users": self.ids("/api/v2/users", "users"),
            "authorisations": sorted(str(one["id"]) for one in self.authorisations()),
            "buckets": self.ids("/api/v2/buckets", "buckets"),
            "tasks": self.ids("/api/v2/tasks", "tasks", after=True),
            "dashboards": self.ids("/api/v2/dashboards", "dashboards"),
        }

    def authorisations(self) -> list[dict[str, Any]]:
        """All authorisations. They hold tokens: never to be logged or stored."""
        listed: list[dict[str, Any]] = self.json("/api/v2/authorizations")["authorizations"]
        return listed

    def accepts_token(self, organisation_id: str) -> bool:
        """Whether the server knows the token: it may ask for the buckets it sees."""
        try:
            self.query(organisation_id, "buckets() |> limit(n: 1)")
        except Unauthorised:
            return False
        return True

    def write(self, organisation_id: str, bucket_id: str, line: str) -> None:
        """Write one line of line protocol, times in ns."""
        place = urlencode({"orgID": organisation_id, "bucket": bucket_id, "precision": "ns"})
        self.read(self.request("POST", f"/api/v2/write?{place}", line.encode(), "text/plain; charset=utf-8"))

    def delete(self, organisation_id: str, bucket_id: str, starts_at: str, ends_at: str, predicate: str) -> None:
        """Delete the points of a time range that the predicate names."""
        place = urlencode({"orgID": organisation_id, "bucketID": bucket_id})
        self.json(f"/api/v2/delete?{place}", "POST", {"start": starts_at, "stop": ends_at, "predicate": predicate})

    def await_ready(self, timeout_seconds: float, given_up: Callable[[], str] = lambda: "") -> None:
        """Wait until the server answers for itself, looking twenty times a second.

        given_up: asked every two seconds, says why there is nothing to wait for. RecoveryError then, or after the time.
        """
        deadline = time.monotonic() + timeout_seconds
        ask_at = time.monotonic() + GIVEN_UP_SECONDS
        while True:
            try:
                self.read(self.request("GET", "/health"))
                return
            except RecoveryError as error:
                found = ""
                if time.monotonic() >= deadline:
                    found = f"no good answer after {timeout_seconds:.0f} s ({error.found})"
                elif time.monotonic() >= ask_at:
                    ask_at = time.monotonic() + GIVEN_UP_SECONDS
                    found = given_up()
                if found:
                    raise RecoveryError(
                        "PRC-704",
                        f"wait for InfluxDB at {self.url}",
                        found,
                        "the restored data is in its place and the old data in quarantine",
                        "see the log of the InfluxDB container",
                    ) from error
            time.sleep(POLL_SECONDS)


def figures_of(rows: list[dict[str, str]]) -> Figures:
    """The figures from rows named "count" (_measurement, _field, _value) and "newest" (_time)."""
    values = 0
    most: dict[str, int] = {}
    for row in rows:
        if row["result"] == "count":
            count = int(row["_value"])
            values += count
            most[row["_measurement"]] = max(most.get(row["_measurement"], 0), count)
    times = [nanoseconds(row["_time"]) for row in rows if row["result"] == "newest"]
    return Figures(sum(most.values()), values, max(times, default=None))
