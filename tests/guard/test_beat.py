"""How lateness is counted, in a space that never grows."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from agent.guard.beat import EDGES_MS, LATE_MS, Beat


def beat(*late_ms: int) -> Beat:
    made = Beat()
    for each in late_ms:
        made.begun(each)
    return made


def test_a_slot_is_late_from_21_ms_on() -> None:
    assert beat(20).late == 0
    assert beat(21).late == 1


def test_what_is_shown_is_the_count_the_99th_percentile_and_the_worst() -> None:
    figures = beat(*[0] * 98, 7, 30).figures()
    assert (figures["ticks"], figures["late ticks"], figures["lateness worst, ms"]) == (100, 1, 30)
    assert figures["lateness p99, ms at most"] == 10


def test_before_the_first_slot_nothing_was_late() -> None:
    assert beat().within_ms(0.99) == 0


@given(st.lists(st.integers(0, 5_000), min_size=1), st.floats(0, 1))
def test_no_larger_share_of_slots_is_later_than_told_and_no_part_is_told_too_late_by_more_than_its_width(
    late_ms: list[int], share: float
) -> None:
    told_ms = beat(*late_ms).within_ms(share)
    within = sum(each <= told_ms for each in late_ms)
    assert within >= share * len(late_ms) - 1e-6
    assert told_ms <= max(late_ms)
    true_ms = sorted(late_ms)[max(0, min(len(late_ms) - 1, -int(-share * len(late_ms) // 1) - 1))]
    assert told_ms <= next((edge for edge in EDGES_MS if edge >= true_ms), max(late_ms))


def test_a_year_of_slots_takes_no_more_room_than_one() -> None:
    made = beat(*range(2_000))
    assert len(made._counts) == len(EDGES_MS) + 1
    assert sum(made._counts) == made.slots == 2_000
    assert made.late == 2_000 - LATE_MS - 1


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 1_000))
def test_the_next_slot_lies_on_the_beat_ahead_and_what_lies_between_is_counted_as_skipped(
    slot_ms: int, took_ms: int, period_ms: int
) -> None:
    made, now_ms = Beat(), slot_ms + took_ms
    next_ms = made.next_ms(slot_ms, now_ms, period_ms)
    assert next_ms > slot_ms
    assert now_ms <= next_ms <= max(slot_ms, now_ms) + period_ms
    assert next_ms == slot_ms + (made.skipped + 1) * period_ms


def test_the_longest_garbage_collection_is_kept() -> None:
    made = Beat()
    made.watch_collector()
    gc.collect()
    made.leave_collector()
    longest_ns = made.collection_ns_max
    assert longest_ns > 0
    gc.collect()
    assert made.collection_ns_max == longest_ns
