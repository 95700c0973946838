"""How one manager is, in one answer: what a person looks at first, and what monitoring asks."""

from collections import Counter
from typing import TYPE_CHECKING

from fleet.answers import HealthAnswer
from fleet.registry import UP

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom

LEADING, STANDBY = "leading", "standby"


def read(room: "ControlRoom", now_ms: int) -> HealthAnswer:
    """How it is now."""
    links = Counter(gateway.link(now_ms) for gateway in room.registry.gateways.values())
    backlog = sum(gateway.backlog() for gateway in room.registry.gateways.values())
    role = room.leading.role()
    problems = [
        f"store: {room.writer.problem}; nothing is acknowledged, gateways keep their data"
        if room.writer.problem
        else "",
        f"{room.director.problem}; nothing is acknowledged" if room.director.problem else "",
        *(f"broker {each.broker}: {each.reason}" for each in room.links if not each.is_connected),
        room.leading.problem,
        f"catch-up from {room.catch_up.problem}" if room.catch_up.problem else "",
    ]
    detail = "; ".join(filter(None, problems))
    return HealthAnswer(
        status="degraded" if detail else "ok",
        detail=detail,
        broker="connected" if room.link.is_connected else "disconnected",
        term=room.term,
        store="unavailable" if room.writer.problem else "ok",
        gateways_up=links[UP],
        gateways_lost=links.total() - links[UP],
        fleet=room.fleet,
        role=LEADING if role.is_leading else STANDBY,
        since_ms=role.since_ms,
        leader=role.leader,
        leader_url=role.leader_url,
        leader_term=role.leader_term,
        arrangement=room.arrangement.kind,
        behind=backlog,
    )
