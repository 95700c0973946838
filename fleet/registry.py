"""Gateways and their equipment as last heard, in memory. Only what is durable in the store enters here.

A gateway is matched by its connection number: what an older connection says late (its death, a delayed heartbeat) is
ignored, because a will can overtake a birth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from agent.model.observation import Quality, Scalar
from agent.wire.messages import Birth, EquipmentCard, Heartbeat, StreamHead

LINK_LOST_AFTER_MS = 30_000
"""Three heartbeats of 10 s."""

UP = "up"
LOST = "lost"
NEVER = "never"


class Point(Struct, frozen=True, gc=False):
    """A point's newest value. One is made for every change: a Struct costs a tenth of a frozen dataclass."""

    value: Scalar
    quality: int
    t_ms: int


@dataclass(frozen=True, slots=True)
class Latch:
    """A latched fault, as the guard's records tell it."""

    rule: str
    reason: str
    since_ms: int


@dataclass(slots=True)
class Gateway:
    """One gateway.

    Args:
        seen_ms: Unix time, by the manager's clock, when it was last heard; 0 if never.
        is_connected: False from its death until it is heard again.
        nonces: executor -> what a command to it must carry now. Memory only: an old one is of no use.
    """

    id: str
    name: str = ""
    software: str = ""
    conn: int = 0
    beat: int = 0
    seen_ms: int = 0
    is_connected: bool = False
    nonces: dict[str, bytes] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    announced: dict[str, StreamHead] = field(default_factory=dict)
    stored: dict[str, StreamHead] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    cards: dict[str, EquipmentCard] = field(default_factory=dict)
    latches: dict[str, Latch] = field(default_factory=dict)
    points: dict[str, dict[str, Point]] = field(default_factory=dict)

    def link(self, now_ms: int) -> str:
        """``up``, ``lost`` or ``never``."""
        if not self.seen_ms:
            return NEVER
        is_recent = now_ms - self.seen_ms < LINK_LOST_AFTER_MS
        return UP if self.is_connected and is_recent else LOST

    def backlog(self) -> int:
        """Sealed batches it announced at its birth and we do not hold yet."""
        missing = 0
        for stream, head in self.announced.items():
            stored = self.stored.get(stream)
            if stored is None or stored.epoch < head.epoch:
                missing += head.seq
            elif stored.epoch == head.epoch:
                missing += max(0, head.seq - stored.seq)
        return missing

    def shown_quality(self, point: Point, now_ms: int) -> int:
        """The worse of the point's own quality and of our link to it: nothing unheard is shown as live."""
        return max(point.quality, Quality.GOOD if self.link(now_ms) == UP else Quality.STALE)


class Registry:
    """Every gateway ever heard."""

    def __init__(self, gateways: Iterable[Gateway] = ()) -> None:
        self.gateways: dict[str, Gateway] = {gateway.id: gateway for gateway in gateways}

    def gateway(self, gateway_id: str) -> Gateway:
        """Return a gateway, making an empty one for an id not met before."""
        found = self.gateways.get(gateway_id)
        if found is None:
            found = self.gateways[gateway_id] = Gateway(gateway_id)
        return found

    def born(self, birth: Birth, now_ms: int) -> None:
        """A gateway introduced itself; its equipment table replaces the one we had."""
        gateway = self.gateway(birth.gateway)
        gateway.name, gateway.software = birth.name, birth.software
        if birth.conn != gateway.conn:
            gateway.beat = 0
        gateway.conn, gateway.seen_ms, gateway.is_connected = birth.conn, now_ms, True
        gateway.nonces = dict(birth.nonces)
        gateway.counters = {each.kid: each.counter for each in birth.counters}
        gateway.announced = {head.stream: head for head in birth.heads}
        gateway.cards = {card.id: card for card in birth.equipment}

    def beaten(self, heartbeat: Heartbeat, now_ms: int) -> None:
        """A gateway is still there."""
        gateway = self.gateway(heartbeat.gateway)
        if heartbeat.conn != gateway.conn:
            gateway.conn = heartbeat.conn
        gateway.beat, gateway.seen_ms, gateway.is_connected = heartbeat.beat, now_ms, True
        gateway.nonces = dict(heartbeat.nonces)
        gateway.modes = dict(heartbeat.modes)

    def died(self, gateway_id: str) -> None:
        """Its broker says that it is gone. What cannot be reached has no fresh nonce either."""
        gateway = self.gateway(gateway_id)
        gateway.is_connected = False
        gateway.nonces = {}
