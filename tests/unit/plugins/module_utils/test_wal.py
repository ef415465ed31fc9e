# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL arithmetic, and what counts as a gap and what as the end."""

from pathlib import Path

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils._wal import (
    PAGE_BYTES,
    SEGMENT_BYTES,
    Segment,
    Span,
    StreamFile,
    WalFile,
    archived_segments,
    choose_chain,
    format_lsn,
    holds_more,
    parse_end,
    parse_history,
    parse_lsn,
    parse_segment,
    plan_wal,
    record_end,
    streamed_segments,
    timeline_chain,
)
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "postgresql"
FIRST = [Span(1, 0, None)]


@given(st.integers(0, 2**64 - 1))
def test_a_position_survives_being_written_and_read(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "/", "1/", "/1", "123456789/0", "0/123456789", "x/1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_lsn(text)


@given(
    st.integers(1, 2**32 - 1),
    st.sampled_from([1 << 20, SEGMENT_BYTES, 64 << 20, 1 << 30]).flatmap(
        lambda size: st.tuples(st.just(size), st.integers(0, 2**64 // size - 1))
    ),
)
def test_a_segment_survives_being_named(timeline: int, size_and_number: tuple[int, int]) -> None:
    size, number = size_and_number
    name = Segment(timeline, number).name(size)
    assert len(name) == 24
    assert parse_segment(name, size) == Segment(timeline, number)


def test_a_segment_is_named_as_postgresql_names_it() -> None:
    # SELECT pg_walfile_name('3A/FF000028') on timeline 2
    assert Segment(2, parse_lsn("3A/FF000028") // SEGMENT_BYTES).name() == "000000020000003A000000FF"


@pytest.mark.parametrize("name", ["", "0" * 23, "0" * 25, "g" * 24, "00000001000000000000000a", "00000002.history"])
def test_what_is_no_segment_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_segment(name)


def test_a_history_file_is_read() -> None:
    text = "1\t0/F000000\tno recovery target specified\n\n2\t1/20A8\tafter transaction 7 2026-11-23 07:00:00+00\n"
    assert parse_history(text) == [(1, 0xF000000), (2, 0x1000020A8)]
    assert timeline_chain(3, text) == [
        Span(1, 0, 0xF000000),
        Span(2, 0xF000000, 0x1000020A8),
        Span(3, 0x1000020A8, None),
    ]


def test_the_newest_timeline_that_grew_out_of_the_backup_is_followed() -> None:
    histories = {2: "1\t0/5000000\tx\n", 3: "1\t0/5000000\tx\n2\t0/9000000\tx\n"}
    assert choose_chain(1, parse_lsn("0/3000000"), histories)[-1].timeline == 3


def test_a_timeline_that_left_before_the_backup_ended_is_another_future() -> None:
    # Timeline 2 was rolled back; the backup was taken later, on timeline 1.
    histories = {2: "1\t0/5000000\tx\n"}
    assert choose_chain(1, parse_lsn("0/7000000"), histories) == FIRST
    # A timeline that left later counts, although it has no part in timeline 2.
    histories[3] = "1\t0/9000000\tx\n"
    assert choose_chain(1, parse_lsn("0/7000000"), histories)[-1].timeline == 3


def name(number: int, timeline: int = 1) -> str:
    """The name of a segment."""
    return Segment(timeline, number).name()


def archive(*numbers: int, timeline: int = 1) -> dict[str, WalFile]:
    """An archive that holds these segments."""
    return {name(n, timeline): WalFile(name(n, timeline), "archive", "", 1000) for n in numbers}


def stream(*numbers: int, partial: int | None = None, timeline: int = 1) -> dict[str, WalFile]:
    """A stream that holds these segments whole, and one in part."""
    files = [StreamFile("initial", name(n, timeline), SEGMENT_BYTES) for n in numbers]
    if partial is not None:
        files.append(StreamFile("initial", f"{name(partial, timeline)}.partial", SEGMENT_BYTES))
    return streamed_segments(files)


@given(st.integers(3, 40), st.data())
def test_exactly_the_missing_segments_before_the_newest_are_gaps(count: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(5, 5 + count - 1)))
    held = [n for n in range(5, 5 + count) if n not in gone]
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, FIRST, archive(*held), {})
    end = max(held, default=5)
    missing = [n for n in range(5, max(end, 5) + 1) if n in gone]
    assert list(plan.problems) == [f"{name(n)} is missing" for n in missing]
    assert [one.segment for one in plan.files] == [name(n) for n in held]


def test_the_stream_goes_on_where_the_archive_ends() -> None:
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, FIRST, archive(5, 6), stream(6, 7, partial=8))
    assert plan.problems == ()
    assert [(one.segment, one.source) for one in plan.files] == [
        (name(5), "archive"), (name(6), "archive"), (name(7), "stream"), (name(8), "partial"),
    ]  # fmt: skip
    assert [one.segment for one in plan.only_streamed()] == [name(7)]


def test_a_gap_between_archive_and_stream_is_found() -> None:
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, FIRST, archive(5, 6), stream(partial=8))
    assert plan.problems == (f"{name(7)} is missing",)


def test_wal_that_the_backup_itself_needs_may_not_be_the_end() -> None:
    plan = plan_wal(Segment(1, 5), 7 * SEGMENT_BYTES + 1, FIRST, archive(5, 6), {})
    assert plan.problems == (f"{name(7)} is missing",)


def test_a_backup_that_ends_on_a_boundary_does_not_need_the_next_segment() -> None:
    assert plan_wal(Segment(1, 5), 7 * SEGMENT_BYTES, FIRST, archive(5, 6), {}).problems == ()


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({**archive(5, 7), name(6): WalFile(name(6), "archive", "", 0)}, "is empty (archive)"),
        ({**archive(5, 7), **streamed_segments([StreamFile("a", name(6), 4096)])}, "has 4096 bytes instead"),
        ({**archive(5, 7), **stream(partial=6)}, "is there only in part"),
    ],
)  # fmt: skip
def test_an_unusable_segment_in_the_middle_is_named(held: dict[str, WalFile], said: str) -> None:
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, FIRST, held, {})
    assert len(plan.problems) == 1
    assert plan.problems[0].startswith(f"{name(6)} {said}")


def test_after_a_promotion_the_new_timeline_is_read_and_its_gaps_count() -> None:
    chain = [Span(1, 0, 7 * SEGMENT_BYTES + 100), Span(2, 7 * SEGMENT_BYTES + 100, None)]
    held = {**archive(5, 6, 7), **archive(7, 8, 10, timeline=2)}
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, chain, held, {})
    assert [one.segment for one in plan.files] == [name(5), name(6), name(7, 2), name(8, 2), name(10, 2)]
    assert plan.problems == (f"{name(9, 2)} is missing",)
    assert plan.timeline == 2


def test_a_segment_in_part_is_whole_where_the_next_timeline_begins_right_behind_it() -> None:
    held = {**archive(5), **archive(7, 8, timeline=2), **stream(partial=6)}
    for end, problems in ((7 * SEGMENT_BYTES, 0), (7 * SEGMENT_BYTES + 100, 1)):
        chain = [Span(1, 0, end), Span(2, end, None)]
        plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, chain, held, {})
        assert len(plan.problems) == problems
        assert [one.segment for one in plan.files] == [name(5), name(6), name(7, 2), name(8, 2)]
    # What the backup itself needs is never taken in part.
    chain = [Span(1, 0, 7 * SEGMENT_BYTES), Span(2, 7 * SEGMENT_BYTES, None)]
    assert plan_wal(Segment(1, 5), 7 * SEGMENT_BYTES + 1, chain, held, {}).problems


def test_what_the_old_timeline_wrote_after_the_promotion_does_not_count() -> None:
    chain = [Span(1, 0, 7 * SEGMENT_BYTES + 100), Span(2, 7 * SEGMENT_BYTES + 100, None)]
    held = {**archive(5, 6, 7, 8, 9, 10), **archive(7, timeline=2)}
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, chain, held, {})
    assert plan.newest is not None
    assert plan.newest.segment == name(7, 2)
    assert plan.problems == ()


def test_the_first_segment_of_a_new_timeline_is_not_replaced_by_the_old_one() -> None:
    chain = [Span(1, 0, 7 * SEGMENT_BYTES + 100), Span(2, 7 * SEGMENT_BYTES + 100, None)]
    held = {**archive(5, 6, 7), **archive(8, timeline=2)}
    plan = plan_wal(Segment(1, 5), 5 * SEGMENT_BYTES + 300, chain, held, {})
    assert plan.problems == (f"{name(7, 2)} is missing",)


def test_a_backup_of_the_new_timeline_needs_nothing_of_the_old() -> None:
    chain = [Span(1, 0, 7 * SEGMENT_BYTES), Span(2, 7 * SEGMENT_BYTES, None)]
    plan = plan_wal(Segment(2, 9), 9 * SEGMENT_BYTES + 300, chain, archive(9, 10, timeline=2), {})
    assert plan.problems == ()
    assert [one.segment for one in plan.files] == [name(9, 2), name(10, 2)]


def test_the_repositorys_other_files_are_no_segments() -> None:
    sha1 = "a" * 40
    held = archived_segments(
        {
            f"{name(5)}-{sha1}.lz4": (10, 1.0),
            f"{name(6)}-{sha1}": (20, 2.0),
            f"{name(5)}.00000028.backup": (1, 1.0),
            f"{name(7)}.partial-{sha1}.lz4": (1, 1.0),
            "00000002.history": (41, 1.0),
            "archive.info": (255, 1.0),
        }
    )
    assert sorted(held) == [name(5), name(6)]


def test_of_two_streams_the_whole_segment_wins_then_the_newer() -> None:
    held = streamed_segments(
        [
            StreamFile("new", f"{name(5)}.partial", SEGMENT_BYTES, 9.0),
            StreamFile("old", name(5), SEGMENT_BYTES, 1.0),
            StreamFile("old", f"{name(6)}.partial", SEGMENT_BYTES, 1.0),
            StreamFile("new", f"{name(6)}.partial", SEGMENT_BYTES, 2.0),
            StreamFile("new", "00000002.history", 41, 2.0),
        ]
    )
    assert {one.segment: (one.source, one.folder) for one in held.values()} == {
        name(5): ("stream", "old"),
        name(6): ("partial", "new"),
    }


def test_the_end_is_read_from_what_pg_waldump_printed() -> None:
    assert parse_end((FIXTURES / "waldump.txt").read_text()) == 0x1BFFF678
    assert parse_end("pg_waldump: error: could not find a valid record after 0/5000000") is None


@pytest.mark.parametrize(
    ("lsn", "total", "end"),
    [
        # From a real segment: where pg_waldump found the record and the one after it.
        ("0/110017A8", 50, "0/110017E0"),
        ("0/11001340", 1082, "0/11001780"),
        ("0/1000FF8", 8, "0/1001000"),
        # Over a page: its header of 24 bytes is in between; over a segment: 40.
        ("0/1001FF8", 16, "0/1002020"),
        ("0/1FFFFF8", 16, "0/2000030"),
    ],
)
def test_a_record_ends_where_the_next_begins(lsn: str, total: int, end: str) -> None:
    assert format_lsn(record_end(parse_lsn(lsn), total)) == end


SMALL = 1 << 18
POSITION = 5 * SMALL + 2 * PAGE_BYTES + 1000


def segment_tail(position: int, records: list[int]) -> bytes:
    """Bytes of a small segment from position (in a page) to its end: records of these lengths, laid out in pages."""
    base = position // SMALL * SMALL
    data = bytearray(SMALL)
    at = position
    for total in records:
        body = total.to_bytes(4, "little") + bytes([7]) * (total - 4)
        while body:
            if at % PAGE_BYTES == 0:
                flags = 1 if len(body) < total else 0
                header = (0xD116).to_bytes(2, "little") + flags.to_bytes(2, "little") + (1).to_bytes(4, "little")
                header += at.to_bytes(8, "little") + (len(body) if flags else 0).to_bytes(4, "little") + bytes(4)
                data[at - base : at - base + 24] = header
                at += 24
            room = PAGE_BYTES - at % PAGE_BYTES
            part, body = body[:room], body[room:]
            data[at - base : at - base + len(part)] = part
            at += len(part)
        at = (at + 7) // 8 * 8
    return bytes(data[position - base :])


def test_zeros_are_the_end_of_wal() -> None:
    assert not holds_more(segment_tail(POSITION, []), POSITION, SMALL)
    assert not holds_more(b"", POSITION, SMALL)


@given(st.integers(24, 60_000), st.data())
def test_a_record_that_was_still_arriving_is_the_end_of_wal(total: int, data: st.DataObject) -> None:
    whole = segment_tail(POSITION, [total])
    arrived = data.draw(st.integers(0, len(whole.rstrip(b"\0")) - 1))
    assert not holds_more(whole[:arrived] + bytes(len(whole) - arrived), POSITION, SMALL)


@given(st.integers(24, 30_000), st.lists(st.integers(24, 20_000), min_size=1, max_size=5))
def test_a_bad_record_that_others_follow_is_damage(total: int, others: list[int]) -> None:
    tail = segment_tail(POSITION, [total, *others])
    assert holds_more(tail, POSITION, SMALL)
    # Even where its length is what was damaged, as long as a page in between says otherwise.
    for length in (0, 7, 0xFFFFFF):
        assert holds_more(length.to_bytes(4, "little") + tail[4:], POSITION, SMALL) or (
            length > 100_000 and total < PAGE_BYTES
        )


def test_a_length_that_grew_is_belied_by_the_pages_after_it() -> None:
    tail = segment_tail(POSITION, [100] * 500)
    assert holds_more((0xFFFFFF).to_bytes(4, "little") + tail[4:], POSITION, SMALL)
