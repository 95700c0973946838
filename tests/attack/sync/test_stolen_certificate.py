"""A stolen TLS certificate on a real mosquitto with mutual TLS under the configuration Armoire writes: what it opens is a
connection, never a belief. And what the broker's own list of topics stops before anybody has to judge it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Broker, Transport, broker_of
from agent.runtime.tls import read_context
from agent.wire import topics
from agent.wire.errors import UnknownKeyError
from agent.wire.messages import SCHEMA, Ack, StreamHead
from agent.wire.sealing import seal_message
from fleet import pki
from fleet.authority import Issuer
from fleet.link import read_broker
from tests.attack.sync.test_against_fleet import MakeVoice
from tests.fleet.city import CITY, RealBroker, certify, certify_manager, make_authority, real_broker
from tests.fleet.conftest import Running, running, until
from tests.wire.party import ring, signer

GATEWAY, NEIGHBOUR = "gw-darcy", "gw-monge"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return make_authority(tmp_path / "ca")


@asynccontextmanager
async def city(folder: Path, trust: Path, issuer: Issuer, program: Path) -> AsyncIterator[tuple[RealBroker, Running]]:
    """A real broker and a real manager."""
    certify_manager(issuer, folder / "fleet/tls")
    with real_broker(program, folder / "room-a", issuer) as broker:
        async with running(folder / "fleet", trust, read_broker(broker.url, folder / "fleet")) as manager:
            yield broker, manager


def with_certificate(broker: RealBroker, folder: Path, name: str) -> Transport:
    return Transport(broker_of(broker.url, partial(read_context, folder)), name)


async def test_stolen_certificate_of_a_gateway_opens_its_own_topics_and_is_believed_on_none(
    tmp_path: Path, trust_folder: Path, issuer: Issuer, standin: MakeVoice, require_program: Callable[[str], Path]
) -> None:
    stolen = certify(issuer, GATEWAY, tmp_path / "stolen")
    certify(issuer, NEIGHBOUR, tmp_path / "neighbour")
    voice, neighbour = standin(GATEWAY), standin(NEIGHBOUR)
    voice.agent = voice.guard = signer("thief/1")  # Without the signing keys, which lie elsewhere or in a chip.
    async with city(tmp_path, trust_folder, issuer, require_program("mosquitto")) as (broker, manager):
        async with (
            with_certificate(broker, tmp_path / "stolen", GATEWAY) as thief,
            with_certificate(broker, tmp_path / "neighbour", NEIGHBOUR) as honest,
        ):
            await thief.publish(*voice.birth())
            await thief.publish(*voice.samples({"a/b": 666}))
            for forbidden in (
                f"armoire/1/{CITY}/{NEIGHBOUR}/up/state",
                f"armoire/1/{CITY}/{GATEWAY}/down/ack",
                f"armoire/1/{CITY}/fleet/state",
            ):
                with pytest.raises(TransportError, match="Not authorized"):
                    await thief.publish(forbidden, b"forged")
            await honest.publish(*neighbour.samples({"a/b": 1}))
            await until(lambda: manager.room.ingest.tally.batches == 1)
            rejections = manager.room.ingest.standing.rejections
            await until(lambda: rejections.get((GATEWAY, "unknown-key")) == 2)
            assert list(rejections) == [(GATEWAY, "unknown-key")]
            issuer.revoke([stolen.serial_number], pki.utc_now())
            broker.reload()
        await refused(broker, tmp_path / "stolen")


async def refused(broker: RealBroker, folder: Path) -> None:
    """After the reload, which the broker does in its own time."""

    async def connect_for_ever() -> None:
        while True:  # Until it is refused.
            async with with_certificate(broker, folder, GATEWAY):
                await asyncio.sleep(0.05)

    with pytest.raises(TransportError, match="hung up"):
        await asyncio.wait_for(connect_for_ever(), 20)


async def test_stolen_certificate_of_a_manager_acknowledges_nothing(
    tmp_path: Path, issuer: Issuer, require_program: Callable[[str], Path]
) -> None:
    """The thief may publish down to every gateway. Without the director's signature no gateway believes a word."""
    certify_manager(issuer, tmp_path / "thief/tls")
    ack = topics.down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    forged = seal_message(
        signer("thief/1"), ack, Ack(SCHEMA, GATEWAY, 9, [StreamHead("state", 1, 9, bytes(32))], False)
    )
    certify(issuer, GATEWAY, tmp_path / "gateway")
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", issuer) as broker:
        place = read_broker(broker.url, tmp_path / "thief")
        context = place.tls
        assert context is not None
        async with (
            with_certificate(broker, tmp_path / "gateway", GATEWAY) as gateway,
            Transport(Broker(place.host, place.port, lambda: context), "thief") as thief,
        ):
            await gateway.subscribe([str(ack)])
            await thief.publish(str(ack), forged)
            async with asyncio.timeout(10):
                topic, data = await anext(aiter(gateway.messages()))
    assert (topic, data) == (str(ack), forged)
    with pytest.raises(UnknownKeyError):
        ring().open(data, ack, "ack", None)
