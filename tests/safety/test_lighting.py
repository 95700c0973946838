"""LR-01 to LR-04 and the local plan: when in doubt it is night and the lamps are on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import LOCAL_PLAN, Origin
from agent.safety.kernel import judge
from agent.safety.lighting import night_or_doubt, plan_level
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import ALICE, LEVEL, NOW_MS, SEEN_SEGMENT, SEGMENT, SITE, TECHNICIAN

ANYBODY = st.sampled_from([ALICE, TECHNICIAN, LOCAL_PLAN])
HOURS_12_MS = 12 * 3_600_000


def verdict(
    level: int = 50,
    dark: bool | None = True,
    origin: Origin = ALICE,
    lease_ms: int = 60_000,
    override: bool = False,
    breaker: bool = False,
) -> Approved[object] | Refused:
    command = replace(LEVEL, level_percent=level, lease_ms=lease_ms, origin=origin)
    seen = replace(SEEN_SEGMENT, dark=dark, local_override=override, breaker_tripped=breaker)
    return judge(command, SITE, seen, Standing(), NOW_MS)  # type: ignore[return-value]


@given(level=st.integers(-10, 120), dark=st.sampled_from([True, False, None]), origin=ANYBODY)
def test_lr_01_no_lamp_falls_under_its_floor_unless_it_is_surely_day(
    level: int, dark: bool | None, origin: Origin
) -> None:
    result = verdict(level, dark, origin)
    floor = 0 if dark is False else 30
    assert isinstance(result, Approved) is (floor <= level <= 100)
    assert isinstance(result, Approved) or result.rule == "LR-01"


def test_lr_01_says_which_floor_and_why_it_holds() -> None:
    assert isinstance(verdict(30), Approved)
    assert verdict(29) == Refused("LR-01", "29 % is below the floor of 30 % for class M4, and it is night")
    assert verdict(0, None) == Refused(
        "LR-01",
        "0 % is below the floor of 30 % for class M4, and it may be night, the photocell cannot be believed",
    )
    assert verdict(101, dark=False) == Refused("LR-01", "a level is 0..100 %, asked: 101 %")
    assert verdict(-1, dark=False) == Refused("LR-01", "a level is 0..100 %, asked: -1 %")
    assert isinstance(verdict(0, dark=False), Approved)
    assert isinstance(verdict(100), Approved)


@pytest.mark.parametrize(
    ("lease_ms", "passes"), [(-1, False), (0, False), (1, True), (HOURS_12_MS, True), (HOURS_12_MS + 1, False)]
)
def test_lr_02_every_override_ends(lease_ms: int, passes: bool) -> None:
    for origin in (ALICE, TECHNICIAN):
        result = verdict(lease_ms=lease_ms, origin=origin)
        assert isinstance(result, Approved) is passes
        assert isinstance(result, Approved) or result.rule == "LR-02"
    assert isinstance(verdict(lease_ms=lease_ms, origin=LOCAL_PLAN), Approved)


def test_lr_02_says_how_long_an_override_may_last() -> None:
    assert verdict(lease_ms=50_000_000) == Refused("LR-02", "an override lasts up to 43200 s here, asked: 50000 s")


@given(level=st.integers(30, 100), dark=st.sampled_from([True, False, None]), origin=ANYBODY)
def test_lr_03_nothing_is_asked_of_a_contactor_somebody_holds(level: int, dark: bool | None, origin: Origin) -> None:
    assert verdict(level, dark, origin, override=True) == Refused(
        "LR-03", "the manual switch at the contactor is on (LOCAL)"
    )


def test_the_local_plan_is_off_by_day_and_lit_by_night_and_in_doubt() -> None:
    assert [plan_level(SEGMENT, replace(SEEN_SEGMENT, dark=dark)) for dark in (False, True, None)] == [0, 70, 70]


@given(floor=st.integers(0, 100), night=st.integers(0, 100), dark=st.sampled_from([True, False, None]))
def test_the_kernel_approves_whatever_the_local_plan_wants(floor: int, night: int, dark: bool | None) -> None:
    segment = replace(SEGMENT, level_floor_percent=floor, night_level_percent=night)
    site = replace(SITE, equipment={SEGMENT.id: segment})
    seen = replace(SEEN_SEGMENT, dark=dark)
    command = replace(LEVEL, level_percent=plan_level(segment, seen), origin=LOCAL_PLAN)
    assert isinstance(judge(command, site, seen, Standing(), NOW_MS), Approved)


def test_lr_04_whatever_is_in_doubt_the_lamps_are_told_to_burn() -> None:
    def plan(**seen: object) -> tuple[int, str]:
        reading = replace(SEEN_SEGMENT, **seen)  # type: ignore[arg-type]
        return plan_level(SEGMENT, reading), night_or_doubt(reading)

    tripped = "its breaker has tripped: the lamps must burn when somebody closes it"
    assert plan(dark=False) == (0, "")
    assert plan(dark=True) == (70, "it is night")
    assert plan(dark=None) == (70, "it may be night, the photocell cannot be believed")
    assert plan(dark=False, breaker_tripped=True) == (70, tripped)
    assert verdict(29, dark=False, breaker=True) == Refused(
        "LR-01", f"29 % is below the floor of 30 % for class M4, and {tripped}"
    )
    assert isinstance(verdict(30, dark=False, breaker=True), Approved)


@given(level=st.integers(0, 100), dark=st.sampled_from([True, False, None]), breaker=st.booleans(), origin=ANYBODY)
def test_lr_04_nothing_under_the_floor_passes_unless_it_is_surely_day_and_nothing_is_wrong(
    level: int, dark: bool | None, breaker: bool, origin: Origin
) -> None:
    is_day = dark is False and not breaker
    assert isinstance(verdict(level, dark, origin, breaker=breaker), Approved) is (is_day or level >= 30)
    assert is_day or plan_level(SEGMENT, replace(SEEN_SEGMENT, dark=dark, breaker_tripped=breaker)) >= 30
