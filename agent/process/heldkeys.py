"""The key list in force in a running process: taken live, on disk before anybody believes it, its version only rises.

Agent and guard each keep one. Who carries the list need not be trusted: it is verified here, from the officers' keys the
gateway was enrolled with.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from agent.process.clock import Clock
from agent.process.keyfolder import newest_in, store
from agent.process.trustfiles import Trust
from agent.wire.errors import TrustError
from agent.wire.trust import KeyRing

DISK_TIMEOUT_S = 10.0
LOOK_S = 60.0
"""How often the folder is looked at, for a list that came by another way."""
TELL_PERIOD_MS = 60_000
"""Sealed records are never shed: whoever sends old lists again and again fills one record a minute, not the disk."""
DAY_MS = 86_400_000
OWN_KEY_MS = 30 * DAY_MS
"""How long before its end a process says that its key ends."""
KEY_LIST = "key list"
"""The figure under which a process tells the version it believes."""
TAKEN, REFUSED = "keys.taken", "keys.refused"
_Work = TypeVar("_Work")
Tell = Callable[[str, str], object]
"""Called with the kind of an event and its text."""


class Apart(Protocol):
    """Runs work that waits for the disk, beside the event loop."""

    def __call__(self, work: Callable[[], _Work], /) -> Awaitable[_Work]:
        """Run it; raise what it raises."""
        ...


class HeldKeys:
    """One process's key list.

    Args:
        folder: with roots.toml and keys.sealed. apart: where the disk may be waited for. tell: seals an event.
        users: told of each newer ring, at once.
    """

    def __init__(self, folder: Path, trust: Trust, clock: Clock, apart: Apart, tell: Tell) -> None:
        self.ring = trust.ring
        self._kid = trust.signer.kid
        self._folder = folder
        self._clock = clock
        self._apart = apart
        self._tell = tell
        self._turn = asyncio.Lock()
        self._told_at_ms: int | None = None
        self.users: list[Callable[[KeyRing], None]] = [self._date]
        self.refused = 0
        self._date(trust.ring)

    async def take(self, sealed: bytes) -> str:
        """Take over a newer list: verify, write with fsync, believe.

        Returns:
            Why it was not taken; empty if it, or the very one, is in force now.
        """
        async with self._turn:
            if sealed == self.ring.sealed:
                return ""
            try:
                async with asyncio.timeout(DISK_TIMEOUT_S):
                    ring, why = await self._apart(lambda: store(self._folder, self.ring, sealed))
            except TrustError as error:
                return self._refuse(f"a key list was not believed, {self.ring.version} stays: {error}")
            except OSError as error:  # A time-out too.
                why = error.strerror or "it does not answer"
                return self._refuse(f"the disk did not take a key list, {self.ring.version} stays: {why}")
            self._use(ring)
            return self._refuse(f"a key list was not believed, {ring.version} stays: {why}") if why else ""

    async def run(self) -> None:
        """Look at the folder every minute, for as long as the process lasts."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Believe what another has put on disk: `armoire renew` when it did not reach us, or our own write, come late."""
        async with self._turn:
            with suppress(TrustError, OSError):  # What is in force stays, and the status says which it is.
                async with asyncio.timeout(DISK_TIMEOUT_S):
                    self._use(await self._apart(lambda: newest_in(self._folder, self.ring)))

    def _use(self, ring: KeyRing) -> None:
        if ring.version > self.ring.version:
            self.ring = ring
            for use in self.users:
                use(ring)
            self._tell(TAKEN, f"key list {ring.version} is in force: {len(ring)} keys")

    def _date(self, ring: KeyRing) -> None:
        """It is not before the officers signed: what had expired then has expired, also for a clock nobody keeps."""
        self._clock.raise_floor(ring.issued_ms)

    def concern(self) -> str:
        """What a technician should know of the list and of our own key in it; empty if nothing."""
        own, now_ms = self.ring.entry(self._kid), self._clock.known_ms()
        if self.ring.is_expired(now_ms, self._clock.earliest_ms()):
            return f"key list {self.ring.version} is over: no command is believed until it is renewed; control goes on"
        if own is None:
            return f"key list {self.ring.version} has not this process's key: what it records waits until one has"
        if now_ms is not None and own.not_after_ms - now_ms < OWN_KEY_MS:
            days = max(0, own.not_after_ms - now_ms) // DAY_MS
            return f"this process's key is good for another {days} days: put its successor in place and restart"
        return ""

    def _refuse(self, why: str) -> str:
        self.refused += 1
        now_ms = self._clock.now_ms()
        if self._told_at_ms is None or now_ms - self._told_at_ms >= TELL_PERIOD_MS:
            self._told_at_ms = now_ms
            self._tell(REFUSED, why)
        return why
