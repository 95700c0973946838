"""The whole synchronisation in virtual time: one gateway, two brokers, two managers, and everything that goes wrong.

    python -m tests.sync_simulation --seed 7            replay one run
    python -m tests.sync_simulation --seed 1 --runs 200

Ledger, envelopes, streams, gate and leadership are the real ones; only the network, the fleet's store and time are
simulated. The network drops, repeats, delays and reorders; brokers, managers and gateway crash; the leadership changes
while the old manager still talks; an eavesdropper says again what it heard. After the last fault everything must
arrive: each record once, in order, and no command carried out twice.
"""

import argparse
import heapq
import itertools
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
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
from agent.wire.topics import Topic, down, fleet_state, parse, up
from tests.wire.party import CITY, GATEWAY, T0_MS, HandClock, ring, signer

STREAMS = ("alarm", "state", "tele", "audit")
CITY_ID, GATEWAY_ID = CityId(CITY), GatewayId(GATEWAY)
TROUBLE_MS = 60_000
QUIET_MS_MAX = 300_000
"""Longest go-back pause 30 s, some of them in a row, and the minute between two epochs."""
KEYS = ring()
AGENT, DIRECTOR, ALICE = (signer(kid) for kid in (f"{GATEWAY}/agent/1", "director/1", "alice/1"))


@dataclass(slots=True)
class Weather:
    """How bad the network is."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_ms: int = 20

    @classmethod
    def of(cls, dice: random.Random) -> "Weather":
        return cls(dice.choice((0.0, 0.05, 0.3)), dice.choice((0.0, 0.1)), dice.choice((20, 200, 1500)))


@dataclass(slots=True)
class Store:
    """What the managers share: the durable truth."""

    term: int = 0
    heads: dict[str, StreamHead] = field(default_factory=dict)
    links: dict[tuple[str, int, int], tuple[bytes, list[object]]] = field(default_factory=dict)
    gaps: list[tuple[str, int]] = field(default_factory=list)

    def copy(self) -> "Store":
        return Store(self.term, dict(self.heads), dict(self.links), list(self.gaps))


class World:
    """Virtual time, the two brokers, and who listens."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.dice = random.Random(seed)
        self.clock = HandClock()
        self.weather = Weather.of(self.dice)
        self.is_broker_up = [True, True]
        self.store = Store()
        self.managers = [Manager(self, 0), Manager(self, 1)]
        self.executed: list[str] = []
        self.heard: list[tuple[int, str, bytes]] = []
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.is_troubled = True
        self.backup: Store | None = None
        self.was_restored = False
        self.quotas = {"tele": 30_000} if self.dice.random() < 0.3 else {}
        self.tail_links = self.dice.choice((0, 40, 2000))
        self.gateway = Gateway(self, folder / "agent.db")
        self.managers[0].lead()

    def is_led(self) -> bool:
        """True if the manager that holds the lease is running."""
        return any(manager.is_up and manager.term == self.store.term for manager in self.managers)

    def after(self, ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.clock.now_ms() + int(ms), next(self.order), act))

    def run_until(self, end_ms: int, is_done: Callable[[], bool] = lambda: False) -> None:
        while self.queue and self.queue[0][0] <= end_ms and not is_done():
            at_ms, _, act = heapq.heappop(self.queue)
            self.clock.advance(at_ms - self.clock.now_ms())
            act()

    def send(self, broker: int, topic: str, payload: bytes) -> None:
        """One message through one broker: lost, once, twice, late."""
        self.heard.append((broker, topic, payload))
        for _ in range(2 if self.dice.random() < self.weather.repeat else 1):
            if self.dice.random() >= self.weather.loss:
                self.after(self.dice.uniform(1, self.weather.delay_ms), lambda: self._deliver(broker, topic, payload))

    def _deliver(self, broker: int, topic: str, payload: bytes) -> None:
        if not self.is_broker_up[broker]:
            return
        if "/up/" in topic:
            for manager in self.managers:
                manager.receive(broker, parse(topic), payload)
        elif self.gateway.broker == broker:
            self.gateway.receive(parse(topic), payload)


class Manager:
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
        assert received.fate is not Fate.FORKED or self.world.was_restored, received
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
            SCHEMA, f"c{number}", GATEWAY, "seg-1", "release-level", {}, self.nonce, number, 0, 2**62, None, None
        )
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
        self.ledger._database.close()

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
            admitted = self.gate.admit(
                payload, topic, self.counters, clock.now_ms(), clock.unix_ms(), clock.quality()
            )
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
        assert outbound.acked_seq == self.ledger.acked(head.stream).seq


def trouble(world: World) -> None:
    """One thing that goes wrong, and what puts it right again."""
    if not world.is_troubled:
        return
    dice, gateway = world.dice, world.gateway
    match dice.randrange(8):
        case 0 if gateway.is_up:
            gateway.crash()
            world.after(dice.uniform(10, 3000), gateway.start)
        case 1:
            leader = max(world.managers, key=lambda each: each.term)
            leader.crash()
            world.after(dice.uniform(10, 3000), lambda: None if leader.is_up else leader.lead())
        case 2:
            broker = gateway.broker
            world.is_broker_up[broker] = False
            world.after(dice.uniform(100, 2000), lambda: gateway.connect(1 - broker))
            world.after(dice.uniform(3000, 6000), lambda: world.is_broker_up.__setitem__(broker, True))
        case 3:  # The other room takes over; the old one may go on talking.
            min(world.managers, key=lambda each: each.term).lead()
        case 4:
            world.weather = Weather.of(dice)
        case 5:  # The eavesdropper.
            for broker, topic, payload in dice.sample(world.heard, min(20, len(world.heard))):
                world.send(broker, topic, payload)
        case 6 if dice.random() < 0.3 and world.backup is None:
            world.backup = world.store.copy()
        case 7 if world.backup is not None and not world.was_restored:
            world.was_restored = True
            for manager in world.managers:
                manager.crash()
            world.backup.term = world.store.term
            world.store = world.backup
            world.after(dice.uniform(100, 3000), world.managers[0].lead)
        case _:
            pass
    world.after(dice.uniform(200, 6000), lambda: trouble(world))


def check(world: World, seed: int) -> None:
    """Each record once and in order; numbers whole; no command twice."""
    assert len(world.executed) == len(set(world.executed)), f"seed {seed}: a command was carried out twice"
    for stream in STREAMS:
        keys = sorted(key for key in world.store.links if key[0] == stream)
        values = [value for key in keys for value in world.store.links[key][1]]
        shed = sum(count for each, count in world.store.gaps if each == stream)
        missing = len(world.gateway.produced[stream]) - len(set(values))
        if world.was_restored:
            assert sorted(set(values)) == sorted(set(values) & set(world.gateway.produced[stream]))
            continue
        assert values == sorted(set(values)), f"seed {seed}: {stream} out of order or repeated"
        if not shed:
            assert values == world.gateway.produced[stream], f"seed {seed}: {stream} lacks {missing}"
        assert missing <= shed, f"seed {seed}: {stream} lacks {missing}, {shed} were shed"


def simulate(seed: int, folder: Path) -> World:
    """One run; raises AssertionError with the seed if a promise is broken."""
    world = World(seed, folder)
    dice = world.dice
    end_ms = world.clock.now_ms() + TROUBLE_MS

    def produce() -> None:
        if world.clock.now_ms() < end_ms:
            world.gateway.produce()
            world.after(dice.uniform(20, 400), produce)

    def command() -> None:
        if world.clock.now_ms() < end_ms:
            dice.choice(world.managers).command()
            world.after(dice.uniform(500, 3000), command)

    produce()
    command()
    world.after(dice.uniform(0, 5000), lambda: trouble(world))
    world.run_until(end_ms)
    world.is_troubled, world.weather = False, Weather()
    world.is_broker_up = [True, True]
    world.after(6_000, lambda: None if world.is_led() else world.managers[0].lead())
    world.after(7_000, lambda: world.gateway.connect(world.gateway.broker))

    def is_done() -> bool:
        gateway = world.gateway
        return gateway.is_up and all(each.backlog == 0 for each in gateway.outbounds.values())

    world.run_until(end_ms + QUIET_MS_MAX, lambda: world.clock.now_ms() > end_ms + 8_000 and is_done())
    left = {stream: each.backlog for stream, each in world.gateway.outbounds.items()}
    assert is_done(), f"seed {seed}: after {QUIET_MS_MAX} ms of quiet the backlog is {left}"
    check(world, seed)
    world.gateway.ledger.close()
    return world


def main() -> int:
    """Run seeds until one fails."""
    parser = argparse.ArgumentParser(description="Simulate the synchronisation in virtual time.")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, one after the other")
    arguments = parser.parse_args()
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            try:
                world = simulate(seed, Path(folder))
            except AssertionError as error:
                print(f"seed {seed} failed: {error}", file=sys.stderr)
                raise
        produced = sum(len(each) for each in world.gateway.produced.values())
        backs = sum(each.go_backs for each in world.gateway.outbounds.values())
        print(
            f"seed {seed}: {produced} records, {len(world.store.links)} links, {len(world.heard)} messages, "
            f"{len(world.executed)} commands, {backs} go-backs, terms {world.store.term}, "
            f"restored {world.was_restored}, shed {sum(count for _, count in world.store.gaps)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
