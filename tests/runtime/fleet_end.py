"""The other end of the wire: verifies, stores in memory, acknowledges, commands. Made of agent.wire's parts alone."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping

import aiomqtt

from agent.model.observation import Quality, Scalar
from agent.wire import sealing
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Ack, Batch, Birth, Death, FleetState, Heartbeat, Outcome, Value
from agent.wire.receiving import Fate, Inbound
from agent.wire.sealing import seal_message
from agent.wire.topics import STREAMS, Topic, down, fleet_state, parse
from tests.guard.people import People
from tests.waiting import wait_until

RECONNECT_S = 0.05
TERM = 3


def unix_ms() -> int:
    """Wall time."""
    return time.time_ns() // 1_000_000


class FleetEnd:
    """One city's manager for one gateway."""

    def __init__(self, people: People, port: int) -> None:
        self.people, self._port = people, port
        self._client: aiomqtt.Client | None = None
        self._beat = 0
        self.inbound = Inbound()
        self.batches: list[Batch] = []
        self.fates: list[Fate] = []
        self.births: list[Birth] = []
        self.heartbeats: list[Heartbeat] = []
        self.deaths: list[Death] = []
        self.outcomes: dict[str, tuple[Outcome, str]] = {}
        self.latest: dict[str, tuple[Scalar, Quality]] = {}
        self.is_acknowledging = True

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._client is not None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FleetEnd"]:
        """Listen for as long as the block lasts, whatever becomes of the broker."""
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen_for_ever())
            try:
                yield self
            finally:
                listening.cancel()

    async def _listen_for_ever(self) -> None:
        while True:  # Until the test ends.
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "127.0.0.1", self._port, protocol=aiomqtt.ProtocolVersion.V5, timeout=5
                ) as client:
                    await client.subscribe(f"armoire/1/{self.people.city}/{self.people.gateway}/up/#", qos=1)
                    self._client = client
                    await self.say_state()
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        await self._take(parse(str(message.topic)), message.payload)
            self._client = None
            await asyncio.sleep(RECONNECT_S)

    async def _take(self, topic: Topic, sealed: bytes) -> None:
        ring = self.people.ring
        match topic.message_class:
            case "birth":
                message = sealing.open_birth(ring, sealed, topic, unix_ms())
                if isinstance(message, Birth):
                    self.births.append(message)
                    await self.acknowledge()
                else:
                    self.heartbeats.append(message)
            case "death":
                self.deaths.append(sealing.open_death(ring, sealed, topic, unix_ms()))
            case "result":
                outcome, role = sealing.open_result(ring, sealed, topic, unix_ms())
                self.outcomes[outcome.command_id] = outcome, role
            case stream:
                assert stream in STREAMS
                opened = sealing.open_batch(ring, sealed, topic, unix_ms())
                received = self.inbound.receive(opened.batch, opened.digest)
                self.fates.append(received.fate)
                if received.fate is Fate.STORE:
                    self._store(opened.batch)
                    self.inbound.committed()
                await self.acknowledge()

    def _store(self, batch: Batch) -> None:
        self.batches.append(batch)
        quality = dict(batch.quality)
        for n, (place, value) in enumerate(zip(batch.points, batch.values, strict=True)):
            self.latest[batch.names[place]] = value, Quality(quality.get(n, 0))

    async def _say(self, topic: Topic, sealed: bytes, *, retain: bool = False) -> None:
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await self._client.publish(str(topic), sealed, qos=1, retain=retain)

    async def acknowledge(self) -> None:
        """Say what is stored."""
        if self.is_acknowledging:
            topic = down(self.people.city, self.people.gateway, "ack")
            ack = Ack(SCHEMA, self.people.gateway, TERM, self.inbound.acks(self.people.gateway), False)
            await self._say(topic, seal_message(self.people.director, topic, ack))

    async def say_state(self) -> None:
        """Say that we lead."""
        self._beat += 1
        topic = fleet_state(self.people.city)
        state = FleetState(SCHEMA, "fleet-1", TERM, "broker-1", unix_ms(), self._beat, 1)
        await self._say(topic, seal_message(self.people.director, topic, state), retain=True)

    async def command(
        self,
        executor: str,
        equipment: str,
        verb: str,
        args: Mapping[str, Value] | None,
        *signers: Signer,
    ) -> tuple[Outcome, str]:
        """Send a sealed command and wait for its sealed result; with the role that signed it."""
        nonce = (self.heartbeats[-1:] or self.births[-1:])[0].nonces[executor]
        message = self.people.message(signers[0], equipment, verb, nonce, dict(args or {}))
        await self._say(self.people.command_topic, self.people.seal(message, *signers))
        await wait_until(lambda: message.command_id in self.outcomes)
        return self.outcomes[message.command_id]

    async def until_latest(self, point: str, holds: Callable[[Scalar, Quality], bool]) -> None:
        """Wait until a point has arrived as expected."""
        await wait_until(lambda: point in self.latest and holds(*self.latest[point]))

    def check_chains(self) -> None:
        """Every stream: one epoch, numbers from 1 without a hole. (Hashes are checked by ``Inbound``.)"""
        for stream in STREAMS:
            links = [(batch.epoch, batch.seq) for batch in self.batches if batch.stream == stream]
            assert [seq for _, seq in links] == list(range(1, len(links) + 1)), f"{stream}: {links}"
            assert len({epoch for epoch, _ in links}) <= 1
        assert Fate.FORKED not in self.fates
        assert Fate.STALE not in self.fates
