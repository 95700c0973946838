"""What time it is, and how far to believe it. Pure: monotonic time, the host's clock and signed times in, a reading out.

Nothing that holds or releases equipment asks for it: leases, nonces and the guard count monotonic time. It stamps
records, and ends the validity of keys and commands.

    the host's clock                                                  unix_ms                   quality
    ----------------------------------------------------------------  ------------------------  ---------------------
    believable, and the host keeps time by the network                the host's                NETWORK
    the same, and a signed time just heard agrees                     the host's                ATTESTED
    believable, never kept by the network since we started            the host's                RTC_ONLY
    believable, kept by the network until lately, and did not jump    the host's                RTC_ONLY (holdover)
    it jumped, or cannot be right, and it was kept by the network     counted on since then     RTC_ONLY (holdover)
    it cannot be right and never was                                  monotonic, as if in 1970  UNKNOWN

It cannot be right below the floor (the build's date, or the newest signed time heard, and it was that already then),
nor far above a signed time that was just heard. A time that is not known never looks like one: it lies in 1970.

Source: sync.md 3.7. The floor is raised by signed times only: what the network alone has said could set it years ahead,
and the true time would never be believed again.
"""

from dataclasses import dataclass, replace

from agent.model.observation import FIRST_DATE_MS, ClockQuality

BUILD_FLOOR_MS = FIRST_DATE_MS
"""A clock before this has lost its battery."""
JUMP_MS = 2_000
"""A leap second, or a slewing host's correction between two looks, is less; a clock that was set is more."""
FLOOR_SLACK_MS = 60_000
"""The fleet manager's own clock may be ahead of ours by so much."""
AHEAD_MS_MAX = 600_000
"""Further above a signed time just heard our clock is wrong, or the message was held back: no reason to believe either."""
HEARD_MS = 90_000
"""As long as a state counts as a sign of life (docs/wire.md 6)."""
ATTESTED_MS = 5_000
"""A message takes less, and two clocks kept by the network are closer."""
DRIFT_PPM = 100
"""A cabinet's quartz between -40 and +85 °C."""
ERROR_UNKNOWN_MS = -1
DECISIVE_ERROR_MS_MAX = 10_000
"""Half a command's life, and about a day without the network: beyond it nothing is refused for being late."""
NO_TIME_MS_MAX = BUILD_FLOOR_MS - 1


@dataclass(frozen=True, slots=True)
class HostClock:
    """What the host says of its clock.

    Args:
        wall_ms: Unix time. error_ms: at most so far off, if the network keeps it.
    """

    wall_ms: int
    is_synchronised: bool
    error_ms: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """A signed time: it was ``time_ms`` at ``at_ms`` (monotonic) or earlier.

    Args:
        is_live: just sent, as far as a receiver can tell; False for what was kept or retained.
    """

    time_ms: int
    at_ms: int
    is_live: bool = False

    def counted_ms(self, now_ms: int) -> int:
        """The same time, counted on; never faster than the true one."""
        elapsed_ms = max(0, now_ms - self.at_ms)
        return self.time_ms + elapsed_ms - elapsed_ms * DRIFT_PPM // 1_000_000


BUILD = Heard(BUILD_FLOOR_MS, 0)


@dataclass(frozen=True, slots=True)
class Timescale:
    """What was believed up to now. Start with ``Timescale()``.

    Args:
        floor: the newest signed time, or the build's.
        offset_ms: Unix minus monotonic time; counts once the network has kept the host's clock.
        synchronised_at_ms: when it last did, monotonic; None if it never did. error_ms: how far off it was then at most.
        told_ms: the newest Unix time told.
    """

    floor: Heard = BUILD
    offset_ms: int = 0
    synchronised_at_ms: int | None = None
    error_ms: int = 0
    told_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The time at one moment.

    Args:
        now_ms: monotonic. error_ms: ``unix_ms`` is at most so far off; ERROR_UNKNOWN_MS if nobody can say.
        earliest_ms: it is not before this, however wrong the clock is.
    """

    now_ms: int
    unix_ms: int
    quality: ClockQuality
    error_ms: int
    earliest_ms: int

    @property
    def known_ms(self) -> int | None:
        """The time for whoever decides by it; None if it may be too far off."""
        return self.unix_ms if 0 <= self.error_ms <= DECISIVE_ERROR_MS_MAX else None


def read(scale: Timescale, now_ms: int, host: HostClock) -> tuple[Reading, Timescale]:
    """Look at the clock.

    Args:
        now_ms: monotonic, never less than at the last look.
    """
    offset_ms = host.wall_ms - now_ms
    is_counted = scale.synchronised_at_ms is not None
    if not _is_believable(scale.floor, now_ms, host.wall_ms):
        return _count_on(scale, now_ms)
    if host.is_synchronised:
        quality = ClockQuality.ATTESTED if _is_attested(scale.floor, now_ms, host.wall_ms) else ClockQuality.NETWORK
        kept = Timescale(scale.floor, offset_ms, now_ms, host.error_ms, _held(scale.told_ms, host.wall_ms))
        return _reading(kept, now_ms, quality, host.error_ms), kept
    if is_counted and abs(offset_ms - scale.offset_ms) > JUMP_MS:
        return _count_on(scale, now_ms)
    told_ms = _held(scale.told_ms, host.wall_ms)
    kept = Timescale(scale.floor, offset_ms, scale.synchronised_at_ms, scale.error_ms, told_ms)
    return _reading(kept, now_ms, ClockQuality.RTC_ONLY, holdover_error_ms(scale, now_ms)), kept


def hear(scale: Timescale, heard: Heard, reading: Reading) -> Timescale:
    """Take in a signed time; it raises the floor unless a clock that is known says that it lies ahead.

    Args:
        reading: the present one.
    """
    earliest_ms = scale.floor.counted_ms(heard.at_ms)
    is_ahead = reading.known_ms is not None and heard.time_ms > reading.known_ms + FLOOR_SLACK_MS
    is_played_again = heard.time_ms < earliest_ms - FLOOR_SLACK_MS
    if is_ahead or is_played_again or (heard.time_ms <= earliest_ms and not heard.is_live):
        return scale
    return replace(scale, floor=replace(heard, time_ms=max(heard.time_ms, earliest_ms)))


def holdover_error_ms(scale: Timescale, now_ms: int) -> int:
    """How far off a clock may be that the network does not keep any more, or never did."""
    if scale.synchronised_at_ms is None:
        return ERROR_UNKNOWN_MS
    return scale.error_ms - (scale.synchronised_at_ms - now_ms) * DRIFT_PPM // 1_000_000


def _count_on(scale: Timescale, now_ms: int) -> tuple[Reading, Timescale]:
    """The host's clock is not believed: count from when it was."""
    if scale.synchronised_at_ms is not None and _is_believable(scale.floor, now_ms, now_ms + scale.offset_ms):
        kept = replace(scale, told_ms=_held(scale.told_ms, now_ms + scale.offset_ms))
        return _reading(kept, now_ms, ClockQuality.RTC_ONLY, holdover_error_ms(scale, now_ms)), kept
    lost = replace(scale, offset_ms=0, synchronised_at_ms=None, told_ms=0)
    earliest_ms = scale.floor.counted_ms(now_ms)
    return Reading(now_ms, min(now_ms, NO_TIME_MS_MAX), ClockQuality.UNKNOWN, ERROR_UNKNOWN_MS, earliest_ms), lost


def _held(told_ms: int, unix_ms: int) -> int:
    """A leap second or a small correction never takes the time back; a clock that was set does."""
    return told_ms if unix_ms < told_ms <= unix_ms + JUMP_MS else unix_ms


def _reading(scale: Timescale, now_ms: int, quality: ClockQuality, error_ms: int) -> Reading:
    return Reading(now_ms, scale.told_ms, quality, error_ms, scale.floor.counted_ms(now_ms))


def _is_believable(floor: Heard, now_ms: int, unix_ms: int) -> bool:
    earliest_ms = max(BUILD_FLOOR_MS, floor.counted_ms(now_ms) - FLOOR_SLACK_MS)
    return unix_ms >= earliest_ms and not (
        _is_fresh(floor, now_ms) and unix_ms > floor.counted_ms(now_ms) + AHEAD_MS_MAX
    )


def _is_attested(floor: Heard, now_ms: int, wall_ms: int) -> bool:
    return _is_fresh(floor, now_ms) and abs(wall_ms - floor.counted_ms(now_ms)) <= ATTESTED_MS


def _is_fresh(floor: Heard, now_ms: int) -> bool:
    return floor.is_live and now_ms - floor.at_ms <= HEARD_MS
