"""What the guard must not forget: its sealed safety stream, latches and counters, on disk before it goes on.

The ledger is synchronous; one thread runs it, so that a slow card never stops the scan.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from agent.ledger.errors import LedgerError
from agent.ledger.ledger import Ledger
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.safety.latch import Latch
from agent.wire.local import LogEntry
from agent.wire.messages import Ack, Event, StreamHead
from agent.wire.streams import Durable

STREAM = "safety"
WRITE_TIMEOUT_S = 5.0  # an SD card has been seen to take 0.5 s for a commit
T = TypeVar("T")


class Records:
    """The guard's memory, asynchronous.

    A failing disk never stops the guard from releasing or from holding a latch in memory: it is counted and shown.
    """

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._open = open_ledger
        self._ledger: Ledger | None = None
        self.latches: dict[EquipmentId, Latch] = {}
        self.counters: dict[str, int] = {}
        self.head = self.acked = StreamHead(STREAM, 0, 0, bytes(32))
        self.failures = 0
        self.last_failure = ""

    async def open(self) -> None:
        """Open the ledger and take up latches and counters.

        Raises:
            LedgerError: it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        self._ledger = await loop.run_in_executor(self._thread, self._open)
        self.latches, self.counters = await self._run(lambda ledger: (ledger.latches(), ledger.counters))
        await self._renew()

    async def close(self) -> None:
        """Close the ledger; what was written stays."""
        if self._ledger is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.close)
        self._thread.shutdown(wait=False)

    async def event(
        self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar] | None = None
    ) -> None:
        """Seal one event into the safety stream; durable on return, or counted as a failure."""
        event = Event(0, kind, equipment, rule, text[:500], detail or {})
        await self._try(lambda ledger: ledger.append_events(STREAM, [event]))
        await self._renew()

    async def set_latch(self, latch: Latch) -> None:
        """Latch: in memory at once, on disk on return, and sealed as an event."""
        is_new = latch.equipment not in self.latches
        self.latches[latch.equipment] = latch
        await self._try(lambda ledger: ledger.set_latch(latch))
        if is_new:
            await self.event("latch.set", latch.equipment, latch.rule, latch.reason)

    async def clear_latch(self, equipment: EquipmentId) -> bool:
        """Clear a latch; False, and it stays latched, if the disk did not take it."""
        if not await self._try(lambda ledger: ledger.clear_latch(equipment)):
            return False
        self.latches.pop(equipment, None)
        return True

    async def store_counter(self, kid: str, counter: int) -> None:
        """Store an issuer's counter with fsync.

        Raises:
            LedgerError: it is not on disk; the command must not go on.
        """
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self._run(lambda ledger: ledger.raise_counter(kid, counter))
        self.counters[kid] = counter

    async def acknowledge(self, ack: Ack) -> None:
        """Take in a verified ack."""
        for head in ack.heads:
            if head.stream == STREAM:
                verdict = await self._run(lambda ledger, head=head: ledger.acknowledged(head))  # type: ignore[misc]
                if not isinstance(verdict, Durable):
                    continue
        await self._renew()

    async def log(self, equipment: str, limit: int) -> list[LogEntry]:
        """The newest events, newest last."""
        return await self._run(lambda ledger: ledger.log(equipment, limit))

    async def sealed_after(self, epoch: int, seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Sealed links for the courier."""
        links = await self._run(lambda ledger: ledger.sealed_after(STREAM, epoch, seq, limit))
        return [(link.seq, link.sealed) for link in links]

    async def _renew(self) -> None:
        self.head, self.acked = await self._run(lambda ledger: (ledger.head(STREAM), ledger.acked(STREAM)))

    async def _run(self, work: Callable[[Ledger], T]) -> T:
        assert self._ledger is not None
        ledger = self._ledger
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(ledger))

    async def _try(self, work: Callable[[Ledger], object]) -> bool:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._run(work)
        except (LedgerError, TimeoutError) as error:
            self.failures += 1
            self.last_failure = str(error) or "the disk did not answer in time"
            return False
        return True
