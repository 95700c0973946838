"""From changes to sealed links: collected for a moment, then stored together; nothing is lost to a disk that stalls."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.ledger.errors import LedgerError
from agent.model.observation import PointValue, Scalar
from agent.runtime.journal import Journal
from agent.wire.messages import Event

HELD_MAX = 20_000  # samples in memory while the disk does not take them: some minutes of a large cabinet
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long changes of one stream may wait for company (sync.md 3.4)."""

    wait_s: float
    count: int


PACES = {"state": Pace(0.25, 100), "tele": Pace(5.0, 100)}


class Recorder:
    """Takes changes and events of the whole agent to its journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held: dict[str, deque[PointValue]] = {stream: deque(maxlen=HELD_MAX) for stream in PACES}
        self._wake = {stream: asyncio.Event() for stream in PACES}
        self._full = {stream: asyncio.Event() for stream in PACES}
        self.dropped = 0
        self.failures = 0

    def changes(self, stream: str, samples: Sequence[PointValue]) -> None:
        """Take changed points; they are sealed within the stream's pace."""
        if not samples:
            return
        held = self._held[stream]
        self.dropped += max(0, len(held) + len(samples) - HELD_MAX)
        held.extend(samples)
        self._wake[stream].set()
        if len(held) >= PACES[stream].count:
            self._full[stream].set()

    async def event(
        self,
        stream: str,
        kind: str,
        equipment: str,
        rule: str,
        text: str,
        detail: dict[str, Scalar] | None = None,
    ) -> None:
        """Seal one event at once; durable on return, or counted as a failure."""
        try:
            await self._journal.append_events(stream, [Event(0, kind, equipment, rule, text[:500], detail or {})])
        except LedgerError:
            self.failures += 1

    async def run(self) -> None:
        """Seal what is held, for as long as the process lasts."""
        async with asyncio.TaskGroup() as group:
            for stream in PACES:
                group.create_task(self._run(stream), name=f"recorder {stream}")

    async def _run(self, stream: str) -> None:
        pace = PACES[stream]
        while True:
            await self._wake[stream].wait()
            try:
                async with asyncio.timeout(pace.wait_s):
                    await self._full[stream].wait()
            except TimeoutError:
                pass  # Company enough.
            if not await self.flush(stream):
                await asyncio.sleep(RETRY_S)

    async def flush(self, stream: str) -> bool:
        """Seal what one stream holds now; False if the disk did not take it and it is still held."""
        held = self._held[stream]
        self._wake[stream].clear()
        self._full[stream].clear()
        samples = list(held)
        held.clear()
        if not samples:
            return True
        try:
            await self._journal.append_samples(stream, samples)
        except LedgerError:
            self.failures += 1
            self.dropped += max(0, len(samples) + len(held) - HELD_MAX)
            held.extendleft(reversed(samples[-(HELD_MAX - len(held)) :]))
            self._wake[stream].set()
            return False
        return True
