"""How much is on its way to the broker, over lines of every speed, in the time of a simulated line."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.flight import (
    ANSWER_MS,
    BYTES_MAX,
    BYTES_PER_S_MIN,
    KEEPALIVE_S_MIN,
    LINK_BYTES_MAX,
    MESSAGES_MAX,
    Flight,
    fitting,
)
from agent.wire.streams import NO_HASH, Link

STEP_MS = 10


class SlowLine:
    """Carries one message after the other at its rate and answers each, after what the way back takes."""

    def __init__(self, bytes_per_s: int, way_ms: int = 0) -> None:
        self.bytes_per_s, self.way_ms = bytes_per_s, way_ms
        self.queue: deque[tuple[int, float]] = deque()
        self.free_at_ms = 0.0

    def take(self, ticket: int, size: int, now_ms: int) -> None:
        self.free_at_ms = max(self.free_at_ms, now_ms) + size * 1000 / self.bytes_per_s
        self.queue.append((ticket, self.free_at_ms + self.way_ms))

    def answers(self, now_ms: int) -> list[int]:
        arrived = []
        while self.queue and self.queue[0][1] <= now_ms:
            arrived.append(self.queue.popleft()[0])
        return arrived

    def wait_ms(self, now_ms: int) -> float:
        """How long an alarm handed over now would wait for what is before it."""
        return max(0.0, self.free_at_ms - now_ms)


def carry(flight: Flight, line: SlowLine, size: int, seconds: int, now_ms: int = 0) -> tuple[int, float]:
    """Send all there is room for; the messages answered, and the longest wait after the first ten seconds."""
    answered, waited_ms = 0, 0.0
    for at_ms in range(now_ms, now_ms + 1000 * seconds, STEP_MS):
        for ticket in line.answers(at_ms):
            flight.answered(ticket, at_ms)
            answered += 1
        assert not flight.is_stuck(at_ms)
        while flight.room_bytes > 0:
            line.take(flight.sent(size, at_ms), size, at_ms)
        if at_ms - now_ms > 10_000:
            waited_ms = max(waited_ms, line.wait_ms(at_ms))
    return answered, waited_ms


@pytest.mark.parametrize("bytes_per_s", [1_000, 2_000, 5_000])
@pytest.mark.parametrize("size", [200, 800])
def test_a_slow_line_is_used_to_the_full_and_an_alarm_waits_for_seconds_at_most(bytes_per_s: int, size: int) -> None:
    answered, waited_ms = carry(Flight(), SlowLine(bytes_per_s, 50), size, 60)
    assert answered * size > 0.85 * 60 * bytes_per_s
    assert waited_ms < 4_000


def test_a_long_line_is_no_slow_one() -> None:
    answered, _ = carry(Flight(), SlowLine(500_000, 3_000), 1_000, 60)
    assert answered * 1_000 > 0.5 * 57 * MESSAGES_MAX * 1_000 / 3  # 64 at once, each 3 s under way.


def test_a_line_that_becomes_slow_is_not_given_up_and_an_alarm_soon_waits_no_longer_than_on_one_that_was() -> None:
    flight, line = Flight(), SlowLine(20_000)
    carry(flight, line, 500, 30)
    line.bytes_per_s = 1_000
    carry(flight, line, 500, 60, 30_000)
    _, waited_ms = carry(flight, line, 500, 60, 90_000)
    assert waited_ms < 4_000


def test_the_largest_link_passes_the_slowest_line_without_being_taken_for_dead() -> None:
    flight, line = Flight(), SlowLine(BYTES_PER_S_MIN * 2)
    carry(flight, line, 300, 30)
    line.take(flight.sent(LINK_BYTES_MAX, 30_000), LINK_BYTES_MAX, 30_000)
    at_ms = 30_000
    while line.queue:  # Until the line has carried it.
        at_ms += 100
        assert not flight.is_stuck(at_ms)
        for ticket in line.answers(at_ms):
            flight.answered(ticket, at_ms)
    assert at_ms > 85_000


def test_silence_is_noticed_after_ten_seconds_and_what_the_oldest_message_takes() -> None:
    flight = Flight()
    flight.answered(flight.sent(400, 0), 100)
    assert not flight.is_stuck(1_000_000)  # Nothing is waited for.
    flight.sent(400, 5_000)
    assert not flight.is_stuck(5_000 + ANSWER_MS)
    assert flight.is_stuck(5_000 + ANSWER_MS + 1_001)


def test_a_connection_that_died_waiting_makes_the_next_one_more_patient_and_a_good_one_undoes_it() -> None:
    flight = Flight()
    for began_ms in (0, 100_000, 200_000):
        flight.sent(1_000, began_ms)
        flight.ended(began_ms + 50_000)
    assert flight.keepalive_s > KEEPALIVE_S_MIN
    flight.sent(10_000, 300_000)
    assert not flight.is_stuck(300_000 + ANSWER_MS + 19_000)
    flight.ended(300_500)
    carry(flight, SlowLine(100_000), 1_000, 5, 400_000)
    flight.ended(405_000)
    assert flight.keepalive_s == KEEPALIVE_S_MIN


def test_what_little_is_sent_says_nothing_about_what_more_would_do() -> None:
    flight = Flight()
    for n in range(1_000):
        flight.answered(flight.sent(300, n * 1_000), n * 1_000 + 50)
    assert flight.room_bytes < 5_000


def test_answers_of_a_connection_that_ended_say_nothing_about_the_next() -> None:
    flight = Flight()
    old = flight.sent(1_000, 0)
    flight.ended(10)
    new = flight.sent(1_000, 20)
    room = flight.room_bytes
    flight.answered(old, 30)
    flight.answered(old, 31)
    assert (flight.room_bytes, new != old) == (room, True)


@given(st.lists(st.tuples(st.sampled_from(["send", "answer", "end"]), st.integers(1, 70_000)), max_size=200))
def test_whatever_happens_nothing_on_its_way_means_room_and_bounds_are_kept(steps: list[tuple[str, int]]) -> None:
    flight, away, now_ms = Flight(), deque[int](), 0
    for step, number in steps:
        now_ms += number // 7
        match step:
            case "send":
                if flight.room_bytes > 0:
                    away.append(flight.sent(number, now_ms))
            case "answer":
                if away:
                    flight.answered(away.popleft(), now_ms)
            case _:
                flight.ended(now_ms)
                away.clear()
        assert away or flight.room_bytes > 0
        assert flight.room_bytes <= BYTES_MAX
        assert len(away) <= MESSAGES_MAX
        assert 0 <= flight.answer_ms(now_ms) <= now_ms
        assert KEEPALIVE_S_MIN <= flight.keepalive_s <= LINK_BYTES_MAX // BYTES_PER_S_MIN


def test_links_that_fit_are_at_least_one() -> None:
    links = [Link(n, NO_HASH, bytes(100)) for n in range(5)]
    assert [len(fitting(links, room)) for room in (1, 100, 101, 250, 9_999)] == [1, 1, 2, 3, 5]
    assert not fitting([], 500)
