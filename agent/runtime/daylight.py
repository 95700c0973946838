"""Is it night at a segment: the photocell and the astronomical clock, each checked by the other. When in doubt, night.

Pure but for ``Daylight``, which keeps the memory of one segment. Source: docs/safety.md LR-06; hysteresis, dwell and
plausibility as road-lighting controllers have them.
"""

from dataclasses import dataclass

from agent.model.equipment import Photocell, Position
from agent.model.observation import ClockQuality, SegmentObserved
from agent.process.clock import Clock
from agent.runtime.sun import MINUTE_MS, Night, night_around

EARLY_MS_MAX = 60 * MINUTE_MS
"""Clouds bring dusk forward and hold dawn back by less: a photocell that says dark further from the night is wrong."""
LATE_MS_MAX = 30 * MINUTE_MS
"""Half an hour into the night no sky is light: a photocell that still says so is wrong."""
CLOCK_JUMP_MS_MAX = 5 * MINUTE_MS

PHOTOCELL, ASTRONOMICAL, NOBODY = "the photocell", "the astronomical clock", "nobody"


@dataclass(frozen=True, slots=True)
class PhotocellMemory:
    """What a photocell says, hysteresis and dwell applied. Start with ``PhotocellMemory()``.

    Args:
        dark: None while it is silent. otherwise_since_ms: since when it says the opposite, None while it does not.
    """

    dark: bool | None = None
    otherwise_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether it is night; None if nobody can say, which counts as night.

    Args:
        by: whose word counts. why: why not the photocell's; empty if it does.
    """

    dark: bool | None
    by: str
    why: str = ""


def read_photocell(
    memory: PhotocellMemory, dark: bool | None, lux: int | None, photocell: Photocell, at_ms: int
) -> PhotocellMemory:
    """LR-06: take one reading. A first word counts at once; another one only when it has lasted for the dwell.

    Args:
        dark: the module's own word; None if it has none or cannot be believed, and then ``lux`` is no word either.
        lux: where the module tells it, between the two thresholds nothing changes.
    """
    if dark is None:
        return PhotocellMemory()
    if lux is not None and (
        memory.dark is not None or not photocell.dark_below_lux <= lux <= photocell.light_above_lux
    ):
        dark = lux < photocell.dark_below_lux or (lux <= photocell.light_above_lux and bool(memory.dark))
    if memory.dark is None or dark == memory.dark:
        return PhotocellMemory(dark)
    since_ms = at_ms if memory.otherwise_since_ms is None else memory.otherwise_since_ms
    return PhotocellMemory(dark) if at_ms - since_ms >= photocell.dwell_ms else PhotocellMemory(memory.dark, since_ms)


def judge_daylight(dark: bool | None, night: Night | None, unix_ms: int) -> Judged:
    """LR-06: whose word counts.

    Args:
        dark: the photocell's word.
        night: the sun's times around ``unix_ms``; None if the clock cannot be believed or the sun does not set.
    """
    if dark is None:
        return Judged(None, NOBODY, "the photocell is silent")  # LR-04: lamps burn, whatever a clock says.
    if night is None:
        return Judged(dark, PHOTOCELL)
    before_ms, after_ms = night.sunset_ms - unix_ms, unix_ms - night.sunrise_ms
    if dark and max(before_ms, after_ms) > EARLY_MS_MAX:
        minutes = max(before_ms, after_ms) // MINUTE_MS
        side = "before sunset" if before_ms > after_ms else "after sunrise"
        return Judged(False, ASTRONOMICAL, f"the photocell says dark {minutes} min {side}")
    if not dark and max(before_ms, after_ms) < -LATE_MS_MAX:
        minutes = -max(before_ms, after_ms) // MINUTE_MS
        side = "after sunset" if before_ms > after_ms else "before sunrise"
        return Judged(True, ASTRONOMICAL, f"the photocell says light {minutes} min {side}")
    return Judged(dark, PHOTOCELL)


def clock_is_sound(quality: ClockQuality, offset_ms: int, first_offset_ms: int) -> bool:
    """LR-06: whether the wall clock may overrule a photocell.

    Args:
        offset_ms: wall clock minus monotonic clock, now; first_offset_ms: when the clock was first believed. Many small
            jumps count like a large one: a clock led astray step by step darkens no street.
    """
    return quality is not ClockQuality.UNKNOWN and abs(offset_ms - first_offset_ms) <= CLOCK_JUMP_MS_MAX


class Daylight:
    """The judgement of one segment, reading after reading."""

    def __init__(self, photocell: Photocell, position: Position, clock: Clock) -> None:
        self._photocell = photocell
        self._position = position
        self._clock = clock
        self._memory = PhotocellMemory()
        self._first_offset_ms: int | None = None

    def judge(self, seen: SegmentObserved) -> Judged:
        """Take a reading; say whether it is night."""
        self._memory = read_photocell(self._memory, seen.dark, seen.lux, self._photocell, seen.at_ms)
        unix_ms, quality = self._clock.unix_ms(), self._clock.quality()
        offset_ms = unix_ms - self._clock.now_ms()
        if self._first_offset_ms is None and quality is not ClockQuality.UNKNOWN:
            self._first_offset_ms = offset_ms
        first_ms = offset_ms if self._first_offset_ms is None else self._first_offset_ms
        is_sound = clock_is_sound(quality, offset_ms, first_ms)
        night = night_around(unix_ms, self._position) if is_sound else None
        return judge_daylight(self._memory.dark, night, unix_ms)
