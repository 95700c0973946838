"""Mutual TLS to a real broker under the configuration Armoire writes; and the street when the certificate ends."""

import asyncio
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Broker, Transport, broker_of
from agent.runtime.tls import read_context
from agent.wire.messages import Value
from fleet import pki
from fleet.authority import Issuer
from fleet.link import read_broker
from tests.fleet.city import RealBroker, certify, certify_manager, make_authority
from tests.runtime.living import LivingAgent, living_agent
from tests.runtime.rig import NOON_LUX
from tests.waiting import wait_until

UP, OTHER = "armoire/1/dijon/gw-darcy/up/state", "armoire/1/dijon/gw-monge/up/state"
LEVEL: dict[str, Value] = {"level_percent": 60, "lease_s": 600}


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return make_authority(tmp_path / "ca")


@pytest.fixture
def broker(tmp_path: Path, issuer: Issuer, require_program: Callable[[str], Path]) -> Iterator[RealBroker]:
    broker = RealBroker(require_program("mosquitto"), tmp_path / "room-a", issuer)
    broker.start()
    yield broker
    broker.stop()


def gateway_at(broker: RealBroker, folder: Path) -> Broker:
    return broker_of(broker.url, partial(read_context, folder))


async def test_the_gateways_certificate_is_who_it_is(broker: RealBroker, issuer: Issuer, tmp_path: Path) -> None:
    certify(issuer, "gw-darcy", tmp_path / "tls")
    certify_manager(issuer, tmp_path / "fleet/tls")
    manager = read_broker(broker.url, tmp_path / "fleet")
    context = manager.tls
    assert context is not None
    async with (
        Transport(Broker(manager.host, manager.port, lambda: context), "anything") as fleet,
        Transport(gateway_at(broker, tmp_path / "tls"), "gw-monge") as gateway,
    ):
        await fleet.subscribe(["armoire/1/dijon/+/up/#"])
        with pytest.raises(TransportError, match="Not authorized"):
            await gateway.publish(OTHER, b"forged")
        await gateway.publish(UP, b"own")
        async with asyncio.timeout(5):
            assert await anext(aiter(fleet.messages())) == (UP, b"own")
    broker.wait_logged("as gw-darcy")
    assert "as gw-monge" not in broker.log


async def test_a_renewed_certificate_is_taken_at_the_next_connection(
    broker: RealBroker, issuer: Issuer, tmp_path: Path
) -> None:
    old = certify(issuer, "gw-darcy", tmp_path / "tls")
    shutil.copytree(tmp_path / "tls", tmp_path / "stolen")
    place = gateway_at(broker, tmp_path / "tls")
    async with Transport(place, "gw-darcy") as gateway:
        certify(issuer, "gw-darcy", tmp_path / "tls")
        issuer.revoke([old.serial_number], pki.utc_now())
        broker.reload()
        await gateway.publish(UP, b"1")  # A connection that stands is not looked at again.
    with pytest.raises(TransportError, match="hung up"):
        await connect_until_refused(gateway_at(broker, tmp_path / "stolen"))
    async with Transport(place, "gw-darcy") as gateway:
        await gateway.publish(UP, b"2")


async def connect_until_refused(place: Broker) -> None:
    for _ in range(100):  # The signal takes its moment.
        async with Transport(place, "gw-darcy"):
            await asyncio.sleep(0.02)


async def test_what_is_refused_at_the_door_says_so_at_once(broker: RealBroker, issuer: Issuer, tmp_path: Path) -> None:
    certify(issuer, "gw-darcy", tmp_path / "expired", days=-1 / 1440)
    certify(make_authority(tmp_path / "other"), "gw-darcy", tmp_path / "foreign")
    shutil.copy(issuer.folder / "ca.pem", tmp_path / "foreign/ca.pem")
    for name in ("expired", "foreign"):
        async with asyncio.timeout(5):
            with pytest.raises(TransportError, match="hung up before it let us in"):
                async with Transport(gateway_at(broker, tmp_path / name), "gw-darcy"):
                    pass


async def test_a_gateway_believes_no_broker_but_its_citys(broker: RealBroker, tmp_path: Path) -> None:
    certify(make_authority(tmp_path / "other"), "gw-darcy", tmp_path / "tls")
    with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        async with Transport(gateway_at(broker, tmp_path / "tls"), "gw-darcy"):
            pass


async def test_a_gateways_certificate_makes_no_broker(issuer: Issuer, tmp_path: Path) -> None:
    certify(issuer, "gw-monge", tmp_path / "rogue")
    certify(issuer, "gw-darcy", tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "rogue/gateway.pem", tmp_path / "rogue/gateway.key")
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match="unsuitable certificate purpose"):
            async with Transport(Broker("127.0.0.1", port, partial(read_context, tmp_path / "tls")), "gw-darcy"):
                pass


def test_files_that_cannot_be_used_are_named(issuer: Issuer, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="enrol the gateway first"):
        read_context(tmp_path / "none")
    certify(issuer, "gw-darcy", tmp_path / "tls")
    certify(issuer, "gw-monge", tmp_path / "monge")
    (tmp_path / "tls/gateway.key").chmod(0o644)
    with pytest.raises(TransportError, match="chmod 600"):
        read_context(tmp_path / "tls")
    shutil.copy(tmp_path / "monge/gateway.key", tmp_path / "tls/gateway.key")
    (tmp_path / "tls/gateway.key").chmod(0o600)
    with pytest.raises(TransportError, match="do not fit"):
        read_context(tmp_path / "tls")
    (tmp_path / "tls/gateway.pem").write_bytes(os.urandom(300))
    with pytest.raises(TransportError, match="do not fit"):
        read_context(tmp_path / "tls")


@pytest.mark.slow
async def test_an_expired_certificate_never_stops_local_control_and_a_new_one_needs_no_restart(
    broker: RealBroker, issuer: Issuer, tmp_path: Path
) -> None:
    async with living_agent(is_started=False) as agent:
        site = agent.site.read_text()
        agent.site.write_text(site.replace("mqtt://127.0.0.1:1", broker.url))
        tls = agent.site.parent / "state/tls"
        certificate = certify(issuer, "gw-darcy", tls, days=8 / 86_400)
        await agent.start()
        await link(agent, is_up=True)
        remaining_s = (certificate.not_valid_after_utc - pki.utc_now()).total_seconds()
        await asyncio.sleep(max(0.0, remaining_s) + 1.5)  # The one thing waited for is the time itself.
        assert (await agent.status()).figures["broker"] != "not connected"  # What stands goes on.
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await link(agent, is_up=False)
        broker.wait_logged("certificate verify failed")

        await agent.lamps(on=True, level_percent=80)
        assert (await agent.ask("set-level", LEVEL)).ended == "done"
        await agent.lamps(on=True, level_percent=60)
        assert (await agent.ask("release-level", {})).ended == "done"
        agent.cabinet.set(lux=NOON_LUX)
        await wait_until(lambda: not agent.cabinet.model.coils[0])
        assert (await agent.status()).figures["broker"] == "not connected"

        certify(issuer, "gw-darcy", tls)
        await link(agent, is_up=True)


async def link(agent: LivingAgent, *, is_up: bool) -> None:
    async with asyncio.timeout(60):
        while ((await agent.status()).figures["broker"] != "not connected") != is_up:  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.05)
