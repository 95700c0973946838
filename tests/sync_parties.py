"""The simulated parties: fleet managers, and the gateway around the real ledger, streams and gate."""

from pathlib import Path

from agent.ledger.ledger import Ledger
from agent.model.identity import CityId, GatewayId
from agent.model.observation import PointValue, Quality
from agent.wire import envelope
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.leadership import Leadership
from agent.wire.messages import SCHEMA, Ack, Birth, CommandMessage, FleetState, Heartbeat, StreamHead, Value, encode
from agent.wire.receiving import Fate, Inbound
from agent.wire.sealing import open_ack, open_batch, open_birth, open_state, seal_message
from agent.wire.streams import Lanes, Outbound, Pacer, Unmoved, gap_of
from agent.wire.topics import Topic, down, fleet_state, up
from tests.sync_keys import AGENTS, ALICE, DIRECTOR, KEYS
from tests.sync_world import World
from tests.wire.party import CITY

STREAMS = ("alarm", "state", "tele", "audit")
CITY_ID = CityId(CITY)
COMMAND_LIFE_MS = 20_000
HEARTBEAT_MS = 10_000
NEVER_DURABLE = -1
"""The value of records whose transaction never got to the disk."""


class Room:
    """A fleet manager: verifies, stores, acknowledges after the commit. One that lost its lease stores nothing."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"room-{number}"
        self.term = 0
        self.is_up = False
        self.beat = 0
        self.life = 0
        self.nonces: dict[str, bytes] = {}
        self.rejected: dict[str, int] = {}
        self.inbound = Inbound()
        self.adopted: list[tuple[str, StreamHead]] = []
        self.pending: list[tuple[str, StreamHead, tuple[str, str, int, int], list[int], int]] = []

    def lead(self) -> None:
        """Take the lease: a new term, and memory equal to the store."""
        self.world.store.term += 1
        self.term, self.is_up, self.beat, self.life = self.world.store.term, True, 0, self.life + 1
        self._forget()
        self.nonces.clear()
        self.inbound = Inbound((gateway, head) for (gateway, _), head in self.world.store.heads.items())
        self._announce(self.life)

    def crash(self) -> None:
        """What was not committed is gone."""
        self.is_up = False
        self._forget()

    def _announce(self, life: int) -> None:
        if not self.is_up or life != self.life:
            return
        self.beat += 1
        topic = fleet_state(CITY_ID)
        state = FleetState(SCHEMA, self.name, self.term, "b", self.world.clock.unix_ms(), self.beat, 1)
        for broker in (0, 1):
            self.world.send(self.name, broker, str(topic), seal_message(DIRECTOR, topic, state))
        self.world.after(5_000, lambda: self._announce(life))

    def receive(self, broker: int, topic: Topic, payload: bytes) -> bool:
        """Take in one message; True if it was believed."""
        if not self.is_up:
            return False
        try:
            if topic.message_class == "birth":
                self._take_presence(broker, topic, payload)
            else:
                self._take_link(broker, topic, payload)
        except (WireError, TrustError) as error:
            self.rejected[error.reason] = self.rejected.get(error.reason, 0) + 1
            return False
        return True

    def _take_presence(self, broker: int, topic: Topic, payload: bytes) -> None:
        message = open_birth(KEYS, payload, topic, self.world.clock.unix_ms())
        gateway = message.gateway
        self.nonces[gateway] = message.nonces["agent"]
        for head in message.heads:
            self.inbound.announced(gateway, head)
        if isinstance(message, Birth):
            for floor in message.floors:
                if self.inbound.adopt(gateway, floor):
                    self.adopted.append((gateway, floor))
        self._commit_now()
        self._ack(broker, gateway)

    def _take_link(self, broker: int, topic: Topic, payload: bytes) -> None:
        opened = open_batch(KEYS, payload, topic, self.world.clock.unix_ms())
        batch = opened.batch
        place = (batch.gateway, batch.stream, batch.epoch, batch.seq)
        known = self.world.store.links.get(place)
        received = self.inbound.receive(batch, opened.digest, known[0] if known else None)
        assert received.fate is not Fate.FORKED or self.world.is_history_torn, received
        if received.fate is Fate.STORE:
            gap = gap_of(batch)
            self.pending.append((batch.gateway, received.head, place, _numbers(batch.values), gap.count if gap else 0))
        life = self.life
        self.world.after(self.world.dice.uniform(1, 30), lambda: self._commit(broker, batch.gateway, life))

    def _commit(self, broker: int, to: str, life: int) -> None:
        if not self.is_up or life != self.life:
            return
        self._commit_now()
        self._ack(broker, to)

    def _commit_now(self) -> None:
        """One transaction; it fails if the lease is another's by now."""
        store = self.world.store
        if self.term < store.term:
            self._forget()
            self.inbound.rolled_back()
            return
        for gateway, floor in self.adopted:
            store.heads[gateway, floor.stream] = floor
        for gateway, head, place, values, shed in self.pending:
            if shed and place not in store.links:
                store.gaps.append((gateway, head.stream, shed))
            store.links.setdefault(place, (head.hash, values))
            store.heads[gateway, head.stream] = head
        self._forget()
        self.inbound.committed()

    def _forget(self) -> None:
        self.pending.clear()
        self.adopted.clear()

    def _ack(self, broker: int, gateway: str) -> None:
        topic = down(CITY_ID, GatewayId(gateway), "ack")
        ack = Ack(SCHEMA, gateway, self.term, self.inbound.acks(gateway), rebirth=False)
        self.world.send(self.name, broker, str(topic), seal_message(DIRECTOR, topic, ack))

    def command(self, gateway: str) -> None:
        """Send a command with the newest nonce known."""
        nonce = self.nonces.get(gateway)
        if not self.is_up or self.term < self.world.store.term or not nonce:
            return
        topic = down(CITY_ID, GatewayId(gateway), "cmd")
        number = self.world.clock.now_ms()  # Rises over both managers, as the shared store's counter does.
        issued_ms = self.world.clock.unix_ms()
        message = CommandMessage(
            SCHEMA, f"c{number}-{gateway}", ALICE.kid.decode(), gateway, "seg-1", "release-level", {}, nonce, number,
            issued_ms, issued_ms + COMMAND_LIFE_MS, None, None,
        )  # fmt: skip
        self.world.issued[message.command_id] = issued_ms
        sealed = envelope.join_set([ALICE.seal(encode(message), topic)])
        for broker in (0, 1):
            self.world.send(self.name, broker, str(topic), sealed)


def _numbers(values: list[Value]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


class Gateway:
    """The agent: journal, courier logic and gate around the real parts."""

    def __init__(self, world: World, name: str, path: Path) -> None:
        self.world = world
        self.name = name
        self.path = path
        self.produced: dict[str, list[int]] = {stream: [] for stream in STREAMS}
        self.rejected: dict[str, int] = {}
        self.image: tuple[bytes, dict[str, int]] | None = None
        self.may_be_lost: set[tuple[str, int]] | None = None
        self.broker = world.dice.randint(0, 1)
        self.beats = 0
        self.is_up = False
        self.life = 0
        self.start()

    def start(self) -> None:
        world = self.world
        self.ledger = Ledger(
            self.path,
            AGENTS[self.name],
            CITY,
            self.name,
            STREAMS,
            world.clock,
            quotas=world.quotas,
            tail_links=world.tail_links,
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
        self._beat(self.life)

    def crash(self) -> None:
        """The process ends in order: everything is folded into the database."""
        self.is_up = False
        self.ledger.close()

    def power_cut(self) -> None:
        """Power fails while a transaction is on its way to the disk: its pages got there in part, or not at all."""
        dice = self.world.dice
        log = self.path.with_name(self.path.name + "-wal")
        database, kept = self.path.read_bytes(), log.read_bytes()
        lost = PointValue("p/x", NEVER_DURABLE, Quality.GOOD, self.world.clock.unix_ms())
        self.ledger.append_samples(dice.choice(STREAMS), [lost] * dice.randint(1, 40))
        written = log.read_bytes()
        if self.path.read_bytes() == database and len(written) > len(kept) and written.startswith(kept):
            kept = written[: dice.randrange(len(kept), len(written))]
        # Else the log was folded into the database on the way, which is done only with what is on the disk already.
        if dice.random() < 0.3:
            kept += dice.randbytes(dice.randint(1, 5_000))  # A sector that was never ours.
        self.crash()
        self.path.write_bytes(database)
        log.write_bytes(kept)

    @property
    def backlog(self) -> int:
        """Links the fleet has not acknowledged."""
        return sum(each.backlog for each in self.outbounds.values())

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
        if self.is_up:
            self.crash()
        data, ends = self.image
        self.path.write_bytes(data)
        self.path.with_name(self.path.name + "-wal").unlink(missing_ok=True)
        self.may_be_lost = {
            (stream, value) for stream, values in self.produced.items() for value in values[ends[stream] :]
        }
        self.start()

    def connect(self, broker: int) -> None:
        self.broker = broker
        if not self.is_up:
            return
        if not self.world.brokers[broker].is_up:
            self.world.after(1_000, lambda: self.connect(1 - broker))
            return
        self.leadership.connected()
        for outbound in self.outbounds.values():
            outbound.restart()
        self._birth()

    def _birth(self) -> None:
        topic = up(CITY_ID, GatewayId(self.name), "birth")
        now_ms = self.world.clock.now_ms()
        birth = Birth(
            self.name, self.ledger.next_number("conn"), "", self.world.clock.unix_ms(), 2,
            {"agent": self.gate.nonces.current(now_ms)}, [], [self.ledger.head(each) for each in STREAMS], [], "",
            [self.ledger.floor(each) for each in STREAMS],
        )  # fmt: skip
        self._say(topic, seal_message(AGENTS[self.name], topic, birth))

    def _beat(self, life: int) -> None:
        if not self.is_up or life != self.life:
            return
        self.beats += 1
        topic = up(CITY_ID, GatewayId(self.name), "birth")
        nonces = {"agent": self.gate.nonces.current(self.world.clock.now_ms())}
        heads = [self.ledger.head(each) for each in STREAMS]
        beat = Heartbeat(self.name, 0, self.beats, self.world.clock.unix_ms(), 2, nonces, {}, heads, 0)
        self._say(topic, seal_message(AGENTS[self.name], topic, beat))
        self.world.after(HEARTBEAT_MS, lambda: self._beat(life))

    def _say(self, topic: Topic, sealed: bytes) -> None:
        self.world.send(self.name, self.broker, str(topic), sealed)

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
                self._say(up(CITY_ID, GatewayId(self.name), want.stream), link.sealed)
            if not links:
                break
        self.world.after(25, lambda: self._pump(life))

    def receive(self, broker: int, topic: Topic, payload: bytes) -> bool:
        """Take in one message; True if it was believed."""
        if not self.is_up or broker != self.broker:
            return False
        try:
            self._take_in(topic, payload)
        except (WireError, TrustError) as error:
            self.rejected[error.reason] = self.rejected.get(error.reason, 0) + 1
            return False
        return True

    def _take_in(self, topic: Topic, payload: bytes) -> None:
        clock = self.world.clock
        if topic.message_class == "state":
            if self.leadership.receive(open_state(KEYS, payload, topic, clock.unix_ms()), clock.now_ms()):
                for outbound in self.outbounds.values():
                    outbound.restart(is_new_leader=True)
        elif topic.message_class == "cmd":
            admitted = self.gate.admit(payload, topic, self.counters, clock.now_ms(), clock.unix_ms(), clock.quality())
            if isinstance(admitted, Admitted):
                self.ledger.raise_counter(admitted.kid, admitted.counter)
                self.counters[admitted.kid] = admitted.counter
                self._carry_out(admitted.message.command_id)
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
        held = self.world.store.heads.get((self.name, head.stream))
        durable = (held.epoch, held.seq) if held is not None else (0, 0)
        acked = self.ledger.acked(head.stream)
        assert self.world.is_history_torn or acked.seq == 0 or durable >= (acked.epoch, acked.seq), (acked, held)

    def _carry_out(self, command_id: str) -> None:
        issued_ms = self.world.issued.get(command_id)
        assert issued_ms is not None, f"{self.name} carried out {command_id}, which nobody issued"
        assert command_id.endswith(f"-{self.name}"), f"{self.name} carried out {command_id}"
        age_ms = self.world.clock.unix_ms() - issued_ms
        assert age_ms <= COMMAND_LIFE_MS, f"{self.name} carried out {command_id}, {age_ms} ms old"
        self.world.executed.append(command_id)
