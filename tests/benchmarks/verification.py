# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying a backup set: ours (each file and part by all processors) against one thread and against sha256sum -c."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._hashing import hash_files
from ansible_collections.platform3.recovery.plugins.module_utils._manifest import MANIFEST_NAME, verification_name
from ansible_collections.platform3.recovery.plugins.module_utils._verification import verify_files, with_chunks

from tests.benchmarks.lab import Lab, say
from tests.benchmarks.table import Figure, Result

ENOUGH_BYTES = 300 << 20
MIB = 1 << 20
SCRATCH_ID = "20261123T051700Z"
# As a set is made up: one large dump, many shards of some MiB.
SCRATCH_FILES = {"postgresql/forex_trading.custom": 384, **{f"influxdb/shards/{n}.tar": 8 for n in range(1, 33)}}
ROUNDS = 3


def measure(lab: Lab, _runs: int) -> Result:
    """Time the three on the newest set, or on a scratch set where that is too small to say anything."""
    newest = lab.newest_set()
    size = sum(one["bytes"] for one in lab.manifest(newest)["artefacts"])
    if size >= ENOUGH_BYTES:
        return timed(newest, lab.manifest(newest), f"backup set {newest.name}")
    say(f"the newest set has {size / MIB:.0f} MiB: measuring a scratch set of random files instead")
    with tempfile.TemporaryDirectory(prefix="platform3-benchmark-", dir="/var/tmp") as folder:
        about = f"a scratch set of random files, since backup set {newest.name} has {size / MIB:.0f} MiB only"
        return timed(Path(folder), scratch_set(Path(folder), SCRATCH_FILES), about)


def scratch_set(folder: Path, mebibytes: dict[str, int]) -> dict[str, Any]:
    """Files of random bytes with the list for sha256sum; gives their manifest, in parts as a real one."""
    for name, count in mebibytes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            for _ in range(count):
                stream.write(os.urandom(MIB))
    hashed = hash_files(str(folder / name) for name in mebibytes)
    artefacts = [
        {"path": name, "bytes": hashed[str(folder / name)][0], "sha256": hashed[str(folder / name)][1]}
        for name in mebibytes
    ]
    listing = "".join(f"{one['sha256']}  {one['path']}\n" for one in artefacts)
    (folder / verification_name(SCRATCH_ID)).write_text(listing, encoding="utf-8")
    manifest = {
        "backup_set": SCRATCH_ID,
        "artefacts": with_chunks(str(folder), artefacts, lambda _amount: None),
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    return manifest


def timed(folder: Path, manifest: dict[str, Any], about: str) -> Result:
    """The three in turn, several rounds, all files in the page cache; ratios of the medians."""
    artefacts = manifest["artefacts"]
    names = [one["path"] for one in artefacts]
    size = sum(one["bytes"] for one in artefacts)

    def command(*argv: str) -> None:
        subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: verify_files(str(folder), manifest, artefacts),
        "openssl": lambda: command("openssl", "dgst", "-sha256", *names),
        "sha256sum": lambda: command("sha256sum", "--check", "--quiet", verification_name(manifest["backup_set"])),
    }
    command("cat", *names)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        say(f"verification: round {number + 1} of {ROUNDS}")
        for name, way in ways.items():
            began = time.monotonic()
            way()
            seconds[name].append(time.monotonic() - began)
    took = {name: median(values) for name, values in seconds.items()}
    rate = {name: size / value / 1e9 for name, value in took.items()}
    openssl, coreutils = first_line("openssl", "version"), first_line("sha256sum", "--version")
    return Result(
        "verification",
        [f"{about}: {len(names)} files, {size / MIB:.0f} MiB, in the page cache; medians of {ROUNDS} rounds"],
        [
            Figure("verify=bytes of this collection", rate["ours"], "GB/s"),
            Figure(f"openssl dgst -sha256, one thread ({openssl})", rate["openssl"], "GB/s"),
            Figure(f"sha256sum --check ({coreutils})", rate["sha256sum"], "GB/s"),
            Figure("against one OpenSSL thread", took["openssl"] / took["ours"], "x", 1.6, at_least=True),
            Figure("against sha256sum --check", took["sha256sum"] / took["ours"], "x", 6, at_least=True),
        ],
    )


def first_line(*argv: str) -> str:
    """The first line that a command prints, its first words."""
    line = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return " ".join(line.split()[:4])
