"""Commands: signed here, judged in the cabinet.

The manager refuses only what it cannot address: an unknown gateway or equipment, a gateway that is not connected, an
operator whose key is not held here or not believed any more. It does not judge verbs or arguments; the cabinet does, and its
rule is shown. Nothing is ever queued for a gateway that is away: what was meant for a minute ago is a hazard.

    awaiting-approval -> sent -> done | refused | expired | failed | unknown
                      -> expired (nobody approved), refused (gateway gone)

A class R3 verb needs two people. Both sign the same bytes, so the message is made when the second one approves: its
nonce would be stale otherwise.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from agent.model.command import CommandClass
from agent.model.identity import CityId, GatewayId
from agent.wire import envelope, topics
from agent.wire.fleetlog import APPROVED, ASKED, ISSUED, other_entry
from agent.wire.messages import SCHEMA, CommandMessage, encode
from agent.wire.verbs import class_of
from fleet import command_rows, expectation
from fleet.answers import CommandAnswer, CommandRequest
from fleet.command_rows import AWAITING, EXPIRED, FAILED, SENT, UNKNOWN
from fleet.errors import AskError, StoreError
from fleet.folder import Operator
from fleet.operators import Operators
from fleet.registry import UP, Gateway, Registry

LIFETIME_MS = 20_000
"""From signing to ``not_after``; the contract allows 30 s."""
RESULT_GRACE_MS = 5_000
"""How long after ``not_after`` a result may still be on its way."""
APPROVAL_MS = 300_000
"""A command nobody approved within five minutes was meant for another situation."""
OPEN_MAX = 200
NOT_SENT = "the command was not sent, because it could not be recorded"
NOT_ENDED = "how the command ended could not be recorded; look at the equipment's own points"
DRY_RUN = "dry-run"

T = TypeVar("T")


class Courier(Protocol):
    """Whoever carries a sealed command to its gateway."""

    async def send_command(self, gateway: str, sealed: bytes, expiry_s: int) -> None:
        """Publish it.

        Raises:
            AskError: it certainly did not leave; or, with status 504, nobody knows.
        """


class Commands:
    """Every command that has not ended, and the way to the others.

    Args:
        transact: runs work in the writer's thread.
        told: called with each step a command takes here.
        log: adds an entry about a subject to the manager's log; called inside ``transact``.
    """

    def __init__(
        self,
        city: CityId,
        operators: Operators,
        registry: Registry,
        transact: "Transact",
        told: Callable[[CommandAnswer], None],
        unix_ms: Callable[[], int],
        log: Callable[[bytes, str], object] = lambda _entry, _subject: None,
    ) -> None:
        self._city = city
        self._operators = operators
        self._registry = registry
        self._transact = transact
        self._told = told
        self._unix_ms = unix_ms
        self._log = log
        self._open: dict[str, CommandAnswer] = {}
        self._counters: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._turn = asyncio.Lock()
        self.courier: Courier | None = None
        self._strangers: set[str] = set()
        self.refusal: Callable[[], str] = lambda: ""

    async def load(self) -> None:
        """Take up what an earlier process left open."""

        def work(connection: Connection) -> tuple[Sequence[CommandAnswer], dict[str, int]]:
            return command_rows.unfinished(connection), command_rows.counters(connection)

        unfinished, self._counters = await self._transact(work)
        self._open = {command.command_id: command for command in unfinished}

    def led_elsewhere(self, gateways: Iterable[str]) -> None:
        """Another manager has commanded these, with a store of its own: only their births tell how far it counted."""
        self._strangers = set(gateways)

    @property
    def strangers(self) -> frozenset[str]:
        """Gateways that have not introduced themselves since."""
        return frozenset(self._strangers)

    def introduced(self, gateway: str) -> None:
        """A gateway has told its counters."""
        self._strangers.discard(gateway)

    async def issue(self, request: CommandRequest) -> CommandAnswer:
        """Sign and send a command, or keep it for a second person's approval.

        Raises:
            AskError: it has no addressee, or could not be sent.
        """
        operator = self._operators.named(request.operator)
        gateway = self._addressee(request.gateway, request.equipment)
        _check_args(request)
        now_ms = self._unix_ms()
        command = CommandAnswer(
            command_id=secrets.token_hex(12),
            status=AWAITING if class_of(request.verb) is CommandClass.R3_DEGRADING else SENT,
            rule="",
            reason="",
            state="",
            gateway=request.gateway,
            equipment=request.equipment,
            verb=request.verb,
            args=dict(request.args),
            operator=operator.name,
            approvers=[],
            issued_ms=now_ms,
            not_after_ms=now_ms + LIFETIME_MS,
            ended_ms=0,
            expect=expectation.in_full(request.expect, request.equipment),
        )
        if request.dry_run:
            people = "two people: its class is R3" if command.status == AWAITING else operator.signer.kid.decode()
            return self._rehearsed(command, people, gateway)
        if command.status == AWAITING:
            command = msgspec.structs.replace(
                command,
                not_after_ms=now_ms + APPROVAL_MS,
                reason=f"{request.verb} needs a second person: another operator must approve it within 5 minutes",
            )

            def work(connection: Connection) -> None:
                command_rows.add(connection, command, b"")
                self._logged(ASKED, command, operator.name, _asked_bytes(command))

            async with self._turn:
                self._check_room()
                await self._stored(work)
                self._note(command)
            return command
        return await self._send(command, (operator,), is_new=True)

    async def approve(self, command_id: str, name: str, *, dry_run: bool = False) -> CommandAnswer:
        """Sign a waiting command as a second person and send it; in a dry run, say what would be signed.

        Raises:
            AskError: there is no such command, it does not wait, or the approver is its issuer.
        """
        approver = self._operators.named(name)
        command = self._open.get(command_id)
        if command is None or command.status != AWAITING:
            raise AskError(409, f"no command {command_id} awaits approval: it has ended, was sent, or never existed")
        if approver.name == command.operator:
            raise AskError(409, f"{approver.name} asked for this: a different operator must approve it")
        issuer = self._operators.of_subject(command.operator)
        if issuer is None:
            raise AskError(409, f"the key of {command.operator} is no longer here: ask for the command again")
        gateway = self._addressee(command.gateway, command.equipment)
        if dry_run:
            self._operators.check(issuer)
            people = " and ".join(each.signer.kid.decode() for each in (issuer, approver))
            return self._rehearsed(command, people, gateway)
        now_ms = self._unix_ms()
        approved = msgspec.structs.replace(
            command, status=SENT, reason="", approvers=[approver.name], not_after_ms=now_ms + LIFETIME_MS
        )
        return await self._send(approved, (issuer, approver), is_new=False)

    async def wait(self, command: CommandAnswer, wait_s: float) -> CommandAnswer:
        """Wait until a sent command has ended, or ``wait_s`` has passed; return how it stands."""
        if command.status != SENT:
            return command
        if ended := self._waiting.get(command.command_id):
            with suppress(TimeoutError):  # Still open: that is the answer.
                async with asyncio.timeout(wait_s):
                    await ended.wait()
        try:
            found = await self._transact(lambda connection: command_rows.one(connection, command.command_id))
        except StoreError:
            return command  # Sent and still open, as far as anybody knows.
        return found or command

    def concluded(self, command: CommandAnswer) -> None:
        """The cabinet's result has ended a command."""
        self._open.pop(command.command_id, None)
        if waiting := self._waiting.pop(command.command_id, None):
            waiting.set()
        self._told(command)

    async def sweep(self) -> None:
        """End what waited too long: no approval, or no result."""
        now_ms = self._unix_ms()
        for command in list(self._open.values()):
            if command.status == AWAITING and now_ms > command.not_after_ms:
                await self._end(command, EXPIRED, "nobody approved it in time", "nothing was sent")
            elif command.status == SENT and now_ms > command.not_after_ms + RESULT_GRACE_MS:
                reason = "the cabinet gave no result: it may have been carried out or not"
                await self._end(command, UNKNOWN, reason, "not confirmed; look at the equipment's own points")

    async def _send(self, command: CommandAnswer, signers: tuple[Operator, ...], *, is_new: bool) -> CommandAnswer:
        async with self._turn:  # Counters must leave in the order they were given out.
            if is_new:
                self._check_room()
            gateway = self._addressee(command.gateway, command.equipment)
            for each in signers:  # The officers may have taken out a key since this was asked for.
                self._operators.check(each)
            kid = signers[0].signer.kid.decode()
            counter = 1 + max(self._counters.get(kid, 0), gateway.counters.get(kid, 0))
            sealed = self._sealed(command, signers, counter, self._nonce(gateway, command.equipment))

            def work(connection: Connection) -> bool:
                command_rows.raise_counter(connection, kid, counter)
                if is_new:
                    command_rows.add(connection, command, sealed)
                elif not command_rows.change(connection, command, AWAITING, sealed):
                    return False
                for name in command.approvers:
                    self._logged(APPROVED, command, name, sealed)
                self._logged(ISSUED, command, kid, sealed, counter)
                return True

            try:
                is_written = await self._stored(work)
            except AskError:
                if is_new:  # A disk that hangs may still take it: let the sweep end what it then finds.
                    self._open[command.command_id] = command
                raise
            if not is_written:
                raise AskError(409, f"command {command.command_id} has ended meanwhile")
            self._counters[kid] = counter
            self._waiting[command.command_id] = asyncio.Event()
            self._note(command)
            try:
                assert self.courier is not None
                await self.courier.send_command(command.gateway, sealed, LIFETIME_MS // 1000)
            except AskError as error:
                ending, state = (UNKNOWN, "not confirmed") if error.status == 504 else (FAILED, "nothing was sent")
                return await self._end(command, ending, str(error), state)
        return command

    def _logged(self, kind: str, command: CommandAnswer, who: str, sealed: bytes, number: int = 0) -> None:
        """In the writer's thread, in the transaction of what it speaks of."""
        entry = other_entry(
            kind,
            self._unix_ms(),
            envelope.digest(sealed),
            gateway=command.gateway,
            name=command.command_id,
            number=number,
            who=who,
        )
        self._log(entry, command.command_id)

    def _sealed(self, command: CommandAnswer, signers: tuple[Operator, ...], counter: int, nonce: bytes) -> bytes:
        message = CommandMessage(
            schema=SCHEMA,
            command_id=command.command_id,
            issuer=signers[0].signer.kid.decode(),
            gateway=command.gateway,
            equipment=command.equipment,
            verb=command.verb,
            args=command.args,
            nonce=nonce,
            counter=counter,
            issued_ms=self._unix_ms(),
            not_after_ms=command.not_after_ms,
            expect_point=None if command.expect is None else command.expect.point,
            expect_value=None if command.expect is None else command.expect.value,
        )
        topic = topics.down(self._city, GatewayId(command.gateway), "cmd")
        payload = encode(message)
        return envelope.join_set([each.signer.seal(payload, topic) for each in signers])

    def _rehearsed(self, command: CommandAnswer, people: str, gateway: Gateway) -> CommandAnswer:
        words = " ".join([command.verb, *(f"{name}={value}" for name, value in command.args.items())])
        executor = _executor(gateway, command.equipment)
        reason = f"would be signed by {people}, for the {executor} of {gateway.id}: {command.equipment} {words}"
        if command.expect is not None:
            reason += f"; {expectation.would_hold(command.expect, command.equipment, gateway, self._unix_ms())}"
        return msgspec.structs.replace(
            command,
            command_id="",
            status=DRY_RUN,
            reason=reason,
            state="nothing was sent; the verdict is the cabinet's",
        )

    async def _end(self, command: CommandAnswer, status: str, reason: str, state: str) -> CommandAnswer:
        ended = msgspec.structs.replace(command, status=status, reason=reason, state=state, ended_ms=self._unix_ms())
        if await self._stored(lambda connection: command_rows.change(connection, ended, command.status), NOT_ENDED):
            self.concluded(ended)
            return ended
        found = await self._stored(lambda connection: command_rows.one(connection, command.command_id), NOT_ENDED)
        self._open.pop(command.command_id, None)
        return found or command

    def _check_room(self) -> None:
        """In one's turn only: many who ask in the same moment would all find the same room."""
        if len(self._open) >= OPEN_MAX:
            raise AskError(429, f"{OPEN_MAX} commands are still open: wait until some have ended. Nothing was sent")

    def _note(self, command: CommandAnswer) -> None:
        self._open[command.command_id] = command
        self._told(command)

    async def _stored(self, work: Callable[[Connection], T], refusal: str = NOT_SENT) -> T:
        try:
            return await self._transact(work)
        except StoreError as error:
            raise AskError(503, f"{refusal}: {error}") from error

    def _addressee(self, gateway_id: str, equipment: str) -> Gateway:
        if refusal := self.refusal():
            raise AskError(503, refusal)
        self._operators.check_list()
        gateway = self._registry.gateways.get(gateway_id)
        if gateway is None:
            raise AskError(404, f"no gateway {gateway_id!r} was ever heard; GET /api/district lists them")
        if equipment not in gateway.cards:
            raise AskError(404, f"{gateway_id} has no equipment {equipment!r}; it has {', '.join(gateway.cards)[:400]}")
        if gateway.link(self._unix_ms()) != UP:
            raise AskError(409, "gateway is not connected: nothing was sent, and nothing is kept for later")
        if gateway_id in self._strangers:
            raise AskError(
                409,
                f"{gateway_id} has not introduced itself since this manager took the lead, so the numbers of its newest "
                "commands are not known here. Nothing was sent; try again in a few seconds",
            )
        self._nonce(gateway, equipment)
        return gateway

    def _nonce(self, gateway: Gateway, equipment: str) -> bytes:
        nonce = gateway.nonces.get(_executor(gateway, equipment))
        if nonce is None:
            raise AskError(
                409,
                f"the {_executor(gateway, equipment)} of {gateway.id} has published no nonce: it does not run, "
                "or has just connected. Nothing was sent; try again in ten seconds",
            )
        return nonce


class Transact(Protocol):
    """Runs work in the writer's thread, durable on return."""

    async def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Raises StoreError if nothing of it was stored."""


def _check_args(request: CommandRequest) -> None:
    try:
        msgspec.msgpack.encode([request.args, request.expect])
    except (OverflowError, ValueError) as error:
        raise AskError(400, f"args: {error}: a number must fit into 64 bits") from error


def _asked_bytes(command: CommandAnswer) -> bytes:
    """What the log's digest of a request nobody has signed yet is over."""
    expect = [] if command.expect is None else [command.expect.point, command.expect.value]
    return msgspec.msgpack.encode([command.gateway, command.equipment, command.verb, command.args, *expect])


def _executor(gateway: Gateway, equipment: str) -> str:
    """Who judges a command to it. Equipment that takes none is the agent's to refuse."""
    return gateway.cards[equipment].executor or "agent"
