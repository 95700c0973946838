"""A mark dates what its own boot has sealed, by a better clock, and says how well."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import sealing, topics
from agent.wire.messages import SCHEMA, Batch, Event, Value, encode
from agent.wire.redating import MARK_KIND, Mark, is_redatable, mark_of, signed_by
from tests.wire import vectors
from tests.wire.party import ring

NOW = 1_800_000_000_000
BOOT = bytes(range(8))
DETAIL: dict[str, Value] = {"boot": BOOT.hex(), "mono_ms": 90_000, "unix_ms": NOW, "within_ms": 30, "clock": 2}
MARK = Mark(BOOT, 90_000, NOW, 30, 2)


def batch(clock: int = 0, boot: bytes = BOOT, mono_ms: int = 60_000) -> Batch:
    event = Event(0, "x", "", "", "", {})
    return Batch(SCHEMA, "gw", "audit", 1, 1, bytes(32), mono_ms, mono_ms, clock, [], [], [], [], [], [event], boot)


def test_a_record_from_half_a_minute_before_the_mark_is_dated_half_a_minute_earlier() -> None:
    assert MARK.dates(batch())
    assert MARK.t0_ms(60_000) == NOW - 30_000
    assert MARK.within(60_000) == 30 + 3
    assert MARK.within(90_000) == 30
    assert MARK.t0_ms(120_000) == NOW + 30_000, "a later record of the same boot that knew no better"


@pytest.mark.parametrize(
    ("clock", "boot", "is_dated"),
    [(0, BOOT, True), (1, BOOT, True), (2, BOOT, False), (3, BOOT, False), (0, bytes(8), False), (0, b"", False)],
)
def test_a_mark_dates_only_its_own_boot_and_a_worse_clock(clock: int, boot: bytes, is_dated: bool) -> None:
    assert MARK.dates(batch(clock, boot)) is is_dated
    assert is_redatable(batch(clock, boot)) is (clock < 2 and boot != b"")


def test_the_better_clock_wins_then_the_smaller_error() -> None:
    own = Mark(BOOT, 0, NOW, -1, 1)
    far = Mark(BOOT, 10**9, NOW + 10**9, 30, 2)
    assert MARK.is_better_than(own, 0)
    assert MARK.is_better_than(far, 60_000)
    assert far.is_better_than(MARK, 10**9)
    assert not MARK.is_better_than(MARK, 0)


def test_an_agent_s_mark_never_dates_the_guard_s_records() -> None:
    assert [signed_by(stream) for stream in ("alarm", "state", "tele", "audit")] == ["agent"] * 4
    assert signed_by("safety") == "guard"


def test_a_mark_is_read_from_its_event_and_nothing_else_is() -> None:
    assert mark_of(Event(0, MARK_KIND, "", "", "", DETAIL)) == MARK
    assert mark_of(Event(0, "clock.step", "", "", "", DETAIL)) is None
    bad: dict[str, Value]
    for bad in (
        {"unix_ms": None},
        {"mono_ms": True},
        {"boot": "xyz"},
        {"boot": ""},
        {"clock": 0},
        {"clock": 9},
        {"unix_ms": -1},
        {"within_ms": 1.5},
    ):
        assert mark_of(Event(0, MARK_KIND, "", "", "", DETAIL | bad)) is None


@given(
    st.dictionaries(
        st.sampled_from([*DETAIL, "other"]), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
    )
)
def test_whatever_a_mark_s_event_says_is_a_mark_or_none(detail: dict[str, Value]) -> None:
    found = mark_of(Event(0, MARK_KIND, "", "", "", detail))
    if found is not None:
        assert 0 <= found.t0_ms(0) <= 2**62
        assert found.within(0) >= -1


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_two_moments_stay_as_far_apart_as_the_monotonic_clock_says(mark_ms: int, one_ms: int, two_ms: int) -> None:
    mark = Mark(BOOT, mark_ms, 2**41, 0, 2)
    assert mark.t0_ms(one_ms) - mark.t0_ms(two_ms) == one_ms - two_ms


def test_the_worked_bytes_are_dated_as_the_document_says() -> None:
    row = json.loads(vectors.FILE.read_text())["redating"]
    topic = topics.parse(row["undated"]["topic"])
    undated, mark = (
        sealing.open_batch(ring(), bytes.fromhex(row[n]["envelope"]), topic, None).batch for n in ("undated", "mark")
    )
    found = mark_of(mark.events[0])
    assert found is not None
    assert found.dates(undated)
    assert found.t0_ms(undated.mono_ms) == row["dated_t0_ms"]
    assert found.t0_ms(undated.mono_ms) + undated.events[0].dt_ms == row["dated_event_ms"]
    assert found.within(undated.mono_ms) == row["within_ms"]


def test_a_batch_without_a_boot_as_earlier_gateways_send_it_is_read() -> None:
    fields = msgspec.msgpack.decode(encode(batch()))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=Batch).boot == b""
