"""This manager's term: above every one the city has seen, or nobody believes what it says.

The database remembers it. One that was lost or restored remembers less than the city does: then our own retained state,
if the broker still has it, and the gateways, in every birth and heartbeat, tell how far the fleet had come.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from agent.wire.messages import Birth, Heartbeat
from fleet import store
from fleet.commands import Transact
from fleet.errors import StoreError
from fleet.ingest import Ingest

TOLD_INTERVAL_S = 30.0
"""A gateway's word raises the term at most that often: every rise makes all gateways send again what is on its way."""
TERMS_AHEAD_MAX = 1_000_000
"""Every start takes one; so many starts are none. A term far above ours would leave no room for those to come."""


class Terms:
    """Ours, and those we have heard of.

    Args:
        number: ours, as just taken; 0 if we hold none yet. ingest: acknowledges under it.
        take_above: takes a term above another one, durable on return; StoreError if it is not.
    """

    def __init__(self, number: int, take_above: Callable[[int], Awaitable[int]], ingest: Ingest) -> None:
        self.number = number
        self._beat = 0
        self._said_ms: tuple[int, int] | None = None
        self._take_above = take_above
        self._ingest = ingest
        self._seen = 0
        self._changed = asyncio.Event()
        self._problem = ""
        self._told_s = -TOLD_INTERVAL_S
        self._log = structlog.get_logger("fleet")

    def next_beat(self, issued_ms: int) -> int:
        """The number of the next state, said at ``issued_ms``. Never falls, also when the term rises."""
        self._beat += 1
        first_ms, last_ms = self._said_ms or (issued_ms, issued_ms)
        self._said_ms = (min(first_ms, issued_ms), max(last_ms, issued_ms))  # A clock that was put back is no stranger.
        return self._beat

    def is_beyond(self, term: int, issued_ms: int) -> bool:
        """True for a state that this process has not said: the city believes it, and may not believe ours.

        Numbers cannot tell two lives of one term apart, so the time of issue must.
        """
        is_said = self._said_ms is not None and self._said_ms[0] <= issued_ms <= self._said_ms[1]
        return term > self.number or (term == self.number and not is_said)

    def heard(self, term: int, *, is_leading: bool) -> None:
        """The city has seen a state of this term, beyond ours. If we lead we go above it soon, else once we do."""
        self._seen = max(term, self._seen)
        if is_leading:
            self._changed.set()

    def told(self, message: Birth | Heartbeat, *, is_leading: bool) -> None:
        """Take in which state a gateway heard last. It may lie, so it moves us by a little, and seldom."""
        term = message.fleet_term
        if not self.is_beyond(term, message.fleet_issued_ms) or term > self.number + TERMS_AHEAD_MAX:
            return
        now_s = time.monotonic()
        if is_leading and now_s - self._told_s >= TOLD_INTERVAL_S:
            self._told_s = now_s
            self._log.warning("term.behind", gateway=message.gateway, told=term, own=self.number)
            self.heard(term, is_leading=True)

    @property
    def highest(self) -> int:
        """The highest term heard of, ours included."""
        return max(self._seen, self.number)

    @property
    def is_behind(self) -> bool:
        """True if it must be raised: somebody has seen a higher one, or one of ours that was not recorded."""
        return (self._changed.is_set() or bool(self._problem)) and self._seen >= self.number

    async def wait_changed(self, timeout_s: float) -> bool:
        """Wait ``timeout_s``, or less if the term had to be raised meanwhile; True if it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        is_behind = self.is_behind
        self._changed.clear()
        return is_behind and await self.rise()

    async def rise(self) -> bool:
        """Take a term above every one seen; False, and the old one stays, if the database does not take it."""
        self._changed.clear()
        try:
            self.number = await self._take_above(self._seen)
        except StoreError as error:
            if not self._problem:
                self._log.error("term.not-raised", reason=str(error))
            self._problem = str(error)
            return False
        self._problem, self._said_ms = "", None
        self._ingest.lead(self.number)
        self._log.info("term", term=self.number)
        return True


def raise_in(transact: Transact) -> Callable[[int], Awaitable[int]]:
    """How a manager that is alone takes a term: from its own database, which only rises."""

    async def take_above(above: int) -> int:
        return await transact(lambda connection: store.raise_term(connection, above))

    return take_above
