"""Messages in and out of their envelopes: encode and seal, open and decode, with the checks that need both.

Everything here raises WireError for what is not the message its topic promises, TrustError for a signer not to be
believed; nothing has been done then.
"""

from dataclasses import dataclass
from typing import TypeVar

from msgspec import Struct

from agent.wire.errors import MessageError
from agent.wire.keyfile import Signer
from agent.wire.messages import (
    Ack,
    Batch,
    Birth,
    Death,
    Desired,
    FleetState,
    Heartbeat,
    Outcome,
    decode,
    decode_birth,
    encode,
)
from agent.wire.topics import Topic
from agent.wire.trust import KeyRing, Opened

M = TypeVar("M", Ack, Death, Desired, Outcome)


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A verified link.

    Args:
        digest: SHA-256 of its envelope.
    """

    kid: str
    batch: Batch
    digest: bytes


def seal_message(signer: Signer, topic: Topic, message: Struct) -> bytes:
    """Encode and seal one message for a topic."""
    return signer.seal(encode(message), topic)


def open_batch(
    ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None, *, is_checked: bool = False
) -> OpenedBatch:
    """Open what arrived on ``up/{alarm,state,tele,audit,safety}``; ``is_checked`` as in ``KeyRing.open``."""
    opened = ring.open(data, topic, "up", now_ms, is_checked=is_checked)
    batch = decode(opened.payload, Batch)
    _check_gateway(batch.gateway, topic)
    if batch.stream != topic.message_class:
        raise MessageError(f"a link of {batch.stream} on {topic}")
    check_columns(batch)
    return OpenedBatch(opened.kid, batch, opened.digest)


def open_birth(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> Birth | Heartbeat:
    """Open what arrived on ``up/birth``."""
    message = decode_birth(ring.open(data, topic, "up", now_ms).payload)
    _check_gateway(message.gateway, topic)
    return message


def open_death(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> Death:
    """Open what arrived on ``up/death``."""
    return _open(ring.open(data, topic, "up", now_ms), topic, Death)


def open_result(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> tuple[Outcome, str]:
    """Open what arrived on ``up/result``; with the signer's role: ``guard`` or ``agent``."""
    opened = ring.open(data, topic, "up", now_ms)
    return _open(opened, topic, Outcome), opened.role


def open_ack(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> Ack:
    """Open what arrived on ``down/ack``."""
    return _open(ring.open(data, topic, "ack", now_ms), topic, Ack)


def open_state(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> FleetState:
    """Open what arrived on ``fleet/state``."""
    return decode(ring.open(data, topic, "state", now_ms).payload, FleetState)


def open_desired(ring: KeyRing, data: bytes, topic: Topic, now_ms: int | None) -> Desired:
    """Open what arrived on ``down/desired``."""
    return _open(ring.open(data, topic, "desired", now_ms), topic, Desired)


def check_columns(batch: Batch) -> None:
    """The columns of a batch must fit together.

    Raises:
        MessageError: they do not; the text names the column.
    """
    count = len(batch.points)
    if len(batch.dt_ms) != count or len(batch.values) != count:
        raise MessageError(f"{count} points, {len(batch.dt_ms)} times, {len(batch.values)} values")
    if batch.points and max(batch.points) >= len(batch.names):
        raise MessageError(f"point {max(batch.points)} of {len(batch.names)} names")
    if any(not 0 <= index < count for index, _ in batch.quality):
        raise MessageError("a quality for a sample that is not there")
    if not batch.points and not batch.events:
        raise MessageError("an empty link")


def _open(opened: Opened, topic: Topic, kind: type[M]) -> M:
    message = decode(opened.payload, kind)
    _check_gateway(message.gateway, topic)
    return message


def _check_gateway(gateway: str, topic: Topic) -> None:
    if gateway != topic.gateway:
        raise MessageError(f"a message of {gateway} on {topic}")
