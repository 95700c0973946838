"""The local protocol: guard and agent each serve it on a unix socket, the agent and the technician speak it.

A frame is a big-endian u32 length and one MessagePack message. Requests are tagged arrays; each gets exactly one reply.
Sealed commands pass through unchanged: whoever carries them need not be trusted.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from agent.wire.errors import MessageError
from agent.wire.messages import (
    U32,
    U63,
    CommandMessage,
    Id,
    Milliseconds,
    Name,
    Nonce,
    Outcome,
    StreamHead,
    Text,
    Value,
)

FRAME_BYTES_MAX = 262_144
LENGTH_BYTES = 4
Sealed = Annotated[bytes, Meta(max_length=FRAME_BYTES_MAX)]
Limit = Annotated[int, Meta(ge=1, le=500)]


class GetStatus(Struct, array_like=True, frozen=True, tag="status"):
    """How is this process?"""


class GetEquipment(Struct, array_like=True, frozen=True, tag="equipment"):
    """Every piece of equipment this process knows, or one.

    Args:
        id: empty for all.
    """

    id: Annotated[str, Meta(max_length=40)]


class GetWhy(Struct, array_like=True, frozen=True, tag="why"):
    """Which rule, command, input and time led to the present state of one piece of equipment."""

    id: Id


class GetLog(Struct, array_like=True, frozen=True, tag="log"):
    """The newest events, newest last.

    Args:
        equipment: empty for all.
    """

    equipment: Annotated[str, Meta(max_length=40)]
    limit: Limit


class Submit(Struct, array_like=True, frozen=True, tag="submit"):
    """Carry out a sealed command: a set of one to three envelopes over the same payload."""

    sealed: Sealed


class Rehearse(Struct, array_like=True, frozen=True, tag="rehearse"):
    """Judge a command and do nothing. Needs no signature because nothing happens; ``role`` is who would ask."""

    command: CommandMessage
    role: Id


class GetSafetyRecords(Struct, array_like=True, frozen=True, tag="records"):
    """Sealed links of the guard's safety stream after ``after_seq`` of ``epoch``, oldest first."""

    epoch: U32
    after_seq: U63
    limit: Limit


class GetPage(Struct, array_like=True, frozen=True, tag="page"):
    """Sealed links of one stream of the process that is asked, those of older epochs included, oldest first.

    Args:
        epoch, seq: of the last one had; 0 and 0 for the oldest.
    """

    stream: Id
    epoch: U32
    seq: U63
    limit: Limit


class TellFleetSeen(Struct, array_like=True, frozen=True, tag="fleet-seen"):
    """Hand the guard a sealed fleet message: an ack or a state. The guard verifies it itself.

    Args:
        topic: the topic it arrived on.
    """

    topic: Annotated[str, Meta(max_length=200)]
    sealed: Sealed


Request = GetStatus | GetEquipment | GetWhy | GetLog | Submit | Rehearse | GetSafetyRecords | GetPage | TellFleetSeen


class Status(Struct, array_like=True, frozen=True, tag="status-is"):
    """One process.

    Args:
        process: ``agent`` or ``guard``.
        nonce: what a command to this process must carry now. counters: issuer kid -> newest accepted counter.
        fleet: ``up``, ``silent``, ``awaited`` (not heard since the start) or ``none`` (no broker).
        figures: counters by name (late ticks, rejected by reason, backlog ...).
        warnings: what a technician should know, one sentence each.
    """

    process: Id
    gateway: Id
    city: Id
    name: Text
    pid: int
    uptime_ms: Milliseconds
    nonce: Nonce
    counters: dict[str, int]
    fleet: Id
    heads: list[StreamHead]
    acked: list[StreamHead]
    figures: dict[Name, Value]
    warnings: list[Text]


class PointView(Struct, array_like=True, frozen=True):
    """One point: never without quality and age."""

    name: Name
    value: Value
    quality: Annotated[int, Meta(ge=0, le=3)]
    t_ms: Milliseconds
    age_ms: Milliseconds


class LatchView(Struct, array_like=True, frozen=True):
    """A latched fault."""

    rule: str
    reason: Text
    since_ms: Milliseconds


class EquipmentView(Struct, array_like=True, frozen=True):
    """One piece of equipment as this process sees it.

    Args:
        holding: the command in force and when its lease ends, for a person; empty for the local plan.
        executor: which process judges commands to it: ``agent``, ``guard`` or empty.
    """

    id: Id
    kind: Id
    name: Text
    latitude: float
    longitude: float
    parent: Annotated[str, Meta(max_length=40)]
    executor: Annotated[str, Meta(max_length=10)]
    verbs: list[Id]
    mode: Id
    mode_cause: Text
    cleared_by: Text
    latch: LatchView | None
    holding: Text
    link: Text
    points: list[PointView]


class EquipmentIs(Struct, array_like=True, frozen=True, tag="equipment-is"):
    """Reply to GetEquipment."""

    equipment: list[EquipmentView]


class LogEntry(Struct, array_like=True, frozen=True):
    """One event, as kept in the sealed streams.

    Args:
        clock: ClockQuality of ``t_ms``.
    """

    t_ms: Milliseconds
    stream: Id
    seq: int
    kind: Name
    equipment: Annotated[str, Meta(max_length=40)]
    rule: Annotated[str, Meta(max_length=10)]
    text: Text
    detail: dict[Name, Value]
    clock: Annotated[int, Meta(ge=0, le=3)] = 0


class LogIs(Struct, array_like=True, frozen=True, tag="log-is"):
    """Reply to GetLog."""

    entries: list[LogEntry]


class WhyIs(Struct, array_like=True, frozen=True, tag="why-is"):
    """Reply to GetWhy: the state in one sentence, then what led to it, newest first."""

    state: Text
    because: list[LogEntry]


class OutcomeIs(Struct, array_like=True, frozen=True, tag="outcome-is"):
    """Reply to Submit and Rehearse.

    Args:
        sealed: the executor's signed result for ``up/result``; empty for a rehearsal.
    """

    outcome: Outcome
    sealed: Sealed


class SafetyRecords(Struct, array_like=True, frozen=True, tag="records-are"):
    """Reply to GetSafetyRecords."""

    head: StreamHead
    acked: StreamHead
    records: list[tuple[int, Sealed]]


class PageIs(Struct, array_like=True, frozen=True, tag="page-is"):
    """Reply to GetPage.

    Args:
        newest: the stream's newest link, as of now. kept_bytes: of all its links.
        links: epoch, number and envelope. Without any, there are no more.
    """

    newest: StreamHead
    kept_bytes: U63
    links: list[tuple[U32, U63, Sealed]]


class Noted(Struct, array_like=True, frozen=True, tag="noted"):
    """Reply to TellFleetSeen."""


class Failed(Struct, array_like=True, frozen=True, tag="failed"):
    """The request could not be answered; nothing was done.

    Args:
        text: what happened, what state the equipment is in, what to do next.
    """

    text: Text


Reply = Status | EquipmentIs | LogIs | WhyIs | OutcomeIs | SafetyRecords | PageIs | Noted | Failed

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(Reply)


def frame(message: Struct) -> bytes:
    """Encode one request or reply with its length."""
    body = _ENCODER.encode(message)
    assert len(body) <= FRAME_BYTES_MAX
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_request(body: bytes) -> Request:
    """Decode what a client sent.

    Raises:
        MessageError: not a request.
    """
    try:
        message = _REQUESTS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a request: {error}") from error
    assert isinstance(message, Request)
    return message


def decode_reply(body: bytes) -> Reply:
    """Decode what a process answered.

    Raises:
        MessageError: not a reply.
    """
    try:
        message = _REPLIES.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a reply: {error}") from error
    assert isinstance(message, Reply)
    return message
