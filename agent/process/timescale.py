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

It cannot be right below the floor (it was that already then), nor far above a signed time that was just heard. A time
that is not known never looks like one: it lies in 1970.

The floor is kept over restarts and expires keys, so neither the network nor the fleet manager sets it alone: either could
set it years ahead, and the true time would never be believed again. What raises it is the build's date, the date of a key
list (a threshold of officers signed it), and a fleet manager's signed time that a known clock does not contradict. One
heard while the clock is not known is a hint: it may speak against a clock that nobody keeps, and is gone with the first
look at one that the network keeps.

Source: sync.md 3.7; what each rule stops and leaves open: docs/reliability.md, "The clock".
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
        floor: it was that already then, for sure. hint: a fleet manager's time that no clock has confirmed; BUILD if none.
        offset_ms: Unix minus monotonic time; counts once the network has kept the host's clock.
        synchronised_at_ms: when it last did, monotonic; None if it never did. error_ms: how far off it was then at most.
        told_ms: the newest Unix time told.
    """

    floor: Heard = BUILD
    hint: Heard = BUILD
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
    scale = _judged(scale, now_ms, host)
    offset_ms = host.wall_ms - now_ms
    is_counted = scale.synchronised_at_ms is not None
    if not _is_believable(scale, now_ms, host.wall_ms):
        return _count_on(scale, now_ms)
    if host.is_synchronised:
        quality = ClockQuality.ATTESTED if _is_attested(scale.floor, now_ms, host.wall_ms) else ClockQuality.NETWORK
        kept = Timescale(scale.floor, BUILD, offset_ms, now_ms, host.error_ms, _held(scale.told_ms, host.wall_ms))
        return _reading(kept, now_ms, quality, host.error_ms), kept
    if is_counted and abs(offset_ms - scale.offset_ms) > JUMP_MS:
        return _count_on(scale, now_ms)
    kept = replace(scale, offset_ms=offset_ms, told_ms=_held(scale.told_ms, host.wall_ms))
    return _reading(kept, now_ms, ClockQuality.RTC_ONLY, holdover_error_ms(scale, now_ms)), kept


def hear(scale: Timescale, heard: Heard, reading: Reading) -> Timescale:
    """Take in a fleet manager's signed time: a known clock confirms it or drops it; without one it is a hint.

    Args:
        reading: the present one.
    """
    if reading.known_ms is not None:
        return raised(scale, heard, reading)
    is_played_again = heard.time_ms < scale.floor.counted_ms(heard.at_ms) - FLOOR_SLACK_MS
    is_news = heard.is_live or heard.time_ms > scale.hint.counted_ms(heard.at_ms)
    return replace(scale, hint=heard) if is_news and not is_played_again else scale


def raised(scale: Timescale, sure: Heard, reading: Reading) -> Timescale:
    """Raise the floor to a time that needs no clock to confirm it, unless a known one says that it lies ahead.

    Args:
        sure: signed by the officers, or kept on disk from when it was confirmed. reading: the present one.
    """
    earliest_ms = scale.floor.counted_ms(sure.at_ms)
    is_ahead = reading.known_ms is not None and sure.time_ms > reading.known_ms + FLOOR_SLACK_MS
    is_played_again = sure.time_ms < earliest_ms - FLOOR_SLACK_MS
    if is_ahead or is_played_again or (sure.time_ms <= earliest_ms and not sure.is_live):
        return scale
    return replace(scale, floor=replace(sure, time_ms=max(sure.time_ms, earliest_ms)))


def holdover_error_ms(scale: Timescale, now_ms: int) -> int:
    """How far off a clock may be that the network does not keep any more, or never did."""
    if scale.synchronised_at_ms is None:
        return ERROR_UNKNOWN_MS
    return scale.error_ms - (scale.synchronised_at_ms - now_ms) * DRIFT_PPM // 1_000_000


def _judged(scale: Timescale, now_ms: int, host: HostClock) -> Timescale:
    """A clock the network keeps decides on the hint: it is the floor from now on, or nothing."""
    if not host.is_synchronised or not _allows(scale.floor, now_ms, host.wall_ms):
        return scale
    hint_ms = scale.hint.counted_ms(now_ms)
    is_confirmed = scale.floor.counted_ms(now_ms) < hint_ms <= host.wall_ms + FLOOR_SLACK_MS
    # Not live: it may have been kept back for hours, and must not speak against the clock that confirmed it.
    return replace(scale, floor=replace(scale.hint, is_live=False) if is_confirmed else scale.floor, hint=BUILD)


def _count_on(scale: Timescale, now_ms: int) -> tuple[Reading, Timescale]:
    """The host's clock is not believed: count from when it was."""
    if scale.synchronised_at_ms is not None and _is_believable(scale, now_ms, now_ms + scale.offset_ms):
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


def _is_believable(scale: Timescale, now_ms: int, unix_ms: int) -> bool:
    return _allows(scale.floor, now_ms, unix_ms) and _allows(scale.hint, now_ms, unix_ms)


def _allows(signed: Heard, now_ms: int, unix_ms: int) -> bool:
    signed_ms = signed.counted_ms(now_ms)
    is_far_ahead = _is_fresh(signed, now_ms) and unix_ms > signed_ms + AHEAD_MS_MAX
    return unix_ms >= max(BUILD_FLOOR_MS, signed_ms - FLOOR_SLACK_MS) and not is_far_ahead


def _is_attested(floor: Heard, now_ms: int, wall_ms: int) -> bool:
    return _is_fresh(floor, now_ms) and abs(wall_ms - floor.counted_ms(now_ms)) <= ATTESTED_MS


def _is_fresh(floor: Heard, now_ms: int) -> bool:
    return floor.is_live and now_ms - floor.at_ms <= HEARD_MS
