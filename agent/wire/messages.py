"""Messages: MessagePack arrays decoded by typed structs, only after the envelope is verified.

The first element is the schema number. Dictionaries and untyped values stop here.
Formats are described for other implementations in ``docs/wire.md``.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent.wire.errors import MessageError

SCHEMA = 1
SAMPLES_PER_BATCH_MAX = 500
EVENTS_PER_BATCH_MAX = 500
DESIRED_SETTINGS_MAX = 64
"""A cabinet has a few segments; each heartbeat says of every line how it stands."""
HASH_BYTES = 32
NONCE_BYTES = 16

Id = Annotated[str, Meta(min_length=1, max_length=40)]
Kid = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=500)]
Name = Annotated[str, Meta(min_length=1, max_length=120)]
Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Boot = Annotated[bytes, Meta(max_length=16)]
LogRoot = Annotated[bytes, Meta(max_length=HASH_BYTES)]
Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Value = bool | int | float | Annotated[str, Meta(max_length=500)] | None
Columns = Meta(max_length=SAMPLES_PER_BATCH_MAX)


class Event(Struct, array_like=True, frozen=True):
    """Something that happened once: an alarm, a verdict, a trip, a mode change.

    Args:
        dt_ms: after the batch's ``t0_ms``.
        kind: dotted word: ``command.refused``, ``trip``, ``latch.set``, ``mode``, ``link.lost`` ...
        rule: the rule that decided, or empty.
        detail: further fields by name.
    """

    dt_ms: int
    kind: Name
    equipment: Annotated[str, Meta(max_length=40)]
    rule: Annotated[str, Meta(max_length=10)]
    text: Text
    detail: dict[Name, Value]


class Batch(Struct, array_like=True, frozen=True):
    """One link of a stream: a column store of samples, or a list of events, sealed together.

    Args:
        prev: SHA-256 of the stream's previous envelope; zeros for seq 1.
        t0_ms: Unix time in ms by the gateway's clock. mono_ms: monotonic time of the same moment, for later re-dating.
        clock: ClockQuality.
        names: distinct point names of this batch. points: per sample an index into ``names``.
        dt_ms: per sample, after t0_ms. quality: exceptions to GOOD as (sample index, Quality).
        boot: names the boot of the host that ``mono_ms`` counts from; empty if it is not told.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    gateway: Id
    stream: Id
    epoch: U32
    seq: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    prev: Hash
    t0_ms: Milliseconds
    mono_ms: Milliseconds
    clock: Annotated[int, Meta(ge=0, le=3)]
    names: Annotated[list[Name], Columns]
    points: Annotated[list[Annotated[int, Meta(ge=0, lt=SAMPLES_PER_BATCH_MAX)]], Columns]
    dt_ms: Annotated[list[int], Columns]
    quality: Annotated[list[tuple[int, Annotated[int, Meta(ge=0, le=3)]]], Columns]
    values: Annotated[list[Value], Columns]
    events: Annotated[list[Event], Meta(max_length=EVENTS_PER_BATCH_MAX)]
    boot: Boot = b""


class StreamHead(Struct, array_like=True, frozen=True):
    """The newest sealed link of one stream."""

    stream: Id
    epoch: U32
    seq: U63
    hash: Hash


class IssuerCounter(Struct, array_like=True, frozen=True):
    """The newest command counter accepted from one issuer."""

    kid: Annotated[str, Meta(max_length=64)]
    counter: U63


class EquipmentCard(Struct, array_like=True, frozen=True):
    """One row of the birth's equipment table: what the fleet shows without knowing the site file.

    Args:
        executor: ``guard`` or ``agent``: who judges commands to it, and so whose nonce they need; empty if none may be sent.
        verbs: the commands it understands.
    """

    id: Id
    kind: Id
    name: Text
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    executor: Annotated[str, Meta(max_length=10)]
    verbs: list[Id]
    parent: Annotated[str, Meta(max_length=40)]


class DesiredSetting(Struct, array_like=True, frozen=True):
    """One line of a desired state. ``setting`` and ``value`` are open here; whose equipment it is decides what exists."""

    equipment: Id
    setting: Id
    value: Value


class Desired(Struct, array_like=True, frozen=True):
    """The whole of what the fleet wants of one gateway until it says otherwise; what is not named is as commissioned.

    Args:
        generation: rises with every change and never falls, also when either side loses its database.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    gateway: Id
    generation: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    issued_ms: Milliseconds
    settings: Annotated[list[DesiredSetting], Meta(max_length=DESIRED_SETTINGS_MAX)]


class SettingReport(Struct, array_like=True, frozen=True):
    """What became of one line.

    Args:
        status: ``applied``, ``waiting`` (its equipment has not been seen yet) or ``refused``, by ``rule``.
    """

    equipment: Id
    setting: Id
    status: Id
    rule: Annotated[str, Meta(max_length=10)]
    reason: Annotated[str, Meta(max_length=200)]


class DesiredReport(Struct, array_like=True, frozen=True):
    """How far a gateway is with its desired state.

    Args:
        generation: of the document it keeps to; 0 if it has none.
        hash: digest of that document's envelope; empty if it has none.
    """

    generation: U63
    hash: LogRoot
    settings: Annotated[list[SettingReport], Meta(max_length=DESIRED_SETTINGS_MAX)]


class Birth(Struct, array_like=True, frozen=True, tag=1, tag_field="schema"):
    """Said on every connection: who I am, what I have, where my streams stand. Schema 1 of ``up/birth``.

    Args:
        floors: per stream the newest link no longer kept; a fleet that holds less can only go on from there.
        fleet_term, fleet_issued_ms: of the fleet state followed; 0 if none was heard. A manager that lost its database
            learns from it what it must go above.
        key_list: version of the key list that all processes of the gateway hold; 0 if it does not say.
        desired: None of a gateway that knows no desired state.
    """

    gateway: Id
    conn: U63
    name: Text
    t_ms: Milliseconds
    clock: Annotated[int, Meta(ge=0, le=3)]
    nonces: dict[Id, Nonce]
    counters: list[IssuerCounter]
    heads: list[StreamHead]
    equipment: list[EquipmentCard]
    software: Text
    floors: list[StreamHead] = []
    fleet_term: U63 = 0
    fleet_issued_ms: Milliseconds = 0
    key_list: U63 = 0
    desired: DesiredReport | None = None


class Heartbeat(Struct, array_like=True, frozen=True, tag=2, tag_field="schema"):
    """Said every HEARTBEAT_S: still here, with fresh nonces. Schema 2 of ``up/birth``.

    Args:
        heads: the newest sealed link of each stream: the beat vouches for what was told before only if we hold them.
        unsealed: records that wait in memory because the disk does not take them: changes nobody has been told.
        fleet_term, fleet_issued_ms, key_list: as in ``Birth``.
        log_size, log_root: of the newest checkpoint seen of that fleet's log (``docs/wire.md`` 11); 0 if none was.
        desired: as in ``Birth``.
    """

    gateway: Id
    conn: U63
    beat: U63
    t_ms: Milliseconds
    clock: Annotated[int, Meta(ge=0, le=3)]
    nonces: dict[Id, Nonce]
    modes: dict[Id, Id]
    heads: list[StreamHead]
    unsealed: U63
    fleet_term: U63 = 0
    fleet_issued_ms: Milliseconds = 0
    log_size: U63 = 0
    log_root: LogRoot = b""
    key_list: U63 = 0
    desired: DesiredReport | None = None


class Death(Struct, array_like=True, frozen=True):
    """The will, signed before connecting; matched by connection number, older ones ignored."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    gateway: Id
    conn: U63


class Ack(Struct, array_like=True, frozen=True):
    """Cumulative: everything up to and including ``seq`` is durable at the fleet.

    ``seq`` 0 with a zero hash says the fleet holds nothing of this epoch. ``rebirth`` asks for a Birth.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    gateway: Id
    term: U63
    heads: list[StreamHead]
    rebirth: bool


class FleetState(Struct, array_like=True, frozen=True):
    """Retained and signed: which manager leads, since when; stale after 90 s.

    Args:
        checkpoint: the newest signed checkpoint of this manager's log (``docs/wire.md`` 11), empty if it keeps none.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    fleet: Id
    term: U63
    broker: Id
    issued_ms: Milliseconds
    beat: U63
    key_list_version: U63
    checkpoint: Annotated[str, Meta(max_length=1_000)] = ""


class CommandMessage(Struct, array_like=True, frozen=True):
    """A command as signed. ``verb`` and ``args`` are open here; ``agent.wire.verbs`` decides what exists.

    Args:
        issuer: the key whose owner asks; it signs too. Signed, because the order of a set's envelopes is not.
        nonce: one that the executor published in its last two births or heartbeats.
        counter: strictly rising per issuer, kept on disk by both sides.
        not_after_ms: Unix time; checked only when the gateway's clock is known.
        expect: point name and value that must still hold, or both None.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    command_id: Id
    issuer: Kid
    gateway: Id
    equipment: Id
    verb: Id
    args: dict[Id, Value]
    nonce: Nonce
    counter: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    issued_ms: Milliseconds
    not_after_ms: Milliseconds
    expect_point: Name | None
    expect_value: Value


class Outcome(Struct, array_like=True, frozen=True):
    """How a command ended: exactly one of done, refused, expired, failed, unknown; or the rehearsal ``would-do``.

    Args:
        state: what is known about the equipment now, for a person.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    command_id: Id
    gateway: Id
    equipment: Id
    verb: Annotated[str, Meta(max_length=40)]
    issuer: Annotated[str, Meta(max_length=64)]
    ended: Id
    rule: Annotated[str, Meta(max_length=10)]
    reason: Text
    state: Text
    t_ms: Milliseconds


ENDED = ("done", "refused", "expired", "failed", "unknown")
HEARTBEAT_S = 10.0
"""Nonces rotate every 30 s and the last two are good, so three beats may be lost."""

M = TypeVar("M", bound=Struct)
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[object, msgspec.msgpack.Decoder[object]] = {}
_BIRTH: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(Birth | Heartbeat)


def encode(message: Struct) -> bytes:
    """Encode a message; these exact bytes are signed."""
    return _ENCODER.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """Decode a verified payload.

    Raises:
        MessageError: not a ``kind``; the text names the field.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message = decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error
    assert isinstance(message, kind)
    return message


def decode_birth(payload: bytes) -> Birth | Heartbeat:
    """Decode what arrives on ``up/birth``."""
    try:
        message = _BIRTH.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a Birth or Heartbeat: {error}") from error
    assert isinstance(message, Birth | Heartbeat)
    return message
