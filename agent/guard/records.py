"""What the guard must not forget: its sealed safety stream, latches and counters.

The ledger is synchronous; one thread runs it, so that a slow card never stops the scan: what the scan writes is begun
at once and not waited for. Work is done in the order it was begun.
"""

import asyncio
import sqlite3
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

STREAM = "safety"
DISK_TIMEOUT_S = 3.0  # an SD card has been seen to take 0.5 s for a commit
WAITING_MAX = 64  # writes begun and not yet on disk; a disk that hangs must not fill the memory
TEXT_LENGTH_MAX = 500
Heads = tuple[StreamHead, StreamHead]
T = TypeVar("T")


class Records:
    """The guard's memory, asynchronous.

    A failing disk never stops the guard from releasing or from holding a latch in memory: it is counted and shown, and
    the latch is written with the next write that succeeds.
    """

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._open = open_ledger
        self._ledger: Ledger | None = None
        self._unstored: dict[EquipmentId, Latch] = {}
        self._waiting = 0
        self.latches: dict[EquipmentId, Latch] = {}
        self.counters: dict[str, int] = {}
        self.head = self.acked = StreamHead(STREAM, 0, 0, bytes(32))
        self.failures = 0
        self.last_failure = ""
        self.is_failing = False
        self.are_latches_known = True

    async def open(self) -> None:
        """Open the ledger and take up latches and counters.

        Raises:
            LedgerError: it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        self._ledger = await loop.run_in_executor(self._thread, self._open)
        self.latches, self.counters = await self._read(lambda ledger: (ledger.latches(), ledger.counters))
        self.head, self.acked = await self._read(_heads)
        damage = self._ledger.damage
        self.are_latches_known = damage is None or damage.are_latches_known

    async def close(self) -> None:
        """Close the ledger after what was begun; what was written stays."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            closing = asyncio.get_running_loop().run_in_executor(self._thread, ledger.close)
            await asyncio.wait((closing,), timeout=DISK_TIMEOUT_S)
        self._thread.shutdown(wait=False)

    def note(
        self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar] | None = None
    ) -> "asyncio.Future[Heads] | None":
        """Begin to seal one event into the safety stream, without waiting; None if too much waits already."""
        event = Event(0, kind, equipment, rule, text[:TEXT_LENGTH_MAX], detail or {})
        return self._begin(lambda ledger: ledger.append_events(STREAM, [event]))

    async def event(
        self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar] | None = None
    ) -> bool:
        """Seal one event into the safety stream; durable on return, or counted as a failure and False."""
        return await self._is_done(self.note(kind, equipment, rule, text, detail))

    def hold(self, latch: Latch) -> None:
        """Latch: in memory at once, and begun to be written and sealed as an event. Never waits for the disk."""
        is_new = latch.equipment not in self.latches
        self.latches[latch.equipment] = self._unstored[latch.equipment] = latch
        if is_new:
            self.note("latch.set", latch.equipment, latch.rule, latch.reason)
        else:
            self._begin(lambda _ledger: None)

    async def clear_latch(self, latch: Latch, text: str) -> bool:
        """Clear a latch and seal that in the same transaction; False, and it stays latched, if the disk fails."""
        event = Event(0, "latch.reset", latch.equipment, latch.rule, text[:TEXT_LENGTH_MAX], {})

        def clear(ledger: Ledger) -> None:
            ledger.clear_latch(latch.equipment)
            ledger.append_events(STREAM, [event])

        if not await self._is_done(self._begin(clear)):
            return False
        self.latches.pop(latch.equipment, None)
        return True

    async def store_counter(self, kid: str, counter: int) -> None:
        """Store an issuer's counter with fsync.

        Raises:
            LedgerError: it is not known to be on disk; the command must not go on.
        """
        if not await self._is_done(self._begin(lambda ledger: ledger.raise_counter(kid, counter))):
            raise LedgerError(self.last_failure)
        self.counters[kid] = counter

    async def acknowledge(self, ack: Ack) -> None:
        """Take in a verified ack. A disk that fails is counted; the fleet will repeat its ack."""
        for head in ack.heads:
            if head.stream == STREAM:
                await self._is_done(self._begin(lambda ledger, head=head: ledger.acknowledged(head)))  # type: ignore[misc]

    async def log(self, equipment: str, limit: int) -> list[LogEntry]:
        """The newest events, newest last.

        Raises:
            LedgerError: the disk cannot be read.
        """
        return await self._read(lambda ledger: ledger.log(equipment, limit))

    async def sealed_after(self, epoch: int, seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Sealed links for the courier.

        Raises:
            LedgerError: the disk cannot be read.
        """
        links = await self._read(lambda ledger: ledger.sealed_after(STREAM, epoch, seq, limit))
        return [(link.seq, link.sealed) for link in links]

    def _begin(self, work: Callable[[Ledger], object]) -> "asyncio.Future[Heads] | None":
        """Hand one transaction to the ledger's thread, together with every latch that is not on disk yet."""
        assert self._ledger is not None
        if self._waiting >= WAITING_MAX:
            self._failed(f"the disk does not keep up: {WAITING_MAX} writes wait")
            return None
        ledger, unstored = self._ledger, tuple(self._unstored.values())

        def write() -> Heads:
            with ledger.atomic():
                for latch in unstored:
                    ledger.set_latch(latch)
                work(ledger)
            return _heads(ledger)

        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, write)
        future.add_done_callback(lambda done: self._ended(done, unstored))
        return future

    def _ended(self, done: "asyncio.Future[Heads]", stored: tuple[Latch, ...]) -> None:
        self._waiting -= 1
        if done.cancelled():
            return  # The process ends.
        if error := done.exception():
            self._failed(str(error))
            if not isinstance(error, LedgerError | sqlite3.Error):
                raise error  # Our own bug: told by the event loop, while the guard goes on.
            return
        self.is_failing = False
        self.head, self.acked = done.result()
        for latch in stored:
            if self._unstored.get(latch.equipment) is latch:
                del self._unstored[latch.equipment]

    def _failed(self, why: str) -> None:
        self.failures += 1
        self.last_failure = why[:TEXT_LENGTH_MAX]
        self.is_failing = True

    async def _is_done(self, begun: "asyncio.Future[Heads] | None") -> bool:
        if begun is None:
            return False
        try:
            async with asyncio.timeout(DISK_TIMEOUT_S):
                await asyncio.shield(begun)  # A write that was begun is never taken back.
        except TimeoutError:
            self._failed("the disk did not answer in time")
            return False
        except (LedgerError, sqlite3.Error):
            return False
        return True

    async def _read(self, work: Callable[[Ledger], T]) -> T:
        assert self._ledger is not None
        ledger = self._ledger
        try:
            async with asyncio.timeout(DISK_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(ledger))
        except TimeoutError as error:
            raise LedgerError("the disk did not answer in time") from error
        except sqlite3.Error as error:
            raise LedgerError(f"not read: {error}") from error


def _heads(ledger: Ledger) -> Heads:
    return ledger.head(STREAM), ledger.acked(STREAM)
