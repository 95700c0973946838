"""The one writer: a thread that gathers what has arrived, judges it, commits it as one transaction, and only then says so.

One commit for up to GROUP_MESSAGES_MAX messages or GROUP_MS of waiting: a commit that waits for the disk costs the same for
one message as for hundreds. SQLite gives up Python's lock, so the event loop goes on meanwhile. While more waits than one
group holds, signatures are checked ahead by a process beside ours (``fleet.ahead``).
"""

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from fleet.ahead import Ahead
from fleet.arrival import Arrival
from fleet.changes import AckDue, Change, Happened, Reread
from fleet.errors import StoreError
from fleet.fence import DeposedError, Fence
from fleet.ingest import Ingest
from fleet.store import Store

GROUP_MESSAGES_MAX = 500
GROUP_MS = 10
COLLECT_AFTER = (100_000, 50, 100)
"""A group is 150,000 tuples without one cycle; at Python's own thresholds looking for cycles costs a tenth of ingest."""
QUEUED_MESSAGES_MAX = 20_000
"""Beyond this arrivals are dropped and counted: the gateways send again what was not acknowledged."""
RETRY_S = 1.0
"""After a failed commit (disk full, I/O error): the gateways keep everything, so there is no hurry."""
STOP_S = 5.0
WORK_S = 10.0
"""A disk that has not answered for so long hangs; whoever asked over HTTP must hear of it."""
RESULTS = "/up/result"
REREAD_S = 2.0
"""How often a manager that only follows a shared store reads it anew for something it missed."""
HANGS = "the disk has not answered for {} s"

T = TypeVar("T")
Work = tuple[Callable[[Connection], Any], "asyncio.Future[Any]", bool]


class Writer:
    """The writer's thread.

    Args:
        told: called on the event loop with what each commit changed, in order.
        fence: of a store shared with another manager; while it is closed everything is judged and nothing written.
    """

    def __init__(
        self,
        store: Store,
        ingest: Ingest,
        told: Callable[[list[Change]], None],
        unix_ms: Callable[[], int],
        fence: Fence | None = None,
    ) -> None:
        self._fence = fence
        self._reread_s = 0.0
        self._store = store
        self._ingest = ingest
        self._told = told
        self._unix_ms = unix_ms
        self._loop = asyncio.get_running_loop()
        self._arrivals: deque[Arrival] = deque()
        self._next: list[Arrival] = []
        self._ahead = Ahead()
        self._works: deque[Work] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet-writer", daemon=True)
        self._log = structlog.get_logger("writer")
        self.dropped = 0
        self.commits = 0
        self.commit_s = 0.0
        self.problem = ""
        self._is_memory_ahead = False
        self._hangs = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        """Begin."""
        gc.set_threshold(*COLLECT_AFTER)
        self._thread.start()

    def arrived(self, arrival: Arrival) -> None:
        """Take in one message; never waits."""
        if len(self._arrivals) >= QUEUED_MESSAGES_MAX:
            self.dropped += 1
            return
        self._arrivals.append(arrival)
        self._wake.set()

    async def transact(self, work: Callable[[Connection], T], *, is_fenced: bool = True) -> T:
        """Run ``work`` in a transaction of its own between two groups; durable on return.

        Args:
            is_fenced: only if we may write; work that changes no more than this thread's memory needs no leave.

        Raises:
            StoreError: nothing of it was stored; or the disk hangs, and nobody knows. What was not begun then is dropped.
        """
        if self._hangs:  # Whoever waits in a row must not wait WORK_S each.
            raise StoreError(HANGS.format(round(WORK_S)))
        future: asyncio.Future[T] = self._loop.create_future()
        self._works.append((work, future, is_fenced))
        self._wake.set()
        try:
            async with asyncio.timeout(WORK_S):
                return await future
        except TimeoutError as error:
            self._hangs = True
            self.problem = HANGS.format(round(WORK_S))
            self._log.error("store.hangs", reason=self.problem)
            raise StoreError(f"{self.problem}; whether it was recorded is not known") from error

    def _answered(self) -> None:
        """The disk has answered, well or not."""
        if self._hangs:
            self._hangs = False
            self.problem = ""
            self._log.info("store.answers")

    async def stop(self) -> None:
        """Commit one last group and end."""
        self._stopping.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join, STOP_S)

    @property
    def waiting(self) -> int:
        """Messages not committed yet."""
        return len(self._arrivals) + len(self._next)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - a bug of ours must end the process, not only this thread
            self._call(_fail, self.ended, error)
        else:
            self._call(_resolve, self.ended, None)
        finally:
            self._ahead.close()

    def _work(self) -> None:
        # Ends when told to, with one last group; what still waits then was not acknowledged and comes again.
        is_last = False
        while not is_last:
            self._wake.wait(RETRY_S)
            is_last = self._stopping.is_set()
            self._wake.clear()
            while self._works:
                self._do(*self._works.popleft())
                self._answered()
            group = self._next or self._gather()
            self._check_ahead()
            is_stored = not group or self._commit(group)
            self._answered()
            if not is_stored:
                self._stopping.wait(RETRY_S)

    def _check_ahead(self) -> None:
        """Have the group after this one checked while this one is stored, if there is a whole one."""
        self._ahead.end()
        self._next = self._gather() if len(self._arrivals) >= GROUP_MESSAGES_MAX else []
        if self._next:
            self._wake.set()
            self._ahead.begin(self._ingest.ring, self._next)

    def _gather(self) -> list[Arrival]:
        """Take what has arrived, lingering a little for company."""
        group: list[Arrival] = []
        end_s = time.monotonic() + GROUP_MS / 1000
        while len(group) < GROUP_MESSAGES_MAX:
            try:
                group.append(self._arrivals.popleft())
            except IndexError:
                left_s = end_s - time.monotonic()
                if not group or self._works or left_s <= 0 or not self._wake.wait(left_s):
                    break
                self._wake.clear()
        if self._arrivals or self._works:
            self._wake.set()
        return group

    def _commit(self, group: list[Arrival]) -> bool:
        started_s = time.monotonic()
        now_ms = self._unix_ms()
        try:
            if self._store.damage:
                raise StoreError(self._store.damage)
            if self._is_memory_ahead:
                self._reload()
            if self._fence is not None and not self._fence.term:
                self._follow(group, now_ms)
                return True
            self._ingest.is_storing = True
            with self._store.engine.begin() as connection:
                self._ingest.take(group, connection, now_ms)
                if self._fence is not None:  # Last: the row is locked from here to the end.
                    self._fence.check(connection)
        except OverflowError as error:
            return self._isolate(group, error)
        except SQLAlchemyError as error:
            if _is_about_content(error):
                return self._isolate(group, error)
            self._void(self._store.failure(error))
            return False
        except StoreError as error:
            self._void(error)
            return False
        self._renewed()
        told = self._ingest.committed(now_ms)
        self.commits += 1
        self.commit_s += time.monotonic() - started_s
        if self.problem:
            self.problem = ""
            self._log.info("store.back")
        if told:
            self._call(self._told, told)
        return True

    def _isolate(self, group: list[Arrival], error: Exception) -> bool:
        """Store a group without the message that the database will not have: it must not stop its neighbours.

        What a decoder lets through and a column does not is our own fault; until it is found the message is refused.
        """
        self._is_memory_ahead = True
        self._ingest.standing.log.rolled_back()
        if len(group) > 1:
            middle = len(group) // 2
            return self._commit(group[:middle]) and self._commit(group[middle:])
        if not self._ingest.refuse(group[0]):
            raise error  # It was refused already, so it was not about the message.
        self._log.error("message.unstorable", topic=group[0].topic, reason=str(error)[:500])
        return self._commit(group)

    def _void(self, error: StoreError) -> None:
        """Nobody is told "stored". The group is gone from memory; the gateways send it again."""
        text = str(error)
        if isinstance(error, DeposedError):
            self._deposed()
        else:
            if not self.problem:
                self._log.error("store.unavailable", reason=text)
            self.problem = text
        self._is_memory_ahead = True
        self._ingest.standing.log.rolled_back()  # At once: what is asked between two groups adds to it too.

    def _reload(self) -> None:
        """Go back to what the database holds."""
        self._ingest.rolled_back(self._store.standing())
        self._is_memory_ahead = False

    def _follow(self, group: list[Arrival], now_ms: int) -> None:
        """Judge as the manager that leads does, and keep it in memory only: it stores it, and we share the store."""
        ingest, ahead = self._ingest, self._ingest.tally.ahead
        ingest.is_storing = False
        with (
            self._store.engine.connect() as connection
        ):  # Nothing is read or written: results are the leader's to judge.
            ingest.take([each for each in group if not each.topic.endswith(RESULTS)], connection, now_ms)
        ingest.standing.log.rolled_back()
        told = [each for each in ingest.committed(now_ms) if not isinstance(each, AckDue | Happened)]
        if ingest.tally.ahead > ahead and time.monotonic() - self._reread_s > REREAD_S:
            self._reread_s = time.monotonic()
            self._reload()  # What we missed nobody sends again: the leader has acknowledged it.
            told.append(Reread())
        if told:
            self._call(self._told, told)

    def _renewed(self) -> None:
        if self._fence is not None and (renewed := self._fence.committed()):
            self._call(self._fence.told, *renewed)

    def _deposed(self) -> None:
        if self._fence is not None:
            self._call(self._fence.told, None, 0)

    def _do(self, work: Callable[[Connection], Any], future: "asyncio.Future[Any]", is_fenced: bool) -> None:
        if future.cancelled():
            return  # Whoever asked has been told that the disk hangs.
        log = self._ingest.standing.log

        def logged(connection: Connection) -> object:
            result = work(connection)
            log.write(connection)
            if self._fence is not None and is_fenced:
                self._fence.check(connection)
            return result

        try:
            result = self._store.transact(logged)
        except StoreError as error:
            log.rolled_back()
            if isinstance(error, DeposedError):
                self._deposed()
            self._call(_fail, future, error)
        else:
            log.committed()
            self._renewed()
            self._call(_resolve, future, result)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            self._log.info("loop.closed")  # The process ends; what is committed is committed.


def _is_about_content(error: SQLAlchemyError) -> bool:
    """Whether the database would take the same rows with other values. Two numbers alike are about us, not about them."""
    if isinstance(error, IntegrityError):
        return "NOT NULL" in str(error.orig).upper()
    return isinstance(error, DataError)


def _resolve(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
