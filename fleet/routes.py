"""The ways to the gateways: one connection to each broker. Brokers know nothing of each other, and a gateway is on one of them.

Everything is heard on all of them. What goes down goes where its gateway was heard.
"""

import asyncio
import time
from collections.abc import Sequence

from fleet.control_room import ControlRoom, Link
from fleet.errors import AskError
from fleet.link import Broker, FleetLink

HEARD_S = 30.0
"""A gateway says something every 10 s; one that has changed its broker is answered on both for so long."""


class Routes:
    """One manager's connections.

    Args:
        brokers: at least one.
    """

    def __init__(self, room: ControlRoom, brokers: Sequence[Broker]) -> None:
        room.links = [Link(f"{broker.host}:{broker.port}") for broker in brokers]
        self._links = [FleetLink(room, *each) for each in zip(brokers, room.links, strict=True)]
        room.send = self.queue
        room.announce = self.announce
        room.commands.courier = self

    async def run(self) -> None:
        """Keep every connection, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for link in self._links:
                tasks.create_task(link.run())

    def announce(self) -> None:
        """Say our state on every broker."""
        for link in self._links:
            link.announce()

    def queue(self, gateway: str, message_class: str, sealed: bytes) -> None:
        """Send something soon, wherever the gateway was heard lately; everywhere if it was heard nowhere."""
        since_s = time.monotonic() - HEARD_S
        for link in [each for each in self._links if each.heard_s(gateway) > since_s] or self._links:
            link.queue(gateway, message_class, sealed)

    async def send_command(self, gateway: str, sealed: bytes, expiry_s: int) -> None:
        """Publish a command on the broker where its gateway was heard last.

        Raises:
            AskError: it did not leave; with status 504 nobody knows whether it did.
        """
        connected = [each for each in self._links if each.figures.is_connected]
        if not connected:
            raise AskError(503, "the manager is not connected to any broker: nothing was sent")
        await max(connected, key=lambda each: each.heard_s(gateway)).send_command(gateway, sealed, expiry_s)
