"""A third ear on the broker: sees links and acks with their times, and asks nothing of anybody.

It believes what it reads without verifying: it keeps time, not the peace.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiomqtt

from agent.wire import envelope
from agent.wire.messages import Ack, Batch, Value, decode
from agent.wire.topics import parse
from benchmarks.child import BenchError
from benchmarks.town import CITY

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One sample on the wire: its value, its link, and when (monotonic seconds)."""

    value: Value
    seq: int
    at_s: float


@dataclass(slots=True)
class Witness:
    """What has been seen so far."""

    births: dict[str, float] = field(default_factory=dict)
    samples: dict[tuple[str, str], Sighting] = field(default_factory=dict)
    links: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)
    acks: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, what: str, find: Callable[[], float | None], timeout_s: float = WAIT_S) -> float:
        """Wait for something to have been seen; return when that was."""
        try:
            async with asyncio.timeout(timeout_s):
                while (at_s := find()) is None:
                    self._changed.clear()
                    await self._changed.wait()
                return at_s
        except TimeoutError as error:
            raise BenchError(f"not seen within {timeout_s:.0f} s: {what}") from error

    def acked_at(self, gateway: str, stream: str, seq: int) -> float | None:
        """When the manager first acknowledged a link."""
        found = (at_s for acked, at_s in self.acks.get((gateway, stream), ()) if acked >= seq)
        return next(found, None)

    def take(self, topic_text: str, payload: bytes) -> None:
        """Note one message."""
        at_s = time.monotonic()
        topic = parse(topic_text)
        gateway, kind = str(topic.gateway), topic.message_class
        if kind == "birth":
            self.births.setdefault(gateway, at_s)
        elif kind == "ack":
            for head in decode(envelope.parse(payload).payload, Ack).heads:
                self.acks.setdefault((gateway, head.stream), []).append((head.seq, at_s))
        elif kind == "state":
            batch = decode(envelope.parse(payload).payload, Batch)
            self.links.setdefault((gateway, kind), {}).setdefault(batch.seq, at_s)
            for index, value in zip(batch.points, batch.values, strict=True):
                self.samples[gateway, batch.names[index]] = Sighting(value, batch.seq, at_s)
        self._changed.set()


@asynccontextmanager
async def witness(port: int) -> AsyncIterator[Witness]:
    """Listen for the length of the block."""
    seen = Witness()
    async with aiomqtt.Client(
        "127.0.0.1", port, identifier="witness", protocol=aiomqtt.ProtocolVersion.V5, timeout=10
    ) as client:
        for kind in ("up/birth", "up/state", "down/ack"):
            await client.subscribe(f"armoire/1/{CITY}/+/{kind}", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                seen.take(message.topic.value, message.payload)

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            try:
                yield seen
            finally:
                listening.cancel()
