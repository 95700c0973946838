"""The key list of the whole gateway: taken here, handed to the guard as it came, until the guard says that it holds it.

The guard verifies it itself.
"""

import asyncio
from contextlib import suppress

from agent.process.client import PeerDownError
from agent.process.clock import Clock
from agent.process.heldkeys import KEY_LIST, HeldKeys
from agent.runtime.guardmirror import GuardMirror
from agent.wire.errors import KeyListError
from agent.wire.local import TellFleetSeen
from agent.wire.topics import Topic

LOOK_S = 1.0
AGAIN_MS = 30_000
"""A list the guard does not take is not pressed on it."""


class GatewayKeys:
    """Sees to it that every process has the newest key list.

    Args:
        keys: the agent's own. guard: None if there is none.
    """

    def __init__(self, keys: HeldKeys, guard: GuardMirror | None, topic: Topic, clock: Clock) -> None:
        self._keys = keys
        self._guard = guard
        self._topic = str(topic)
        self._clock = clock
        self._changed = asyncio.Event()
        self._offered: tuple[int, int] = (0, 0)  # Version, and when.
        keys.users.append(lambda _ring: self._changed.set())

    @property
    def version(self) -> int:
        """The oldest key list that a process of this gateway goes by, as far as they answer."""
        return min(self._keys.ring.version, self._of_guard() or self._keys.ring.version)

    def _of_guard(self) -> int | None:
        if self._guard is None or self._guard.status is None or not self._guard.is_up:
            return None
        held = self._guard.status.figures.get(KEY_LIST)
        return held if isinstance(held, int) else None

    async def take(self, sealed: bytes) -> None:
        """Take a newer list over; what is refused is told by whom it is held.

        Raises:
            KeyListError: it was not taken.
        """
        if why := await self._keys.take(sealed):
            raise KeyListError(why)

    async def run(self) -> None:
        """Look after it for as long as the process lasts."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            self._changed.clear()
            with suppress(PeerDownError):  # It is asked again once it answers.
                await self.offer()

    async def offer(self) -> None:
        """Hand the list over, if the guard holds an older one and was not offered it of late.

        Raises:
            PeerDownError: the guard did not answer.
        """
        ring, held, now_ms = self._keys.ring, self._of_guard(), self._clock.now_ms()
        version, at_ms = self._offered
        if (
            self._guard is None
            or held is None
            or held >= ring.version
            or (version == ring.version and now_ms - at_ms < AGAIN_MS)
        ):
            return
        await self._guard.ask(TellFleetSeen(self._topic, ring.sealed))
        self._offered = ring.version, now_ms
