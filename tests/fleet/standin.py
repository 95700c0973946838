"""A gateway's voice without a gateway: real keys, real envelopes, real chains."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import aiomqtt

from agent.model.identity import CityId, GatewayId
from agent.model.observation import ClockQuality
from agent.wire import sealing, topics
from agent.wire.envelope import digest
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.keyfile import Signer
from agent.wire.messages import (
    SCHEMA,
    Ack,
    Batch,
    Birth,
    CommandMessage,
    Death,
    DesiredReport,
    EquipmentCard,
    Event,
    Heartbeat,
    Outcome,
    StreamHead,
    Value,
)
from agent.wire.streams import NO_HASH, Link, Outbound
from agent.wire.topics import Topic
from agent.wire.trust import KeyRing

SEGMENT = EquipmentCard(
    "segment-1", "segment", "Rue <b>Musette</b>", 47.322, 5.041, "agent", ["set-level", "release-level"], ""
)
JUNCTION = EquipmentCard(
    "junction-1", "junction", "Place Darcy", 47.323, 5.034, "guard", ["select-plan", "flash", "release", "reset"], ""
)
LAMP = EquipmentCard("lamp-1", "lamp", "Lamp 1", 47.3221, 5.0411, "", [], "segment-1")
EQUIPMENT = [SEGMENT, JUNCTION, LAMP]


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class StandIn:
    """Says what a gateway says. Sans-IO: every method gives (topic, bytes)."""

    city: CityId
    id: GatewayId
    agent: Signer
    guard: Signer
    conn: int = 1
    beat: int = 0
    epoch: int = 1
    links: dict[str, list[Link]] = field(default_factory=dict)
    nonces: dict[str, bytes] = field(default_factory=lambda: {"agent": os.urandom(16), "guard": os.urandom(16)})
    followed: tuple[int, int] = (0, 0)
    desired: DesiredReport | None = None
    modes: dict[str, str] = field(default_factory=lambda: {"segment-1": "supervised", "junction-1": "supervised"})

    def topic(self, message_class: str) -> Topic:
        return topics.up(self.city, self.id, message_class)

    def birth(
        self,
        equipment: Iterable[EquipmentCard] = EQUIPMENT,
        t_ms: int | None = None,
        floors: Iterable[StreamHead] = (),
    ) -> tuple[str, bytes]:
        message = Birth(
            gateway=self.id,
            conn=self.conn,
            name="Place Darcy",
            t_ms=unix_ms() if t_ms is None else t_ms,
            clock=2,
            nonces=self.nonces,
            counters=[],
            heads=[self.head(stream) for stream in self.links],
            equipment=list(equipment),
            software="armoire 0.1.0",
            floors=list(floors),
            fleet_term=self.followed[0],
            fleet_issued_ms=self.followed[1],
            desired=self.desired,
        )
        return self.say("birth", message)

    def heartbeat(self, unsealed: int = 0) -> tuple[str, bytes]:
        self.beat += 1
        heads = [self.head(stream) for stream in self.links]
        message = Heartbeat(
            self.id, self.conn, self.beat, unix_ms(), 2, self.nonces, self.modes, heads, unsealed, *self.followed,
            desired=self.desired,
        )  # fmt: skip
        return self.say("birth", message)

    def death(self) -> tuple[str, bytes]:
        return self.say("death", Death(SCHEMA, self.id, self.conn))

    def say(self, message_class: str, message: object, signer: Signer | None = None) -> tuple[str, bytes]:
        topic = self.topic(message_class)
        return str(topic), sealing.seal_message(signer or self.agent, topic, message)  # type: ignore[arg-type]

    def samples(
        self, values: dict[str, Value], stream: str = "state", t_ms: int | None = None, quality: int = 0
    ) -> tuple[str, bytes]:
        """One batch with one sample of each point."""
        names = list(values)
        count = range(len(names))
        return self.link(
            stream,
            names=names,
            points=list(count),
            dt_ms=[0 for _ in count],
            quality=[(n, quality) for n in count if quality],
            values=list(values.values()),
            t0_ms=unix_ms() if t_ms is None else t_ms,
        )

    def event(
        self, kind: str, equipment: str = "", rule: str = "", text: str = "", stream: str = "audit"
    ) -> tuple[str, bytes]:
        return self.link(stream, events=[Event(0, kind, equipment, rule, text, {"why": "test"})])

    def link(self, stream: str, **fields: object) -> tuple[str, bytes]:
        """The next link of a stream, kept as a gateway keeps it."""
        head = self.head(stream)
        empty: dict[str, object] = {"names": [], "points": [], "dt_ms": [], "quality": [], "values": [], "events": []}
        batch = Batch(
            **{  # type: ignore[arg-type]
                "schema": SCHEMA,
                "gateway": self.id,
                "stream": stream,
                "epoch": self.epoch,
                "seq": head.seq + 1,
                "prev": head.hash,
                "t0_ms": unix_ms(),
                "mono_ms": 0,
                "clock": 2,
                **empty,
                **fields,
            }
        )
        topic, sealed = self.say(stream, batch, self.guard if stream == "safety" else self.agent)
        self.links.setdefault(stream, []).append(Link(batch.seq, digest(sealed), sealed))
        return topic, sealed

    def head(self, stream: str) -> StreamHead:
        links = self.links.get(stream)
        if not links:
            return StreamHead(stream, self.epoch, 0, NO_HASH)
        return StreamHead(stream, self.epoch, links[-1].seq, links[-1].hash)

    def outcome(
        self,
        command: CommandMessage,
        ended: str = "done",
        rule: str = "",
        reason: str = "as asked",
        issuer: str = "alice/1",
        signer: Signer | None = None,
    ) -> tuple[str, bytes]:
        message = Outcome(
            SCHEMA, command.command_id, self.id, command.equipment, command.verb, issuer, ended, rule, reason,
            "the level is 60 %", unix_ms(),
        )  # fmt: skip
        return self.say("result", message, signer)


Answering = Callable[[CommandMessage], tuple[str, str, str] | None]
"""(ended, rule, reason), or None to stay silent."""


@dataclass
class LiveGateway:
    """A stand-in on a real broker: births, beats, sends its streams until acknowledged, answers commands."""

    voice: StandIn
    ring: KeyRing
    port: int
    answer: Answering = lambda _command: ("done", "", "as asked")
    acks: list[Ack] = field(default_factory=list)
    key_lists: list[bytes] = field(default_factory=list)
    desired_states: list[bytes] = field(default_factory=list)
    commands: list[CommandMessage] = field(default_factory=list)
    outbound: dict[str, Outbound] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    client: aiomqtt.Client | None = None
    counters: dict[str, int] = field(default_factory=dict)
    gate: CommandGate | None = None

    @contextlib.asynccontextmanager
    async def connected(self, beat_s: float = 0.5) -> AsyncIterator["LiveGateway"]:
        """On the broker for the length of the block."""
        self.gate = CommandGate(self.ring, Nonces(os.urandom, 0))
        nonce = self.gate.nonces.current(0)
        self.voice.nonces = {"agent": nonce, "guard": nonce}
        async with aiomqtt.Client(
            "127.0.0.1", self.port, identifier=self.voice.id, protocol=aiomqtt.ProtocolVersion.V5, timeout=5
        ) as client:
            self.client = client
            await client.subscribe(f"armoire/1/{self.voice.city}/{self.voice.id}/down/#", qos=1)
            await self.publish(self.voice.birth())
            async with asyncio.TaskGroup() as tasks:
                inside = [
                    tasks.create_task(self._listen(client)),
                    tasks.create_task(self._beat(beat_s)),
                    tasks.create_task(self._send()),
                ]
                try:
                    yield self
                finally:
                    for task in inside:
                        task.cancel()

    async def publish(self, message: tuple[str, bytes]) -> None:
        assert self.client is not None
        await self.client.publish(message[0], message[1], qos=1)

    def tell(self, message: tuple[str, bytes]) -> None:
        """Queue a link made by the voice: it is sent, and again until acknowledged."""
        stream = topics.parse(message[0]).message_class
        head = self.voice.head(stream)
        outbound = self.outbound.get(stream)
        if outbound is None:
            outbound = self.outbound[stream] = Outbound(StreamHead(stream, self.voice.epoch, 0, NO_HASH), 0)
        outbound.committed(head)
        self.changed.set()

    async def wait_acknowledged(self, timeout_s: float = 20) -> None:
        """Until everything told is durable at the fleet."""
        async with asyncio.timeout(timeout_s):
            while any(each.backlog for each in self.outbound.values()):  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.01)

    async def _beat(self, beat_s: float) -> None:
        while True:
            await asyncio.sleep(beat_s)
            await self.publish(self.voice.heartbeat())

    async def _send(self) -> None:
        while True:
            self.changed.clear()
            for stream, outbound in list(self.outbound.items()):
                outbound.tick(_now_ms())
                want = outbound.want()
                if want is not None:
                    kept = self.voice.links[stream][want.after_seq : want.after_seq + want.limit]
                    for link in outbound.sending(want, kept, _now_ms()):
                        await self.publish((str(self.voice.topic(stream)), link.sealed))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self.changed.wait()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = topics.parse(message.topic.value)
            data = bytes(message.payload)
            if topic.message_class == "ack":
                self._acknowledged(sealing.open_ack(self.ring, data, topic, unix_ms()))
            elif topic.message_class == "keys":
                self.key_lists.append(data)
            elif topic.message_class == "desired":
                self.desired_states.append(data)
            elif topic.message_class == "cmd":
                await self._command(data, topic)

    def _acknowledged(self, ack: Ack) -> None:
        self.acks.append(ack)
        for head in ack.heads:
            if outbound := self.outbound.get(head.stream):
                links = self.voice.links[head.stream]
                own = links[head.seq - 1].hash if 0 < head.seq <= len(links) else None
                outbound.receive_ack(head, own, _now_ms())
        self.changed.set()

    async def _command(self, data: bytes, topic: Topic) -> None:
        assert self.gate is not None
        try:
            admitted = self.gate.admit(data, topic, self.counters, 1, unix_ms(), ClockQuality.NETWORK)
        except (WireError, TrustError):
            return
        if not isinstance(admitted, Admitted):
            return
        self.counters[admitted.kid] = admitted.counter
        self.commands.append(admitted.message)
        said = self.answer(admitted.message)
        if said is not None:
            signer = self.voice.guard if admitted.message.equipment == JUNCTION.id else self.voice.agent
            await self.publish(self.voice.outcome(admitted.message, *said, issuer=admitted.kid, signer=signer))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
