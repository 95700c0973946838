"""Live updates for browsers: one bounded queue each. A browser that falls behind is told to fetch everything again.

Point changes are gathered and sent a few times a second, so that a busy city costs each browser the same as a quiet one.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import msgspec
from msgspec import Struct

from fleet.answers import CommandAnswer, EventAnswer, GatewayAnswer
from fleet.district import points_message
from fleet.registry import Registry

MESSAGES_PER_BROWSER_MAX = 1_000
BROWSERS_MAX = 200
TOUCHED_PER_FLUSH_MAX = 300
"""Pieces of equipment told per flush, four flushes a second; the rest waits for the next."""
TOUCHED_MAX = 10_000
"""More than this waiting: one fetch of the district is cheaper."""
RESYNC = ("resync", "{}")
END = "end"

Message = tuple[str, str]


class Broadcast:
    """Everything the browsers are told."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Message]] = set()
        self._changed: dict[tuple[str, str], set[str]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Message]]:
        """Take part until the block ends."""
        queue: asyncio.Queue[Message] = asyncio.Queue(MESSAGES_PER_BROWSER_MAX)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def event(self, event: EventAnswer) -> None:
        """Something happened."""
        self._say("event", event)

    def command(self, command: CommandAnswer) -> None:
        """A command took a step."""
        self._say("command", command)

    def gateway(self, gateway: GatewayAnswer) -> None:
        """A gateway's link or figures changed."""
        self._say("gateway", gateway)

    def resync(self) -> None:
        """Equipment came or went: everybody fetches the district again."""
        self._put(RESYNC)

    def touched(self, gateway: str, equipment: str, name: str = "") -> None:
        """A point, or with an empty name the mode or latch, has changed; told with the next ``flush``."""
        if self._queues:
            names = self._changed.setdefault((gateway, equipment), set())
            if name:
                names.add(name)

    def flush(self, registry: Registry, now_ms: int) -> None:
        """Tell what was touched since the last time."""
        if not self._queues or len(self._changed) > TOUCHED_MAX:
            self._changed.clear()
            self._put(RESYNC)
            return
        for key in list(islice(self._changed, TOUCHED_PER_FLUSH_MAX)):
            names = self._changed.pop(key)
            gateway = registry.gateways.get(key[0])
            if gateway is not None:
                self._say("points", points_message(gateway, key[1], sorted(names), now_ms))

    def end(self) -> None:
        """The manager stops: let every stream end by itself."""
        self._put((END, ""))

    def _say(self, name: str, message: Struct) -> None:
        if self._queues:
            self._put((name, msgspec.json.encode(message).decode()))

    def _put(self, message: Message) -> None:
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                message_for_it = RESYNC
            else:
                message_for_it = message
            queue.put_nowait(message_for_it)
