"""What the guard must not forget: its sealed safety stream, latches and counters.

The ledger is synchronous; one thread runs it, so that a slow card never stops the scan: what the scan writes is begun
at once and not waited for. Work is done in the order it was begun. What the disk did not take is kept in memory and
tried again, with the next write and by the clock.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from agent.guard.diskthread import BUSY, WAITING_MAX, DiskThread
from agent.guard.lane import Lane, Taken
from agent.ledger.errors import LedgerError, UnsealableError
from agent.ledger.ledger import Ledger
from agent.ledger.recovery import ALL_EQUIPMENT
from agent.ledger.tables import Page
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.safety.latch import Latch
from agent.wire.local import LogEntry
from agent.wire.messages import Ack, Event, StreamHead
from agent.wire.regression import Regression
from drivers.base import NowMs

STREAM = "safety"
DISK_TIMEOUT_S = 3.0  # an SD card has been seen to take 0.5 s for a commit
RETRY_S = 5.0  # a card that failed once may take the next write
TEXT_LENGTH_MAX = 500
Heads = tuple[StreamHead, StreamHead]
T = TypeVar("T")


class Records:
    """The guard's memory, asynchronous.

    A failing disk never stops the guard from releasing or from holding a latch in memory: it is counted and shown, and
    latches and events are written as soon as it takes anything again.

    Args:
        now_ms: monotonic; also called by the ledger's thread.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], now_ms: NowMs) -> None:
        self._disk = DiskThread()
        self._open = open_ledger
        self._now_ms = now_ms
        self._ledger: Ledger | None = None
        self._unstored: dict[EquipmentId, Latch] = {}
        self._lane = Lane()
        self._regression = Regression()
        self._writing = 0
        self.latches: dict[EquipmentId, Latch] = {}
        self.counters: dict[str, int] = {}
        self.head = self.acked = StreamHead(STREAM, 0, 0, bytes(32))
        self.floor_ms = 0
        self.failures = 0
        self.last_failure = ""
        self.is_failing = False
        self.are_latches_known = True

    async def open(self) -> None:
        """Open the ledger and take up latches and counters.

        Raises:
            LedgerError: it cannot be opened.
        """
        self._ledger = await self._disk.begin(self._open)
        self.latches, self.counters = await self._read(lambda ledger: (ledger.latches(), ledger.counters))
        self.head, self.acked = await self._read(_heads)
        self.floor_ms = await self._read(lambda ledger: ledger.floor_ms)
        self.are_latches_known = self.latches.pop(ALL_EQUIPMENT, None) is None

    async def close(self) -> None:
        """Close the ledger after what was begun; what was written stays."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await asyncio.wait((self._disk.begin(ledger.close),), timeout=DISK_TIMEOUT_S)
        self._disk.shutdown()

    async def run(self) -> None:
        """Try again what the disk did not take, for as long as the process lasts."""
        while True:
            await asyncio.sleep(RETRY_S)
            self.retry()

    def retry(self) -> None:
        """Begin to write what the disk did not take, unless it is still busy."""
        if self._ledger is not None and not self._writing and (self._unstored or self._lane.is_owed):
            self._begin()

    @property
    def unsealed(self) -> int:
        """Events that are in memory only."""
        return len(self._lane)

    def note(
        self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar] | None = None
    ) -> "asyncio.Future[Heads] | None":
        """Begin to seal one event into the safety stream, without waiting; None if too much waits already."""
        self._lane.put(Event(0, kind, equipment, rule, text[:TEXT_LENGTH_MAX], detail or {}), self._now_ms())
        return self._begin()

    async def event(
        self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar] | None = None
    ) -> bool:
        """Seal one event into the safety stream; durable on return, or False and kept to be tried again."""
        return await self._is_done(self.note(kind, equipment, rule, text, detail))

    def hold(self, latch: Latch) -> None:
        """Latch: in memory at once, and begun to be written and sealed as an event. Never waits for the disk."""
        is_new = latch.equipment not in self.latches
        self.latches[latch.equipment] = self._unstored[latch.equipment] = latch
        if is_new:
            self.note("latch.set", latch.equipment, latch.rule, latch.reason)
        else:
            self._begin()

    def hold_in_doubt(self, latches: Iterable[Latch]) -> None:
        """Hold what may have been latched before the ledger was damaged; then, on disk too, the doubt is over."""
        for latch in latches:
            self.hold(latch)
        self._begin(lambda ledger: ledger.clear_latch(ALL_EQUIPMENT))

    async def clear_latch(self, latch: Latch, text: str, is_over: Callable[[], bool]) -> str:
        """Clear a latch and seal that in the same transaction.

        Args:
            latch: the very one whose reset was approved.
            is_over: asked once the disk has answered: whether no fault was seen since the approval.

        Returns:
            Why it stays latched, empty if it does not.
        """
        event = Event(0, "latch.reset", latch.equipment, latch.rule, text[:TEXT_LENGTH_MAX], {})
        given_up = threading.Event()

        def clear(ledger: Ledger) -> None:
            if not given_up.is_set():
                ledger.clear_latch(latch.equipment)
                ledger.append_events(STREAM, [event])

        begun = self._begin(clear)
        self._unstored.pop(latch.equipment, None)  # Or a later write would store it again behind the reset.
        why = "the reset was cut off"
        try:
            if not await self._is_done(begun):
                why = "the disk did not take the reset"
            elif self.latches.get(latch.equipment) is not latch or not is_over():
                why = "a fault was seen during the reset"
            else:
                del self.latches[latch.equipment]
                return ""
        finally:
            # The disk may have taken the reset, or still take it: what is held must be there after a restart too.
            if held := self.latches.get(latch.equipment):
                given_up.set()
                self._unstored[held.equipment] = held
                self.note("latch.set", held.equipment, held.rule, f"stays latched, {why}: {held.reason}")
        return f"{why}; it stays latched"

    async def store_counter(self, kid: str, counter: int) -> None:
        """Store an issuer's counter with fsync.

        Raises:
            LedgerError: it is not known to be on disk; the command must not go on.
        """
        if not await self._is_done(self._begin(lambda ledger: ledger.raise_counter(kid, counter))):
            raise LedgerError(self.last_failure)
        self.counters[kid] = counter

    async def keep_floor(self, time_ms: int) -> None:
        """Keep the newest signed time.

        Raises:
            LedgerError: it is not known to be on disk.
        """
        if not await self._is_done(self._begin(lambda ledger: ledger.raise_floor(time_ms))):
            raise LedgerError(self.last_failure)

    async def acknowledge(self, ack: Ack) -> None:
        """Take in a verified ack. A disk that fails is counted; the fleet will repeat its ack.

        A fleet that has lost records gets what is still kept again, in a new epoch: nobody else can speak for them.
        """
        if self._disk.is_busy:
            self._failed(f"an acknowledgement was not taken in: {BUSY}")
            return
        said = next((head for head in ack.heads if head.stream == STREAM), None)

        def take(ledger: Ledger) -> None:
            if said is not None:
                ledger.acknowledged(said)
            own, acked = _heads(ledger)
            lost_to = self._regression.lost_to(ack.term, said, own, acked, self._now_ms())
            if lost_to is not None:
                ledger.raise_epoch(STREAM, own.epoch, f"the fleet has lost what follows record {lost_to}", lost_to)

        await self._is_done(self._begin(take))

    async def beside(self, work: Callable[[], T]) -> T:
        """Run other work that waits for the disk in the ledger's thread: a second one would be locked into memory too.

        Raises:
            OSError: EBUSY, too much waits for the disk.
        """
        return await self._disk.ask(work)

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

    async def page(self, after: tuple[int, int], limit: int) -> Page:
        """Sealed links of all epochs, oldest first.

        Raises:
            LedgerError: the disk cannot be read.
        """
        return await self._read(lambda ledger: ledger.page(STREAM, after, limit))

    def _begin(self, work: Callable[[Ledger], object] = lambda _ledger: None) -> "asyncio.Future[Heads] | None":
        """Hand one transaction to the ledger's thread, with every latch and event that is not on disk yet."""
        assert self._ledger is not None
        if self._disk.is_full:
            self._failed(f"the disk does not keep up: {WAITING_MAX} wait for it")
            return None
        ledger, unstored, taken = self._ledger, tuple(self._unstored.values()), self._lane.take()

        def write() -> Heads:
            with ledger.atomic():
                for latch in unstored:
                    ledger.set_latch(latch)
                _seal(ledger, taken.events(self._now_ms()))
                work(ledger)
            return _heads(ledger)

        self._writing += 1
        future = self._disk.begin(write)
        future.add_done_callback(lambda done: self._ended(done, unstored, taken))
        return future

    def _ended(self, done: "asyncio.Future[Heads]", stored: tuple[Latch, ...], taken: Taken) -> None:
        self._writing -= 1
        if done.cancelled():
            return  # The process ends.
        if error := done.exception():
            self._failed(str(error))
            if not isinstance(error, LedgerError | sqlite3.Error):
                self._lane.lose(taken)
                raise error  # Our own bug: told by the event loop, while the guard goes on.
            self._lane.give_back(taken)
            return
        self.is_failing = False
        self.head, self.acked = done.result()
        self._lane.stored(taken)
        for latch in stored:
            if self._unstored.get(latch.equipment) is latch:
                del self._unstored[latch.equipment]
        self.retry()  # What came while too many writes waited.

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
                return await self._disk.ask(lambda: work(ledger))
        except TimeoutError as error:
            raise LedgerError("the disk did not answer in time") from error
        except OSError as error:
            raise LedgerError(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            raise LedgerError(f"not read: {error}") from error


def _seal(ledger: Ledger, events: list[Event]) -> None:
    """Seal what was kept; one event that cannot be sealed must not stop all others for ever."""
    if not events:
        return
    try:
        ledger.append_events(STREAM, events)
    except UnsealableError:
        for event in events:
            try:
                ledger.append_events(STREAM, [event])
            except UnsealableError as error:
                text = f"a record {event.kind} could not be sealed: {error}"[:TEXT_LENGTH_MAX]
                ledger.append_events(STREAM, [Event(event.dt_ms, "records.lost", "", "", text, {"count": 1})])


def _heads(ledger: Ledger) -> Heads:
    return ledger.head(STREAM), ledger.acked(STREAM)
