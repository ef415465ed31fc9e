#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies the backup store to S3, encrypted, all the time: runs as a sidecar. Needs curl, rclone, zstd.

Two lanes, so that a large backup does not hold up what changes each second: `stream` (WAL stream and Redis' log) and
`store` (pgBackRest's repository and backup sets). Nothing is ever deleted there. What grows travels as an index,
`growing.zst` (a line of JSON and the ends of all files), and chunks that are named by their content; so one object
replaces one object, and what is read is of one moment. Settings come by environment, secrets as files in /run/secrets.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

STORE = Path(os.environ.get("SECOND_COPY_STORE", "/store"))
STATE = Path(os.environ.get("SECOND_COPY_STATE", "/state"), "state.json")
URL, BUCKET = os.environ["SECOND_COPY_URL"].rstrip("/"), os.environ["SECOND_COPY_BUCKET"]
REGION = os.environ.get("SECOND_COPY_REGION", "us-east-1")
EVERY_SECONDS = float(os.environ.get("SECOND_COPY_SECONDS", "15"))
COMPARE_SECONDS = float(os.environ.get("SECOND_COPY_COMPARE_SECONDS", "3600"))
# A pass that takes longer is ended, and failed. A lane's next pass goes on where it was.
LIMIT_SECONDS = {
    "stream": float(os.environ.get("SECOND_COPY_STREAM_LIMIT_SECONDS", "25")),
    "store": float(os.environ.get("SECOND_COPY_STORE_LIMIT_SECONDS", "3600")),
}
SECRETS = Path(os.environ.get("SECOND_COPY_SECRETS", "/run/secrets"))
CHUNK_BYTES = 1 << 20
BATCH_FILES, BATCH_BYTES = 500, 512 << 20
SET = re.compile(r"\d{8}T\d{6}Z")
SEGMENT = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
# A set is found by its manifest: that comes last.
LAST_OF_SET = re.compile(r"(backup_manifest\.json(\.sig)?|verification_\w+\.txt)")
UNFINISHED = (".tmp", ".new")

Files = dict[str, tuple[int, int]]


class Failed(Exception):
    """A pass that did not get there; the message is a clause."""


def secret(name: str) -> str:
    """Read anew each time: it may have been rotated."""
    return (SECRETS / f"second_copy_{name}").read_text().strip()


def iso(seconds: float) -> str:
    """ISO 8601 UTC."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@functools.cache
def obscured(value: str) -> str:
    """As rclone wants passwords; remembered, since each start of rclone costs a fifth of a second of processor time."""
    done = subprocess.run(["rclone", "obscure", "-"], input=value, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Remote:
    """The bucket: rclone, whose configuration lies in memory; any process of the user could read its environment."""

    def __init__(self) -> None:
        clear = {name: secret(name) for name in ("access_key", "secret_key")}
        s3 = {"type": "s3", "provider": "Other", "endpoint": URL, "region": REGION, "no_check_bucket": "true"}
        s3 |= {"access_key_id": clear["access_key"], "secret_access_key": clear["secret_key"]}
        copy = {"type": "crypt", "remote": f"s3:{BUCKET}/store", "filename_encryption": "off"}
        copy |= {"directory_name_encryption": "false"}
        for field, name in (("password", "password"), ("password2", "salt")):
            copy[field] = obscured(secret(name))
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
            for name, values in (("s3", s3), ("copy", copy))
        )
        self.configuration = tempfile.NamedTemporaryFile("w", dir="/dev/shm", prefix="rclone-")  # noqa: SIM115
        self.configuration.write(text)
        self.configuration.flush()
        own = {"CONFIG": self.configuration.name, "RETRIES": "1", "LOW_LEVEL_RETRIES": "2"}
        own |= {"CONTIMEOUT": "5s", "TIMEOUT": "15s"}
        self.environment = {**os.environ, **{f"RCLONE_{key}": value for key, value in own.items()}}

    def run(self, arguments: list[str], until: float, stdin: str | None = None) -> str:
        """stdout of rclone, which is ended at an instant (time.monotonic)."""
        try:
            done = subprocess.run(
                ["rclone", *arguments], input=stdin, capture_output=True, text=True, env=self.environment,
                timeout=max(1.0, until - time.monotonic()), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed("the pass took too long and was ended") from None
        if done.returncode != 0:
            raise Failed(reason(done.stderr) or f"rclone ended with status {done.returncode}")
        return done.stdout

    def copy(self, source: Path, names: Iterable[str], until: float) -> None:
        """Copy these files from below a folder, whatever is there. One that vanished meanwhile is left out."""
        arguments = ["copy", str(source), "copy:", "--files-from-raw=-", "--no-check-dest", "--local-no-check-updated"]
        self.run([*arguments, "--transfers=8"], until, "".join(f"{one}\n" for one in names))

    def list(self, until: float) -> dict[str, int]:
        """Size of each file that is there."""
        listed = self.run(["lsf", "copy:", "-R", "--files-only", "--format=sp", "--separator=/"], until).splitlines()
        return {path: int(size) for size, _, path in (line.partition("/") for line in listed)}

    def lock(self) -> str | None:
        """How long the bucket keeps each version, such as `COMPLIANCE 30 days`; None where it does not."""
        user = json.dumps(f"{secret('access_key')}:{secret('secret_key')}", ensure_ascii=False)
        argv = ["curl", "--silent", "--fail", "--max-time", "10", "--aws-sigv4", f"aws:amz:{REGION}:s3"]
        argv += ["--config", "-", f"{URL}/{BUCKET}?object-lock"]
        found = subprocess.run(argv, input=f"user = {user}\n", capture_output=True, text=True, check=False).stdout
        mode, term = re.search(r"<Mode>(\w+)</Mode>", found), re.search(r"<(Days|Years)>(\d+)</", found)
        return f"{mode[1]} {term[2]} {term[1].lower()}" if mode and term else None


def reason(said: str) -> str:
    """The cause out of what rclone printed."""
    lines = [line for line in said.splitlines() if "ERROR" in line or "Failed" in line or "caused by" in line]
    told = re.sub(r"^\S+ \S+ (ERROR|NOTICE|CRITICAL)?\s*:?\s*", "", lines[-1]) if lines else said.strip()[-200:]
    return re.sub(r"\s+", " ", told)[:300]


def walk(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder of the store, by path relative to the store; no links. What vanishes is left out."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(STORE / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        yield path, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue


def zstd(data: bytes) -> bytes:
    """Compressed, quickly."""
    done = subprocess.run(["zstd", "-q", "-3", "-c"], input=data, capture_output=True)
    if done.returncode != 0:
        raise Failed(f"zstd: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class Growing:
    """One file that grows: its chunks so far, read once as long as it is the same file."""

    def __init__(self) -> None:
        self.inode, self.seen, self.tail = 0, (0, 0), b""
        self.chunks: list[str] = []

    def look(self, path: Path, zeros: bool) -> dict[str, bytes]:
        """Read what is new; gives the chunks that were not known. zeros: the end is filled with them, as WAL is."""
        new = {}
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            if (status.st_size, status.st_mtime_ns) == self.seen and status.st_ino == self.inode:
                return {}
            if status.st_ino != self.inode or status.st_size < len(self.chunks) * CHUNK_BYTES:
                self.inode, self.chunks = status.st_ino, []
            stream.seek(len(self.chunks) * CHUNK_BYTES)
            rest = stream.read(status.st_size - stream.tell())
        rest = rest.rstrip(b"\0") if zeros else rest
        while len(rest) > CHUNK_BYTES:
            part, rest = rest[:CHUNK_BYTES], rest[CHUNK_BYTES:]
            self.chunks.append(hashlib.sha256(part).hexdigest())
            new[self.chunks[-1]] = part
        self.tail, self.seen = rest, (status.st_size, status.st_mtime_ns)
        return new


class Shipper:
    """Both lanes, what they know of the bucket, and their record."""

    def __init__(self) -> None:
        self.guard, self.ended = threading.Lock(), threading.Event()
        self.there: set[str] = set()
        self.shipped: Files = {}
        self.growing: dict[str, Growing] = {}
        self.compared = {"stream": -COMPARE_SECONDS, "store": -COMPARE_SECONDS}
        try:
            self.state: dict[str, Any] = json.loads(STATE.read_text())
        except (OSError, ValueError):
            self.state = {}
        self.state |= {"version": 1, "place": f"{URL}/{BUCKET}"}

    # --- the lane of what changes each second ---

    def stream(self, remote: Remote, until: float) -> dict[str, Any]:
        """Whole segments first, then chunks, then the index that names them."""
        self.compare("stream", remote, until)
        with tempfile.TemporaryDirectory() as folder:
            stage = Path(folder)
            files, chunks = self.gather()
            # Listed behind what grows: a segment that became whole meanwhile is in this list.
            whole = sorted(path for path, _ in walk("wal-stream") if SEGMENT.fullmatch(path.rpartition("/")[2]))
            todo = [one for one in whole if f"{one}.zst" not in self.there]
            for at in range(0, len(todo), 4):
                self.put(remote, stage, {f"{one}.zst": dated(STORE / one) for one in todo[at : at + 4]}, until)
            self.put(remote, stage, {f"chunks/{key}.zst": (part, 0.0) for key, part in chunks.items()}, until)
            head = {"at": iso(time.time()), "chunk_bytes": CHUNK_BYTES, "folders": owners(), "files": files}
            text = json.dumps({**head, "environment_id": (STORE / "environment_id").read_text().strip()})
            tails = b"".join(self.growing[one["path"]].tail for one in files)
            (stage / "growing.zst").write_bytes(zstd(text.encode() + b"\n" + tails))
            remote.copy(stage, ["growing.zst"], until)
        return {"segments": whole, "log": any(one["path"].endswith(".manifest") for one in files)}

    def put(self, remote: Remote, stage: Path, contents: dict[str, tuple[bytes, float]], until: float) -> None:
        """Ship these as compressed files of these times, those that are not there."""
        names = [name for name in contents if name not in self.there]
        if not names:
            return
        for name in names:
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_bytes(zstd(contents[name][0]))
            os.utime(stage / name, (contents[name][1],) * 2)
        remote.copy(stage, names, until)
        for name in names:
            (stage / name).unlink()
        self.there.update(names)

    def gather(self) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        """Everything that grows or is small and changes, read now, with the chunks that may not be there yet."""
        names = ["environment_id", *(path for path, _ in walk("fence"))]
        names += [path for path, _ in walk("restore_points") if not path.endswith(UNFINISHED)]
        streams = [path for path, _ in walk("wal-stream")]
        names += [one for one in streams if one.endswith(".partial") or one.count("/") == 1]
        logs = [path for path, _ in walk("aof") if ".base." not in path and not path.endswith(UNFINISHED)]
        # What a manifest names is there before the manifest is: the manifests are read first.
        names += sorted(logs, key=lambda one: not one.endswith(".manifest"))
        found, chunks = [], {}
        for name in names:
            one = self.growing.setdefault(name, Growing())
            try:
                new = one.look(STORE / name, name.endswith(".partial"))
            except FileNotFoundError:
                continue  # a segment that became whole, or a generation that was retired
            chunks.update(new)
            missing = [key for key in one.chunks if f"chunks/{key}.zst" not in self.there and key not in chunks]
            chunks.update(reread(STORE / name, one.chunks, missing))
            # A base is large, and travels in the other lane: until it is there the generation before it is complete.
            if name.endswith(".manifest") and not bases_of(name, one.tail.decode()) <= self.there:
                continue
            record = {"path": name, "bytes": one.seen[0], "modified": one.seen[1] / 1e9}
            found.append({**record, "chunks": list(one.chunks), "tail_bytes": len(one.tail)})
        for name in set(self.growing) - set(names):
            del self.growing[name]
        return found, chunks

    # --- the lane of the repository and the sets ---

    def store(self, remote: Remote, until: float) -> dict[str, Any]:
        """Sets are listed first and shipped last: what they name of the repository is there before them.

        pgBackRest's .info files are read before its data is listed, and shipped behind it.
        """
        self.compare("store", remote, until)
        sets = sorted(one for one in os.listdir(STORE) if SET.fullmatch(one))
        manifests = [path for path, _ in walk("aof") if path.endswith(".manifest")]
        bases = {base for path in manifests for base in bases_of(path, read_text(STORE / path))}
        self.ship(remote, {path: one for path, one in stats("aof").items() if path in bases}, until)
        self.there |= bases & set(self.shipped)
        infos = {path: (STORE / path).read_bytes() for path, _ in walk("pgbackrest") if is_info(path)}
        data = {path: one for path, one in stats("pgbackrest").items() if not is_info(path)}
        self.ship(remote, {path: one for path, one in data.items() if not path.endswith(UNFINISHED)}, until)
        prints = {path: (len(text), int.from_bytes(hashlib.sha256(text).digest()[:6])) for path, text in infos.items()}
        changed = [path for path in infos if self.shipped.get(path) != prints[path]]
        if changed:
            with tempfile.TemporaryDirectory() as folder:
                for path in changed:
                    Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
                    Path(folder, path).write_bytes(infos[path])
                remote.copy(Path(folder), changed, until)
            self.shipped.update({path: prints[path] for path in changed})
        for one in sets:
            files = stats(one)
            last = {path: files.pop(path) for path in list(files) if LAST_OF_SET.fullmatch(path[len(one) + 1 :])}
            self.ship(remote, files, until)
            self.ship(remote, last, until)
        # Nothing new is no proof that it answers.
        remote.run(["lsf", "copy:", "--files-only"], until)
        return {"sets": len(sets), "newest_set": sets[-1] if sets else None}

    def ship(self, remote: Remote, files: Files, until: float) -> None:
        """Ship those that are not there as they are now, batch by batch, so that what is done stays done."""
        todo = [path for path, one in files.items() if self.shipped.get(path) != one]
        while todo:
            batch: list[str] = []
            size = 0
            while todo and len(batch) < BATCH_FILES and size < BATCH_BYTES:
                batch.append(todo.pop(0))
                size += files[batch[-1]][0]
            remote.copy(STORE, batch, until)
            self.shipped.update({path: files[path] for path in batch})

    # --- both ---

    def compare(self, lane: str, remote: Remote, until: float) -> None:
        """At the beginning, and now and then: what is really there counts, not what is remembered."""
        if time.monotonic() - self.compared[lane] < COMPARE_SECONDS:
            return
        there = remote.list(until)
        if lane == "stream":
            self.there = set(there)
            lock = remote.lock()
            with self.guard:
                self.state["lock"] = lock
        else:
            tops = [one for one in os.listdir(STORE) if (STORE / one).is_dir()]
            local = {path: one for top in tops for path, one in stats(top).items()}
            # What has the same name and size is the same, but for pgBackRest's .info files, which are shipped again.
            self.shipped = {path: one for path, one in local.items() if there.get(path) == one[0] and not is_info(path)}
        self.compared[lane] = time.monotonic()

    def one_pass(self, lane: str) -> None:
        """A pass, bounded, and its record."""
        began, started = time.monotonic(), time.time()
        record: dict[str, Any] = {"started_at": iso(started), "ok": True, "error": None}
        try:
            record |= getattr(self, lane)(Remote(), began + LIMIT_SECONDS[lane])
        except (Failed, OSError) as error:
            record |= {"ok": False, "error": str(error)}
        record["finished_at"] = iso(time.time())
        with self.guard:
            known = self.state.get(lane) or {}
            good = {"good_started_at": record["started_at"], "good_finished_at": record["finished_at"]}
            if known.get("error") != record["error"] and record["error"]:
                print(f"platform3: {lane}: not shipped: {record['error']}", flush=True)
            self.state[lane] = {**known, **record, **(good if record["ok"] else {})}
            text = json.dumps(self.state, sort_keys=True)
            fresh = STATE.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(STATE)

    def run(self, lane: str) -> None:
        """Pass after pass."""
        while not self.ended.is_set():
            began = time.monotonic()
            self.one_pass(lane)
            self.ended.wait(max(0.2, EVERY_SECONDS - (time.monotonic() - began)))


def reread(path: Path, chunks: list[str], wanted: list[str]) -> dict[str, bytes]:
    """Chunks of a file that were read before and have to be shipped after all."""
    found = {}
    for key in wanted:
        with open(path, "rb") as stream:
            stream.seek(chunks.index(key) * CHUNK_BYTES)
            part = stream.read(CHUNK_BYTES)
        if hashlib.sha256(part).hexdigest() != key:
            raise Failed(f"{path} was changed where it only grows")
        found[key] = part
    return found


def owners() -> dict[str, list[int]]:
    """Owner, group and mode of the store's folders: who comes back must find his own again."""
    found = {}
    for name in ("pgbackrest", "wal-stream", "aof", "fence", "restore_points"):
        if (STORE / name).is_dir():
            status = (STORE / name).stat()
            found[name] = [status.st_uid, status.st_gid, status.st_mode & 0o7777]
    return found


def is_info(path: str) -> bool:
    """Whether it is one of the files by which pgBackRest knows what it holds."""
    return path.endswith((".info", ".info.copy"))


def dated(path: Path) -> tuple[bytes, float]:
    """A file's content and when it was written."""
    return path.read_bytes(), path.stat().st_mtime


def bases_of(path: str, manifest: str) -> set[str]:
    """The base that a manifest of Redis' log names, as a path in the store."""
    folder = path.rpartition("/")[0]
    return {f"{folder}/{found}" for found in re.findall(r"^file (\S+) .*type b", manifest, re.MULTILINE)}


def read_text(path: Path) -> str:
    """The content of a small file; nothing where it is gone."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def stats(top: str) -> Files:
    """Size and time of every file below a folder: by them a changed one is known."""
    return {path: (status.st_size, status.st_mtime_ns) for path, status in walk(top)}


def main() -> None:
    """Both lanes until it is asked to end."""
    os.umask(0o022)
    for tool in ("curl", "rclone", "zstd"):
        shutil.which(tool) or exit(f"platform3: {tool} is not installed")
    STATE.parent.mkdir(parents=True, exist_ok=True)
    shipper = Shipper()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: shipper.ended.set())
    lanes = [threading.Thread(target=shipper.run, args=(lane,), daemon=True) for lane in ("stream", "store")]
    for lane in lanes:
        lane.start()
    while not shipper.ended.wait(1) and all(lane.is_alive() for lane in lanes):
        pass
    # What is written lately goes along, unless the bucket does not answer.
    for lane in lanes:
        lane.join(timeout=5)


if __name__ == "__main__":
    main()
