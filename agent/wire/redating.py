"""Records made before the time was known, dated by a mark that their gateway signed later. Pure.

A mark says: at ``mono_ms`` of this boot it was ``unix_ms``. The monotonic clock ran on between record and mark, so the
record was made that much earlier. The record itself is never changed. Source: docs/wire.md §5.3.
"""

from dataclasses import dataclass

from agent.model.observation import ClockQuality
from agent.wire.messages import Batch, Event

MARK_KIND = "clock.mark"
DRIFT_PPM = 100
"""A cabinet's quartz between -40 and +85 °C."""
WITHIN_UNKNOWN_MS = -1
UNIX_MS_MAX = 2**62
GUARDS = "safety"


@dataclass(frozen=True, slots=True)
class Mark:
    """Which time it was.

    Args:
        clock: ClockQuality. within_ms: at most so far off; WITHIN_UNKNOWN_MS if nobody can say.
    """

    boot: bytes
    mono_ms: int
    unix_ms: int
    within_ms: int
    clock: int

    def dates(self, batch: Batch) -> bool:
        """True if this mark says more about a batch's time than the batch does: same boot, better clock."""
        return is_redatable(batch) and batch.boot == self.boot and self.clock > batch.clock

    def t0_ms(self, mono_ms: int) -> int:
        """Which time it was at another moment of the same boot."""
        return min(max(0, self.unix_ms + mono_ms - self.mono_ms), UNIX_MS_MAX)

    def within(self, mono_ms: int) -> int:
        """How far off that is at most: the mark's own error, and what the clock may have drifted between."""
        if self.within_ms < 0:
            return WITHIN_UNKNOWN_MS
        return self.within_ms - -abs(mono_ms - self.mono_ms) * DRIFT_PPM // 1_000_000

    def is_better_than(self, other: "Mark", mono_ms: int) -> bool:
        """For one moment: by a better clock, or by as good a one with less error."""
        mine, others = self.within(mono_ms), other.within(mono_ms)
        return (self.clock, mine >= 0, -mine) > (other.clock, others >= 0, -others)


def is_redatable(batch: Batch) -> bool:
    """True if the gateway only had its own clock, or none: a mark may know better."""
    return batch.clock < ClockQuality.NETWORK and bool(batch.boot)


def signed_by(stream: str) -> str:
    """Who seals a stream; a mark dates only what the same process sealed: the agent cannot re-date the guard's records."""
    return "guard" if stream == GUARDS else "agent"


def mark_of(event: Event) -> Mark | None:
    """Read a mark; None if the event is none, or says that the time is not known, or nothing that makes sense."""
    if event.kind != MARK_KIND:
        return None
    detail = event.detail
    boot, mono_ms, unix_ms = (detail.get(name) for name in ("boot", "mono_ms", "unix_ms"))
    within_ms, clock = detail.get("within_ms", WITHIN_UNKNOWN_MS), detail.get("clock")
    if not isinstance(boot, str) or not all(type(each) is int for each in (mono_ms, unix_ms, within_ms, clock)):
        return None
    assert isinstance(mono_ms, int)
    assert isinstance(unix_ms, int)
    assert isinstance(within_ms, int)
    assert isinstance(clock, int)
    is_sound = 0 <= mono_ms <= UNIX_MS_MAX and 0 <= unix_ms <= UNIX_MS_MAX and -1 <= within_ms <= UNIX_MS_MAX
    if not is_sound or not ClockQuality.RTC_ONLY <= clock <= ClockQuality.ATTESTED:
        return None
    try:
        raw = bytes.fromhex(boot)
    except ValueError:
        return None
    return Mark(raw, mono_ms, unix_ms, within_ms, clock) if 0 < len(raw) <= 16 else None
