"""The one thread that waits for the disk, and the bound on everything that waits for it.

A disk that hangs lets go of nothing: what waits behind it must fill neither the memory nor the places of those who store
latches and counters.
"""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

WAITING_MAX = 64
"""Of all kinds together."""
OTHERS_MAX = 32
"""Reads, key lists and acknowledgements wait only while fewer than this wait: anybody at the socket can ask for them.
Twice as many as the socket has clients, so a disk that answers turns nobody away."""
BUSY = "the disk is busy"
T = TypeVar("T")


class DiskThread:
    """Does work in the order it was begun."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ledger")
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no place even for a latch."""
        return self.waiting >= WAITING_MAX

    @property
    def is_busy(self) -> bool:
        """Whether there is no place for others."""
        return self.waiting >= OTHERS_MAX

    def begin(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Begin the guard's own work; whoever calls has looked whether there is a place. Never cancel it."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self.waiting += 1
        future.add_done_callback(self._ended)
        return future

    async def ask(self, work: Callable[[], T]) -> T:
        """Do others' work; cancelled before its turn it is not done, and what it holds is free at once.

        Raises:
            OSError: EBUSY, too much waits; and what the work raises.
        """
        if self.is_busy:
            raise OSError(errno.EBUSY, BUSY)
        job = _Job(work)
        begun = self.begin(job)
        begun.add_done_callback(_hear)
        try:
            return await asyncio.shield(begun)  # Cancelled, it would keep an uncounted place in the executor.
        finally:
            job.let_go()

    def shutdown(self) -> None:
        """Take no more work; what was begun is done."""
        self._thread.shutdown(wait=False)

    def _ended(self, _done: "asyncio.Future[T]") -> None:
        self.waiting -= 1


class _Job(Generic[T]):
    """Work that can be let go of while it waits for its turn."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work

    def let_go(self) -> None:
        self._work = None

    def __call__(self) -> T:
        work, self._work = self._work, None
        if work is None:
            raise TimeoutError("nobody waits for it any more")
        return work()


def _hear(done: "asyncio.Future[T]") -> None:
    """How it ended when nobody waits any more is no news to the event loop."""
    if not done.cancelled():
        done.exception()
