"""The one path of a command: verify, store the counter, judge, act, record, answer with a signed outcome.

Guard and agent each run one over the equipment they own; there is no second door.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from agent.ledger.errors import LedgerError
from agent.model.command import Command, Origin, Role
from agent.model.identity import CityId, EquipmentId, GatewayId
from agent.model.observation import ClockQuality, Scalar
from agent.process.clock import Clock
from agent.process.stopping import stop_all
from agent.safety.verdict import Approved, Refused
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Declined, Repeated, unmet
from agent.wire.keyfile import KeyFileError, Signer
from agent.wire.local import Failed, OutcomeIs, Reply
from agent.wire.messages import SCHEMA, CommandMessage, Outcome, encode
from agent.wire.topics import down, up
from agent.wire.verbs import command_of

NOTHING_SENT = "nothing was sent to the equipment"
TURN_TIMEOUT_S = 3.0
"""How long a command waits for those before it. With the disk and the equipment at their slowest its answer still
comes within the socket's time; nothing is cut off half done."""
STOP_TIMEOUT_S = 5.0
"""How long a stopping process waits for the command under way."""
DECLINED_PERIOD_MS = 60_000
DECLINED_RECORDS_MAX = 64
"""Sealed records are never shed, and a captured command may be sent again and again: of what the gate declines, one
record a minute for each command, and no more of them than this; the others are counted."""
TEXT_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class Acted:
    """How an approved command ended at the equipment.

    Args:
        ended: done, refused, failed (state known) or unknown (state not confirmed).
        reason: what happened. state: what is known about the equipment now.
        rule: which rule refused it after all when its turn came; nothing was sent then.
    """

    ended: str
    reason: str
    state: str
    rule: str = ""


class Executor(Protocol):
    """The process behind the gate."""

    @property
    def counters(self) -> dict[str, int]:
        """Issuer kid -> newest counter on disk."""
        ...

    async def store_counter(self, kid: str, counter: int) -> None:
        """Return only when the counter is on disk.

        Raises:
            LedgerError: it is not known to be there.
        """
        ...

    def judge(self, command: Command) -> Approved[Command] | Refused:
        """Ask the kernel."""
        ...

    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out and read back."""
        ...

    def state(self, equipment: EquipmentId) -> str:
        """What is known about the equipment, in one sentence."""
        ...

    def value_of(self, point: str) -> Scalar:
        """A point's present good value, or None."""
        ...

    async def record(self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar]) -> None:
        """Put an outcome into the process's sealed stream; return when it is durable.

        Raises:
            LedgerError: it is not, or not yet.
        """
        ...


class Gatekeeper:
    """One executor's commands, one at a time.

    Whoever brings a command may go away: once it has its turn it runs to its end in a task of this process's own.
    """

    def __init__(
        self, city: CityId, gateway: GatewayId, gate: CommandGate, signer: Signer, executor: Executor, clock: Clock
    ) -> None:
        self._gateway = gateway
        self._gate = gate
        self._signer = signer
        self._executor = executor
        self._clock = clock
        self._topic = down(city, gateway, "cmd")
        self._result_topic = up(city, gateway, "result")
        self._turn = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._declined: dict[tuple[str, int, str, str], int] = {}  # What was recorded -> when, oldest first.
        self.rejected: dict[str, int] = {}

    def nonce(self, now_ms: int) -> bytes:
        """What a command must carry now."""
        return self._gate.nonces.current(now_ms)

    def count(self, reason: str) -> None:
        """Count something that was not believed."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Take commands for as long as the context lasts; at its end the one under way is waited for, then stopped."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=STOP_TIMEOUT_S)
                await stop_all(self._under_way)

    async def submit(self, sealed: bytes) -> Reply:
        """Take one sealed command set to its end. Cancelled, only the waiting ends; the outcome is in the log.

        Returns:
            The signed outcome; Failed if nobody known signed it, or if others kept the executor busy too long.
        """
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turn.acquire()
        except TimeoutError:
            self.count("busy")
            return Failed(f"other commands are still under way, try again; {NOTHING_SENT}")
        if self._group is None:
            self._turn.release()
            return Failed(f"this process is stopping; {NOTHING_SENT}")
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(self._conduct(sealed, reply), name="command")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await reply

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Here and not in the task: one that is stopped before it began would never let go of the turn."""
        self._under_way.discard(task)
        self._turn.release()

    async def _conduct(self, sealed: bytes, reply: "asyncio.Future[Reply]") -> None:
        try:
            taken = await self._take(sealed)
        except Exception as error:  # noqa: BLE001 - told below
            # Our own bug. It must not end the scans that live beside this task; whoever waits, or the loop, is told.
            if reply.done():
                asyncio.get_running_loop().call_exception_handler({"message": "command failed", "exception": error})
            else:
                reply.set_exception(error)
        else:
            if not reply.done():
                reply.set_result(taken)
        finally:
            reply.cancel()  # Does nothing to one that has its answer.

    async def _take(self, sealed: bytes) -> Reply:
        time = self._clock.read()
        try:
            admitted = self._gate.admit(
                sealed,
                self._topic,
                self._executor.counters,
                time.now_ms,
                time.unix_ms,
                ClockQuality.UNKNOWN if time.known_ms is None else time.quality,
                time.earliest_ms,
            )
        except (WireError, TrustError) as error:
            self.count(error.reason)
            return Failed(f"not believed: {error}"[: TEXT_LENGTH_MAX - len(NOTHING_SENT) - 2] + f"; {NOTHING_SENT}")
        match admitted:
            case Repeated():
                self.count("repeated")
                return Failed(f"this very command was delivered before; {NOTHING_SENT} again")
            case Declined(message=message, kid=kid, ended=ended, refused=refused):
                end = self._refusal(message, refused, ended)
                if not self._is_recorded_now(kid, message, ended):
                    self.count("declined again")  # Answered all the same.
                    return await self._seal(self._outcome(message, kid, *end))
                self.count("declined")
                return await self._conclude(message, kid, end, {})
            case Admitted():
                return await self._store_and_carry_out(admitted)

    def _is_recorded_now(self, kid: str, message: CommandMessage, ended: str) -> bool:
        """Whether a declined command is worth a record: the first time in a while, while there is room."""
        now_ms = self._clock.now_ms()
        while self._declined and now_ms - next(iter(self._declined.values())) >= DECLINED_PERIOD_MS:
            del self._declined[next(iter(self._declined))]
        key = kid, message.counter, message.command_id, ended
        if key in self._declined or len(self._declined) >= DECLINED_RECORDS_MAX:
            return False
        self._declined[key] = now_ms
        return True

    async def _store_and_carry_out(self, admitted: Admitted) -> Reply:
        try:
            await self._executor.store_counter(admitted.kid, admitted.counter)
        except LedgerError as error:
            self.count("disk")
            state = f"{NOTHING_SENT}; {self._executor.state(EquipmentId(admitted.message.equipment))}"
            acted = Acted("failed", f"the disk did not take the command's counter: {error}", state)
            return await self._conclude(admitted.message, admitted.kid, (acted, ""), {})
        return await self._carry_out(admitted)

    async def _carry_out(self, admitted: Admitted) -> Reply:
        message = admitted.message
        command = admitted.command(self._executor.value_of)
        verdict = command if isinstance(command, Refused) else self._executor.judge(command)
        if isinstance(verdict, Refused):
            acted, rule = self._refusal(message, verdict, "refused")
        else:
            acted = await self._executor.act(verdict)
            rule = acted.rule
        detail: dict[str, Scalar] = {f"arg {name}": value for name, value in message.args.items()}
        detail["signed by"] = ", ".join(admitted.origin.subjects)
        return await self._conclude(message, admitted.kid, (acted, rule), detail)

    def _refusal(self, message: CommandMessage, refused: Refused, ended: str) -> tuple[Acted, str]:
        state = f"{NOTHING_SENT}; {self._executor.state(EquipmentId(message.equipment))}"
        return Acted(ended, refused.reason, state), refused.rule

    async def _conclude(
        self, message: CommandMessage, kid: str, end: tuple[Acted, str], detail: dict[str, Scalar]
    ) -> OutcomeIs:
        outcome = self._outcome(message, kid, *end)
        detail = {
            "command": outcome.command_id,
            "verb": outcome.verb,
            "issuer": outcome.issuer,
            "state": outcome.state,
            **detail,
        }
        kind, text = f"command.{outcome.ended}", f"{outcome.verb}: {outcome.reason}"[:TEXT_LENGTH_MAX]
        try:
            await self._executor.record(kind, outcome.equipment, outcome.rule, text, detail)
        except LedgerError:
            self.count("unrecorded")  # It happened all the same, and whoever asked must know.
        return await self._seal(outcome)

    async def _seal(self, outcome: Outcome) -> OutcomeIs:
        payload = encode(outcome)
        try:
            if self._signer.is_slow:  # Seconds, up to its own time-out; the polls share this loop. Never the guard's.
                sealed = await asyncio.to_thread(self._signer.seal, payload, self._result_topic)
            else:
                sealed = self._signer.seal(payload, self._result_topic)
        except KeyFileError:  # A token that was taken out. Whoever asked here is told; the fleet will say unknown.
            self.count("unsigned")
            sealed = b""
        return OutcomeIs(outcome, sealed)

    def rehearse(self, message: CommandMessage, role: str) -> Reply:
        """Judge what a command of ``role`` would meet, and do nothing."""
        if role not in (Role.OPERATOR, Role.TECHNICIAN):
            return Failed(f"rehearse as operator or technician, not as {role!r}")
        if message.gateway != self._gateway:
            return Failed(f"this is {self._gateway}, not {message.gateway}")
        origin = Origin(Role(role), (f"rehearsal/{role}",))
        command = command_of(message.verb, message.equipment, message.args, origin)
        if not isinstance(command, Refused):
            command = unmet(message, self._executor.value_of) or command
        verdict = command if isinstance(command, Refused) else self._executor.judge(command)
        if isinstance(verdict, Refused):
            acted, rule = self._refusal(message, verdict, "refused")
        else:
            acted, rule = (
                Acted("would-do", "every rule lets it pass", self._executor.state(verdict.command.equipment)),
                "",
            )
        return OutcomeIs(self._outcome(message, f"rehearsal/{role}", acted, rule), b"")

    def _outcome(self, message: CommandMessage, kid: str, acted: Acted, rule: str) -> Outcome:
        return Outcome(
            schema=SCHEMA,
            command_id=message.command_id,
            gateway=self._gateway,
            equipment=message.equipment,
            verb=message.verb,
            issuer=kid,
            ended=acted.ended,
            rule=rule,
            reason=acted.reason[:TEXT_LENGTH_MAX],
            state=acted.state[:TEXT_LENGTH_MAX],
            t_ms=self._clock.unix_ms(),
        )
