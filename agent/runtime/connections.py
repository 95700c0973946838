"""The numbers of connections: each above every earlier one, and one for each connection even where the disk fails.

A death is signed before its connection begins and may arrive long after its end; only its number says which life it
ends. So a number never comes twice, and a birth with a lower one is taken for another machine's (docs/wire.md 4).

    number = starts * 2^32 + place

``starts`` is counted on disk once in each process, when it first connects. While the disk does not take that, it is the
one kept last, and ``place`` is at least Unix seconds: above whatever an earlier process has reached by counting, and
above an earlier one of these as the time goes on. A disk that fails must cost a cabinet its records, not its voice.
"""

import asyncio
from contextlib import suppress
from typing import Protocol

from agent.ledger.errors import LedgerError
from agent.process.clock import Clock

CONNECTIONS = "conn"
"""Under which the ledger counts."""
PLACE_BITS = 32
"""Unix seconds fit until 2106; 2^31 starts are left."""
DISK_TIMEOUT_S = 2.0
"""A good disk answers in milliseconds; within this a cabinet with a bad one is back on its broker."""


class Counted(Protocol):
    """Where starts are counted; the journal."""

    @property
    def connections_before(self) -> int:
        """The count when this process began."""

    async def next_number(self, name: str) -> int:
        """Count on. Raises LedgerError if it is not on disk."""


class ConnectionNumbers:
    """One process's numbers."""

    def __init__(self, journal: Counted, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._starts = journal.connections_before
        self._is_counted = False
        self._place = -1

    async def next(self) -> int:
        """The number of a connection that is about to begin.

        Without a disk, and without any memory of the time over a restart, it may be one that was used.
        """
        self._place += 1
        if not self._is_counted:
            with suppress(LedgerError, TimeoutError):
                async with asyncio.timeout(DISK_TIMEOUT_S):
                    self._starts = await self._journal.next_number(CONNECTIONS)
                self._is_counted, self._place = True, 0
        if not self._is_counted:
            time = self._clock.read()
            self._place = max(self._place, max(time.unix_ms, time.earliest_ms) // 1000)
        return (self._starts << PLACE_BITS) + self._place
