# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a point in time of PostgreSQL: which base backup, which WAL on which timelines, and where it ends.

Little of the WAL is read for it, but for a transaction or a name: these may stand anywhere, and it is read from the
newest segment backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Callable, TypeVar

from ansible_collections.platform3.recovery.plugins.module_utils._pgbackrest import Backup, find_backup
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_target import (
    Abandoned,
    Stretch,
    Target,
    abandoned_parts,
    ambiguous,
    base_point,
    before_the_window,
    beyond_the_end,
    in_a_gap,
    is_of,
    nearest_transactions,
    newest_base,
    newest_chain,
    on_an_abandoned_part,
    point,
    reached_at,
    runs_of,
    stretch_before,
    stretches_of,
    timeline_of,
    unknown,
)
from ansible_collections.platform3.recovery.plugins.module_utils._postgresql_view import (
    Assessment,
    View,
    folders_of,
    own_histories,
    own_stream,
    require_base,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    SEGMENT_BYTES,
    Span,
    WalFile,
    WalPlan,
    archived_names,
    archived_segments,
    format_lsn,
    parse_lsn,
    parse_segment,
    plan_wal,
    streamed_segments,
)
from ansible_collections.platform3.recovery.plugins.module_utils._wal_reader import DamagedSegment, WalReader
from ansible_collections.platform3.recovery.plugins.module_utils._wal_records import (
    Course,
    Record,
    around,
    last_ended,
    show_time,
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Stop:
    """Where replay ends: before or right behind the record that begins at a position; as: what the server is told."""

    lsn: int
    before: bool
    told: tuple[str, str]


@dataclass(frozen=True)
class PointPlan:
    """The way to a target. content: of the set whose base backup is used (backup_set: its id, None where the module
    was given only the one content); last: the transaction that is committed last, by the WAL."""

    target: Target
    backup_set: str | None
    content: Mapping[str, Any]
    found: Assessment
    stop: Stop
    last: Record | None
    course: Course

    @property
    def recovery_options(self) -> list[str]:
        """The settings that let the server stop there, as pgBackRest takes them. Inclusive: see the documentation."""
        name, value = self.stop.told
        settings = {name: value, "recovery_target_inclusive": "true", "recovery_target_action": "pause"}
        return [f"--recovery-option={key}={text}" for key, text in settings.items()]

    @property
    def recovery_point(self) -> str:
        """When the last transaction was committed; the end of the base backup where there was none since."""
        return show_time(self.last.at) if self.last and self.last.at is not None else self.found.backup.finished_at

    def replayed_whole(self) -> Assessment:
        """What was found, without the segment that replay ended in: what follows in that one was not proven sound."""
        begun = self.stop.lsn // SEGMENT_BYTES
        files = tuple(one for one in self.found.plan.files if parse_segment(one.segment).number < begun)
        return replace(self.found, plan=replace(self.found.plan, files=files))

    def last_replayed(self, lsn: int) -> tuple[Record | None, Record | None]:
        """The last commit that was replayed up to a position, and the last end of a transaction that the server counts.

        Where it ends by LSN, it does not count the record behind which it ends (xlogrecovery.c: recoveryStopsAfter).
        """
        told = self.stop.lsn if self.stop.told[0] == "recovery_target_lsn" else lsn
        return last_ended(self.course, lsn, ("commit",)), last_ended(self.course, told)

    def as_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            **self.found.as_dict(),
            # It may end on an older timeline, but on one that the present life grew out of.
            "abandoned": False,
            "backup_set": self.backup_set,
            "recovery_point": self.recovery_point,
            "target": {"kind": self.target.kind, "value": self.target.value},
            "stops": "before" if self.stop.before else "after",
            "stop_lsn": format_lsn(self.stop.lsn),
            "last_commit": point(self.last),
            "replay_bytes": self.stop.lsn - parse_lsn(self.found.backup.lsn_start),
        }


class Ways:
    """What store and WAL allow: the base backups that signed sets name, the WAL between them, what was abandoned.

    contents: the part of each set's manifest by its id, the given one under None.
    """

    def __init__(self, view: View, contents: Mapping[str | None, Mapping[str, Any]], run_bash: Any) -> None:
        self._view = view
        first = contents[None]
        system = str(first["system_identifier"])
        self._by_label: dict[str, tuple[str | None, Mapping[str, Any]]] = {}
        # The given content last: a set that is named with its id says more.
        for set_id, one in [*((key, one) for key, one in contents.items() if key is not None), (None, first)]:
            if str(one["system_identifier"]) == system:
                self._by_label.setdefault(one["pgbackrest"]["label"], (set_id, one))
        known = [one for one in view.backups if one.system_identifier == system]
        if not any(one.label in self._by_label for one in known):
            find_backup(known, first["pgbackrest"]["label"])
        self._backup = known[0]
        self.histories = own_histories(view, self._backup)
        self.chain: list[Span] = newest_chain(self.histories)
        sound = {one.label for one in view.backups if not one.damaged}
        self._bases = [
            one
            for one in known
            if one.label in self._by_label and {one.label, *one.depends_on} <= sound and is_of(self.chain, one)
        ]
        names = view.archive.get(self._backup.archive_id, {})
        self._archive = archived_segments(names)
        self._stream_files = own_stream(view, self._backup)
        self._stream = streamed_segments(self._stream_files)
        stanza = first["pgbackrest"]["stanza"]
        self.reader = WalReader(run_bash, stanza, self._backup.archive_id, archived_names(names))
        self._courses: dict[str, Course] = {}
        self._damaged: dict[str, str] = {}

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The sound WAL behind the base backups."""
        if not self._bases:
            return []
        oldest = min(self._bases, key=lambda one: parse_lsn(one.lsn_start))
        needed = max(parse_lsn(one.lsn_stop) for one in self._bases)
        start = parse_segment(oldest.wal_start)
        plan = plan_wal(start, needed, self.chain, self._archive, self._stream)
        return stretches_of(plan, self._bases, self._damaged)

    def runs(self) -> list[Stretch]:
        """All sound WAL of the life that counts, also what no base backup leads into, oldest first."""
        timelines = {one.timeline for one in self.chain}
        held = [parse_segment(name) for name in {*self._archive, *self._stream}]
        oldest = min((one for one in held if one.timeline in timelines), key=lambda one: one.number, default=None)
        if oldest is None:
            return []
        return runs_of(plan_wal(oldest, 0, self.chain, self._archive, self._stream), self._bases, self._damaged)

    @cached_property
    def parts(self) -> list[tuple[Abandoned, Course]]:
        """What earlier recoveries left behind."""
        found = abandoned_parts(self.chain, self.histories, self._archive, self._stream)
        return [(one, Course(one.files, self._read_leniently, one.begin)) for one in found]

    def _read_leniently(self, files: Sequence[WalFile]) -> list[Record]:
        """What was abandoned is only asked what was there; where it is damaged, that is not known."""
        try:
            return self.reader.read(files)
        except DamagedSegment:
            return []

    def course(self, stretch: Stretch) -> Course:
        """The records of a stretch, read once."""
        name = stretch.files[0].segment
        return self._courses.setdefault(name, Course(stretch.files, self.reader.read))

    def latest(self) -> dict[str, Any] | None:
        """The last transaction's end in the WAL that can be reached; None without a base backup."""
        return self._last_of(self.stretches[-1]) if self.stretches else None

    def _last_of(self, stretch: Stretch) -> dict[str, Any]:
        return point(last_ended(self.course(stretch))) or base_point(stretch.bases[-1])

    def window(self) -> dict[str, Any]:
        """For a module's result: earliest and latest point, gaps with the points around them, timelines."""
        return self.reading(self._window)

    def plan(self, target: Target) -> PointPlan:
        """The way to a target; PRC-551 to 556 where there is none, and what require_base says of the base backup."""
        return self.reading(lambda: self._plan(target))

    def reading(self, answer: Callable[[], Answer]) -> Answer:
        """An answer by the WAL; a segment that is found damaged on the way is a gap from then on."""
        while True:
            try:
                return answer()
            except DamagedSegment as error:
                if error.segment in self._damaged:
                    raise
                self._damaged[error.segment] = f"is damaged ({error.found})"
                self._courses.clear()
                vars(self).pop("stretches", None)

    def _window(self) -> dict[str, Any]:
        gaps = [
            {"segment": one.gap[0], "wrong": one.gap[1], "before": self._last_of(one), "after": self._first_after(one)}
            for one in self.stretches
            if one.gap
        ]
        return {
            "earliest": base_point(self.stretches[0].bases[0]) if self.stretches else None,
            "latest": self.latest(),
            "gaps": gaps,
            "timelines": [
                {
                    "timeline": one.timeline,
                    "from_lsn": format_lsn(one.begin),
                    "to_lsn": None if one.end is None else format_lsn(one.end),
                }
                for one in self.chain
            ],
            "abandoned": [self._left_behind(part, course) for part, course in self.parts],
        }

    def _left_behind(self, part: Abandoned, course: Course) -> dict[str, Any]:
        """For a module's result: which times are refused for what an earlier recovery abandoned."""
        _, first = around(course, 0)
        last = last_ended(course)
        again = []
        if last is not None and last.at is not None:
            at = last.at
            stretch = stretch_before(self.stretches, lambda one: reached_at(one) <= at)
            _, after = around(self.course(stretch), at) if stretch else (None, None)
            again = [reached_at(one) for one in self._bases if reached_at(one) > at]
            again += [after.at] if after is not None and after.at is not None else []
        return {
            "timeline": part.timeline,
            "from_lsn": format_lsn(part.begin),
            "until": point(last),
            "since": show_time(first.at) if first is not None and first.at is not None else None,
            "again": show_time(min(again)) if again else None,
        }

    def _first_after(self, stretch: Stretch) -> dict[str, Any] | None:
        index = self.stretches.index(stretch) + 1
        return base_point(self.stretches[index].bases[0]) if index < len(self.stretches) else None

    def _plan(self, target: Target) -> PointPlan:
        find = {"time": self._time, "lsn": self._lsn}.get(target.kind, self._search)
        stretch, backup, stop = find(target)
        set_id, content = self._by_label[backup.label]
        view = replace(self._view, manifest_sha256=self.reader.manifest_sha256(backup.label))
        require_base(view, content)
        course = self.course(stretch)
        first, last = parse_segment(backup.wal_start).number, stop.lsn // SEGMENT_BYTES
        files = [one for one in stretch.files if first <= parse_segment(one.segment).number <= last]
        found = Assessment(
            backup,
            WalPlan(timeline_of(self.chain, stop.lsn), tuple(files), ()),
            folders_of(self._stream_files),
            self.chain[-1].timeline,
        )
        behind = stop.lsn if stop.before else stop.lsn + 1
        return PointPlan(target, set_id, content, found, stop, last_ended(course, behind, ("commit",)), course)

    def _time(self, target: Target) -> tuple[Stretch, Backup, Stop]:
        at = target.number
        stretch = stretch_before(self.stretches, lambda one: reached_at(one) <= at)
        if stretch is None:
            raise before_the_window(target, self.stretches)
        last, after = around(self.course(stretch), at)
        # A base backup proves until when its life was the one that counted, also where nothing was written.
        alive = max(reached_at(one) for one in stretch.bases if reached_at(one) <= at)
        if last is not None and last.at is not None:
            alive = max(alive, last.at)
        for part, course in self.parts:
            left, _ = around(course, at)
            if left is not None and left.at is not None and left.at > alive:
                raise on_an_abandoned_part(target, part, point(last_ended(course)), point(last), point(after))
        if after is not None:
            stop = Stop(after.lsn, True, ("recovery_target_time", sql_time(at)))
        elif last is not None and last.at == at:
            # The server ends by time only where a later transaction follows.
            stop = Stop(last.lsn, False, ("recovery_target_lsn", format_lsn(last.lsn)))
        else:
            raise self._outside(target, stretch)
        backup = newest_base(stretch, stop.lsn, at)
        if backup is None:
            raise before_the_window(target, self.stretches)
        return stretch, backup, stop

    def _lsn(self, target: Target) -> tuple[Stretch, Backup, Stop]:
        lsn = target.number
        stretch = stretch_before(self.stretches, lambda one: parse_lsn(one.lsn_stop) <= lsn)
        if stretch is None:
            raise before_the_window(target, self.stretches)
        index = self.course(stretch).index_of(lsn)
        first = None if index is None else self.reader.first_record(lsn, stretch.files[index : index + 2])
        if first is None:
            for part, course in self.parts:
                if part.begin <= lsn and course.index_of(lsn) is not None:
                    before = point(last_ended(self.course(self.stretches[-1]), part.begin))
                    raise on_an_abandoned_part(target, part, point(last_ended(course)), before, self.latest())
            raise self._outside(target, stretch)
        backup = newest_base(stretch, lsn)
        if backup is None:
            raise before_the_window(target, self.stretches)
        return stretch, backup, Stop(first, False, ("recovery_target_lsn", format_lsn(lsn)))

    def _search(self, target: Target) -> tuple[Stretch, Backup, Stop]:
        for stretch in reversed(self.stretches):
            record = next((one for one in self.course(stretch).backwards() if is_wanted(target, one)), None)
            if record is not None:
                break
        else:
            self._require_not_abandoned(target)
            raise unknown(target, self.stretches, self.latest(), self._nearest(target))
        backup = newest_base(stretch, record.lsn)
        if backup is None:
            raise before_the_window(target, self.stretches)
        begin = parse_lsn(backup.lsn_start)
        places = [
            one.lsn
            for one in self.course(stretch).backwards(record.lsn)
            if target.kind == "name" and one.lsn >= begin and is_wanted(target, one)
        ]
        if places:
            raise ambiguous(target, [*places, record.lsn])
        return stretch, backup, Stop(record.lsn, False, (f"recovery_target_{target.kind}", target.value))

    def _nearest(self, target: Target) -> tuple[Record | None, Record | None]:
        """The transactions whose ids are next to the wanted one; all of the WAL has been read for it."""
        if target.kind != "xid":
            return None, None
        courses = [self.course(one) for one in self.stretches]
        ended = (one for course in courses for one in course.backwards() if one.at is not None)
        return nearest_transactions(target.number, ended)

    def _require_not_abandoned(self, target: Target) -> None:
        for part, course in self.parts:
            record = next((one for one in course.backwards() if is_wanted(target, one)), None)
            if record is None:
                continue
            ended = record if record.at is not None else last_ended(course, record.lsn)
            stretch = self.stretches[-1] if self.stretches else None
            before, after = (None, None)
            if stretch is not None:
                at = ended.at if ended is not None and ended.at is not None else 0
                before, after = around(self.course(stretch), at)
            raise on_an_abandoned_part(target, part, point(last_ended(course)), point(before), point(after))

    def _outside(self, target: Target, stretch: Stretch) -> Exception:
        if stretch.gap is not None:
            return in_a_gap(target, stretch.gap, self._last_of(stretch), self._first_after(stretch))
        return beyond_the_end(target, self._last_of(stretch))


def is_wanted(target: Target, record: Record) -> bool:
    """Whether a record is the end of the wanted transaction, or the wanted restore point."""
    if target.kind == "xid":
        return record.at is not None and record.xid == target.number
    return record.kind == "point" and record.name == target.value


def sql_time(at: int) -> str:
    """An instant as PostgreSQL's settings take it."""
    return show_time(at).replace("T", " ").replace("Z", "+00")


def contents_of(content: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> dict[str | None, Mapping[str, Any]]:
    """The sets that may be used by their id, the given one under None."""
    return {None: content, **{str(one["backup_set"]): one["content"] for one in sets}}


def plan_point(
    view: View, content: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], target: Target, run_bash: Any
) -> PointPlan:
    """The way to a target by what was found, see Ways.plan."""
    return Ways(view, contents_of(content, sets), run_bash).plan(target)
