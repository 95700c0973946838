"""The simulated parties: fleet managers, and the gateway around the real ledger, streams and gate."""

from pathlib import Path

from agent.ledger.ledger import Ledger
from agent.model.identity import CityId, GatewayId
from agent.model.observation import PointValue, Quality
from agent.wire import envelope
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.leadership import Leadership
from agent.wire.messages import SCHEMA, Ack, Birth, CommandMessage, FleetState, StreamHead, encode
from agent.wire.receiving import Fate, Inbound
from agent.wire.sealing import open_ack, open_batch, open_birth, open_state, seal_message
from agent.wire.streams import Lanes, Outbound, Pacer, Unmoved, gap_of
from agent.wire.topics import Topic, down, fleet_state, up
from tests.sync_world import World
from tests.wire.party import CITY, GATEWAY, ring, signer

STREAMS = ("alarm", "state", "tele", "audit")
CITY_ID, GATEWAY_ID = CityId(CITY), GatewayId(GATEWAY)
KEYS = ring()
AGENT, DIRECTOR, ALICE = (signer(kid) for kid in (f"{GATEWAY}/agent/1", "director/1", "alice/1"))


class Room:
    """A fleet manager: verifies, stores, acknowledges after the commit. The standby does nothing."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.term = 0
        self.is_up = False
        self.beat = 0
        self.life = 0
        self.counter = 0
        self.nonce = b""
        self.inbound = Inbound()
        self.pending: list[tuple[str, int, int, bytes, list[object], StreamHead]] = []

    def lead(self) -> None:
        """Take the lease: a new term, and memory equal to the store."""
        self.world.store.term += 1
        self.term, self.is_up, self.beat, self.life = self.world.store.term, True, 0, self.life + 1
        self.pending.clear()
        self.inbound = Inbound((GATEWAY, head) for head in self.world.store.heads.values())
        self._announce(self.life)

    def crash(self) -> None:
        self.is_up = False
        self.pending.clear()

    def _announce(self, life: int) -> None:
        if not self.is_up or life != self.life:
            return
        self.beat += 1
        topic = fleet_state(CITY_ID)
        state = FleetState(SCHEMA, f"room-{self.number}", self.term, "b", self.world.clock.unix_ms(), self.beat, 1)
        for broker in (0, 1):
            self.world.send(broker, str(topic), seal_message(DIRECTOR, topic, state))
        self.world.after(5_000, lambda: self._announce(life))

    def receive(self, broker: int, topic: Topic, payload: bytes) -> None:
        if not self.is_up:
            return
        now_ms = self.world.clock.unix_ms()
        if topic.message_class == "birth":
            birth = open_birth(KEYS, payload, topic, now_ms)
            if isinstance(birth, Birth):
                self.nonce = birth.nonces["agent"]
                for floor in birth.floors:
                    if self.inbound.adopt(GATEWAY, floor):
                        self.world.store.heads[floor.stream] = floor
                self.inbound.committed()
            self._ack(broker)
            return
        opened = open_batch(KEYS, payload, topic, now_ms)
        batch = opened.batch
        known = self.world.store.links.get((batch.stream, batch.epoch, batch.seq))
        received = self.inbound.receive(batch, opened.digest, known[0] if known else None)
        assert received.fate is not Fate.FORKED or self.world.is_history_torn, received
        if received.fate is Fate.STORE:
            row = (batch.stream, batch.epoch, batch.seq, received.head.hash, list(batch.values), received.head)
            self.pending.append(row)
            if gap := gap_of(batch):
                self.world.store.gaps.append((batch.stream, gap.count))
        self.world.after(self.world.dice.uniform(1, 30), lambda: self._commit(broker))

    def _commit(self, broker: int) -> None:
        if not self.is_up:
            return
        store = self.world.store
        if self.term < store.term:  # The lease is another's: this transaction fails.
            self.pending.clear()
            self.inbound.rolled_back()
        for stream, epoch, seq, link_hash, values, head in self.pending:
            store.links.setdefault((stream, epoch, seq), (link_hash, values))
            store.heads[stream] = head
        self.pending.clear()
        self.inbound.committed()
        self._ack(broker)

    def _ack(self, broker: int) -> None:
        topic = down(CITY_ID, GATEWAY_ID, "ack")
        ack = Ack(SCHEMA, GATEWAY, self.term, self.inbound.acks(GATEWAY), rebirth=False)
        self.world.send(broker, str(topic), seal_message(DIRECTOR, topic, ack))

    def command(self) -> None:
        """Send a command with the newest nonce known."""
        if not self.is_up or self.term < self.world.store.term or not self.nonce:
            return
        topic = down(CITY_ID, GATEWAY_ID, "cmd")
        number = self.world.clock.now_ms()  # Rises over both managers, as the shared store's counter does.
        message = CommandMessage(
            SCHEMA, f"c{number}", ALICE.kid.decode(), GATEWAY, "seg-1", "release-level", {}, self.nonce, number, 0,
            self.world.clock.unix_ms() + 20_000, None, None,
        )  # fmt: skip
        sealed = envelope.join_set([ALICE.seal(encode(message), topic)])
        for broker in (0, 1):
            self.world.send(broker, str(topic), sealed)


class Gateway:
    """The agent: journal, courier logic and gate around the real parts."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path
        self.produced: dict[str, list[int]] = {stream: [] for stream in STREAMS}
        self.rejected: dict[str, int] = {}
        self.image: tuple[bytes, dict[str, int]] | None = None
        self.broker = 0
        self.is_up = False
        self.life = 0
        self.start()

    def start(self) -> None:
        world = self.world
        self.ledger = Ledger(
            self.path, AGENT, CITY, GATEWAY, STREAMS, world.clock, quotas=world.quotas, tail_links=world.tail_links
        )
        assert self.ledger.damage is None
        self.is_up, self.life = True, self.life + 1
        self.outbounds = {
            stream: Outbound(self.ledger.head(stream), self.ledger.acked(stream).seq) for stream in STREAMS
        }
        self.lanes = Lanes(self.outbounds.values(), Pacer(200_000))
        self.leadership = Leadership()
        self.gate = CommandGate(KEYS, Nonces(world.dice.randbytes, world.clock.now_ms()))
        self.counters = self.ledger.counters
        self.connect(self.broker)
        self._pump(self.life)

    def crash(self) -> None:
        self.is_up = False
        self.ledger.close()

    def take_image(self) -> None:
        """Copy the storage card."""
        if self.is_up:
            self.crash()
            ends = {stream: len(values) for stream, values in self.produced.items()}
            self.image = (self.path.read_bytes(), ends)
            self.start()

    def put_image_back(self) -> None:
        """Start again from the copy: what only this card knew since is lost, and numbers will be used twice."""
        assert self.image is not None
        self.crash()
        data, ends = self.image
        self.path.write_bytes(data)
        self.path.with_name(self.path.name + "-wal").unlink(missing_ok=True)
        self.world.may_be_lost = {
            (stream, value) for stream, values in self.produced.items() for value in values[ends[stream] :]
        }
        self.start()

    def connect(self, broker: int) -> None:
        self.broker = broker
        if not self.is_up:
            return
        self.leadership.connected()
        for outbound in self.outbounds.values():
            outbound.restart()
        self._birth()

    def _birth(self) -> None:
        topic = up(CITY_ID, GATEWAY_ID, "birth")
        now_ms = self.world.clock.now_ms()
        birth = Birth(
            GATEWAY, self.ledger.next_number("conn"), "", self.world.clock.unix_ms(), 2,
            {"agent": self.gate.nonces.current(now_ms)}, [], [self.ledger.head(each) for each in STREAMS], [], "",
            [self.ledger.floor(each) for each in STREAMS],
        )  # fmt: skip
        self.world.send(self.broker, str(topic), seal_message(AGENT, topic, birth))

    def produce(self) -> None:
        if not self.is_up:
            return
        stream = self.world.dice.choice(STREAMS)
        first = len(self.produced[stream])
        values = range(first, first + self.world.dice.randint(1, 5))
        samples = [PointValue("p/x", value, Quality.GOOD, self.world.clock.unix_ms()) for value in values]
        self.ledger.append_samples(stream, samples)
        self.produced[stream] += values
        self.outbounds[stream].committed(self.ledger.head(stream))

    def _pump(self, life: int) -> None:
        if not self.is_up or life != self.life:
            return
        now_ms = self.world.clock.now_ms()
        for stream, outbound in self.outbounds.items():
            if regressed := outbound.tick(now_ms):
                self.ledger.regressed(stream, regressed.seq)
                outbound.rewind(self.ledger.acked(stream).seq)
                self._birth()
        while want := self.lanes.want(now_ms):
            outbound = self.outbounds[want.stream]
            links = self.ledger.sealed_after(want.stream, want.epoch, want.after_seq, want.limit)
            for link in outbound.sending(want, links, now_ms):
                self.lanes.spent(outbound, len(link.sealed))
                self.world.send(self.broker, str(up(CITY_ID, GATEWAY_ID, want.stream)), link.sealed)
            if not links:
                break
        self.world.after(25, lambda: self._pump(life))

    def receive(self, topic: Topic, payload: bytes) -> None:
        if not self.is_up:
            return
        try:
            self._take_in(topic, payload)
        except (WireError, TrustError) as error:
            self.rejected[error.reason] = self.rejected.get(error.reason, 0) + 1

    def _take_in(self, topic: Topic, payload: bytes) -> None:
        clock = self.world.clock
        if topic.message_class == "state":
            if self.leadership.receive(open_state(KEYS, payload, topic, clock.unix_ms()), clock.now_ms()):
                for outbound in self.outbounds.values():
                    outbound.restart()
        elif topic.message_class == "cmd":
            admitted = self.gate.admit(payload, topic, self.counters, clock.now_ms(), clock.unix_ms(), clock.quality())
            if isinstance(admitted, Admitted):
                self.ledger.raise_counter(admitted.kid, admitted.counter)
                self.counters[admitted.kid] = admitted.counter
                self.world.executed.append(admitted.message.command_id)
        else:
            ack = open_ack(KEYS, payload, topic, clock.unix_ms())
            if self.leadership.accepts(ack.term):
                for head in ack.heads:
                    self._take_ack(head)

    def _take_ack(self, head: StreamHead) -> None:
        outbound = self.outbounds[head.stream]
        own = outbound.in_flight_hash(head.seq) or self.ledger.hash_at(head.stream, head.epoch, head.seq)
        if not isinstance(outbound.receive_ack(head, own, self.world.clock.now_ms()), Unmoved):
            self.ledger.acknowledged(head)
            outbound.committed(self.ledger.head(head.stream))
        # A link acknowledged after it was shed is news to the stream only.
        assert outbound.acked_seq >= self.ledger.acked(head.stream).seq
