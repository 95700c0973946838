"""LR-06: is it night. The photocell and the astronomical clock, each checked by the other; in doubt the lamps burn."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.equipment import Photocell, Position
from agent.model.observation import ClockQuality
from agent.runtime.daylight import (
    ASTRONOMICAL,
    NOBODY,
    PHOTOCELL,
    Judged,
    PhotocellMemory,
    clock_is_sound,
    judge_daylight,
    read_photocell,
)
from agent.runtime.sun import Night, night_around
from tests.runtime.rig import SEGMENT, LampRig, lamp_rig

DIJON = Position(47.3220, 5.0415)
TROMSOE = Position(69.65, 18.96)
AUCKLAND = Position(-36.85, 174.76)
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
NIGHT = Night(sunset_ms=20 * HOUR_MS, sunrise_ms=30 * HOUR_MS)
CELL = Photocell(dark_below_lux=35, light_above_lux=70, dwell_ms=60_000)


def unix_ms(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


# Published times, from another implementation (astral 3), UTC.
@pytest.mark.parametrize(
    ("day", "sunset", "sunrise"),
    [
        ((2026, 6, 21, 12), (2026, 6, 21, 19, 39, 41), None),
        ((2026, 6, 21, 2), None, (2026, 6, 21, 3, 43, 36)),
        ((2026, 12, 21, 12), (2026, 12, 21, 15, 51, 31), None),
        ((2026, 12, 21, 2), None, (2026, 12, 21, 7, 24, 16)),
    ],
)
def test_lr_06_the_sun_of_dijon_to_the_minute(
    day: tuple[int, ...], sunset: tuple[int, ...] | None, sunrise: tuple[int, ...] | None
) -> None:
    night = night_around(unix_ms(*day), DIJON)
    assert night is not None
    assert sunset is None or abs(night.sunset_ms - unix_ms(*sunset)) <= MINUTE_MS
    assert sunrise is None or abs(night.sunrise_ms - unix_ms(*sunrise)) <= MINUTE_MS


def test_lr_06_where_the_sun_does_not_set_there_is_no_night_and_no_crash() -> None:
    assert night_around(unix_ms(2026, 6, 21), TROMSOE) is None
    assert night_around(unix_ms(2026, 12, 21), TROMSOE) is None
    assert night_around(unix_ms(2026, 3, 21), TROMSOE) is not None


@given(
    at_ms=st.integers(unix_ms(2026, 1, 1), unix_ms(2036, 1, 1)),
    latitude=st.floats(-60, 60),
    longitude=st.floats(-180, 180),
)
def test_lr_06_every_moment_lies_within_half_a_day_of_its_night(at_ms: int, latitude: float, longitude: float) -> None:
    night = night_around(at_ms, Position(latitude, longitude))
    assert night is not None
    assert 4 * HOUR_MS < night.sunrise_ms - night.sunset_ms < 20 * HOUR_MS
    assert night.sunset_ms - 11 * HOUR_MS < at_ms < night.sunrise_ms + 11 * HOUR_MS


def test_lr_06_auckland_sets_before_it_rises() -> None:
    night = night_around(unix_ms(2026, 6, 21, 9), AUCKLAND)
    assert night is not None
    assert night.sunset_ms < unix_ms(2026, 6, 21, 9) < night.sunrise_ms


HOUR = HOUR_MS
EXACT = [
    # photocell, hour, judged
    (True, 19 * HOUR, Judged(True, PHOTOCELL)),
    (True, 19 * HOUR - 1, Judged(False, ASTRONOMICAL, "the photocell says dark 60 min before sunset")),
    (True, 31 * HOUR, Judged(True, PHOTOCELL)),
    (True, 31 * HOUR + 1, Judged(False, ASTRONOMICAL, "the photocell says dark 60 min after sunrise")),
    (False, 20 * HOUR + 30 * MINUTE_MS, Judged(False, PHOTOCELL)),
    (False, 20 * HOUR + 30 * MINUTE_MS + 1, Judged(True, ASTRONOMICAL, "the photocell says light 30 min after sunset")),
    (False, 30 * HOUR - 30 * MINUTE_MS, Judged(False, PHOTOCELL)),
    (False, 30 * HOUR - 31 * MINUTE_MS, Judged(True, ASTRONOMICAL, "the photocell says light 31 min before sunrise")),
    (None, 12 * HOUR, Judged(None, NOBODY, "the photocell is silent")),
    (None, 25 * HOUR, Judged(None, NOBODY, "the photocell is silent")),
]


@pytest.mark.parametrize(("dark", "at_ms", "judged"), EXACT)
def test_lr_06_an_implausible_photocell_gives_way_to_the_clock(dark: bool | None, at_ms: int, judged: Judged) -> None:
    assert judge_daylight(dark, NIGHT, at_ms) == judged


@given(dark=st.sampled_from((True, False, None)), at_ms=st.integers(8 * HOUR, 42 * HOUR), has_clock=st.booleans())
def test_lr_06_deep_in_the_night_and_in_doubt_it_is_never_day(dark: bool | None, at_ms: int, has_clock: bool) -> None:
    judged = judge_daylight(dark, NIGHT if has_clock else None, at_ms)
    if dark is None:
        assert judged.dark is None
    elif not has_clock:
        assert judged == Judged(dark, PHOTOCELL)
    elif NIGHT.sunset_ms + 30 * MINUTE_MS < at_ms < NIGHT.sunrise_ms - 30 * MINUTE_MS:
        assert judged.dark is True
    elif NIGHT.sunset_ms - HOUR <= at_ms <= NIGHT.sunrise_ms + HOUR:
        assert judged.dark is dark
    else:
        assert judged.dark is False


@pytest.mark.parametrize(
    ("quality", "offset_ms", "sound"),
    [
        (ClockQuality.NETWORK, 1_000, True),
        (ClockQuality.RTC_ONLY, 301_000, True),
        (ClockQuality.NETWORK, 301_001, False),
        (ClockQuality.NETWORK, -299_001, False),
        (ClockQuality.ATTESTED, -299_000, True),
        (ClockQuality.UNKNOWN, 1_000, False),
    ],
)
def test_lr_06_a_clock_without_its_time_or_that_jumped_overrules_nothing(
    quality: ClockQuality, offset_ms: int, sound: bool
) -> None:
    assert clock_is_sound(quality, offset_ms, 1_000) is sound


def said(*readings: tuple[int, bool | None, int | None]) -> list[bool | None]:
    """What counts after each ``(at_s, dark, lux)``."""
    memory, words = PhotocellMemory(), []
    for at_s, dark, lux in readings:
        memory = read_photocell(memory, dark, lux, CELL, at_s * 1000)
        words.append(memory.dark)
    return words


def test_lr_06_another_word_must_last_for_the_dwell() -> None:
    assert said((0, False, None), (10, True, None), (69, True, None), (70, True, None)) == [False, False, False, True]
    assert (
        said((0, True, None), (10, False, None), (40, True, None), (75, False, None), (134, False, None)) == [True] * 5
    )
    assert said((0, True, None), (10, None, None), (11, False, None)) == [True, None, False]


def test_lr_06_between_the_thresholds_nothing_changes() -> None:
    assert said((0, True, 34), (10, False, 70), (100, False, 70)) == [True, True, True]
    assert said((0, True, 34), (10, False, 71), (70, False, 71)) == [True, True, False]
    assert said((0, False, 71), (10, True, 35), (100, True, 35)) == [False, False, False]
    assert said((0, False, 71), (10, True, 34), (70, True, 34)) == [False, False, True]
    assert said((0, True, 50), (1, False, 50)) == [True, True]  # The first word between them is the module's own.
    assert said((0, None, 10_000)) == [None]  # What cannot say whether it is dark cannot measure either.


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.none() | st.integers(0, 200)), min_size=2))
def test_lr_06_a_photocell_changes_its_mind_once_in_a_dwell_at_most(
    steps: list[tuple[int, bool, int | None]],
) -> None:
    at_s, memory, changes = 0, PhotocellMemory(), []
    for step_s, dark, lux in steps:
        at_s += step_s
        before, memory = memory.dark, read_photocell(memory, dark, lux, CELL, at_s * 1000)
        if before is not None and memory.dark is not before:
            changes.append(at_s)
    assert all(later - sooner >= CELL.dwell_ms / 1000 for sooner, later in pairwise(changes))


async def polled(rig: LampRig, seconds: int) -> None:
    """Poll every twenty seconds, so that the cabinet's watchdog is fed."""
    await rig.poll(seconds // 20, step_s=20)


async def test_lr_06_a_cabinet_waits_for_its_photocell_and_overrules_it_by_its_clock() -> None:
    async with lamp_rig(night=False, photocell=True) as rig:  # 09:16 in Dijon on a January morning.
        await polled(rig, 80)
        assert not rig.coil()
        rig.nightfall()
        await polled(rig, 60)
        assert not rig.coil()
        await polled(rig, 20)
        assert rig.coil()  # 59 min after sunrise: a dark morning.
        await polled(rig, 20 * 60)
        assert not rig.coil()
        assert await rig.texts("daylight", equipment=SEGMENT) == [
            "the photocell says dark 60 min after sunrise; the astronomical clock counts"
        ]
        rig.wall_ms += 301_000
        await polled(rig, 20)
        assert rig.coil()  # Nobody knows what time it is: the photocell counts again.
        assert (await rig.texts("daylight", equipment=SEGMENT))[-1] == "the photocell is believed again"


async def test_lr_06_lamps_burn_by_night_although_the_photocell_says_day() -> None:
    async with lamp_rig(night=False, photocell=True) as rig:
        rig.wall_ms += 12 * HOUR_MS
        await polled(rig, 80)
        assert not rig.coil()  # The clock has jumped: the photocell counts.
    async with lamp_rig(night=False, photocell=True, wall_ms=12 * HOUR_MS) as rig:
        assert rig.coil()
        told = (await rig.texts("daylight", equipment=SEGMENT))[0]
        assert told.endswith("after sunset; the astronomical clock counts")
