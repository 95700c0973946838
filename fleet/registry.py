"""Gateways and their equipment as last heard, in memory. Only what is durable in the store enters here.

A gateway is matched by its connection number: what an older connection says late (its death, a delayed heartbeat) is
ignored, because a will can overtake a birth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from agent.model.observation import Quality, Scalar
from agent.wire.messages import HEARTBEAT_S, Birth, EquipmentCard, Heartbeat, StreamHead
from fleet.arrears import BEHIND_AFTER_MS, Arrears

LINK_LOST_AFTER_MS = 30_000
"""Three heartbeats of 10 s."""
UNSEALED_AFTER_MS = round(HEARTBEAT_S * 1000)
"""A disk that stalls for a moment has caught up by the next heartbeat."""
SAMPLED = ("state", "tele")
"""The streams a point whose own is not known (since a restart) may be of."""

UP = "up"
LOST = "lost"
NEVER = "never"


class Point(Struct, frozen=True, gc=False):
    """A point's newest value. One is made for every change: a Struct costs a tenth of a frozen dataclass."""

    value: Scalar
    quality: int
    t_ms: int
    stream: str = ""


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
        key_list: the version it goes by; 0 if it does not say.
        is_heard: it has said where its streams stand since we started.
        clock: ClockQuality it told last.
        unsealed: records that its disk does not take. unsealed_since_ms: since when, by our clock; 0 if it takes all.
    """

    id: str
    name: str = ""
    software: str = ""
    conn: int = 0
    key_list: int = 0
    beat: int = 0
    seen_ms: int = 0
    is_connected: bool = False
    nonces: dict[str, bytes] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    announced: dict[str, StreamHead] = field(default_factory=dict)
    stored: dict[str, StreamHead] = field(default_factory=dict)
    arrears: Arrears = field(default_factory=Arrears)
    is_heard: bool = False
    clock: int | None = None
    unsealed: int = 0
    unsealed_since_ms: int = 0
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
        """Sealed batches it announced and we do not hold yet."""
        return sum(map(self._missing, self.announced))

    def lacking(self) -> list[str]:
        """Streams of which it announced more than we hold."""
        return [stream for stream in self.announced if self._missing(stream)]

    def _missing(self, stream: str) -> int:
        head, stored = self.announced[stream], self.stored.get(stream)
        if stored is None or stored.epoch < head.epoch:
            return head.seq
        return max(0, head.seq - stored.seq) if stored.epoch == head.epoch else 0

    def took(self, head: StreamHead) -> None:
        """We hold this much of a stream now."""
        self.stored[head.stream] = head
        self.arrears.arrived(head)

    def announce(self, heads: Iterable[StreamHead], now_ms: int, *, is_back: bool) -> None:
        """Take in where its streams stand.

        Args:
            is_back: it was away, so what we do not hold is not just on its way.
        """
        for head in heads:
            self.announced[head.stream] = head
            self.arrears.announced(head, self.stored.get(head.stream), now_ms - (BEHIND_AFTER_MS if is_back else 0))
        self.is_heard = True

    def is_unsealed(self, now_ms: int) -> bool:
        """True if its disk has taken no records for longer than a heartbeat."""
        return bool(self.unsealed_since_ms) and now_ms - self.unsealed_since_ms >= UNSEALED_AFTER_MS

    def behind(self, now_ms: int) -> dict[str, str]:
        """Streams of which we lack more than can be on its way, each with a sentence."""
        late = self.arrears.late(now_ms)
        return {stream: f"{self._missing(stream)} batches it has sealed have not arrived" for stream in late}

    def doubts(self, now_ms: int) -> frozenset[str]:
        """Why what it told may no longer be so: words that change only when the shown quality may."""
        streams = {*self.held, *self.arrears.late(now_ms)}
        link = self.link(now_ms)
        return frozenset(
            {f"stream {stream}" for stream in streams}
            | {
                word
                for word, is_so in (
                    (link, link != UP),
                    ("not heard since the start", not self.is_heard),
                    ("unsealed", self.is_unsealed(now_ms)),
                )
                if is_so
            }
        )

    def shown_quality(self, point: Point, now_ms: int) -> int:
        """The worse of the point's own quality and of our knowledge of its gateway.

        Nothing is shown as live that the gateway's last heartbeat does not vouch for: it must have been heard, its disk
        must take records, and we must hold what it has sealed in the point's stream.
        """
        return max(point.quality, Quality.GOOD if self._is_vouched_for(point.stream, now_ms) else Quality.STALE)

    def _is_vouched_for(self, stream: str, now_ms: int) -> bool:
        if self.link(now_ms) != UP or not self.is_heard or self.is_unsealed(now_ms):
            return False
        streams = (stream,) if stream else SAMPLED
        return not any(each in self.held or self.arrears.is_late(each, now_ms) for each in streams)


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

    def adopt(self, stored: "Registry") -> None:
        """Take in what the store knows; of who is there now, and of their nonces, what we have heard ourselves counts."""
        for name, newer in stored.gateways.items():
            known = self.gateway(name)
            known.name, known.software, known.cards = newer.name, newer.software, newer.cards or known.cards
            known.latches, known.points = newer.latches, newer.points
            for head in newer.stored.values():
                known.took(head)

    def born(self, birth: Birth, now_ms: int) -> None:
        """A gateway introduced itself; its equipment table replaces the one we had."""
        gateway = self.gateway(birth.gateway)
        is_back = birth.conn != gateway.conn or not gateway.is_heard or gateway.link(now_ms) != UP
        gateway.name, gateway.software = birth.name, birth.software
        if birth.conn != gateway.conn:
            gateway.beat = 0
        gateway.conn, gateway.seen_ms, gateway.is_connected = birth.conn, now_ms, True
        gateway.clock = birth.clock
        gateway.nonces = dict(birth.nonces)
        gateway.key_list = birth.key_list
        gateway.counters = {each.kid: each.counter for each in birth.counters}
        gateway.announce(birth.heads, now_ms, is_back=is_back)
        gateway.cards = {card.id: card for card in birth.equipment}

    def beaten(self, heartbeat: Heartbeat, now_ms: int) -> None:
        """A gateway is still there."""
        gateway = self.gateway(heartbeat.gateway)
        is_back = heartbeat.conn != gateway.conn or not gateway.is_heard or gateway.link(now_ms) != UP
        if heartbeat.conn != gateway.conn:
            gateway.conn = heartbeat.conn
        gateway.beat, gateway.seen_ms, gateway.is_connected = heartbeat.beat, now_ms, True
        gateway.nonces = dict(heartbeat.nonces)
        gateway.key_list = heartbeat.key_list
        gateway.modes = dict(heartbeat.modes)
        gateway.announce(heartbeat.heads, now_ms, is_back=is_back)
        gateway.clock = heartbeat.clock
        gateway.unsealed = heartbeat.unsealed
        gateway.unsealed_since_ms = (gateway.unsealed_since_ms or now_ms) if heartbeat.unsealed else 0

    def died(self, gateway_id: str) -> None:
        """Its broker says that it is gone. What cannot be reached has no fresh nonce either."""
        gateway = self.gateway(gateway_id)
        gateway.is_connected = False
        gateway.nonces = {}
