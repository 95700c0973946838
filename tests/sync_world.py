"""The simulated surroundings: virtual time, two brokers, bad weather, and the store both managers share."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.ledger.ledger import TAIL_LINKS
from agent.wire.messages import StreamHead
from agent.wire.topics import parse
from tests.wire.party import HandClock

if TYPE_CHECKING:
    from tests.sync_parties import Gateway, Room

Link = tuple[str, str, int, int]
"""Gateway, stream, epoch and number."""
STRANGER = "stranger"


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
    heads: dict[tuple[str, str], StreamHead] = field(default_factory=dict)
    links: dict[Link, tuple[bytes, list[int]]] = field(default_factory=dict)
    gaps: list[tuple[str, str, int]] = field(default_factory=list)

    def copy(self) -> "Store":
        return Store(self.term, dict(self.heads), dict(self.links), list(self.gaps))


@dataclass(slots=True)
class Broker:
    """A courier: when it dies, what is on its way dies with it."""

    is_up: bool = True
    life: int = 0

    def crash(self) -> None:
        self.is_up, self.life = False, self.life + 1


@dataclass(slots=True)
class Tally:
    """What has gone wrong in one run."""

    faults: dict[str, int] = field(default_factory=dict)
    forged: int = 0
    lost: int = 0
    delivered: int = 0


class World:
    """Virtual time, the two brokers, and who listens."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = HandClock()
        self.weather = Weather.of(self.dice)
        self.brokers = (Broker(), Broker())
        self.cuts: set[tuple[str, int, str]] = set()
        """Partitions: (party, broker, "to" or "from" the broker), each direction by itself."""
        self.store = Store()
        self.managers: list[Room] = []
        self.gateways: dict[str, Gateway] = {}
        self.issued: dict[str, int] = {}
        self.executed: list[str] = []
        self.heard: list[tuple[int, str, bytes]] = []
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.tally = Tally()
        self.is_troubled = True
        self.backup: Store | None = None
        self.was_restored = False
        self.quotas = {"tele": 5_000} if self.dice.random() < 0.3 else {}
        self.tail_links = self.dice.choice((0, 40, TAIL_LINKS))

    def is_led(self) -> bool:
        """True if the manager that holds the lease is running."""
        return any(manager.is_up and manager.term == self.store.term for manager in self.managers)

    @property
    def is_history_torn(self) -> bool:
        """True once somebody has lost what was durable: a store or a journal was put back to an earlier state."""
        return self.was_restored or any(each.may_be_lost is not None for each in self.gateways.values())

    def after(self, ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.clock.now_ms() + int(ms), next(self.order), act))

    def run_until(self, end_ms: int, is_done: Callable[[], bool] = lambda: False) -> None:
        while self.queue and self.queue[0][0] <= end_ms and not is_done():
            at_ms, _, act = heapq.heappop(self.queue)
            self.clock.advance(at_ms - self.clock.now_ms())
            act()

    def send(self, source: str, broker: int, topic: str, payload: bytes, *, is_forged: bool = False) -> None:
        """Hand one message to one broker: for each receiver it is lost, or comes once or twice, late, in any order."""
        if not is_forged:
            self.heard.append((broker, topic, payload))
        if (source, broker, "to") in self.cuts:
            self.tally.lost += 1
            return
        life = self.brokers[broker].life
        for name, receive in self._receivers(broker, topic):
            for _ in range(2 if self.dice.random() < self.weather.repeat else 1):
                if self.dice.random() < self.weather.loss:
                    self.tally.lost += 1
                    continue
                self.after(
                    self.dice.uniform(1, self.weather.delay_ms),
                    lambda name=name, receive=receive: self._deliver(  # type: ignore[misc]
                        name, receive, (broker, life), topic, payload, is_forged
                    ),
                )

    def _receivers(self, broker: int, topic: str) -> Iterable[tuple[str, Callable[..., bool]]]:
        if "/up/" in topic:
            return [(manager.name, manager.receive) for manager in self.managers]
        return [
            (name, gateway.receive)
            for name, gateway in self.gateways.items()
            if f"/{name}/" in topic or topic.endswith("/fleet/state")
        ]

    def _deliver(
        self, name: str, receive: Callable[..., bool], way: tuple[int, int], topic: str, payload: bytes, is_forged: bool
    ) -> None:
        broker, life = way
        found = self.brokers[broker]
        if not found.is_up or found.life != life or (name, broker, "from") in self.cuts:
            self.tally.lost += 1
            return
        self.tally.delivered += 1
        is_believed = receive(broker, parse(topic), payload)
        assert not (is_forged and is_believed), f"{name} believed a forged message on {topic}"
