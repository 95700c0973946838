"""The registry as the API shows it. Pure: the registry and the time in, answers out."""

from collections.abc import Iterable

from agent.wire.messages import EquipmentCard
from fleet.answers import (
    EquipmentAnswer,
    GatewayAnswer,
    LatchAnswer,
    PointAnswer,
    PointsMessage,
)
from fleet.registry import Gateway, Latch, Point, Registry

HELD = "held"
CLOCKS = ("unknown", "own clock", "network", "attested")
"""By ClockQuality."""
MODES = ("supervised", "autonomous", "local", HELD)
"""The worst is last; a gateway is shown in its equipment's worst mode."""


def point_answer(gateway: Gateway, point: Point, now_ms: int) -> PointAnswer:
    """One point as it may be believed now."""
    return PointAnswer(point.value, gateway.shown_quality(point, now_ms), point.t_ms, max(0, now_ms - point.t_ms))


def latch_answer(latch: Latch | None) -> LatchAnswer | None:
    """A latch, or None."""
    return None if latch is None else LatchAnswer(latch.rule, latch.reason, latch.since_ms)


def equipment_answer(gateway: Gateway, card: EquipmentCard, now_ms: int) -> EquipmentAnswer:
    """One piece of equipment with everything known about it."""
    return EquipmentAnswer(
        id=card.id,
        gateway=gateway.id,
        kind=card.kind,
        name=card.name,
        latitude=card.latitude,
        longitude=card.longitude,
        parent=card.parent,
        executor=card.executor,
        verbs=list(card.verbs),
        mode=mode_of(gateway, card.id),
        latch=latch_answer(gateway.latches.get(card.id)),
        link=gateway.link(now_ms),
        points={name: point_answer(gateway, point, now_ms) for name, point in gateway.points.get(card.id, {}).items()},
    )


def gateway_answer(gateway: Gateway, now_ms: int) -> GatewayAnswer:
    """One gateway."""
    return GatewayAnswer(
        id=gateway.id,
        name=gateway.name or gateway.id,
        link=gateway.link(now_ms),
        last_seen_ms=gateway.seen_ms,
        software=gateway.software,
        mode=worst_mode(mode_of(gateway, name) for name in {**gateway.modes, **gateway.latches}),
        rejected=gateway.rejected,
        backlog=gateway.backlog(),
        equipment=len(gateway.cards),
        held=dict(gateway.held),
        behind=gateway.behind(now_ms),
        unsealed=gateway.unsealed,
        clock="" if gateway.clock is None else CLOCKS[gateway.clock],
        key_list=gateway.key_list,
    )


def mode_of(gateway: Gateway, equipment_id: str) -> str:
    """The mode last heard; a latch is heard before the next heartbeat tells the mode that follows from it."""
    return HELD if equipment_id in gateway.latches else gateway.modes.get(equipment_id, "")


def worst_mode(modes: Iterable[str]) -> str:
    """The worst of some modes; empty if none was ever heard."""
    return max(modes, key=lambda mode: MODES.index(mode) if mode in MODES else len(MODES), default="")


def gateways(registry: Registry, now_ms: int) -> list[GatewayAnswer]:
    """Every gateway, by id."""
    return [gateway_answer(registry.gateways[name], now_ms) for name in sorted(registry.gateways)]


def equipment(registry: Registry, now_ms: int) -> list[EquipmentAnswer]:
    """Every piece of equipment, by gateway and in its site's order."""
    return [
        equipment_answer(gateway, card, now_ms)
        for _, gateway in sorted(registry.gateways.items())
        for card in gateway.cards.values()
    ]


def points_message(gateway: Gateway, equipment_id: str, names: Iterable[str], now_ms: int) -> PointsMessage:
    """Some points of one piece of equipment, for the browsers."""
    points = gateway.points.get(equipment_id, {})
    return PointsMessage(
        gateway=gateway.id,
        equipment=equipment_id,
        mode=mode_of(gateway, equipment_id),
        latch=latch_answer(gateway.latches.get(equipment_id)),
        points={name: point_answer(gateway, points[name], now_ms) for name in names if name in points},
    )
