"""Seals what the monotonic clock means: a mark record says which Unix time one of its moments was.

Records that were sealed without knowing the time keep their signature and their stamp; whoever reads them re-dates them
by a mark of the same boot (``agent.wire.redating``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.ledger.errors import LedgerError
from agent.model.observation import ClockQuality, Scalar
from agent.process.clock import Clock
from agent.process.timescale import JUMP_MS, Reading
from agent.wire.redating import MARK_KIND

LOOK_S = 1.0
KEEP_FLOOR_MS = 3_600_000
"""Signed times come every ten seconds; kept once an hour they spare the flash memory, and a start is an hour behind at most."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The clock as the newest mark says. Start with ``Marked()``."""

    quality: ClockQuality = ClockQuality.UNKNOWN
    offset_ms: int = 0


def mark(before: Marked, reading: Reading) -> tuple[str, Marked]:
    """Whether a look at the clock is worth a mark: why, empty if not; and what is marked from now on."""
    quality = min(reading.quality, ClockQuality.NETWORK)
    offset_ms = reading.unix_ms - reading.now_ms
    if quality is ClockQuality.UNKNOWN:
        lost = before.quality is not ClockQuality.UNKNOWN
        return "the time is not known any more" if lost else "", Marked()
    if before.quality is ClockQuality.UNKNOWN:
        return "the time is known", Marked(quality, offset_ms)
    if quality > before.quality:
        return "the network keeps the time", Marked(quality, offset_ms)
    step_ms = offset_ms - before.offset_ms
    if abs(step_ms) > JUMP_MS:
        return f"the clock was set by {step_ms / 1000:+.1f} s", Marked(quality, offset_ms)
    return "", Marked(quality, before.offset_ms)


def mark_detail(reading: Reading, boot: bytes) -> dict[str, Scalar]:
    """The fields of a mark's event; without a time where there is none."""
    detail: dict[str, Scalar] = {"boot": boot.hex(), "mono_ms": reading.now_ms, "clock": int(reading.quality)}
    if reading.quality is not ClockQuality.UNKNOWN:
        detail["unix_ms"] = reading.unix_ms
    if reading.error_ms >= 0:
        detail["within_ms"] = reading.error_ms
    return detail


def words(reading: Reading) -> str:
    """How the clock is, for a technician."""
    match reading.quality:
        case ClockQuality.UNKNOWN:
            return "unknown; records are dated later"
        case ClockQuality.RTC_ONLY if reading.error_ms < 0:
            return "its own, kept by nobody"
        case ClockQuality.RTC_ONLY:
            return f"its own since the network was lost, within {reading.error_ms} ms"
        case ClockQuality.NETWORK:
            return f"the network's, within {reading.error_ms} ms"
        case ClockQuality.ATTESTED:
            return f"the network's, within {reading.error_ms} ms; the fleet's agrees"


class Timekeeper:
    """Looks at the clock for as long as the process lasts.

    Args:
        note: seals an event of this kind, text and detail.
        keep: stores the floor; raises LedgerError.
    """

    def __init__(
        self,
        clock: Clock,
        note: Callable[[str, str, dict[str, Scalar]], object],
        keep: Callable[[int], Awaitable[object]],
    ) -> None:
        self._clock = clock
        self._note = note
        self._keep = keep
        self._marked = Marked()
        self._kept_ms = clock.earliest_ms()

    async def run(self) -> None:
        """Look once a second."""
        while True:  # As long as the process.
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        reading = self._clock.read()
        why, self._marked = mark(self._marked, reading)
        if why:
            self._note(MARK_KIND, why, mark_detail(reading, self._clock.boot))
        if reading.earliest_ms - self._kept_ms >= KEEP_FLOOR_MS:
            try:
                await self._keep(reading.earliest_ms)
            except LedgerError:
                return  # Told by whoever keeps records; tried again in a second.
            self._kept_ms = reading.earliest_ms
