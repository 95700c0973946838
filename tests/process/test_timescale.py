"""What time it is: no input makes it a lie, and each kind of trouble has its exact answer."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model.observation import ClockQuality
from agent.process.timescale import (
    BUILD_FLOOR_MS,
    ERROR_UNKNOWN_MS,
    FLOOR_SLACK_MS,
    JUMP_MS,
    Heard,
    HostClock,
    Reading,
    Timescale,
    hear,
    read,
)

UNKNOWN, RTC_ONLY, NETWORK, ATTESTED = ClockQuality
NOW = 1_800_000_000_000
S, H, DAY, YEAR = 1_000, 3_600_000, 86_400_000, 365 * 86_400_000
BOOTED = 50 * S


class Cabinet:
    """A host and its process, second by second."""

    def __init__(self, wall_ms: int, *, kept: bool, error_ms: int = 20) -> None:
        self.now_ms, self.wall_ms, self.kept, self.error_ms = BOOTED, wall_ms, kept, error_ms
        self.scale = Timescale()

    def look(self, after_ms: int = 0, *, step_ms: int = 0, kept: bool | None = None) -> Reading:
        self.now_ms += after_ms
        self.wall_ms += after_ms + step_ms
        self.kept = self.kept if kept is None else kept
        reading, self.scale = read(self.scale, self.now_ms, HostClock(self.wall_ms, self.kept, self.error_ms))
        return reading

    def hears(self, time_ms: int, *, is_live: bool = True) -> Reading:
        self.scale = hear(self.scale, Heard(time_ms, self.now_ms, is_live), self.look())
        return self.look()


def test_a_clock_kept_by_the_network_is_told_as_it_is() -> None:
    cabinet = Cabinet(NOW, kept=True)
    assert cabinet.look() == Reading(BOOTED, NOW, NETWORK, 20, BUILD_FLOOR_MS + BOOTED - BOOTED // 10_000)
    assert cabinet.look().known_ms == NOW


def test_a_boot_in_1970_is_no_time_and_looks_like_none() -> None:
    cabinet = Cabinet(0, kept=False)
    for after_ms in (0, 5 * S):
        reading = cabinet.look(after_ms)
        assert (reading.unix_ms, reading.quality, reading.known_ms) == (BOOTED + after_ms, UNKNOWN, None)
        assert reading.error_ms == ERROR_UNKNOWN_MS
    cabinet.wall_ms = NOW
    assert (cabinet.look(kept=True).unix_ms, cabinet.look().quality) == (NOW, NETWORK)


def test_a_clock_just_below_the_build_is_not_believed_and_one_at_it_is() -> None:
    assert Cabinet(BUILD_FLOOR_MS - 1, kept=True).look().quality is UNKNOWN
    assert Cabinet(BUILD_FLOOR_MS, kept=True).look().quality is NETWORK


def test_a_battery_s_clock_is_told_as_its_own_word_and_decides_nothing() -> None:
    reading = Cabinet(NOW, kept=False).look()
    assert (reading.unix_ms, reading.quality, reading.error_ms, reading.known_ms) == (NOW, RTC_ONLY, -1, None)


def test_without_the_network_the_clock_goes_on_and_says_how_far_off_it_may_be() -> None:
    cabinet = Cabinet(NOW, kept=True)
    cabinet.look()
    reading = cabinet.look(H, kept=False)
    assert (reading.unix_ms, reading.quality, reading.error_ms) == (NOW + H, RTC_ONLY, 20 + 360)
    assert reading.known_ms == NOW + H
    assert cabinet.look(DAY).known_ms == NOW + H + DAY
    assert cabinet.look(DAY).known_ms is None, "after two days it may be more than ten seconds off"


def test_a_jump_of_ten_years_without_the_network_is_not_followed() -> None:
    for years in (10, -10):
        cabinet = Cabinet(NOW, kept=True)
        cabinet.look()
        reading = cabinet.look(S, step_ms=years * YEAR, kept=False)
        assert (reading.unix_ms, reading.quality) == (NOW + S, RTC_ONLY)


def test_the_network_may_set_the_clock_but_not_below_the_floor_nor_away_from_a_signed_time() -> None:
    cabinet = Cabinet(NOW, kept=True)
    assert cabinet.look(S, step_ms=H).unix_ms == NOW + S + H
    assert cabinet.look(S, step_ms=-2 * H).unix_ms == NOW + 2 * S - H
    cabinet = Cabinet(NOW, kept=True)
    assert cabinet.hears(NOW).quality is ATTESTED
    for years in (10, -10):
        reading = cabinet.look(S, step_ms=years * YEAR)
        assert (reading.quality, abs(reading.unix_ms - cabinet.now_ms - NOW + BOOTED) <= 1) == (RTC_ONLY, True)
        cabinet.look(0, step_ms=-years * YEAR)
    assert cabinet.look(S).quality is ATTESTED


def test_a_battery_s_clock_ten_years_ahead_is_found_out_by_the_fleet_s_signed_time() -> None:
    cabinet = Cabinet(NOW + 10 * YEAR, kept=False)
    assert cabinet.look().quality is RTC_ONLY
    reading = cabinet.hears(NOW)
    assert (reading.quality, reading.unix_ms) == (UNKNOWN, BOOTED)
    cabinet.wall_ms = NOW
    assert cabinet.look(S, kept=True).unix_ms == NOW + S


def test_a_leap_second_holds_the_time_for_a_second_and_never_takes_it_back() -> None:
    cabinet = Cabinet(NOW, kept=True)
    told = [cabinet.look(250).unix_ms for _ in range(4)]
    told += [cabinet.look(250, step_ms=-1_000 if n == 0 else 0).unix_ms for n in range(8)]
    assert told == [*range(NOW + 250, NOW + 1_001, 250), *[NOW + 1_000] * 4, *range(NOW + 1_250, NOW + 2_001, 250)]


def test_a_signed_time_raises_the_floor_and_an_old_one_does_not() -> None:
    cabinet = Cabinet(0, kept=False)
    cabinet.hears(NOW)
    assert cabinet.look().earliest_ms == NOW
    for old in (NOW - 2 * FLOOR_SLACK_MS, BUILD_FLOOR_MS, 0):
        cabinet.hears(old)
        assert cabinet.look().earliest_ms == NOW
    assert cabinet.look(10 * S).earliest_ms == NOW + 10 * S - 1
    cabinet.wall_ms = NOW - FLOOR_SLACK_MS - S
    assert cabinet.look(kept=True).quality is UNKNOWN


def test_a_signed_time_far_ahead_of_a_network_kept_clock_sets_no_floor() -> None:
    """A manager whose clock is years ahead must not make every cabinet forget the time."""
    cabinet = Cabinet(NOW, kept=True)
    assert cabinet.hears(NOW + FLOOR_SLACK_MS + 1).earliest_ms < NOW
    assert cabinet.look(S).quality is NETWORK
    assert cabinet.hears(NOW + S + FLOOR_SLACK_MS).quality is NETWORK


def test_summer_time_changes_nothing_because_it_is_never_asked() -> None:
    """31 October 2027, 03:00 in Dijon: the hour repeats for people, not for Unix time."""
    before_ms = 1_824_944_400_000
    cabinet = Cabinet(before_ms - 2 * S, kept=True)
    assert [cabinet.look(S).unix_ms for _ in range(4)] == [before_ms + n * S for n in (-1, 0, 1, 2)]


Steps = st.lists(
    st.tuples(
        st.integers(0, 2 * H),
        st.sampled_from([0, 0, 0, 0, 1, -1, 500, -999, 1_000, -1_000, H, -H, 10 * YEAR, -10 * YEAR]),
        st.booleans(),
        st.one_of(st.none(), st.integers(-20 * YEAR, 20 * YEAR), st.just(0)),
        st.booleans(),
    ),
    max_size=12,
)


@given(st.sampled_from([0, NOW, NOW + 10 * YEAR, NOW - 10 * YEAR]), st.booleans(), Steps)
def test_whatever_happens_no_time_below_the_floor_is_told_as_one(
    wall_ms: int, kept: bool, steps: list[tuple[int, int, bool, int | None, bool]]
) -> None:
    cabinet, before = Cabinet(wall_ms, kept=kept), None
    for after_ms, step_ms, is_kept, signed_ms, is_live in steps:
        cabinet.wall_ms = max(0, cabinet.wall_ms)
        reading = cabinet.look(after_ms, step_ms=step_ms, kept=is_kept)
        if reading.quality is UNKNOWN:
            assert reading.unix_ms < BUILD_FLOOR_MS
            assert reading.known_ms is None
        else:
            assert reading.unix_ms >= max(BUILD_FLOOR_MS, reading.earliest_ms - FLOOR_SLACK_MS) - JUMP_MS
        if reading.quality >= NETWORK:
            assert is_kept
            assert abs(reading.unix_ms - cabinet.wall_ms) <= JUMP_MS
        if before is not None:
            assert reading.earliest_ms >= before.earliest_ms, "the floor never falls"
            is_back = reading.unix_ms < before.unix_ms and min(reading.quality, before.quality) is not UNKNOWN
            assert not is_back or before.unix_ms - reading.unix_ms > JUMP_MS, "never back by little"
        before = reading
        if signed_ms is not None:
            cabinet.scale = hear(cabinet.scale, Heard(max(0, NOW + signed_ms), cabinet.now_ms, is_live), reading)
            before = cabinet.look()


@given(st.integers(0, 10**9), st.integers(-10 * YEAR, 10 * YEAR))
def test_looking_twice_at_one_moment_tells_the_same(now_ms: int, step_ms: int) -> None:
    host = HostClock(max(0, NOW + step_ms), is_synchronised=True)
    first, scale = read(Timescale(), now_ms, host)
    second, again = read(scale, now_ms, host)
    assert (first, scale) == (second, replace(again, told_ms=scale.told_ms))
