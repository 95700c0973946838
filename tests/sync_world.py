"""The simulated surroundings: virtual time, two brokers, bad weather, and the store both managers share."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.ledger.ledger import TAIL_LINKS
from agent.wire.messages import StreamHead
from agent.wire.topics import parse
from tests.wire.party import HandClock

if TYPE_CHECKING:
    from tests.sync_parties import Gateway, Room


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

    gateway: "Gateway"

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = HandClock()
        self.weather = Weather.of(self.dice)
        self.is_broker_up = [True, True]
        self.store = Store()
        self.managers: list[Room] = []
        self.executed: list[str] = []
        self.heard: list[tuple[int, str, bytes]] = []
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.is_troubled = True
        self.backup: Store | None = None
        self.was_restored = False
        self.may_be_lost: set[tuple[str, int]] | None = None
        self.quotas = {"tele": 5_000} if self.dice.random() < 0.3 else {}
        self.tail_links = self.dice.choice((0, 40, TAIL_LINKS))

    def is_led(self) -> bool:
        """True if the manager that holds the lease is running."""
        return any(manager.is_up and manager.term == self.store.term for manager in self.managers)

    @property
    def is_history_torn(self) -> bool:
        """True once somebody has lost what was durable: a store or a journal was put back to an earlier state."""
        return self.was_restored or self.may_be_lost is not None

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
