"""Gateways' voices without gateways: chained and sealed batches, made beforehand so that making them costs nothing later."""

from collections.abc import Iterator

from agent.model.identity import GatewayId
from agent.wire.envelope import digest
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Batch, Birth, EquipmentCard, Value
from agent.wire.sealing import seal_message
from agent.wire.streams import NO_HASH
from agent.wire.topics import up
from benchmarks.town import CITY

POINTS_PER_EQUIPMENT = 20
STEP_MS = 10


def batch_of(gateway: GatewayId, stream: str, seq: int, prev: bytes, samples: int, now_ms: int) -> Batch:
    """One link with as many changes, each of another point: measurements with a few contacts among them."""
    names = [f"device-{n // POINTS_PER_EQUIPMENT}/point_{n % POINTS_PER_EQUIPMENT}" for n in range(samples)]
    values: list[Value] = [
        (n + seq) % 2 == 0 if n % 10 == 0 else round(230 + 0.1 * ((n * 7 + seq) % 50), 1) for n in range(samples)
    ]
    return Batch(
        schema=SCHEMA,
        gateway=gateway,
        stream=stream,
        epoch=1,
        seq=seq,
        prev=prev,
        t0_ms=now_ms,
        mono_ms=seq * 1000,
        clock=2,
        names=names,
        points=list(range(samples)),
        dt_ms=[-STEP_MS * (n % 25) for n in range(samples)],
        quality=[],
        values=values,
        events=[],
    )


def chain(gateway: GatewayId, signer: Signer, stream: str, links: int, samples: int, now_ms: int) -> Iterator[bytes]:
    """A stream's first links, sealed."""
    topic = up(CITY, gateway, stream)
    prev = NO_HASH
    for seq in range(1, links + 1):
        sealed = seal_message(signer, topic, batch_of(gateway, stream, seq, prev, samples, now_ms))
        prev = digest(sealed)
        yield sealed


def birth(gateway: GatewayId, signer: Signer, devices: int, now_ms: int) -> bytes:
    """The gateway introduces itself."""
    cards = [EquipmentCard(f"device-{n}", "points", f"Device {n}", 47.322, 5.0411, "", [], "") for n in range(devices)]
    message = Birth(
        gateway=gateway,
        conn=1,
        name=gateway,
        t_ms=now_ms,
        clock=2,
        nonces={},
        counters=[],
        heads=[],
        equipment=cards,
        software="benchmarks",
    )
    return seal_message(signer, up(CITY, gateway, "birth"), message)
