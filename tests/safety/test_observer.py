"""The observer, answer by answer: what it says about samples of a junction, to the millisecond."""

from dataclasses import replace
from typing import Any

import pytest

from agent.model.identity import SignalGroupNumber
from agent.model.observation import JunctionObserved
from agent.safety.bollard_watch import BollardMemory, watch_bollard
from agent.safety.observer import JunctionMemory, Response, Trip, watch
from tests.safety.facts import BOLLARD, JUNCTION, SEEN_BOLLARD, SEEN_JUNCTION, J

START_MS = 70_000  # Stories count from here; a clock does not start with the story.
NORMAL, AUTOMATIC, MMU, START_UP, OTHER = 2, 3, 6, 7, 1


def masks(shown: str) -> dict[str, int]:
    """``"GYR-"``: group 1 green, 2 yellow, 3 red, 4 dark."""
    return {
        name: sum(1 << place for place, letter in enumerate(shown) if letter == aspect)
        for name, aspect in (("greens", "G"), ("yellows", "Y"), ("reds", "R"))
    }


def sample(at_ms: int, shown: str, flash: int = NORMAL, delay_ms: int = 0) -> JunctionObserved:
    return replace(SEEN_JUNCTION, at_ms=START_MS + at_ms, flash_status=flash, delay_ms=delay_ms, **masks(shown))


def trips(*samples: Any) -> list[Trip]:
    """Everything the observer says about a story of (ms, aspects[, flash[, delay]])."""
    memory, said = JunctionMemory(), []
    for each in samples:
        memory, new = watch(memory, sample(*each), JUNCTION)
        said += new
    return said


def rules(*samples: Any) -> list[str]:
    return [trip.rule for trip in trips(*samples)]


def trip(rule: str, reason: str, *groups: int, response: Response = Response.RELEASE_AND_LATCH) -> Trip:
    return Trip(rule, J, reason, tuple(SignalGroupNumber(number) for number in groups), response)


# SR-02


def test_sr_02_two_conflicting_greens_release_and_latch() -> None:
    assert trips((0, "GGRR")) == [trip("SR-02", "conflicting groups at once: 1 green, 2 green", 1, 2)]


def test_sr_02_green_against_yellow_is_a_conflict_too() -> None:
    assert trips((0, "GYRR")) == [trip("SR-02", "conflicting groups at once: 1 green, 2 yellow", 1, 2)]
    assert trips((0, "YRGR")) == [trip("SR-02", "conflicting groups at once: 1 yellow, 3 green", 1, 3)]


@pytest.mark.parametrize("shown", ["GRRG", "RGGR", "YYRR", "YRYR", "RRRR", "----", "YYYY", "GRRY", "YRRG", "RGYR"])
def test_sr_02_what_the_matrix_permits_is_no_conflict(shown: str) -> None:
    assert trips((0, shown)) == []


def test_sr_02_names_every_group_of_several_conflicts() -> None:
    assert trips((0, "GGGG")) == [
        trip("SR-02", "conflicting groups at once: 1 green, 2 green, 3 green, 4 green", 1, 2, 3, 4)
    ]


@pytest.mark.parametrize(("later_ms", "confirms"), [(1, True), (200, True), (201, False)])
def test_sr_02_a_second_sample_within_200_ms_confirms(later_ms: int, confirms: bool) -> None:
    first = trip("SR-02", "conflicting groups at once: 1 green, 2 green", 1, 2)
    again = f"conflicting groups at once: 1 green, 2 green; seen again after {later_ms} ms"
    confirmed = trip("SR-02", again, 1, 2, response=Response.FLASH)
    said = trips((0, "GGRR"), (later_ms, "GGRR"))
    assert said == ([first, confirmed] if confirms else [first])


def test_sr_02_a_lasting_conflict_is_told_once_however_slowly_it_is_sampled() -> None:
    slow = [(250 * n, "GGRR") for n in range(40)]
    assert [each.confirmed for each in trips(*slow)] == [False]
    assert [each.confirmed for each in trips(*slow, (9_950, "GGRR"))] == [False, True]


def test_sr_02_a_conflict_that_comes_back_is_told_again() -> None:
    said = trips((0, "GGRR"), (250, "GRRR"), (500, "GGRR"))
    assert [each.confirmed for each in said if each.rule == "SR-02"] == [False, False]


def test_sr_02_the_same_sample_taken_twice_confirms_nothing() -> None:
    assert [each.confirmed for each in trips((0, "GGRR"), (0, "GGRR"))] == [False]


def test_sr_02_one_torn_reply_never_asks_for_flash() -> None:
    said = trips((0, "GRRG"), (100, "GGRG"), (200, "GRRG"), (400, "GRRG"))
    assert not any(each.confirmed for each in said)


def test_sr_02_a_lasting_conflict_is_told_once_and_a_new_one_again() -> None:
    lasting = [(at_ms, "GGRR") for at_ms in range(0, 1001, 100)]
    clean = [(at_ms, "GRRG") for at_ms in range(1100, 1600, 100)]
    anew = [(at_ms, "GGRR") for at_ms in range(1600, 2001, 100)]
    said = [each for each in trips(*lasting, *clean, *anew) if each.rule == "SR-02"]
    assert [each.confirmed for each in said] == [False, True, False, True]


def test_sr_02_a_clean_sample_in_between_does_not_hide_a_conflict() -> None:
    said = [each for each in trips((0, "GGRR"), (100, "GRRR"), (200, "GGRR")) if each.rule == "SR-02"]
    assert [each.confirmed for each in said] == [False, True]


@pytest.mark.parametrize("flash", [AUTOMATIC, MMU, START_UP, OTHER, 0, 99])
def test_sr_02_in_flash_and_start_up_only_greens_conflict(flash: int) -> None:
    assert trips((0, "GYRR", flash)) == []
    assert rules((0, "GGRR", flash)) == ["SR-02"]


def test_sr_02_a_green_on_a_channel_nobody_commissioned_is_told_once() -> None:
    stray = replace(sample(0, "GRRR"), greens=0b1010_0001)
    memory, said = watch(JunctionMemory(), stray, JUNCTION)
    assert said == (trip("SR-02", "uncommissioned channel green: 6, 8", 6, 8),)
    memory, said = watch(memory, replace(stray, at_ms=START_MS + 100), JUNCTION)
    assert said == ()
    memory, said = watch(memory, replace(stray, at_ms=START_MS + 200, greens=0b1011_0001), JUNCTION)
    assert said == (trip("SR-02", "uncommissioned channel green: 5", 5),)


def test_sr_02_other_aspects_of_uncommissioned_channels_mean_nothing() -> None:
    assert watch(JunctionMemory(), replace(sample(0, "GRRR"), yellows=0b1_0000, reds=0b10_0000), JUNCTION)[1] == ()


# SR-05: group 1 needs 6 s of green


@pytest.mark.parametrize(("last_ms", "short"), [(5_999, True), (6_000, False), (6_001, False)])
def test_sr_05_a_green_that_cannot_have_lasted_its_minimum(last_ms: int, short: bool) -> None:
    said = trips((0, "RRRR"), (100, "GRRR"), (2_000, "GRRR"), (4_000, "GRRR"), (last_ms, "YRRR"))
    expected = [trip("SR-05", f"group 1 was green for {last_ms} ms at most, least 6000 ms", 1)]
    assert said == (expected if short else [])


def test_sr_05_a_slow_reply_is_given_the_benefit_of_the_doubt() -> None:
    story = [(100, "GRRR"), (2_000, "GRRR"), (4_000, "GRRR"), (5_900, "YRRR")]
    assert rules((0, "RRRR", NORMAL, 99), *story) == ["SR-05"]
    assert rules((0, "RRRR", NORMAL, 100), *story) == []


def test_sr_05_a_green_of_unknown_beginning_is_not_judged() -> None:
    assert rules((0, "GRRR"), (100, "YRRR")) == []


def test_sr_05_a_green_cut_by_flash_is_not_judged() -> None:
    assert rules((0, "RRRR"), (100, "GRRR"), (200, "----", MMU)) == []
    assert rules((0, "RRRR", MMU), (100, "GRRR", MMU), (200, "RRRR", MMU)) == []


def test_sr_05_a_green_out_of_flash_has_no_known_beginning() -> None:
    assert rules((0, "----", START_UP), (100, "GRRR"), (200, "YRRR")) == []


# SR-04: groups 1 and 2 need 3 s of yellow, 3 none, 4 five


def after_green(*story: Any) -> list[Trip]:
    return trips((0, "GRRR"), *story)


@pytest.mark.parametrize(("last_ms", "short"), [(2_999, True), (3_000, False)])
def test_sr_04_a_yellow_that_cannot_have_lasted_its_floor(last_ms: int, short: bool) -> None:
    said = after_green((100, "YRRR"), (1_500, "YRRR"), (last_ms, "RRRR"))
    expected = [trip("SR-04", f"group 1 was yellow for {last_ms} ms at most, least 3000 ms", 1)]
    assert said == (expected if short else [])


def test_sr_04_a_yellow_left_out_is_told() -> None:
    assert after_green((100, "RRRR")) == [trip("SR-04", "group 1 was yellow for 100 ms at most, least 3000 ms", 1)]
    assert trips((0, "RRGR"), (100, "RRRR")) == []


def test_sr_04_a_yellow_that_turns_green_again_is_measured_too() -> None:
    assert [each.rule for each in after_green((100, "YRRR"), (200, "GRRR"))] == ["SR-04"]


def test_sr_04_a_slow_reply_is_given_the_benefit_of_the_doubt() -> None:
    assert rules((0, "GRRR", NORMAL, 99), (100, "YRRR"), (2_000, "YRRR"), (2_900, "RRRR")) == ["SR-04"]
    assert rules((0, "GRRR", NORMAL, 100), (100, "YRRR"), (2_000, "YRRR"), (2_900, "RRRR")) == []


def test_sr_04_yellow_flashing_is_no_yellow() -> None:
    flashing = [(at_ms, "YYRY" if at_ms % 1000 else "----", AUTOMATIC) for at_ms in range(0, 6_000, 500)]
    assert rules(*flashing, (6_000, "YYRY"), (8_000, "YYRY"), (9_000, "RRRR")) == []


def test_sr_04_a_yellow_out_of_flash_or_cut_by_it_is_not_judged() -> None:
    assert rules((0, "----", MMU), (100, "YRRR"), (200, "RRRR")) == []
    assert rules((0, "GRRR"), (100, "YRRR"), (200, "----", MMU)) == []
    assert rules((0, "GRRR"), (100, "----", MMU)) == []


def test_sr_04_a_yellow_seen_before_the_green_ended_is_not_called_left_out() -> None:
    both = replace(sample(100, "GRRR"), yellows=0b0001)
    memory, said = JunctionMemory(), []
    for each in (sample(0, "YRRR"), both, sample(200, "RRRR")):
        memory, new = watch(memory, each, JUNCTION)
        said += [trip.rule for trip in new]
    assert said == ["SR-05"]


# SR-06: from the end of 1 to the start of 2 at least 5 s, the other way 6 s


@pytest.mark.parametrize(("last_ms", "early"), [(4_999, True), (5_000, False)])
def test_sr_06_a_green_that_cannot_have_kept_the_intergreen(last_ms: int, early: bool) -> None:
    said = trips((0, "GRRR"), (100, "YRRR"), (1_600, "YRRR"), (3_100, "RRRR"), (last_ms, "RGRR"))
    expected = [trip("SR-06", f"group 2 green {last_ms} ms at most after group 1, least 5000 ms", 1, 2)]
    assert said == (expected if early else [])


@pytest.mark.parametrize(("last_ms", "early"), [(5_999, True), (6_000, False)])
def test_sr_06_each_direction_has_its_own_intergreen(last_ms: int, early: bool) -> None:
    said = rules((0, "RGRR"), (100, "RYRR"), (1_600, "RYRR"), (3_100, "RRRR"), (5_000, "RRRR"), (last_ms, "GRRR"))
    assert said == (["SR-06"] if early else [])


def test_sr_06_a_change_between_two_samples_is_early_too() -> None:
    assert rules((0, "RRGR"), (100, "GRRR")) == ["SR-06"]
    assert rules((0, "GRRR"), (100, "RGRR")) == ["SR-04", "SR-06"]


def test_sr_06_both_still_green_is_a_conflict_not_an_intergreen() -> None:
    assert rules((0, "GRRR"), (100, "GGRR")) == ["SR-02"]


def test_sr_06_permitted_groups_may_follow_each_other_at_once() -> None:
    assert rules((0, "RRGR"), (100, "RGRR")) == []


def test_sr_06_every_early_pair_is_told() -> None:
    said = trips((0, "GRRG"), (100, "YRRY"), (1_600, "YRRY"), (3_100, "YRRY"), (4_000, "RRRY"), (4_500, "RGRY"))
    assert [(each.rule, each.groups) for each in said] == [("SR-02", (2, 4)), ("SR-06", (1, 2)), ("SR-06", (4, 2))]


def test_sr_06_holds_across_a_flash() -> None:
    story = [(0, "GRRR"), (100, "----", MMU), (500, "RRRR", START_UP), (2_500, "RRRR"), (3_200, "RGRR")]
    assert rules(*story) == ["SR-06"]


def test_sr_06_a_green_reported_while_flashing_was_on_no_lamp() -> None:
    story = [(0, "RRRR"), (100, "GRRR", MMU), (200, "RRRR", START_UP), (2_000, "RRRR"), (4_000, "RGRR")]
    assert rules(*story) == []


# SR-12


@pytest.mark.parametrize(("last_ms", "early"), [(2_999, True), (3_000, False)])
@pytest.mark.parametrize("flash", [3, 4, 5, 6, 8])
def test_sr_12_a_green_too_soon_after_flash(flash: int, last_ms: int, early: bool) -> None:
    said = trips((0, "----", flash), (100, "YYRY"), (1_500, "YYRY"), (last_ms, "GRRG"))
    expected = [trip("SR-12", f"group 1, 4 green {last_ms} ms at most after flash, least 3000 ms", 1, 4)]
    assert said == (expected if early else [])


def test_sr_12_a_slow_reply_is_given_the_benefit_of_the_doubt() -> None:
    story = [(100, "YYRY"), (2_000, "YYRY"), (2_900, "GRRG")]
    assert rules((0, "----", MMU, 99), *story) == ["SR-12"]
    assert rules((0, "----", MMU, 100), *story) == []


def test_sr_12_straight_from_flash_to_green_is_told() -> None:
    assert rules((0, "----", MMU), (100, "GRRR")) == ["SR-12"]
    assert rules((0, "G---", MMU), (100, "GRRR")) == ["SR-12"]


def test_sr_12_start_up_itself_is_no_flash() -> None:
    assert rules((0, "YYRY", START_UP), (100, "GRRR")) == []
    assert rules((0, "----", OTHER), (100, "GRRR")) == []


def test_sr_12_is_silent_once_the_start_up_is_over() -> None:
    assert rules((0, "----", MMU), (1_500, "YYRY"), (3_000, "RRRR"), (3_100, "GRRR"), (5_000, "GRRG")) == []


# Gaps


@pytest.mark.parametrize(("gap_ms", "rule"), [(2_500, ["SR-04"]), (2_501, [])])
def test_after_a_gap_nothing_from_before_counts(gap_ms: int, rule: list[str]) -> None:
    assert rules((0, "GRRR"), (gap_ms, "RRRR")) == rule


def test_time_that_runs_backwards_forgets_everything() -> None:
    assert rules((1_000, "GRRR"), (999, "RRRR")) == []
    assert rules((1_000, "GRRR"), (1_000, "RRRR")) == ["SR-04"]


def test_a_gap_forgets_flash_and_begun_aspects() -> None:
    assert rules((0, "----", MMU), (2_501, "GRRR")) == []
    assert rules((0, "RRRR"), (100, "GRRR"), (2_601, "GRRR"), (2_700, "YRRR")) == []


def test_a_newly_loaded_junction_starts_a_new_memory() -> None:
    memory, _ = watch(JunctionMemory(), sample(0, "GRRR"), JUNCTION)
    memory, said = watch(memory, sample(100, "RRRR"), replace(JUNCTION))
    assert said == ()


# Bollards


def bollard(**seen: Any) -> tuple[Trip, ...]:
    return watch_bollard(
        BollardMemory(), replace(SEEN_BOLLARD, **{"red_on": True, "heartbeat_at_ms": None} | seen), BOLLARD
    )[1]


@pytest.mark.parametrize(
    ("seen", "where"),
    [
        ({"at_bottom": False}, "not at the lower limit"),
        ({"at_bottom": False, "at_top": True}, "at the upper limit"),
        ({"moving_up": True}, "moving up"),
        ({"at_bottom": False, "moving_down": True}, "not at the lower limit"),
    ],
    ids=str,
)
def test_sr_24_green_shows_only_when_fully_down(seen: dict[str, Any], where: str) -> None:
    (said,) = bollard(**seen)
    assert (said.rule, said.equipment) == ("SR-24", BOLLARD.id)
    assert said.reason == f"the green lamp is on and the bollard is {where}"
    assert said.response is Response.RELEASE_AND_LATCH
    assert bollard(**seen, green_on=False, red_on=True) == ()


def test_sr_24_a_bollard_that_has_just_arrived_may_be_green() -> None:
    assert bollard() == ()
    assert bollard(moving_down=True) == ()
    assert bollard(state=4) == ()


def test_sr_19_both_limits_at_once_are_an_alarm() -> None:
    (said,) = bollard(at_top=True, green_on=False)
    assert (said.rule, said.reason) == ("SR-19", "position unknown: both limit switches are on")
    assert said.response is Response.ALARM
