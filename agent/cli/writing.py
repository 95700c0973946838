"""Commands that change something: lamps, bollards, junctions, reset, and any verb as typed.

All of them take one path: read the executor's nonce, sign, send, say how it ended. None of them judges.
"""

import json as json_
import sys
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from agent.cli import document
from agent.cli.ending import Exit, UsageError
from agent.cli.gateway import Gateway
from agent.cli.options import Lease, Ordering
from agent.cli.order import Order, rehearse, submit
from agent.cli.words import clean, lease_s, sentences
from agent.model.equipment import Kind
from agent.wire.messages import Outcome, Value

ID = Annotated[str, Parameter(name="ID")]
WORD_LENGTH_MAX = 40
POINT_LENGTH_MAX = 78  # With the equipment before it, a point has at most 120 characters.
TEXT_LENGTH_MAX = 500
INTEGERS = range(-(2**63), 2**63)

_ORDERING = Ordering()

EXITS = {
    "done": Exit.DONE,
    "would-do": Exit.DONE,
    "refused": Exit.REFUSED,
    "expired": Exit.EXPIRED,
    "failed": Exit.FAILED,
    "unknown": Exit.FAILED,
}


def set_level(
    id_: ID,
    level: Annotated[int, Parameter(name="LEVEL")],
    /,
    *,
    for_: Lease = "30m",
    ordering: Ordering = _ORDERING,
) -> Exit:
    """Hold a lighting segment at a level until the lease ends; then its local plan runs again.

    Args:
        id_: The segment; a lamp is driven by its segment.
        level: Percent of full light, 0..100.
        for_: How long: 90s, 30m, 2h.
    """
    gateway = ordering.gateway()
    _require_driven(gateway, id_)
    return _carry_out(gateway, Order(id_, "set-level", {"level_percent": level, "lease_s": lease_s(for_)}), ordering)


def release_level(id_: ID, /, *, ordering: Ordering = _ORDERING) -> Exit:
    """Give a lighting segment back to its local plan.

    Args:
        id_: The segment.
    """
    gateway = ordering.gateway()
    _require_driven(gateway, id_)
    return _carry_out(gateway, Order(id_, "release-level"), ordering)


def lower(id_: ID, /, *, ordering: Ordering = _ORDERING) -> Exit:
    """Lower a bollard.

    Args:
        id_: The bollard.
    """
    return _carry_out(ordering.gateway(), Order(id_, "lower"), ordering)


def raise_(id_: ID, /, *, ordering: Ordering = _ORDERING) -> Exit:
    """Raise a bollard; refused unless both loops are seen free.

    Args:
        id_: The bollard.
    """
    return _carry_out(ordering.gateway(), Order(id_, "raise"), ordering)


def plan(
    id_: ID,
    number: Annotated[int, Parameter(name="N")],
    /,
    *,
    for_: Lease = "30m",
    ordering: Ordering = _ORDERING,
) -> Exit:
    """Run a commissioned signal plan until the lease ends.

    Args:
        id_: The junction.
        number: The plan; only plans commissioned on site may run.
        for_: How long: 90s, 30m, 1h.
    """
    return _carry_out(
        ordering.gateway(), Order(id_, "select-plan", {"plan": number, "lease_s": lease_s(for_)}), ordering
    )


def flash(id_: ID, /, *, for_: Lease = "10m", ordering: Ordering = _ORDERING) -> Exit:
    """Ask the controller for yellow flash until the lease ends; needs you at the open cabinet.

    Args:
        id_: The junction.
        for_: How long: 90s, 10m.
    """
    return _carry_out(ordering.gateway(), Order(id_, "flash", {"lease_s": lease_s(for_)}), ordering)


def release(id_: ID, /, *, ordering: Ordering = _ORDERING) -> Exit:
    """Give a junction back to its controller's own plan.

    Args:
        id_: The junction.
    """
    return _carry_out(ordering.gateway(), Order(id_, "release"), ordering)


def reset(id_: ID, /, *, ordering: Ordering = _ORDERING) -> Exit:
    """Clear a latched fault; only at the open cabinet with the local key turned, and once its cause is gone.

    Args:
        id_: The junction or bollard.
    """
    return _carry_out(ordering.gateway(), Order(id_, "reset"), ordering)


def submit_any(
    id_: ID,
    verb: Annotated[str, Parameter(name="VERB")],
    /,
    *args: Annotated[str, Parameter(name="KEY=VALUE")],
    ordering: Ordering = _ORDERING,
) -> Exit:
    """Send any verb as typed, signed with your key; the cabinet says what it thinks of it.

    Args:
        id_: The equipment.
        verb: Any word; one that does not exist is refused by SR-01.
        args: Arguments; numbers, true, false and null are read as such, anything else is text.
    """
    if not 0 < len(verb) <= WORD_LENGTH_MAX:
        raise UsageError(f"a verb has 1..{WORD_LENGTH_MAX} characters")
    return _carry_out(ordering.gateway(), Order(id_, verb, read_arguments(args)), ordering)


def read_arguments(texts: tuple[str, ...]) -> dict[str, Value]:
    """Read ``key=value`` words.

    Raises:
        UsageError: not of that form, given twice, or too long or too large to be sent.
    """
    args: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not 0 < len(name) <= WORD_LENGTH_MAX:
            raise UsageError(
                f"{clean(text)!r} is not an argument", advice="write it as key=value, such as level_percent=40"
            )
        if name in args:
            raise UsageError(f"{clean(name)} is given twice")
        args[name] = _value(name, value)
    return args


def _value(name: str, text: str) -> Value:
    value = _scalar(text)
    if isinstance(value, str) and len(value) > TEXT_LENGTH_MAX:
        raise UsageError(f"{clean(name)} is too long: {len(value)} characters", advice=f"at most {TEXT_LENGTH_MAX}")
    if type(value) is int and value not in INTEGERS:
        raise UsageError(f"{clean(name)} is too large a number", advice="whole numbers have 64 bits")
    return value


def _scalar(text: str) -> Value:
    try:
        match json_.loads(text):
            case None | bool() | int() | float() as value:
                return value
    except (ValueError, RecursionError):  # ValueError also for a number of too many digits
        pass
    return text


def _require_driven(gateway: Gateway, id_: str) -> None:
    """A lamp has no level of its own: name the segment that drives it."""
    view, _ = gateway.find(id_)
    if view.kind == Kind.LAMP:
        segment = clean(view.parent) or "its segment"
        raise UsageError(
            f"{id_} is a lamp; it is driven by segment {segment}, together with that segment's other lamps",
            "nothing was sent",
            f"give the command to the segment: armoire lamp set {segment} LEVEL",
        )


def _expected(order: Order, text: str) -> tuple[str, Value] | None:
    if not text:
        return None
    point, equals, typed = text.partition("=")
    value = _value(point, typed)
    if not equals or not 0 < len(point) <= POINT_LENGTH_MAX or value is None:
        raise UsageError(
            f"{clean(text)!r} is nothing to expect", advice="write --expect point=value, such as level_percent=40"
        )
    return point if "/" in point else f"{order.equipment}/{point}", value


def _carry_out(gateway: Gateway, order: Order, ordering: Ordering) -> Exit:
    order = replace(order, expect=_expected(order, ordering.expect))
    if ordering.dry_run:
        outcome = rehearse(gateway, order)
    else:
        from agent.wire.keyfile import read_signer

        outcome = submit(gateway, order, read_signer(ordering.key_path()))
    exit_ = EXITS.get(outcome.ended, Exit.FAILED)
    if ordering.json:
        print(document.dumps(document.outcome(outcome, exit_, dry_run=ordering.dry_run)))
    else:
        is_error = exit_ in (Exit.FAILED, Exit.EXPIRED)
        print(told(outcome, is_rehearsal=ordering.dry_run), file=sys.stderr if is_error else sys.stdout)
    return exit_


def told(outcome: Outcome, *, is_rehearsal: bool) -> str:
    """How a command ended, in sentences."""
    rule = f" by {clean(outcome.rule)}" if outcome.rule else ""
    look = f"look with `armoire show {clean(outcome.equipment)}`"
    match outcome.ended:
        case "done":
            return f"done: {sentences(outcome.reason, outcome.state)}"
        case "would-do":
            return f"would do: {sentences(outcome.reason, outcome.state, 'dry run: nothing was done')}"
        case "refused" if is_rehearsal:
            return f"would be refused{rule}: {sentences(outcome.reason, outcome.state)}"
        case "refused":
            return f"refused{rule}: {sentences(outcome.reason, outcome.state)}"
        case "expired":
            return f"expired{rule}: {sentences(outcome.reason, outcome.state, 'send it again if it is still wanted')}"
        case "failed":
            return f"failed: {sentences(outcome.reason, outcome.state, look)}"
        case "unknown":
            return f"unknown: {sentences(outcome.reason, outcome.state, look)}"
    return f"unknown ending {clean(outcome.ended)!r}: {sentences(outcome.reason, outcome.state, look)}"
