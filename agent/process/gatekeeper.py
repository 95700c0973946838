"""The one path of a command: verify, store the counter, judge, act, record, answer with a signed outcome.

Guard and agent each run one over the equipment they own; there is no second door.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from agent.ledger.errors import LedgerError
from agent.model.command import Command, Origin, Role
from agent.model.identity import CityId, EquipmentId, GatewayId
from agent.model.observation import Scalar
from agent.process.clock import Clock
from agent.safety.verdict import Approved, Refused
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Declined, Repeated
from agent.wire.keyfile import Signer
from agent.wire.local import Failed, OutcomeIs, Reply
from agent.wire.messages import SCHEMA, CommandMessage, Outcome, encode
from agent.wire.topics import down, up
from agent.wire.verbs import command_of

NOTHING_SENT = "nothing was sent to the equipment"
TURN_TIMEOUT_S = 3.0
"""How long a command waits for those before it. With the disk and the equipment at their slowest its answer still
comes within the socket's time; nothing is cut off half done."""
TEXT_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class Acted:
    """How an approved command ended at the equipment.

    Args:
        ended: done, failed (state known) or unknown (state not confirmed).
        reason: what happened. state: what is known about the equipment now.
    """

    ended: str
    reason: str
    state: str


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

    async def record(self, outcome: Outcome, detail: dict[str, Scalar]) -> None:
        """Put the outcome into the process's sealed stream; return when it is durable."""
        ...


class Gatekeeper:
    """One executor's commands, one at a time."""

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
        self.rejected: dict[str, int] = {}

    def nonce(self, now_ms: int) -> bytes:
        """What a command must carry now."""
        return self._gate.nonces.current(now_ms)

    def count(self, reason: str) -> None:
        """Count something that was not believed."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    async def submit(self, sealed: bytes) -> Reply:
        """Take one sealed command set to its end.

        Returns:
            The signed outcome; Failed if nobody known signed it, or if others kept the executor busy too long.
        """
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turn.acquire()
        except TimeoutError:
            self.count("busy")
            return Failed(f"other commands are still under way, try again; {NOTHING_SENT}")
        try:
            return await self._take(sealed)
        finally:
            self._turn.release()

    async def _take(self, sealed: bytes) -> Reply:
        try:
            admitted = self._gate.admit(
                sealed,
                self._topic,
                self._executor.counters,
                self._clock.now_ms(),
                self._clock.unix_ms(),
                self._clock.quality(),
            )
        except (WireError, TrustError) as error:
            self.count(error.reason)
            return Failed(f"not believed: {error}"[: TEXT_LENGTH_MAX - len(NOTHING_SENT) - 2] + f"; {NOTHING_SENT}")
        match admitted:
            case Repeated():
                self.count("repeated")
                return Failed(f"this very command was delivered before; {NOTHING_SENT} again")
            case Declined(message=message, kid=kid, ended=ended, refused=refused):
                self.count("declined")
                return await self._conclude(message, kid, self._refusal(message, refused, ended), {})
            case Admitted():
                return await self._store_and_carry_out(admitted)

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
            acted, rule = await self._executor.act(verdict), ""
        detail: dict[str, Scalar] = {f"arg {name}": value for name, value in message.args.items()}
        detail["issuer"] = admitted.kid
        detail["signed by"] = ", ".join(admitted.origin.subjects)
        return await self._conclude(message, admitted.kid, (acted, rule), detail)

    def _refusal(self, message: CommandMessage, refused: Refused, ended: str) -> tuple[Acted, str]:
        state = f"{NOTHING_SENT}; {self._executor.state(EquipmentId(message.equipment))}"
        return Acted(ended, refused.reason, state), refused.rule

    async def _conclude(
        self, message: CommandMessage, kid: str, end: tuple[Acted, str], detail: dict[str, Scalar]
    ) -> OutcomeIs:
        acted, rule = end
        outcome = self._outcome(message, kid, acted, rule)
        try:
            await self._executor.record(outcome, detail)
        except LedgerError:
            self.count("unrecorded")  # It happened all the same, and whoever asked must know.
        return OutcomeIs(outcome, self._signer.seal(encode(outcome), self._result_topic))

    def rehearse(self, message: CommandMessage, role: str) -> Reply:
        """Judge what a command of ``role`` would meet, and do nothing."""
        if role not in (Role.OPERATOR, Role.TECHNICIAN):
            return Failed(f"rehearse as operator or technician, not as {role!r}")
        if message.gateway != self._gateway:
            return Failed(f"this is {self._gateway}, not {message.gateway}")
        origin = Origin(Role(role), (f"rehearsal/{role}",))
        command = command_of(message.verb, message.equipment, message.args, origin)
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
