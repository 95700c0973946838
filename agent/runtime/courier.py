"""The courier: carries sealed links and results to the fleet, and acks, states and commands back. Trusted with nothing.

Whatever it loses, repeats or reorders is put right by the streams (``agent.wire.streams``) and the gate
(``agent.wire.gate``). It never stops: brokers are tried in turn, with growing and jittered pauses.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from agent.ledger.errors import LedgerError
from agent.model.identity import CityId, GatewayId
from agent.process.clock import Clock
from agent.runtime.backoff import Backoff
from agent.runtime.carried import Carried
from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Broker, Transport, Will
from agent.runtime.sources import LinkSource
from agent.wire.errors import TrustError, WireError
from agent.wire.flight import BYTES_FIRST, Flight, fitting
from agent.wire.keyfile import KeyFileError, Signer
from agent.wire.leadership import Leadership
from agent.wire.messages import HEARTBEAT_S, SCHEMA, Death
from agent.wire.rejections import Rejections
from agent.wire.sealing import open_ack, open_state, seal_message
from agent.wire.streams import Lanes, Outbound, Pacer, Unmoved, Want
from agent.wire.topics import ROOT, Topic, fleet_state, parse, up
from agent.wire.trust import KeyRing

SHORT_SESSION_S = 60.0
"""A session that ends sooner counts as a failure: brokers that accept and then kick must not be hammered."""
WATCH_S = 1.0
PATIENCE_S = 600.0
"""For one publish: how the answers come decides long before whether the connection is dead (``agent.wire.flight``)."""
COMMANDS_MAX = 256
"""Commands waiting for their turn, more than one fleet may have open; what comes beyond is counted, not kept."""
RESULTS_MAX = 64
REBIRTH_INTERVAL_S = 1.0
IDLE_S = 5.0
"""Upper bound of every wait: whatever signal was missed is made up for after it."""
FETCH_PAUSE_S = 0.5
FAREWELL_S = 1.0
BACKLOG_BYTES_PER_S = 250_000
"""Half of a poor mobile link (4 Mbit/s): catching up leaves the other half to what happens now."""

_log = logging.getLogger("armoire.courier")


@dataclass(slots=True)
class CourierFigures:
    """What ``status`` shows."""

    is_connected: bool = False
    broker: str = ""
    connections: int = 0
    conn: int = 0
    links_sent: int = 0
    commands_dropped: int = 0
    last_error: str = ""


class Courier:
    """One gateway's courier.

    Args:
        brokers: tried in this order. next_conn: a number that never repeats (``agent.runtime.connections``).
        ring: returns the key ring in force. signer: the agent's.
        sources: of the streams; each stream in one of them.
    """

    def __init__(
        self,
        city: str,
        gateway: str,
        brokers: Sequence[Broker],
        signer: Signer,
        ring: Callable[[], KeyRing],
        sources: Sequence[LinkSource],
        principal: Carried,
        clock: Clock,
        next_conn: Callable[[], Awaitable[int]],
        *,
        backoff: Backoff | None = None,
        dice: random.Random | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        backlog_bytes_per_s: int = BACKLOG_BYTES_PER_S,
    ) -> None:
        assert brokers
        self._city, self._gateway = CityId(city), GatewayId(gateway)
        self._brokers = brokers
        self._signer = signer
        self._ring = ring
        self._sources = sources
        self._principal = principal
        self._clock = clock
        self._next_conn = next_conn
        self._backoff = backoff or Backoff()
        self._dice = dice or random.Random()
        self._heartbeat_s = heartbeat_s
        self._source_of: dict[str, LinkSource] = {}
        self._outbounds: dict[str, Outbound] = {}
        self._pacer = Pacer(backlog_bytes_per_s)
        self._lanes = Lanes((), self._pacer)
        self._flights = {broker: Flight() for broker in brokers}
        self._flight = Flight()
        self._wake = asyncio.Event()
        self._birth_wanted = asyncio.Event()
        self._beat_wanted = asyncio.Event()
        self._commands: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(COMMANDS_MAX)
        self._results: deque[bytes] = deque(maxlen=RESULTS_MAX)
        self._answered = asyncio.Event()
        self.leadership = Leadership()
        self.rejections = Rejections()
        self.rejected = self.rejections.counts
        self.figures = CourierFigures()

    @property
    def backlog(self) -> dict[str, int]:
        """Links per stream that the fleet has not acknowledged."""
        return {stream: outbound.backlog for stream, outbound in self._outbounds.items()}

    @property
    def go_backs(self) -> int:
        """How often a stream was sent again for lack of progress."""
        return sum(outbound.go_backs for outbound in self._outbounds.values())

    def beat(self) -> None:
        """Send the next heartbeat at once. Call it when something it tells has changed: nonces above all."""
        self._beat_wanted.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.follow(self._wake.set))
            group.create_task(self._carry_out())
            await self._connect_for_ever()

    async def _connect_for_ever(self) -> None:
        failures = place = 0
        while True:  # Until the agent stops.
            broker = self._brokers[place % len(self._brokers)]
            began_ms = self._clock.now_ms()
            error = await self._try_session(broker)
            lasted_s = (self._clock.now_ms() - began_ms) / 1000
            await self._note_lost(broker, error)
            failures = failures + 1 if lasted_s < SHORT_SESSION_S else 0
            place += 1
            await asyncio.sleep(self._backoff.pause_s(failures, self._dice))

    async def _try_session(self, broker: Broker) -> str:
        """One connection, from first to last; return why it ended."""
        reason = ""
        try:
            conn = await self._next_conn()
            topic = self._topic("death")
            will = Will(str(topic), seal_message(self._signer, topic, Death(SCHEMA, self._gateway, conn)))
            self._flight = self._flights[broker]
            keepalive_s = self._flight.keepalive_s
            async with Transport(broker, self._gateway, will, keepalive_s=keepalive_s) as transport:
                await self._session(transport, broker, conn, will)
        except* (TransportError, LedgerError, KeyFileError) as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            reason = str(first)
        finally:
            self._flight.ended(self._clock.now_ms())
        return reason

    async def _session(self, transport: Transport, broker: Broker, conn: int, will: Will) -> None:
        await transport.subscribe((f"{ROOT}/{self._city}/{self._gateway}/down/+", str(fleet_state(self._city))))
        self.leadership.connected()
        self._take_heads()
        self._restart_streams()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(broker))
                await self._announce(transport, conn)
                self.figures.is_connected, self.figures.broker, self.figures.conn = True, str(broker), conn
                self.figures.connections += 1
                _log.info("connected to %s", broker)
                await self._principal.link_changed(f"connected to {broker}", is_up=True)
                group.create_task(self._receive(transport))
                group.create_task(self._send(transport))
                group.create_task(self._beat(transport, conn))
                group.create_task(self._rebirth(transport, conn))
                group.create_task(self._send_results(transport))
        except asyncio.CancelledError:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await transport.publish(will.topic, will.payload)
            raise

    async def _watch(self, broker: Broker) -> None:
        while True:  # Until the connection ends, or must.
            await asyncio.sleep(WATCH_S)
            if self._flight.is_stuck(self._clock.now_ms()):
                raise TransportError(f"{broker}: no answer to a message")

    async def _publish(self, transport: Transport, topic: str, sealed: bytes, ticket: int = 0) -> None:
        """Publish and account for it; ``ticket`` if it is accounted for already."""
        flight = self._flight
        ticket = ticket or flight.sent(len(sealed), self._clock.now_ms())
        await transport.publish(topic, sealed, patience_s=PATIENCE_S)
        was_full = flight.room_bytes <= 0
        flight.answered(ticket, self._clock.now_ms())
        if was_full:
            self._wake.set()

    async def _note_lost(self, broker: Broker, error: str) -> None:
        was_connected = self.figures.is_connected
        self.figures.is_connected = False
        if error != self.figures.last_error or was_connected:
            _log.warning("no connection to %s: %s", broker, error)
        self.figures.last_error = error
        if was_connected:
            await self._principal.link_changed(error, is_up=False)

    async def _announce(self, transport: Transport, conn: int) -> None:
        heads = [head for source in self._sources for head in source.heads]
        floors = [floor for source in self._sources for floor in await source.floors()]
        birth = self.leadership.tell(await self._principal.birth(conn, heads, floors))
        topic = self._topic("birth")
        await self._publish(transport, str(topic), seal_message(self._signer, topic, birth))

    async def _beat(self, transport: Transport, conn: int) -> None:
        topic = self._topic("birth")
        beat = 0
        while True:  # Until the connection ends.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_s):
                    await self._beat_wanted.wait()
            self._beat_wanted.clear()
            for notice in self.rejections.notices(self._clock.now_ms()):
                self._principal.rejected(notice)
            beat += 1
            heads = [head for source in self._sources for head in source.heads]
            message = self.leadership.tell(await self._principal.heartbeat(conn, beat, heads))
            await self._publish(transport, str(topic), seal_message(self._signer, topic, message))

    async def _rebirth(self, transport: Transport, conn: int) -> None:
        while True:  # Until the connection ends.
            await self._birth_wanted.wait()
            self._birth_wanted.clear()
            await self._announce(transport, conn)
            await asyncio.sleep(REBIRTH_INTERVAL_S)

    async def _send(self, transport: Transport) -> None:
        """Send links as the streams want them; wait for something to happen in between."""
        async with asyncio.TaskGroup() as group:
            away: set[str] = set()
            while True:  # Until the connection ends.
                self._wake.clear()
                self._take_heads()
                await self._tick()
                has_room = self._flight.room_bytes > 0
                want = self._lanes.want(self._clock.now_ms(), away) if has_room else None
                if want is not None:
                    if not await self._send_links(transport, want, group):
                        away.add(want.stream)  # Its source has nothing to give now; the others go on.
                    continue
                wait_ms = self._lanes.wait_ms(self._clock.now_ms())
                wait_s = IDLE_S if wait_ms is None or not has_room else min(IDLE_S, wait_ms / 1000 + 0.001)
                await self._wait_woken(FETCH_PAUSE_S if away else wait_s)
                away.clear()

    async def _send_links(self, transport: Transport, want: Want, group: asyncio.TaskGroup) -> bool:
        limit = want.limit if self._flight.room_bytes > BYTES_FIRST else 1
        links = await self._source_of[want.stream].sealed_after(want.stream, want.epoch, want.after_seq, limit)
        outbound = self._outbounds[want.stream]
        topic = str(self._topic(want.stream))
        now_ms = self._clock.now_ms()
        for link in outbound.sending(want, fitting(links, self._flight.room_bytes), now_ms):
            ticket = self._flight.sent(len(link.sealed), now_ms)
            group.create_task(self._publish(transport, topic, link.sealed, ticket))
            self._lanes.spent(outbound, len(link.sealed))
            self.figures.links_sent += 1
        return bool(links)

    async def _wait_woken(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    def _take_heads(self) -> None:
        """Meet new streams; tell the known ones where they end."""
        for source in self._sources:
            acked = {head.stream: head for head in source.acked}
            for head in source.heads:
                outbound = self._outbounds.get(head.stream)
                if outbound is not None:
                    outbound.committed(head)
                    continue
                at = acked.get(head.stream)
                seq = at.seq if at is not None and at.epoch == head.epoch else 0
                self._outbounds[head.stream] = Outbound(head, min(seq, head.seq))
                self._source_of[head.stream] = source
                self._lanes = Lanes(self._outbounds.values(), self._pacer)

    async def _tick(self) -> None:
        for stream, outbound in self._outbounds.items():
            outbound.answer_ms = self._flight.answer_ms(self._clock.now_ms())
            regressed = outbound.tick(self._clock.now_ms())
            if regressed is not None:
                _log.error("%s: the fleet has lost what it acknowledged after link %d", stream, regressed.seq)
                source = self._source_of[stream]
                await source.regressed(stream, regressed.seq)
                outbound.rewind(next(head.seq for head in source.acked if head.stream == stream))
                self._birth_wanted.set()  # It says where our store begins, for a fleet that holds even less.

    async def _receive(self, transport: Transport) -> None:
        async for text, payload in transport.messages():
            if not self.rejections.may_judge(text, self._clock.now_ms()):
                continue
            try:
                await self._take_in(parse(text), payload)
            except (WireError, TrustError) as error:
                self.rejections.rejected(text, error.reason, str(error), self._clock.now_ms())

    async def _take_in(self, topic: Topic, payload: bytes) -> None:
        time = self._clock.read()
        clock_ms = time.known_ms
        match topic.direction, topic.message_class:
            case "down", "ack":
                await self._take_ack(topic, payload, clock_ms)
            case "fleet", "state":
                state = open_state(self._ring(), payload, topic, clock_ms)
                if self.leadership.receive(state, time.now_ms, clock_ms, time.earliest_ms):
                    self._restart_streams(is_new_leader=True)
                self._clock.hear(state.issued_ms, is_live=self.leadership.heard_at_ms == time.now_ms)
                await self._pass_on(topic, payload)
            case "down", "cmd":
                try:
                    self._commands.put_nowait((str(topic), payload))
                except asyncio.QueueFull:
                    self.figures.commands_dropped += 1
            case "down", "keys":
                await self._principal.key_list(payload)
            case "down", "desired":
                await self._principal.desired(topic, payload)
            case _:
                self.rejections.count("unexpected")

    async def _take_ack(self, topic: Topic, payload: bytes, clock_ms: int | None) -> None:
        ack = open_ack(self._ring(), payload, topic, clock_ms)
        if not self.leadership.accepts(ack.term):
            self.rejections.count("old-term")
            return
        for head in ack.heads:
            outbound = self._outbounds.get(head.stream)
            if outbound is None:
                continue
            source = self._source_of[head.stream]
            own = outbound.in_flight_hash(head.seq) or await source.hash_at(head.stream, head.epoch, head.seq)
            verdict = outbound.receive_ack(head, own, self._clock.now_ms())
            if not isinstance(verdict, Unmoved):
                await source.acknowledged(head)
        await self._pass_on(topic, payload)
        if ack.rebirth:
            self._birth_wanted.set()
        self._wake.set()

    async def _pass_on(self, topic: Topic, payload: bytes) -> None:
        for source in self._sources:
            await source.fleet_message(str(topic), payload)

    def _restart_streams(self, *, is_new_leader: bool = False) -> None:
        for outbound in self._outbounds.values():
            outbound.restart(is_new_leader=is_new_leader)
        self._wake.set()

    async def _carry_out(self) -> None:
        """Commands one after the other, apart from the acks: an actuator may take its time, and outlast a connection."""
        while True:  # Until the courier is stopped.
            text, sealed = await self._commands.get()
            result = await self._principal.command(sealed, text)
            if result is None:
                self.rejections.rejected(text, "unanswered", "no command of anybody known", self._clock.now_ms())
                continue
            self._results.append(result)
            self._answered.set()

    async def _send_results(self, transport: Transport) -> None:
        topic = str(self._topic("result"))
        while True:  # Until the connection ends.
            self._answered.clear()
            while self._results:  # Bounded by RESULTS_MAX; the first ones from the connection before.
                result = self._results[0]
                await self._publish(transport, topic, result)
                if self._results[0] is result:  # Else it was pushed out meanwhile.
                    self._results.popleft()
            await self._answered.wait()

    def _topic(self, message_class: str) -> Topic:
        return up(self._city, self._gateway, message_class)
