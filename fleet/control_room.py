"""The manager as a whole, on the event loop: applies what became durable, watches links, answers the API.

Nothing reaches the registry or a browser before it is on disk.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.trust import KeyRing
from fleet import changes, command_rows, district, event_rows, figures, schema, store
from fleet.answers import (
    CommandAnswer,
    DistrictAnswer,
    EquipmentAnswer,
    EventAnswer,
    GatewayAnswer,
    HealthAnswer,
    SampleAnswer,
)
from fleet.broadcast import Broadcast
from fleet.changes import Change
from fleet.checkpoints import Checkpoints, Whose
from fleet.commands import Commands
from fleet.engine import add_rows
from fleet.errors import AskError, FolderError, StoreError
from fleet.folder import DATABASE_FILE, Trust, newer_ring
from fleet.ingest import Ingest
from fleet.metrics import Metrics
from fleet.registry import NEVER, UP, Gateway
from fleet.store import Store
from fleet.term import Terms
from fleet.writer import Writer

FLUSH_S = 0.25
WATCH_S = 1.0
KEY_LIST_S = 10.0
READ_S = 10.0
LOST_TEXT = "not heard; its equipment follows its own plan, and what is shown of it is stale"

T = TypeVar("T")


def unix_ms() -> int:
    """Now, Unix time in ms."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Link:
    """How the connection to the broker stands, as the API shows it."""

    is_connected: bool = False
    reason: str = "not connected yet"
    reconnects: int = 0
    acks: int = 0


class ControlRoom:
    """Everything one manager knows and does, without its sockets.

    Args:
        fleet: this manager's id.
        folder: where the database is. trust_folder: where keys and key list are.

    Raises:
        FolderError: keys or database cannot be used.
    """

    def __init__(self, fleet: str, folder: Path, trust_folder: Path, trust: Trust) -> None:
        self.fleet = fleet
        self.trust = trust
        self.city = trust.roots.city
        self._trust_folder = trust_folder
        self.store = Store(folder / DATABASE_FILE)
        term = self.store.transact(store.raise_term)
        self.registry = self.store.registry()
        self.ingest = Ingest(self.city, trust.ring, trust.director, self.store.standing(), term)
        self.writer = Writer(self.store, self.ingest, self._apply, unix_ms)
        self.terms = Terms(term, self.writer.transact, self.ingest)
        self.broadcast = Broadcast()
        self.commands = Commands(
            self.city,
            trust.operators,
            self.registry,
            self.writer.transact,
            self.broadcast.command,
            unix_ms,
            self._entry,
        )
        whose = Whose(self.city, fleet, trust.director)
        self.checkpoints = Checkpoints(whose, self.writer.transact, self.ingest, self._record)
        self.link = Link()
        self.metrics = Metrics(partial(figures.read, self))
        self.send: Callable[[str, str, bytes], None] = _nowhere
        self._links: dict[str, str] = {}
        self._doubts: dict[str, frozenset[str]] = {}
        self.rejections: Counter[str] = Counter()
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
            await self.commands.load()
            await self.checkpoints.log_key_list(self.ring, unix_ms())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._writer_lives())
                tasks.create_task(self._flush_often())
                tasks.create_task(self._watch())
                tasks.create_task(self._watch_key_list())
                tasks.create_task(self.checkpoints.run(unix_ms))
        finally:
            await self.writer.stop()
            self.store.close()

    def lead(self, *, is_leading: bool) -> None:
        """Take the lead, or stand by: verify and store, but neither acknowledge nor command."""
        if is_leading != self.commands.is_leading:
            self._log.info("leading" if is_leading else "standing-by", term=self.term)
        self.commands.is_leading = is_leading

    def district(self) -> DistrictAnswer:
        """Everything now."""
        now_ms = unix_ms()
        return DistrictAnswer(
            city=self.city,
            fleet=self.fleet,
            term=self.term,
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
        return await self._read(lambda connection: store.history(connection, place, point, since_ms, limit))

    async def events(self, limit: int, gateway: str, equipment: str) -> list[EventAnswer]:
        """The newest events, newest first."""
        return await self._read(lambda connection: store.events(connection, limit, gateway, equipment))

    async def newest_commands(self, limit: int, gateway: str) -> list[CommandAnswer]:
        """The newest commands, newest first."""
        return await self._read(lambda connection: command_rows.newest(connection, limit, gateway))

    async def command(self, command_id: str) -> CommandAnswer:
        """One command.

        Raises:
            AskError: unknown.
        """
        found = await self._read(lambda connection: command_rows.one(connection, command_id))
        if found is None:
            raise AskError(404, f"no command {command_id!r} was issued here; GET /api/commands lists them")
        return found

    def health(self) -> HealthAnswer:
        """How the manager is."""
        links = Counter(gateway.link(unix_ms()) for gateway in self.registry.gateways.values())
        problems = [
            f"store: {self.writer.problem}; nothing is acknowledged, gateways keep their data"
            if self.writer.problem
            else "",
            "" if self.link.is_connected else f"broker: {self.link.reason}",
            "" if self.commands.is_leading else "another manager leads; this one only listens",
        ]
        detail = "; ".join(filter(None, problems))
        return HealthAnswer(
            status="degraded" if detail else "ok",
            detail=detail,
            broker="connected" if self.link.is_connected else "disconnected",
            term=self.term,
            store="unavailable" if self.writer.problem else "ok",
            gateways_up=links[UP],
            gateways_lost=links.total() - links[UP],
        )

    async def _read(self, work: Callable[[Connection], T]) -> T:
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
                await self._record(gateway.id, kind, text, now_ms)

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

    async def _record(self, gateway: str, kind: str, text: str, now_ms: int) -> None:
        def work(connection: Connection) -> EventAnswer:
            # In the writer's thread, which alone gives out numbers.
            self.ingest.standing.event_no += 1
            event = event_rows.noticed(self.ingest.standing.event_no, gateway, kind, text, now_ms)
            add_rows(connection, schema.events, [event_rows.to_row(event)])
            return event

        try:
            self.broadcast.event(await self.writer.transact(work))
        except StoreError as error:
            self._log.warning("event.not-recorded", kind=kind, reason=str(error))

    async def _watch_key_list(self) -> None:
        problem = ""
        while True:  # As long as the manager runs.
            await asyncio.sleep(KEY_LIST_S)
            try:
                ring = await asyncio.to_thread(newer_ring, self._trust_folder, self.trust, self.ring)
                if ring is not None:
                    await self.writer.transact(partial(_use, self.ingest, ring))
                    await self.checkpoints.log_key_list(ring, unix_ms())
            except (FolderError, StoreError) as error:
                if problem != (problem := str(error)):
                    self._log.error("key-list.refused", reason=problem)
                continue
            problem = ""
            if ring is not None:
                self._log.info("key-list.taken", version=ring.version)
                for gateway in self.registry.gateways:
                    self._send_key_list(gateway)

    def _entry(self, entry: bytes, subject: str) -> None:
        standing = self.ingest.standing
        standing.log.append(entry, standing.link_no, subject)

    def _send_key_list(self, gateway: str) -> None:
        """Pass on a key list that has changed since our start; what gateways were enrolled with they have."""
        is_new = self.ring.version > self.trust.ring.version
        if is_new and self.commands.is_leading and len(self.ring.sealed) <= ENVELOPE_BYTES_MAX:
            self.send(gateway, "keys", self.ring.sealed)

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
                self.terms.told(message, is_leading=self.commands.is_leading)
                self.checkpoints.note_told(message)
            case changes.AckDue(gateway, sealed):
                if self.commands.is_leading:
                    self.send(gateway, "ack", sealed)
            case changes.Happened(event):
                self.broadcast.event(event)
            case changes.Beaten(heartbeat, at_ms):
                before = self.registry.gateway(heartbeat.gateway).modes
                self.registry.beaten(heartbeat, at_ms)
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
                self._send_key_list(birth.gateway)
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


def _use(ingest: Ingest, ring: KeyRing, _connection: Connection) -> None:
    """Change the key list between two transactions, in the thread that uses it."""
    ingest.use(ring)


def _nowhere(_gateway: str, _message_class: str, _sealed: bytes) -> None:
    """Without a link there is nobody to tell; gateways send again what was not acknowledged."""
