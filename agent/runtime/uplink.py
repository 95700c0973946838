"""The way to the fleet: the courier if a broker is configured, and whether the fleet is heard."""

import asyncio
from functools import partial
from pathlib import Path

from agent.model.site import Cabinet
from agent.process.client import LocalClient
from agent.process.clock import Clock
from agent.process.heldkeys import HeldKeys
from agent.process.reply import fitting_text
from agent.runtime.checkpoints import SeenCheckpoints
from agent.runtime.connections import ConnectionNumbers
from agent.runtime.courier import Courier
from agent.runtime.journal import Journal
from agent.runtime.mqtt import broker_of
from agent.runtime.principal import Principal
from agent.runtime.sources import GuardLinks, JournalLinks, LinkSource
from agent.runtime.tls import read_context
from agent.wire.keyfile import Signer
from agent.wire.messages import Value

CHECKPOINT_LOOK_S = 5.0
"""A manager makes a checkpoint a minute; half a heartbeat later is soon enough to remember it."""


class Uplink:
    """One gateway's way up; without a broker there is none, and that is no fault.

    Args:
        tls: folder with the certificate for ``mqtts``. seen: folder where the newest checkpoint of each fleet manager's log is kept.
    """

    def __init__(
        self,
        cabinet: Cabinet,
        signer: Signer,
        keys: HeldKeys,
        journal: Journal,
        guard: LocalClient | None,
        principal: Principal,
        clock: Clock,
        seen: Path,
        *,
        tls: Path,
    ) -> None:
        self._seen = SeenCheckpoints(seen, lambda: keys.ring)
        self._silence_ms = cabinet.site.fleet_silence_ms
        self._clock = clock
        self._courier: Courier | None = None
        if cabinet.brokers:
            sources: list[LinkSource] = [JournalLinks(journal)]
            if guard is not None:
                sources.append(GuardLinks(guard))
            self._courier = Courier(
                cabinet.site.city,
                cabinet.site.gateway,
                [broker_of(each, partial(read_context, tls)) for each in cabinet.brokers],
                signer,
                lambda: keys.ring,
                sources,
                principal,
                clock,
                ConnectionNumbers(journal, clock).next,
            )

    async def run(self) -> None:
        """Carry for as long as the process lasts."""
        if self._courier is None:
            await asyncio.Event().wait()
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._remember_checkpoints(self._courier))
                await self._courier.run()

    async def _remember_checkpoints(self, courier: Courier) -> None:
        while True:  # As long as the agent.
            leader = courier.leadership.leader
            if leader is not None:
                reason = await asyncio.to_thread(self._seen.take, leader.fleet, leader.checkpoint)
                courier.leadership.log_seen = self._seen.newest(leader.fleet)
                if reason:
                    courier.rejections.count(reason)
            await asyncio.sleep(CHECKPOINT_LOOK_S)

    def beat(self) -> None:
        """Send the next heartbeat at once: what the last one said of the nonces is no longer true."""
        if self._courier is not None:
            self._courier.beat()

    def fleet(self, started_ms: int) -> str:
        """``none`` without a broker, else ``up`` or ``silent``; after a start ``awaited``, for as long as silence may last."""
        if self._courier is None:
            return "none"
        heard_at_ms = self._courier.leadership.heard_at_ms
        since_ms = started_ms if heard_at_ms is None else max(heard_at_ms, started_ms)
        if self._clock.now_ms() - since_ms > self._silence_ms:
            return "silent"
        return "awaited" if heard_at_ms is None else "up"

    def figures(self) -> dict[str, Value]:
        """Counters for the status page."""
        courier = self._courier
        if courier is None:
            return {}
        figures: dict[str, Value] = {
            "broker": courier.figures.broker if courier.figures.is_connected else "not connected",
            "connections": courier.figures.connections,
            "links sent": courier.figures.links_sent,
            "backlog": sum(courier.backlog.values()),
        }
        if courier.figures.commands_dropped:
            figures["commands dropped"] = courier.figures.commands_dropped
        if courier.figures.last_error and not courier.figures.is_connected:
            figures["last broker error"] = fitting_text(courier.figures.last_error)
        return figures | {f"fleet rejected {why}": count for why, count in courier.rejected.items()}
