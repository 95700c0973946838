"""What may be seen for a moment and not for long: lost reds, red with yellow, stuck reds; and changed configurations."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.equipment import Junction
from agent.model.identity import SignalGroupNumber
from agent.model.observation import Calls, JunctionObserved
from agent.safety.observer import JunctionMemory, Response, Trip, watch
from tests.safety.facts import JUNCTION, SEEN_JUNCTION, J

START_MS = 70_000
NORMAL, AUTOMATIC, START_UP, OTHER = 2, 3, 7, 1
CALLED = replace(
    JUNCTION,
    groups=tuple(replace(group, call_phase=int(group.number) + 4) for group in JUNCTION.groups),
    red_ms_max=60_000,
)


def sample(at_ms: int, shown: str, flash: int = NORMAL, delay_ms: int = 0, **others: Any) -> JunctionObserved:
    """``"GYR-"``: group 1 green, 2 yellow, 3 red, 4 dark; ``B`` is red with yellow."""
    masks = {
        name: sum(1 << place for place, letter in enumerate(shown) if letter in letters)
        for name, letters in (("greens", "G"), ("yellows", "YB"), ("reds", "RB"))
    }
    seen = replace(SEEN_JUNCTION, at_ms=START_MS + at_ms, flash_status=flash, delay_ms=delay_ms)
    return replace(seen, **masks, **others)


def told(samples: list[JunctionObserved], junction: Junction = JUNCTION) -> list[tuple[int, Trip]]:
    """Everything the observer says, and when."""
    memory, said = JunctionMemory(), []
    for seen in samples:
        memory, trips = watch(memory, seen, junction)
        said += [(seen.at_ms - START_MS, trip) for trip in trips]
    return said


def rules(samples: list[JunctionObserved], junction: Junction = JUNCTION) -> list[tuple[int, str]]:
    return [(at_ms, trip.rule) for at_ms, trip in told(samples, junction)]


def every(period_ms: int, until_ms: int, shown: str, from_ms: int = 0, **others: Any) -> list[JunctionObserved]:
    return [sample(at_ms, shown, **others) for at_ms in range(from_ms, until_ms + 1, period_ms)]


def trip(rule: str, reason: str, *groups: int, response: Response = Response.RELEASE_AND_LATCH) -> Trip:
    return Trip(rule, J, reason, tuple(SignalGroupNumber(number) for number in groups), response)


# SR-03


def test_sr_03_a_group_that_shows_nothing_for_800_ms_releases_and_latches_once() -> None:
    assert told(every(100, 5_000, "RR-R")) == [(800, trip("SR-03", "dark for 800 ms: 3", 3))]


def test_sr_03_names_every_dark_group_when_its_time_has_come() -> None:
    story = [*every(100, 400, "-RRR"), *every(100, 3_000, "--RR", 500)]
    assert [(at_ms, each.groups) for at_ms, each in told(story)] == [(800, (1,)), (1_300, (2,))]


@pytest.mark.parametrize(("last_ms", "is_told"), [(799, False), (800, True)])
def test_sr_03_is_exact_to_the_millisecond(last_ms: int, is_told: bool) -> None:
    story = [*every(100, 700, "-RRR"), sample(last_ms, "-RRR")]
    assert bool(told(story)) is is_told


@pytest.mark.parametrize(("apart_ms", "is_told"), [(300, True), (301, False)])
def test_sr_03_samples_too_far_apart_may_hide_a_light(apart_ms: int, is_told: bool) -> None:
    assert bool(told(every(apart_ms, 10_000, "-RRR"))) is is_told


def test_sr_03_a_slow_reply_counts_in_favour_of_the_lamp() -> None:
    assert rules([sample(100 * n, "-RRR", delay_ms=90) for n in range(12)]) == [(900, "SR-03")]
    assert rules([sample(250 * n, "-RRR", delay_ms=60) for n in range(40)]) == []


@pytest.mark.parametrize("flash", [AUTOMATIC, START_UP, OTHER])
def test_sr_03_claims_nothing_of_flash_and_start_up(flash: int) -> None:
    assert rules(every(100, 5_000, "----", flash=flash)) == []
    story = [*every(100, 700, "-RRR"), sample(750, "----", flash), *every(100, 1_500, "-RRR", 800)]
    assert rules(story) == []


def test_sr_03_one_lit_sample_begins_the_time_anew() -> None:
    story = [*every(100, 700, "-RRR"), sample(750, "RRRR"), *every(100, 1_500, "-RRR", 800)]
    assert rules(story) == []


def test_sr_03_a_group_without_a_red_lamp_may_be_dark() -> None:
    groups = tuple(replace(group, has_red=group.number != 4) for group in JUNCTION.groups)
    assert rules(every(100, 5_000, "RRR-"), replace(JUNCTION, groups=groups)) == []


def test_sr_03_a_lamp_that_goes_out_again_is_told_again() -> None:
    story = [*every(100, 1_000, "-RRR"), *every(100, 2_000, "RRRR", 1_100), *every(100, 3_500, "-RRR", 2_100)]
    assert rules(story) == [(800, "SR-03"), (2_900, "SR-03")]


@pytest.mark.parametrize(("shown", "rule", "told_ms"), [("-RRR", "SR-03", 5_900), ("RBRR", "SR-26", 5_400)])
def test_sr_13_what_lasts_counts_as_seen_for_as_long_as_it_lasts_and_is_told_anew_after_a_reset(
    shown: str, rule: str, told_ms: int
) -> None:
    memory = JunctionMemory()
    for seen in every(100, 5_000, shown):
        memory, _ = watch(memory, seen, JUNCTION)
    assert memory.fault_at_ms == START_MS + 5_000
    memory, said = memory.anew(), []
    for seen in every(100, 6_500, shown, 5_100):
        memory, trips = watch(memory, seen, JUNCTION)
        said += [(seen.at_ms - START_MS, each.rule) for each in trips]
    assert said == [(told_ms, rule)]


def test_sr_13_a_conflict_counts_as_seen_when_it_was_seen_last() -> None:
    memory = JunctionMemory()
    assert memory.fault_at_ms is None
    for seen in [*every(100, 500, "GGRR"), *every(100, 5_000, "GRRR", 600)]:
        memory, _ = watch(memory, seen, JUNCTION)
    assert memory.fault_at_ms == START_MS + 500


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=60))
def test_sr_03_is_told_exactly_when_darkness_is_certain(steps: list[tuple[int, bool]]) -> None:
    at_ms, since_ms, last_ms, expected, samples = 0, None, 0, [], []
    is_told = False
    for step_ms, dark in steps:
        at_ms += step_ms
        samples.append(sample(at_ms, "-RRR" if dark else "RRRR"))
        if not dark:
            since_ms, is_told = None, False
        elif since_ms is None or step_ms > 300:
            since_ms = at_ms
        if dark and since_ms is not None and at_ms - since_ms >= 800 and not is_told:
            expected.append((at_ms, "SR-03"))
            is_told = True
        elif dark and since_ms is not None and at_ms - since_ms < 800:
            is_told = False
        last_ms = at_ms
    assert last_ms == at_ms
    assert rules(samples) == expected


# SR-26


def test_sr_26_red_with_yellow_for_300_ms_releases_and_latches_once() -> None:
    assert told(every(100, 2_000, "RBRR")) == [(300, trip("SR-26", "red with yellow for 300 ms: 2", 2))]


@pytest.mark.parametrize(("last_ms", "is_told"), [(299, False), (300, True)])
def test_sr_26_an_overlap_of_relays_is_no_aspect(last_ms: int, is_told: bool) -> None:
    assert bool(told([sample(0, "RBRR"), sample(150, "RBRR"), sample(last_ms, "RBRR"), sample(400, "RRRR")])) is is_told


def test_sr_26_red_with_yellow_is_an_aspect_where_the_site_says_so() -> None:
    assert rules(every(100, 2_000, "RBRR"), replace(JUNCTION, red_yellow_allowed=True)) == []


def test_sr_26_claims_nothing_of_start_up_nor_of_channels_nobody_commissioned() -> None:
    assert rules(every(100, 2_000, "BBBB", flash=START_UP)) == []
    assert rules(every(100, 2_000, "RRRRB")) == []


@given(st.integers(1, 150), st.integers(0, 140), st.integers(0, 2_000))
def test_sr_26_is_told_once_it_is_certain_and_never_before(period_ms: int, delay_ms: int, lasts_ms: int) -> None:
    story = every(period_ms, lasts_ms, "RBRR", delay_ms=delay_ms)
    certain_ms = story[-1].at_ms - START_MS - delay_ms
    assert len(told(story)) == (certain_ms >= 300)


# SR-07


def called(at_ms: int, vehicles: int | None = 0, pedestrians: int | None = 0, delay_ms: int = 0) -> Calls:
    return Calls(START_MS + at_ms, vehicles, pedestrians, delay_ms)


def waits(until_ms: int, shown: str = "GRRR", vehicles: int | None = 0x20, **others: Any) -> list[JunctionObserved]:
    """Sampled each second but one millisecond, calls asked every ten seconds."""
    return [
        sample(at_ms, shown, calls=called(at_ms // 10_000 * 10_000, vehicles, **others))
        for at_ms in range(0, until_ms + 1, 500)
    ]


@pytest.mark.parametrize("longest_s", [60, 1_000])
def test_sr_07_a_red_too_long_although_asked_for_alarms_once(longest_s: int) -> None:
    junction = replace(CALLED, red_ms_max=1_000 * longest_s)
    alarm = trip("SR-07", f"red for {longest_s} s although asked for, stuck: 2", 2, response=Response.ALARM)
    assert told(waits(1_000 * longest_s + 140_000), junction) == [(1_000 * longest_s, alarm)]


def test_sr_07_a_call_counts_from_the_answers_to_its_questions() -> None:
    story = [sample(500 * n, "GRRR", calls=called(500 * n // 10_000 * 10_000, 0x20, delay_ms=1)) for n in range(200)]
    assert rules(story, CALLED) == [(70_000, "SR-07")]


def test_sr_07_an_empty_street_may_stay_red() -> None:
    assert rules(waits(200_000, vehicles=0), CALLED) == []
    assert rules(waits(200_000, vehicles=0x50), CALLED) == []  # 1 is green, 3 is for pedestrians.


def test_sr_07_claims_nothing_where_calls_are_not_read_or_not_mapped() -> None:
    assert rules(waits(200_000, vehicles=None), CALLED) == []
    assert rules(every(500, 200_000, "GRRR"), CALLED) == []
    assert rules(waits(200_000), replace(JUNCTION, red_ms_max=60_000)) == []


def test_sr_07_counts_from_the_first_call_that_was_read() -> None:
    unread = every(500, 49_500, "RRRR")
    asked = [
        sample(at_ms, "RRRR", calls=called(at_ms // 10_000 * 10_000, 0xF0)) for at_ms in range(50_000, 105_000, 500)
    ]
    assert rules(unread + asked, CALLED) == []


def test_sr_07_pedestrians_push_another_button() -> None:
    assert [trip.groups for _, trip in told(waits(70_000, vehicles=0, pedestrians=0x40), CALLED)] == [(3,)]
    assert rules(waits(70_000, vehicles=0, pedestrians=0x30), CALLED) == []


def test_sr_07_a_call_withdrawn_or_a_green_in_between_begins_anew() -> None:
    story = waits(55_000) + [
        sample(at_ms, "GRRR", calls=called(at_ms // 10_000 * 10_000, 0 if at_ms < 70_000 else 0x20))
        for at_ms in range(60_000, 125_000, 500)
    ]
    assert rules(story, CALLED) == []
    green = [sample(at_ms, "RGRR", calls=called(50_000, 0x20)) for at_ms in range(61_000, 75_000, 500)]
    yellow = every(500, 78_500, "RYRR", 75_000)
    red = [sample(at_ms, "RRRR", calls=called(at_ms // 10_000 * 10_000, 0x20)) for at_ms in range(79_000, 135_000, 500)]
    clear = [sample(at_ms, "RRRR", calls=called(50_000, 0x20)) for at_ms in range(55_500, 61_000, 500)]
    assert rules(waits(55_000, "RRRR") + clear + green + yellow + red, CALLED) == []


def test_sr_07_old_calls_and_samples_far_apart_claim_nothing() -> None:
    assert rules([sample(500 * n, "GRRR", calls=called(0, 0x20)) for n in range(400)], CALLED) == []
    assert rules([sample(1_000 * n, "GRRR", calls=called(1_000 * n, 0x20)) for n in range(200)], CALLED) == []
    assert rules([sample(999 * n, "GRRR", calls=called(999 * n, 0x20)) for n in range(200)], CALLED) != []


def test_sr_07_only_a_red_alone_is_a_red() -> None:
    assert rules(waits(70_000, "G-RR"), CALLED) == []
    assert rules(waits(70_000, "RBRR"), CALLED) == []


def test_sr_07_calls_count_for_twenty_five_seconds() -> None:
    def story(last_ms: int) -> list[JunctionObserved]:
        answers = (0, last_ms + 500, 50_500, 60_500)
        return [
            sample(at_ms, "GRRR", calls=called(max(each for each in answers if each <= at_ms), 0x20))
            for at_ms in range(0, 61_000, 500)
        ]

    assert rules(story(25_000), CALLED) == [(60_500, "SR-07")]
    assert rules(story(25_500), CALLED) == []
    too_old = sample(25_001, "GRRR", calls=called(0, 0x20))
    assert rules(sorted([*story(25_000), too_old], key=lambda seen: seen.at_ms), CALLED) == []


@pytest.mark.no_cover
@pytest.mark.parametrize("shown", ["GRRR", "RRRR"])
@given(longest_s=st.integers(10, 300))
def test_sr_07_is_told_at_the_first_answer_after_the_sites_longest_red(shown: str, longest_s: int) -> None:
    junction = replace(CALLED, red_ms_max=longest_s * 1_000)
    assert rules(waits(320_000, shown), junction) == [(-(-longest_s // 10) * 10_000, "SR-07")]


@pytest.mark.parametrize("flash", [AUTOMATIC, START_UP, OTHER])
def test_sr_03_07_26_what_was_seen_before_a_flash_is_not_held_against_the_lamps_after_it(flash: int) -> None:
    for shown, lasts_ms in (("-RRR", 700), ("RBRR", 250)):
        after = every(50, 2 * lasts_ms + 100, shown, lasts_ms + 100)
        assert rules([*every(50, lasts_ms, shown), sample(lasts_ms + 50, shown, flash), *after]) == []
    red = waits(119_500, "RRRR")
    waiting = [replace(seen, flash_status=flash) if seen.at_ms == START_MS + 59_500 else seen for seen in red]
    assert rules(waiting, CALLED) == []


# SR-16


def ids(*found: int | None, commissioned: int | None = None) -> list[tuple[int, Trip]]:
    junction = replace(JUNCTION, configuration_id=commissioned)
    samples = [sample(100 * n, "RRRR", configuration_id=each) for n, each in enumerate(found)]
    return told(samples, junction)


def test_sr_16_the_first_value_is_remembered_and_a_change_releases_and_latches_once() -> None:
    reason = "the controller's configuration id is 8, it was 7, and nothing here changes it"
    assert ids(7, 7, 8, 8, 8) == [(200, trip("SR-16", reason))]
    assert ids(None, 7, None, 7) == []
    assert len(ids(7, None, 8, 7)) == 2


def test_sr_16_the_commissioned_value_is_told_once_when_it_differs_or_cannot_be_read() -> None:
    alarm = Response.ALARM
    other = trip("SR-16", "the controller's configuration id is 8; commissioned: 7", response=alarm)
    none = trip("SR-16", "the controller's configuration id cannot be read; commissioned: 7", response=alarm)
    assert ids(7, 7, commissioned=7) == []
    assert ids(8, 8, commissioned=7) == [(0, other)]
    assert ids(7, None, None, 7, 8, commissioned=7) == [(100, none), (400, other)]


def test_sr_16_a_change_behind_a_silence_is_told_too() -> None:
    story = [sample(0, "RRRR", configuration_id=7), sample(60_000, "RRRR", configuration_id=8)]
    assert rules(story) == [(60_000, "SR-16")]


@given(st.lists(st.none() | st.integers(0, 3), max_size=30), st.none() | st.integers(0, 3))
def test_sr_16_tells_every_change_and_nothing_else(found: list[int | None], commissioned: int | None) -> None:
    if commissioned is None:
        read = [each for each in found if each is not None]
        expected = sum(before != after for before, after in pairwise(read))
    else:
        expected = sum(each != commissioned and (n == 0 or found[n - 1] != each) for n, each in enumerate(found))
    assert len(ids(*found, commissioned=commissioned)) == expected
