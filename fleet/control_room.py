"""The manager as a whole, on the event loop: applies what became durable, watches links, answers the API.

Nothing reaches the registry or a browser before it is on disk.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from agent.wire.trust import KeyRing
from fleet import changes, command_rows, district, figures, health, store
from fleet.answers import (
    CommandAnswer,
    DistrictAnswer,
    EquipmentAnswer,
    EventAnswer,
    GatewayAnswer,
    HealthAnswer,
    SampleAnswer,
)
from fleet.arrangement import Arrangement, open_stores
from fleet.broadcast import Broadcast
from fleet.catchup import CatchUp
from fleet.changes import Change
from fleet.checkpoints import Checkpoints, Whose
from fleet.commands import Commands
from fleet.desired import DesiredStates
from fleet.director import DirectorKey
from fleet.errors import AskError, StoreError
from fleet.folder import Trust
from fleet.ingest import Ingest
from fleet.keys_in_force import KeysInForce
from fleet.leading import Leading
from fleet.metrics import Metrics
from fleet.notices import Notices
from fleet.operators import Operators
from fleet.registry import NEVER, UP, Gateway
from fleet.term import Terms, raise_in
from fleet.writer import Writer

FLUSH_S = 0.25
WATCH_S = 1.0
READ_S = 10.0
LOST_TEXT = "not heard; its equipment follows its own plan, and what is shown of it is stale"

T = TypeVar("T")


def unix_ms() -> int:
    """Now, Unix time in ms."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Link:
    """How the connection to a broker stands, as the API shows it."""

    broker: str = ""
    is_connected: bool = False
    reason: str = "not connected yet"
    reconnects: int = 0
    acks: int = 0


class ControlRoom:
    """Everything one manager knows and does, without its sockets.

    Args:
        fleet: this manager's id.
        folder: where the database is. trust_folder: where keys and key list are.
        arrangement: what it shares with another manager.

    Raises:
        FolderError: keys or database cannot be used.
    """

    def __init__(
        self, fleet: str, folder: Path, trust_folder: Path, trust: Trust, arrangement: Arrangement | None = None
    ) -> None:
        self.arrangement = arrangement or Arrangement()
        self.fleet = fleet
        self.director = DirectorKey(trust.director)
        self.trust = trust = replace(trust, director=self.director.as_signer)
        self.city = trust.roots.city
        opened = open_stores(self.arrangement, folder, fleet)
        self.store = opened.store
        term = self.store.transact(store.raise_term) if opened.lease is None else 0
        self.registry = self.store.registry()
        self.ingest = Ingest(self.city, trust.ring, trust.director, self.store.standing(), term)
        self.writer = Writer(self.store, self.ingest, self._apply, unix_ms, opened.fence)
        self.leading = Leading(self, opened.lease, opened.fence, unix_ms)
        self.terms = Terms(
            term, raise_in(self.writer.transact) if opened.lease is None else self.leading.raise_term, self.ingest
        )
        self.broadcast = Broadcast()
        self.notices = Notices(self.writer.transact, self.ingest, self.broadcast.event, self.leading)
        self.operators = Operators(trust.operators, lambda: self.ring, unix_ms)
        self.commands = Commands(
            self.city,
            self.operators,
            self.registry,
            self.writer.transact,
            self.broadcast.command,
            unix_ms,
            self._entry,
        )
        self.commands.refusal = self.leading.refusal
        whose = Whose(self.city, opened.log, trust.director)
        self.checkpoints = Checkpoints(whose, self.writer.transact, self.ingest, self.notices.record)
        self.catch_up = CatchUp(self)
        self.desired = DesiredStates(self, unix_ms)
        self.key_lists = KeysInForce(trust_folder, self)
        self.links: list[Link] = [Link()]
        self.metrics = Metrics(partial(figures.read, self))
        self.send: Callable[[str, str, bytes], None] = _nowhere
        self.announce: Callable[[], None] = lambda: None
        self._reread_due = asyncio.Event()
        self._links: dict[str, str] = {}
        self._doubts: dict[str, frozenset[str]] = {}
        self.rejections: Counter[str] = Counter()
        self.publishes_refused: Counter[str] = Counter()
        for (_gateway, reason), count in self.ingest.standing.rejections.items():
            self.rejections[reason] += count
        self._log = structlog.get_logger("fleet")

    @property
    def term(self) -> int:
        """This manager's term."""
        return self.terms.number

    @property
    def ring(self) -> KeyRing:
        """The key list in force."""
        return self.ingest.ring

    async def run(self) -> None:
        """Work until cancelled, then commit one last group and close the database."""
        self.writer.start()
        try:
            if self.leading.is_leading:
                await self.commands.load()
                await self.checkpoints.log_key_list(self.ring, unix_ms())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.leading.run())
                tasks.create_task(self._reread())
                tasks.create_task(self.catch_up.run())
                tasks.create_task(self.desired.run())
                tasks.create_task(self._writer_lives())
                tasks.create_task(self._flush_often())
                tasks.create_task(self._watch())
                tasks.create_task(self.key_lists.watch())
                tasks.create_task(self.checkpoints.run(unix_ms))
        finally:
            await self.writer.stop()
            self.store.close()

    @property
    def link(self) -> Link:
        """All connections as one: up if any is."""
        links = self.links
        is_connected = any(each.is_connected for each in links)
        reason = "" if is_connected else "; ".join(each.reason for each in links)
        return Link("", is_connected, reason, sum(each.reconnects for each in links), sum(each.acks for each in links))

    def district(self) -> DistrictAnswer:
        """Everything now."""
        now_ms = unix_ms()
        return DistrictAnswer(
            city=self.city,
            fleet=self.fleet,
            term=self.term,
            standby=self.leading.standby(),
            t_ms=now_ms,
            broker="connected" if self.link.is_connected else self.link.reason,
            gateways=district.gateways(self.registry, now_ms),
            equipment=district.equipment(self.registry, now_ms),
        )

    def equipment(self, gateway_id: str, equipment_id: str) -> EquipmentAnswer:
        """One piece of equipment.

        Raises:
            AskError: unknown.
        """
        gateway = self.registry.gateways.get(gateway_id)
        if gateway is None or equipment_id not in gateway.cards:
            raise AskError(404, f"no equipment {equipment_id!r} behind {gateway_id!r}; GET /api/district lists all")
        return district.equipment_answer(gateway, gateway.cards[equipment_id], unix_ms())

    def gateways(self) -> list[GatewayAnswer]:
        """Every gateway now."""
        return district.gateways(self.registry, unix_ms())

    async def history(self, place: tuple[str, str], point: str, since_ms: int, limit: int) -> list[SampleAnswer]:
        """A point's newest values, oldest first."""
        return await self.read(lambda connection: store.history(connection, place, point, since_ms, limit))

    async def events(self, limit: int, gateway: str, equipment: str) -> list[EventAnswer]:
        """The newest events, newest first."""
        return await self.read(lambda connection: store.events(connection, limit, gateway, equipment))

    async def newest_commands(self, limit: int, gateway: str) -> list[CommandAnswer]:
        """The newest commands, newest first."""
        return await self.read(lambda connection: command_rows.newest(connection, limit, gateway))

    async def command(self, command_id: str) -> CommandAnswer:
        """One command.

        Raises:
            AskError: unknown.
        """
        found = await self.read(lambda connection: command_rows.one(connection, command_id))
        if found is None:
            raise AskError(404, f"no command {command_id!r} was issued here; GET /api/commands lists them")
        return found

    def health(self) -> HealthAnswer:
        """How the manager is."""
        return health.read(self, unix_ms())

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read something from the store.

        Raises:
            AskError: it does not answer.
        """
        try:
            async with asyncio.timeout(READ_S):
                return await asyncio.to_thread(self.store.read, work)
        except (StoreError, TimeoutError) as error:
            raise AskError(503, f"the database does not answer: {str(error) or 'too slow'}; try again") from error

    async def _writer_lives(self) -> None:
        await self.writer.ended

    async def _flush_often(self) -> None:
        while True:  # As long as the manager runs.
            await asyncio.sleep(FLUSH_S)
            self.broadcast.flush(self.registry, unix_ms())

    async def _watch(self) -> None:
        self._links = {each.id: each.link(unix_ms()) for each in self.registry.gateways.values()}
        self._doubts = {each.id: each.doubts(unix_ms()) for each in self.registry.gateways.values()}
        while True:  # As long as the manager runs.
            await asyncio.sleep(WATCH_S)
            await self._notice_links()
            if not self.leading.may_write:
                continue
            try:
                await self.commands.sweep()
            except AskError as error:
                self._log.warning("commands.not-swept", reason=str(error))

    async def _notice_links(self) -> None:
        """Say once when a gateway is lost or back."""
        now_ms = unix_ms()
        for gateway in list(self.registry.gateways.values()):
            self._notice_doubts(gateway, now_ms)
            link = gateway.link(now_ms)
            before = self._links.get(gateway.id)
            self._links[gateway.id] = link
            if link == before:
                continue
            self.broadcast.gateway(district.gateway_answer(gateway, now_ms))
            if link != NEVER:
                kind, text = ("gateway.up", "heard") if link == UP else ("gateway.lost", LOST_TEXT)
                self._log.info(kind, gateway=gateway.id)
                await self.notices.record(gateway.id, kind, text, now_ms)

    def _notice_doubts(self, gateway: Gateway, now_ms: int) -> None:
        """Tell everybody when what a gateway told ceases to be believed, or is believed again."""
        doubts = gateway.doubts(now_ms)
        if self._doubts.get(gateway.id) == doubts:
            return
        self._doubts[gateway.id] = doubts
        self._log.info("gateway.doubts", gateway=gateway.id, doubts=sorted(doubts))
        self.broadcast.gateway(district.gateway_answer(gateway, now_ms))
        for equipment, points in gateway.points.items():
            for name in points:
                self.broadcast.touched(gateway.id, equipment, name)

    async def _reread(self) -> None:
        """Show what another manager has stored and we have missed."""
        while True:  # As long as the manager runs.
            await self._reread_due.wait()
            self._reread_due.clear()
            try:
                self.registry.adopt(await asyncio.to_thread(self.store.registry))
            except StoreError as error:
                self._log.warning("store.not-reread", reason=str(error))
            self.broadcast.resync()

    def _entry(self, entry: bytes, subject: str) -> None:
        standing = self.ingest.standing
        standing.log.append(entry, standing.link_no, subject)

    def _apply(self, told: list[Change]) -> None:
        """Take in what a commit changed."""
        touched: set[str] = set()
        for change in told:
            self._apply_one(change, touched)
        now_ms = unix_ms()
        for gateway_id in touched:
            self.broadcast.gateway(district.gateway_answer(self.registry.gateway(gateway_id), now_ms))

    def _apply_one(self, change: Change, touched: set[str]) -> None:
        match change:
            case changes.Sampled(gateway, values):
                points = self.registry.gateway(gateway).points
                for equipment, name, point in values:
                    points.setdefault(equipment, {})[name] = point
                    self.broadcast.touched(gateway, equipment, name)
            case changes.Stored(gateway, head):
                self.registry.gateway(gateway).took(head)
            case changes.Followed(message):
                self.terms.told(message, is_leading=self.leading.is_leading)
                if self.leading.is_leading and message.fleet_term in (0, self.term):  # Else it speaks of another's log.
                    self.checkpoints.note_told(message)
                self.desired.told(message)
            case changes.AckDue(gateway, sealed):
                if self.leading.is_leading:
                    self.send(gateway, "ack", sealed)
            case changes.Happened(event):
                self.broadcast.event(event)
            case changes.Beaten(heartbeat, at_ms):
                before = self.registry.gateway(heartbeat.gateway).modes
                self.registry.beaten(heartbeat, at_ms)
                self.key_lists.beaten(heartbeat.gateway, heartbeat.key_list)
                for equipment in {**before, **heartbeat.modes}:
                    if before.get(equipment) != heartbeat.modes.get(equipment):
                        self.broadcast.touched(heartbeat.gateway, equipment)
                touched.add(heartbeat.gateway)
            case _:
                self._apply_rare(change, touched)

    def _apply_rare(self, change: Change, touched: set[str]) -> None:
        match change:
            case changes.Born(birth, at_ms):
                before = self.registry.gateway(birth.gateway).cards
                self.registry.born(birth, at_ms)
                if before != self.registry.gateway(birth.gateway).cards:
                    self.broadcast.resync()
                self.key_lists.send(birth.gateway)
                self.commands.introduced(birth.gateway)
                touched.add(birth.gateway)
            case changes.Died(gateway_id):
                self.registry.died(gateway_id)
                touched.add(gateway_id)
            case changes.Latched(gateway_id, equipment, latch):
                latches = self.registry.gateway(gateway_id).latches
                if latch is None:
                    latches.pop(equipment, None)
                else:
                    latches[equipment] = latch
                self.broadcast.touched(gateway_id, equipment)
            case changes.Held(gateway_id, stream, reason):
                held = self.registry.gateway(gateway_id).held
                held.pop(stream, None)
                if reason:
                    held[stream] = reason
                    self._log.warning("stream.held", gateway=gateway_id, stream=stream, reason=reason)
                touched.add(gateway_id)
            case changes.Rejected(gateway_id, reason, count):
                self.rejections[reason] += count
                if gateway_id:
                    self.registry.gateway(gateway_id).rejected += count
            case changes.Concluded(command):
                self.commands.concluded(command)
            case changes.Reread():
                self._reread_due.set()


def _nowhere(_gateway: str, _message_class: str, _sealed: bytes) -> None:
    """Without a link there is nobody to tell; gateways send again what was not acknowledged."""
