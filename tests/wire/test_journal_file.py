"""A journal file is several black boxes: every change, cut and exchange in it is found, whatever the bytes."""

import io
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import envelope
from agent.wire.blackbox import JOURNAL_MAGIC, Header, JournalHeader, Writer, block
from agent.wire.messages import SCHEMA, Event, Value
from agent.wire.streams import NO_HASH, Gap
from agent.wire.verification import ExaminedFile, Finding, verify_file
from tests.wire.test_blackbox import AGENT, CITY, GATEWAY, Endless, key_list, link, ring, whole

GAP = Gap(3, 7, 40, "the store was full", bytes(range(32)))


@cache
def rows(stream: str) -> tuple[tuple[int, bytes], ...]:
    """Four links; of telemetry the third is a gap record that stands for five, and the last follows it."""
    found: list[tuple[int, bytes]] = []
    prev = NO_HASH
    for seq in (1, 2, 7 if stream == "tele" else 3, 8 if stream == "tele" else 4):
        events = [GAP.event()] if (stream, seq) == ("tele", 7) else [Event(0, "x", "", "", f"{stream} {seq}", {})]
        sealed = link(9, seq, prev, AGENT, events=events, stream=stream)
        found.append((seq, sealed))
        prev = GAP.hash if (stream, seq) == ("tele", 7) else envelope.digest(sealed)
    return tuple(found)


def part(stream: str, links: Sequence[tuple[int, bytes]] | None = None) -> bytes:
    writer = Writer(Header(SCHEMA, CITY, GATEWAY, stream, key_list()))
    pieces = [writer.begin()]
    for seq, sealed in rows(stream) if links is None else links:
        pieces.append(writer.link(9, seq, sealed, GAP if (stream, seq) == ("tele", 7) else None))
    return b"".join([*pieces, writer.end()])


@cache
def journal(*streams: str) -> bytes:
    return JournalHeader(SCHEMA, CITY, GATEWAY, [*streams]).bytes + b"".join(part(stream) for stream in streams)


BOTH = ("alarm", "tele")


def examine(data: bytes) -> ExaminedFile:
    return verify_file(io.BytesIO(data), ring())


def finding(data: bytes) -> Finding:
    found = examine(data).finding
    assert found is not None
    return found


def test_a_journal_is_verified_part_by_part_with_its_gap_records_named() -> None:
    examined = examine(journal(*BOTH))
    assert examined.finding is None
    alarm, tele = examined.parts
    assert (alarm.records, alarm.gap_records, alarm.shed) == (4, 0, 0)
    assert (tele.records, tele.gap_records, tele.shed, tele.gaps) == (4, 1, 40, [GAP])
    assert [(span.first, span.last) for span in tele.spans.all] == [(1, 8)]
    assert examine(whole()).journal is None, "a black box is a file of one part"


def test_a_gap_record_may_reach_back_over_what_was_written_before_it_took_its_place() -> None:
    reaching = Gap(2, 7, 40, "the store was full", GAP.hash)
    prev = rows("tele")[0][1]
    late = link(9, 7, envelope.digest(prev), AGENT, events=[reaching.event()], stream="tele")
    links = [*rows("tele")[:2], (7, late), rows("tele")[3]]
    writer = Writer(Header(SCHEMA, CITY, GATEWAY, "tele", key_list()))
    pieces = [writer.begin(), *(writer.link(9, seq, data, reaching if seq == 7 else None) for seq, data in links)]
    data = JournalHeader(SCHEMA, CITY, GATEWAY, ["tele"]).bytes + b"".join([*pieces, writer.end()])
    assert examine(data).finding is None
    assert examine(data).parts[0].gaps == [reaching]


@given(st.integers(0, 8 * 10**6))
def test_every_flipped_bit_is_found(where: int) -> None:
    offset, bit = divmod(where % (8 * len(journal(*BOTH))), 8)
    data = bytearray(journal(*BOTH))
    data[offset] ^= 1 << bit
    assert finding(bytes(data)).expected


def test_every_bit_before_the_first_part_counts_and_a_cut_anywhere_is_found() -> None:
    head = len(JournalHeader(SCHEMA, CITY, GATEWAY, [*BOTH]).bytes)
    for offset in range(head):
        for bit in range(8):
            data = bytearray(journal(*BOTH))
            data[offset] ^= 1 << bit
            assert examine(bytes(data)).finding is not None
    for size in {*range(head + 40), *range(head, len(journal(*BOTH)), 37), head + len(part("alarm"))}:
        assert examine(journal(*BOTH)[:size]).finding is not None


@pytest.mark.parametrize(
    ("named", "parts", "kind"),
    [
        (("alarm", "tele"), ("tele", "alarm"), "header"),
        (("alarm", "tele"), ("alarm", "alarm"), "header"),
        (("alarm", "tele"), ("alarm",), "truncated"),
        (("alarm",), ("alarm", "tele"), "trailing"),
        (("alarm", "alarm"), ("alarm", "alarm"), "header"),
        (("alarm", "secrets"), ("alarm",), "header"),
    ],
)
def test_parts_are_those_the_header_names_in_its_order(
    named: tuple[str, ...], parts: tuple[str, ...], kind: str
) -> None:
    data = JournalHeader(SCHEMA, CITY, GATEWAY, [*named]).bytes + b"".join(part(stream) for stream in parts)
    assert finding(data).kind == kind


def test_a_part_of_another_gateway_is_no_part_of_this_file() -> None:
    data = JournalHeader(SCHEMA, CITY, "gw-other", ["alarm"]).bytes + part("alarm")
    assert finding(data).kind == "header"


def test_a_second_history_is_a_fork_and_a_doubled_record_is_not() -> None:
    one, two = rows("alarm")[:2]
    other = link(9, 2, envelope.digest(one[1]), AGENT, events=[Event(0, "y", "", "", "", {})], stream="alarm")
    for again, kind in (((2, other), "fork"), (two, "repeated")):
        data = JournalHeader(SCHEMA, CITY, GATEWAY, ["alarm"]).bytes + part("alarm", [one, two, again])
        found = finding(data)
        assert (found.kind, found.number, found.seq) == (kind, 3, 3)


@given(st.binary(max_size=300))
def test_garbage_is_no_journal_and_raises_nothing(data: bytes) -> None:
    assert finding(JOURNAL_MAGIC + data).place == "header"
    assert finding(JOURNAL_MAGIC + block(data)).place == "header"
    head = JournalHeader(SCHEMA, CITY, GATEWAY, ["alarm"]).bytes
    assert finding(head + data).place == "header"


@pytest.mark.parametrize("then", [b"\0", b"\xff", b"\x00\x00\x00\x01"])
def test_endless_data_ends_early_in_little_memory(then: bytes) -> None:
    for start in (JOURNAL_MAGIC, journal(*BOTH)[:60], journal(*BOTH)):
        source = Endless(start, then)
        assert verify_file(source, ring()).finding is not None
        assert source.largest <= 2**20


Odd = st.dictionaries(
    st.sampled_from(["first", "last", "count", "reason", "hash"]), st.one_of(st.integers(-(2**62), 2**62), st.text())
)


@given(Odd)
def test_a_gap_record_that_makes_no_sense_is_found(detail: dict[str, Value]) -> None:
    prev = rows("tele")[0]
    odd = link(
        9, 2, envelope.digest(prev[1]), AGENT, events=[Event(0, "stream.gap", "", "", "", detail)], stream="tele"
    )
    data = JournalHeader(SCHEMA, CITY, GATEWAY, ["tele"]).bytes + part("tele", [prev, (2, odd)])
    assert finding(data).kind in {"gap", "message"}
