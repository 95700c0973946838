"""Whether this manager leads, how it begins to, and how it ceases.

    alone            it leads; a fresh state of another manager under a higher term makes it stand by until that is silent
    with a lease     it leads while it holds the lease (``fleet.lease``), and no longer

Beginning takes an order: the term first, then everything from the store as the one before has left it, then commands, and
only then a word to the gateways. So nothing is acknowledged that is not in the store, and no number is given out twice.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection

from agent.model.identity import GatewayId
from agent.wire import topics
from agent.wire.leadership import FLEET_STALE_MS
from agent.wire.messages import SCHEMA, Ack, FleetState
from agent.wire.sealing import seal_message
from fleet import lease_rows
from fleet.errors import AskError, FleetError, StoreError
from fleet.fence import Fence, now_ms
from fleet.lease import LeaseRow
from fleet.lease_store import LeaseStore

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom

ROLL_CALL_S = 0.5
ROLL_CALLS = 20
"""Whoever does not answer for so long is not there; its birth comes with its next connection."""
LOOK_S = 10.0
"""How often a manager without a lease looks whether the other one is silent."""


@dataclass(frozen=True, slots=True)
class Role:
    """How a manager stands, for a person.

    Args:
        since_ms: Unix time. leader: who leads, empty if nobody known does. leader_url: where, if known.
    """

    is_leading: bool
    since_ms: int
    leader: str
    leader_url: str
    leader_term: int


class Leading:
    """Whether one manager leads.

    Args:
        lease: None for a manager that is alone. fence: of a store shared with another manager, else None.
    """

    def __init__(
        self, room: "ControlRoom", lease: LeaseStore | None, fence: Fence | None, unix_ms: Callable[[], int]
    ) -> None:
        self.lease = lease
        self.is_leading = lease is None
        self.since_ms = unix_ms()
        self._room = room
        self._fence = fence
        self._unix_ms = unix_ms
        self._other: FleetState | None = None
        self._other_heard_ms = 0
        self._why: tuple[str, str] = ("", "")  # Who asked for the lead, and the reason given.
        self._wake = asyncio.Event()
        self._problem = ""
        self._log = structlog.get_logger("fleet")
        if fence is not None:
            fence.told = self._told_by_writer

    @property
    def problem(self) -> str:
        """What a person should know, empty if all is in order."""
        if self._problem:
            return f"lease: {self._problem}; whoever leads ceases to"
        return ""

    @property
    def may_write(self) -> bool:
        """True if the store is ours to write: alone, our own, or shared while we lead."""
        return self._fence is None or self.is_leading

    def may_act(self) -> bool:
        """True if an ack, a command or a state may leave at this very moment. Ask last, without waiting after it."""
        return self.is_leading and (self.lease is None or self.lease.lease.holds(now_ms()))

    def role(self) -> Role:
        """How we stand."""
        room = self._room
        if self.is_leading:
            return Role(True, self.since_ms, room.fleet, "", room.term)
        if self.lease is not None and self.lease.row.life:
            row = self.lease.row
            return Role(False, self.since_ms, row.holder, row.url, row.term)
        other = self._other
        return Role(False, self.since_ms, "" if other is None else other.fleet, "", 0 if other is None else other.term)

    def standby(self) -> str:
        """Since when this manager stands by, and for whom; empty while it leads. For its page."""
        now = self.role()
        if now.is_leading:
            return ""
        who = f"{now.leader} leads" if now.leader else "no manager is known to lead"
        where = f" at {now.leader_url}" if now.leader_url else ""
        behind = sum(gateway.backlog() for gateway in self._room.registry.gateways.values())
        missing = f"{behind} batches that gateways have told of are not known to be stored. " if behind else ""
        since = datetime.fromtimestamp(now.since_ms / 1000, UTC)
        return f"It stands by since {since:%Y-%m-%d %H:%M:%S} UTC: {who}{where}. {missing}Commands are refused here"

    def refusal(self) -> str:
        """Why nothing can be commanded here, empty if it can."""
        if self.may_act():
            return ""
        now = self.role()
        if self.is_leading or not now.leader or now.leader == self._room.fleet:
            return (
                "this manager does not lead yet, and no other is known to. Nothing was sent; try again in some seconds"
            )
        where = f", at {now.leader_url}" if now.leader_url else ""
        return f"this manager stands by: {now.leader} leads. Nothing was sent; send the command there{where}"

    def heard(self, state: FleetState) -> None:
        """A believed state of another manager, under our term or a higher one."""
        if state.fleet == self._room.fleet or abs(self._unix_ms() - state.issued_ms) >= FLEET_STALE_MS:
            return
        self._other, self._other_heard_ms = state, now_ms()
        if self.is_leading and (self.lease is None or not self.lease.lease.holds(now_ms())):
            self._cease(f"{state.fleet} leads under term {state.term}")
        elif self.is_leading and state.term > self._room.term:
            # The lease says that it is us: the other one goes by another lease, or by none.
            self._cease(f"{state.fleet} leads under term {state.term}, which the lease does not know")

    async def run(self) -> None:
        """Lead, or stand by, until cancelled; then let the other one lead."""
        if self.lease is None:
            await self._run_alone()
        else:
            async with asyncio.TaskGroup() as tasks:
                await self._run_leased(self.lease, tasks)

    async def take(self, who: str, reason: str) -> None:
        """Lead as soon as the one that leads has given it up; within a second or two, or once it has been silent.

        Raises:
            StoreError: the lease does not answer.
        """
        self._why = (who, reason)
        if self.lease is not None:
            await self.lease.ask(partial(lease_rows.want, manager=self._room.fleet))
        elif await self._room.terms.rise():
            self._other_heard_ms = 0
            await self._begin(self._room.term)

    async def give_up(self, who: str, reason: str) -> None:
        """Say so in the log, then act no more and let another manager lead.

        Raises:
            AskError: there is no lease. StoreError: it could not be recorded; we go on leading.
        """
        if self.lease is None:
            raise AskError(409, "there is no lease to give up: run `armoire-fleet lead take` at the other manager")
        await self._note("lead.yielded", who, reason)
        self.lease.lease.give_up()
        self._cease(f"handed over by {who}: {reason}")
        self._wake.set()

    async def _run_alone(self) -> None:
        terms = self._room.terms
        while True:  # As long as the manager runs.
            if await terms.wait_changed(LOOK_S):
                self._room.announce()
            is_silent = not self._other_heard_ms or now_ms() - self._other_heard_ms > FLEET_STALE_MS
            if not self.is_leading and is_silent and await terms.rise():
                await self._begin(self._room.term)

    async def _run_leased(self, held: LeaseStore, tasks: asyncio.TaskGroup) -> None:
        lease, terms = held.lease, self._room.terms
        beginning: asyncio.Task[None] | None = None
        try:
            while True:  # As long as the manager runs.
                await self._step(held)
                if self.is_leading and not lease.term:
                    self._cease("the lease is over")
                is_idle = beginning is None or beginning.done()
                if lease.term and is_idle and not self.is_leading and not self._is_outbid(lease.term):
                    beginning = tasks.create_task(self._begin(lease.term))  # Renewals go on meanwhile.
                elif self.is_leading and terms.is_behind and await terms.rise():
                    self._room.announce()
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(lease.wait_ms(now_ms()) / 1000):
                        await self._wake.wait()
        finally:
            await self._leave(held)

    async def _step(self, held: LeaseStore) -> None:
        try:
            await held.step(self._room.terms.highest, self._unix_ms())
        except StoreError as error:
            if self._problem != (problem := str(error)):
                self._log.error("lease.unavailable", reason=problem)
            self._problem = str(error)
            return
        if self._problem:
            self._problem = ""
            self._log.info("lease.back")

    async def _leave(self, held: LeaseStore) -> None:
        """We stop: the other one need not wait for the lease to run out."""
        held.lease.give_up()
        if self._fence is not None:
            self._fence.term = 0
        with suppress(StoreError):
            await held.step(0, self._unix_ms())
        held.close()

    async def raise_term(self, above: int) -> int:
        """Go on under a term above ``above``.

        Raises:
            StoreError: we do not; or nobody knows, and the next step will tell.
        """
        held, fence = self.lease, self._fence
        assert held is not None
        lease, asked_ms = held.lease, now_ms()
        work = partial(lease_rows.raise_term, life=lease.life, term=lease.term, above=above)

        def raised(connection: Connection) -> LeaseRow | None:
            row = work(connection)
            if fence is not None and row is not None:
                fence.term = row.term
            return row

        row = await (held.ask(work) if fence is None else self._room.writer.transact(raised, is_fenced=False))
        if row is None:
            raise StoreError("the lease is another's")
        lease.renewed(row, asked_ms)
        return row.term

    def _is_outbid(self, term: int) -> bool:
        other = self._other
        return other is not None and other.term > term and now_ms() - self._other_heard_ms <= FLEET_STALE_MS

    async def _begin(self, term: int) -> None:
        """Lead from now on. If the store fails meanwhile we do not, and the lease is given up."""
        room = self._room
        room.terms.number = term
        try:
            await room.writer.transact(partial(self._take_up, term), is_fenced=False)
            if self._fence is not None:
                room.registry.adopt(await asyncio.to_thread(room.store.registry))
            else:
                room.commands.led_elsewhere(room.registry.gateways)
            await room.commands.load()
        except FleetError as error:
            self._log.error("lead.not-begun", reason=str(error))
            if self.lease is not None:
                self.lease.lease.give_up()
            return
        if self.lease is not None and self.lease.lease.term != term:
            return  # It was another's before we had begun.
        self.is_leading, self.since_ms = True, self._unix_ms()
        self._log.info("leading", term=term)
        room.announce()
        await self._greet()
        await self._call_roll(term)

    async def _greet(self) -> None:
        """What the log must say before anything else; nobody waits for it."""
        (who, reason), self._why = self._why, ("", "")
        try:
            await self._room.checkpoints.log_key_list(self._room.ring, self._unix_ms())
            if self.lease is not None or who:
                await self._note("lead.taken", who or self._room.fleet, reason or "nobody held the lease")
            await self._room.checkpoints.make(self._unix_ms())
        except StoreError as error:
            self._log.warning("lead.not-recorded", reason=str(error))

    async def _note(self, kind: str, who: str, reason: str) -> None:
        await self._room.notices.lead(kind, self._room.fleet, who, reason, self._unix_ms())

    def _take_up(self, term: int, _connection: Connection) -> None:
        """In the writer's thread: go on from what is durable."""
        ingest = self._room.ingest
        if self._fence is not None:
            self._fence.term = term
            ingest.rolled_back(self._room.store.standing())
        ingest.lead(term)

    async def _call_roll(self, term: int) -> None:
        """Ask every gateway that another manager has commanded to introduce itself: only it knows how far that one counted.

        An ack that follows takes the place of one that still waits, so it is asked again.
        """
        room = self._room
        for _ in range(ROLL_CALLS):
            strangers = room.commands.strangers
            if not strangers or not self.is_leading or room.term != term:
                return
            with suppress(StoreError):  # A disk that hangs is told of elsewhere.
                for gateway, sealed in await room.writer.transact(partial(self._calls, strangers), is_fenced=False):
                    room.send(gateway, "ack", sealed)
            await asyncio.sleep(ROLL_CALL_S)

    def _calls(self, gateways: frozenset[str], _connection: Connection) -> list[tuple[str, bytes]]:
        room, standing = self._room, self._room.ingest.standing
        calls = []
        for gateway in sorted(name for name in gateways if standing.known(name).is_connected):
            ack = Ack(SCHEMA, gateway, room.term, standing.inbound.acks(gateway), rebirth=True)
            topic = topics.down(room.city, GatewayId(gateway), "ack")
            calls.append((gateway, seal_message(room.trust.director, topic, ack)))
        return calls

    def _cease(self, reason: str) -> None:
        if not self.is_leading:
            return
        self.is_leading, self.since_ms = False, self._unix_ms()
        if self._fence is not None:
            self._fence.term = 0
        self._log.warning("standing-by", term=self._room.term, reason=reason)

    def _told_by_writer(self, row: LeaseRow | None, asked_ms: int) -> None:
        """The writer has renewed the lease with what it stored, or was not let in."""
        assert self.lease is not None
        if row is not None:
            self.lease.lease.renewed(row, asked_ms)
            return
        if self.is_leading:
            self.lease.lease.lost(now_ms())
            self._cease("another manager holds the lease")
            self._wake.set()
