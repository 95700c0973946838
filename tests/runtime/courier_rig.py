"""A courier of its own journal on a real broker, and a manager in miniature at the other end."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.process.clock import Clock
from agent.runtime.backoff import Backoff
from agent.runtime.connections import ConnectionNumbers
from agent.runtime.courier import Courier
from agent.runtime.errors import TransportError
from agent.runtime.journal import Journal
from agent.runtime.mqtt import Broker, Transport
from agent.runtime.sources import JournalLinks, LinkSource
from agent.wire.gate import Nonces
from agent.wire.messages import SCHEMA, Ack, Birth, Death, FleetState, Heartbeat, StreamHead
from agent.wire.receiving import Fate, Inbound
from agent.wire.rejections import Notice
from agent.wire.sealing import open_batch, open_birth, open_death, seal_message
from agent.wire.topics import ROOT, Topic, down, fleet_state, parse, up
from tests.wire.party import CITY, GATEWAY, ring, signer

AGENT, DIRECTOR, GUARD = (signer(kid) for kid in (f"{GATEWAY}/agent/1", "director/1", f"{GATEWAY}/guard/1"))
FAST = Backoff(0.01, 0.05)
KEYS = ring()


@dataclass
class Fleet:
    """A manager in miniature on one broker."""

    transport: Transport
    inbound: Inbound = field(default_factory=Inbound)
    term: int = 1
    beat: int = 0
    is_acking: bool = True
    values: dict[str, list[Any]] = field(default_factory=dict)
    births: list[Birth] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await self.transport.subscribe([f"{ROOT}/{CITY}/+/up/#"])
        async for text, payload in self.transport.messages():
            topic = parse(text)
            match topic.message_class:
                case "birth":
                    message = open_birth(KEYS, payload, topic, None)
                    self.births.append(message) if isinstance(message, Birth) else self.beats.append(message)
                    await self.ack()
                case "death":
                    self.deaths.append(open_death(KEYS, payload, topic, None))
                case "result":
                    self.results.append(payload)
                case stream:
                    opened = open_batch(KEYS, payload, topic, None)
                    if self.inbound.receive(opened.batch, opened.digest).fate is Fate.STORE:
                        self.values.setdefault(stream, []).extend(opened.batch.values)
                    self.inbound.committed()
                    await self.ack()
            self.changed.set()

    async def ack(self, *, rebirth: bool = False) -> None:
        if self.is_acking:
            topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
            ack = Ack(SCHEMA, GATEWAY, self.term, self.inbound.acks(GATEWAY), rebirth)
            await self.transport.publish(str(topic), seal_message(DIRECTOR, topic, ack))

    async def state(self) -> None:
        self.beat += 1
        topic = fleet_state(CITY)  # type: ignore[arg-type]
        state = FleetState(SCHEMA, "room-1", self.term, "b", Clock().unix_ms(), self.beat, 1)
        await self.transport.publish(str(topic), seal_message(DIRECTOR, topic, state), retain=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()


@contextlib.asynccontextmanager
async def fleet_on(port: int) -> AsyncIterator[Fleet]:
    async with Transport(Broker("127.0.0.1", port), f"fleet-{random.getrandbits(32)}") as transport:
        fleet = Fleet(transport)
        task = asyncio.ensure_future(fleet.run())
        try:
            yield fleet
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TransportError):
                await task


@dataclass
class House:
    """What stands behind the courier."""

    nonces: Nonces = field(default_factory=lambda: Nonces(os.urandom, 0))
    commands: list[bytes] = field(default_factory=list)
    key_lists: list[bytes] = field(default_factory=list)
    desired_states: list[bytes] = field(default_factory=list)
    changes: list[bool] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    is_free: asyncio.Event = field(default_factory=asyncio.Event)

    async def birth(self, conn: int, heads: list[StreamHead], floors: list[StreamHead]) -> Birth:
        nonces = {"agent": self.nonces.current(0)}
        return Birth(GATEWAY, conn, "Darcy", Clock().unix_ms(), 2, nonces, [], heads, [], "0", floors)

    async def heartbeat(self, conn: int, beat: int, heads: list[StreamHead]) -> Heartbeat:
        return Heartbeat(GATEWAY, conn, beat, Clock().unix_ms(), 2, {"agent": self.nonces.current(0)}, {}, heads, 0)

    async def command(self, sealed: bytes, topic: str) -> bytes | None:
        self.commands.append(sealed)
        if sealed == b"nobody":
            return None
        if sealed == b"slow":
            await self.is_free.wait()
        return AGENT.seal(b"result of " + sealed, up(CITY, GATEWAY, "result"))  # type: ignore[arg-type]

    async def key_list(self, sealed: bytes) -> None:
        self.key_lists.append(sealed)

    async def desired(self, topic: Topic, sealed: bytes) -> None:
        self.desired_states.append(sealed)

    async def link_changed(self, text: str, *, is_up: bool) -> None:
        self.changes.append(is_up)

    def rejected(self, notice: Notice) -> None:
        self.notices.append(notice)


@dataclass
class Running:
    journal: Journal
    courier: Courier
    house: House
    task: "asyncio.Task[None]"


@contextlib.asynccontextmanager
async def courier_to(
    path: Path, *ports: int, sources: tuple[LinkSource, ...] = (), **kwargs: Any
) -> AsyncIterator[Running]:
    house = House()
    async with Journal(path, AGENT, CITY, GATEWAY, Clock()) as journal:
        courier = Courier(
            CITY,
            GATEWAY,
            [Broker("127.0.0.1", port) for port in ports],
            AGENT,
            lambda: KEYS,
            (JournalLinks(journal), *sources),
            house,
            Clock(),
            ConnectionNumbers(journal, Clock()).next,
            backoff=FAST,
            dice=random.Random(1),
            **kwargs,
        )
        task = asyncio.ensure_future(courier.run())
        try:
            yield Running(journal, courier, house, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
