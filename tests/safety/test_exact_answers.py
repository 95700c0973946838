"""Answers that a small fault in the kernel would change, each with what it must be."""

from dataclasses import replace

import pytest

from agent.model.command import CommandClass
from agent.model.observation import Presence
from agent.safety.bollard import green_is_wrong
from agent.safety.case import Case
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import Lease, granted
from agent.safety.matrix import Matrix
from agent.safety.observer import JunctionMemory, watch
from agent.safety.standing import Spending, Standing
from agent.safety.verdict import _SEAL, Approved, Refused
from tests.safety.facts import (
    AUTONOMOUS,
    BOLLARD,
    FLASH,
    JUNCTION,
    LATCHED,
    LEVEL,
    NOW_MS,
    ON_SITE,
    PLAN,
    RELEASE,
    SEEN_BOLLARD,
    SEEN_JUNCTION,
    SEEN_SEGMENT,
    SEGMENT,
    SITE,
    TAGGED_OUT,
    J,
    S,
    pairs,
)


def held(command: object) -> Lease:
    approved = judge(command, SITE, SEEN_JUNCTION, Standing(), NOW_MS)  # type: ignore[type-var]
    assert isinstance(approved, Approved)
    return granted(approved)


def test_nobody_is_on_site_without_a_presence_read_now() -> None:
    absent = Case(RELEASE, JUNCTION, Standing(), NOW_MS)
    assert absent.is_on_site is False
    assert replace(absent, standing=ON_SITE).is_on_site is True
    for presence in (Presence(NOW_MS + 1, True, True), Presence(NOW_MS - 3_001, True, True)):
        assert replace(absent, standing=Standing(presence=presence)).is_on_site is False


def test_sr_24_green_with_both_limits_on_is_wrong() -> None:
    assert green_is_wrong(SEEN_BOLLARD) is False
    assert green_is_wrong(replace(SEEN_BOLLARD, at_top=True)) is True
    assert green_is_wrong(replace(SEEN_BOLLARD, moving_up=True)) is True
    assert green_is_wrong(replace(SEEN_BOLLARD, at_bottom=False)) is True
    assert green_is_wrong(replace(SEEN_BOLLARD, at_bottom=False, green_on=False)) is False


def test_sr_28_a_reading_of_another_kind_is_no_reading_even_under_the_same_name() -> None:
    foreign = replace(SEEN_BOLLARD, equipment=J)
    assert judge(PLAN, SITE, foreign, Standing(), NOW_MS) == Refused("SR-28", "what was read is not a reading of darcy")


@pytest.mark.parametrize(
    ("ago_ms", "words"),
    [
        (599_999, "flash was requested 599 s ago; once in 600 s is allowed"),
        (999, "flash was requested 0 s ago; once in 600 s is allowed"),
    ],
)
def test_sr_14_a_refusal_says_when_in_whole_seconds(ago_ms: int, words: str) -> None:
    standing = Standing(flash_requested_at_ms=NOW_MS - ago_ms)
    assert judge(FLASH, SITE, SEEN_JUNCTION, standing, NOW_MS) == Refused("SR-14", words)


def test_a_matrix_without_a_contradiction_has_no_words_for_one() -> None:
    assert Matrix.of(JUNCTION).contradiction(SEEN_JUNCTION) == ""


@pytest.mark.parametrize("command", [PLAN, FLASH])
def test_sr_29_nothing_is_refreshed_under_somebodys_hands(command: object) -> None:
    assert may_refresh(held(command), SITE, SEEN_JUNCTION, Standing(), NOW_MS) is None
    refused = may_refresh(held(command), SITE, SEEN_JUNCTION, TAGGED_OUT, NOW_MS)
    assert refused == Refused("SR-29", "somebody works there: tagged out; cleared by the tag's owner")


@pytest.mark.parametrize("command", [PLAN, FLASH])
def test_sr_13_nothing_is_refreshed_under_a_latch(command: object) -> None:
    refused = may_refresh(held(command), SITE, SEEN_JUNCTION, LATCHED, NOW_MS)
    assert refused is not None
    assert refused.rule == "SR-13"


def test_sr_01_nothing_is_refreshed_where_the_equipment_is_gone_or_another() -> None:
    gone = replace(SITE, equipment={})
    another = replace(SITE, equipment={J: replace(BOLLARD, id=J)})
    for site in (gone, another):
        assert may_refresh(held(PLAN), site, SEEN_JUNCTION, Standing(), NOW_MS) == Refused(
            "SR-01", "nothing is held at darcy"
        )


def test_sr_02_the_first_sample_already_accuses_a_green_nobody_commissioned_on_channel_1() -> None:
    junction = replace(
        JUNCTION,
        groups=tuple(each for each in JUNCTION.groups if each.number != 1),
        conflicts=pairs((2, 4), (3, 4)),
        intergreen_ms={pair: ms for pair, ms in JUNCTION.intergreen_ms.items() if 1 not in pair},
    )
    _, trips = watch(JunctionMemory(), replace(SEEN_JUNCTION, greens=0b0001), junction)
    assert [(trip.rule, trip.groups, trip.reason) for trip in trips] == [
        ("SR-02", (1,), "uncommissioned channel green: 1")
    ]


def test_sr_06_a_green_beside_its_conflict_is_told_as_a_conflict_only() -> None:
    """Group 1 ends and is there again beside group 2: that both are green is said once, not as a short intergreen too."""
    green = [(NOW_MS + at_ms, 0b0001, 0) for at_ms in range(0, 10_000, 1_000)]
    memory, trips = JunctionMemory(), ()
    for at_ms, greens, yellows in (*green, (NOW_MS + 10_000, 0, 0b0001), (NOW_MS + 10_100, 0b0011, 0)):
        seen = replace(SEEN_JUNCTION, at_ms=at_ms, greens=greens, yellows=yellows)
        memory, trips = watch(memory, seen, JUNCTION)
    assert "SR-02" in {trip.rule for trip in trips}
    assert (1, 2) not in {trip.groups for trip in trips if trip.rule == "SR-06"}


def test_sr_25_a_hold_in_force_costs_nothing_of_the_budget() -> None:
    spent = (Spending(CommandClass.R1_BOUNDED, J, NOW_MS),) * 60 + (Spending(CommandClass.R3_DEGRADING, J, NOW_MS),) * 3
    for command in (PLAN, FLASH):
        assert isinstance(judge(command, SITE, SEEN_JUNCTION, Standing(spent=spent), NOW_MS), Refused)
        assert may_refresh(held(command), SITE, SEEN_JUNCTION, Standing(spent=spent), NOW_MS) is None


def test_sr_10_lr_02_how_long_a_hold_may_last_is_asked_when_it_begins_and_due_ends_it() -> None:
    long = Approved(replace(PLAN, lease_ms=3_600_001), NOW_MS, _SEAL)
    assert may_refresh(granted(long), SITE, SEEN_JUNCTION, Standing(), NOW_MS) is None
    level = judge(LEVEL, SITE, SEEN_SEGMENT, Standing(), NOW_MS)
    assert isinstance(level, Approved)
    shorter = replace(SITE, equipment={**SITE.equipment, S: replace(SEGMENT, lease_ms_max=1)})
    assert may_refresh(granted(level), shorter, SEEN_SEGMENT, Standing(), NOW_MS) is None


def test_sr_11_a_hold_in_force_is_ended_by_due_and_not_by_the_mode() -> None:
    for command in (PLAN, FLASH):
        assert may_refresh(held(command), SITE, SEEN_JUNCTION, AUTONOMOUS, NOW_MS) is None


def test_sr_12_sr_14_a_flash_in_force_is_refreshed_while_it_flashes() -> None:
    flashing = replace(SEEN_JUNCTION, flash_status=3, pattern=255)
    just_asked = Standing(flash_requested_at_ms=NOW_MS)
    assert may_refresh(held(FLASH), SITE, flashing, just_asked, NOW_MS) is None
    refused = may_refresh(held(PLAN), SITE, flashing, just_asked, NOW_MS)
    assert refused is not None
    assert refused.rule == "SR-12"
