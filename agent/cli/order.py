"""A technician's command on its way: read the executor's nonce and counter, sign, send once, say how it ended.

Nothing here judges: every verb and argument goes to the cabinet as typed, so that one place refuses (docs/safety.md).
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.cli.ending import FailedError, UnclearError, UnreachableError, UsageError
from agent.cli.gateway import EQUIPMENT_UNTOUCHED, Gateway, expect
from agent.cli.link import ANSWER_TIMEOUT_S, SUBMIT_TIMEOUT_S
from agent.cli.words import clean
from agent.model.command import Role
from agent.model.identity import CityId, GatewayId
from agent.wire.envelope import join_set
from agent.wire.errors import WireError
from agent.wire.keyfile import Signer
from agent.wire.local import OutcomeIs, Rehearse, Reply, Request, Status, Submit
from agent.wire.messages import SCHEMA, CommandMessage, Outcome, Value, decode, encode
from agent.wire.topics import down

EXPIRY_MS = 25_000
"""Within the 30 s of SR-25, and longer than anyone here waits for the outcome."""
COUNTER_MAX = 2**63 - 1
RETRIES = 1  # only after another command of the same key was counted first
COMMAND_BYTES_MAX = 16_384
"""Far above any real command, far below a frame."""
PROCESSES = ("agent", "guard")


@dataclass(frozen=True, slots=True)
class Order:
    """What was typed.

    Args:
        verb, args: open here; the executor decides what exists.
        expect: a point and the value it must still have when the command is judged.
    """

    equipment: str
    verb: str
    args: Mapping[str, Value] = field(default_factory=dict)
    expect: tuple[str, Value] | None = None


def rehearse(gateway: Gateway, order: Order) -> Outcome:
    """Have a command judged; nothing is done and nothing is signed.

    Raises:
        TechnicianError: there was no verdict.
    """
    executor, road = _executor(gateway, order.equipment)
    message = _message(order, gateway.status(executor), f"rehearsal/{Role.TECHNICIAN}", 1)
    reply = _ask(gateway, road, executor, Rehearse(message, Role.TECHNICIAN))
    return _own(reply, message, road)


def submit(gateway: Gateway, order: Order, signer: Signer) -> Outcome:
    """Sign a command, send it once and wait for how it ended.

    Raises:
        UnclearError: it was sent and no word came back; it may have been carried out.
        TechnicianError: it was not sent, or the gateway said it did nothing with it.
    """
    executor, road = _executor(gateway, order.equipment)
    for _ in range(RETRIES):
        outcome, counter = _submit_once(gateway, order, signer, executor, road)
        if not _is_overtaken(outcome, counter):
            return outcome
    return _submit_once(gateway, order, signer, executor, road)[0]


def _submit_once(gateway: Gateway, order: Order, signer: Signer, executor: str, road: str) -> tuple[Outcome, int]:
    status = gateway.status(executor)
    kid = signer.kid.decode()
    message = _message(order, status, kid, _next_counter(status, kid))
    topic = down(CityId(status.city), GatewayId(status.gateway), "cmd")
    sealed = join_set([signer.seal(encode(message), topic)])
    try:
        reply = _ask(gateway, road, executor, Submit(sealed), SUBMIT_TIMEOUT_S)
        return _own(reply, message, road), message.counter
    except UnreachableError as error:
        if not error.sent:
            raise
        raise UnclearError(
            f"unknown: {error.what}",
            f"{clean(order.verb)} was sent and may have been carried out",
            f"look with `armoire show {order.equipment}` and `armoire log --equipment {order.equipment}`",
        ) from error


def _executor(gateway: Gateway, name: str) -> tuple[str, str]:
    """Which process judges commands to this equipment, and which one takes them."""
    view, seen_by = gateway.find(name)
    # What takes no commands is refused all the same by the agent, so that the refusal is recorded.
    return view.executor if view.executor in PROCESSES else "agent", seen_by


def _message(order: Order, status: Status, issuer: str, counter: int) -> CommandMessage:
    now_ms = time.time_ns() // 1_000_000
    point, value = order.expect or (None, None)
    message = CommandMessage(
        schema=SCHEMA,
        command_id=f"cli-{secrets.token_hex(8)}",
        issuer=issuer,
        gateway=status.gateway,
        equipment=order.equipment,
        verb=order.verb,
        args=dict(order.args),
        nonce=status.nonce,
        counter=counter,
        issued_ms=now_ms,
        not_after_ms=now_ms + EXPIRY_MS,
        expect_point=point,
        expect_value=value,
    )
    try:
        payload = encode(message)
        decode(payload, CommandMessage)
    except (WireError, OverflowError, UnicodeEncodeError) as error:
        raise UsageError(
            "the verb or an argument does not fit into a command",
            advice="verbs and names have 1..40 characters, texts at most 500, whole numbers 64 bits",
        ) from error
    if len(payload) > COMMAND_BYTES_MAX:
        raise UsageError(f"the command is too long: {len(payload)} bytes", advice=f"at most {COMMAND_BYTES_MAX}")
    return message


def _next_counter(status: Status, kid: str) -> int:
    counter = max(0, status.counters.get(kid, 0)) + 1
    if counter > COUNTER_MAX:
        raise FailedError(f"the {status.process} says that the counter of {kid} is used up", EQUIPMENT_UNTOUCHED)
    return counter


def _ask(gateway: Gateway, road: str, executor: str, request: Request, timeout_s: float = ANSWER_TIMEOUT_S) -> Reply:
    """Ask the agent, which forwards; the guard itself only if the agent cannot even be called."""
    try:
        return gateway.link(road).ask(request, timeout_s)
    except UnreachableError as error:
        if error.sent or road == executor:
            raise
        gateway.say_once("agent is down; the command goes straight to the guard")
        return gateway.link(executor).ask(request, timeout_s)


def _own(reply: Reply, message: CommandMessage, process: str) -> Outcome:
    outcome = expect(reply, OutcomeIs, process).outcome
    if outcome.command_id == message.command_id:
        return outcome
    raise UnreachableError(f"the {process} told the outcome of another command", sent=True)


def _is_overtaken(outcome: Outcome, counter: int) -> bool:
    """Another command of the same key was counted between our question and our command: ours did nothing."""
    is_refused = outcome.ended == "refused" and outcome.rule == "SR-25"
    return is_refused and outcome.reason.startswith(f"counter {counter} is not above ")
