# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing chosen buckets back, from where an earlier run of the same recovery ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._checks import Check, check, require
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_api import InfluxApi
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_bucket_ids import give_ids
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets import (
    Chosen,
    only_chosen,
    refused,
    told,
    warnings_of,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_copy import (
    Bucket,
    bring,
    differing,
    kept_chunks,
    require_points,
    settle,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_files import (
    Files,
    by_files,
    prepare,
    remove_beside,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_live import (
    Live,
    like_of,
    make_again,
)
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_buckets_source import source_server
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_layout import COMPONENT, Plan
from ansible_collections.platform3.recovery.plugins.module_utils._influxdb_service import service_of
from ansible_collections.platform3.recovery.plugins.module_utils._kept_place import folder_of, write_file, write_state
from ansible_collections.platform3.recovery.plugins.module_utils._progress import Progress
from ansible_collections.platform3.recovery.plugins.module_utils._volume import VolumeWorker

STATE, POINTS = "points.json", "points.kept"


def keep(worker: VolumeWorker, live: Live, chosen: Sequence[Chosen]) -> int:
    """Keep what the live buckets hold of it, on disk; gives the values. RecoveryError PRC-775."""
    values: list[int] = []

    def failed(found: str) -> RecoveryError:
        attempted = f"keep the live points aside in {folder_of(worker)} of volume {worker.volume}"
        return refused("PRC-775", attempted, found, "make room (docker system df)")

    chunks = kept_chunks([(one, live.bucket(one.name)) for one in chosen], values.append)
    write_file(worker, POINTS, chunks, failed)
    return values[0]


@dataclass
class Run:
    """One run. given: the module's inputs; plan: of all that the set holds; state: what is noted in the volume.

    Noted on the way: kept, missing, ranges; ids, while buckets get them; files (see prepare()), from then on what comes
    by files; in_place, once it has come.
    """

    given: dict[str, Any]
    chosen: Sequence[Chosen]
    plan: Plan
    worker: VolumeWorker
    state: dict[str, Any]
    parts: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def bring_back(self) -> dict[str, Any]:
        """What an earlier run had not done of it; gives what is noted. RecoveryError PRC-777 where it differs."""
        state, progress = self.state, Progress(self.given["progress_path"])
        if "ids" in state:
            self._give(state["ids"])
        live = Live(self.given)
        files = self._arrived(live)
        wanted = [] if files else by_files(live, self.chosen, self.given["content"], state["asked"]["within"])
        through = [one for one in self.chosen if one.name not in files and one not in wanted]
        with ExitStack() as opened:
            with self._part("source"):
                sources = self._sources(opened, through)
                total = sum(require_points(sources[one.name], one) for one in through)
            if "kept" not in state:
                with self._part("keep"):
                    self._keep(live, progress)
            if wanted:
                with self._part("files"):
                    files = state["files"] = prepare(self.given, self.worker, wanted, self.plan)
            likes = {one.name: like_of(sources[one.name].api, one) for one in through}
            likes |= {name: one["like"] for name, one in files.items()}
            found, warnings = make_again(live, self.chosen, likes, self.worker.fence.recovery_id, self._give)
            if files:
                self._prove_files(live, files, found)
            progress.start("writing points", total)
            buckets = {}
            with self._part("bring"):
                for one in self.chosen:
                    if one.name in files:
                        values = files[one.name]["restored"]
                    else:
                        values = self._bring(sources[one.name], found[one.name], one, progress)
                    made = one.name in state["missing"]
                    buckets[one.name] = told(one, values, made, found[one.name].id, one.name in files)
        require(
            self.checks,
            "PRC-777",
            "bring the chosen points back",
            "they are written, and what the range held is kept aside",
            "see who else writes into the range, or put it back (rollback.yml)",
        )
        remove_beside(self.worker)
        parts = {name: round(seconds, 3) for name, seconds in self.parts.items()}
        state |= {"state": "brought", "buckets": buckets, "checks": self.checks, "parts": parts}
        state["warnings"] = [*warnings_of(self.chosen, buckets), *warnings]
        write_state(self.worker, STATE, state)
        return state

    def _arrived(self, live: Live) -> dict[str, Any]:
        """What has come by files before; but where somebody made the bucket by hand meanwhile, that one gets points."""
        noted = self.state["files"] if self.state.get("in_place") else {}
        return {
            name: one for name, one in noted.items() if (found := live.bucket(name)) is None or found.id == one["id"]
        }

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - began

    def _sources(self, opened: ExitStack, through: Sequence[Chosen]) -> Mapping[str, Bucket]:
        """The buckets that come by points, in a scratch server; none is made where none is needed."""
        if not through:
            return {}
        plan = only_chosen(self.plan, through)
        api = opened.enter_context(source_server(self.given, plan, self.worker.fence))
        return {one.name: Bucket(api, one.organisation, one.id) for one in through}

    def _keep(self, live: Live, progress: Progress) -> None:
        progress.start("keeping the live points aside")
        ranges = {one.name: [one.starts_ns, one.stops_ns] for one in self.chosen}
        missing = [one.name for one in self.chosen if live.bucket(one.name) is None]
        kept = keep(self.worker, live, self.chosen)
        self.state |= {"missing": missing, "ranges": ranges, "kept": kept, "state": "kept"}
        write_state(self.worker, STATE, self.state)

    def _give(self, ids: Mapping[str, str]) -> None:
        """Give buckets their ids, and bring the files in of those of them that have some."""
        given, state = self.given, self.state
        Progress(given["progress_path"]).start("restart for the old bucket ids")
        state["ids"] = dict(ids)
        state["files"] = {name: one for name, one in state.get("files", {}).items() if one["id"] in ids.values()}
        write_state(self.worker, STATE, state)
        files = Files(self.worker, state["files"]) if state["files"] else None
        with self._part("restart"):
            try:
                api = InfluxApi(given["url"], given["token"])
                self.checks += give_ids(service_of(given), self.worker, api, ids, files)
            except RecoveryError as error:
                if error.code == "PRC-781":
                    # All is as it was, and what was placed beside is not as it was: the next run begins anew.
                    remove_beside(self.worker)
                    del state["ids"], state["files"]
                    write_state(self.worker, STATE, state)
                raise
        del state["ids"]
        state["in_place"] = True
        write_state(self.worker, STATE, state)

    def _prove_files(self, live: Live, files: Mapping[str, Any], found: Mapping[str, Bucket]) -> None:
        """That they are in their buckets: a run that was killed may have brought them, or somebody made one by hand."""
        for name, one in files.items():
            self.checks.append(check(f"id of bucket {name}", COMPONENT, one["id"], found[name].id))
        if "restart" not in self.parts:
            self.checks += Files(self.worker, files).checks(live.api)

    def _bring(self, source: Bucket, bucket: Bucket, one: Chosen, progress: Progress) -> int:
        """Write the points of a bucket through the server, and compare them; gives the values."""
        exact = self.given["mode"] == "replace"
        if exact:
            bucket.delete(one.starts_ns, one.stops_ns)
        values = bring(source, bucket, one, progress)
        settle(bucket, one.starts_ns, one.stops_ns)
        wrong = differing(source, bucket, one, exact=exact)
        self.checks.append(check(f"values that differ in {one.range}", COMPONENT, 0, wrong))
        return values
