# SPDX-License-Identifier: GPL-3.0-or-later
"""InfluxDB as the old procedure restores it: metadata, then one shard after the other, gzipped, through the API."""

from __future__ import annotations

import gzip
import http.client
import shutil
from pathlib import Path
from urllib.parse import urlsplit


def compress(backup_set: Path, target: Path) -> list[Path]:
    """The set's InfluxDB files as the old backup kept them, gzipped: metadata first, shards by number."""
    shards = sorted((backup_set / "influxdb/shards").glob("*.tar"), key=lambda path: int(path.stem))
    packed = []
    for path in [backup_set / "influxdb/influxd.bolt", backup_set / "influxdb/influxd.sqlite", *shards]:
        packed.append(target / f"{path.name}.gz")
        with path.open("rb") as source, gzip.open(packed[-1], "wb", compresslevel=6) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return packed


def endpoint(path: Path) -> str:
    """Where a compressed file goes."""
    metadata = {"influxd.bolt.gz": "kv", "influxd.sqlite.gz": "sql"}
    return f"/api/v2/restore/{metadata.get(path.name) or 'shards/' + path.name.removesuffix('.tar.gz')}"


def restore(url: str, token: str, files: list[Path]) -> None:
    """Post the files one by one, each over a connection of its own as the command-line client did."""
    for path in files:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
        headers = {
            "Authorization": f"Token {token}",
            "Content-Encoding": "gzip",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(path.stat().st_size),
        }
        with path.open("rb") as body:
            connection.request("POST", endpoint(path), body, headers)
            answer = connection.getresponse()
            text = answer.read(1000)
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"POST {endpoint(path)}: status {answer.status} {text.decode('utf-8', 'replace')}")
