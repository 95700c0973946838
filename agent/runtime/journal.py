"""The agent's journal: the ledger behind one writer thread, for a process that must not wait for a disk.

What is asked while one transaction is being synced joins the next (group commit): one fsync for many records spares the
flash memory and the time. Every call returns after the commit it was part of. A disk that fails is told to whoever
asked, and the writer goes on; should it end for any other reason, ``watch`` ends the process.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from agent.ledger.errors import LedgerError
from agent.ledger.ledger import TAIL_LINKS, Ledger
from agent.ledger.recovery import Damage
from agent.ledger.stamps import Clock
from agent.ledger.tables import Page
from agent.model.observation import PointValue
from agent.runtime.connections import CONNECTIONS
from agent.wire.keyfile import Signer
from agent.wire.local import LogEntry
from agent.wire.messages import Event, StreamHead
from agent.wire.streams import AckVerdict, Link

STREAMS = ("alarm", "state", "tele", "audit")
REQUESTS_MAX = 4_096
"""Waiting for the writer. A disk that has stopped must not fill the memory: beyond it the caller is told at once."""
GROUP_MAX = 256
"""Requests per transaction: bounds how long one of them waits for the others."""
WATCH_S = 1.0
GENERATION = "desired_generation"

T = TypeVar("T")
Request = tuple[Callable[[Ledger], object], "asyncio.Future[object]"]


class JournalFullError(LedgerError):
    """The disk does not keep up. Nothing of this request is stored; telemetry may be dropped, an alarm tried again."""


class JournalEndedError(LedgerError):
    """The writer is gone by a fault of our own: nothing will be stored any more in this process."""


class Journal:
    """The agent's sealed streams. Use as an async context manager.

    Args:
        path: the database. signer: the agent's key.
        quotas: bytes per stream, where the ledger's own does not fit.

    Raises:
        LedgerError: on entering, the ledger cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        signer: Signer,
        city: str,
        gateway: str,
        clock: Clock,
        *,
        quotas: Mapping[str, int] | None = None,
        tail_links: int = TAIL_LINKS,
    ) -> None:
        self._make = lambda: Ledger(path, signer, city, gateway, STREAMS, clock, quotas=quotas, tail_links=tail_links)
        self._requests: queue.Queue[Request | None] = queue.Queue(REQUESTS_MAX)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._listeners: list[Callable[[], None]] = []
        self._heads: dict[str, StreamHead] = {}
        self._acked: dict[str, StreamHead] = {}
        self._counters: dict[str, int] = {}
        self.end: JournalEndedError | None = None
        self.damage: Damage | None = None
        self.floor_ms = 0
        self.generation = 0  # The highest that ``keep_generation`` was given.
        self.connections_before = 0  # Starts counted under CONNECTIONS, before this one.
        self.commits = 0
        self.failures = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._ledger = await asyncio.to_thread(self._make)
        self.damage = self._ledger.damage
        self._counters = self._ledger.counters
        self.floor_ms = self._ledger.floor_ms
        self.connections_before = self._ledger.last_number(CONNECTIONS)
        self.generation = self._ledger.last_number(GENERATION)
        self._publish(*self._stand())
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            await asyncio.to_thread(self._requests.put, None)
        await asyncio.to_thread(self._thread.join)

    async def watch(self, beat: Callable[[], None]) -> None:
        """Call ``beat`` for as long as the writer lives; a disk that hangs does not end it.

        Raises:
            JournalEndedError: the writer has ended. The process must, too, so that it is started anew.
        """
        while self._thread.is_alive():
            beat()
            await asyncio.sleep(WATCH_S)
        raise self.end or JournalEndedError("the journal is closed")

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the event loop after each commit."""
        self._listeners.append(listener)

    @property
    def heads(self) -> dict[str, StreamHead]:
        """The newest durable link of each stream."""
        return self._heads

    @property
    def acked(self) -> dict[str, StreamHead]:
        """The newest link of each stream that the fleet has acknowledged."""
        return self._acked

    @property
    def counters(self) -> dict[str, int]:
        """Issuer kid -> newest counter on disk."""
        return self._counters

    async def append_samples(self, stream: str, samples: Sequence[PointValue]) -> StreamHead:
        """Seal and store samples; return the new head.

        Raises:
            LedgerError: nothing is stored.
        """
        return await self._ask(lambda ledger: ledger.append_samples(stream, samples))

    async def append_events(self, stream: str, events: Sequence[Event]) -> StreamHead:
        """Seal and store events; return the new head.

        Raises:
            LedgerError: nothing is stored.
        """
        return await self._ask(lambda ledger: ledger.append_events(stream, events))

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> list[Link]:
        """Links above ``seq``, oldest first; none of an epoch that is over."""
        return await self._ask(lambda ledger: ledger.sealed_after(stream, epoch, seq, limit))

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """The hash of one link, None if it is not kept."""
        return await self._ask(lambda ledger: ledger.hash_at(stream, epoch, seq))

    async def floors(self) -> list[StreamHead]:
        """Per stream the newest link no longer kept."""
        return await self._ask(lambda ledger: [ledger.floor(stream) for stream in STREAMS])

    async def acknowledged(self, ack: StreamHead) -> AckVerdict:
        """Take in one stream's head from a verified ack; see ``Ledger.acknowledged``."""
        return await self._ask(lambda ledger: ledger.acknowledged(ack))

    async def regressed(self, stream: str, seq: int) -> None:
        """The fleet has lost what it acknowledged after ``seq``."""
        await self._ask(lambda ledger: ledger.regressed(stream, seq))

    async def raise_epoch(self, stream: str, above: int, reason: str) -> bool:
        """Begin a new epoch; see ``Ledger.raise_epoch``."""
        return await self._ask(lambda ledger: ledger.raise_epoch(stream, above, reason))

    async def store_counter(self, kid: str, counter: int) -> None:
        """Store an issuer's counter; on return it is on disk and the command may go on.

        Raises:
            LedgerError: it is not: the command must not be carried out.
        """
        await self._ask(lambda ledger: ledger.raise_counter(kid, counter))
        self._counters[kid] = max(counter, self._counters.get(kid, 0))

    async def keep_floor(self, time_ms: int) -> None:
        """Keep the newest signed time; see ``Ledger.raise_floor``."""
        await self._ask(lambda ledger: ledger.raise_floor(time_ms))

    async def keep_generation(self, generation: int) -> None:
        """Keep that a desired state of this generation was taken: none below it is, whatever becomes of its file.

        Raises:
            LedgerError: it is not on disk; the document must not be used.
        """
        if generation > self.generation:
            await self._ask(lambda ledger: ledger.raise_number(GENERATION, generation))
            self.generation = max(generation, self.generation)

    async def next_number(self, name: str) -> int:
        """Count on by one; a number never comes twice.

        Raises:
            LedgerError: it is not on disk and must not be used.
        """
        return await self._ask(lambda ledger: ledger.next_number(name))

    async def log(self, equipment: str, limit: int) -> list[LogEntry]:
        """The newest events, newest last; of all equipment if ``equipment`` is empty."""
        return await self._ask(lambda ledger: ledger.log(equipment, limit))

    async def page(self, stream: str, after: tuple[int, int], limit: int) -> Page:
        """Links of all epochs behind one of them; see ``Ledger.page``."""
        return await self._ask(lambda ledger: ledger.page(stream, after, limit))

    async def _ask(self, request: Callable[[Ledger], T]) -> T:
        if self.end is not None:
            raise self.end
        future: asyncio.Future[object] = self._loop.create_future()
        try:
            self._requests.put_nowait((request, future))
        except queue.Full as error:
            raise JournalFullError(f"{REQUESTS_MAX} requests wait for the disk") from error
        return await future  # type: ignore[return-value]  # What ``request`` returned.

    def _write(self) -> None:
        """The writer thread: until None comes, whatever is waiting goes into one transaction."""
        group: list[Request | None] = []
        try:
            while None not in group:
                group = self._gather()
                self._tell(self._commit([each for each in group if each is not None]))
        except BaseException as error:  # Our own bug. Nobody may wait for ever for an answer that never comes.
            told = JournalEndedError(f"the journal's writer has ended: {type(error).__name__}: {error}")
            self._in_loop(partial(self._ended, told, group))
            raise  # To the thread's hook, which writes down where it happened.
        finally:
            self._ledger.close()

    def _gather(self) -> list[Request | None]:
        group = [self._requests.get()]
        while len(group) < GROUP_MAX:
            try:
                group.append(self._requests.get_nowait())
            except queue.Empty:
                break
        return group

    def _ended(self, error: JournalEndedError, group: list[Request | None]) -> None:
        self.end = error
        while not self._requests.empty():  # Filled in this very thread only.
            group.append(self._requests.get_nowait())
        for _, future in filter(None, group):
            if not future.done():
                future.set_exception(error)

    def _commit(self, group: list[Request]) -> list[tuple["asyncio.Future[object]", object]]:
        """Carry out a group; an exception stands for the answer of what failed."""
        answers: list[tuple[asyncio.Future[object], object]] = []
        try:
            with self._ledger.atomic():
                for request, future in group:
                    try:
                        with self._ledger.atomic():
                            answers.append((future, request(self._ledger)))
                    except Exception as error:  # Whoever asked gets it; the others go on.
                        if not self._ledger.in_transaction:  # A full disk took the whole transaction with it.
                            raise LedgerError(f"not stored: {error}") from error
                        answers.append((future, error))
        except LedgerError as error:  # The commit itself failed: nobody is told "stored".
            self.failures += 1
            answers = [(future, error) for _, future in group]
        self.commits += 1
        return answers

    def _tell(self, answers: list[tuple["asyncio.Future[object]", object]]) -> None:
        heads, acked = self._stand()

        def resolve() -> None:
            self._publish(heads, acked)
            for future, answer in answers:
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
            for listener in self._listeners:
                listener()

        self._in_loop(resolve)

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # The loop is closed: nobody waits any more, and what was committed stays.

    def _stand(self) -> tuple[dict[str, StreamHead], dict[str, StreamHead]]:
        return (
            {stream: self._ledger.head(stream) for stream in STREAMS},
            {stream: self._ledger.acked(stream) for stream in STREAMS},
        )

    def _publish(self, heads: dict[str, StreamHead], acked: dict[str, StreamHead]) -> None:
        self._heads, self._acked = heads, acked
