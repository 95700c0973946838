"""A standby with a store of its own that has missed something: the gateways do not send it again, the manager that leads has it.

It is asked over its API for the envelopes, which then go the way of everything that arrives: they are believed for their
gateway's signature, not for who handed them over.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import structlog
from sqlalchemy import Connection, or_, select

from agent.model.identity import GatewayId
from agent.wire import topics
from agent.wire.messages import StreamHead
from fleet import schema
from fleet.answers import LinksAnswer
from fleet.arrangement import OWN_STORES
from fleet.arrival import Arrival
from fleet.errors import FleetError
from fleet.remote import Remote

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom
    from fleet.leading import Role

LOOK_S = 1.0
MISSING_LOOKS = 2
"""What is missing twice in a row is not just on its way."""
LINKS_MAX = 500
"""At most so many envelopes in one answer: half a second's worth of a city."""


class CatchUp:
    """One manager's."""

    def __init__(self, room: "ControlRoom") -> None:
        self._room = room
        self._before: dict[tuple[str, str], StreamHead | None] = {}
        self.problem = ""
        """Why it does not get what it lacks, empty if it does or lacks nothing."""
        self._log = structlog.get_logger("fleet")

    async def run(self) -> None:
        """Fetch what is missing, while this manager stands by, until cancelled."""
        if self._room.arrangement.kind != OWN_STORES:
            return
        while True:  # As long as the manager runs.
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Fetch what is missing now."""
        role = self._room.leading.role()
        if role.is_leading or not role.leader_url:
            self.problem = ""
            return
        try:
            for gateway, stream in list(self._missing()):
                await self._fetch(role, gateway, stream)
        except FleetError as error:
            if self.problem != (problem := f"{role.leader}: {error}"):
                self._log.warning("catch-up.failed", reason=problem)
            self.problem = problem
            return
        self.problem = ""

    def _missing(self) -> Iterator[tuple[str, str]]:
        """Streams that lack something and have not moved since the last look."""
        before, self._before = self._before, {}
        for gateway in self._room.registry.gateways.values():
            for stream in gateway.lacking():
                place, held = (gateway.id, stream), gateway.stored.get(stream)
                self._before[place] = held
                if place in before and before[place] == held:
                    yield place

    async def _fetch(self, role: "Role", gateway: str, stream: str) -> None:
        held = self._room.registry.gateway(gateway).stored.get(stream)
        place = (held.epoch, held.seq) if held is not None else (0, 0)
        leader = Remote(role.leader_url.rstrip("/"))
        told = await asyncio.to_thread(
            leader.get, "/api/links", gateway=gateway, stream=stream, epoch=place[0], seq=place[1]
        )
        topic = str(topics.up(self._room.city, GatewayId(gateway), stream))
        try:
            answer = msgspec.convert(told, LinksAnswer)
        except msgspec.ValidationError as error:
            raise FleetError(f"the manager that leads answers something else: {error}") from error
        if answer.fleet != role.leader:
            who = "this manager itself" if answer.fleet == self._room.fleet else answer.fleet[:40]
            raise FleetError(f"at {role.leader_url} answers {who}: start {role.leader} with --address http://host:port")
        for each in answer.links[:LINKS_MAX]:
            self._room.writer.arrived(Arrival(topic, each))
        if answer.links:
            self._log.info("catch-up", gateway=gateway, stream=stream, links=len(answer.links))


def links_after(connection: Connection, gateway: str, stream: str, epoch: int, seq: int) -> list[bytes]:
    """Envelopes of one stream behind (epoch, seq), in order, at most LINKS_MAX."""
    links = schema.links.c
    number = select(schema.gateways.c.no).where(schema.gateways.c.id == gateway).scalar_subquery()
    query = (
        select(links.envelope)
        .where(
            links.gateway_no == number,
            links.stream == stream,
            or_(links.epoch > epoch, (links.epoch == epoch) & (links.seq > seq)),
        )
        .order_by(links.epoch, links.seq)
        .limit(LINKS_MAX)
    )
    return list(connection.execute(query).scalars())
