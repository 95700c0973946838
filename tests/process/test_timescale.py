"""What time it is: no input makes it a lie, and each kind of trouble has its exact answer."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model.observation import ClockQuality
from agent.process.timescale import (
    BUILD_FLOOR_MS,
    ERROR_UNKNOWN_MS,
    FLOOR_SLACK_MS,
    HEARD_MS,
    JUMP_MS,
    Heard,
    HostClock,
    Reading,
    Timescale,
    hear,
    raised,
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

    def is_sure_of(self, time_ms: int) -> Reading:
        self.scale = raised(self.scale, Heard(time_ms, self.now_ms), self.look())
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


def test_a_sure_time_raises_the_floor_without_a_clock_and_an_old_one_does_not() -> None:
    cabinet = Cabinet(0, kept=False)
    cabinet.is_sure_of(NOW)
    assert cabinet.look().earliest_ms == NOW
    for old in (NOW - 2 * FLOOR_SLACK_MS, BUILD_FLOOR_MS, 0):
        cabinet.is_sure_of(old)
        assert cabinet.look().earliest_ms == NOW
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


def test_a_state_ten_years_ahead_heard_before_the_time_is_known_ends_with_the_network_s_time() -> None:
    cabinet = Cabinet(0, kept=False)
    earliest_ms = cabinet.look().earliest_ms
    for _ in range(3):
        assert cabinet.hears(NOW + 10 * YEAR).quality is UNKNOWN
    assert cabinet.look().earliest_ms == earliest_ms
    cabinet.wall_ms = NOW
    reading = cabinet.look(kept=True)
    assert (reading.quality, reading.known_ms, reading.earliest_ms) == (NETWORK, NOW, earliest_ms)
    assert cabinet.hears(NOW).quality is ATTESTED
    assert cabinet.look(S, kept=False).quality is RTC_ONLY, "nothing of it is left when the network goes"


def test_a_hint_speaks_against_a_clock_that_nobody_keeps_until_a_live_state_says_otherwise() -> None:
    cabinet = Cabinet(NOW, kept=False)
    assert cabinet.hears(NOW + H).quality is UNKNOWN
    assert cabinet.hears(NOW, is_live=False).quality is UNKNOWN, "kept back, perhaps"
    assert cabinet.hears(NOW).quality is RTC_ONLY


def test_a_state_heard_before_the_time_is_known_is_the_floor_once_the_network_confirms_it() -> None:
    for ahead_ms, is_confirmed in ((-H, True), (FLOOR_SLACK_MS, True), (FLOOR_SLACK_MS + 1, False)):
        cabinet = Cabinet(0, kept=False)
        cabinet.hears(NOW + ahead_ms)
        cabinet.wall_ms = NOW
        reading = cabinet.look(kept=True)
        assert reading.quality is NETWORK, "also where it was kept back for an hour"
        assert (reading.earliest_ms == NOW + ahead_ms) is is_confirmed


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
        st.sampled_from(["live", "retained", "sure"]),
    ),
    max_size=12,
)


@given(st.sampled_from([0, NOW, NOW + 10 * YEAR, NOW - 10 * YEAR]), st.booleans(), Steps)
def test_whatever_happens_no_time_below_the_floor_is_told_as_one(
    wall_ms: int, kept: bool, steps: list[tuple[int, int, bool, int | None, str]]
) -> None:
    cabinet, before = Cabinet(wall_ms, kept=kept), None
    for after_ms, step_ms, is_kept, signed_ms, how in steps:
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
            time_ms = max(0, NOW + signed_ms)
            before = cabinet.is_sure_of(time_ms) if how == "sure" else cabinet.hears(time_ms, is_live=how == "live")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2 * H),
            st.one_of(st.none(), st.just(0), st.integers(3 * H, 20 * YEAR), st.integers(-20 * YEAR, -3 * H)),
            st.one_of(st.integers(-20 * YEAR, 20 * YEAR), st.integers(-2 * FLOOR_SLACK_MS, 2 * FLOOR_SLACK_MS)),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_no_fleet_manager_s_time_keeps_out_the_network_s_or_raises_the_floor_above_it(
    steps: list[tuple[int, int | None, int, bool]],
) -> None:
    """The network tells the truth, or nothing: then the battery's clock is off by anything; so is every state."""
    cabinet, true_ms, limit_ms = Cabinet(0, kept=False), NOW, BUILD_FLOOR_MS + BOOTED
    for after_ms, off_ms, ahead_ms, is_live in steps:
        true_ms, limit_ms = true_ms + after_ms, limit_ms + after_ms
        cabinet.wall_ms = max(0, true_ms + (off_ms or 0)) - after_ms
        reading = cabinet.look(after_ms, kept=off_ms is None)
        if off_ms is None:
            assert (reading.quality >= NETWORK, reading.known_ms) == (True, true_ms)
        if reading.known_ms is not None:
            limit_ms = max(limit_ms, true_ms + FLOOR_SLACK_MS)
        # What `agent.wire.leadership` takes for a sign of life.
        is_recent = reading.known_ms is None or abs(ahead_ms) < HEARD_MS
        assert cabinet.hears(max(0, true_ms + ahead_ms), is_live=is_live and is_recent).earliest_ms <= limit_ms


@given(st.integers(0, 10**9), st.integers(-10 * YEAR, 10 * YEAR))
def test_looking_twice_at_one_moment_tells_the_same(now_ms: int, step_ms: int) -> None:
    host = HostClock(max(0, NOW + step_ms), is_synchronised=True)
    first, scale = read(Timescale(), now_ms, host)
    second, again = read(scale, now_ms, host)
    assert (first, scale) == (second, replace(again, told_ms=scale.told_ms))
